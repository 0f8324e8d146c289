# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Capabilities of Kapsel's own processes: what src/base/powers.h names for the command, and no others, also where root started it.
. "$STAGE/e2e/lib.sh"

small_image small /bin/sleep
image=$T/small.kapsel
root=0
[ "$(id -u)" != 0 ] || root=1

set_of() { # BIT...: as /proc/PID/status has it
  sum=0
  for bit; do sum=$((sum | 1 << bit)); done
  printf '%016x' "$sum"
}
# CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, SETPCAP, NET_BIND_SERVICE, SYS_PTRACE, LEASE
read_set=$(set_of 2)
run_set=$(set_of 0 1 3 8 10 28)
[ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null)" != 2 ] || run_set=$(set_of 0 1 3 8 10 19 28)

# Where root's own set is smaller (a container's), so is what is left of it.
within() { # HEX: does the set have none but these?
  [ $((0x$2 & ~0x$1)) = 0 ]
}

# The bounding set is lowered once, to what the command may need; nobody gains by it under no_new_privs.
expect_sets() { # PID HEX WHAT [BOUNDING]
  sed -n -E 's/^(Cap[A-Za-z]*|NoNewPrivs):\s*/\1 /p' "/proc/$1/status" >"$T/sets"
  bad=
  while read -r name value; do
    case $name in
    NoNewPrivs) [ "$value" = 1 ] || bad="$bad $name" ;;
    CapBnd) [ "$root" = 0 ] || within "${4:-$2}" "$value" || bad="$bad $name" ;;
    *) within "$2" "$value" || bad="$bad $name" ;;
    esac
  done <"$T/sets"
  if [ "$(wc -l <"$T/sets")" -ge 6 ] && [ -z "$bad" ]; then ok "$3"; else not_ok "$3: $bad" "$T/sets"; fi
}

"$KAPSEL" run -i kept "$image" -- sh -c 'echo new >/new; exec sleep 300' >/dev/null 2>&1 &
front=$!
supervisor_is_up() {
  supervisor=$("$KAPSEL" ps --json | sed -n 's/.*"name":"kept".*"supervisor":\([0-9]*\).*/\1/p')
  [ -n "$supervisor" ]
}
wait_for supervisor_is_up
has_changed() { "$KAPSEL" diff kept | grep -q /new; }
wait_for has_changed # the guest is past what is done for it before it begins
expect_sets "$front" "$run_set" "the front"
expect_sets "$supervisor" "$run_set" "the supervisor"
for guest in $(cat /proc/"$supervisor"/task/*/children); do
  expect_sets "$guest" 0 "the guest has none at all"
done
try "$KAPSEL" ps --json
if grep -q '"memory":[1-9]' "$T/out"; then ok "ps is told the memory"; else not_ok "ps is told the memory" "$T/out"; fi

# A command whose output nobody takes: the pipe is full.
mkfifo "$T/held"
blocked() { grep -q pipe_write "/proc/$held/wchan"; }
sleep 300 <>"$T/held" &
sleeper=$!
head -c 65536 /dev/zero >"$T/held"
for words in "inspect $image" "ls $image" "cat $image /etc/greeting" "verify $image" "explain $image /etc/greeting" "diff kept"; do
  # shellcheck disable=SC2086
  "$KAPSEL" $words >"$T/held" 2>&1 &
  held=$!
  wait_for blocked
  expect_sets "$held" "$read_set" "kapsel ${words%% *}" "$(set_of 1 2 3)"
  kill "$held"
  wait "$held" 2>/dev/null
done
kill "$sleeper"
try "$KAPSEL" stop kept
expect_status 0 "kapsel stop"
wait "$front"
finish
