#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [--kapsel BIN] [--pack BIN] [--keep] [NAME...]
#
# Runs each guest program natively and inside Kapsel on the same tree: output and exit status must be the same. The kernel is
# the oracle. As root both sides run as an ordinary user as well (KAPSEL_TEST_USER, else nobody).
#
# GUEST_RUNNER: a program used in the place of the launcher: RUNNER IMAGE INSTANCE_DIR CMD ARG...
# GUEST_TREE_DIR: where the native tree lies (its path in the image is the same), else /tmp.
# FAST="on eager off": inside once with each of these as KAPSEL_FAST (docs/FAST.md).
set -u
# The guest gets the standard descriptors only; the native side must too.
for fd in /proc/$$/fd/*; do
	fd=${fd##*/}
	if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then eval "exec $fd>&-"; fi
done
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
kapsel=${KAPSEL:-$top/build/release/kapsel}
pack=${KAPSEL_PACK:-}
keep=
names=()
while [ $# -gt 0 ]; do
	case $1 in
	--kapsel) kapsel=$2; shift ;;
	--pack) pack=$2; shift ;;
	--keep) keep=1 ;;
	-h | --help) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) names+=("$1") ;;
	esac
	shift
done
kapsel=$(realpath "$kapsel")
pack=$(realpath "${pack:-$(dirname "$kapsel")/kapsel-pack}")
runner=${GUEST_RUNNER:-}
work=$(mktemp -d "${GUEST_TREE_DIR:-/tmp}/kpg.XXXXXX")
chmod 755 "$work"
if [ -z "$keep" ]; then
	trap 'chmod -R u+rwX "$work" 2>/dev/null; rm -rf "$work"' EXIT
fi

bail() {
	echo "Bail out! $*"
	exit 1
}

cat "$here/exceptions" ${KAPSEL_TEST_DOCKER:+"$here/exceptions-docker"} > "$work/exceptions"

# --- programs and image ---
mkdir "$work/bin"
if [ ${#names[@]} -eq 0 ]; then
	for f in "$here"/*.c; do names+=("$(basename "$f" .c)"); done
fi
programs=
for name in "${names[@]}"; do
	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O1 -g -o "$work/bin/$name" "$here/$name.c" -pthread \
		|| bail "$name.c does not compile"
	programs+="$work/bin/$name, "
done
tree=$work/tree
sh "$here/fixture.sh" "$tree" || bail "no fixture"
if [ -n "$(find "$tree" -newermt @1000000001 -print -quit)" ]; then bail "times in the fixture"; fi
tar -C "$work" -cf "$work/tree.tar" tree || bail "no copy of the fixture"

clear_away() { # TREE: programs leave directories that their user may not write
	chmod -R u+rwX "$1" 2> /dev/null
	rm -rf "$1" || bail "$1: cannot be removed"
}

fresh_tree() {
	clear_away "$tree"
	tar -C "$work" -xpf "$work/tree.tar" || bail "$tree: cannot be made"
}
cat > "$work/manifest.yaml" <<END
kapsel: 1
name: guest-tests
entry: {command: [/bin/sh]}
contents:
  - elf: [${programs}/bin/sh, /bin/cat, /bin/ls, /bin/echo, /bin/sleep, /bin/true, /bin/false, /usr/bin/env, /bin/mkdir, /bin/rm]
  - copy: {from: $tree, to: $tree}
END
KAPSEL_LAUNCHER=$kapsel "$pack" pack "$work/manifest.yaml" -o "$work/guest.kapsel" > "$work/pack.log" 2>&1 \
	|| { cat "$work/pack.log"; bail "cannot pack"; }
chmod 755 "$work/guest.kapsel"

# --- one run on each side ---
as() { # USER CMD...
	local user=$1
	shift
	if [ -z "$user" ]; then
		env -i PATH="$PATH" HOME="$work/home" LANG=C.UTF-8 "$@"
	else
		setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
			env -i PATH="$PATH" HOME="$work/home-$user" LANG=C.UTF-8 "$@"
	fi
}

filter() { # NAME FILE: without the lines that exceptions names
	local program regex reason
	cp "$2" "$2.cmp"
	while IFS=$'\t' read -r program regex reason; do
		case $program in '' | '#'*) continue ;; esac
		if [ "$program" = "$1" ]; then
			grep -vE -- "$regex" "$2.cmp" > "$2.kept"; mv "$2.kept" "$2.cmp"
		fi
	done < "$work/exceptions"
}

count=0 passed=0 failed=0
verdict() { # NAME LABEL OUTPUT
	local name=$1 label=$2 out=$3
	filter "$name" "$out.native"
	filter "$name" "$out.kapsel"
	count=$((count + 1))
	if tail -n 1 "$out.native" | grep -qx 'exit status 1[23][0-9]'; then
		failed=$((failed + 1))
		echo "not ok $count - $label: the native run did not come to its end ($(tail -n 1 "$out.native"))"
	elif cmp -s "$out.native.cmp" "$out.kapsel.cmp"; then
		passed=$((passed + 1))
		echo "ok $count - $label ($(wc -l < "$out.native.cmp") lines)"
	else
		failed=$((failed + 1))
		echo "not ok $count - $label"
		diff -U3 --label native --label kapsel "$out.native.cmp" "$out.kapsel.cmp" | head -n "${GUEST_DIFF_LINES:-200}" | sed 's/^/# /'
	fi
}

inside() { # NAME USER OUTPUT
	local name=$1 user=$2 out=$3
	if [ -n "$runner" ]; then
		as "$user" ${KTRACE:+KTRACE="$KTRACE"} KCWD=/ timeout 360 "$runner" "$work/guest.kapsel" \
			"$(mktemp -u "$work/home${user:+-$user}/i.XXXXXX")" "$work/bin/$name" "$tree" > "$out.kapsel" 2>&1 < /dev/null
	else
		as "$user" KAPSEL_FAST="$how" timeout 360 "$kapsel" run --rm --mode /tmp=full "$work/guest.kapsel" -- "$work/bin/$name" "$tree" \
			> "$out.kapsel" 2>&1 < /dev/null
	fi
	echo "exit status $?" >> "$out.kapsel"
}

one() { # NAME USER
	local name=$1 user=$2 out=$work/out/$1-${2:-self} how
	mkdir -p "$work/out"
	fresh_tree
	if [ -n "$user" ]; then chown -R -h "$user:$(id -g "$user")" "$tree"; fi
	# Guests have no capabilities, root's neither.
	as "$user" $([ -n "$user" ] || [ "$(id -u)" != 0 ] || echo setpriv --inh-caps=-all --bounding-set=-all) \
		timeout 360 "$work/bin/$name" "$tree" > "$out.native" 2>&1 < /dev/null
	echo "exit status $?" >> "$out.native"
	# What the guest sees must come out of the image.
	clear_away "$tree"
	for how in ${FAST:-on}; do
		inside "$name" "$user" "$out"
		verdict "$name" "$name${user:+ as $user}, $how" "$out"
	done
}

users=("")
mkdir "$work/home"
if [ "$(id -u)" = 0 ]; then
	user=${KAPSEL_TEST_USER:-nobody}
	users+=("$user")
	mkdir "$work/home-$user"
	chown "$user" "$work/home-$user"
	chmod 1777 "$work"
fi
if [ -n "${GUEST_ONLY_USER:-}" ]; then users=("$GUEST_ONLY_USER"); fi
if [ "${GUEST_ONLY_USER:-}" = root ]; then users=(""); fi
for user in "${users[@]}"; do
	for name in "${names[@]}"; do one "$name" "$user"; done
done
echo "1..$count"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
