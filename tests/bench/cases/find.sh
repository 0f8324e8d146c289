# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='find -printf over 50,000 files'
programs=find
prepare() {
  i=0
  while [ $i -lt 100 ]; do
    mkdir "d$i" && j=0
    while [ $j -lt 500 ]; do : >"d$i/f$j" && j=$((j + 1)); done
    i=$((i + 1))
  done
}
command='find . -printf "%s %m %p\n" >/dev/null'
