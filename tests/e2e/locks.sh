# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# A lock on a file of the image holds in its instance, and in no other.
. "$STAGE/e2e/lib.sh"

cat >alone <<'S'
#!/bin/sh
exec 9<"$0"
flock $1 9 || { echo busy; exit 1; }
echo have
[ -z "$2" ] || exec sleep $2
S
chmod 755 alone
cat >locks.yaml <<'M'
kapsel: 1
name: locks
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/sleep, /usr/bin/flock, /bin/cat, /usr/bin/perl]
  - copy: {from: alone, to: /alone}
M
try "$KAPSEL" pack --quiet locks.yaml -o locks.kapsel
expect_status 0 "packed"
"$KAPSEL" run --quiet --instance a locks.kapsel -- /alone -n 300 >held 2>&1 &
holder=$!
wait_for grep -q have held
try "$KAPSEL" run --quiet --instance a locks.kapsel -- /alone -n
if [ "$status" = 1 ] && [ "$(cat out)" = busy ]; then ok "two processes of one instance meet"; else not_ok "two of one instance" held out err; fi
reaches_sockets locks.kapsel && copies=1 || copies= # what copies sockets copies files
if [ "$copies" ]; then
  try "$KAPSEL" run --quiet --instance b locks.kapsel -- /alone -n
  expect_out have "two instances do not"
else
  skip "two instances do not" "pidfd_getfd is refused here: the kernel's own locks have to do"
fi
try "$KAPSEL" run --quiet --instance a locks.kapsel -- /alone '-w 0.3'
if [ "$status" = 1 ] && [ "$(cat out)" = busy ]; then ok "who waits is interrupted by a timer"; else not_ok "who waits is interrupted by a timer" out err; fi
"$KAPSEL" run --quiet --instance a locks.kapsel -- /alone '' >waited 2>&1 &
waiter=$!
sleep 0.3
[ ! -s waited ] && ok "who waits waits" || not_ok "who waits waits" waited
kill $holder
wait $holder 2>/dev/null
wait_for grep -q have waited
wait $waiter
[ "$(cat waited)" = have ] && ok "until the other has ended" || not_ok "until the other has ended" waited
# Locks of ranges: all of the file for reading, and who is told of them. struct flock: type, whence, start, len, pid.
cat >ranges.pl <<'P'
my ($what, $path) = @ARGV;
open(my $f, '<', $path) or die "$path: $!";
my $l = pack('s s x4 q q l x4', $what eq 'hold' ? 0 : 1, 0, 0, 0, 0);
fcntl($f, $what eq 'hold' ? 6 : 5, $l) or die "fcntl: $!";
$| = 1;
print $what eq 'hold' ? "have\n" : (unpack('s', $l))[0] == 2 ? "nobody\n" : "somebody\n";
sleep 300 if $what eq 'hold';
P
: >held # not what the one before said
"$KAPSEL" run --quiet --mode "$T=merged" --instance a locks.kapsel -- /usr/bin/perl "$T/ranges.pl" hold /alone >held 2>&1 &
holder=$!
wait_for grep -q have held
try "$KAPSEL" run --quiet --mode "$T=merged" --instance a locks.kapsel -- /usr/bin/perl "$T/ranges.pl" ask /alone
expect_out somebody "a lock of a range is told in its instance"
if [ "$copies" ]; then
  try "$KAPSEL" run --quiet --mode "$T=merged" --instance b locks.kapsel -- /usr/bin/perl "$T/ranges.pl" ask /alone
  expect_out nobody "and in no other"
else
  skip "and in no other" "pidfd_getfd is refused here: the kernel's own locks have to do"
fi
for i in a b; do
  try "$KAPSEL" run --quiet --instance $i locks.kapsel -- /alone -n
  expect_out have "nor is it in the way of flock in $i"
done
kill $holder
wait $holder 2>/dev/null
finish
