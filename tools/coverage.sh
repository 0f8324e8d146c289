#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lines reached, a row a file, from the objects below the given directory.
set -eu
objects=$1
if command -v gcovr >/dev/null; then
  exec gcovr --root . --filter src/ --filter packager/ "$objects"
fi
find "$objects/src" "$objects/packager" -name '*.gcda' | sort | while read -r data; do
  gcov -n -o "$data" "$data" 2>/dev/null
done | awk '
  /^File / { gsub("\x27", "", $2); file = $2; next }
  /^Lines executed:/ && file ~ /^(src|packager)\// && !(file in seen) {
    seen[file] = 1; split($2, p, ":"); sub("%", "", p[2])
    printf "%6.1f%% of %4d  %s\n", p[2], $4, file; hit += p[2] * $4; all += 100 * $4
  }
  { file = "" }
  END { if (all) printf "%6.1f%% of all\n", 100 * hit / all; else exit 1 }'
