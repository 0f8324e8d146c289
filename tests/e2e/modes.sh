# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The isolation modes: what a guest may change of the host, and what it must not see of it. TAP.
. "$STAGE/e2e/lib.sh"

small_image m "$STAGE/e2e/descriptors" /bin/ln /bin/rm /bin/mv /bin/mkdir /bin/chmod /usr/bin/stat /usr/bin/mkfifo
H=$T/host
printf '  - file: {path: %s/image/greeting, text: "from the image\\n"}\n' "$H" >>"$T/m.yaml"
try "$KAPSEL" pack --quiet "$T/m.yaml" -o "$T/m.kapsel"
expect_status 0 'an image that has a directory in the shown one'

host() { # the directory that the guests are shown
  [ ! -e "$H" ] || chmod -R u+rwx "$H"
  rm -rf "$H" && mkdir "$H" && echo original >"$H/f"
}

guest() { # MODE-OPTION... TEXT: in $H
  options=
  while [ $# -gt 1 ]; do options="$options --mode $1" && shift; done
  # shellcheck disable=SC2086 # words
  try "$KAPSEL" run --quiet --rm --cwd "$H" $options "$T/m.kapsel" -- /bin/sh -c "$1"
}

unchanged() { # WHAT: $H/f
  if [ "$(cat "$H/f")" = original ]; then ok "$1"; else not_ok "$1" "$H/f" "$T/out" "$T/err"; fi
}

host
guest "$H=writecopy" 'exec 3<f; rm f; ln -L /proc/self/fd/3 g; echo changed >g'
unchanged 'writecopy: an open file of the host gets no new name in the instance'

# With the name gone, a descriptor is all that a guest has of the host's file: whatever it tries, the host keeps what it had.
host
"$STAGE/e2e/descriptors" "$H/f" fsetxattr >/dev/null
before=$(stat -c '%a %Y %Z %h %s' "$H/f")
guest "$H=writecopy" "$STAGE/e2e/descriptors f unlink fchmod futimens fsetxattr fremovexattr reopen empty link"
if [ "$(grep -c ' 0$' "$T/out")" = 1 ] && [ "$(stat -c '%a %Y %Z %h %s' "$H/f")" = "$before" ]; then
  ok 'writecopy: a descriptor of a removed file changes nothing of the host'
else
  not_ok 'writecopy: a descriptor of a removed file changes nothing of the host' "$T/out" "$T/err"
fi

# The guest says that it is ready; then the host moves its file away, to where no mode shows it.
rm -rf "$T/away" && mkdir "$T/away"
host
"$STAGE/e2e/descriptors" "$H/f" fsetxattr >/dev/null
(
  wait_for test -e "$H/ready"
  mv "$H/f" "$T/away/f"
  stat -c '%a %Y %h %s' "$T/away/f" >"$T/before"
  rm "$H/ready"
) &
guest "$H=merged" "$H/f=writecopy" "$STAGE/e2e/descriptors f wait fchmod futimens fsetxattr fremovexattr reopen empty link"
wait
if [ "$(grep -c ' 0$' "$T/out")" = 1 ] && [ "$(stat -c '%a %Y %h %s' "$T/away/f")" = "$(cat "$T/before")" ]; then
  ok 'writecopy: nor does a descriptor of a file that the host moved away'
else
  not_ok 'writecopy: nor does a descriptor of a file that the host moved away' "$T/out" "$T/err"
fi

# The same files bound elsewhere for writing: a descriptor does not tell by which name it was opened.
host
"$STAGE/e2e/descriptors" "$H/f" fsetxattr >/dev/null
before=$(stat -c '%a %Y %h %s' "$H/f")
try "$KAPSEL" run --quiet --rm --bind "$H:/x" --mode "$H=writecopy" --cwd "$H" "$T/m.kapsel" -- /bin/sh -c "
  $STAGE/e2e/descriptors f fchmod futimens fsetxattr fremovexattr reopen empty; exec 3<f; chmod 600 /proc/self/fd/3; : >>/proc/self/fd/3; : >/proc/self/fd/3"
if ! grep -q ' 0$' "$T/out" && [ "$(stat -c '%a %Y %h %s' "$H/f")" = "$before" ]; then
  ok 'writecopy, and bound elsewhere: a descriptor changes nothing of the host'
else
  not_ok 'writecopy, and bound elsewhere: a descriptor changes nothing of the host' "$T/out" "$T/err"
fi
try "$KAPSEL" run --quiet --rm --bind "$H:/x" --mode "$H=writecopy" --cwd /x "$T/m.kapsel" -- /bin/sh -c '
  exec 3>>f; chmod 640 /proc/self/fd/3; echo more >&3; echo new >g; chmod 600 g; cat g f'
[ "$(stat -c %a "$H/f" "$H/g")" = "$(printf '640\n600')" ] || status=1
expect_out "$(printf 'new\noriginal\nmore')" 'and under the other name all is as it was granted'

# Who starts a guest may give it a file to write to from where it could not open it so.
host
(cd "$H" && "$KAPSEL" run --quiet --rm --mode "$H=writecopy" "$T/m.kapsel" -- /bin/sh -c 'echo one; echo two >>/dev/stdout' >>f 2>"$T/err")
try cat "$H/f"
expect_out "$(printf 'original\none\ntwo')" 'writecopy: /dev/stdout is the file that standard output goes to'

for below in full writecopy; do
  host
  mkdir -p "$H/p/q/r" && mv "$H/f" "$H/p/q/r/f" && ln -s p/q/r/f "$H/f"
  guest "$H=merged" "$H/p/q/r=$below" 'mv p moved; mv p/q moved; cat moved/r/f; echo changed >moved/r/f; echo changed >moved/q/r/f'
  unchanged "$below inside merged: it is not moved with a directory above to where it is merged"
done
host
mkdir -p "$H/share/kapsel/instances"
XDG_DATA_HOME=$H/share guest "$H=merged" 'mv share other; ls share; ls other/kapsel; echo >share/kapsel; ls share/kapsel; ls -a'
expect_out "$(printf 'share/kapsel\n.\n..\nf\nimage\nshare')" "merged: Kapsel's directories are not moved with one above"
host
export XDG_DATA_HOME="$H/share"
"$KAPSEL" run --quiet --instance other "$T/m.kapsel" -- /bin/sh -c 'echo other >/file'
guest "$H/share/kapsel/instances/other=merged" "cat share/kapsel/instances/other/upper/file"
if [ "$status" != 0 ]; then ok 'a mode does not show an instance by its path'; else not_ok 'a mode does not show an instance by its path' "$T/out"; fi
unset XDG_DATA_HOME

host
mkdir "$H/sub"
guest "$H=merged" "$H/sub=full" 'ls; mkdir sub; echo mine >sub/g; ls; cat sub/g'
expect_out "$(printf 'f\nimage\nf\nimage\nsub\nmine')" 'full inside merged: the name of what is not shown is not listed'

for there in 'ln -s ../away' 'touch'; do
  host
  rm -rf "$T/away" && mkdir "$T/away" && $there "$H/image"
  guest "$H=merged" 'cd image; echo mine >new; mkdir sub; ln -s x link; mkfifo fifo; cat new; ls'
  expect_out "$(printf 'mine\nfifo\ngreeting\nlink\nnew\nsub')" "merged: $there: a directory of the image where the host has none takes new names"
  if [ -z "$(ls -A "$T/away")" ]; then ok 'and none outside'; else not_ok 'and none outside'; fi
done

host
guest "$H=merged" 'chmod 700 image; cd image; echo mine >secret; mkdir -p -m 711 a/b; cat secret; stat -c "%a %n" . a a/b'
expect_out "$(printf 'mine\n700 .\n755 a\n711 a/b')" 'merged: names in directories that only the image has'
try stat -c '%a %n' "$H/image" "$H/image/a" "$H/image/a/b"
expect_out "$(printf '700 %s\n755 %s\n711 %s' "$H/image" "$H/image/a" "$H/image/a/b")" 'the host has them with the modes that the guest saw'
host
guest "$H=merged" "cd image; $STAGE/e2e/descriptors greeting bind; cd ..; $STAGE/e2e/descriptors f bind"
expect_out "$(printf 'bind 0\nbind 0')" 'merged: a socket is bound in a directory that only the image has'
host
guest "$H/not/there=merged" 'cd not/there; mkdir -p c/d; echo mine >c/d/e; cat c/d/e'
try cat "$H/not/there/c/d/e"
expect_out mine 'merged: what the host does not have yet'

host
guest "$H=merged" 'cd image; rm greeting; ln ../f greeting || { cat ../f >greeting && cat greeting; }'
expect_out original 'merged: a name that the guest removed from the image is taken by the instance, not by the host'
host
guest "$H=writecopy" "$STAGE/e2e/descriptors f setversion ext4-setversion verity"
expect_out "$(printf 'setversion 95\next4-setversion 95\nverity 95')" 'writecopy: no ioctl that works on a descriptor for reading changes a file of the host'

# One program of the guest waits for a host program's lease; the others do not wait with it.
host
(cd "$H" && exec "$STAGE/e2e/descriptors" f lease >"$T/lease") &
wait_for test -e "$H/ready"
guest "$H=merged" 'cat f & ls / && ls / && ls /; rm ready; wait'
wait
try cat "$T/lease"
expect_out 'lease 0' "merged: a file that a host program has leased does not stop the guest's other programs"

host
guest "$H=merged" 'cd image; for i in 1 2 3; do echo "$i" >new && mv new greeting; done; cat greeting; ls'
expect_out "$(printf '3\ngreeting')" 'merged: a file of the image is replaced again and again'

host
mkdir "$H/s" && echo mine >"$H/s/g"
try "$KAPSEL" run --quiet --rm --bind "$H:/work:ro" --mode "$H=merged" --cwd "$H/s" "$T/m.kapsel" -- /bin/sh -c 'mv ../s ../s2; ls; cat ../s2/g'
expect_out "$(printf 'g\nmine')" 'merged, and bound elsewhere too: a renamed current directory'

try "$KAPSEL" run --quiet --rm "$T/m.kapsel" -- /bin/sh -c "$STAGE/e2e/descriptors $STAGE/e2e/descriptors unlink chmod-exe; cat /etc/greeting"
expect_out "$(printf 'unlink 0\nchmod-exe 30\nhello from the image')" 'full: a removed program does not reach the loader through its exe link'

# What an image asks for, where the home is known by another name than HOME says.
mkdir "$T/real" && ln -s real "$T/linked"
sed '1a modes: {'"$T/real"': merged, '"$T/real/.hidden"': merged, '"$T/real/work"': merged}' "$T/m.yaml" >"$T/asks.yaml"
try "$KAPSEL" pack --quiet "$T/asks.yaml" -o "$T/asks.kapsel"
expect_status 0 'an image that asks for modes'
mkdir "$T/real/.hidden" "$T/real/work"
HOME=$T/linked try "$KAPSEL" run --quiet --rm "$T/asks.kapsel" -- /bin/sh -c "cd $T/real; echo >new; echo >.hidden/new; echo >work/new"
(cd "$T/real" && find . -name new) >"$T/out"
expect_out ./work/new "an image's merged is writecopy in the home's root and in what is hidden there, by any path"

# The host gives the number of a removed file to its next one; the copy in the instance has it still.
host
mkfifo "$T/go"
ln "$H/f" "$H/other"
"$KAPSEL" run --quiet --instance numbers --mode "$H=writecopy" "$T/m.kapsel" -- /bin/sh -c "cd $H; echo mine >f; echo ready; read x; stat -c '%n %i' f other; ls -i" \
  <"$T/go" >"$T/out" 2>"$T/err" &
front=$!
exec 8>"$T/go"
while ! grep -q ready "$T/out" && kill -0 $front; do sleep 0.05; done
number=$(stat -c %i "$H/f")
rm "$H/f" "$H/other"
for i in $(seq 1000); do
  echo "$i" >"$H/n$i"
  [ "$(stat -c %i "$H/n$i")" != "$number" ] || break
done
echo next >"$H/other"
echo >&8
exec 8>&-
wait $front
status=$?
again() { awk '$1 ~ /^[0-9]+$/ { print $1 }' "$T/out" | sort | uniq -d | wc -l >"$T/twice"; }
again
if [ "$status" != 0 ] || [ "$(cat "$T/twice")" != 0 ]; then not_ok 'writecopy: numbers are not used again' "$T/out" "$T/err"
elif [ "$(stat -c %i "$H/n$i")" = "$number" ]; then ok 'writecopy: numbers are not used again'
else skip 'writecopy: numbers are not used again' 'this file system does not use one again so soon'; fi
try "$KAPSEL" run --quiet --instance numbers --mode "$H=writecopy" "$T/m.kapsel" -- /bin/sh -c "cd $H; ls -i"
again
if [ "$status" = 0 ] && [ "$(cat "$T/twice")" = 0 ]; then ok 'nor by a later run'; else not_ok 'nor by a later run' "$T/out" "$T/err"; fi
finish
