# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Names that programs meet under, in two instances of one image at once and on the host: each finds its own, nobody another's.
. "$STAGE/e2e/lib.sh"

names=$STAGE/e2e/names
cat >"$T/n.yaml" <<END
kapsel: 1
name: n
entry: {command: [/names]}
contents:
  - copy: {from: $names, to: /names}
  - elf: [/bin/sh, /bin/cat, /bin/ls]
END
try "$KAPSEL" pack --quiet "$T/n.yaml" -o "$T/n.kapsel"
expect_status 0 "an image is packed"
kinds="shm sem mqueue sysv-shm sysv-sem sysv-queue abstract socket lock runtime"
reaches_sockets "$T/n.kapsel" || skip_rest 'pidfd_getfd is refused here: abstract names are the host'"'"'s'
mkfifo "$T/in-one" "$T/in-two"
for one in one two; do
  # /tmp is the instance's, as what a mode shows of the host is shared by all.
  "$KAPSEL" run --quiet --instance $one --mode /tmp=full "$T/n.kapsel" -- /names hold $one <"$T/in-$one" >"$T/$one" 2>"$T/$one.err" &
done
exec 8>"$T/in-one" 9>"$T/in-two"
for one in one two; do
  wait_for grep -q ready "$T/$one"
  { for kind in $kinds; do echo "$kind new"; done; echo "sethostname EPERM"; echo ready; } >"$T/wanted"
  if cmp -s "$T/wanted" "$T/$one"; then ok "in $one each name is free"; else not_ok "in $one each name is free" "$T/$one" "$T/$one.err"; fi
done
for one in one two; do
  try "$KAPSEL" exec $one -- /names look
  expect_out "shm $one
sem $(echo $one | cut -c1)
mqueue $one
sysv-shm $one
sysv-sem there
sysv-queue there
abstract answers
socket answers
lock $one
runtime $one
hostname as it was" "$one finds its own"
done
# What others would see of it, were it shared.
try "$KAPSEL" run --rm --mode /tmp=full "$T/n.kapsel" -- /names look
if [ "$status" = 0 ] && [ "$(grep -cE ' (ENOENT|ECONNREFUSED)$' "$T/out")" = 10 ]; then ok "a third instance finds none"; else not_ok "a third instance finds none" "$T/out" "$T/err"; fi
# shellcheck disable=SC2016 # for the guest's shell
try "$KAPSEL" exec one -- /bin/sh -c 'ls -d "$XDG_RUNTIME_DIR"; echo one >/etc/hostname; cat /etc/hostname'
runtime=$(head -1 "$T/out")
if [ "$status" = 0 ] && [ "$(tail -1 "$T/out")" = one ]; then ok "/etc/hostname is the instance's"; else not_ok "/etc/hostname is the instance's" "$T/out" "$T/err"; fi
if [ -n "$runtime" ] && ! [ -e "$runtime/names" ]; then ok "what lies in its XDG_RUNTIME_DIR is not on the host"; else not_ok "what lies in its XDG_RUNTIME_DIR: $runtime" "$T/out"; fi
try "$names" look
if [ "$(grep -cE ' (ENOENT|ECONNREFUSED)$' "$T/out")" = 9 ] && grep -q '^hostname as it was$' "$T/out"; then ok "nor does the host, but of the abstract name"; else not_ok "the host finds none" "$T/out"; fi
if [ -z "$(ls -d /dev/shm/*kapsel-names* 2>/dev/null)" ]; then ok "/dev/shm of the host has nothing of them"; else not_ok "/dev/shm of the host has them"; fi
exec 8>&- 9>&-
wait
ipcs -a 2>/dev/null | grep -i 6b706e61 >"$T/left"
if [ ! -s "$T/left" ]; then ok "nothing is left"; else not_ok "something is left" "$T/left"; fi
finish
