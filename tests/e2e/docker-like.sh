# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Under refusals like those of Docker's default filter, programs still run and paths still resolve.
. "$STAGE/e2e/lib.sh"

small_image small "$STAGE/e2e/descriptors"
shim=$STAGE/e2e/docker-shim
try "$shim" unshare -U true
[ "$status" != 0 ] && ok "the shim refuses namespaces" || not_ok "the shim refuses nothing"

try "$shim" "$KAPSEL" run --rm "$T/small.kapsel" -- /bin/cat /etc/greeting
expect_out "hello from the image" "a program runs"
try "$shim" "$KAPSEL" run --rm "$T/small.kapsel" -- /bin/sh -c 'cd /etc; cat ./greeting; cd /; ls -d etc/greeting'
expect_out "hello from the image
etc/greeting" "directories are changed"
try "$shim" "$KAPSEL" run --rm "$T/small.kapsel" -- /bin/sh -c 'echo a >/f; (cat /f); cat </f | cat'
expect_out "a
a" "files are written, children started"
try "$shim" "$KAPSEL" run --rm "$T/small.kapsel" -- /bin/sh -c "$STAGE/e2e/descriptors /etc/greeting bind-again; cat /etc/greeting; ls /etc/greeting"
printf 'bind-again 22\n' >"$T/wanted"
if [ "$status" != 0 ] && cmp -s "$T/wanted" "$T/out"; then ok "a bind that fails does not bring back a removed file"
else not_ok "a bind that fails does not bring back a removed file" "$T/out" "$T/err"; fi

# Ports cannot be the instance's own here: that is said.
cp "$STAGE/e2e/ports" "$T/ports"
"$shim" "$KAPSEL" run --instance p --bind "$T/ports:/ports:ro" "$T/small.kapsel" -- /ports serve p 127.0.0.1 $((30000 + $$ % 2000)) >"$T/out" 2>"$T/err" </dev/null &
wait_for grep -q 'kapsel: p: port' "$T/err"
if grep -qE "^kapsel: p: port [0-9]+ is the host's own, which no other program may have: pidfd_getfd is refused here" "$T/err"; then
  ok "a server is told that its port is the host's"
else not_ok "a server is told that its port is the host's" "$T/out" "$T/err"; fi
"$shim" "$KAPSEL" stop --time 1 p
wait
try "$shim" "$KAPSEL" doctor
if grep -qE "^pidfd-getfd *NO .*instances share the host's ports" "$T/out"; then ok "doctor says so too"; else not_ok "doctor says so too" "$T/out"; fi
finish
