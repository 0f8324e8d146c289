# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Limits that a control group keeps: where there is a delegated one, all guests are in it, and it goes with the run. TAP.
. "$STAGE/e2e/lib.sh"

top=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
[ -n "$top" ] && [ -n "$own" ] || skip_rest "no control groups of version 2"
base=$top${own%/*}
group=$base/kapsel-test-$$
mkdir "$group" 2>/dev/null || skip_rest "no control group can be made in $base"
alone=own.slice/alone # a slice is not for us, whoever owns it
trap 'rmdir "$group/$alone" "$group"/*/ "$group" 2>/dev/null; :' EXIT
mkdir "$group/launcher" "$group/own.slice" "$group/$alone"
for controller in memory pids; do
  echo "+$controller" >"$group/cgroup.subtree_control"
  echo "+$controller" >"$group/own.slice/cgroup.subtree_control"
done 2>/dev/null
has() { grep -qw "$1" "$group/$alone/cgroup.controllers"; }
has pids && sh -c 'echo $$ >"$0/launcher/cgroup.procs"' "$group" 2>/dev/null || skip_rest "no pids controller is delegated in $base"

cat >"$T/l.yaml" <<END
kapsel: 1
name: l
entry: {command: [/limits]}
contents:
  - copy: {from: $STAGE/e2e/limits, to: /limits}
  - elf: [/bin/sh, /bin/cat, /bin/sleep]
END
try "$KAPSEL" pack --quiet "$T/l.yaml" -o "$T/l.kapsel"
expect_status 0 'an image of what takes all that it gets'

within() { # GROUP COMMAND...: it is the only process in there
  where=$1
  shift
  try sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group/$where" "$@"
}
takes() { # GROUP LIMIT PROGRAM...
  where=$1 limit=$2
  shift 2
  within "$where" "$KAPSEL" run --rm --trace "$T/trace" --limit "$limit" "$T/l.kapsel" -- /limits "$@"
}
said() { # WANTED LINE
  if grep -qxF "$1" "$T/out"; then ok "$where, $limit: $1"; else not_ok "$where, $limit: $1 was expected" "$T/out" "$T/err"; fi
}
told() { # REGEX
  if [ "$(grep -cE "^kapsel: l-0[^ ]*: $1" "$T/err")" = 1 ]; then ok "$where, $limit: the user is told, once"; else not_ok "$where, $limit: /$1/ told once" "$T/err"; fi
}
nothing_left() { # WHAT: neither groups nor what they need
  find "$group" -mindepth 1 -name 'kapsel-*' >"$T/left"
  cat "$group/$alone/cgroup.subtree_control" "$group/$alone/cgroup.procs" >>"$T/left"
  if [ -s "$T/left" ]; then not_ok "$1: no group is left" "$T/left"; else ok "$1: no group is left"; fi
}

# Beside the launcher's group, and below it where only the launcher is in it.
for where in launcher "$alone"; do
  takes "$where" processes=10 processes 50
  said 'processes 9 EAGAIN'
  told 'processes: the limit of 10 is reached'
  if grep -qE ' (clone|fork|vfork)\(' "$T/trace"; then not_ok "$where: no fork is asked about" "$T/trace"; else ok "$where: no fork is asked about"; fi
  takes "$where" processes=10 threads 50
  said 'threads 9 EAGAIN'
  if has memory; then
    takes "$where" memory=64M memory 200
    expect_status 137 "$where: too much memory is the program's end"
    told 'memory: the limit of 64M is reached: a process was ended'
    takes "$where" memory=100M together 40
    said 'together 1 0'
    takes "$where" memory=200M together 40
    said 'together 0 0'
  else
    skip "$where: memory" 'no memory controller is delegated'
  fi
  nothing_left "$where"
  within "$where" "$KAPSEL" inspect --profile untrusted "$T/l.kapsel"
  if grep -q 'processes 512 (by a control group)' "$T/out"; then ok "$where: inspect says so"; else not_ok "$where: inspect" "$T/out"; fi
  within "$where" "$KAPSEL" doctor
  if grep -q '^control-group *yes .*processes by a control group' "$T/out"; then ok "$where: doctor says so"; else not_ok "$where: doctor" "$T/out"; fi
done

# Others in the group: nothing is moved, and limits are kept without.
limit=processes=10
within "$alone" sh -c '"$@"; exit' - "$KAPSEL" run --rm --trace "$T/trace" --limit "$limit" "$T/l.kapsel" -- /limits processes 50
said 'processes 9 EAGAIN'
if grep -qE ' (clone|fork|vfork)\(' "$T/trace"; then ok 'beside other programs: forks are counted'; else not_ok 'beside other programs: forks are counted' "$T/trace"; fi
within "$alone" sh -c '"$@"; exit' - "$KAPSEL" doctor
if grep -q '^control-group *NO .*: other programs are in' "$T/out"; then ok 'doctor says why'; else not_ok 'doctor says why' "$T/out"; fi
nothing_left 'beside other programs'

two_inside() {
  inside=$(find "$group" -name 'kapsel-j.*' ! -name '*.launcher')
  [ -d "$inside" ] && [ "$(wc -l <"$inside/cgroup.procs")" = 2 ]
}

# Who joins is in it, too; the supervisor is not. Guests cannot leave. Killed, the next start removes what there was.
for where in launcher "$alone"; do
  sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group/$where" "$KAPSEL" run --instance j --limit processes=20 "$T/l.kapsel" -- /bin/sleep 300 2>/dev/null &
  front=$!
  wait_for "$KAPSEL" exec j -- /bin/sleep 0
  "$KAPSEL" exec j -- /bin/sleep 300 2>/dev/null &
  joined=$!
  if wait_for two_inside && [ "$(cat "$inside/pids.max")" = 20 ]; then
    ok "$where: who joins is in the group, the supervisor is not"
  else
    not_ok "$where: who joins is in the group, the supervisor is not"
  fi
  cat >"$T/leave" <<END
for file in "$inside/pids.max" "$group/launcher/cgroup.procs" "$group/cgroup.procs"; do
  (echo 0 >"\$file") 2>/dev/null && echo "written: \$file"
done
echo tried
END
  try "$KAPSEL" exec j -- /bin/sh -c "$(cat "$T/leave")"
  expect_out tried "$where: a guest cannot leave it"
  kill -9 "$("$KAPSEL" ps --json | sed -n 's/.*"supervisor": *\([0-9]*\).*/\1/p' | head -1)"
  wait "$front" "$joined" 2>/dev/null
  if [ -d "$inside" ]; then ok "$where: killed, it leaves its group"; else not_ok "$where: killed, it leaves its group"; fi
  try "$KAPSEL" run --instance j "$T/l.kapsel" -- /limits processes 1
  expect_out 'processes 1 0' "$where: after a kill it starts"
  nothing_left "$where: after a kill"
done
finish
