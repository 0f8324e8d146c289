#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs each sample, runs its test as an ordinary user, compares its output. TAP; exit 0, 1, 77.
#   run-samples.sh BUILD-DIR [SAMPLE...]
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
shift
cd "$top" || exit 1
if [ $# = 0 ]; then
  for manifest in samples/*/manifest.yaml; do
    set -- "$@" "$(basename "$(dirname "$manifest")")"
  done
fi
"$build/kapsel" run --help >/dev/null 2>&1 || skip_all "this kapsel has no 'run'"
can_become_user || skip_all "no other user id can be taken here"

stage=$(public_dir kapsel-samples)
trap 'rm -rf "$stage"' EXIT
cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
log=$build/samples
mkdir -p "$log"
echo "1..$#"
number=0 status=0

fail() { # NAME WHAT FILE...
  echo "not ok $number - $1: $2"
  shift 2
  for shown; do head -c 3000 "$shown" | head -25 | sed 's/^/# /'; done
  status=1
}

for name; do
  number=$((number + 1))
  # Packed from a copy: a build script may not dirty the tree.
  rm -rf "$stage/sample"
  cp -R "samples/$name" "$stage/sample" || exit 1
  chmod -R a+rX "$stage/sample"
  if [ -f "$stage/sample/build.sh" ] && ! sh "$stage/sample/build.sh" >"$log/$name.build" 2>&1; then
    needs=$(sed -n 's/^# Needs \(.*\)\.$/\1/p' "$stage/sample/build.sh")
    echo "ok $number - $name # SKIP build.sh failed; it needs ${needs:-what it says}"
    if [ "${KAPSEL_MUST_RUN-}" = 1 ]; then fail "$name" build "$log/$name.build"; fi
    continue
  fi
  image=$stage/$name.kapsel
  started=$(date +%s)
  if ! "$stage/kapsel" pack --quiet "$stage/sample/manifest.yaml" -o "$image" >"$log/$name.pack" 2>&1; then
    fail "$name" pack "$log/$name.pack"
    continue
  fi
  packed=$(date +%s)
  chmod 0755 "$image"
  as_user env KAPSEL="$stage/kapsel" IMAGE="$image" timeout -k 5 300 sh "$stage/sample/test.sh" \
    </dev/null >"$log/$name.out" 2>"$log/$name.err"
  rc=$?
  if [ "$rc" = 0 ] && diff -U2 "samples/$name/expected" "$log/$name.out" >"$log/$name.diff"; then
    echo "ok $number - $name ($(($(stat -c %s "$image") / 1048576)) MiB, packed in $((packed - started)) s, ran $(($(date +%s) - packed)) s)"
  else
    diff -U2 "samples/$name/expected" "$log/$name.out" >"$log/$name.diff"
    fail "$name" "exit $rc" "$log/$name.diff" "$log/$name.err"
  fi
  rm -f "$image"
done
exit $status
