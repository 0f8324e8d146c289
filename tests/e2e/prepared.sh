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

# Two at once, and what is left when they are gone.
inside "($many) & ($many) & $many; wait; echo all"
if [ "$status" = 0 ] && [ "$(cat "$T/out")" = all ]; then ok "three at once"; else not_ok "three at once: exit $status" "$T/out" "$T/err"; fi
finish
