# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Trees deeper than any stack: nothing recurses by a directory a level, nothing needs a descriptor a level.
. "$STAGE/e2e/lib.sh"

levels=400
mkdir tree
(cd tree && i=0 && while [ $i -lt $levels ]; do mkdir d && echo $i >d/f && cd d && i=$((i + 1)); done)
cat >deep.yaml <<'M'
kapsel: 1
name: deep
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/mv, /bin/rm, /usr/bin/find, /usr/bin/tail, /usr/bin/sort, /bin/grep]
  - copy: {from: tree/, to: /tree}
M
try "$KAPSEL" pack --quiet deep.yaml -o deep.kapsel
expect_status 0 "packed"
img=$T/deep.kapsel

try "$KAPSEL" run --instance moved "$img" -- /bin/sh -c 'mv /tree /moved && find /moved -name f | while read -r f; do cat "$f"; done | sort -n | tail -1'
expect_out $((levels - 1)) "a directory of the image moves, with all below it"
try "$KAPSEL" run --instance moved "$img" -- /usr/bin/find /tree /moved -name f
[ "$(wc -l <"$T/out")" = $levels ] && ok "all of it is there in the next run" || not_ok "in the next run" "$T/out" "$T/err"
try "$KAPSEL" verify moved
expect_status 0 "the instance is whole"
try "$KAPSEL" run --instance moved "$img" -- /bin/rm -rf /moved
expect_status 0 "it can be removed"
try "$KAPSEL" run --instance gone "$img" -- /bin/sh -c 'rm -rf /tree && find /tree 2>&1 | grep -c "No such"'
expect_out 1 "and where it never moved, too"
try "$KAPSEL" run --instance again "$img" -- /bin/sh -c 'mv /tree /moved'
try "$KAPSEL" rm again
expect_status 0 "rm of an instance with it"
try "$KAPSEL" extract "$img" -C "$T/x"
expect_status 0 "extract"
finish
