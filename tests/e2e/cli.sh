#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line without a running guest: exit statuses, error lines, hints. TAP. KAPSEL=path of the launcher.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
set -u
K=${KAPSEL:-build/release/kapsel}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_DATA_HOME=$T/data XDG_CACHE_HOME=$T/cache
unset KAPSEL_INSTANCE KAPSEL_OPTS KAPSEL_DEBUG
n=0 failed=0

# check STATUS FIRST-LINE-OF-STDERR ARG...
check() {
	local want=$1 line=$2 got out
	shift 2
	n=$((n + 1))
	out=$("$K" "$@" 2>&1 >/dev/null </dev/null)
	got=$?
	if [ "$got" = "$want" ] && [ "${out%%$'\n'*}" = "$line" ]; then
		echo "ok $n - kapsel $*"
	else
		echo "not ok $n - kapsel $*"
		printf '# status %s, want %s\n# %s\n# want: %s\n' "$got" "$want" "${out//$'\n'/$'\n'# }" "$line"
		failed=1
	fi
}

# true_that TEXT COMMAND...
true_that() {
	local text=$1
	shift
	n=$((n + 1))
	if "$@" >"$T/out" 2>&1; then
		echo "ok $n - $text"
	else
		echo "not ok $n - $text"
		sed 's/^/# /' "$T/out"
		failed=1
	fi
}

echo text >"$T/text"
: >"$T/empty"
check 125 'kapsel: frob: unknown command' frob
check 125 'kapsel: --frob: unknown option' --frob
check 125 'kapsel: sign: not in this version' sign x
check 125 'kapsel: run: argument missing' run
check 125 'kapsel: b: unexpected argument' run a b
check 125 'kapsel: --frob: unknown option' run --frob "$T/text"
check 125 'kapsel: --record: not in this version' run --record "$T/text"
check 125 'kapsel: --cwd: given twice' run --cwd / --cwd / "$T/text"
check 125 'kapsel: --env: value missing: NAME=VALUE' run "$T/text" --env
check 125 "kapsel: $T/none: cannot be opened: No such file or directory" run "$T/none"
check 125 "kapsel: $T/text: not a kapsel image" run "$T/text"
check 125 "kapsel: $T/empty: not a kapsel image" inspect "$T/empty"
check 125 "kapsel: $T: not an image: not a regular file" verify "$T"
check 125 'kapsel: extract: --directory missing' extract "$T/text"
check 125 'kapsel: exec: command missing' exec x
check 125 'kapsel: x: no such instance' exec x -- true
check 125 'kapsel: x: no such instance' stop x
check 125 'kapsel: x: no such instance' rm x
check 125 'kapsel: ../x: not an instance name' rm ../x
check 125 "kapsel: --time: 'soon': not a number from 0 to 86400" stop --time soon x
check 125 'kapsel: cache: frob: unknown' cache frob
check 0 '' --version
check 0 '' --help
check 0 '' run --help
check 0 '' ps
true_that 'no instance came of it' test -z "$(ls -A "$T/data/kapsel/instances" 2>/dev/null)"
true_that 'ps --json is an empty list' test "$("$K" ps --json)" = '[]'
KAPSEL_INSTANCE=x check 125 "kapsel: $T/none: cannot be opened: No such file or directory" run "$T/none"
chmod 770 "$T/data/kapsel/instances"
check 125 "kapsel: $T/data/kapsel/instances: refused: others may write to it" ps
chmod 700 "$T/data/kapsel/instances"
check 125 "kapsel: reg query: 'HKCU\Software\App': a key, and no image or instance before it" reg query 'HKCU\Software\App'
check 125 'kapsel: /zz: unknown option' reg query app 'HKCU\Software' /zz
check 125 'kapsel: app: no such instance' reg QUERY app 'HKCU\Software' /S
true_that 'reg /? is its help' test "$("$K" reg '/?')" = "$("$K" reg --help)"
true_that 'reg query /? is its help' test "$("$K" reg query '/?')" = "$("$K" reg --help)"
check 125 'kapsel: snapshot list: --note: for create only' snapshot list x --note y
check 125 'kapsel: snapshot create: --restart: for restore only' snapshot create x --restart
true_that 'bash completion parses' bash -n <("$K" --completion bash)
for verb in $("$K" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
	true_that "man page of $verb" grep -q '^\.TH KAPSEL-' <("$K" --man "$verb")
	for option in $("$K" "$verb" --help 2>/dev/null | grep -o -- ' --[a-z-]*' | sort -u); do
		[ "$verb" = pack ] || true_that "man page of $verb names $option" \
			grep -qF -- "${option//-/\\-}" <("$K" --man "$verb")
	done
done
echo "1..$n"
exit $failed
