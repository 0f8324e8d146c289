#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs tests/e2e/*.sh against a build, as this user and, started by root, also as an ordinary one. TAP; exit 0, 1, 77.
#   run-e2e.sh BUILD-DIR [SCRIPT...]
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
shift

stage=$(public_dir kapsel-e2e)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/e2e"
cp "$build/kapsel" "$build/kapsel-pack" "$stage/"
cp "$here"/e2e/*.sh "$stage/e2e/"
for source in "$here"/e2e/*.c; do
  cp "$build/tests/e2e/$(basename "$source" .c)" "$stage/e2e/"
done
chmod -R a+rX "$stage"
"$stage/kapsel" run --help >/dev/null 2>&1 || skip_all "this kapsel has no 'run'"

cat >"$stage/one" <<'END'
#!/bin/sh
# SCRIPT: with a directory and state of its own.
T=$(mktemp -d /var/tmp/kapsel-t.XXXXXX)
trap 'chmod -R u+rwx "$T" 2>/dev/null; rm -rf "$T"' EXIT
export T HOME="$T/home" XDG_RUNTIME_DIR="$T/run" STAGE="${0%/*}" KAPSEL="${0%/*}/kapsel"
mkdir -m 0700 "$HOME" "$XDG_RUNTIME_DIR"
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME KAPSEL_OPTS
timeout -k 10 "${SCRIPT_LIMIT:-1200}" sh "$1"
rc=$?
if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
  echo "not ok 0 - still running after ${SCRIPT_LIMIT:-1200} s"
  # What hangs, and in which call: it is over when somebody looks.
  ps -eo pid,ppid,uid,stat,etimes,wchan:24,args --forest | cut -c1-160 | tail -60 >&2
fi
exit "$rc"
END

if [ $# = 0 ]; then
  for script in "$here"/e2e/*.sh; do
    [ "$script" = "$here/e2e/lib.sh" ] || set -- "$@" "$script"
  done
fi
status=0

each() { # LABEL AS... --: every script; its TAP is renumbered by name
  label=$1
  shift
  for script in $scripts; do
    name=$(basename "$script" .sh) began=$(date +%s)
    "$@" sh "$stage/one" "$stage/e2e/$name.sh" >"$stage/tap" 2>"$stage/stderr"
    rc=$?
    sed -E "s/^((not )?ok) [0-9]+ - /\1 - $label $name: /; /^1\.\./d" "$stage/tap"
    echo "# $label $name: $(($(date +%s) - began)) s"
    if [ "$rc" != 0 ] || ! grep -q '^1\.\.' "$stage/tap"; then
      status=1
      grep -q '^not ok' "$stage/tap" || echo "not ok - $label $name: ended with $rc before its plan"
      sed 's/^/# stderr: /' "$stage/stderr" | head -80
    fi
  done
}
scripts=$*

if [ "$(id -u)" = 0 ]; then
  each root env
  if can_become_user; then each user as_user; else echo "ok - as an ordinary user # SKIP no other user id can be taken here"; fi
else
  each user env
fi
exit $status
