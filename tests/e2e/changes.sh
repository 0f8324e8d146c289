# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What an instance changed: diff, discard, commit.
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/ln /bin/chmod /usr/bin/touch /usr/bin/mkfifo /bin/rmdir /bin/sleep
img=$T/small.kapsel
host=$T/host
mkdir "$host" "$host/sub"
printf 'one\ntwo\nthree\n' >"$host/text"
echo kept >"$host/kept"
echo gone >"$host/gone"
echo old >"$host/sub/old"
in_k() { # SHELL-TEXT: in an instance that looks at the host by writecopy
  try "$KAPSEL" run --instance k --mode "$host=writecopy" "$img" -- /bin/sh -c "$1"
}

in_k "cd $host; echo new >new; echo 'one
2
three' >text; rm gone; mv kept moved; cat sub/old; touch sub/.x; rm sub/.x; echo hi >>/etc/greeting; mkdir -p /opt/a; ln -s x /opt/a/l"
expect_status 0 "a run that changes things"
try "$KAPSEL" diff k
sed -E "s#$host#H#g; s/  time\$//; s/ +/ /g" "$T/out" >"$T/seen"
cat >"$T/wanted" <<END
M file 24 /etc/greeting content,time was 21
A directory - /opt
A directory - /opt/a
A link - /opt/a/l
D file 5 H/gone
R file 5 H/kept -> H/moved
A file 4 H/new
M file 12 H/text content,time was 14
END
if grep -v "time" "$T/seen" | grep -vE '^A directory - (/var|/root|/home)' >/dev/null && sed 's/,time//' "$T/wanted" >"$T/w2" && sed 's/,time//' "$T/seen" >"$T/s2" && cmp -s "$T/w2" "$T/s2"; then
  ok "diff lists what changed, and nothing else"
else
  not_ok "diff lists what changed" "$T/wanted" "$T/seen" "$T/err"
fi
try "$KAPSEL" diff --unified k "$host/text"
printf '%s\n' "--- below$host/text" "+++ instance$host/text" "@@ -1,3 +1,3 @@" " one" "-two" "+2" " three" >"$T/wanted"
if cmp -s "$T/wanted" "$T/out"; then ok "diff --unified"; else not_ok "diff --unified" "$T/wanted" "$T/out" "$T/err"; fi
finish
