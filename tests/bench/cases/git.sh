# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='git status and git log -p, 10,000 files'
programs=git
prepare() {
  git init -q .
  git config gc.auto 0
  git config maintenance.auto false
  i=0
  while [ $i -lt 100 ]; do
    mkdir "d$i" && j=0
    while [ $j -lt 100 ]; do echo "$i $j" >"d$i/f$j" && j=$((j + 1)); done
    i=$((i + 1))
  done
  git add .
  git -c user.name=x -c user.email=x@example.org commit -qm 'ten thousand files'
  i=0
  while [ $i -lt 20 ]; do
    echo more >>"d$i/f$i"
    git -c user.name=x -c user.email=x@example.org commit -qam "change $i"
    i=$((i + 1))
  done
}
prints=1
git="git -c safe.directory=* -c core.pager=cat"
command="$stage/bin/timeit-static git-status 1 $git status --short && $stage/bin/timeit-static git-log 1 $git log -p -n 20"
