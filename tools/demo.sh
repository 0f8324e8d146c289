#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make demo`: packs the python sample and runs the image as an ordinary user.
set -eu
o=$1
sample=samples/python/manifest.yaml
. tests/lib.sh

if ! command -v apt-get >/dev/null; then
  sample=samples/hello-elf/manifest.yaml
elif [ "$(id -u)" = 0 ] && ! apt-cache show python3-minimal >/dev/null 2>&1; then
  apt-get -qq update </dev/null
fi
[ -f "$sample" ] || {
  echo "demo: $sample: no such file" >&2
  exit 1
}
name=$(basename "$(dirname "$sample")")
stage=$(public_dir kapsel-demo)
trap 'rm -rf "$stage"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n# %s\n' "$*"; }

say "kapsel pack $sample -o $name.kapsel"
"$o/kapsel" pack "$sample" -o "$stage/$name.kapsel"
chmod 0755 "$stage/$name.kapsel"
ls -lh "$stage/$name.kapsel"

say "one file, started by $(as_user id -u) (root is 0), nothing installed"
case $name in
  python)
    say "./python.kapsel -c ..."
    as_user "$stage/$name.kapsel" -c 'import sys, os, ssl, sqlite3
print("Python", sys.version.split()[0], "as uid", os.getuid(), "from", sys.executable)
print("its root holds:", *sorted(os.listdir("/")))
open("/etc/a-file-of-mine", "w").write("written inside\n")
print("a file in /etc, for this instance only:", open("/etc/a-file-of-mine").read().strip())'
    ;;
  *) as_user "$stage/$name.kapsel" ;;
esac
[ ! -e /etc/a-file-of-mine ] || {
  echo "demo: /etc/a-file-of-mine: the host has it now: it should not" >&2
  exit 1
}
say "the host's /etc is as it was"
cp "$stage/$name.kapsel" "$o/$name.kapsel"
echo "the image is kept as $o/$name.kapsel"
