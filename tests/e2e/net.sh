# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The network that profiles and --net grant, against real listeners outside. What must be refused succeeds with `host` first. TAP.
. "$STAGE/e2e/lib.sh"

net=$STAGE/e2e/net
cat >"$T/n.yaml" <<END
kapsel: 1
name: n
entry: {command: [/net]}
contents:
  - copy: {from: $net, to: /net}
  - elf: [/bin/sh, /bin/cat]
END
try "$KAPSEL" pack --quiet "$T/n.yaml" -o "$T/n.kapsel"
expect_status 0 'an image of what reaches for the network'
mkdir "$T/work" && cd "$T/work" || exit 1

serve() { # NAME KIND ADDRESS...: its port in $T/NAME
  name=$1
  shift
  "$net" "$@" >"$T/$name" 2>"$T/$name.err" </dev/null &
  servers="${servers-} $!"
  wait_for test -s "$T/$name"
}
trap 'kill $servers 2>/dev/null' EXIT
serve tcp serve-tcp 0.0.0.0 0
serve tcp6 serve-tcp ::1 0
serve udp serve-udp 0.0.0.0 0
socket=/tmp/kapsel-net-$$.sock
serve unix serve-unix "$socket"
serve abstract serve-unix "@kapsel-net-$$"
serve dgram serve-dgram "@kapsel-net-$$-d"
trap 'kill $servers 2>/dev/null; rm -f "$socket"' EXIT
reaches_sockets "$T/n.kapsel" && sockets=1 || sockets=
tcp=$(cat "$T/tcp") udp=$(cat "$T/udp")
outside=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m1 '^[0-9]*\.[0-9.]*$')

reaches() { # NET RESULT WHAT ADDRESS...: every way of WHAT ends with RESULT
  mode=$1 result=$2
  shift 2
  case $sockets$mode in connect=*) # refused with a reason: kernels.sh
    skip "$mode: $*" 'pidfd_getfd is refused here'
    return ;;
  esac
  try "$KAPSEL" run --rm --net "$mode" "$T/n.kapsel" -- /net "$@"
  if [ "$status" = 0 ] && [ -s "$T/out" ] && ! grep -qvE "^[a-z-]+ $result" "$T/out"; then ok "$mode: $*: $result"; else not_ok "$mode: $*: $result" "$T/out" "$T/err"; fi
}

for mode in host loopback connect=1 "connect=$tcp"; do
  reaches "$mode" '0 canary' tcp 127.0.0.1 "$tcp"
  [ ! -s "$T/tcp6" ] || reaches "$mode" '0 canary' tcp ::1 "$(cat "$T/tcp6")"
  [ ! -s "$T/tcp6" ] || reaches "$mode" '0 canary' tcp ::ffff:127.0.0.1 "$tcp"
  reaches "$mode" '0 canary' udp 127.0.0.1 "$udp"
done
if [ -n "$outside" ]; then
  for address in "$outside" "::ffff:$outside"; do
    reaches host '0 canary' tcp "$address" "$tcp"
    reaches "connect=1,$tcp" '0 canary' tcp "$address" "$tcp"
    reaches loopback ENETUNREACH tcp "$address" "$tcp"
    reaches connect=1 EACCES tcp "$address" "$tcp"
  done
  reaches host '0 canary' udp "$outside" "$udp"
  reaches "connect=$udp" '0 canary' udp "$outside" "$udp"
  reaches loopback ENETUNREACH udp "$outside" "$udp"
  reaches connect=1 EACCES udp "$outside" "$udp"
else
  skip 'another address of this host' 'it has none'
fi
reaches none EAFNOSUPPORT tcp 127.0.0.1 "$tcp"
reaches none EAFNOSUPPORT udp 127.0.0.1 "$udp"
reaches none EAFNOSUPPORT tcp ::1 "$tcp"

"$net" unix "$socket" >"$T/native" && "$net" unix "@kapsel-net-$$" >>"$T/native" && "$net" dgram "@kapsel-net-$$-d" >>"$T/native"
if [ "$(grep -c ' 0 ' "$T/native")" = 6 ]; then ok 'natively the AF_UNIX sockets of the host are reached'; else not_ok 'natively' "$T/native"; fi
for mode in host none; do
  reaches $mode EACCES unix "$socket"
  reaches $mode ECONNREFUSED unix "@kapsel-net-$$"
  reaches $mode ECONNREFUSED dgram "@kapsel-net-$$-d"
  reaches $mode 0 own /own.sock
  reaches $mode 0 own "/tmp/kapsel-own-$$.sock"
  reaches $mode 0 own "@kapsel-own-$$"
done
try "$KAPSEL" run --rm --net none --bind "$socket:/run/granted" "$T/n.kapsel" -- /net unix /run/granted
expect_out 'connect 0 canary' 'a socket that --bind names is reached'

# --- the desktop: only where it is granted ---
serve screen serve-unix "@/tmp/.X11-unix/X$$"
serve wayland serve-unix "$XDG_RUNTIME_DIR/wayland-7"
serve bus serve-unix "$XDG_RUNTIME_DIR/bus"
export DISPLAY=":$$.0" WAYLAND_DISPLAY=wayland-7 DBUS_SESSION_BUS_ADDRESS="unix:path=$XDG_RUNTIME_DIR/bus"
printf 'include: portable\nmodes: {$XDG_RUNTIME_DIR: merged}\n' >"$T/shown.yaml"
printf 'include: portable\ndesktop: [dbus]\n' >"$T/bus.yaml"
screen() { # PROFILE SCREEN WAYLAND BUS: how each is reached
  try "$KAPSEL" run --rm --profile "$1" "$T/n.kapsel" -- /bin/sh -c "/net unix @/tmp/.X11-unix/X$$; /net unix $XDG_RUNTIME_DIR/wayland-7; /net unix $XDG_RUNTIME_DIR/bus"
  expect_out "$(printf 'connect %s\nconnect %s\nconnect %s' "$2" "$3" "$4")" "$(basename "$1"): X11 $2, Wayland $3, D-Bus $4"
}
screen portable ECONNREFUSED ENOENT ENOENT
screen "$T/shown.yaml" ECONNREFUSED EACCES EACCES
screen desktop '0 canary' '0 canary' ENOENT
screen "$T/bus.yaml" ECONNREFUSED ENOENT '0 canary'
# shellcheck disable=SC2016 # for the guest
try "$KAPSEL" run --rm --profile desktop "$T/n.kapsel" -- /bin/sh -c 'echo "$DISPLAY $WAYLAND_DISPLAY $XDG_RUNTIME_DIR${DBUS_SESSION_BUS_ADDRESS-}"'
expect_out "$DISPLAY wayland-7 $XDG_RUNTIME_DIR" 'desktop: the variables that go with it'

try "$KAPSEL" run --rm --net none "$T/n.kapsel" -- /net kinds
expect_out "$(printf 'raw EAFNOSUPPORT\npacket EAFNOSUPPORT\nnetlink EAFNOSUPPORT\nvsock EAFNOSUPPORT\nsctp EAFNOSUPPORT\nunix 0 ')" 'none: the only sockets are AF_UNIX'
try "$KAPSEL" run --rm --net loopback "$T/n.kapsel" -- /net kinds
expect_out "$(printf 'raw EPERM\npacket EAFNOSUPPORT\nnetlink EAFNOSUPPORT\nvsock EAFNOSUPPORT\nsctp EPROTONOSUPPORT\nunix 0 ')" 'loopback: and TCP and UDP'
there=EADDRNOTAVAIL
[ "$sockets" ] || there="0 ${outside:-10.9.8.7}" # by the kernel, on the device of the loopback
[ "$sockets$outside" ] || there=EADDRNOTAVAIL
if [ "$sockets" ]; then
  try "$KAPSEL" run --rm --net connect=1 "$T/n.kapsel" -- /net listen "${outside:-10.9.8.7}"
  expect_out "$(printf 'listen-unbound 0 127.0.0.1\nlisten-any 0 127.0.0.1\nlisten-there EADDRNOTAVAIL')" 'connect: who listens does so on the loopback'
fi
try "$KAPSEL" run --rm --net loopback "$T/n.kapsel" -- /net listen "${outside:-10.9.8.7}"
expect_out "$(printf 'listen-unbound 0 0.0.0.0\nlisten-any 0 0.0.0.0\nlisten-there %s' "$there")" 'loopback: what listens everywhere is on the device of the loopback'
"$KAPSEL" run --rm --net loopback "$T/n.kapsel" -- /net serve-tcp 0.0.0.0 0 >"$T/inside" 2>"$T/err" </dev/null &
servers="$servers $!"
wait_for test -s "$T/inside"
"$net" tcp 127.0.0.1 "$(cat "$T/inside")" >"$T/out" 2>&1
if [ "$(grep -c '0 canary' "$T/out")" = 3 ]; then ok 'loopback: a listener inside is reached from this host'; else not_ok 'loopback: a listener inside' "$T/out" "$T/err"; fi
if [ "$sockets" ]; then
  try "$KAPSEL" run --rm --net connect=9 "$T/n.kapsel" -- /net interrupt 127.0.0.1 9
  expect_out 'interrupted ECONNREFUSED' 'connect: a blocking connect that is refused at once'
  serve nobody serve-nobody 127.0.0.1 0
  for runner in '' "$KAPSEL run --rm --net connect=9 $T/n.kapsel --"; do
    program=$net
    [ -z "$runner" ] || program=/net
    # shellcheck disable=SC2086 # words
    try $runner $program interrupt 127.0.0.1 "$(cat "$T/nobody")"
    expect_out 'interrupted EINTR' "connect: a signal ends one that waits ${runner:+inside}"
  done
fi

try "$KAPSEL" run --rm --net loopback "$T/n.kapsel" -- /bin/cat /etc/resolv.conf
if ! grep -q ^nameserver "$T/out"; then ok 'loopback: no name server in resolv.conf'; else not_ok 'resolv.conf' "$T/out"; fi

# --- who decides ---
sed '1a requests: {network: loopback}' "$T/n.yaml" >"$T/asks.yaml"
try "$KAPSEL" pack --quiet "$T/asks.yaml" -o "$T/asks.kapsel"
try "$KAPSEL" run --rm "$T/asks.kapsel" -- /net listen "${outside:-10.9.8.7}"
if grep -q "^listen-there $there" "$T/out"; then ok 'an image that asks for less gets less'; else not_ok 'an image that asks for less gets less' "$T/out"; fi
try "$KAPSEL" run --rm --profile isolated "$T/asks.kapsel" -- /net tcp 127.0.0.1 "$tcp"
if grep -q '^connect EAFNOSUPPORT' "$T/out"; then ok 'and no more than the profile grants'; else not_ok 'no more than the profile' "$T/out"; fi
try "$KAPSEL" run --rm --net some "$T/n.kapsel"
expect_err_line "^kapsel: --net: 'some': no such access" 'a bad --net'
printf 'network: host\nsyscalls: {deny: [getsockname, socketpair, nothing_such]}\n' >"$T/deny.yaml"
try "$KAPSEL" run --rm --profile "$T/deny.yaml" "$T/n.kapsel"
expect_err_line "syscalls: 'nothing_such': there is no such call" 'a denied call that there is not'
printf 'network: host\nsyscalls: {deny: [listen]}\n' >"$T/deny.yaml"
try "$KAPSEL" run --rm --profile "$T/deny.yaml" "$T/n.kapsel" -- /net listen 127.0.0.1
if [ "$(grep -c ' EPERM' "$T/out")" = 3 ]; then ok 'a call that the profile denies'; else not_ok 'a call that the profile denies' "$T/out" "$T/err"; fi
finish
