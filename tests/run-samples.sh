#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs each sample, runs its test as an ordinary user on each kind of host, compares its output. TAP; exit 0, 1, 77.
#   [HOSTS="plain empty"] run-samples.sh BUILD-DIR [SAMPLE...]     the kinds of host: on-host.sh
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
cp "$build/kapsel" "$build/kapsel-pack" "$build/tests/e2e/in-root" "$build/tests/e2e/docker-shim" "$stage/"
cp "$here/lib.sh" "$here/on-host.sh" "$stage/"
images="$stage/images/an image with späces"
mkdir -p "$images"
chmod -R a+rX "$stage"
log=$build/samples
mkdir -p "$log"
if [ -z "${HOSTS-}" ]; then
  HOSTS="plain strict"
  if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then HOSTS="plain strict docker foreign empty"; fi
fi
for kind in $HOSTS; do
  printf '#!/bin/sh\nexec sh "%s/on-host.sh" %s "%s" "$@"\n' "$stage" "$kind" "$stage" >"$stage/on-$kind"
done
chmod 0755 "$stage"/on-*
number=0 status=0

fail() { # NAME WHAT FILE...
  echo "not ok $number - $1: $2"
  shift 2
  for shown; do head -c 3000 "$shown" | head -25 | sed 's/^/# /'; done
  status=1
}

try_sample() { # NAME KIND
  started=$(date +%s)
  out=$log/$1.$2
  KAPSEL=$stage/on-$2 IMAGE=$image timeout -k 5 600 sh "$stage/sample/test.sh" </dev/null >"$out" 2>"$out.err"
  rc=$?
  if diff -U2 "samples/$1/expected" "$out" >"$out.diff" && [ "$rc" = 0 ]; then
    passed="$passed $2 $(($(date +%s) - started)) s"
  else
    fail "$1" "on $2: exit $rc" "$out.diff" "$out.err"
    number=$((number + 1))
  fi
}

for name; do
  number=$((number + 1)) passed=
  # Packed from a copy: a build script may not dirty the tree.
  rm -rf "$stage/sample"
  cp -R "samples/$name" "$stage/sample" || exit 1
  chmod -R a+rX "$stage/sample"
  if [ -f "$stage/sample/build.sh" ] && ! timeout -k 5 300 sh "$stage/sample/build.sh" >"$log/$name.build" 2>&1; then
    needs=$(sed -n 's/^# Needs \(.*\)\.$/\1/p' "$stage/sample/build.sh")
    echo "ok $number - $name # SKIP build.sh failed; it needs ${needs:-what it says}"
    if [ "${KAPSEL_MUST_RUN-}" = 1 ]; then fail "$name" build "$log/$name.build"; fi
    continue
  fi
  image="$images/$name.kapsel"
  started=$(date +%s)
  if ! timeout -k 5 600 "$stage/kapsel" pack --quiet --compression 3 "$stage/sample/manifest.yaml" -o "$image" >"$log/$name.pack" 2>&1; then
    fail "$name" pack "$log/$name.pack"
    continue
  fi
  chmod 0755 "$image"
  took=$(($(date +%s) - started))
  for kind in $HOSTS; do try_sample "$name" "$kind"; done
  [ -z "$passed" ] || echo "ok $number - $name on:$passed ($(($(stat -c %s "$image") / 1048576)) MiB, packed in $took s)"
  rm -f "$image"
done
echo "1..$number"
exit $status
