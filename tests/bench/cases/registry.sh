# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='files of the image and 100,000 values of the registry (the image'\''s; the instance'\''s): looked up and opened for the first time; import'
engines='portable strict'
prints=1
prepare() {
  many_values >big.reg
  for k in 000 001 002 003 004 005 006 007 008 009; do
    mkdir -p "files/k$k" && i=0
    while [ $i -lt 200 ]; do printf 'value %d of %s' $i $k >"$(printf 'files/k%s/v%05d' $k $i)" && i=$((i + 1)); done
  done
  {
    printf 'kapsel: 1\nname: big\nversion: "1"\nentry: {command: [/names]}\ncontents:\n'
    printf '  - copy: {from: files/, to: /files}\n  - copy: {from: %s, to: /names}\n' "$stage/bin/names-static"
  } >plain.yaml
  cp plain.yaml big.yaml
  printf 'registry: {import: [big.reg]}\n' >>big.yaml
  "$kapsel" pack --quiet plain.yaml -o plain.kapsel && "$kapsel" pack --quiet big.yaml -o big.kapsel &&
    "$kapsel" run --rm --quiet big.kapsel -- /names fill /files 10 200 1000 # the store has them
}
outside="
  run=\"$kapsel run --quiet --level \$ENGINE\" values=/proc/registry/HKEY_CURRENT_USER/Big
  \$run --rm big.kapsel -- /names file /files 10 200 1000
  \$run --rm big.kapsel -- /names value-image \$values 100 1000 5000
  $kapsel rm changed-\$ENGINE >/dev/null 2>&1
  \$run --instance changed-\$ENGINE plain.kapsel -- /names none /files 10 200 0 >/dev/null
  $stage/bin/timeit-static import 1 $kapsel reg import changed-\$ENGINE big.reg
  \$run --instance changed-\$ENGINE plain.kapsel -- /names value-instance \$values 100 1000 5000"
