# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The fast path: on at level portable alone, right whatever happens around it, and no way out.
. "$STAGE/e2e/lib.sh"

echo canary >"$T/canary"
mkdir -p tree/dir
printf 'kept' >tree/kept
printf 'image file' | head -c 9 >tree/of-image
printf '12345' >tree/name
printf '1234' >tree/dir/name
printf 'kept' >tree/twin # one object of the store
ln -s kept tree/to-kept
ln -s of-image tree/to-image
cp "$STAGE/e2e/fast" "$STAGE/e2e/ways" "$STAGE/e2e/gate" .
cat >fast.yaml <<'M'
kapsel: 1
name: fast
version: "1"
entry: {command: [/fast], cwd: /tree}
contents:
  - copy: {from: fast, to: /fast}
  - copy: {from: ways, to: /ways}
  - copy: {from: gate, to: /gate}
  - copy: {from: tree, to: /tree}
M
try "$KAPSEL" pack --quiet fast.yaml -o fast.kapsel
expect_status 0 "packed"
img=$T/fast.kapsel

# What another process changes, pointers, handlers and threads; then directories that come and go.
sites() { # LEVEL HOW: call sites patched
  KAPSEL_DEBUG=trap KAPSEL_FAST=$2 timeout 120 "$KAPSEL" run --rm --cwd /tree --level "$1" "$img" >"$T/out" 2>"$T/err" </dev/null
  KAPSEL_FAST=$2 timeout 120 "$KAPSEL" run --rm --cwd /tree --level "$1" "$img" -- /ways 2>&1 </dev/null | grep -v '^0 wrong$' >>"$T/out"
  grep -c 'is patched' "$T/err"
}
for how in eager often; do
  n=$(sites portable $how)
  if [ "$n" -ge 3 ] && [ "$(cat "$T/out")" = "0 wrong" ]; then ok "portable, $how"; else not_ok "portable, $how: $n sites" "$T/out" "$T/err"; fi
done
n=$(sites portable eager)
for call in getcwd execve; do
  if grep -q "of $call is patched" "$T/err"; then ok "$call is patched"; else not_ok "$call is patched" "$T/err"; fi
done
n=$(sites portable off)
if [ "$n" = 0 ] && [ "$(cat "$T/out")" = "0 wrong" ]; then ok "switched off"; else not_ok "switched off: $n sites" "$T/out" "$T/err"; fi
n=$(sites strict eager)
if [ "$n" = 0 ] && [ "$(cat "$T/out")" = "0 wrong" ]; then ok "not at level strict"; else not_ok "level strict: $n sites" "$T/out" "$T/err"; fi

# On most disks the numbers of directories that are gone are used again, in memory not: where a run has its own in /dev/shm, if it may.
try env -u XDG_RUNTIME_DIR KAPSEL_FAST=eager "$KAPSEL" run --rm --cwd /tree --level portable "$img" -- /ways
expect_out "0 wrong" "with the run's directory in memory"

# What the instance hides of the host goes with the directory that it is in.
mkdir -p shown/gone
printf 1 >shown/gone/name
: >"$T/out"
KAPSEL_FAST=eager timeout 120 "$KAPSEL" run --rm --level portable --mode "$T/shown=writecopy" "$img" -- /ways hidden "$T/shown" >"$T/out" 2>"$T/err" </dev/null &
guest=$!
wait_for grep -q hidden "$T/out"
rm -r shown/gone
: >shown/one
wait_for grep -q removed "$T/out"
mkdir shown/gone
printf 12 >shown/gone/name
: >shown/two
wait $guest
if [ "$(tail -1 "$T/out")" = "0 wrong" ]; then ok "what was hidden of the host"; else not_ok "what was hidden of the host" "$T/out" "$T/err"; fi

# Without mseal (kernels before 6.10) the gate is shut for execve, and the call goes as everywhere else.
try env KAPSEL_FAST=eager "$STAGE/e2e/docker-shim" "$KAPSEL" run --rm --cwd /tree --level portable "$img"
expect_out "0 wrong" "with what Docker refuses, and mseal, refused"

# Who has asked from one directory for a while asks the kernel no more which one it is, but who it is itself; also where another has asked for
# all the names before, so that none brings him to the supervisor.
has_asked() { [ "$(grep -c '^gettid' "$T/strace")" -gt 20 ]; }
knows() { # WORD
  : >"$T/out" # not what the one before said
  : >"$T/strace"
  "$KAPSEL" run --rm --cwd /tree --level portable "$img" -- /fast "$1" >"$T/out" 2>"$T/err" </dev/null &
  front=$!
  wait_for test -s "$T/out"
  sleep 2 # and one look: who is interrupted by a tracer comes to the supervisor, which may tell him then
  strace -qq -e trace=newfstatat,gettid,stat -o "$T/strace" -p "$(cat "$T/out")" 2>"$T/strace.err" &
  tracer=$!
  wait_for has_asked
  kill $tracer
  wait $tracer 2>/dev/null
  kill -9 $front
  wait $front 2>/dev/null
  if has_asked && ! grep -q 'newfstatat(AT_FDCWD, ""' "$T/strace"; then ok "where it is it knows, $1"; else not_ok "where it is it asks, $1" "$T/strace" "$T/strace.err" "$T/err"; fi
}
if command -v strace >/dev/null; then
  knows stay
  knows heir
fi

# A directory or a link that comes and goes is no reason to ask again for others.
try "$KAPSEL" run --rm --cwd /tree --trace "$T/trace" --level portable "$img" -- /fast quietly
n=$(grep -c '"\(/tree/\)\{0,1\}kept"' "$T/trace")
if [ "$status" = 0 ] && [ "$n" -gt 0 ] && [ "$n" -lt 20 ]; then ok "names are asked for $n times of 600"; else not_ok "names are asked for $n times of 600: exit $status" "$T/err"; fi

n=$(grep -c '"dir"\|/nowhere/' "$T/trace")
if [ "$n" -gt 0 ] && [ "$n" -lt 20 ]; then ok "directories, and names beyond what is not there, $n times of 900"; else not_ok "directories, and names beyond what is not there, $n times of 900" "$T/err"; fi

try "$KAPSEL" run --rm --cwd /tree --trace "$T/trace" --level portable "$img" -- /fast again
n=$(grep -c 'newfstatat(3, ""' "$T/trace")
if [ "$status" = 0 ] && [ "$n" -ge 50 ] && [ "$n" -lt 120 ]; then ok "a descriptor is told of again, $n times of 300"; else not_ok "a descriptor is told of again, $n times of 300: exit $status" "$T/err"; fi

# Libraries are patched as they are mapped: also in a process that has threads before it asks for anything.
try "$KAPSEL" run --rm --cwd /tree --trace "$T/trace" --level portable "$img" -- /fast crowd
n=$(grep -c '"/tree/kept"' "$T/trace")
if [ "$status" = 0 ] && [ "$n" -gt 0 ] && [ "$n" -lt 100 ]; then ok "four threads come $n times of 800"; else not_ok "four threads come $n times of 800: exit $status" "$T/err"; fi

# A program that is known by its name is executed without being asked for; with a trace, or a tracer, each execve is to be seen.
settled() { # [OPTION...]: how often the supervisor settled what /fast is
  KAPSEL_DEBUG=exec timeout 60 "$KAPSEL" run --rm --level portable "$@" "$img" -- /fast execs 2>"$T/err" </dev/null
  status=$?
  grep -c 'execve /fast: 0' "$T/err"
}
n=$(settled)
if [ "$n" -ge 1 ] && [ "$n" -lt 12 ]; then ok "settled $n times of 60"; else not_ok "settled $n times of 60" "$T/err"; fi
n=$(settled --trace "$T/trace")
traced=$(grep -c 'execve("/fast"' "$T/trace")
if [ "$n" -ge 60 ] && [ "$traced" -ge 60 ]; then ok "with a trace each of 60 is seen"; else not_ok "with a trace $n and $traced of 60 are seen" "$T/err"; fi

# What a program is depends on its interpreter's name, too, which others may change.
if [ -e /lib64/ld-linux-x86-64.so.2 ]; then
  small_image interp /bin/mv /usr/bin/readlink
  # shellcheck disable=SC2016
  try "$KAPSEL" run --rm --level portable "$T/interp.kapsel" -- /bin/sh -c '
    set -- $(readlink -f /lib64/ld-linux-x86-64.so.2)
    for i in 1 2 3 4 5 6; do /bin/true || exit 1; done
    mv "$1" "$1.moved"
    /bin/true 2>/dev/null
    echo $?
    "$1.moved" /bin/mv "$1.moved" "$1"
    /bin/true
    echo $?'
  expect_out "127
0" "a program whose interpreter is gone is not there"
fi

try "$KAPSEL" run --rm --level portable "$img" -- /gate "$T/canary"
expect_out "gate: 0 wrong" "a guest at the gate"
if [ ! -e "$T/canary-not-there" ]; then ok "nothing of the host's is made there"; else not_ok "a file of the host was made there" "$T/out"; fi
# The run's directory lies where the host is shown to be changed.
try "$KAPSEL" run --rm --level portable --mode "$T=merged" "$img" -- /gate "$KAPSEL"
expect_out "gate: 0 wrong" "a guest at the gate, where the run's directory is shown"
# /proc is the supervisor's making in every mode: the kernel's own has the host's processes in it.
try "$KAPSEL" run --rm --level portable --mode /=writecopy "$img" -- /gate /proc/1/cmdline
expect_out "gate: 0 wrong" "a guest at the gate, where the host's root is shown"
finish
