#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Real programs and their own test suites, natively and inside, in each mode: line for line the same. TAP; exit 0, 1, 77.
#   [MODES="full writecopy merged"] [UNITS="test_os ..."] [FAST=1] run-suites.sh BUILD-DIR [SUITE...]
# A suite is one file of tests/suites/: what it needs in comments, then the shell script that is run.
#   # Packages: Debian packages of the image        # Source: PACKAGE PATH...   parts of a source package, in the directory where it runs
#   # Units: the script's argument, one after the other     # Fast: those that `make check` runs
#   # Limit: seconds for a unit
# Natively it runs in the unpacked image as its root directory, so both see the same files at the same paths; as the same ordinary user.
set -uf # patterns are for the guests
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
shift
[ $# != 0 ] || set -- $(cd "$here/suites" && ls | grep -v '^differences$')
[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null && can_become_user || skip_all "the native run needs root: its root directory is the unpacked image"

stage=$(public_dir kapsel-suites)
clean() {
  chmod -R u+rwx "$stage" 2>/dev/null
  rm -rf --one-file-system "$stage"
}
trap clean EXIT
trap 'exit 130' INT TERM
cp "$build/kapsel" "$build/kapsel-pack" "$build/tests/e2e/in-root" "$stage/"
work=$stage/work log=$build/suites
mkdir -p "$log" "$stage/home"
chown "$TEST_UID:$TEST_UID" "$stage/home"

said() { # WORD: what the suite's comments say
  sed -n "s/^# $1: //p" "$here/suites/$suite" | tr '\n' ' ' | sed 's, *$,,'
}

# Parts of a Debian source package, from where this machine gets its binary ones.
fetch_source() { # PACKAGE PATH...: into $stage/source
  package=$1 apt=$stage/apt
  shift
  mkdir -p "$apt/lists/partial" "$stage/fetched"
  set +f
  cd "$stage/fetched" || return 1
  options="-qq -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=/nonexistent -o Dir::State::Lists=$apt/lists -o APT::Sandbox::User=root"
  if [ ! -e "$apt/updated" ]; then
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format 'deb-src $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' | sort -u >"$apt/sources.list"
    # shellcheck disable=SC2086 # words
    apt-get $options update && : >"$apt/updated" || return 1
  fi
  # The newest may be gone from a mirror that lags behind; each release has one of its own.
  for release in '' $(awk '{ print "/" $3 }' "$apt/sources.list" | sort -u); do
    # shellcheck disable=SC2086
    apt-get $options source --download-only "$package$release" && tar -xf "$package"_*.orig.tar.[gx]z --strip-components=1 -C "$stage/source" --wildcards --no-wildcards-match-slash "$@" && return
  done
  return 1
}

make_image() {
  rm -rf "$stage/source" "$stage/root" "$stage/image.kapsel" "$stage/run"
  mkdir "$stage/source" "$stage/run"
  cp "$here/suites/$suite" "$stage/run/script"
  cp "$stage/units" "$stage/run/units"
  set -- $(said Source)
  [ $# = 0 ] || (fetch_source "$@") || return 1
  {
    printf 'kapsel: 1\nname: %s\nentry: {command: [/bin/sh]}\ncontents:\n  - deb: [' "$suite"
    said Packages | sed 's,  *,\, ,g'
    printf ']\n  - copy: {from: %s, to: /suite, mode: "u=rwX,go=rX"}\n' "$stage/run"
    printf '  - copy: {from: %s, to: %s, mode: "u+rwX,go+rX"}\n' "$stage/source" "$work"
  } >"$stage/manifest.yaml"
  "$stage/kapsel" pack --quiet --compression 1 "$stage/manifest.yaml" -o "$stage/image.kapsel" && chmod 0755 "$stage/image.kapsel" || return 1
  # The same for the native run: the user's, as everything is inside.
  mkdir "$stage/root" && "$stage/kapsel" extract "$stage/image.kapsel" -C "$stage/root" || return 1
  for file in passwd group hosts resolv.conf hostname nsswitch.conf localtime; do
    inside cat "/etc/$file" >"$stage/file" 2>/dev/null && rm -f "$stage/root/etc/$file" && cp "$stage/file" "$stage/root/etc/$file"
  done
  mkdir -p "$stage/root/proc" "$stage/root/sys" "$stage/root/dev" "$stage/root/tmp" "$stage/root$stage/home"
  chown -hR "$TEST_UID:$TEST_UID" "$stage/root"
}

# What is run in both: each unit with a time of its own, its lines behind its name.
cat >"$stage/units" <<'END'
umask 022
mkdir -p "$HOME" "$TMPDIR"
for unit; do
  cd "$WORK" || exit
  timeout -k 5 "$LIMIT" /bin/sh /suite/script "$unit" >"$HOME/said" 2>&1 </dev/null
  echo "ended with $?" >>"$HOME/said"
  sed "s,$WORK,WORK,g; s,^,$unit: ," "$HOME/said"
done
END

command_line() { # a word a line
  printf '%s\n' /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 "WORK=$work" "HOME=$work/home" \
    "TMPDIR=$work/tmp" "LIMIT=$limit" TERM=dumb /bin/sh /suite/units
}

natively() {
  IFS='
' # one word a line
  # shellcheck disable=SC2016,SC2046 # words
  set -- $(command_line) "$@"
  unset IFS
  # shellcheck disable=SC2016
  setsid --wait unshare -mpf --kill-child sh -euc '
    stage=$1 uid=$2
    mount --bind "$stage/root" "$stage/root"
    mount --rbind /dev "$stage/root/dev"
    mount --rbind /sys "$stage/root/sys"
    mount -t proc proc "$stage/root/proc"
    shift 2
    "$stage/in-root" "$stage/root" "$uid" "$@"' sh "$stage" "$TEST_UID" "$@"
}

inside() { # COMMAND... one home for all runs: /etc/passwd names it
  as_user env HOME="$stage/home" "$stage/kapsel" run --quiet --rm $mode_option "$stage/image.kapsel" -- "$@"
}

in_mode() { # MODE UNIT...
  mode_option="--mode $work=$1"
  rm -rf "$work" # of an earlier one
  [ "$1" = full ] || cp -a "$stage/source" "$work"
  [ "$1" = full ] || chown -hR "$TEST_UID:$TEST_UID" "$work"
  shift
  IFS='
'
  # shellcheck disable=SC2046
  set -- $(command_line) "$@"
  unset IFS
  inside "$@"
}

unknown() { # MODE FILE: without the lines that may differ
  awk -F'\t' -v suite="$suite" -v mode="$1" '
    NR == FNR { if ($0 !~ /^#/ && $1 == suite && ($2 == mode || $2 == "*")) known[$3]; next }
    { for (line in known) if ($0 ~ line) next; print }' "$here/suites/differences" "$2"
}

compare() { # MODE
  unknown "$1" "$log/$suite.native" >"$stage/native"
  unknown "$1" "$log/$suite.$1" >"$stage/inside"
  diff -U0 "$stage/native" "$stage/inside" >"$log/$suite.$1.diff"
}

number=0 status=0 mode_option=
for suite; do
  limit=$(said Limit) limit=${limit:-120}
  units=${UNITS:-$(said Units)}
  [ -z "${FAST-}" ] || units=$(said Fast)
  [ -n "$units" ] || { [ -n "${FAST-}" ] && continue; }
  if ! make_image >"$log/$suite.pack" 2>&1; then
    number=$((number + 1))
    echo "ok $number - $suite # SKIP its packages cannot be had here ($(tail -1 "$log/$suite.pack"))"
    [ "${KAPSEL_MUST_RUN-}" != 1 ] || status=1
    continue
  fi
  began=$(date +%s)
  # shellcheck disable=SC2086 # words
  natively $units >"$log/$suite.native" 2>"$log/$suite.native.err" </dev/null
  took=$(($(date +%s) - began))
  for mode in ${MODES:-full writecopy merged}; do
    number=$((number + 1)) began=$(date +%s)
    # shellcheck disable=SC2086
    in_mode "$mode" $units >"$log/$suite.$mode" 2>"$log/$suite.$mode.err" </dev/null
    if compare "$mode" && [ -s "$stage/native" ]; then
      echo "ok $number - $suite in mode $mode: $(wc -l <"$stage/native") results are the same ($(($(date +%s) - began)) s, natively $took s)"
    else
      echo "not ok $number - $suite in mode $mode: $(wc -l <"$stage/native") results, $(grep -c '^-[^-]' "$log/$suite.$mode.diff") differ ($(($(date +%s) - began)) s, natively $took s)"
      sed 1,2d "$log/$suite.$mode.diff" | grep -v '^@@' | head -60 | sed 's/^/# /'
      status=1
    fi
    [ -z "${KEEP-}" ] || cp -a "$work" "$KEEP/$suite.$mode"
  done
done
echo "1..$number"
exit $status
