#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the tree that every guest program starts in, at the absolute path DIR (the path is in some links).
set -eu
umask 022
dir=$1
mkdir "$dir"
cd "$dir"

printf 'hello\n' >file
: >empty
printf 'readonly\n' >ro
chmod 0444 ro
head -c 300000 /dev/zero | tr '\0' x >big
printf 'two names\n' >hard1
ln hard1 hard2

mkdir -p dir/sub/deep dir/many dir/empty locked kept held
printf 'two directories\n' >kept/hard3
ln kept/hard3 hard4
printf 'held\n' >held/leaf
printf 'a\n' >dir/a
printf 'b\n' >dir/b
printf 'deep\n' >dir/sub/deep/leaf
(cd dir/many && seq -f 'f%03g' 0 149 | xargs touch)
printf 'inside\n' >locked/inside
chmod 0555 locked

ln -s file link
ln -s "$dir/file" abslink
ln -s dir dirlink
ln -s dir/ dirslash
ln -s dir/sub rel
ln -s nowhere dangling
ln -s loop loop
ln -s loopb loopa
ln -s loopa loopb
ln -s .. dir/up
ln -s ../file dir/upfile
ln -s file/x through
# 42 links in a row: more than the kernel follows.
ln -s file chain0
i=1
while [ $i -le 41 ]; do
  ln -s chain$((i - 1)) chain$i
  i=$((i + 1))
done

printf '#!/bin/sh\necho "script $0 $# $*"\n' >script
printf '#!%s/script one word\n' "$dir" >script2
printf '#!/nowhere/interp\n' >badinterp
printf 'no magic\n' >nomagic
chmod 0755 script script2 badinterp nomagic

# Deeper than a recursion on a small stack goes.
mkdir -p "down$(printf '/d%.0s' $(seq 300))"
printf 'bottom\n' >"down$(printf '/d%.0s' $(seq 300))/leaf"

# For matrix: what each of its calls begins with.
mkdir mx mx/00
cd mx/00
for f in file copied remade gone unreadable hard file2 file3; do echo "the $f" >$f; done
ln hard hard.too
for d in dir edir remadedir old emptied dir2 dir3; do mkdir $d; done
for d in dir remadedir old emptied dir2; do echo child >$d/child; done
mkdir old/sub
ln -s file link
ln -s dir dirlink
ln -s dir2 dirlink2
ln -s nowhere dangling
ln -s loop loop
cd ..
for d in $(seq -f %02g 63); do cp -a 00 "$d"; done
for d in [0-9]*; do ln -s "$dir/mx/$d/file" "$d/abslink"; done
