# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The first things a user does: pack, run, look at what came of it.
. "$STAGE/e2e/lib.sh"

small_image small /bin/sleep
img=$T/small.kapsel

try "$KAPSEL" run --rm "$img" -- /bin/cat /etc/greeting
expect_out "hello from the image" "a file of the image"
try "$KAPSEL" run --rm "$img" -- /bin/sh -c 'echo out; echo err >&2; exit 3'
expect_status 3 "exit status"
if [ "$(cat "$T/out")" = out ] && [ "$(cat "$T/err")" = err ]; then ok "both outputs apart"; else not_ok "both outputs apart" "$T/out" "$T/err"; fi
try "$KAPSEL" run --rm "$img" -- /bin/sh -c 'kill -KILL $$'
expect_status 137 "killed by a signal"
try "$KAPSEL" run --rm "$img" -- /bin/nothing
expect_status 127 "no such program"
expect_err_line '^kapsel: ' "and one line says so"
if grep -q '^hint: ' "$T/err"; then ok "with advice"; else not_ok "with advice" "$T/err"; fi
try "$KAPSEL" run --rm --quiet "$img" -- /bin/nothing
if [ "$(wc -l <"$T/err")" = 1 ]; then ok "none with --quiet"; else not_ok "none with --quiet" "$T/err"; fi
try "$KAPSEL" run --rm "$img" -- /etc/greeting
expect_status 126 "not a program"
try "$KAPSEL" run --rm --cwd /nowhere "$img"
expect_status 125 "a directory that is not there"
expect_err_line '^kapsel: /nowhere: cannot be the working directory: No such file' "is named"
try "$KAPSEL" run --rm "$T/nothing.kapsel"
expect_status 125 "no such image"
expect_err_line 'nothing\.kapsel' "and one line names it"
head -c 5000 "$img" >"$T/cut.kapsel"
try "$KAPSEL" run --rm "$T/cut.kapsel"
expect_status 125 "an image cut short"
expect_err_line 'cut\.kapsel' "and one line names it"

try "$KAPSEL" run --rm "$img" -- /bin/sh -c 'cd /etc && ls nothing-of-the-host passwd >/dev/null 2>&1; test -e /var/lib/dpkg && echo seen'
if [ ! -s "$T/out" ]; then ok "the host's files are not seen"; else not_ok "the host's files are not seen" "$T/out"; fi

try "$KAPSEL" run --instance kept "$img" -- /bin/sh -c 'echo mine >/etc/greeting; echo new >/etc/new'
expect_status 0 "a program changes the image's files"
try "$KAPSEL" run --instance kept "$img" -- /bin/cat /etc/greeting /etc/new
expect_out "mine
new" "the instance keeps them"
try "$KAPSEL" run --instance other "$img" -- /bin/cat /etc/greeting
expect_out "hello from the image" "another instance has its own"
[ ! -e /etc/greeting ] && ok "the host has nothing of it" || not_ok "the host has /etc/greeting"

try "$img" -c 'echo "$0 $#"' zero one two
expect_out "zero 2" "the image runs itself, arguments and all"
printf 'line\n' >"$T/in"
timeout 30 "$KAPSEL" run --rm "$img" -- /bin/cat <"$T/in" >"$T/out" 2>"$T/err"
status=$?
expect_out line "standard input"
try sh -c '"$0" run --rm "$1" -- /bin/sh -c "exit 0" | cat; echo done' "$KAPSEL" "$img"
expect_out done "in a pipe"

# nohup, and a shell's &, have a program ignore signals; an execve keeps that.
show='while read -r key value; do case $key in SigIgn: | SigBlk:) echo "$key $value" ;; esac; done </proc/self/status'
try sh -c 'trap "" HUP INT; exec /bin/sh -c "$1"' sh "$show"
cp "$T/out" "$T/native"
try sh -c 'trap "" HUP INT; exec "$0" run --rm "$1" -- /bin/sh -c "$2"' "$KAPSEL" "$img" "$show"
expect_out "$(cat "$T/native")" "signals that were ignored stay so"
# To the process, then to its group: for the program that is one signal.
# By SIGALRM timeout(1) is told that its time is over; the program waits for a second one for a while.
n=0
while [ $n -lt 5 ]; do
  n=$((n + 1))
  timeout 60 "$KAPSEL" run --rm "$img" -- /bin/sh -c 'trap "echo ended; i=0" TERM; echo up; i=-500; while [ $i -lt 10 ]; do sleep 0.1; i=$((i + 1)); done' >"$T/out$n" 2>&1 &
  timeout=$!
  wait_for grep -q up "$T/out$n"
  kill -ALRM $timeout
  wait $timeout
done
cat "$T"/out[1-5] >"$T/out"
if [ "$(grep -c up "$T/out")$(grep -c ended "$T/out")" = 55 ]; then ok "timeout(1) sends one signal"; else not_ok "timeout(1) sends one signal" "$T/out"; fi

# A write lease holds up all who open the object: on one that instances share it must not be had; on a file of one's own it may.
small_image leases /usr/bin/perl
lease='open(F, "<", $ARGV[0]) or die; exit(defined(fcntl(F, 1024, 1)) ? 0 : 3)'
try "$KAPSEL" run --rm "$T/leases.kapsel" -- /usr/bin/perl -e "$lease" /etc/greeting
expect_status 3 "no write lease on a file of the image"
try "$KAPSEL" run --rm --mode /tmp=full "$T/leases.kapsel" -- /bin/sh -c 'echo >/tmp/own; exec /usr/bin/perl -e "$0" /tmp/own' "$lease"
expect_status 0 "a write lease on a file of one's own"

# shellcheck disable=SC2012 # names are our own
try sh -c 'for i in 1 2 3 4 5; do "$0" run --rm "$1" -- /bin/cat /etc/greeting & done; wait' "$KAPSEL" "$img"
if [ "$(grep -c 'hello from the image' "$T/out")" = 5 ]; then ok "five at once"; else not_ok "five at once" "$T/out" "$T/err"; fi

# Services start programs with an empty environment: who the user is stands in /etc/passwd.
entry=$(getent passwd "$(id -u)")
name=${entry%%:*}
home=$(printf '%s\n' "$entry" | cut -d: -f6)
try env -i XDG_DATA_HOME="$T/home/.local/share" XDG_CACHE_HOME="$T/home/.cache" "$KAPSEL" run --rm --profile isolated "$img" -- /bin/sh -c 'echo "$USER $HOME"'
expect_out "${name:-user} ${home:-/home/user}" "without HOME and USER"

# Not many descriptors are needed, and where there are too few one line says so.
try sh -c 'ulimit -n 100; exec "$0" run --rm "$1" -- /bin/cat /etc/greeting' "$KAPSEL" "$img"
expect_out "hello from the image" "with 100 descriptors"
try sh -c 'ulimit -n 100; exec "$0" run --rm --pass-fd 7 "$1" -- /bin/sh -c "cat <&7"  7</etc/hostname' "$KAPSEL" "$img"
expect_status 0 "and one passed"
try sh -c 'ulimit -n 12; exec "$0" run --rm "$1" -- /bin/cat /etc/greeting' "$KAPSEL" "$img"
expect_status 125 "with 12"
expect_err_line '^kapsel: .*Too many open files' "one line says so"

# Who joins gets what the instance was started with, or an error.
mkdir "$T/shown" "$T/more" "$T/wait" && mkfifo "$T/wait/hold"
"$KAPSEL" run --instance joined --bind "$T/shown:/shown" --bind "$T/wait:/wait" "$img" -- /bin/sh -c 'echo >/wait/up; read -r line </wait/hold' 2>"$T/first.err" &
first=$!
wait_for test -e "$T/wait/up"
try "$KAPSEL" run --instance joined "$img" -- /bin/ls -d /shown
expect_out /shown "joining without asking for anything"
try "$KAPSEL" run --instance joined --bind "$T/shown:/shown" --bind "$T/wait:/wait" "$img" -- /bin/ls -d /shown
expect_out /shown "joining with the options of the start"
try sh -c 'cd "$1" && "$0" run --instance joined --bind shown:/shown --bind wait:/wait "$2" -- /bin/ls -d /shown' "$KAPSEL" "$T" "$img"
expect_out /shown "joining with the same, spelled from here"
try "$KAPSEL" run --instance joined --bind "$T/more:/more" "$img" -- /bin/ls -d /more
expect_status 125 "joining with another bind"
expect_err_line "^kapsel: joined: runs already, started without --bind=" "is told so"
try "$KAPSEL" run --instance joined --bind "$T/shown:/shown" "$img" -- /bin/ls -d /shown
expect_err_line "^kapsel: joined: runs already, started with --bind=.*/wait too" "one of two binds is not the same"
echo >"$T/wait/hold"
wait "$first"
finish
