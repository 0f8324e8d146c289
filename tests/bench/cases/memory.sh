# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='KiB of PSS of a supervisor after a second of rest: the first instance, and each of 8 and of 64'
engines='portable strict'
unit=KiB prints=1
image="$work/bench.kapsel"
outside="for count in 1 8 64; do
  i=0 names=
  while [ \$i -lt \$count ]; do
    $kapsel run --quiet --level \$ENGINE --instance m\$i-\$ENGINE $image -- /bin/sleep 86400 >/dev/null 2>&1 &
    i=\$((i + 1))
  done
  sleep 3
  for p in /proc/[0-9]*; do
    [ \"\$(cat \$p/comm 2>/dev/null)\" = kapsel-super ] && [ \"\$(readlink \$p/exe)\" = $kapsel ] &&
      awk '/^Pss:/ { print \$2 }' \$p/smaps_rollup 2>/dev/null
  done | awk -v n=\$count '{ s += \$1; c++ } END { if (c) print \"memory-\" n, s / c }'
  while [ \$i -gt 0 ]; do i=\$((i - 1)); $kapsel stop --time 0 m\$i-\$ENGINE >/dev/null 2>&1; done
done"
off=1 # starts many
