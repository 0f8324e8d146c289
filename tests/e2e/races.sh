# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Races: another thread exchanges what COUNT (5000) calls are made with, or the directories that they walk. Both values are seen, nothing of the host
# is got, the supervisor stays.
. "$STAGE/e2e/lib.sh"
count=${COUNT:-5000}
TIMEOUT=$((120 + count / 50))

cp "$STAGE/e2e/races" "$T/races"
printf '#!/races run\n' >"$T/script"
chmod 0755 "$T/script"
cat >races.yaml <<'M'
kapsel: 1
name: races
version: "1"
entry: {command: [/races], cwd: /}
contents:
  - copy: {from: races, to: /races}
  - copy: {from: script, to: /script}
  - file: {path: /readonly, mode: 0444, text: "not to be written\n"}
  - file: {path: /imageF, mode: 0666, text: "of the image\n"}
M
try "$KAPSEL" pack --quiet races.yaml -o races.kapsel
expect_status 0 "packed"
img=$T/races.kapsel
reaches_sockets "$img" && sockets=1 || sockets=

# Of the host, and not to be got at: a file, a program, a directory; sockets in a directory that the profile shows.
host=$T/host
mkdir -p "$host/dirF"
printf 'canary\n' >"$host/fileF"
printf 'canary\n' >"$host/dirF/canary"
cp "$T/races" "$host/programF"
shown=$(mktemp -d /tmp/kapsel-races.XXXXXX)
for type in stream datagram; do
  : >"$T/$type-reached"
  "$STAGE/e2e/races" $type serve "$shown/$type-F" "$T/$type-reached" &
  servers="${servers-} $!"
done
# shellcheck disable=SC2086 # words
trap 'kill $servers 2>/dev/null; rm -rf "$shown"' EXIT
wait_for test -S "$shown/stream-F"
wait_for test -S "$shown/datagram-F"
tree() {
  (cd "$host" && find . -printf '%P|%y %m %s %C@ %T@ %n %l\n' | sort && cat fileF dirF/canary)
}
tree >"$T/before"

raced() { # LEVEL WAY COUNT FORBIDDEN [OPTION...]
  # shellcheck disable=SC2086 # words
  try "$KAPSEL" run --rm --quiet --level "$1" ${5-} "$img" -- /races "$2" "$3" "$4"
  least=$(($3 / 100))
  [ $least -lt 1000 ] || least=1000
  if [ "$status" = 0 ] && awk -v least=$least -v way="$2" '{ gsub(",", ""); exit !($1 == "tries" && $6 >= least && $8 + (way == "reopen" ? $10 : 0) >= least && $NF == 0) }' "$T/out"; then
    ok "$2, $1: $(cat "$T/out")"
  else
    not_ok "$2, $1: exit $status" "$T/out" "$T/err"
  fi
}
cp "$host/fileF" "$T/nativeF"
try "$STAGE/e2e/races" path 200000 "$T/nativeF"
expect_status 1 "natively the file of the host is got: $(cat "$T/out")"
for level in portable strict; do
  raced $level path "$count" "$host/fileF"
  raced $level how "$count" "$host/fileF"
  raced $level exec "$count" "$host/programF"
  raced $level argv $(((count + 99) / 100)) "$host/fileF"
  if [ "$sockets" ] || [ $level = portable ]; then
    raced $level stream "$count" "$shown/stream-F"
    raced $level datagram "$count" "$shown/datagram-F"
  else
    skip "stream, datagram, $level" 'pidfd_getfd is refused here: addresses are, too'
  fi
  raced $level symlink "$count" "$host/dirF"
  raced $level directory "$count" "$host/fileF"
  if [ "$sockets" ]; then raced $level lease "$count" /own/F; else skip "lease, $level" 'pidfd_getfd is refused here: the guest makes the call itself'; fi
  if [ "$sockets" ]; then
    raced $level reopen "$count" /imageF
    raced $level reopen "$count" "$host/fileF" "--mode $host=writecopy"
    raced $level reopen "$count" /bound/fileF "--bind $host:/bound:ro"
  else
    skip "reopen, $level" 'pidfd_getfd is refused here: how a descriptor was opened is what its link says'
  fi
done
try "$KAPSEL" cache verify
expect_status 0 "the store is as it was"
tree >"$T/after"
if cmp -s "$T/before" "$T/after"; then ok "the host's files are as they were"; else not_ok "files of the host were changed" "$T/before" "$T/after"; fi
if [ ! -s "$T/stream-reached" ] && [ ! -s "$T/datagram-reached" ]; then ok "nobody came to the host's sockets"; else not_ok "sockets of the host were reached" "$T/stream-reached" "$T/datagram-reached"; fi

# Numbers of processes come round within a moment where there are few, among processes of "the host", in a namespace of processes.
[ "$(id -u)" = 0 ] || skip_rest "only root can make numbers of processes scarce"
unshare -fp --mount-proc true 2>/dev/null || skip_rest "no namespace of processes is to be had here"
cat >"$T/few" <<'END'
echo 500 >/proc/sys/kernel/pid_max && [ "$(cat /proc/sys/kernel/pid_max)" = 500 ] || exit 77
"$STAGE/e2e/races" victim "$T/signalled" &
victims=$!
for level in portable strict; do
  timeout -k 5 "$2" "$KAPSEL" run --rm --quiet --level $level "$T/races.kapsel" -- /races pids "$1" /none/F || echo "exit $?"
done
kill $victims
END
before=$(cat /proc/sys/kernel/pid_max)
export STAGE T KAPSEL
# shellcheck disable=SC2097,SC2098 # twice that, for both
TIMEOUT=$((TIMEOUT * 2)) try unshare -fp --kill-child --mount-proc sh "$T/few" "$count" "$TIMEOUT"
if [ "$(cat /proc/sys/kernel/pid_max)" != "$before" ]; then echo "$before" >/proc/sys/kernel/pid_max; fi
[ "$status" != 77 ] || skip_rest "the number of processes is not a namespace's own (Linux 6.14)"
expect_status 0 "numbers of processes are scarce"
for level in portable strict; do
  line=$(head -1 "$T/out")
  sed -i 1d "$T/out"
  case $line in
  *' own 0,'* | *'other 0,'*) not_ok "pids, $level: $line" ;;
  'tries '*', forbidden 0') ok "pids, $level: $line" ;;
  *) not_ok "pids, $level: $line" "$T/err" ;;
  esac
done
if [ ! -s "$T/signalled" ]; then ok "no process of the host was signalled"; else not_ok "processes of the host were signalled" "$T/signalled"; fi
finish
