#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fixture.sh DIR SEED...: makes DIR/SEED/w for each seed, the tree that the operations begin with. LINKS=no: without a file that
# has two names (a copy-up from the host parts them, as overlayfs does).
set -eu
root=$1
shift
umask 022
mkdir -p "$root/.model/w"
cd "$root/.model/w"
mkdir -p d/e/f m
: >a
echo 'some text' >b
seq 1 20000 >c
seq 1 900 >d/a
echo inner >d/e/b
echo one file with two names >d/h
if [ "${LINKS-}" = no ]; then cp d/h d/e/h; else ln d/h d/e/h; fi
truncate -s 100000 d/e/f/a
echo read only >m/a
chmod 0444 m/a
echo '#!/bin/sh' >m/x
chmod 0755 m/x
ln -s b l
ln -s d m/d
ln -s nothing d/l
ln -s ../c d/x
ln -s y y
find . -exec touch -h -d @1000000000 {} +
for seed; do cp -a "$root/.model" "$root/$seed"; done
rm -rf "$root/.model"
