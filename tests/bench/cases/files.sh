# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='an image of 1,000, 100,000 and 1,000,000 files: start, and 1,000 names looked up'
engines='native portable strict'
counts='1000 100000 1000000'
prepare() {
  for count in $counts; do
    mkdir tree
    awk -v n="$count" 'BEGIN { for (i = 0; i < n; i++) { if (i % 1000 == 0) print "tree/d" i / 1000 "/"; print "tree/d" int(i / 1000) "/f" i } }' >names
    grep '/$' names | xargs mkdir
    grep -v '/$' names | xargs touch
    printf 'kapsel: 1\nname: files%s\nversion: "1"\nentry: {command: [/bin/true]}\ncontents:\n  - elf: [/bin/true, /bin/sh]\n  - copy: {from: %s, to: /files}\n' \
      "$count" "$PWD/tree" >"$count.yaml"
    "$kapsel" pack --quiet --compression 1 "$count.yaml" -o "$work/files$count.kapsel" || return 1
    rm -rf tree names
  done
  echo text >file
}
prints=1
outside="for count in $counts; do
  case \$ENGINE in
    native) $stage/bin/timeit-static files-\$count 1 /bin/true; $stage/bin/timeit-static names-\$count 1 /bin/true ;;
    *)
      $kapsel run --quiet --level \$ENGINE --instance files-\$ENGINE-\$count $work/files\$count.kapsel
      $stage/bin/timeit-static files-\$count 1 $kapsel run --quiet --level \$ENGINE --instance files-\$ENGINE-\$count $work/files\$count.kapsel
      $stage/bin/timeit-static names-\$count 1 $kapsel run --quiet --level \$ENGINE --instance files-\$ENGINE-\$count $work/files\$count.kapsel -- \\
        /bin/sh -c 'i=0; while [ \$i -lt 1000 ]; do f=\$((\$0 / 2000 * 1000 + i)); [ -e /files/d\$((f / 1000))/f\$f ] || exit 1; i=\$((i + 1)); done' \$count ;;
  esac
done"
off=1 # takes minutes to prepare
