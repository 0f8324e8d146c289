# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='one call: stat, open, readdir, fork, spawn, ...'
prepare() {
  echo text >file
  mkdir dir
  i=0
  while [ $i -lt 100 ]; do : >dir/f$i && i=$((i + 1)); done
}
prints=1 command="$stage/bin/micro 3"
