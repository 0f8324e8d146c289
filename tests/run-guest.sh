#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs tests/guest/run.sh with programs that any user may read, wherever the checkout lies; exit 0, 1, 77.
#   run-guest.sh BUILD-DIR [PROGRAM...]
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
shift

stage=$(public_dir kapsel-guest)
trap 'rm -rf "$stage"' EXIT
cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
"$stage/kapsel" run --help >/dev/null 2>&1 || skip_all "this kapsel has no 'run'"
"$here/guest/run.sh" --kapsel "$stage/kapsel" --pack "$stage/kapsel-pack" "$@"
