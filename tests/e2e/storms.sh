# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Storms: signals, stops, debuggers, the freezer and kills over calls that change the tree, many processes and threads, no descriptor to spare.
# Nothing happens twice, nothing is lost, nothing hangs. COUNT rounds (300); 10000 processes.
. "$STAGE/e2e/lib.sh"
count=${COUNT:-300}
TIMEOUT=$((270 + count / 10))

cp "$STAGE/e2e/storms" "$T/storms"
printf 'kapsel: 1\nname: storms\nversion: "1"\nentry: {command: [/storms], cwd: /}\ncontents:\n  - copy: {from: storms, to: /storms}\n' >storms.yaml
try "$KAPSEL" pack --quiet storms.yaml -o storms.kapsel
expect_status 0 "packed"
img=$T/storms.kapsel

storm() { # LEVEL WAY COUNT
  try "$KAPSEL" run --rm --quiet --level "$1" "$img" -- /storms "$2" "$3"
  if [ "$status" = 0 ] && grep -q '^wrong 0' "$T/out"; then ok "$2, $1: $(head -1 "$T/out")"; else not_ok "$2, $1: exit $status" "$T/out" "$T/err"; fi
}
for level in portable strict; do
  for way in signals restarts stops attached; do storm $level $way "$count"; done
  storm $level killed $((count / 2))
  storm $level full "$count"
  storm $level many $((count / 10))
done
storm portable forks $((count * 33 + 100))
storm strict forks $((count * 3))

from_outside() { # WHAT TIMES COMMAND...: the guest's number comes after it
  what=$1 wanted=$2 times=0
  shift 2
  mkfifo "$T/end-${what##* }"
  : >"$T/out"
  timeout -k 5 $TIMEOUT "$KAPSEL" run --rm --quiet "$img" -- /storms watched "$((count * 3))" >"$T/out" 2>"$T/err" <"$T/end-${what##* }" &
  runner=$!
  exec 9>"$T/end-${what##* }"
  wait_for test -s "$T/out"
  guest=$(head -1 "$T/out")
  while [ $times -lt "$wanted" ] && "$@" "$guest" >"$T/tool" 2>&1; do times=$((times + 1)); done
  exec 9>&-
  status=0
  wait $runner || status=$?
  if [ "$status" = 0 ] && [ $times = "$wanted" ] && grep -q '^wrong 0' "$T/out"; then
    ok "$what, $times times: $(sed -n 2p "$T/out")"
  else
    not_ok "$what, $times times: exit $status" "$T/out" "$T/err" "$T/tool"
  fi
}
debug() {
  timeout 100 gdb -q -nx -batch -p "$1" -ex 'info registers rip' -ex detach && sleep 0.05
}
if command -v gdb >/dev/null && gdb -q -nx -batch -ex 'python print(1)' >/dev/null 2>&1; then
  from_outside "a debugger of the host" 5 debug
else
  skip "a debugger of the host" "there is none"
fi

cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
freeze() {
  echo "$1" >"$group/cgroup.procs" && echo 1 >"$group/cgroup.freeze" && sleep 0.02 && echo 0 >"$group/cgroup.freeze" && sleep 0.01
}
group=${cgroups:+$cgroups/kapsel-test-$$}
if [ -n "$group" ] && mkdir "$group" 2>/dev/null; then
  from_outside "the freezer" 50 freeze
  rmdir "$group"
else
  skip "the freezer" "no control group can be made here"
fi
finish
