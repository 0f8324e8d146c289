# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Snapshots and clones of an instance that runs: nobody in it notices, nothing is torn, and what they hold is of one instant.
# KAPSEL_FREEZES: how often (1,000 by hand).
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/sleep /bin/dd /usr/bin/od /usr/bin/tr
img=$T/small.kapsel
base=$HOME/.local/share/kapsel/instances
freezes=${KAPSEL_FREEZES:-12}
mkdir "$T/b"
cp "$STAGE/e2e/freeze" "$STAGE/e2e/held" "$T/b/"

start() { # INSTANCE COMMAND...: in the background, with $T/in as its input if there is one; waits until it says "ready"
  one=$1
  shift
  : >"$T/said"
  "$KAPSEL" run --instance "$one" --bind "$T/b:/b:ro" "$img" -- "$@" <"${input:-/dev/null}" >"$T/said" 2>"$T/said.err" &
  runs=$!
  [ -z "${input-}" ] || exec 9>"$input"
  i=0
  until grep -q ready "$T/said" || [ "$i" -gt 200 ]; do
    i=$((i + 1))
    sleep 0.05
  done
}
stop() { # INSTANCE
  "$KAPSEL" stop --time 0 "$1" 2>/dev/null
  wait "$runs"
}

# --- every way to wait ---
if (sleep 1) | (cd "$T" && "$T/b/freeze" blocked) >"$T/native" 2>&1; then ok "natively they wait until they are woken"; else not_ok "natively they wait" "$T/native"; fi
mkfifo "$T/in"
input=$T/in
start f /bin/sh -c 'mkdir -p /w; cd /w; exec /b/freeze blocked'
input=
n=0 bad='' : >"$T/held"
while [ "$n" -lt "$freezes" ] && [ -z "$bad" ]; do
  n=$((n + 1))
  try "$KAPSEL" snapshot create f "s$n"
  [ "$status" = 0 ] || bad="snapshot $n"
  sed -n 's/.*held still for \(.*\) ms/\1/p' "$T/err" >>"$T/held"
  [ "$n" = 1 ] || "$KAPSEL" snapshot rm f "s$n" >/dev/null 2>&1 || bad="removing $n"
done
if [ -z "$bad" ]; then ok "$n snapshots while it runs"; else not_ok "snapshots while it runs: $bad" "$T/out" "$T/err"; fi
sort -n "$T/held" | awk '{ a[NR] = $1 } END { print "# held still for " a[1] " to " a[NR] " ms, half of them at most " a[int((NR + 1) / 2)] }'
exec 9>&-
wait "$runs"
status=$?
if [ "$status" = 0 ] && grep -q '^good' "$T/said"; then ok "no wait ended by them, no signal is lost"; else not_ok "no wait ended by them: $status" "$T/said" "$T/said.err"; fi

# --- a shared mapping: no time of the file tells of its changes ---
count_in() { # SNAPSHOT
  od -An -N8 -tu8 "$base/m/snapshots/$1/files/upper/w/map" | tr -d ' '
}
start m /bin/sh -c 'mkdir -p /w; exec /b/held mapped /w/map'
for s in one two three; do
  try "$KAPSEL" snapshot create m $s
  sleep 0.1
done
if [ "$(count_in one)" -lt "$(count_in two)" ] && [ "$(count_in two)" -lt "$(count_in three)" ]; then
  ok "what is mapped shared is copied each time"
else not_ok "what is mapped shared: $(count_in one) $(count_in two) $(count_in three)" "$T/err"; fi
try "$KAPSEL" clone m mc
expect_status 0 "a clone of what runs"
try "$KAPSEL" clone -n 2 m mc
expect_status 0 "two of them"
stop m
try "$KAPSEL" snapshot create m four
if [ "$(count_in three)" -lt "$(count_in four)" ]; then ok "and once more when it has ended"; else not_ok "and once more when it has ended" "$T/err"; fi
try "$KAPSEL" run --instance mc-2 "$img" -- /bin/sh -c 'od -An -N8 -tu8 /w/map | tr -d " "'
if [ "$status" = 0 ] && [ "$(cat "$T/out")" -ge "$(count_in three)" ]; then ok "a clone has what the program had"; else not_ok "a clone has what the program had" "$T/out" "$T/err"; fi
if [ -z "$(ls -A "$base/m/snapshots" | grep '^\.')" ]; then ok "nothing is left beside the snapshots"; else not_ok "something is left beside the snapshots"; fi

# --- stopped by job control: it stays so ---
start j /bin/sh -c 'mkdir -p /w; /bin/sh -c "kill -STOP \$\$; echo on >/w/on" & echo $! >/w/pid; sleep 0.3; echo ready; wait; cat /w/on; sleep 60'
pid=$(cat "$base/j/upper/w/pid")
state() { sed 's/.*) \(.\).*/\1/' "/proc/$1/stat"; }
before=$(state "$pid")
try "$KAPSEL" snapshot create j s
if [ "$status" = 0 ] && [ "$before$(state "$pid")" = TT ]; then ok "a stopped process stays stopped"; else not_ok "a stopped process: $before, then $(state "$pid")" "$T/err"; fi
kill -CONT "$pid"
i=0
until grep -q on "$T/said" || [ "$i" -gt 100 ]; do
  i=$((i + 1))
  sleep 0.05
done
if grep -q on "$T/said"; then ok "and goes on when it is told to"; else not_ok "and goes on when it is told to" "$T/said"; fi
stop j

# --- traced by a guest; the child of a vfork ---
start t /b/held traced
try "$KAPSEL" snapshot create t s
expect_err_line '^kapsel: t: process [0-9]+ \(held\) cannot be stopped: process [0-9]+ traces it' "a process that a guest traces is named"
stop t
start t /b/held stopped
try "$KAPSEL" snapshot create t s
expect_status 0 "one that its tracer has stopped is no obstacle"
stop t
start v /b/held vfork
try "$KAPSEL" snapshot create v s
expect_status 0 "nor is who waits for the child of a vfork"
try "$KAPSEL" exec v -- /bin/true
expect_status 0 "and the instance goes on"
stop v

# --- going back: what runs is stopped, and started again if asked ---
start r /bin/sh -c 'mkdir -p /w; echo one >/w/a; echo ready; sleep 60'
try "$KAPSEL" snapshot create r one
try "$KAPSEL" exec r -- /bin/sh -c 'echo two >/w/a'
try "$KAPSEL" snapshot restore r nothing
expect_err_line '^kapsel: nothing: r has no snapshot of that name' "a snapshot that is not there"
try "$KAPSEL" exec r -- /bin/cat /w/a
expect_out two "stops nothing"
try "$KAPSEL" snapshot restore r one
expect_status 0 "restore of an instance that runs"
wait "$runs"
try "$KAPSEL" exec r -- /bin/true
expect_err_line '^kapsel: r: does not run' "it is stopped"
try "$KAPSEL" run --instance r "$img" -- /bin/cat /w/a
expect_out one "and what it was"
cd "$T/b" || exit 1
# shellcheck disable=SC2016 # for the guest's shell
start r /bin/sh -c '[ -e /w/again ] && { cat /w/a; exit 5; }; : >/w/again; echo ready; sleep 60'
cd "$T" || exit 1
try "$KAPSEL" snapshot create r two
"$KAPSEL" exec r -- /bin/sh -c 'echo three >/w/a; echo four >>/w/a' >/dev/null 2>&1
try "$KAPSEL" snapshot restore --restart r two
wait "$runs"
if [ "$status" = 5 ] && [ "$(cat "$T/out")" = one ]; then ok "with --restart it is started again"; else not_ok "with --restart it is started again: $status" "$T/out" "$T/err"; fi

# --- killed in the middle ---
start k /bin/sh -c 'mkdir -p /w; dd if=/dev/urandom of=/w/big bs=1M count=60 2>/dev/null; echo ready; exec 3>>/w/big; while :; do echo >&3; done'
bad='' round=0
while [ "$round" -lt 3 ] && [ -z "$bad" ]; do
  round=$((round + 1))
  [ "$round" = 1 ] || start k /bin/sh -c 'echo ready; exec 3>>/w/big; while :; do echo >&3; done'
  "$KAPSEL" snapshot create k "s$round" >/dev/null 2>&1 &
  asks=$!
  sleep "0.0$((round * 2))"
  super=$("$KAPSEL" ps --json | sed -n 's/.*"supervisor":\([0-9]*\).*/\1/p')
  guests=$(for p in /proc/[0-9]*; do case $(readlink "$p/exe" 2>/dev/null) in "$XDG_RUNTIME_DIR"/*) echo "${p#/proc/}" ;; esac done)
  kill -9 "$super" 2>/dev/null
  wait "$runs" "$asks" 2>/dev/null
  sleep 0.3
  for p in $guests; do
    case $(state "$p" 2>/dev/null) in '' | Z) ;; *) bad="$p is in state $(state "$p")" ;; esac
  done
done
if [ -z "$bad" ]; then ok "with the supervisor killed in the middle nobody stays behind"; else not_ok "killed in the middle: $bad"; fi
try "$KAPSEL" verify k
expect_status 0 "its files verify"
finish
