# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Directories of an image, and of the host, are renamed without what they hold: the same script natively and inside, in one run and in
# the next, and what explain, diff, verify, commit, discard, snapshot and export make of it.
. "$STAGE/e2e/lib.sh"

tree() { # DIR
  mkdir -p "$1/big/sub/deep" "$1/big/other" "$1/small" "$1/empty"
  for i in 1 2 3 4 5 6 7 8 9; do echo "file $i" >"$1/big/f$i"; done
  echo sub >"$1/big/sub/s"
  echo deep >"$1/big/sub/deep/d"
  echo other >"$1/big/other/o"
  ln -s ../f1 "$1/big/sub/link"
  ln "$1/big/f9" "$1/big/sub/nine"
  echo small >"$1/small/f"
  find "$1" -exec touch -h -d @1000000000 {} +
}

cat >script <<'S'
cd "$1" || exit 1
show() { echo "== $*"; find . -printf '%P %y %m %l %s %n\n' | sed 's/ d \(.*\) [0-9]* [0-9]*$/ d \1/' | sort; find . -type f -exec cat {} + | sort; }
exec 9<big/f2 8<big/sub
cd big/sub
mv ../../big ../../moved
pwd
/bin/pwd
ls ..
cat ../f1 link /proc/self/fd/9
readlink /proc/self/fd/9 /proc/self/fd/8
chmod 600 /proc/self/fd/9
cd ../..
show renamed
echo more >>moved/f3
echo new >moved/new
rm moved/f4
mkdir moved/dir
mv moved/sub moved/dir/sub
show changed
mv moved/dir/sub/deep deep
mv deep moved/dir/deeper
[ -e moved/sub ] || echo no such directory
mkdir moved/sub
echo y >moved/sub/s
show nested
exec 7<moved/f9
echo nine >>moved/f9
stat -c '%h %s' moved/f9 moved/dir/sub/nine
mv -T moved big
show back
mv -T big/other small 2>&1 | sed 's/.*: //'
mv -T big/other empty
show over an empty one
mkdir big/other
mv small big/
mv -T big again
rm -r again/dir
mkdir big
echo fresh >big/f1
mv -T again/small big/small
show all
S
cat >next <<'S'
cd "$1" || exit 1
find . -printf '%P %y %m %l %s %n\n' | sed 's/ d \(.*\) [0-9]* [0-9]*$/ d \1/' | sort
find . -type f -exec cat {} + | sort
cat again/f1
mv again once
mv once/f5 once/f6 big
stat -c '%n %h' once/f9
S
chmod 755 script next
same_as_native() { # WHAT
  sed "s#$T/native#T#g; s#$T/tree#T#g" "$T/out" >"$T/seen"
  if [ "$status" = 0 ] && cmp -s "$T/native.out" "$T/seen"; then ok "$1"; else
    diff "$T/native.out" "$T/seen" >"$T/diff"
    not_ok "$1: exit $status" "$T/diff" "$T/err"
  fi
}

tools='/bin/sh, /bin/cat, /bin/mv, /bin/rm, /bin/mkdir, /bin/ls, /bin/pwd, /bin/chmod, /usr/bin/find, /usr/bin/sort, /bin/sed, /usr/bin/stat, /usr/bin/readlink, /usr/bin/touch'
tree "$T/made"
cat >image.yaml <<M
kapsel: 1
name: image
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [$tools]
  - copy: {from: made/, to: $T/tree}
  - copy: {from: script, to: /script}
  - copy: {from: next, to: /next}
M
grep -v 'made/' image.yaml | sed 's/name: image/name: bare/' >bare.yaml
try "$KAPSEL" pack --quiet image.yaml -o image.kapsel
expect_status 0 "packed"
try "$KAPSEL" pack --quiet bare.yaml -o bare.kapsel

natively() { # SCRIPT LINKS
  [ "$1" = next ] || { rm -rf native && tree "$T/native"; }
  [ "$2" != no ] || { rm native/big/sub/nine && cp -p native/big/f9 native/big/sub/nine; }
  env -i PATH=/usr/bin:/bin LC_ALL=C "$(command -v sh)" "$T/$1" "$T/native" >"$T/native.raw" 2>&1 9<&-
  sed "s#$T/native#T#g" "$T/native.raw" >"$T/native.out"
}

natively script yes
try "$KAPSEL" run --quiet --profile isolated --env LC_ALL=C --instance a image.kapsel -- /bin/sh /script "$T/tree"
same_as_native "an image's directories"
natively next -
try "$KAPSEL" run --quiet --profile isolated --env LC_ALL=C --instance a image.kapsel -- /bin/sh /next "$T/tree"
same_as_native "and in the next run"
try "$KAPSEL" verify a
expect_status 0 "the instance is whole"
try "$KAPSEL" explain --profile isolated a "$T/tree/once/f1"
grep -q "renamed.*$T/tree/big" "$T/out" && ok "explain tells where it was" || not_ok "explain tells where it was" "$T/out"
find "$HOME" -path '*instances/a/upper*' -name f7 >"$T/found"
[ ! -s "$T/found" ] && ok "nothing was copied that did not change" || not_ok "nothing was copied" "$T/found"

# The host's, in writecopy: two names of a file part there at a copy-up.
writecopy() { # INSTANCE COMMAND...
  name=$1
  shift
  try "$KAPSEL" run --quiet --profile isolated --mode "$T/tree=writecopy" --env LC_ALL=C --instance "$name" bare.kapsel -- "$@"
}
one_name() {
  rm -rf tree && tree "$T/tree"
  rm tree/big/sub/nine && cp -p tree/big/f9 tree/big/sub/nine
}
one_name
find tree -printf '%P %m %s %T@\n' | sort >before
natively script no
writecopy b /bin/sh /script "$T/tree"
same_as_native "the host's directories in writecopy"
natively next -
writecopy b /bin/sh /next "$T/tree"
same_as_native "and in the next run"
find tree -printf '%P %m %s %T@\n' | sort >after
cmp -s before after && ok "the host is as it was" || not_ok "the host is as it was" before after
try "$KAPSEL" verify b
expect_status 0 "the instance is whole"
writecopy b /bin/sh -c "cd $T/tree && find . -type f -exec cat {} + | sort; find . | sort"
cp out inside
try "$KAPSEL" export b -o b.export
expect_status 0 "export"
try "$KAPSEL" import b.export c
[ "$status" = 0 ] || try "$KAPSEL" import --instance c b.export
writecopy c /bin/sh -c "cd $T/tree && find . -type f -exec cat {} + | sort; find . | sort"
cmp -s inside out && ok "export and import" || not_ok "export and import" inside out err
try "$KAPSEL" snapshot create b one
writecopy b /bin/sh -c "cd $T/tree && rm -r once"
try "$KAPSEL" snapshot restore b one
writecopy b /bin/sh -c "cd $T/tree && find . -type f -exec cat {} + | sort; find . | sort"
cmp -s inside out && ok "a snapshot and back" || not_ok "a snapshot and back" inside out err
try "$KAPSEL" commit b
expect_status 0 "commit of it all"
(cd tree && find . -type f -exec cat {} + | LC_ALL=C sort; find . | LC_ALL=C sort) >committed
cmp -s inside committed && ok "the host has what the instance had" || not_ok "the host has what the instance had" inside committed
try "$KAPSEL" diff b "$T/tree"
if [ "$status" = 125 ] || [ ! -s "$T/out" ]; then ok "and the instance has let go of it"; else not_ok "the instance has let go of it" "$T/out"; fi

# Two that change places, whatever the order in which they are applied.
one_name
writecopy d /bin/sh -c "cd $T/tree && mv big tmp && mv small big && mv tmp small && echo more >>small/f1 && mv small/sub/deep big"
try "$KAPSEL" diff d "$T/tree"
grep -q "^R file .*$T/tree/big/f7 -> $T/tree/small/f7$" "$T/out" && ok "diff of two that changed places" || not_ok "diff of two that changed places" "$T/out" "$T/err"
try "$KAPSEL" commit d
expect_status 0 "commit of two that changed places"
echo "$(cat tree/small/f1 tree/big/f tree/big/deep/d tree/small/sub/s | tr '\n' ' ')$(find tree | wc -l)" >seen
[ "$(cat seen)" = "file 1 more small deep sub 22" ] && ok "the host has them" || not_ok "the host has them" seen

one_name
writecopy e /bin/sh -c "cd $T/tree && mv big other && echo more >>other/f1"
try "$KAPSEL" discard e "$T/tree/other/f5"
writecopy e /bin/sh -c "cd $T/tree && ls && cat big/f1"
expect_out "big
empty
small
file 1" "discard of one file puts the whole directory back"
finish
