# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Ports of instances side by side: each finds its own, sees its own numbers, and is reached from the host where it was published. TAP.
. "$STAGE/e2e/lib.sh"

ports=$STAGE/e2e/ports
cat >"$T/p.yaml" <<END
kapsel: 1
name: p
entry: {command: [/ports]}
contents:
  - copy: {from: $ports, to: /ports}
  - elf: [/bin/sh, /bin/cat, /bin/sleep$(command -v ss >/dev/null && printf ', %s' "$(command -v ss)")]
END
try "$KAPSEL" pack --quiet "$T/p.yaml" -o "$T/p.kapsel"
expect_status 0 'an image of what serves and asks'
image=$T/p.kapsel
reaches_sockets "$image" || skip_rest 'pidfd_getfd is refused here'
# Ports that nobody has now, one of them where users may not bind.
port=$((20000 + $$ % 5000 * 2))
low=$((700 + $$ % 300))

started=
start() { # NAME OPTIONS... -- SERVE...: an instance that serves; "ready" is in $T/NAME
  name=$1
  shift
  options=
  while [ "$1" != -- ]; do
    options="$options $1"
    shift
  done
  shift
  # shellcheck disable=SC2086 # words
  "$KAPSEL" run --quiet --instance "$name" $options "$image" -- /ports serve "$name" "$@" >"$T/$name" 2>&1 </dev/null &
  started="$started $name"
  wait_for grep -qE 'ready|kapsel: --publish|^(tcp|udp) ' "$T/$name"
}
trap 'for name in $started; do "$KAPSEL" stop "$name"; done >/dev/null 2>&1' EXIT
answers() { # NAME ADDRESS PORT WANTED: what is answered inside NAME
  try "$KAPSEL" exec "$1" -- /ports ask "$2" "$3"
  expect_out "$4" "in $1, $2 port $3: $(echo "$4" | head -1)"
}
own() { # NAME PORT: the lines of who answers by that name
  printf 'tcp %s at %s, peer %s\nudp %s, peer %s' "$1" "$2" "$2" "$1" "$2"
}
refused() { printf 'tcp ECONNREFUSED\nudp ECONNREFUSED'; }

# --- two that bind the same ports ---
start one -- 0.0.0.0 $port
start two -- 0.0.0.0 $port again
if [ "$(cat "$T/one")" = "ready $port" ] && [ "$(grep -v ^kapsel: "$T/two")" = "tcp EADDRINUSE
ready $port" ]; then ok "both serve at $port, and neither twice"; else not_ok 'both start' "$T/one" "$T/two"; fi
wait_for grep -q ^kapsel: "$T/two"
if grep -qE "^kapsel: two: port $port(/udp)? is not to be had: it is port [0-9]+ of this host" "$T/two"; then ok 'the user is told where it is'; else not_ok 'a notice' "$T/two"; fi
try "$KAPSEL" ps
if grep -qE "^one .* $port,$port/udp " "$T/out" && grep -qE "^two .* [0-9]+->$port,[0-9]+->$port/udp " "$T/out"; then ok 'ps lists them'; else not_ok 'ps lists them' "$T/out"; fi
for name in one two; do
  answers $name 127.0.0.1 $port "$(own $name $port)"
  answers $name 0.0.0.0 $port "$(own $name $port)"
  answers $name ::ffff:127.0.0.1 $port "$(own $name $port)"
done
outside=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m1 '^[0-9]*\.[0-9.]*$')
[ -z "$outside" ] || answers two "$outside" $port "$(own two $port)"
answers two 127.0.0.1 $((port + 1)) "$(refused)"
"$ports" ask 127.0.0.1 $port >"$T/out" 2>&1
status=0
expect_out "$(own one $port)" 'from the host the first one is reached, at its own number'
try "$KAPSEL" exec two -- /bin/cat /proc/net/tcp /proc/net/udp
hex=$(printf %04X $port)
if grep -q "00000000:$hex 00000000:0000 0A" "$T/out" && grep -q "00000000:$hex 00000000:0000 07" "$T/out"; then ok '/proc/net tells the number that was bound'; else not_ok '/proc/net' "$T/out"; fi
if command -v ss >/dev/null; then
  try "$KAPSEL" exec two -- "$(command -v ss)" -Htln
  if [ "$(grep -c ":$port " "$T/out")" = $((1 + $(ss -Htln "sport = :$port" | wc -l))) ]; then ok 'and so does ss'; else not_ok 'ss' "$T/out" "$T/err"; fi
fi

# --- one after the other: whose a number was last is not whose it is ---
runs() { "$KAPSEL" exec "$1" -- /bin/sleep 0 2>/dev/null; }
turn() { # NAME
  "$KAPSEL" exec "$1" -- /ports serve "$1" 0.0.0.0 $((port + 3)) >"$T/turn" 2>&1 </dev/null &
  server=$!
  wait_for grep -q '^ready' "$T/turn"
  answers "$1" 127.0.0.1 $((port + 3)) "$(own "$1" $((port + 3)))"
  kill $server
  wait $server
}
for name in first second; do
  "$KAPSEL" run --quiet --instance $name "$image" -- /bin/sleep 600 >/dev/null 2>&1 </dev/null &
  started="$started $name"
  wait_for runs $name
done
turn first
turn second
turn first

# --- IPv6, and both at once ---
if "$ports" ask ::1 9 | grep -q REFUSED; then
  start six -- :: $port
  answers six ::1 $port "$(own six $port)"
  answers six 127.0.0.1 $port "$(own six $port)"
  answers two ::1 $port "$(refused)"
fi

# --- what shares its port does so with its own kind, not with another instance ---
start share-a -- 127.0.0.1 $((port + 2)) reuseport tcp
start share-b -- 127.0.0.1 $((port + 2)) reuseport tcp
for name in share-a share-b; do
  try "$KAPSEL" exec $name -- /bin/sh -c "for i in 1 2 3 4 5 6 7 8; do /ports ask 127.0.0.1 $((port + 2)); done"
  if [ "$(grep -c "^tcp $name at $((port + 2))" "$T/out")" = 8 ]; then ok "$name: SO_REUSEPORT"; else not_ok "$name: SO_REUSEPORT" "$T/out"; fi
done

answers two 127.0.0.1 $((port + 2)) "$(refused)"
"$ports" ask 127.0.0.1 $((port + 2)) >"$T/out" 2>&1
if grep -q '^tcp share-a' "$T/out"; then ok 'what is not published is the host'"'"'s to reach, where the number was free'; else not_ok 'the host' "$T/out"; fi

# --- where users may not bind ---
start low -- 127.0.0.1 $low
answers low 127.0.0.1 $low "$(own low $low)"

# --- published ---
start shown --publish $((port + 4)):$low --publish $((port + 5)):$low/udp -- 127.0.0.1 $low
answers shown 127.0.0.1 $low "$(own shown $low)"
"$ports" ask 127.0.0.1 $((port + 4)) >"$T/out" 2>&1
if [ "$(head -1 "$T/out")" = "tcp shown at $low, peer $((port + 4))" ]; then ok 'a published port is reached from the host'; else not_ok 'published' "$T/out"; fi
"$ports" ask 127.0.0.1 $((port + 5)) >"$T/out" 2>&1
if [ "$(tail -1 "$T/out")" = "udp shown, peer $((port + 5))" ]; then ok 'and one of UDP'; else not_ok 'published UDP' "$T/out"; fi
answers two 127.0.0.1 $((port + 4)) "$(printf 'tcp shown at %s, peer %s\nudp ECONNREFUSED' $low $((port + 4)))"
start late --publish $((port + 4)):80 -- 127.0.0.1 80
if grep -q "^kapsel: --publish: port $((port + 4)): Address already in use" "$T/late"; then ok 'a port that is taken cannot be published'; else not_ok 'taken' "$T/late"; fi
for wrong in 80 80: :80 0:80 80:70000 80:80/sctp 80:80x; do
  try "$KAPSEL" run --rm --publish $wrong "$image"
  expect_err_line "^kapsel: --publish: '$wrong': not HOST:GUEST" "--publish $wrong"
done
try "$KAPSEL" run --rm --net none --publish 8080:80 "$image"
expect_err_line '^kapsel: --publish: the program has no network' '--publish without a network'
try "$KAPSEL" run --instance shown --publish 8080:80 "$image"
expect_status 125 'who joins publishes nothing'

# --- names without a file, as ports: its own first ---
cat >"$T/a.yaml" <<END
kapsel: 1
name: a
entry: {command: [/net]}
contents:
  - copy: {from: $STAGE/e2e/net, to: /net}
  - elf: [/bin/sh, /bin/cat, /bin/sleep]
END
try "$KAPSEL" pack --quiet "$T/a.yaml" -o "$T/a.kapsel"
"$STAGE/e2e/net" serve-unix "@kapsel-name-$$" >"$T/name" 2>&1 </dev/null &
holder=$!
trap 'kill $holder; for name in $started; do "$KAPSEL" stop "$name"; done >/dev/null 2>&1' EXIT
wait_for test -s "$T/name"
for name in abstract-a abstract-b; do
  try "$KAPSEL" run --quiet --instance $name "$T/a.kapsel" -- /net own "@kapsel-name-$$"
  if [ "$(cat "$T/out")" = 'own 0 ' ]; then ok "$name: a name that the host has is its own inside"; else not_ok "$name: abstract" "$T/out" "$T/err"; fi
done

# --- what ends gives its number to nobody else ---
"$KAPSEL" stop one >/dev/null 2>&1
start three -- 127.0.0.1 $port
answers three 127.0.0.1 $port "$(own three $port)"
answers two 127.0.0.1 $port "$(own two $port)"
for mode in loopback connect=9; do
  start "in-${mode%=*}" --net $mode -- 0.0.0.0 $port
  answers "in-${mode%=*}" 127.0.0.1 $port "$(own "in-${mode%=*}" $port)"
done
finish
