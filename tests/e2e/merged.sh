# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Mode merged where image and host have the same directories: renames have a half here and a half there, and are done or not done.
. "$STAGE/e2e/lib.sh"

cat >merged.yaml <<M
kapsel: 1
name: merged
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/mv, /bin/rm, /bin/mkdir, /bin/ls, /bin/rmdir, /usr/bin/find, /usr/bin/stat, /usr/bin/touch, /bin/date, /usr/bin/perl]
  - file: {path: $T/m/both/image, text: "of the image\n"}
  - file: {path: $T/m/both/sub/image, text: "of the image, too\n"}
  - file: {path: $T/m/only/image, text: "alone\n"}
  - file: {path: $T/m/file, text: "a file of the image\n"}
M
try "$KAPSEL" pack --quiet merged.yaml -o merged.kapsel
expect_status 0 "packed"
fresh() {
  rm -rf m && mkdir -p m/both/sub m/host/deep m/none
  echo "of the host" >m/both/host
  echo "of the host, too" >m/both/sub/host
  echo deep >m/host/deep/f
  echo "a file of the host" >m/there
  echo instance >"$T/name"
}
run() { # INSTANCE SCRIPT: rename by the system call, never by copying
  try "$KAPSEL" run --quiet --profile isolated --mode "$T/m=merged" --instance "$1" merged.kapsel -- /bin/sh -c "
    mv() { perl -e 'rename(\$ARGV[0], \$ARGV[1]) or print \"\$!\n\"' \"\$@\"; }
    show() { find . | sort 2>/dev/null || find .; }
    cd $T/m; $2"
}
host() { (cd m && find . | LC_ALL=C sort | tr '\n' ' '); }


fresh
run a 'mv both new; [ -e both ] || cat new/image new/host new/sub/image new/sub/host; echo more >new/sub/more; cat new/sub/more'
expect_out "of the image
of the host
of the image, too
of the host, too
more" "a directory that both have is renamed"
[ "$(host)" = ". ./host ./host/deep ./host/deep/f ./new ./new/host ./new/sub ./new/sub/host ./new/sub/more ./none ./there " ] &&
  ok "and so is the host's half" || { host >seen && not_ok "the host's half" seen; }
run a 'cd new/sub && mv ../../new ../../none && pwd -P && cat ../image host && cd ../.. && mv none/sub up && cat up/image up/host up/more && mv up none/sub && mv none both && cat both/image both/sub/more'
expect_out "$T/m/none/sub
of the image
of the host, too
of the image, too
of the host, too
more
of the image
more" "over an empty one of the host's, a directory in it out and in again, and back"
try "$KAPSEL" verify a
expect_status 0 "the instance is whole"

fresh
run b 'mv only gone; cat gone/image; echo new >gone/new; mv gone only; cat only/image only/new; [ -e gone ] || echo no gone; rm -r only; mv host only; cat only/deep/f; ls only'
expect_out "alone
alone
new
no gone
deep
deep" "an image's directory, which the host gets names in; and one of the host's to where an image's was"
[ "$(host)" = ". ./both ./both/host ./both/sub ./both/sub/host ./none ./only ./only/deep ./only/deep/f ./there " ] &&
  ok "the host has its half of them" || { host >seen && not_ok "the host has its half of them" seen; }

fresh
run c 'mv file there; cat there; [ -e file ] || echo gone; mv only/image none; mv only/image none/x; cat none/x'
expect_out "a file of the image
gone
Is a directory
alone" "a file of the image over one of the host's"
[ "$(cat m/there)" = "a file of the image" ] && ! [ -e m/none/x ] && ok "which then is the host's" || not_ok "which then is the host's"
run c 'mv there only; mv none/x there; cat there; mv both/host both/image; cat both/image'
expect_out "Is a directory
alone
of the host" "and one that the instance has; and the host's over an image's"

fresh
run d 'touch -d @1000 both; stat -c %Y both; echo x >both/x; [ "$(stat -c %Y both)" -gt 1000 ] && echo later; touch -d @1000 both; rm both/image; [ "$(stat -c %Y both)" -gt 1000 ] && echo later'
expect_out "1000
later
later" "a directory that both have tells by its time when names come and go"

# Killed at any instant: under one name or the other, and whole.
loop='
    my ($a, $b) = -e "both" ? ("both", "new") : ("new", "both");
    print "begun\n"; $| = 1; print "";
    for (;;) { rename($a, $b) or die $!; rename("file", "there2"); ($a, $b) = ($b, $a) }'
kills=${KAPSEL_KILLS:-8}
fresh
i=0
while [ $i -lt "$kills" ]; do
  i=$((i + 1))
  : >loop.out
  "$KAPSEL" run --quiet --profile isolated --mode "$T/m=merged" --cwd "$T/m" --instance k merged.kapsel -- /usr/bin/perl -e "$loop" >loop.out 2>loop.err &
  front=$!
  wait_for test -s loop.out
  sleep "0.0$((i * 7 % 10))"
  # shellcheck disable=SC2046 # words
  kill -9 $front $(cat "/proc/$front/task/$front/children")
  wait $front 2>/dev/null
  run k 'cat both/image both/host both/sub/image both/sub/host new/image new/host new/sub/image new/sub/host 2>/dev/null'
  [ "$(tr '\n' ' ' <out)" = "of the image of the host of the image, too of the host, too " ] || { echo "# kill $i: $(host)"; head -5 out err loop.err; }
done >killed 2>&1
[ ! -s killed ] && ok "$kills kills: under one name or the other, and whole" || not_ok "killed" killed
try "$KAPSEL" verify k
expect_status 0 "the instance is whole"
finish
