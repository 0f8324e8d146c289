# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='KiB that a supervisor grows by (Rss) while a guest looks up and opens 100,000 values of the image'\''s registry'
engines='portable strict'
unit=KiB prints=1
prepare() {
  many_values >big.reg
  {
    printf 'kapsel: 1\nname: big\nversion: "1"\nentry: {command: [/bin/sh]}\ncontents:\n  - elf: [/bin/sh, /bin/sleep, /bin/rm]\n'
    printf '  - copy: {from: %s, to: /names}\nregistry: {import: [big.reg]}\n' "$stage/bin/names-static"
  } >big.yaml
  "$kapsel" pack --quiet big.yaml -o big.kapsel
}
outside="
  rss() { awk '/^Rss:/ { print \$2 }' /proc/\$supervisor/smaps_rollup; }
  $kapsel run --quiet --level \$ENGINE --instance grow-\$ENGINE big.kapsel -- /bin/sh -c \
    'rm -f /done; until [ -e /go ]; do sleep 0.1; done; rm /go; /names v /proc/registry/HKEY_CURRENT_USER/Big 100 1000 100000 && : >/done; sleep 86400' >/dev/null &
  front=\$!
  sleep 1
  supervisor=\$(cut -d ' ' -f 1 /proc/\$front/task/\$front/children)
  before=\$(rss)
  $kapsel exec grow-\$ENGINE -- /bin/sh -c ': >/go; until [ -e /done ]; do sleep 0.2; done'
  echo registry-grows \$((\$(rss) - before))
  $kapsel stop --time 0 grow-\$ENGINE >/dev/null 2>&1"
off=1 # takes long
