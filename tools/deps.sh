#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs those of the given Debian packages that are missing; quick when there are none.
set -eu

if ! command -v dpkg-query >/dev/null; then
  echo "deps: no dpkg here: please install what corresponds to: $*" >&2
  exit 0
fi

missing=
for package; do
  case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed*) ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "deps: these packages are missing:$missing" >&2
  echo "hint: as root: apt-get install --no-install-recommends$missing" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "deps: installing$missing"
# A bare container has no package lists; lists that are too old name packages that are gone.
install="$as_root apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends"
# shellcheck disable=SC2086 # words are wanted
$install $missing </dev/null >/dev/null 2>&1 || {
  $as_root apt-get -qq update </dev/null
  $install $missing </dev/null >/dev/null
}
