# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Limits of profiles and --limit: what a program gets, the error that it gets then, and the line that the user gets. TAP.
. "$STAGE/e2e/lib.sh"

cat >"$T/l.yaml" <<END
kapsel: 1
name: l
entry: {command: [/limits]}
contents:
  - copy: {from: $STAGE/e2e/limits, to: /limits}
  - elf: [/bin/sh]
END
try "$KAPSEL" pack --quiet "$T/l.yaml" -o "$T/l.kapsel"
expect_status 0 'an image of what takes all that it gets'
takes() { # LIMIT PROGRAM...
  limit=$1
  shift
  try "$KAPSEL" run --rm --limit "$limit" "$T/l.kapsel" -- /limits "$@"
}
between() { # WHAT LOW HIGH ERROR: of the first line
  read -r what count code <"$T/out"
  if [ "$what" = "$1" ] && [ "$count" -ge "$2" ] && [ "$count" -le "$3" ] && [ "$code" = "$4" ]; then ok "$limit: $what $count $code"; else not_ok "$limit: $1 from $2 to $3, $4" "$T/out" "$T/err"; fi
}
told() { # REGEX
  if [ "$(grep -cE "^kapsel: l-0[^ ]*: $1" "$T/err")" = 1 ]; then ok "$limit: the user is told, once"; else not_ok "$limit: /$1/ told once" "$T/err"; fi
}

takes memory=none memory 64
between memory 64 64 0
if "$KAPSEL" doctor | grep -q '^control-group .* memory of all'; then
  skip 'memory of each process' 'a control group keeps it: cgroup.sh'
else
  takes memory=64M memory 200
  between memory 30 64 ENOMEM
fi
takes open-files=40 files 100
between files 30 40 EMFILE
takes processes=10 processes 50
between processes 9 9 EAGAIN
told 'processes: the limit of 10 is reached'
takes processes=10 threads 50
between threads 9 9 EAGAIN
takes processes=5 turns 300
between turns 300 300 0
takes file-size=3M disk /file 10
between disk 3 3 EFBIG
takes cpu-time=1s spin
expect_status 152 'cpu-time: SIGXCPU'
told 'cpu-time: the limit of 1s is reached: the program was ended'

# By way of a pipe: until there is room again they write to no regular file.
limit=disk=20M
"$KAPSEL" run --rm --limit disk=20M "$T/l.kapsel" -- /limits disk /file 600 2>"$T/err" </dev/null | cat >"$T/out"
between disk 19 100 EFBIG
if [ "$(sed 1d "$T/out")" = "$(printf 'create 0 ENOSPC\nunlink 0 0\ncreate-again 0 0')" ]; then ok 'disk: nothing new is made until there is room again'; else not_ok 'disk: nothing new is made until there is room again' "$T/out"; fi
told 'disk: the limit of 20M is reached'
takes disk=20M lift
between lift 0 0 EPERM

printf 'network: none\nlimits: {processes: 4, open-files: 20}\n' >"$T/small.yaml"
try "$KAPSEL" run --rm --profile "$T/small.yaml" "$T/l.kapsel" -- /limits processes 9
between processes 3 3 EAGAIN
try "$KAPSEL" run --rm --profile "$T/small.yaml" --limit processes=none "$T/l.kapsel" -- /limits processes 9
between processes 9 9 0
for bad in memory 'memory=' memory=x memory=1K colour=1 processes=0; do
  try "$KAPSEL" run --rm --limit "$bad" "$T/l.kapsel"
  expect_err_line "^kapsel: --limit: '?[a-z]+" "--limit $bad is refused"
done
try "$KAPSEL" inspect --profile untrusted "$T/l.kapsel"
if grep -qE 'processes 512 \((counted at each fork|by a control group)\)' "$T/out"; then ok 'inspect says how limits are kept'; else not_ok 'inspect' "$T/out"; fi
finish
