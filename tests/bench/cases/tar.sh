# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='tar of 5,000 files, out and in'
programs=tar
prepare() {
  mkdir tree
  i=0
  while [ $i -lt 50 ]; do
    mkdir "tree/d$i" && j=0
    while [ $j -lt 100 ]; do echo "$i $j some text" >"tree/d$i/f$j" && j=$((j + 1)); done
    i=$((i + 1))
  done
  tar -cf tree.tar tree
}
prints=1
command="$stage/bin/timeit-static tar-in 1 tar -cf new.tar tree && rm -rf new && mkdir new && $stage/bin/timeit-static tar-out 1 tar -C new -xf tree.tar"
