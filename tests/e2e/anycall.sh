# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Every system call with any arguments, for ANYCALL seconds (4): the supervisor stays, and holds neither more descriptors nor more memory after it.
. "$STAGE/e2e/lib.sh"

cp "$STAGE/e2e/anycall" "$T/anycall"
cat >anycall.yaml <<'M'
kapsel: 1
name: anycall
version: "1"
entry: {command: [/anycall], cwd: /}
contents:
  - copy: {from: anycall, to: /anycall}
  - file: {path: /this-is-inside, text: "yes\n"}
  - file: {path: /f, text: "a file\n"}
  - file: {path: /d/f, text: "another\n"}
  - symlink: {path: /link, to: d/f}
M
try "$KAPSEL" pack --quiet anycall.yaml -o anycall.kapsel
expect_status 0 "packed"

figures() { # of the supervisor: descriptors, private memory in KiB
  echo "$(find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l) $(awk '/^Private/ { sum += $2 } END { print sum + 0 }' "/proc/$1/smaps_rollup" 2>/dev/null)"
}

wait_for_word() { # WORD in $T/said, up to two minutes more than the run
  i=0
  until grep -q "^$1" "$T/said" || [ $i -gt $(((seconds * 2 + 120) * 10)) ] || ! kill -0 "$runner" 2>/dev/null; do
    sleep 0.1
    i=$((i + 1))
  done
}

devices() {
  stat -c '%n %a %U %G' /dev/null /dev/zero /dev/full /dev/tty /dev/ptmx /dev/urandom
}
devices >"$T/devices"

seconds=${ANYCALL:-4} seed=${SEED:-$(date +%s)}
for level in portable strict; do
  # By way of a FIFO, and with an error file of its own: the program changes its output's mode, too.
  rm -f "$T/fifo" "$T/said" "$T/err" && mkfifo "$T/fifo" && : >"$T/said"
  cat "$T/fifo" >"$T/said" &
  timeout -k 5 $((seconds * 2 + 300)) "$KAPSEL" run --rm --quiet --level $level --net none --mode /tmp=full anycall.kapsel -- /anycall "$seconds" "$seed" >"$T/fifo" 2>"$T/err" &
  runner=$!
  wait_for_word first
  supervisor=$(sed -n 's/^supervisor //p' "$T/said") guest=$(sed -n 's/^guest //p' "$T/said")
  sleep 1
  before=$(figures "$supervisor")
  kill -USR1 "$guest"
  wait_for_word second
  sleep 1
  after=$(figures "$supervisor")
  kill -USR1 "$guest"
  status=0
  wait $runner || status=$?
  expect_status 0 "any call with any arguments, $level, seed $seed: $(tail -1 "$T/said")"
  # shellcheck disable=SC2086 # two words each
  set -- $before $after
  if [ $# = 4 ] && [ "$3" -le $(($1 + 8)) ] && [ "$4" -le $(($2 + 4096)) ]; then
    ok "the supervisor holds what it held, $level: $1 then $3 descriptors, $2 then $4 KiB"
  else
    not_ok "the supervisor holds more, $level: $before, then $after" "$T/err"
  fi
done
devices >"$T/devices-now"
if cmp -s "$T/devices" "$T/devices-now"; then ok "devices stay as they were"; else not_ok "devices were changed" "$T/devices" "$T/devices-now"; fi
finish
