#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check`: builds, runs every suite even if one fails, counts, and sees that the tree stayed clean.
set -u
: "${MAKE:=make}" "${O:=build/release}"

results=$O/results
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0 broken=

tree_state() {
  git -c safe.directory='*' status --porcelain 2>/dev/null
}

count() { # what a log says: "passed failed skipped", from Check's closing lines and TAP
  awk '
    /^[0-9]+%: Checks: / { gsub(",", ""); bad = $5 + $7; good += $3 - bad; lost += bad }
    /^ok .*# [Ss][Kk][Ii][Pp]/ { skip++; next }
    /^ok / { good++ }
    /^not ok / { lost++ }
    END { print good + 0, lost + 0, skip + 0 }' "$1"
}

step() { # TARGET
  printf '\n== %s\n' "$1"
  began=$(date +%s)
  { $MAKE --no-print-directory "$1" 2>&1; echo $? >"$results/$1.status"; } |
    sed -u 's/^[0-9]* passed, [0-9]* failed$/# &/' | tee "$results/$1.log"
  status=$(cat "$results/$1.status")
  echo "-- $1: $(($(date +%s) - began)) s"
  # shellcheck disable=SC2046 # three words
  set -- "$1" $(count "$results/$1.log")
  passed=$((passed + $2)) skipped=$((skipped + $4))
  if [ "$status" != 0 ]; then
    broken="$broken $1"
    failed=$((failed + ($3 > 0 ? $3 : 1)))
  elif [ "$3" != 0 ]; then
    broken="$broken $1"
    failed=$((failed + $3))
  fi
}

before=$(tree_state)
step all
if [ -z "$broken" ]; then
  for target in check-unit check-guest check-calls check-fast check-modes check-property check-e2e check-hostile samples check-suites-fast replay check-headers check-layers check-docs lint; do
    step "$target"
  done
fi
after=$(tree_state)
if [ "$before" != "$after" ]; then
  printf '\ncheck: the build or the tests changed the tree:\n%s\n' "$after"
  broken="$broken clean-tree"
  failed=$((failed + 1))
fi

echo "$passed passed, $failed failed" >"$results/summary"
[ -z "$broken" ] || printf '\ncheck: failed:%s\n' "$broken"
printf '\ncheck: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ -z "$broken" ]
