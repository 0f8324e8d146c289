# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Copies of libraries' code with the jumps of the fast path in it: mapped where they can be, and nothing of them is seen.
. "$STAGE/e2e/lib.sh"

libc=$(ldd /bin/cat | awk '$1 ~ /^libc\./ { print $3 }')
if [ -z "$libc" ]; then
  ok "another libc than glibc # SKIP"
  finish
  exit
fi
cat >prepared.yaml <<'M'
kapsel: 1
name: prepared
version: "1"
entry: {command: [/bin/sh]}
contents:
  - elf: [/bin/sh, /bin/true, /bin/cat, /usr/bin/cksum]
M
try "$KAPSEL" pack --quiet prepared.yaml -o prepared.kapsel
expect_status 0 "packed"
img=$T/prepared.kapsel
many='i=0; while [ $i -lt 120 ]; do /bin/true || exit 1; i=$((i + 1)); done'

inside() { # COMMAND [LEVEL]: in an instance of its own
  try env KAPSEL_DEBUG=trap "$KAPSEL" run --rm --level "${2-portable}" "$img" -- /bin/sh -c "$1"
}

# libc's text is another file's than the rest of it, by the numbers; by the names all is libc.
inside "$many; /bin/cat /proc/self/maps"
awk -v libc="/${libc##*/}$" '
  $6 ~ libc && $2 == "r--p" { data = $4 " " $5; names++ }
  $6 ~ libc && $2 == "r-xp" { text = $4 " " $5; names++ }
  $6 == "[kapsel]" && $2 == "r-xp" { slots++ }
  $6 ~ /\/code\// || /deleted/ { print "shown: " $0; bad = 1 }
  END { exit bad || names < 3 || text == data || slots < 3 }' "$T/out"
if [ $? = 0 ]; then ok "libc's code is a copy"; else not_ok "libc's code is no copy" "$T/out" "$T/err"; fi
n=$(grep -c 'call sites are jumps in' "$T/err")
if [ "$n" -ge 2 ] && [ "$n" -le 8 ]; then ok "made $n times, of two files"; else not_ok "made $n times, of two files" "$T/err"; fi
if grep -q 'is patched' "$T/err"; then ok "from places that were patched before"; else not_ok "no place was patched before" "$T/err"; fi

# Who reads a library reads what it is, by its name and through what is mapped.
inside "$many; /usr/bin/cksum <$libc"
cksum <"$libc" >"$T/here"
if cmp -s "$T/here" "$T/out"; then ok "libc reads as it is"; else not_ok "libc does not read as it is" "$T/here" "$T/out" "$T/err"; fi

# Where no program may have another descriptor, or there is no directory for copies, each patches for himself.
inside "$many; ulimit -n 4; /bin/true && echo true"
if [ "$status" = 0 ] && [ "$(cat "$T/out")" = true ]; then ok "with four descriptors"; else not_ok "with four descriptors: exit $status" "$T/out" "$T/err"; fi
inside "$many; /bin/cat /proc/self/maps" strict
if [ "$status" = 0 ] && ! grep -q 'call sites are jumps' "$T/err"; then ok "none at level strict"; else not_ok "level strict: exit $status" "$T/err"; fi

# A file with the same number on another device is another one.
cat >numbers <<'S'
mkdir store other && mount -t tmpfs none store && mount -t tmpfs none other || exit 77
export XDG_CACHE_HOME="$PWD/store"
"$KAPSEL" run --rm --level portable "$1" -- /bin/true || exit 1
number=$(find store -type f -exec cmp -s {} "$2" \; -exec stat -c %i {} + | sort -u)
i=0
until [ "$(stat -c %i other/libc.so.6)" = "$number" ]; do
  i=$((i + 1))
  [ $i -lt 500 ] && : >other/$i && mv other/$i other/libc.so.6 || exit 77
done 2>/dev/null
cat "$2" >other/libc.so.6
"$KAPSEL" run --rm --level portable --bind "$PWD/other:/other" "$1" -- /bin/sh -c "$3; LD_LIBRARY_PATH=/other /bin/cat /proc/self/maps"
S
try unshare -m sh numbers "$img" "$libc" "$many"
case $status in
0) if [ "$(grep -c ' r-xp .*/other/libc' "$T/out")" = 1 ]; then ok "another device's"; else not_ok "taken for the image's" "$T/out"; fi ;;
1 | 77) ok "another device's # SKIP" ;;
*) not_ok "another device's: exit $status" "$T/err" ;;
esac

# Two at once, and what is left when they are gone.
inside "($many) & ($many) & $many; wait; echo all"
if [ "$status" = 0 ] && [ "$(cat "$T/out")" = all ]; then ok "three at once"; else not_ok "three at once: exit $status" "$T/out" "$T/err"; fi
finish
