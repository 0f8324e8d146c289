# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='packing and extracting a tree of 4,000 files; native: mksquashfs and unsquashfs'
engines='native portable'
prepare() {
  command -v mksquashfs >/dev/null || { echo "mksquashfs: not installed" && return 1; }
  mkdir tree
  i=0
  while [ $i -lt 40 ]; do
    mkdir tree/d$i && seq $((i * 1000)) $((i * 1000 + 12000)) | split -l 121 -a 3 - tree/d$i/f && i=$((i + 1)) || return 1
  done
  printf 'kapsel: 1\nname: pack\nversion: "1"\nentry: {command: [/bin/true]}\ncontents:\n  - elf: [/bin/true]\n  - copy: {from: %s, to: /tree}\n' "$PWD/tree" >pack.yaml
}
before() { rm -rf out out.sqfs out.kapsel; }
prints=1
outside="t=$stage/bin/timeit-static
case \$ENGINE in
  native)
    \$t pack 1 mksquashfs tree out.sqfs -comp zstd -Xcompression-level 3 -noappend -quiet -no-progress
    \$t extract 1 unsquashfs -q -n -d out out.sqfs ;;
  *)
    \$t pack 1 $kapsel pack --quiet --compression 3 pack.yaml -o out.kapsel
    \$t extract 1 $kapsel extract out.kapsel -C out ;;
esac"
