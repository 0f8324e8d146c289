# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Confinement: what a guest gets at when its threads write over paths that were checked already.
. "$STAGE/e2e/lib.sh"

SCRATCH="0x7ea000100000 4194304" # include/kapsel/start.h
# Not below what the default profile shows; T is below /var/tmp.
echo canary >"$T/canary"
cp "$STAGE/e2e/swap" "$STAGE/e2e/swap-socket" "$STAGE/e2e/late" "$STAGE/e2e/waits" "$T"
cat >swap.yaml <<'M'
kapsel: 1
name: swap
version: "1"
entry: {command: [/swap], cwd: /}
contents:
  - copy: {from: swap, to: /swap}
  - copy: {from: swap-socket, to: /swap-socket}
  - copy: {from: late, to: /late}
  - copy: {from: waits, to: /waits}
  - elf: [/bin/sh, /usr/bin/mkfifo, /bin/cat]
  - file: {path: /file, text: "of the image\n"}
M
try "$KAPSEL" pack --quiet swap.yaml -o swap.kapsel
expect_status 0 "packed"
img=$T/swap.kapsel

try "$KAPSEL" run --rm --level nonsense "$img"
expect_status 125 "no such level"
expect_err_line "^kapsel: --level: 'nonsense': neither portable nor strict" "is said"

# Without mseal what the call is made from can be taken away, and then there is no such call any more.
swapped() { # LEVEL WHAT SCRIPT: the canary is not got, and paths were swapped, or could not be in any way
  try "$KAPSEL" run --rm --level "$1" "$img" -- /bin/sh -c "$3"
  if [ "$status" = 0 ] && grep -q ', got 0$' "$T/out" && { grep -Eq '^no way in|tries ([0-9]+), swapped 0, refused \1,' "$T/out" || ! grep -q 'swapped 0,' "$T/out"; }; then
    ok "$2, $1: $(tail -1 "$T/out")"
  else
    not_ok "$2, $1: exit $status" "$T/out" "$T/err"
  fi
}
for level in portable strict; do
  swapped $level "the path of a FIFO" "mkfifo /fifo && /swap /fifo $T/canary 3 $SCRATCH"
  swapped $level "the path of an O_PATH descriptor" "/swap -p /file $T/canary 3 $SCRATCH"
  try "$KAPSEL" run --rm --level $level "$img" -- /bin/sh -c 'cat </file >/dev/null; cat /dev/stdin </file; mkfifo /f; (echo through >/f) & cat /f; cat /proc/self/fd/9 9</file'
  expect_out "of the image
through
of the image" "files, FIFOs and descriptors as ever, $level"
done

try "$KAPSEL" run --rm "$img" -- /late 4
expect_status 0 "who waits for a core keeps the path of its call: $(cat "$T/out")"

# What guests that wait make the supervisor hold.
held() { # WHAT THREADS ALL-MAY-WAIT: $peak, the supervisor's memory in KiB at its most
  mkfifo "$T/end-$1"
  : >"$T/out" # not what the one before said
  "$KAPSEL" run --rm --quiet --level strict "$img" -- /waits "$1" "$2" <"$T/end-$1" >"$T/out" 2>"$T/err" &
  runner=$!
  exec 9>"$T/end-$1"
  for i in $(seq 600); do [ ! -s "$T/out" ] && kill -0 $runner 2>/dev/null || break; sleep 0.1; done
  supervisor=$(sed -n 's/.*supervisor //p' "$T/out")
  peak=$(awk '/^VmHWM/ { print $2 }' "/proc/${supervisor:-0}/status")
  exec 9>&-
  wait $runner
}
held bytes 100
if grep -q '^opened; [1-9]' "$T/out" && [ "${peak:-999999}" -lt 131072 ]; then
  ok "long messages that wait: $(cat "$T/out"), the supervisor had $peak KiB at most"
else
  not_ok "long messages that wait: the supervisor had $peak KiB" "$T/out" "$T/err"
fi
held descriptors 100
if grep -q '^opened; [1-9]' "$T/out"; then
  ok "descriptors that wait to be received: $(cat "$T/out")"
else
  not_ok "descriptors that wait to be received" "$T/out" "$T/err"
fi

# What the user hands over was opened for that.
printf 'given\n' >"$T/given"
status=0
"$KAPSEL" run --rm "$img" -- /bin/cat /dev/stdin <"$T/given" >"$T/out" 2>"$T/err" || status=$?
expect_out given "a file that the user opened"

# --- sockets of the host: by their paths, which the mode shows, while addresses, descriptors and families are exchanged ---
reaches_sockets "$img" || skip_rest 'pidfd_getfd is refused here'
canary=/tmp/kapsel-canary-$$
"$STAGE/e2e/swap-socket" serve $canary >"$T/reached" 2>&1 </dev/null &
server=$!
trap 'kill $server 2>/dev/null; rm -f $canary $canary.d' EXIT
wait_for test -s "$T/reached"
raced() { # LEVEL WAY CANARY
  try "$KAPSEL" run --rm --level "$1" "$img" -- /bin/sh -c "/swap-socket $2 /own $3 3 $SCRATCH"
  if [ "$status" = 0 ] && grep -q ', other 0$' "$T/out" && ! grep -q ' own 0,' "$T/out" &&
    { [ "$2" = scratch ] || ! grep -q ' refused 0,' "$T/out"; } && [ "$(wc -l <"$T/reached")" = 1 ]; then
    ok "the $2 of a socket, $1: $(tail -1 "$T/out")"
  else
    not_ok "the $2 of a socket, $1: exit $status" "$T/out" "$T/err" "$T/reached"
  fi
}
for level in portable strict; do
  for way in address scratch family; do
    raced $level $way $canary
    raced $level $way $canary.d
  done
done
finish
