#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a big image costs: packing and size beside mksquashfs at the same level, index bytes a file, and the first `true` on a
# cold store beside the same on a small image. The files are this machine's: the first of /usr by name, up to SIZE MiB.
#   run-bench-image.sh BUILD-DIR [SIZE [FILES]]
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
size=${2:-500} files=${3:-20000}

stage=$(public_dir kapsel-bench)
trap 'rm -rf "$stage"' EXIT
cp "$build/kapsel" "$build/kapsel-pack" "$build/tests/bench/timeit-static" "$stage/"
mkdir "$stage/tree"
find /usr -xdev -type f -readable -size -16M -printf '%s %P\n' | LC_ALL=C sort -k2 |
  awk -v max="$((size * 1048576))" -v files="$files" '
    sum < max && n < files { sum += $1; n++; sub(/^[0-9]+ /, ""); print }' >"$stage/list"
tar -C /usr -cf - --no-recursion -T "$stage/list" | tar -C "$stage/tree" -xf - || exit 1
count=$(find "$stage/tree" | wc -l)
echo "# $count entries, $(du -sm --apparent-size "$stage/tree" | cut -f1) MiB"

contents='  - elf: [/bin/sh, /bin/true]'
printf 'kapsel: 1\nname: small\nversion: "1"\nentry: {command: [/bin/true]}\ncontents:\n%s\n' "$contents" >"$stage/small.yaml"
sed 's/name: small/name: big/' "$stage/small.yaml" >"$stage/big.yaml"
printf '  - copy: {from: %s, to: /data}\n' "$stage/tree" >>"$stage/big.yaml"
now() { date +%s%N; }
timed() { # NAME CMD...: milliseconds
  name=$1
  shift
  sync
  from=$(now)
  "$@" >/dev/null || exit 1
  took=$((($(now) - from) / 1000000))
  eval "$name=$took"
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

"$stage/kapsel" pack --quiet "$stage/small.yaml" -o "$stage/small.kapsel" || exit 1
pack_ms= squash_ms=
least() { # NAME CMD...: the quicker of this time and those before
  before=$(eval "echo \$$1")
  timed "$@"
  if [ -n "$before" ] && [ "$before" -lt "$(eval "echo \$$1")" ]; then eval "$1=$before"; fi
}
for round in 1 2; do
  least pack_ms "$stage/kapsel" pack --quiet --compression 15 "$stage/big.yaml" -o "$stage/big.kapsel"
  command -v mksquashfs >/dev/null || continue
  rm -f "$stage/a.squashfs"
  least squash_ms mksquashfs "$stage/tree" "$stage/a.squashfs" -comp zstd -Xcompression-level 15 -no-progress -quiet
done
if [ -n "$squash_ms" ]; then
  echo "pack: $pack_ms ms, mksquashfs $squash_ms ms: $(ratio "$pack_ms" "$squash_ms") times (the quicker of $round)"
  echo "size: $(ratio "$(stat -c %s "$stage/big.kapsel")" "$(stat -c %s "$stage/a.squashfs")") times that of mksquashfs"
fi

# Each time a store and an instance of its own, image in the page cache for both.
cold() { # IMAGE
  rm -rf "$stage/cold"
  mkdir "$stage/cold"
  KAPSEL_STORE=$stage/cold/store XDG_DATA_HOME=$stage/cold/data "$stage/kapsel" run --quiet --rm "$1" -- /bin/true
}
for image in small big; do
  i=0
  while [ $i -lt 7 ]; do
    from=$(now)
    cold "$stage/$image.kapsel" || exit 1
    echo $((($(now) - from) / 1000))
    i=$((i + 1))
  done | sort -n | sed -n 4p >"$stage/$image.us"
done
small=$(cat "$stage/small.us") big=$(cat "$stage/big.us")
echo "first true on a cold store: small image $small us, this one $big us: $(ratio "$big" "$small") times"
echo "store after it: $(du -sk "$stage/cold/store" | cut -f1) KiB"
