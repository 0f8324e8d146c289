# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# strace and gdb inside: what they start and what they attach to behaves as without them, wherever it is on the host.
. "$STAGE/e2e/lib.sh"

for program in strace gdb; do
  command -v "$program" >/dev/null || skip_rest "$program is not installed"
done
small_image traced /usr/bin/strace /usr/bin/gdb /usr/bin/env /bin/mkdir /bin/sleep /bin/grep /usr/bin/sed
img=$T/traced.kapsel
reaches_sockets "$img" || skip_rest "pidfd_getfd is refused here: a program that is traced cannot list directories of several layers"
mkdir -p "$T/m/dir/sub"

# Each of these is a chdir or an execve, of a path of the image, of the host, of an upper directory; shells look at the path afterwards.
script='cd dir/sub && pwd; cd ..; pwd; cd sub; pwd; cd /usr; pwd; cd bin; pwd; cd /; pwd; mkdir -p /opt/a/b; cd /opt/a/b; cd ..; pwd
/bin/sh -c "echo \$0"; ls /etc/greeting; env ls /etc/greeting; cd "$1"; (cd dir; /bin/ls; echo in $(pwd)); /bin/none || echo $?; pwd'
inside() { try "$KAPSEL" run --instance "t-$mode" --profile isolated --mode "$T/m=$mode" --bind /usr/lib/python3.11:/usr/lib/python3.11:ro --cwd "$T/m" "$img" -- "$@"; }
for mode in full writecopy merged; do
  try "$KAPSEL" run --instance "t-$mode" --profile isolated --mode "$T/m=$mode" "$img" -- /bin/mkdir -p "$T/m/dir/sub"
  inside /bin/sh -c "$script" sh "$T/m"
  cp out plain
  inside /usr/bin/strace -f -o /dev/null /bin/sh -c "$script" sh "$T/m"
  cmp -s out plain && [ -s plain ] && ok "$mode: a shell under strace -f says the same" || not_ok "$mode: a shell under strace -f" plain out err
  inside /usr/bin/strace -f -e trace=execve,chdir /bin/sh -c "cd /usr; exec env ls /etc/greeting"
  grep -q '^chdir("/usr") *= 0' err && grep -q '^execve("/.*ls", \["ls", "/etc/greeting"\]' err && ok "$mode: strace shows the guest's words" ||
    not_ok "$mode: what strace shows" err
  inside /usr/bin/gdb -batch -ex run --args /bin/sh -c 'exec ls /etc/greeting'
  grep -q '^/etc/greeting' out && grep -q 'exited normally' out && ok "$mode: gdb runs a program" || not_ok "$mode: gdb run" out err
done
inside /bin/sh -c 'sleep 100 & p=$!; sleep 0.3; gdb -batch -p $p -ex "info inferiors" -ex detach 2>&1 | grep "process $p"
strace -e none -p $p 2>/seen & s=$!; i=0; until grep -q attached /seen || [ $i = 600 ]; do i=$((i + 1)); sleep 0.1; done; kill $s; wait $s; kill $p; cat /seen'
grep -q '^\[Inferior 1 .* detached' out && grep -q '^strace: Process .* detached' out && ok "gdb and strace attach to a guest" || not_ok "gdb -p" out err
# Breakpoints set before `run` are not (docs/SECURITY.md): after the loader's last call (157: prctl) the program lies where it will.
mode=full
inside /usr/bin/gdb -nx -batch -ex 'catch syscall 157' -ex run -ex continue -ex continue -ex continue -ex 'file /usr/bin/env' -ex 'delete 1' -ex 'info files' \
  -ex kill --args /usr/bin/env
grep -q '0x00005[0-9a-f]* - 0x[0-9a-f]* is .text$' out && ok "gdb finds a PIE after the loader's last call" || not_ok "gdb and a PIE" out err
no_link() { [ -z "$(find /tmp -maxdepth 1 -type l -name '[!a-zA-Z]')" ]; }
wait_for no_link && ok "no link stays in /tmp" || { ls -la /tmp >seen && not_ok "links in /tmp" seen; }
finish
