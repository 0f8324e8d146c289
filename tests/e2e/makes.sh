# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Files that guests make themselves, without a word to the supervisor: only where nobody has to be told, and they are the instance's as all others.
. "$STAGE/e2e/lib.sh"

cp "$STAGE/e2e/makes" .
cat >makes.yaml <<'M'
kapsel: 1
name: makes
version: "1"
entry: {command: [/makes]}
contents:
  - copy: {from: makes, to: /makes}
  - file: {path: /var/text, text: "of the image\n"}
M
try "$KAPSEL" pack --quiet makes.yaml -o makes.kapsel
expect_status 0 "packed"
img=$T/makes.kapsel

# The supervisor opens what it makes; what the guest makes it alone is seen to do.
seen() { # [OPTION...]: how many of 200 files the guest was seen to make itself
  mkfifo -m 600 go
  "$KAPSEL" run --quiet --rm --level portable "$@" "$img" -- /makes 200 >"$T/out" 2>"$T/err" <go &
  front=$!
  exec 3>go
  wait_for test -s "$T/out"
  : >"$T/strace.err"
  strace -qq -e trace=openat -e status=successful -o "$T/strace" -p "$(cat "$T/out")" 2>"$T/strace.err" &
  tracer=$!
  sleep 1
  echo >&3
  exec 3>&-
  wait $front
  wait $tracer
  rm go
  grep -c '/upper/var/made/b.*O_CREAT|O_EXCL' "$T/strace"
}
if command -v strace >/dev/null && [ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" = 0 ]; then
  n=$(seen)
  if [ "$n" -ge 190 ]; then ok "made by the guest itself"; else not_ok "made by the guest itself: $n of 200" "$T/strace" "$T/strace.err" "$T/err"; fi
  n=$(seen --limit disk=100M)
  if [ "$n" = 0 ]; then ok "not with a limit of the disk"; else not_ok "not with a limit of the disk: $n of 200" "$T/err"; fi
  # Whom such a umask keeps from what it has made cannot have an instance.
  if [ "$(id -u)" = 0 ]; then
    n=$(umask 0277 && seen)
    if [ "$n" = 0 ]; then ok "not with a umask that takes from the owner"; else not_ok "not with a umask that takes from the owner: $n of 200" "$T/err"; fi
  fi
else
  ok "made by the guest itself # SKIP no strace"
fi
try "$KAPSEL" run --quiet --rm --level portable --trace "$T/trace" "$img" -- /makes 100
expect_status 0 "with a trace"
n=$(grep -c 'open.*"/var/made/a.*0x241' "$T/trace")
if [ "$n" = 100 ]; then ok "a trace has all of them"; else not_ok "a trace has $n of 100" "$T/trace"; fi

n=$(grep -c '"/var/made/none' "$T/trace")
if [ "$n" -gt 0 ] && [ "$n" -lt 20 ]; then ok "what is not there is asked for $n times of 200"; else not_ok "what is not there is asked for $n times of 200" "$T/trace"; fi
n=$(grep -c 'stat.*"/var/made/a\|O_RDONLY.*"/var/made/a\|fstat\|newfstatat([0-9]*, ""' "$T/trace")
if [ "$n" -lt 60 ]; then ok "what was made is asked for $n times of 300"; else not_ok "what was made is asked for $n times of 300" "$T/trace"; fi

# A directory that took the name while a file was on its way there may have one of that name: that is not lost.
try "$KAPSEL" run --quiet --instance settled --level portable "$img" -- /makes settle "$HOME/.local/share/kapsel/instances/settled/upper"
expect_out "0 1 0 0 13 of the image" "a file that hid another is not made"
try "$KAPSEL" rm settled

# They are changes as all others are; files without a bit for their owner, too, which the supervisor has to be told of.
for mask in 022 0377; do
  try "$KAPSEL" run --quiet --instance "made-$mask" --level portable "$img" -- /makes 40 "$mask"
  expect_status 0 "made with umask $mask"
  try "$KAPSEL" diff "made-$mask"
  n=$(grep -c '/var/made/a' "$T/out")
  if [ "$n" = 40 ]; then ok "umask $mask: diff has them"; else not_ok "umask $mask: diff has $n of 40" "$T/out" "$T/err"; fi
  try "$KAPSEL" verify "made-$mask"
  expect_status 0 "umask $mask: verified"
  try "$KAPSEL" clone "made-$mask" "clone-$mask"
  expect_status 0 "umask $mask: cloned"
  try "$KAPSEL" diff "clone-$mask"
  n=$(grep -c '/var/made/a' "$T/out")
  if [ "$n" = 40 ]; then ok "umask $mask: the clone has them"; else not_ok "umask $mask: the clone has $n of 40" "$T/out" "$T/err"; fi
  "$KAPSEL" rm "made-$mask" "clone-$mask"
done
finish
