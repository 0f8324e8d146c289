#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Documentation that went stale: paths it names that do not exist, options that the man page lacks.
set -u
cd "$(dirname "$0")/.." || exit 1
kapsel=${1-build/release/kapsel}
bad=0
found=$(mktemp)
trap 'rm -f "$found"' EXIT

# `dir/file`, `dir/` and links [text](path), if they begin with something that the tree has; NAME stands for any name.
for doc in README.md */README.md tests/*/README.md docs/*.md; do
  [ -f "$doc" ] || continue
  here=$(dirname "$doc")
  {
    # shellcheck disable=SC2016 # backquotes as such
    grep -oE '`[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*`' "$doc" | tr -d '`'
    grep -oE '\]\([^)#:]+\)' "$doc" | sed 's/^](//; s/)$//'
  } | sort -u | while read -r path; do
    case $path in
      build/* | /* | *.kapsel | *NAME*) continue ;;
    esac
    first=${path%%/*}
    [ -e "$first" ] || [ -e "$here/$first" ] || [ -e "src/$first" ] || [ "$first" = "$path" ] || continue
    if [ ! -e "$path" ] && [ ! -e "$here/$path" ] && [ ! -e "src/$path" ]; then
      echo "$doc: $path: no such file in the tree"
    fi
  done
done >"$found" 2>&1
if [ -s "$found" ]; then
  sort -u "$found"
  bad=1
fi

# Every reason for which a test lets a line differ stands in the documents.
reasons_in() { # DOCUMENT FILE COLUMN
  grep -hv '^#' $2 | cut -f"$3" | grep . | sort -u >"$found"
  while read -r reason; do
    grep -qF -- "$reason" "$1" || {
      echo "$1: not there: $reason"
      bad=1
    }
  done <"$found"
}
reasons_in docs/DIFFERENCES.md "tests/*/exceptions*" 3
reasons_in docs/SUITES.md tests/suites/differences 4

# Verbs as `kapsel --help` lists them: two blanks, the verb, blanks, what it does.
for verb in $("$kapsel" --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }'); do
  page=$("$kapsel" --man "$verb" 2>/dev/null) || continue
  page=$(printf '%s\n' "$page" | sed 's/\\-/-/g')
  for option in $("$kapsel" "$verb" --help 2>/dev/null | grep -oE -- '(^|[ ,])--[a-z][a-z-]+' | tr -d ' ,' | sort -u); do
    printf '%s\n' "$page" | grep -qF -- "$option" || {
      echo "kapsel $verb: $option: in --help, not in the man page"
      bad=1
    }
  done
done
exit "$bad"
