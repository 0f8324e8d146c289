#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The differential runner: each program of tests/calls/ runs natively and inside Kapsel, in the same tree at the
# same path; what it prints and how it ends must be the same. TAP; exit 0, 1, or 77 if it cannot run.
#   run-calls.sh [--native] BUILD-DIR [PROGRAM...]     --native: twice natively instead, to see that it is stable
# MODE=writecopy or merged: the tree is the host's and shown by that mode, instead of the image's.
# FAST="on eager off": inside once with each of these as KAPSEL_FAST (docs/FAST.md); the static ones are not run with off.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

[ "${1-}" != --inner ] || { inner=1 && shift; }
native_only=
[ "${1-}" != --native ] || { native_only=--native && shift; }
build=$(cd "${1:?BUILD-DIR}" && pwd)
shift

stage_and_run() { # PROGRAM...: copies what is needed to where any user can read it, then runs for each user
  stage=$(public_dir kapsel-guest)
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$stage/tests/calls"
  cp "$here/lib.sh" "$here/run-calls.sh" "$stage/tests/"
  cp "$here/calls/fixture.sh" "$stage/tests/calls/"
  cat "$here/calls/exceptions" ${KAPSEL_TEST_DOCKER:+"$here/calls/exceptions-docker"} ${MODE:+"$here/calls/exceptions-$MODE"} >"$stage/tests/calls/exceptions"
  for source in "$here"/calls/*.c; do
    name=$(basename "$source" .c)
    cp "$build/tests/calls/$name" "$build/tests/calls/$name-static" "$stage/tests/calls/"
  done
  if [ -z "$native_only" ]; then
    cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
    "$stage/kapsel" run --help >/dev/null 2>&1 || skip_all "this kapsel has no 'run'"
  fi
  status=0
  echo "# as uid $(id -u)"
  # shellcheck disable=SC2086 # nothing or one word
  sh "$stage/tests/run-calls.sh" --inner $native_only "$stage" "$@" || status=1
  if [ "$(id -u)" = 0 ]; then
    if can_become_user; then
      echo "# as uid $TEST_UID"
      # shellcheck disable=SC2086
      as_user sh "$stage/tests/run-calls.sh" --inner $native_only "$stage" "$@" || status=1
    else
      echo "ok - as an ordinary user # SKIP no other user id can be taken here"
      [ "${KAPSEL_MUST_RUN-}" != 1 ] || status=1
    fi
  fi
  exit $status
}

[ "${inner-}" ] || stage_and_run "$@"

# From here on: one user, everything below $build, which is the stage.
work=$(mktemp -d /var/tmp/kpt.XXXXXX)
out=$(mktemp -d /var/tmp/kpo.XXXXXX)
clean() {
  chmod -R u+rwx "$work" "$out" 2>/dev/null
  rm -rf "$work" "$out"
}
trap clean EXIT
chmod 0755 "$work"

programs=$*
[ -n "$programs" ] || programs=$(cd "$build/tests/calls" && for p in *-static; do echo "${p%-static}"; done)
variants='' runs=''
for p in $programs; do
  variants="$variants $p"
  [ -n "${MODE-}" ] || variants="$variants $p-static"
done
for how in ${FAST:-on}; do
  for v in $variants; do
    case $how/$v in off/*-static) ;; *) runs="$runs $v/$how" ;; esac
  done
done

# The fixture takes thousands of processes: it is made once.
sh "$build/tests/calls/fixture.sh" "$work/t" && tar -C / -cf "$out/fresh.tar" "${work#/}/t" || exit 1

fresh_tree() {
  [ ! -e "$work/t" ] || { chmod -R u+rwx "$work/t" && rm -rf "$work/t"; }
  tar -C / -xpf "$out/fresh.tar"
}

natively() { # VARIANT OUTPUT
  fresh_tree
  (cd "$work/t" && plain timeout -k 5 230 env -i PATH=/usr/bin:/bin HOME=/nonexistent LC_ALL=C \
    "$work/bin/$1" </dev/null >"$2" 2>"$2.err")
  echo "exit status $?" >>"$2"
}

inside() { # VARIANT KAPSEL_FAST OUTPUT
  mode=
  if [ -n "${MODE-}" ]; then
    fresh_tree
    mode="--mode $work/t=$MODE"
  fi
  # shellcheck disable=SC2086 # nothing or two words
  (cd / && KAPSEL_FAST=$2 timeout -k 5 240 "$build/kapsel" run --quiet --rm $mode --cwd "$work/t" "$out/image.kapsel" -- "$work/bin/$1" \
    </dev/null >"$3" 2>"$3.err")
  echo "exit status $?" >>"$3"
}

pack() {
  fresh_tree
  [ -z "${MODE-}" ] || { chmod -R u+rwx "$work/t" && rm -rf "$work/t"/* "$work/t"/.[!.]*; }
  tar -C / --owner=0 --group=0 -cf "$out/tree.tar" "${work#/}/t" || return 1
  {
    printf 'kapsel: 1\nname: guest-tests\nversion: "1"\nentry: {command: [/bin/true], env: {LC_ALL: C}}\ncontents:\n'
    printf '  - elf: [/bin/sh, /bin/true, /bin/echo, /bin/cat, /usr/bin/env'
    for v in $variants; do printf ', %s' "$work/bin/$v"; done
    printf ']\n  - tar: %s\n' "$out/tree.tar"
    printf '  - file: {path: /tmp/.keep, text: ""}\n'
  } >"$out/manifest.yaml"
  "$build/kapsel" pack --quiet "$out/manifest.yaml" -o "$out/image.kapsel"
}

expected_to_differ() { # VARIANT FILE: the file without the lines that exceptions name
  awk -F'\t' -v name="${1%-static}" -v file="$2" '
    !/^#/ && NF >= 3 && ($1 == name || $1 == "*") { pattern[++n] = $2 }
    END { while ((getline line < file) > 0) {
      keep = 1
      for (i = 1; i <= n; i++) if (line ~ pattern[i]) keep = 0
      if (keep) print line } }' "$build/tests/calls/exceptions"
}

mkdir "$work/bin"
for v in $variants; do
  cp "$build/tests/calls/$v" "$work/bin/" || skip_all "$v: not built"
done
for v in $variants; do natively "$v" "$out/$v.native"; done
if [ -n "$native_only" ]; then
  runs=
  for v in $variants; do natively "$v" "$out/$v.again" && runs="$runs $v/again"; done
else
  pack || {
    echo "not ok - the image of the guest tests cannot be packed"
    exit 1
  }
  # What the host still had at this path could hide that the image does not answer.
  chmod -R u+rwx "$work/t" && rm -rf "$work/t" "$work/bin"
  for r in $runs; do inside "${r%/*}" "${r#*/}" "$out/${r%/*}.${r#*/}"; done
fi

# shellcheck disable=SC2086 # counted as words
set -- $runs
echo "1..$#"
number=0 status=0
for r; do
  v=${r%/*} how=${r#*/} number=$((number + 1))
  expected_to_differ "$v" "$out/$v.native" >"$out/a"
  expected_to_differ "$v" "$out/$v.$how" >"$out/b"
  if [ "$(wc -l <"$out/$v.native")" -lt 3 ]; then
    echo "not ok $number - $v: the native run says nothing"
    sed 's/^/# /' "$out/$v.native" "$out/$v.native.err"
    status=1
  elif diff -U2 --label native --label "$how" "$out/a" "$out/b" >"$out/diff"; then
    echo "ok $number - $v, $how ($(wc -l <"$out/a") lines)"
  else
    echo "not ok $number - $v, $how"
    sed 's/^/# /' "$out/diff" | head -60
    sed 's/^/# stderr: /' "$out/$v.$how.err" | head -10
    status=1
  fi
done
exit $status
