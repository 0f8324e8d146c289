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

# --- discard ---
try "$KAPSEL" discard k /opt /etc/greeting "$host/moved"
expect_status 0 "discard of a tree, a file and a rename"
in_k "cat /etc/greeting $host/kept; ls -d /opt $host/moved"
if grep -q '^hello from the image$' "$T/out" && grep -q '^kept$' "$T/out" && ! grep -qE '/opt|moved|^hi$' "$T/out"; then
  ok "what was discarded is as before"
else
  not_ok "what was discarded is as before" "$T/out" "$T/err"
fi
try "$KAPSEL" discard k /nothing
expect_err_line "^kapsel: /nothing: no change there" "discard of what did not change"
in_k "rm -r $host/sub; mkdir $host/sub; echo 1 >$host/sub/new"
try "$KAPSEL" diff k "$host/sub"
sed -E "s#$host#H#; s/ +/ /g" "$T/out" >"$T/seen"
printf 'A file 2 H/sub/new\nD file 4 H/sub/old\n' >"$T/wanted"
if cmp -s "$T/wanted" "$T/seen"; then ok "diff of a directory made anew"; else not_ok "diff of a directory made anew" "$T/wanted" "$T/seen"; fi
try "$KAPSEL" discard k "$host/sub/old"
expect_err_line "cannot be discarded by itself" "what a new directory hides cannot come back alone"
try "$KAPSEL" discard k "$host/sub"
in_k "cat $host/sub/old; ls $host/sub"
expect_out "old
old" "the old directory is back"

# --- commit ---
in_k "mkdir -p $host/d/e; echo deep >$host/d/e/f; ln -s f $host/d/e/l; chmod 750 $host/d; mkfifo $host/p; echo x >$host/a; ln $host/a $host/b; chmod 4755 $host/a; rm -r $host/sub; echo file >$host/sub; echo hi >>/etc/greeting"
try "$KAPSEL" commit --dry-run k
expect_status 0 "commit --dry-run"
if [ -d "$host/sub" ] && [ -e "$host/gone" ] && ! [ -e "$host/d" ]; then ok "it does nothing"; else not_ok "it does nothing" "$T/out"; fi
try "$KAPSEL" commit k
expect_status 0 "commit"
if grep -q "^- /etc/greeting: left: no mode shows the host there" "$T/out"; then ok "what is the image's is left"; else not_ok "what is left" "$T/out"; fi
if [ "$(cat "$host/text" "$host/new" "$host/d/e/l" "$host/a" "$host/b" "$host/sub")" = "one
2
three
new
deep
x
x
file" ] && [ "$(stat -c %a "$host/d" "$host/a" | tr '\n' ' ')" = "750 755 " ] && [ -p "$host/p" ] && ! [ -e "$host/gone" ] && [ -e "$host/kept" ]; then
  ok "the host has it all, and no set-id bit"
else
  ls -lR "$host" >"$T/ls"
  not_ok "the host has it all" "$T/out" "$T/ls"
fi
try "$KAPSEL" diff k
sed -E 's/ +/ /g; s/ content.*//' "$T/out" >"$T/seen"
echo "M file 24 /etc/greeting" >"$T/wanted"
if cmp -s "$T/wanted" "$T/seen"; then ok "the instance has let go of it"; else not_ok "the instance has let go of it" "$T/out"; fi
if ls -A "$host" | grep -q kapsel; then not_ok "nothing else is left on the host"; else ok "nothing else is left on the host"; fi

# A directory is renamed, a file gets another name.
in_k "cd $host; mv d dd; ln kept again"
try "$KAPSEL" diff k "$host"
sed -E "s#$host#H#g; s/ +/ /g" "$T/out" >"$T/seen"
printf '%s\n' "A file 5 H/again" "R directory - H/d -> H/dd" "R directory - H/d/e -> H/dd/e" "R file 5 H/d/e/f -> H/dd/e/f" "R link - H/d/e/l -> H/dd/e/l" >"$T/wanted"
if cmp -s "$T/wanted" "$T/seen"; then ok "diff of a renamed directory"; else not_ok "diff of a renamed directory" "$T/wanted" "$T/seen"; fi
try "$KAPSEL" commit k "$host/dd/e/f"
expect_status 0 "commit of a renamed directory by one of its files"
if [ "$(cat "$host/dd/e/f")" = deep ] && ! [ -e "$host/d" ]; then ok "goes as a whole"; else
  ls -lR "$host" >"$T/ls"
  not_ok "goes as a whole" "$T/out" "$T/err" "$T/ls"
fi
try "$KAPSEL" commit k "$host/again"
expect_status 0 "commit of a second name"
try "$KAPSEL" diff k "$host"
if [ "$status" = 125 ] || [ ! -s "$T/out" ]; then ok "nothing of it is left in the instance"; else not_ok "nothing of it is left in the instance" "$T/out"; fi

# Meanwhile changed on the host: refused as a whole.
in_k "echo mine >$host/new; echo more >$host/more; rm $host/kept"
sleep 0.1
echo theirs >"$host/new"
try "$KAPSEL" commit k
expect_err_line "^kapsel: $host/new: not committed: changed on the host meanwhile" "a conflict is refused"
if [ "$(cat "$host/new")" = theirs ] && ! [ -e "$host/more" ] && [ -e "$host/kept" ]; then ok "and nothing is done"; else not_ok "and nothing is done"; fi
echo again >"$host/kept"
try "$KAPSEL" commit k "$host/kept"
expect_err_line "changed on the host meanwhile" "also where the instance deleted it"
try "$KAPSEL" commit k "$host/more"
if [ "$status" = 0 ] && [ "$(cat "$host/more")" = more ]; then ok "what has none can be committed by itself"; else not_ok "commit of one" "$T/out" "$T/err"; fi
try "$KAPSEL" commit --force k "$host/new"
if [ "$status" = 0 ] && [ "$(cat "$host/new")" = mine ]; then ok "--force"; else not_ok "--force" "$T/out" "$T/err"; fi
try "$KAPSEL" discard k
in_k "cat $host/kept /etc/greeting"
expect_out "again
hello from the image" "discard of everything"

# --- a new image ---
in_k "rm /bin/id; echo changed >/etc/greeting; mkdir /opt; printf '#!/bin/sh\necho baked\n' >/opt/prog; chmod 755 /opt/prog; ln /opt/prog /opt/same; ln -s prog /opt/link; mkfifo /opt/fifo; echo h >$host/h; cp /bin/sh /opt/big"
try "$KAPSEL" commit k --to-image "$T/new.kapsel"
expect_status 0 "commit --to-image"
try "$KAPSEL" verify "$T/new.kapsel"
expect_status 0 "the image verifies"
try "$KAPSEL" run --rm "$T/new.kapsel" -- /bin/sh -c "cat /etc/greeting; /opt/link; [ /opt/prog -ef /opt/same ] && echo one; [ -e /bin/id ] || [ -e /opt/fifo ] || [ -e $host ] || echo gone; /opt/big -c 'echo big'"
expect_out "changed
baked
one
gone
big" "it has the changes, not the host's"
try "$T/new.kapsel" -c "cat /etc/greeting"
expect_out changed "it runs itself"
try "$KAPSEL" commit k --to-image "$T/new.kapsel"
expect_err_line "^kapsel: .*/new.kapsel: exists" "an image that is there is not overwritten"
try "$KAPSEL" commit k --to-image "$T/nowhere/new.kapsel"
expect_err_line "^kapsel: .*/nowhere/: cannot be opened" "nor made in a directory that is not there"
try "$KAPSEL" diff k
if grep -q "D file .*/bin/id" "$T/out"; then ok "the instance has its changes still"; else not_ok "the instance has its changes still" "$T/out"; fi

# In use: not touched, but looked at.
"$KAPSEL" run --instance k --mode "$host=writecopy" "$img" -- /bin/sh -c "echo r >/r; sleep 300" >/dev/null 2>&1 &
runs=$!
has_changed() { "$KAPSEL" diff k | grep -q ' /r$'; }
wait_for has_changed
try "$KAPSEL" diff k
expect_status 0 "diff while it runs"
for verb in discard commit; do
  try "$KAPSEL" $verb k
  expect_err_line "^kapsel: k: in use" "$verb while it runs is refused"
done
"$KAPSEL" stop --time 0 k
wait "$runs"

# --- undo of a commit: the instance has its changes again, the host what it got ---
try "$KAPSEL" run --instance z --mode "$host=writecopy" "$img" -- /bin/sh -c "echo z >$host/z"
try "$KAPSEL" commit z "$host/z"
try "$KAPSEL" undo z
if [ "$status" = 0 ] && grep -q '^kapsel: z: what commit wrote to the host stays there$' "$T/err" && [ "$(cat "$host/z")" = z ]; then
  ok "undo of a commit says that the host keeps it"
else not_ok "undo of a commit says that the host keeps it" "$T/out" "$T/err"; fi
try "$KAPSEL" snapshot restore z "$("$KAPSEL" snapshot list z | awk '/before undo/ { print $1; exit }')"
try "$KAPSEL" undo z
if [ "$status" = 0 ] && ! [ -s "$T/err" ]; then ok "undo of another step does not"; else not_ok "undo of another step does not" "$T/out" "$T/err"; fi
finish
