# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Copies of instances: clones, snapshots, going back.
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/ln /bin/chmod /usr/bin/touch /usr/bin/mkfifo /usr/bin/stat /usr/bin/find /usr/bin/sort /usr/bin/md5sum /bin/dd
img=$T/small.kapsel
base=$HOME/.local/share/kapsel/instances
in_i() { # INSTANCE SHELL-TEXT
  one=$1
  shift
  try "$KAPSEL" run --instance "$one" "$img" -- /bin/sh -c "$1"
}
# All that a guest can tell of its files but times of directories.
state='find /w /bin /etc/moved /etc/greeting /lib64 | sort | while read -r f; do
  if [ -d "$f" ]; then stat -c "%n %A %u" "$f"; else stat -c "%n %A %u %s %Y %h %N" "$f"; fi
  if [ -f "$f" ]; then md5sum <"$f"; fi; done; stat -c %i /etc/moved'

in_i k 'mkdir /w; echo one >/w/a; ln /w/a /w/b; ln -s a /w/l; mkfifo /w/p; chmod 4751 /w/a; mv /etc/greeting /etc/moved
  dd if=/dev/zero of=/w/big bs=1M count=8 2>/dev/null; dd if=/dev/zero of=/w/holes bs=1 count=1 seek=50M 2>/dev/null; rm /bin/id; touch -d 2001-02-03 /w/old'
expect_status 0 "a run that changes things"
in_i k "$state"
cp "$T/out" "$T/k"

# --- clone ---
try "$KAPSEL" clone k c
expect_status 0 "clone"
in_i c "$state"
if [ "$status" = 0 ] && cmp -s "$T/k" "$T/out"; then ok "a clone is the same to its guests, with numbers and hard links"; else
  diff "$T/k" "$T/out" >"$T/d"
  not_ok "a clone is the same" "$T/d" "$T/err"
fi
try "$KAPSEL" verify c
expect_status 0 "its files verify"
if [ "$(du -k "$base/c/upper/w/holes" | cut -f1)" -lt 100 ]; then ok "holes stay holes"; else not_ok "holes stay holes"; fi
in_i c 'echo two >/w/a'
in_i k 'cat /w/b'
expect_out one "what one changes the other does not see"
try "$KAPSEL" clone k c
expect_err_line "^kapsel: c: there is an instance of that name" "a name that is taken"
try "$KAPSEL" clone nobody d
expect_err_line "^kapsel: nobody: no such instance" "a source that is not there"
try "$KAPSEL" clone k ../x
expect_err_line "not an instance name" "a name that is none"
try "$KAPSEL" clone -n 8 k n
if [ "$status" = 0 ] && [ "$(ls -d "$base"/n-? | wc -l)" = 8 ]; then ok "eight clones"; else not_ok "eight clones" "$T/err"; fi
for n in 1 2 3 4 5 6 7 8; do
  "$KAPSEL" run --instance n-$n "$img" -- /bin/sh -c "echo $n >/w/a; cat /w/b" >"$T/n$n" 2>&1 &
done
wait
if [ "$(cat "$T"/n[1-8] | tr '\n' ' ')" = "1 2 3 4 5 6 7 8 " ]; then ok "they run side by side"; else not_ok "they run side by side" "$T"/n[1-8]; fi

# --- snapshots ---
try "$KAPSEL" snapshot create k first --note "the $(printf '\033')[31mfirst"
expect_out first "snapshot create"
in_i k 'echo changed >/w/a; rm /w/p; echo new >/w/new'
try "$KAPSEL" snapshot create k second
expect_status 0 "a second one"
shared=$(find "$base/k/snapshots/second" -type f -links +1 | wc -l)
if [ "$(stat -c %i "$base/k/snapshots/first/files/upper/w/big")" = "$(stat -c %i "$base/k/snapshots/second/files/upper/w/big")" ] &&
  [ "$(stat -c %i "$base/k/snapshots/first/files/upper/w/a")" != "$(stat -c %i "$base/k/snapshots/second/files/upper/w/a")" ]; then
  ok "unchanged files are shared, changed ones are not"
else
  not_ok "unchanged files are shared ($shared)"
fi
(cd "$base/k/upper" && find . -type f -exec stat -c %i {} +) | sort -u >"$T/live"
(cd "$base/k/snapshots" && find . -type f -exec stat -c %i {} +) | sort -u >"$T/kept"
if [ -z "$(join "$T/live" "$T/kept")" ]; then ok "nothing is shared with the live files"; else not_ok "nothing is shared with the live files"; fi
try "$KAPSEL" snapshot list k
if grep -q "^first .*kept  *the ?\[31mfirst$" "$T/out" && grep -q '^  second ' "$T/out"; then ok "snapshot list, as a tree, without raw escapes"; else not_ok "snapshot list" "$T/out" "$T/err"; fi
try "$KAPSEL" snapshot diff k first second
sed -E 's/ +/ /g' "$T/out" | sort >"$T/seen"
printf 'A 4 /w/new\nD - /w/p\nM 8 /w/a\nM 8 /w/b\n' >"$T/wanted"
if grep -v ' /w$' "$T/seen" | cmp -s - "$T/wanted"; then ok "snapshot diff"; else not_ok "snapshot diff" "$T/out" "$T/err"; fi
try "$KAPSEL" snapshot create k first
expect_err_line "^kapsel: first: k has a snapshot of that name" "a name that is taken"
try "$KAPSEL" snapshot restore k nothing
expect_err_line "^kapsel: nothing: k has no snapshot of that name" "one that is not there"
try "$KAPSEL" snapshot restore k first
expect_status 0 "snapshot restore"
in_i k "$state"
if cmp -s "$T/k" "$T/out"; then ok "all is as it was"; else
  diff "$T/k" "$T/out" >"$T/d"
  not_ok "all is as it was" "$T/d" "$T/err"
fi
try "$KAPSEL" snapshot create k third
if [ "$(stat -c %i "$base/k/snapshots/first/files/upper/w/big")" = "$(stat -c %i "$base/k/snapshots/third/files/upper/w/big")" ]; then
  ok "after going back unchanged files are shared again"
else
  not_ok "after going back unchanged files are shared again"
fi
try "$KAPSEL" snapshot list k
if [ "$(awk 'NR > 1 && !/^ *auto-/ { sub(/ [0-9].*/, ""); sub(/ *$/, ""); print }' "$T/out" | tr '\n' ,)" = "first,  second,  third," ]; then
  ok "what was made after going back is beside what was there"
else not_ok "the tree" "$T/out"; fi
in_i k 'echo scribble >>/w/big'
try "$KAPSEL" snapshot rm k second
try "$KAPSEL" snapshot rm k third
try "$KAPSEL" snapshot restore k first
in_i k 'stat -c %s /w/big'
expect_out 8388608 "a snapshot outlives what it shared with others, and the live file's changes"

# --- a second one costs what changed; KAPSEL_BIG: MiB of the instance (1024 by hand, on a quiet machine: then times count, too), in files of
# KAPSEL_PIECE KiB ---
big=${KAPSEL_BIG:-48} piece=${KAPSEL_PIECE:-1024}
in_i g "mkdir /w; i=0; while [ \$i -lt $((big * 1024 / piece)) ]; do i=\$((i + 1)); dd if=/dev/urandom of=/w/f\$i bs=${piece}k count=1 2>/dev/null; done"
sleep 0.1
ms() { # COMMAND...: how long it takes
  from=$(date +%s%N)
  "$@" >"$T/made" 2>"$T/err"
  echo $((($(date +%s%N) - from) / 1000000))
}
whole=$(ms "$KAPSEL" snapshot create g one)
in_i g 'dd if=/dev/urandom of=/w/f1 bs=1M count=1 2>/dev/null'
sleep 0.1
second=$(ms "$KAPSEL" snapshot create --json g two)
"$KAPSEL" snapshot list --json g >"$T/out"
disk() { sed -n "s/.*\"name\":\"$1\".*\"$2\":\([0-9]*\).*/\1/p" "$T/out"; }
echo "# $big MiB: the first $whole ms and $(disk one disk) bytes, the second $second ms and $(disk two own) bytes of its own"
if grep -q '"copied_files":1,"copied_bytes":1048576,"copying_ms":[0-9.]*}$' "$T/made"; then ok "only what changed is copied"; else not_ok "only what changed is copied" "$T/made"; fi
if [ "$(disk two own)" -gt 0 ] && [ $(($(disk two own) * 20)) -lt "$(disk one disk)" ]; then ok "a second snapshot takes under a twentieth of the disk"; else not_ok "a second snapshot's disk" "$T/out" "$T/err"; fi
if [ "$big" -ge 1024 ]; then
  if [ $((second * 20)) -lt "$whole" ]; then ok "and of the time"; else not_ok "and of the time: $second of $whole ms"; fi
fi
"$KAPSEL" rm g

# --- undo ---
in_i k 'echo more >/w/more'
try "$KAPSEL" discard k /w
in_i k 'cat /w/more'
if [ "$status" = 0 ]; then not_ok "discard dropped it"; else ok "discard dropped it"; fi
try "$KAPSEL" undo k
if grep -q 'as it was before discard' "$T/out"; then ok "undo says what"; else not_ok "undo says what" "$T/out" "$T/err"; fi
in_i k 'cat /w/more'
expect_out more "undo of discard"
try "$KAPSEL" undo --since 1h k
in_i k 'cat /w/a /w/new'
if [ "$(head -1 "$T/out")" = changed ]; then ok "undo --since goes to before the first restore"; else not_ok "undo --since" "$T/out" "$T/err"; fi
try "$KAPSEL" undo k
expect_err_line "^kapsel: k: nothing to undo" "then there is nothing to undo"
try "$KAPSEL" undo --since yesterday k
expect_err_line "^kapsel: --since: 'yesterday': not a time" "a time that is none"

# --- in use ---
"$KAPSEL" run --instance u "$img" -- /bin/sh -c "echo r >/r; mkfifo /wait; read x </wait" >/dev/null 2>&1 &
runs=$!
waits() { "$KAPSEL" diff u | grep -q ' /wait$'; }
wait_for waits
for words in "discard u" "undo u" "export u -o x"; do
  # shellcheck disable=SC2086 # words are wanted
  try "$KAPSEL" $words
  expect_err_line "^kapsel: u: in use" "$words while it runs is refused"
done
"$KAPSEL" stop --time 0 u
wait "$runs"
finish
