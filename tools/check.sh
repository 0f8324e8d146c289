#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check`: builds, runs every suite even if one fails, two at a time, counts, and sees that the tree stayed clean.
set -u
: "${MAKE:=make}" "${O:=build/release}"

results=$O/results
rm -rf "$results"
mkdir -p "$results"
limit=${STEP_LIMIT:-3000} # seconds of a step: twice what it takes on a slow machine
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

step() { # TARGET: its log is shown whole when it is over; one that hangs is ended, so that its log is seen
  began=$(date +%s)
  timeout -k 30 "$limit" "$MAKE" --no-print-directory "$1" >"$results/$1.raw" 2>&1
  ended=$?
  echo $ended >"$results/$1.status"
  case $ended in 124 | 137) echo "not ok - $1: not over after $limit s" >>"$results/$1.raw" ;; esac
  sed 's/^[0-9]* passed, [0-9]* failed$/# &/' "$results/$1.raw" >"$results/$1.log"
  rm -f "$results/$1.raw"
  {
    flock 9
    printf '\n== %s\n' "$1"
    cat "$results/$1.log"
    echo "-- $1: $(($(date +%s) - began)) s"
  } 9>"$results/lock"
}

lane() { # TARGET...
  for target; do step "$target"; done
}

add_up() { # TARGET...
  for target; do
    status=$(cat "$results/$target.status")
    # shellcheck disable=SC2046 # three words
    set -- $(count "$results/$target.log")
    passed=$((passed + $1)) skipped=$((skipped + $3))
    if [ "$status" != 0 ] || [ "$2" != 0 ]; then
      broken="$broken $target"
      failed=$((failed + ($2 > 0 ? $2 : 1)))
    fi
  done
}

# Two at a time, most of the time both wait for something. What listens at ports of the host, or measures the disk, is in one lane.
apart="check-e2e samples"
others="check-unit check-calls check-guest check-modes check-property check-hostile check-suites-fast replay check-headers check-layers check-docs lint"

before=$(tree_state)
lane all
add_up all
if [ -z "$broken" ]; then
  # shellcheck disable=SC2086 # words
  {
    lane $apart &
    lane $others
    wait
    add_up $apart $others
  }
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
