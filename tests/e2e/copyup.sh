# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Copy-up of big files: others go on meanwhile, holes stay holes, what is emptied is not read.
. "$STAGE/e2e/lib.sh"

mkdir m
dd if=/dev/urandom of=m/big bs=1M count=48 2>/dev/null
cp m/big m/bigger
cat m/big m/big >>m/bigger
truncate -s 1G m/sparse
printf end >>m/sparse
cat >copyup.yaml <<M
kapsel: 1
name: copyup
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/mkdir, /bin/cat, /usr/bin/stat, /usr/bin/cksum, /bin/chmod, /bin/mv, /usr/bin/perl]
  - copy: {from: m/big, to: /image}
M
try "$KAPSEL" pack --quiet --compression 1 copyup.yaml -o copyup.kapsel
expect_status 0 "packed"
wc() {
  name=$1
  shift
  try "$KAPSEL" run --quiet --profile isolated --mode "$T/m=writecopy" --instance "$name" copyup.kapsel -- "$@"
}
# Changes that another makes while the open that copies up has begun and not returned: if that held everything, one that got in before and one after.
meanwhile='my $file = shift; my $n = 0; pipe(my $r, my $w);
    my $pid = fork;
    if (!$pid) { syswrite($w, "x"); open(my $f, ">>", $file) or die "$file: $!"; syswrite($w, "y"); print $f "more"; close($f); exit 0 }
    sysread($r, my $begun, 1);
    vec(my $readable = "", fileno($r), 1) = 1;
    until (select(my $now = $readable, undef, undef, 0)) { mkdir("/tmp/d$n") or die "mkdir: $!"; $n++ }
    waitpid($pid, 0);
    print $n >= 5 && $? == 0 ? "others went on\n" : "only $n changes meanwhile, $?\n";'
wc a /usr/bin/perl -e "$meanwhile" "$T/m/bigger"
expect_out "others went on" "a file of the host is copied up, and others go on"
wc b /usr/bin/perl -e "$meanwhile" /image
expect_out "others went on" "a file of the image is unpacked and copied up, and others go on"
wc a /usr/bin/cksum "$T/m/bigger"
printf more >>m/bigger
[ "$(cat out)" = "$(cksum "$T/m/bigger")" ] && ok "the copy is whole" || not_ok "the copy is whole" out err
wc b /usr/bin/cksum /image
[ "$(cut -d' ' -f1,2 out)" = "$({ cat m/big && printf more; } | cksum)" ] && ok "and so is the image's" || not_ok "and so is the image's" out err
work=$(find "$HOME" -path '*instances/*/work/*')
[ -z "$work" ] && ok "nothing is left on the way" || { echo "$work" >left && not_ok "nothing is left on the way" left; }

wc c /bin/sh -c "chmod 600 $T/m/sparse && stat -c %s $T/m/sparse"
expect_out 1073741827 "a file with holes"
blocks=$(find "$HOME" -path '*instances/c/upper/*' -name sparse -printf '%k')
[ "${blocks:-9999999}" -lt 1024 ] && ok "has them in the copy" || { echo "$blocks KiB" >blocks && not_ok "has them in the copy" blocks; }
wc d /bin/sh -c ": >$T/m/big; echo x >/image; stat -c %s $T/m/big /image"
expect_out "0
2" "files that are emptied"
wc e /bin/sh -c "mv $T/m/big $T/m/moved && mv /image /moved && cksum /moved $T/m/moved"
[ "$(cut -d' ' -f1 out | sort -u | grep -c .)" = 1 ] && ok "renamed ones" || not_ok "renamed ones" out err
finish
