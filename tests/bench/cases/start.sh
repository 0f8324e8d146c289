# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='sh -c true: joined (run), an instance anew (start), thrown away afterwards (start-rm)'
engines='native portable strict least bwrap proot firejail'
prints=1
image="$work/bench.kapsel"
outside="t=$stage/bin/timeit-static
case \$ENGINE in
  portable | strict)
    \$t run 1 $kapsel exec bench-\$ENGINE -- /bin/sh -c true
    \$t start 1 \$start $image -- /bin/sh -c true
    \$t start-rm 1 $kapsel run --quiet --rm --level \$ENGINE $image -- /bin/sh -c true ;;
  *) for name in run start start-rm; do \$t \$name 1 \$start /bin/sh -c true; done ;;
esac"
