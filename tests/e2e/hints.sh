# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What is said to who mixes up images, instances and manifests, or names what is there already.
. "$STAGE/e2e/lib.sh"

small_image small
img=$T/small.kapsel
hinted() { # ERROR HINT WHAT
  if [ "$status" = 125 ] && head -1 "$T/err" | grep -qE -- "$1" && sed -n 2p "$T/err" | grep -qE -- "^hint: $2" && [ "$(wc -l <"$T/err")" = 2 ]; then
    ok "$3"
  else not_ok "$3: /$1/ and /$2/ were expected" "$T/err"; fi
}
try "$KAPSEL" run small.yaml
hinted '^kapsel: small.yaml: not a kapsel image' 'kapsel pack small.yaml -o small.kapsel makes' "run MANIFEST tells of pack"
try "$KAPSEL" run --instance trial "$img" -- /bin/true
try "$KAPSEL" run "$img" /bin/true
hinted '^kapsel: /bin/true: unexpected argument' "a program of it and its arguments follow --: kapsel run $img -- /bin/true" "a program without -- before it"
for words in "run trial" "inspect trial" "ls trial" "cat trial /x" "extract trial -C $T/x"; do
  # shellcheck disable=SC2086 # words are wanted
  try "$KAPSEL" $words
  hinted '^kapsel: trial: an instance, not an image' "its image: $img; kapsel run --instance trial $img" "$words tells how"
done
for words in "diff $img" "diff small.kapsel" "discard small.kapsel" "exec small.kapsel -- /bin/true" "stop small.kapsel" "rm small.kapsel" "clone small.kapsel x" "snapshot list small.kapsel" "undo ./small.kapsel"; do
  # shellcheck disable=SC2086 # words are wanted
  try "$KAPSEL" $words
  hinted '^kapsel: .*small.kapsel: a file, not an instance' 'instances of that image: trial$' "${words%% *} IMAGE tells of its instances"
done
try "$KAPSEL" diff small.yaml
hinted '^kapsel: small.yaml: a file, not an instance' 'kapsel ps --all lists the instances; kapsel run makes one of an image' "diff of another file"
try "$KAPSEL" diff nobody
hinted '^kapsel: nobody: no such instance' 'kapsel ps --all lists the instances' "a name that is none"
try "$KAPSEL" clone trial other
try "$KAPSEL" clone trial other
hinted '^kapsel: other: there is an instance of that name' 'kapsel rm other removes it' "a name that is taken"
try "$KAPSEL" ps
if [ "$status" = 0 ] && [ "$(wc -l <"$T/out")" = 1 ] && grep -q '^NAME .* PORTS  *IMAGE$' "$T/out"; then ok "ps has its head also where nothing runs"; else not_ok "ps where nothing runs" "$T/out" "$T/err"; fi
try "$KAPSEL" run --instance trial "$img" -- /bin/sh -c 'echo x >/f'
try "$KAPSEL" discard trial
expect_out "trial: 1 change discarded" "one change is one"
"$KAPSEL" run --help >"$T/out"
if [ "$(awk 'length > n { n = length } END { print n }' "$T/out")" -le 100 ]; then ok "--help keeps to 100 columns"; else not_ok "--help keeps to 100 columns" "$T/out"; fi
finish
