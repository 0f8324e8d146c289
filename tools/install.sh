#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make install` and `make uninstall`: programs, profiles, and the pages and completions that the launcher prints.
set -eu
prefix=${DESTDIR-}${PREFIX:-/usr/local}
bin=$prefix/bin man=$prefix/share/man/man1 data=$prefix/share/kapsel
bash=$prefix/share/bash-completion/completions/kapsel
zsh=$prefix/share/zsh/site-functions/_kapsel
fish=$prefix/share/fish/vendor_completions.d/kapsel.fish

if [ "$1" = --uninstall ]; then
  rm -f "$bin/kapsel" "$bin/kapsel-pack" "$man/kapsel.1" "$man"/kapsel-*.1 "$bash" "$zsh" "$fish"
  rm -rf "$data"
  exit 0
fi

o=$1
install -d "$bin"
install -m 0755 "$o/kapsel" "$o/kapsel-pack" "$bin/"
if [ -d profiles ]; then
  install -d "$data/profiles"
  install -m 0644 profiles/*.yaml "$data/profiles/"
fi
install -d "$data/doc"
install -m 0644 README.md NOTICE LICENSE "$data/doc/"

printed() { # FILE WORD...: what the launcher prints becomes FILE, if it can print it
  file=$1
  shift
  text=$("$o/kapsel" "$@" 2>/dev/null) && [ -n "$text" ] || return 1
  install -d "$(dirname "$file")"
  printf '%s\n' "$text" >"$file"
  chmod 0644 "$file"
}

pages=0
for verb in $("$o/kapsel" --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }'); do
  printed "$man/kapsel-$verb.1" --man "$verb" && pages=$((pages + 1))
done
printed "$man/kapsel.1" --man && pages=$((pages + 1))
[ "$pages" != 0 ] || echo "install: this kapsel prints no man pages: none installed"
for shell in bash zsh fish; do
  eval "file=\$$shell"
  # shellcheck disable=SC2154 # set by eval
  printed "$file" --completion "$shell" || echo "install: this kapsel prints no completion for $shell: none installed"
done
