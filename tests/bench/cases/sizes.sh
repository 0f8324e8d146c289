# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='true, anew and on a cold store, from images of 5 MB, 100 MB and 1 GB'
engines='native portable strict'
prepare() {
  for size in 5 100 1000; do
    mkdir "d$size"
    head -c "${size}000000" /dev/urandom >"d$size/data"
    printf 'kapsel: 1\nname: size%s\nversion: "1"\nentry: {command: [/bin/true]}\ncontents:\n  - elf: [/bin/true]\n  - copy: {from: %s, to: /data}\n' \
      "$size" "$PWD/d$size" >"$size.yaml"
    "$kapsel" pack --quiet --compression 1 "$size.yaml" -o "$work/size$size.kapsel" || return 1
    rm -r "d$size"
  done
}
prints=1
outside="for size in 5 100 1000; do
  case \$ENGINE in
    native) $stage/bin/timeit-static warm-\${size}MB 1 /bin/true; $stage/bin/timeit-static cold-\${size}MB 1 /bin/true ;;
    *)
      image=$work/size\$size.kapsel
      $kapsel run --quiet --level \$ENGINE --instance warm-\$ENGINE-\$size \$image
      $stage/bin/timeit-static warm-\${size}MB 1 $kapsel run --quiet --level \$ENGINE --instance warm-\$ENGINE-\$size \$image
      rm -rf $work/cold
      XDG_CACHE_HOME=$work/cold $stage/bin/timeit-static cold-\${size}MB 1 $kapsel run --quiet --level \$ENGINE --rm \$image ;;
  esac
done"
