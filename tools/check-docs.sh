#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Documentation that went stale: paths it names that do not exist, options that the man page lacks.
set -u
cd "$(dirname "$0")/.."
kapsel=${1-build/release/kapsel}
bad=0

# `dir/file`, `dir/` and links [text](path); a path with blanks, wildcards or capitals-only words is prose.
for doc in README.md */README.md tests/*/README.md docs/*.md; do
  [ -f "$doc" ] || continue
  here=$(dirname "$doc")
  {
    grep -oE '`[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*`' "$doc" | tr -d '`'
    grep -oE '\]\([^)#:]+\)' "$doc" | sed 's/^](//; s/)$//'
  } | sort -u | while read -r path; do
    case $path in
      build/* | /* | *.kapsel | ~*) continue ;;
    esac
    if [ ! -e "$path" ] && [ ! -e "$here/$path" ] && [ ! -e "src/$path" ]; then
      echo "$doc: $path: no such file in the tree"
    fi
  done
done >build/check-docs.$$ 2>&1
if [ -s build/check-docs.$$ ]; then
  cat build/check-docs.$$
  bad=1
fi
rm -f build/check-docs.$$

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
