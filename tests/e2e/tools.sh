# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The tools that people move files with, natively and inside on the same tree at the same path: what they print and the tree
# afterwards must be the same. In the image the tree is a layer below; natively it is a plain directory.
. "$STAGE/e2e/lib.sh"

cat >"$T/make-tree" <<'END'
set -eu
mkdir -p "$1"; cd "$1"
mkdir -p src/a/b src/empty dst old/deep/er
for i in 1 2 3 4 5 6 7 8; do echo "file $i" >src/f$i; echo "deep $i" >src/a/b/g$i; done
link=ln; [ "${LINKS-}" != no ] || link=cp # a copy-up from the host parts names
$link src/f1 src/hard1; $link src/f1 src/a/hard2; ln -s f1 src/link; ln -s ../nothing src/a/dangling; ln -s "$1/src/a" src/absolute
chmod 600 src/f2; chmod 755 src/f3; chmod 444 src/f4; chmod 700 src/a/b
head -c 300000 /dev/zero >src/zeros
echo stale >old/stale; echo stale >old/deep/er/stale
find . -exec touch -h -d @1000000000 {} +
END
cat >"$T/steps" <<'END'
cd "$1"
export LC_ALL=C TZ=UTC HOME="$1" GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000
show() { # the tree, without times of directories
  find "$@" -printf '%P %y %m %n %s %l\n' | sort -V | sed -E '/ d /s/ [0-9]+ [0-9]+ $//'
  find "$@" -type f -printf '%P %TY%Tm%Td%TH%TM%TS\n' | grep -c 'P 2001090901464' ; find "$@" -type f -exec md5sum {} + | sort -k2
}
step() { echo "== $*"; "$@" 2>&1; echo "-> $?"; }
step cp -a src copy1; show copy1
step cp -al src copy2; show copy2
step cp -r --preserve=links,mode src/. dst/in; show dst
step mv src/a src/moved; step mv src/moved/b src/b; show src
step mv copy1 dst/copy1; step mv -n src/f5 src/f6; step mv -f src/f7 src/f8; show src dst
step tar -cf t.tar --sort=name src; step tar -tf t.tar; mkdir x; step tar -C x -xpf t.tar; show x
step tar -C x -xpf t.tar --overwrite; step tar -df t.tar; rm t.tar
step find old -name stale -delete; show old
step find old -depth -delete; step ls old
step rm -r x; step rm -rf dst/in/a; show dst
step ln -s src/f1 l1; step ln -sf src/f2 l1; step readlink l1; step ln src/f4 src/f4b; step ln -f src/f3 src/f4b; show src
step chmod -R g-rwx,o-rwx src; show src; step chmod -R u=rwX,go=rX src
step sed -i 's/file/FILE/' src/f1 src/f2; step cat src/f1 src/hard1 src/f2; show src
step install -D -m 751 src/f2 new/dir/f2; step truncate -s 10 src/zeros; step dd if=/dev/zero of=src/f8 bs=5 count=1 seek=3 conv=notrunc status=none; show new src
step rmdir src/empty; step rmdir src; step mkdir src/empty; step rmdir new; step mktemp -d -p new -q --suffix=x XXXX | wc -l; find new -name '*x' -delete
step sort -o src/f2 src/f2 src/f1; step tee -a src/f3 src/newfile </dev/null; step touch -d @1100000000 src/f3; step touch -r src/f3 src/f6; step stat -c '%n %Y %s %h %A' src/f3 src/f6
step split -b 100000 -d copy2/zeros src/part; step cmp copy2/zeros src/zeros; step du -s --apparent-size --block-size=1 src/f1; step test src/f6 -nt src/f1; step test src/f1 -ef src/hard1
if command -v rsync >/dev/null; then
  step rsync -aHX --delete copy2/ synced/; show synced; echo more >>copy2/f6; rm copy2/f5
  step rsync -aHX --delete --itemize-changes copy2/ synced/; show synced; step rsync -aHX --delete --dry-run --itemize-changes copy2/ synced/
fi
if command -v git >/dev/null; then
  step git init -q -b main repo; cd repo; git config user.name n; git config user.email n@example.org; git config gc.auto 0
  cp -a ../copy2/. .; step git add -A; step git commit -q -m one; step git status --short; step git mv f6 f6b; echo x >>f6b; rm f8; step git status --short
  step git commit -qam two; step git log --format=%H; step git checkout -q -b side HEAD~1; step git status --short; step git merge -q main; step git gc -q; step git fsck; step git stash list; cd ..
  step git clone -q repo cloned; step git -C cloned log --format=%H; step git -C cloned worktree add -q ../tree HEAD~1; step ls tree
fi
if command -v make >/dev/null; then
  printf 'all: o1 o2\no%%: src/f%%\n\tcp $< $@\n' >Makefile
  step make -s -j2; step make -q; touch -d '1 hour ago' o1 o2; touch src/f1; step make -n; step make -s; step make
fi
if command -v sqlite3 >/dev/null; then
  step sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t values(1),(2); select sum(a) from t;'
  step sqlite3 db 'begin; insert into t values(3); rollback; select count(*) from t; pragma integrity_check; vacuum;'; step ls db db-wal
fi
if command -v dpkg-deb >/dev/null; then
  mkdir -p pkg/DEBIAN pkg/usr/share/p; printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n' >pkg/DEBIAN/control; cp src/f1 pkg/usr/share/p
  step dpkg-deb --root-owner-group -b pkg p.deb; step dpkg-deb -f p.deb Package Version; step dpkg-deb -x p.deb unpacked; show unpacked
fi
rm -rf repo/.git cloned/.git; show . | grep -v '^db\|p.deb'
END

tools=
for tool in bash cp mv rm rmdir mkdir ln ls cat find tar sed sort touch chmod install truncate dd readlink stat md5sum mktemp tee split cmp \
  du head wc grep rsync git make sqlite3 dpkg-deb cut test xz; do
  path=$(command -v "$tool") && case $path in /*) tools="$tools, $(readlink -f "$path")" ;; esac
done
# Some are links to one program of another name.
tree=$T/tree
sh "$T/make-tree" "$tree"
{
  printf 'kapsel: 1\nname: tools\nversion: "1"\nentry: {command: [/bin/sh]}\ncontents:\n  - elf: [/bin/sh, /usr/bin/env%s]\n' "$tools"
  for tool in bash git make tar find rsync sqlite3 dpkg-deb awk; do
    path=$(command -v "$tool") || continue
    [ "$(readlink -f "$path")" = "$(readlink -f "$(dirname "$path")")/$tool" ] || printf '  - symlink: {path: /usr/bin/%s, to: %s}\n' "$tool" "$(readlink -f "$path")"
  done
  [ ! -d /usr/share/git-core ] || printf '  - copy: {from: /usr/share/git-core, to: /usr/share/git-core}\n'
  [ ! -d /usr/lib/git-core ] || printf '  - copy: {from: /usr/lib/git-core, to: /usr/lib/git-core}\n'
  tar -C / -cf "$T/tree.tar" "${tree#/}"
  printf '  - tar: %s\n  - copy: {from: %s, to: /steps}\n  - file: {path: /tmp/.keep, text: ""}\n' "$T/tree.tar" "$T/steps"
} >"$T/tools.yaml"
if ! "$KAPSEL" pack --quiet "$T/tools.yaml" -o "$T/tools.kapsel" 2>"$T/err"; then
  not_ok "pack" "$T/err" "$T/tools.yaml"
  finish
fi

same() { # WHERE: what was said natively and inside
  cp "$T/out" "$T/inside"
  lines=$(wc -l <"$T/native")
  if [ "$lines" -gt 500 ] && diff -U1 "$T/native" "$T/inside" >"$T/diff"; then
    ok "the tools do the same$1 ($lines lines)"
  else
    not_ok "the tools do the same$1 ($lines lines)" "$T/diff" "$T/err"
  fi
}

plain=
[ "$(id -u)" != 0 ] || plain="setpriv --bounding-set=-all --inh-caps=-all"
# shellcheck disable=SC2086 # words are wanted
env -i PATH=/usr/bin:/bin $plain bash "$T/steps" "$tree" >"$T/native" 2>&1
rm -rf "$tree"
TIMEOUT=120
try "$KAPSEL" run --rm "$T/tools.kapsel" -- bash /steps "$tree"
same ""

# The same on a tree of the host, shown by a mode.
for mode in writecopy merged; do
  links=yes
  [ $mode = merged ] || links=no
  LINKS=$links sh "$T/make-tree" "$T/shown"
  # shellcheck disable=SC2086 # words are wanted
  env -i PATH=/usr/bin:/bin $plain bash "$T/steps" "$T/shown" >"$T/native" 2>&1
  (cd "$T/shown" && find . | sort) >"$T/native.tree"
  rm -rf "$T/shown"
  LINKS=$links sh "$T/make-tree" "$T/shown"
  (cd "$T/shown" && find . -printf '%p %m %n %s %T@ %l\n' | sort) >"$T/before"
  try "$KAPSEL" run --rm --mode "$T/shown=$mode" "$T/tools.kapsel" -- bash /steps "$T/shown"
  same " in mode $mode"
  if [ $mode = merged ]; then
    (cd "$T/shown" && find . | sort) >"$T/after"
    cmp -s "$T/native.tree" "$T/after" && ok "and leave the same on the host" || not_ok "what they leave on the host" "$T/after"
  else
    (cd "$T/shown" && find . -printf '%p %m %n %s %T@ %l\n' | sort) >"$T/after"
    cmp -s "$T/before" "$T/after" && ok "and the host is as it was" || not_ok "writecopy changed the host" "$T/after"
  fi
  rm -rf "$T/shown"
done
finish
