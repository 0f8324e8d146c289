#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Random operations on a plain directory and, the same ones, inside a layered one: every result and the trees must be equal. TAP.
#   run-property.sh BUILD-DIR     SEEDS="1 2 3" or COUNT=100, ROOT_COUNT=20 of them as root, STEPS=1000, KILLS=20, SECONDS_EACH=5, WHERE="image writecopy merged half-writecopy"
# A difference is seen again with SEEDS=N alone: seeds do not touch each other's trees.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

[ "${1-}" != --inner ] || { inner=1 && shift; }
build=$(cd "${1:?BUILD-DIR}" && pwd)
steps=${STEPS:-1000} seeds=${SEEDS:-$(seq 1 "${COUNT:-100}" | tr '\n' ' ')} where=${WHERE:-image writecopy merged half-writecopy}

stage_and_run() { # copies what is needed to where any user can read it, then runs for each user
  stage=$(public_dir kapsel-property)
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$stage/tests/property"
  cp "$here/lib.sh" "$here/run-property.sh" "$stage/tests/"
  cp "$here/property/fixture.sh" "$build/tests/property/operations" "$build/tests/property/order" "$stage/tests/property/"
  cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
  status=0
  echo "# as uid $(id -u)"
  mine=$seeds
  # Root's guests have no more rights than others: a sample of them will do.
  [ "$(id -u)" != 0 ] || mine=$(echo "$seeds" | tr ' ' '\n' | grep . | head -"${ROOT_COUNT:-20}" | tr '\n' ' ')
  SEEDS=$mine STEPS=$steps WHERE=$where KILLS=${KILLS:-20} SECONDS_EACH=${SECONDS_EACH:-5} sh "$stage/tests/run-property.sh" --inner "$stage" || status=1
  if [ "$(id -u)" = 0 ] && can_become_user; then
    echo "# as uid $TEST_UID"
    as_user env SEEDS="$seeds" STEPS="$steps" WHERE="$where" KILLS="${KILLS:-20}" SECONDS_EACH="${SECONDS_EACH:-5}" sh "$stage/tests/run-property.sh" --inner "$stage" || status=1
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

fresh() {
  [ ! -e "$work/t" ] || { chmod -R u+rwx "$work/t" && rm -rf "$work/t"; }
  # shellcheck disable=SC2086 # words
  sh "$build/tests/property/fixture.sh" "$work/t" $seeds
}

pack() { # TREE: as $work/t
  rm -rf "$out/stage" && mkdir -p "$out/stage/${work#/}" || return 1
  chmod 0755 "$out/stage/${work#/}"
  [ ! -e "$1" ] || cp -a "$1" "$out/stage/${work#/}/t" || return 1
  tar -C "$out/stage" --owner=0 --group=0 -cf "$out/tree.tar" "${work#/}" || return 1
  printf 'kapsel: 1\nname: property\nentry: {command: [/operations]}\ncontents:\n  - tar: %s\n  - copy: {from: %s, to: /operations}\n  - copy: {from: %s, to: /order}\n  - elf: [/bin/sh]\n  - symlink: {path: /sh, to: /bin/sh}\n' \
    "$out/tree.tar" "$build/tests/property/operations" "$build/tests/property/order" >"$out/manifest.yaml"
  "$build/kapsel" pack --quiet "$out/manifest.yaml" -o "$out/image.kapsel"
}

# What a host program sees of the tree, but for times of this run.
listing() {
  (cd "$work/t" && find . -printf '%P %y %m %n %l ' \( -type f -printf '%s' -o -true \) -printf '\n' | sort)
}

natively() { # LINKS OPTION: once for each fixture
  [ "${native_of-}" != "$1$2" ] || return 0
  native_of=$1$2
  LINKS=$1 fresh
  # shellcheck disable=SC2086 # words
  plain env -i "$build/tests/property/operations" $2 "$work/t" "$steps" $seeds >"$out/native" 2>&1
  native_status=$?
  chmod -R u+rwx "$work/t"
  listing >"$out/native.listing"
}

# Each seed's tree in two halves: the image has some of it, the host the rest, a directory both.
split() {
  cp -a "$work/t" "$out/image-half" && rm -rf "$out/image-half"/*/w/a "$out/image-half"/*/w/c "$out/image-half"/*/w/m "$out/image-half"/*/w/d/h
  for seed in $seeds; do
    (cd "$work/t/$seed/w" && rm -rf b l y d/e d/a d/x)
    touch -d @1000000000 "$work/t/$seed/w" "$work/t/$seed/w/d" "$out/image-half/$seed/w" "$out/image-half/$seed/w/d"
  done
}

# Puts the fresh tree to where $place says, and leaves in $options how it is run.
show_tree() {
  options=
  case $place in
    image) pack "$work/t" && rm -rf "$work/t" ;;
    writecopy | merged) pack /nothing && options="--mode $work/t=$place" ;;
    half-writecopy) split && pack "$out/image-half" && options="--mode $work/t=writecopy" ;;
    *) echo "Bail out! WHERE=$place" && exit 1 ;;
  esac
}

number=0 status=0
for place in $where; do
  number=$((number + 1))
  begun=$(date +%s)
  case $place in image | merged) links=yes ;; *) links=no ;; esac
  case $place in merged) option=-s ;; *) option= ;; esac
  natively $links "$option"
  LINKS=$links fresh
  after=
  show_tree || status=1
  case $place in *writecopy) listing >"$out/before" ;; esac
  # shellcheck disable=SC2086 # words
  (cd / && "$build/kapsel" run --quiet --rm $options "$out/image.kapsel" -- /operations $option "$work/t" "$steps" $seeds) >"$out/inside" 2>&1 </dev/null
  inside_status=$?
  case $place in *merged) chmod -R u+rwx "$work/t" ;; esac
  case $place in
    *writecopy) listing | cmp -s - "$out/before" || after=', and the host was changed' ;;
    merged) listing | cmp -s - "$out/native.listing" || after=', and the host has another tree' ;;
  esac
  if [ $native_status = 0 ] && [ $inside_status = 0 ] && [ -z "$after" ] && cmp -s "$out/native" "$out/inside"; then
    echo "ok $number - $place: $(grep -c '^[0-9]*/[0-9]* ' "$out/native") operations, $(wc -l <"$out/native") lines, $(($(date +%s) - begun)) s"
  else
    echo "not ok $number - $place: native $native_status, inside $inside_status$after"
    diff "$out/native" "$out/inside" | grep '^[<>] [0-9]*/' | cut -d/ -f1 | tr -d '<> ' | sort -un | tr '\n' ' ' | sed 's/^/# seeds that differ: /'
    echo
    diff -U3 --label native --label inside "$out/native" "$out/inside" | sed 's/^/# /' | cut -c1-900 | head -"${LINES_SHOWN:-30}"
    status=1
  fi
  rm -rf "$out/image-half"
done
# --- kill -9 of front and supervisor somewhere on the way: what is found after it is the tree before an operation or behind it ---
kill_steps=300

killed_in() { # PLACE SEED: what is wrong, on standard output
  : >"$out/said"
  # shellcheck disable=SC2086 # words
  "$build/kapsel" run --quiet --instance "kill-$2" $options "$out/image.kapsel" -- /operations -1 "$work/t" $kill_steps "$2" >"$out/said" 2>&1 </dev/null &
  front=$!
  sleep "$(awk -v s="$2$1" 'BEGIN { srand(); split(s, c, ""); printf "%.3f", 0.02 + ((rand() * 1000 + length(s) * 37) % 230) / 1000 }')"
  supervisor=$(cat "/proc/$front/task/$front/children" 2>/dev/null)
  # shellcheck disable=SC2086 # words
  kill -9 $front $supervisor 2>/dev/null
  wait $front 2>/dev/null
  # shellcheck disable=SC2086 # words
  "$build/kapsel" run --quiet --instance "kill-$2" $options "$out/image.kapsel" -- /operations "$work/t" 0 "$2" >"$out/found" 2>&1 </dev/null
  # Looked at now that nobody of the first run can be left: a supervisor that had not begun when it should have been killed ends the guest a
  # little later. Without a supervisor the kernel answers ENOSYS until the guest is killed too.
  done_steps=$(sed '/ENOSYS/,$d' "$out/said" | grep -c ' tree [0-9a-f]*$')
  found=$(sed -n '1s/^tree //p' "$out/found")
  at=$(sed -n "$((done_steps + 1)),$((done_steps + 2))p" "$out/hashes-$2")
  case " $(echo $at) " in
    *" $found "*) ;;
    *) echo "seed $2: after $done_steps steps the tree is ${found:-none}, neither of" $at ;;
  esac
  "$build/kapsel" verify --quiet "kill-$2"
  "$build/kapsel" rm "kill-$2" 2>/dev/null
  echo "$done_steps" >>"$out/steps"
}

kills=${KILLS:-20}
kill_seeds=$(seq 10001 $((10000 + kills)) | tr '\n' ' ')
seeds=$kill_seeds
LINKS=no fresh
for seed in $kill_seeds; do
  { plain env -i "$build/tests/property/operations" "$work/t" 0 "$seed" | sed -n '1s/^tree //p'
    plain env -i "$build/tests/property/operations" -1 "$work/t" $kill_steps "$seed" | sed -n 's/.* tree \([0-9a-f]*\)$/\1/p'; } >"$out/hashes-$seed"
done
for place in image writecopy; do
  number=$((number + 1))
  LINKS=no fresh
  show_tree || status=1
  : >"$out/steps"
  for seed in $kill_seeds; do (cd / && killed_in $place "$seed"); done >"$out/wrong" 2>&1
  if [ -s "$out/wrong" ]; then
    echo "not ok $number - $place: $kills kills"
    sed 's/^/# /' "$out/wrong" | head -30
    status=1
  else
    echo "ok $number - $place: $kills kills, after $(sort -n "$out/steps" | head -1) to $(sort -n "$out/steps" | tail -1) of $kill_steps operations"
  fi
done
# --- eight at once in one tree: nobody hangs, and what is left is a whole tree, the same for who comes next ---
seeds=1
for place in image writecopy; do
  number=$((number + 1))
  LINKS=no fresh
  show_tree || status=1
  # shellcheck disable=SC2016 # the guest's shell
  script='for i in 1 2 3 4 5 6 7 8; do /operations -r$i "$1" "$2" 1 >/dev/null & done; wait; /operations "$1" 0 1'
  for run in first again; do
    [ $run = first ] || script='/operations "$1" 0 1'
    # shellcheck disable=SC2086 # words
    (cd / && timeout 900 "$build/kapsel" run --quiet --instance eight $options "$out/image.kapsel" -- /sh -c "$script" sh "$work/t" "$((steps * 2))") \
      >"$out/$run" 2>&1 </dev/null || { echo "# $run: status $?"; tail -3 "$out/$run" | sed 's/^/# /'; echo >>"$out/$run"; }
  done
  if cmp -s "$out/first" "$out/again" && grep -q '^tree' "$out/first" && "$build/kapsel" verify eight >"$out/verified" 2>&1; then
    echo "ok $number - $place: eight at once, $((steps * 2)) operations each ($(cut -d: -f3 "$out/verified"))"
  else
    echo "not ok $number - $place: eight at once"
    diff "$out/first" "$out/again" | head -10 | sed 's/^/# /'
    head -10 "$out/verified" | sed 's/^/# /'
    status=1
  fi
  "$build/kapsel" rm eight
done
# --- and what each of eight saw is explained by some order of all that they did ---
few_names() { # as the image's or the host's: some of the names that the eight change are there before them
  rm -rf "$work/t" && mkdir -p "$work/t/d0/n3" "$work/t/d1"
  echo old >"$work/t/d0/n0"
  echo older >"$work/t/d1/n1"
  ln -s target "$work/t/d1/n2"
}
for place in native $where; do
  case $place in half-writecopy) continue ;; esac
  number=$((number + 1))
  few_names
  if [ $place = native ]; then
    "$build/tests/property/order" "$work/t" "${SECONDS_EACH:-5}" "$number" >"$out/order" 2>&1
  else
    show_tree || status=1
    case $place in merged) links= ;; *) links=-l ;; esac
    # shellcheck disable=SC2086 # words
    (cd / && "$build/kapsel" run --quiet --instance order $options "$out/image.kapsel" -- /order $links "$work/t" "${SECONDS_EACH:-5}" "$number") >"$out/order" 2>&1 </dev/null
  fi
  order_status=$?
  if [ $order_status = 0 ] && { [ $place = native ] || "$build/kapsel" verify order >"$out/verified" 2>&1; }; then
    echo "ok $number - $place: eight at once, $(tail -1 "$out/order")"
  else
    echo "not ok $number - $place: eight at once: $order_status"
    sed 's/^/# /' "$out/order" "$out/verified" | tail -20
    status=1
  fi
  [ $place = native ] || "$build/kapsel" rm order
done
echo "1..$number"
exit $status
