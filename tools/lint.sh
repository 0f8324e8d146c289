#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Counts what src/README.md asks for: files of 600 lines, functions of 70, block comments, no trailing blanks.
set -u
cd "$(dirname "$0")/.."
bad=0

sources=$(find src packager include tests tools -name '*.[chS]' | sort)
# shellcheck disable=SC2086 # words are wanted
awk '
function complain(line, why) { printf "%s:%d: %s\n", FILENAME, line, why; bad = 1 }
FNR == 1 {
  if (file != "" && lines > 600) { printf "%s: %d lines, 600 fit a sitting\n", file, lines; bad = 1 }
  file = FILENAME; start = 0; block = 0
  if ($0 !~ /SPDX-License-Identifier: Apache-2.0/) complain(1, "no SPDX line")
}
{ lines = FNR }
/[ \t]$/ { complain(FNR, "blanks at the end of the line") }
/^#[ \t]*if[ \t]+0/ { complain(FNR, "#if 0") }
/^{/ { start = FNR }
/^}/ { if (start && FNR - start - 1 > 70) complain(start, FNR - start - 1 " lines in a function, 70 fit a screen"); start = 0 }
{
  text = $0
  gsub(/\\\\/, "", text); gsub(/\\"/, "", text); gsub(/"[^"]*"/, "", text); gsub(/\x27[^\x27]*\x27/, "", text)
  while (!block && match(text, /\/\*.*\*\//)) {
    end = index(substr(text, RSTART + 2), "*/")
    text = substr(text, 1, RSTART - 1) substr(text, RSTART + 3 + end)
  }
  if (block) { if (sub(/^.*\*\//, "", text)) block = 0; else text = "" }
  if (!block && sub(/\/\*.*$/, "", text)) block = 1
  if (!block && text ~ /\/\//) complain(FNR, "a // comment")
}
END { if (lines > 600) { printf "%s: %d lines, 600 fit a sitting\n", file, lines; bad = 1 } exit bad }' $sources || bad=1

scripts=$(find tools tests .ci -name '*.sh' -o -path .ci/run | sort)
# shellcheck disable=SC2086
grep -nE '[[:blank:]]+$' Makefile $scripts /dev/null && bad=1
if command -v shellcheck >/dev/null; then
  # shellcheck disable=SC2086
  shellcheck -x $scripts || bad=1
fi
if command -v cppcheck >/dev/null; then
  cppcheck --quiet --enable=warning,portability --inline-suppr --error-exitcode=1 -D_GNU_SOURCE \
    -DKP_VERSION='""' -Iinclude -Isrc -I. src packager || bad=1
fi
exit "$bad"
