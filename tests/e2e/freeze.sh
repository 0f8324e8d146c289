# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Snapshots and clones of an instance that runs: nobody in it notices, nothing is torn, and what they hold is of one instant.
# KAPSEL_FREEZES: how often (1,000 by hand); KAPSEL_SNAPSHOTS: of a data base at work (50 by hand).
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/sleep /bin/dd /usr/bin/od /usr/bin/tr
img=$T/small.kapsel
base=$HOME/.local/share/kapsel/instances
freezes=${KAPSEL_FREEZES:-12}
snapshots=${KAPSEL_SNAPSHOTS:-5}
mkdir "$T/b"
cp "$STAGE/e2e/freeze" "$STAGE/e2e/held" "$T/b/"

start() { # INSTANCE COMMAND...: in the background, with $T/in as its input if there is one; waits until it says "ready"
  one=$1
  shift
  : >"$T/said"
  "$KAPSEL" run --instance "$one" --bind "$T/b:/b:ro" "$img" -- "$@" <"${input:-/dev/null}" >"$T/said" 2>"$T/said.err" &
  runs=$!
  [ -z "${input-}" ] || exec 9>"$input"
  wait_for grep -q ready "$T/said"
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
  sed -n 's/.*held still for \([0-9.]*\) ms.*/\1/p' "$T/err" >>"$T/held"
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
counts_on() { [ "$(od -An -N8 -tu8 "$base/m/upper/w/map")" -gt "$counted" ]; }
for s in one two three; do
  try "$KAPSEL" snapshot create m $s
  counted=$(count_in $s)
  wait_for counts_on
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

# --- what is done while they stand still: names are looked at, only what may have changed since is copied ---
copied() { # what `create --json` says
  sed -n "s/.*\"copied_$1\":\([0-9]*\).*/\1/p" "$T/out"
}
files=${KAPSEL_FILES:-2000}
# shellcheck disable=SC2016 # for the guest's shell
start q /bin/sh -c 'mkdir -p /w; i=0; while [ $i -lt '"$files"' ]; do i=$((i + 1)); [ $((i % 100)) != 1 ] || mkdir /w/d$i && d=/w/d$i; echo $i >$d/f$i; done
  exec 3>/w/log; echo ready; while :; do echo >&3; j=0; while [ $j -lt 1000 ]; do j=$((j + 1)); done; done'
sleep 0.1
for s in one two; do
  try "$KAPSEL" snapshot create --json q $s
  echo "# $files files: $(sed 's/.*"held_ms"/held_ms/; s/[}"]//g' "$T/out")"
  if [ "$(copied files)" = 1 ] && [ "$(copied bytes)" -gt 0 ] && [ "$(copied bytes)" -lt 65536 ]; then ok "of $files files one is copied while they stand still: $s"; else
    not_ok "what is copied while they stand still: $s" "$T/out" "$T/err"
  fi
  "$KAPSEL" exec q -- /bin/sh -c 'echo new >/w/d1/new; echo changed >/w/d1/f2; rm /w/d1/f3; mv /w/d1/f4 /w/d1/f5'
  sleep 0.1
done
(cd "$base/q/snapshots/two/files/upper/w" && find . -type f | sort | sed '/log/d' && cat d1/new d1/f2 d1/f5 && stat -c %h d1/f6 d1/f2) >"$T/has"
(cd "$base/q/upper/w" && find . -type f | sort | sed '/log/d' && cat d1/new d1/f2 d1/f5 && printf '2\n1\n') >"$T/wanted"
if cmp -s "$T/has" "$T/wanted"; then ok "and the second has what is changed, and shares what is not"; else not_ok "what the second has" "$T/has" "$T/wanted"; fi
"$KAPSEL" exec q -- /bin/sh -c 'rm -r /w/d1; mkdir /w/d1; echo else >/w/d1/f2'
try "$KAPSEL" snapshot diff q two
if grep -q '^D .*/w/d1/new$' "$T/out" && grep -q '^M .*/w/d1/f2$' "$T/out"; then ok "what comes later is not in it"; else not_ok "what comes later is not in it" "$T/out" "$T/err"; fi
stop q

# --- stopped by job control: it stays so ---
start j /bin/sh -c 'mkdir -p /w; /bin/sh -c "kill -STOP \$\$; echo on >/w/on" & echo $! >/w/pid; echo ready; wait; cat /w/on; sleep 300'
pid=$(cat "$base/j/upper/w/pid")
state() { sed 's/.*) \(.\).*/\1/' "/proc/$1/stat"; }
is_stopped() { [ "$(state "$pid")" = T ]; }
wait_for is_stopped
before=$(state "$pid")
try "$KAPSEL" snapshot create j s
if [ "$status" = 0 ] && [ "$before$(state "$pid")" = TT ]; then ok "a stopped process stays stopped"; else not_ok "a stopped process: $before, then $(state "$pid")" "$T/err"; fi
kill -CONT "$pid"
if wait_for grep -q on "$T/said"; then ok "and goes on when it is told to"; else not_ok "and goes on when it is told to" "$T/said"; fi
stop j

# --- on the disk before it has its name; who joins does not wait for the disk ---
if command -v strace >/dev/null; then
  start d /bin/sh -c 'mkdir -p /w; echo 1 >/w/f; echo ready; sleep 300'
  super=$(cut -d ' ' -f 1 "/proc/$runs/task/$runs/children") # the front's child
  strace -f -qq -e signal=none -o "$T/strace" -e trace=syncfs,renameat -e inject=syncfs:delay_enter=8000000 -p "$super" 2>"$T/strace.err" &
  tracer=$!
  is_traced() { ! grep -q '^TracerPid:.0$' /proc/"$super"/task/*/status; }
  wait_for is_traced
  "$KAPSEL" snapshot create d s >/dev/null 2>&1 &
  asks=$!
  waits_for_disk() { grep -q '^306 ' /proc/"$super"/task/*/syscall; } # syncfs
  wait_for waits_for_disk
  try "$KAPSEL" exec d -- /bin/sh -c 'echo in'
  if grep -q in "$T/out" && kill -0 "$asks" 2>/dev/null && [ ! -e "$base/d/snapshots/s" ]; then ok "what joins does not wait for the disk"; else not_ok "what joins, while it is written to the disk" "$T/out" "$T/err" "$T/strace.err"; fi
  wait "$asks"
  stop d
  wait "$tracer"
  if awk '/syncfs.* = 0/ { synced = 1 } /"s"\) *= 0/ && synced { good = 1 } END { exit !good }' "$T/strace"; then ok "a snapshot is on the disk before it has its name"; else not_ok "a snapshot has its name before it is on the disk" "$T/strace"; fi
fi

# --- traced by a guest; the child of a vfork ---
start t /b/held traced
"$KAPSEL" snapshot create t early >/dev/null 2>&1 & # it tries for three seconds
asks=$!
sleep 0.5
try "$KAPSEL" ps
if grep -q '^t  *0:00:0' "$T/out" && kill -0 "$asks"; then ok "ps is answered while a snapshot is being made"; else not_ok "ps while a snapshot is being made" "$T/out" "$T/err"; fi
joins=$(date +%s%N)
try "$KAPSEL" exec t -- /bin/sh -c 'echo in'
expect_out in "what joins waits for its end"
joined=$(date +%s%N)
wait "$asks" # is told of the end when the other is: who did not wait for it is in at once, and then there is much of the three seconds left
ended=$(date +%s%N)
if [ $((ended - joined)) -lt $((joined - joins)) ]; then ok "but no shorter"; else not_ok "but no shorter: $(((joined - joins) / 1000000)) ms, and $(((ended - joined) / 1000000)) ms were left"; fi
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

# --- stopped in the middle of it ---
start e /b/held traced
"$KAPSEL" snapshot create e s >"$T/asked" 2>&1 &
asks=$!
sleep 0.3
try "$KAPSEL" stop --time 1 e
expect_status 0 "an instance is stopped while it is copied"
wait "$asks" "$runs"
try "$KAPSEL" run --instance e "$img" -- /bin/true
expect_status 0 "and starts again"

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
expect_err_line '^kapsel: r: it ran and was stopped; --restart starts it again$' "says that it was stopped"
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

# --- a data base at work: each snapshot has every transaction that was acknowledged before it ---
if command -v sqlite3 >/dev/null; then
  small_image db /usr/bin/sqlite3 /bin/mkdir
  db=$T/db.kapsel
  # shellcheck disable=SC2016 # for the guest's shell
  writer='mkdir -p /w; sqlite3 /w/db "pragma journal_mode=$1; create table t(n integer primary key, pad text);" >/dev/null
    i=0; { while [ $i -lt 200000 ]; do i=$((i + 1)); echo "insert into t values($i, hex(randomblob(400)));"; echo "select $i;"; done; } | sqlite3 /w/db'
  for mode in delete wal; do
    : >"$T/acked" # not what the one before said
    "$KAPSEL" run --instance "d$mode" "$db" -- /bin/sh -c "$writer" writer $mode >"$T/acked" 2>"$T/acked.err" &
    runs=$!
    i=0
    until [ "$(wc -l <"$T/acked")" -gt 10 ] || [ "$i" -gt 1200 ]; do
      i=$((i + 1))
      sleep 0.05
    done
    n=0 bad=''
    : >"$T/held"
    while [ "$n" -lt "$snapshots" ] && [ -z "$bad" ]; do
      n=$((n + 1))
      acked=$(tail -n 2 "$T/acked" | head -1)
      try "$KAPSEL" snapshot create "d$mode" "s$n"
      [ "$status" = 0 ] || bad="snapshot $n"
      echo "$acked" >"$T/acked.$n"
      sed -n 's/.*held still for \([0-9.]*\) ms.*/\1/p' "$T/err" >>"$T/held"
      sleep 0.1
    done
    stop "d$mode"
    n=0
    while [ "$n" -lt "$snapshots" ] && [ -z "$bad" ]; do
      n=$((n + 1))
      try "$KAPSEL" snapshot restore "d$mode" "s$n"
      [ "$status" = 0 ] || bad="restore $n"
      try "$KAPSEL" run --instance "d$mode" "$db" -- /bin/sh -c 'sqlite3 /w/db "pragma integrity_check; select max(n) = count(*), max(n) from t"'
      has=$(sed -n 's/^1|//p' "$T/out")
      [ "$(head -1 "$T/out")" = ok ] && [ "${has:-0}" -ge "$(cat "$T/acked.$n")" ] || bad="snapshot $n: acknowledged $(cat "$T/acked.$n"), has '$has'"
    done
    if [ -z "$bad" ]; then
      ok "SQLite at work, journal $mode: $snapshots snapshots, each recovers with all that was acknowledged"
      sort -n "$T/held" | awk '{ a[NR] = $1 } END { print "# held still for " a[1] " to " a[NR] " ms, half of them at most " a[int((NR + 1) / 2)] }'
    else not_ok "SQLite at work, journal $mode: $bad" "$T/out" "$T/err" "$T/acked.err"; fi
  done
else
  skip "SQLite at work" "no sqlite3 on this host"
fi

# --- a guest that is up to no good while it is copied ---
mkdir "$T/outside"
echo secret >"$T/outside/secret"
start h /bin/sh -c 'mkdir -p /w/d; cd /w; echo ready; while :; do mkdir d 2>/dev/null; echo x >d/secret; mv d e; ln -s '"$T/outside"' d; rm d; rm -r e
  mkfifo f; rm f; echo y >f; rm f; ln -s /etc/passwd f; rm f; mkdir f; rm -r f; done'
bad='' n=0
while [ "$n" -lt 10 ] && [ -z "$bad" ]; do
  n=$((n + 1))
  try "$KAPSEL" snapshot create h "s$n"
  [ "$status" = 0 ] || bad="snapshot $n: $status"
  [ "$(find "$base/h/snapshots" -name secret -type f -exec grep -l secret {} + | wc -l)" = 0 ] || bad="snapshot $n holds what is outside"
done
try "$KAPSEL" clone h hc
[ "$status" = 0 ] || bad="clone: $status"
stop h
if [ -z "$bad" ] && [ "$(ls -A "$T/outside")" = secret ] && [ "$(cat "$T/outside/secret")" = secret ]; then
  ok "names that change kinds under the copy lead it nowhere"
else not_ok "names that change kinds: $bad" "$T/out" "$T/err"; fi
try "$KAPSEL" verify hc
expect_status 0 "and the copy verifies"

# --- the asking command is killed ---
start a /bin/sh -c 'mkdir -p /w; i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo 1 >/w/f$i; done; echo ready; while :; do echo 1 >/w/f1; done'
bad='' n=0
while [ "$n" -lt "$freezes" ] && [ -z "$bad" ]; do
  n=$((n + 1))
  "$KAPSEL" snapshot create a "k$n" >/dev/null 2>&1 &
  asks=$!
  sleep "0.0$((n % 6))"
  kill -9 "$asks" 2>/dev/null
  wait "$asks" 2>/dev/null
done
try "$KAPSEL" exec a -- /bin/true
[ "$status" = 0 ] || bad="the instance is gone"
try "$KAPSEL" snapshot create a last
[ "$status" = 0 ] || bad="no snapshot any more"
stop a
for s in $("$KAPSEL" snapshot list --json a | sed -n 's/.*"name":"\([^"]*\)".*/\1/p'); do
  [ "$(ls "$base/a/snapshots/$s/files/upper/w" | wc -l)" = 300 ] || bad="$s is not whole"
done
try "$KAPSEL" run --instance a "$img" -- /bin/true
[ -z "$(ls -A "$base/a/snapshots" | grep '^\.')" ] || bad="something is left: $(ls -A "$base/a/snapshots")"
if [ -z "$bad" ]; then ok "$n kills of who asks: each snapshot is whole or not there"; else not_ok "kills of who asks: $bad" "$T/out" "$T/err"; fi

# --- killed in the middle, while it is prepared and while all stand still; KAPSEL_KILLS: how often ---
all_are_gone() {
  for p in $guests; do
    case $(state "$p") in '' | Z) ;; *) return 1 ;; esac
  done
}
works='exec 3>>/w/big; i=0; while :; do i=$((i + 1)); echo >&3; echo $i >/w/n; [ $((i % 50)) != 1 ] || echo ready; done'
start k /bin/sh -c 'mkdir -p /w/d; dd if=/dev/urandom of=/w/big bs=1M count=40 2>/dev/null; while [ "${i:-0}" -lt 300 ]; do i=$((${i:-0} + 1)); echo whole >/w/d/f$i; done; '"$works"
bad='' round=0 rounds=${KAPSEL_KILLS:-4} made=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  [ "$round" = 1 ] || start k /bin/sh -c "$works"
  "$KAPSEL" snapshot create k "s$round" >/dev/null 2>&1 &
  asks=$!
  sleep "0.$(printf %03d $((round * 37 % 90)))"
  super=$(cut -d ' ' -f 1 "/proc/$runs/task/$runs/children") # the front's child
  guests=$(for p in /proc/[0-9]*; do case $(readlink "$p/exe" 2>/dev/null) in "$XDG_RUNTIME_DIR"/*) echo "${p#/proc/}" ;; esac done)
  kill -9 "$super" 2>/dev/null || bad="no supervisor"
  [ $((round % 2)) = 0 ] || kill -9 "$asks" 2>/dev/null # else it makes the snapshot itself
  wait "$runs" "$asks" 2>/dev/null
  wait_for all_are_gone || bad="$p is in state $(state "$p")"
  if [ -d "$base/k/snapshots/s$round" ]; then
    made=$((made + 1)) here=$base/k/snapshots/s$round/files/upper/w
    [ "$(cat "$here"/d/* | grep -c '^whole$')" = 300 ] && [ "$(stat -c %s "$here/big")" -gt 41943040 ] || bad="s$round is not whole"
    "$KAPSEL" snapshot rm k "s$round" >/dev/null 2>&1 || bad="s$round cannot be removed"
  fi
done
if [ -z "$bad" ]; then ok "with the supervisor killed in the middle nobody stays behind, and a snapshot ($made of $round) is whole"; else not_ok "killed in the middle: $bad"; fi
try "$KAPSEL" run --instance k "$img" -- /bin/true
if [ "$status" = 0 ] && [ -z "$(ls -A "$base/k/snapshots")" ]; then ok "the next start takes the rest away"; else not_ok "the next start: $status, left: $(ls -A "$base/k/snapshots")" "$T/err"; fi
try "$KAPSEL" verify k
expect_status 0 "its files verify"
finish
