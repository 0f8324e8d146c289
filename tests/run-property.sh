#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Random operations on a plain directory and, the same ones, inside a layered one: every result and the trees must be equal. TAP.
#   run-property.sh BUILD-DIR     SEEDS="1 2 3" or COUNT=100, STEPS=1000, WHERE="image ..."
# A difference is seen again with SEEDS=N alone: seeds do not touch each other's trees.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

[ "${1-}" != --inner ] || { inner=1 && shift; }
build=$(cd "${1:?BUILD-DIR}" && pwd)
steps=${STEPS:-1000} seeds=${SEEDS:-$(seq 1 "${COUNT:-100}" | tr '\n' ' ')} where=${WHERE:-image}

stage_and_run() { # copies what is needed to where any user can read it, then runs for each user
  stage=$(public_dir kapsel-property)
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$stage/tests/property"
  cp "$here/lib.sh" "$here/run-property.sh" "$stage/tests/"
  cp "$here/property/fixture.sh" "$build/tests/property/operations" "$stage/tests/property/"
  cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
  status=0
  echo "# as uid $(id -u)"
  SEEDS=$seeds STEPS=$steps WHERE=$where sh "$stage/tests/run-property.sh" --inner "$stage" || status=1
  if [ "$(id -u)" = 0 ] && can_become_user; then
    echo "# as uid $TEST_UID"
    as_user env SEEDS="$seeds" STEPS="$steps" WHERE="$where" sh "$stage/tests/run-property.sh" --inner "$stage" || status=1
  fi
  exit $status
}

[ "${inner-}" ] || stage_and_run

work=$(mktemp -d /var/tmp/kpr.XXXXXX)
out=$(mktemp -d /var/tmp/kpo.XXXXXX)
clean() {
  chmod -R u+rwx "$work" "$out" 2>/dev/null
  rm -rf "$work" "$out"
}
trap clean EXIT
chmod 0755 "$work"

# Root keeps no capabilities inside; natively it must not either.
plain() {
  if [ "$(id -u)" = 0 ]; then setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"; else setpriv --no-new-privs "$@"; fi
}

fresh() {
  [ ! -e "$work/t" ] || { chmod -R u+rwx "$work/t" && rm -rf "$work/t"; }
  # shellcheck disable=SC2086 # words
  sh "$build/tests/property/fixture.sh" "$work/t" $seeds
}

pack() { # the tree as it is
  tar -C / --owner=0 --group=0 -cf "$out/tree.tar" "${work#/}" || return 1
  printf 'kapsel: 1\nname: property\nentry: {command: [/operations]}\ncontents:\n  - tar: %s\n  - copy: {from: %s, to: /operations}\n' \
    "$out/tree.tar" "$build/tests/property/operations" >"$out/manifest.yaml"
  "$build/kapsel" pack --quiet "$out/manifest.yaml" -o "$out/image.kapsel"
}

begun=$(date +%s)
fresh
# shellcheck disable=SC2086 # words
plain env -i "$build/tests/property/operations" "$work/t" "$steps" $seeds >"$out/native" 2>&1
native_status=$?
number=0 status=0
for place in $where; do
  number=$((number + 1))
  fresh
  case $place in
    image) pack && rm -rf "$work/t" || status=1 ;;
    *) echo "Bail out! WHERE=$place" && exit 1 ;;
  esac
  # shellcheck disable=SC2086 # words
  (cd / && "$build/kapsel" run --quiet --rm "$out/image.kapsel" -- /operations "$work/t" "$steps" $seeds) >"$out/inside" 2>&1 </dev/null
  inside_status=$?
  if [ $native_status = 0 ] && [ $inside_status = 0 ] && cmp -s "$out/native" "$out/inside"; then
    echo "ok $number - $place: $(grep -c '^[0-9]*/[0-9]* ' "$out/native") operations, $(wc -l <"$out/native") lines, $(($(date +%s) - begun)) s"
  else
    echo "not ok $number - $place: native $native_status, inside $inside_status"
    diff "$out/native" "$out/inside" | grep '^[<>] [0-9]*/' | cut -d/ -f1 | tr -d '<> ' | sort -un | tr '\n' ' ' | sed 's/^/# seeds that differ: /'
    echo
    diff -U3 --label native --label inside "$out/native" "$out/inside" | sed 's/^/# /' | cut -c1-900 | head -"${LINES_SHOWN:-30}"
    status=1
  fi
done
echo "1..$number"
exit $status
