#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fixture.sh DIR [SETS]: makes the tree that the guest programs work on. guest.h says what each name is for.
set -eu
root=$1 sets=${2:-80}
umask 022
mkdir -p "$root"

mkdir "$root/model"
cd "$root/model"
echo 'image file' > file
echo 'read only' > ro
echo '#!/bin/sh' > exec
echo 'copied up' > cu
echo 'removed' > wh
echo 'hard' > hard1
ln hard1 hard2
for d in dir mdir wdir odir xdir; do
	mkdir "$d"
	echo a > "$d/a"
done
mkdir dir/sub edir
echo b > dir/b
echo b > mdir/b
echo c > dir/sub/c
ln -s file lrel
ln -s nothere ldang
ln -s lloop lloop
ln -s dir ldir
ln -s wh lwh
chmod 0444 ro
chmod 0755 exec

i=0
while [ "$i" -lt "$sets" ]; do
	s=$(printf '%s/s%03d' "$root" "$i")
	cp -a "$root/model" "$s"
	ln -s "$s/file" "$s/labs"
	i=$((i + 1))
done
rm -r "$root/model"

# One directory with many names, one deep tree, chains of links around the limit.
mkdir "$root/big" "$root/chain" "$root/deep"
cd "$root/big"
seq -f 'n%04g' 3000 | xargs touch
cd "$root/chain"
echo end > l0
i=0
while [ "$i" -lt 45 ]; do
	ln -s "l$i" "l$((i + 1))"
	i=$((i + 1))
done
mkdir -p "$root/deep/a/b/c/d/e/f"
echo deep > "$root/deep/a/b/c/d/e/f/file"
find "$root" -exec touch -h -d @1000000000 {} +
