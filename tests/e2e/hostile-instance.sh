# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# An instance that was made to lead the commands that look after it astray, and those commands killed at any instant.
# KAPSEL_KILLS: rounds of each kind (more by hand); KAPSEL_FILES: how many files the big instance has.
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/ln /bin/chmod /usr/bin/touch /usr/bin/mkfifo /bin/rmdir
img=$T/small.kapsel
host=$T/host
outside=$T/outside
base=$HOME/.local/share/kapsel/instances
rounds=${KAPSEL_KILLS:-6}
mkdir "$host" "$outside" "$host/dir"
echo secret >"$outside/secret"
in_k() {
  try "$KAPSEL" run --instance k --mode "$host=writecopy" "$img" -- /bin/sh -c "$1"
}
raw() { # FILE: has it bytes that drive a terminal?
  LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" "$1"
}

# --- names, kinds ---
# shellcheck disable=SC2016 # for the guest's shell
in_k 'cd '"$host"'; printf x >"$(printf "a\nb")"; printf x >"$(printf "\033]0;owned\007")"; printf x >"$(printf "\302\233K")"; printf x >"$(printf "\377")"
  printf "\033[31mred\n" >red; mkfifo fifo; mkdir link; rmdir link; ln -s '"$outside"' link; ln -s /etc/passwd pw; ln red hard; mkdir dir/sub
  ln -s "$(printf "\033[5m")" blink; d=deep; mkdir $d; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do d=$d/0123456789012345678901234567890123456789012345678901234567890123456789; mkdir $d; done'
expect_status 0 "a guest with a taste for odd names"
try "$KAPSEL" diff k
if [ "$status" = 0 ] && ! raw "$T/out" && [ "$(grep -c ' "' "$T/out")" = 4 ]; then ok "diff prints no raw escapes"; else not_ok "diff prints no raw escapes" "$T/out" "$T/err"; fi
try "$KAPSEL" diff --unified k
if [ "$status" = 0 ] && ! raw "$T/out"; then ok "nor does diff --unified"; else not_ok "nor does diff --unified" "$T/out" "$T/err"; fi
try "$KAPSEL" diff --json k
if [ "$status" = 0 ] && ! raw "$T/out"; then ok "nor does diff --json"; else not_ok "nor does diff --json" "$T/out" "$T/err"; fi
try "$KAPSEL" clone k odd
expect_status 0 "clone"
try "$KAPSEL" snapshot create k odd
expect_status 0 "snapshot"
in_k "rm -r $host/deep; echo more >>$host/red"
try "$KAPSEL" snapshot diff k odd
if [ "$status" = 0 ] && ! raw "$T/out"; then ok "snapshot diff"; else not_ok "snapshot diff" "$T/out" "$T/err"; fi
try "$KAPSEL" commit k
if [ "$status" = 0 ] && ! raw "$T/out" && [ -e "$host/red" ] && [ -L "$host/link" ] && [ -p "$host/fifo" ]; then ok "commit"; else not_ok "commit" "$T/out" "$T/err"; fi
if [ "$(ls -A "$outside")" = secret ] && [ "$(cat "$outside/secret")" = secret ]; then ok "nothing came through its links"; else not_ok "nothing came through its links"; fi

# --- on the host a directory became a link: by a guest in mode merged, or by anybody ---
in_k "echo planted >$host/dir/sub/secret; mkdir -p $host/new/x; echo y >$host/new/x/y"
rmdir "$host/dir/sub" 2>/dev/null
ln -s "$outside" "$host/dir/sub"
ln -s "$outside" "$host/new"
try "$KAPSEL" commit --force k "$host/dir/sub/secret"
if [ "$status" = 125 ] && [ "$(cat "$outside/secret")" = secret ]; then ok "commit goes through no link of the host"; else not_ok "commit goes through no link" "$T/out" "$T/err"; fi
try "$KAPSEL" commit --force k "$host/new/x/y"
if [ "$(ls -A "$outside")" = secret ]; then ok "nor makes anything behind one"; else not_ok "nor makes anything behind one" "$T/out" "$T/err"; fi
rm "$host/dir/sub" "$host/new"
mkdir "$host/dir/sub"

# --- the directory is swapped for a link while commit is at work ---
mkdir "$T/other"
(while [ ! -e "$T/enough" ]; do
  mv -T "$host/dir/sub" "$T/other/sub" 2>/dev/null
  ln -s "$outside" "$host/dir/sub" 2>/dev/null
  rm -f "$host/dir/sub" 2>/dev/null
  mv -T "$T/other/sub" "$host/dir/sub" 2>/dev/null
done) &
swapper=$!
round=0
while [ "$round" -lt "$rounds" ]; do
  round=$((round + 1))
  try "$KAPSEL" commit --force k "$host/dir"
  [ "$status" -lt 126 ] || break
  in_k "rm -rf $host/dir/sub; mkdir $host/dir/sub; echo planted$round >$host/dir/sub/secret"
done
: >"$T/enough"
wait "$swapper"
if [ "$status" -lt 126 ] && [ "$(ls -A "$outside")" = secret ] && [ "$(cat "$outside/secret")" = secret ]; then
  ok "$rounds commits while a directory is swapped: nothing went outside"
else
  ls -lA "$outside" >"$T/ls"
  not_ok "commit while a directory is swapped" "$T/out" "$T/err" "$T/ls"
fi

# --- into Kapsel's own ---
try "$KAPSEL" run --instance own --mode "$HOME=writecopy" "$img" -- /bin/sh -c "mkdir -p $base/evil; echo x >$base/evil/config.yaml; echo f >$HOME/f"
try "$KAPSEL" commit own
if [ "$status" = 0 ] && [ -e "$HOME/f" ] && ! [ -e "$base/evil" ]; then ok "commit makes nothing in Kapsel's own directories"; else not_ok "commit into Kapsel's own" "$T/out" "$T/err"; fi

# --- many files ---
files=${KAPSEL_FILES:-3000}
try "$KAPSEL" run --instance many "$img" -- /bin/sh -c "mkdir /m; cd /m; i=0; while [ \$i -lt $files ]; do i=\$((i + 1)); echo \$i >f\$i; done"
try "$KAPSEL" diff many
if [ "$(grep -c ' file ' "$T/out")" = "$files" ]; then ok "diff of $files files"; else not_ok "diff of $files files" "$T/err"; fi
for words in "clone many many2" "snapshot create many s" "snapshot create many s2" "discard --quiet many /m" "snapshot restore many s2" "snapshot rm many s"; do
  # shellcheck disable=SC2086 # words are wanted
  try "$KAPSEL" $words
  if [ "$status" != 0 ]; then not_ok "$words" "$T/err"; fi
done
try "$KAPSEL" snapshot diff many s2
if [ "$status" = 0 ] && [ ! -s "$T/out" ]; then ok "cloned, kept, dropped and back"; else not_ok "cloned, kept, dropped and back" "$T/out" "$T/err"; fi

# --- killed at any instant ---
span=100
measure() { # COMMAND...: how long it takes, in milliseconds; instants are chosen from that
  from=$(date +%s%N)
  "$@" >/dev/null 2>&1
  span=$((($(date +%s%N) - from) / 900000 + 1))
}
die_soon() { # COMMAND...: kill -9 at a random instant of its life
  "$@" >/dev/null 2>&1 &
  victim=$!
  sleep "$(awk -v s="$victim" -v span="$span" 'BEGIN { srand(s); printf "%.4f", rand() * span / 1000 }')"
  kill -9 "$victim" 2>/dev/null
  wait "$victim" 2>/dev/null
}
old='cd /w && [ "$(cat a b 2>/dev/null)" = "1
1" ] && ! [ -e c ] && [ -d d ]'
new='cd /w && [ "$(cat a c 2>/dev/null)" = "2
2" ] && ! [ -e b ] && [ -f d ]'
try "$KAPSEL" run --instance v "$img" -- /bin/sh -c 'mkdir -p /w/d; cd /w; i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo 1 >f$i; done; echo 1 >a; echo 1 >b'
try "$KAPSEL" snapshot create v old
try "$KAPSEL" run --instance v "$img" -- /bin/sh -c 'cd /w; echo 2 >a; rm -r b d; echo 2 >c; echo 2 >d'
try "$KAPSEL" snapshot create v new
measure "$KAPSEL" snapshot restore v new
bad='' round=0 olds=0 news=0
while [ "$round" -lt "$((rounds * 2))" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  die_soon "$KAPSEL" snapshot restore v "$([ $((round % 2)) = 0 ] && echo new || echo old)"
  try "$KAPSEL" run --instance v "$img" -- /bin/sh -c "if $old; then echo old; elif $new; then echo new; else ls -l /w; exit 1; fi"
  case $(cat "$T/out") in old) olds=$((olds + 1)) ;; new) news=$((news + 1)) ;; *) bad="round $round" ;; esac
  "$KAPSEL" verify --quiet v >"$T/verify" 2>&1 || bad="round $round: verify"
done
if [ -z "$bad" ]; then
  ok "$round kills of restore: all old or all new"
  echo "# $olds old, $news new"
else not_ok "kills of restore: $bad ($olds old, $news new)" "$T/out" "$T/err" "$T/verify"
fi

measure "$KAPSEL" snapshot create v k0
bad='' round=0 made=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  "$KAPSEL" run --instance v "$img" -- /bin/sh -c "echo $round >/w/f1"
  die_soon "$KAPSEL" snapshot create v "k$round"
  if [ -d "$base/v/snapshots/k$round" ]; then
    made=$((made + 1))
    [ "$(ls "$base/v/snapshots/k$round/files/upper/w" | grep -c '^f')" = 300 ] && [ "$(cat "$base/v/snapshots/k$round/files/upper/w/f1")" = "$round" ] ||
      bad="round $round"
    "$KAPSEL" snapshot rm v "k$round" || bad="round $round: cannot be removed"
  fi
done
try "$KAPSEL" run --instance v "$img" -- /bin/true
left=$(find "$base/v/snapshots" -maxdepth 1 -name '.*' ! -path "$base/v/snapshots")
if [ -z "$bad" ] && [ -z "$left" ]; then ok "$round kills of snapshot create: whole or not there, and nothing left ($made whole)"; else not_ok "kills of snapshot create: $bad $left" "$T/out" "$T/err"; fi
"$KAPSEL" snapshot restore v old

measure "$KAPSEL" clone v v0
bad='' round=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  die_soon "$KAPSEL" clone v "v$round"
  if [ -d "$base/v$round" ]; then
    try "$KAPSEL" run --instance "v$round" "$img" -- /bin/sh -c "($old) || ($new)"
    [ "$status" = 0 ] || bad="round $round"
    "$KAPSEL" rm "v$round"
  fi
done
try "$KAPSEL" run --rm "$img" -- /bin/true
left=$(find "$base" -maxdepth 1 -name '.*' ! -path "$base")
if [ -z "$bad" ] && [ -z "$left" ]; then ok "$rounds kills of clone: whole or not there, and nothing left"; else not_ok "kills of clone: $bad $left" "$T/out" "$T/err"; fi

measure "$KAPSEL" commit --quiet --force k
span=$((span * 2)) # there will be something to do
bad='' round=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  in_k "cd $host; for i in 1 2 3 4 5 6 7 8 9; do echo $round $round >c\$i; done; rm -rf t; mkdir t; echo $round >t/x; rm -f gone$((round - 1)); echo >gone$round"
  die_soon "$KAPSEL" commit --quiet --force k
  for f in "$host"/c?; do
    [ -e "$f" ] || continue
    # shellcheck disable=SC2046 # words are wanted
    set -- $(cat "$f")
    [ "$#" = 2 ] && [ "$1" = "$2" ] && [ "$1" -ge "$((round - 1))" ] || bad="round $round: $f has '$*'"
  done
  try "$KAPSEL" commit --quiet --force k
  [ "$status" = 0 ] || bad="round $round: then commit fails"
  [ "$(cat "$host"/c? "$host/t/x" | sort | uniq -c | tr -s ' ' | tr '\n' ,)" = " 1 $round, 9 $round $round," ] || bad="round $round: not all is there"
  ! ls -A "$host" "$host/t" | grep -q kapsel-commit || bad="round $round: a temporary file is left"
done
if [ -z "$bad" ]; then ok "$rounds kills of commit: every file old or new"; else not_ok "kills of commit: $bad" "$T/out" "$T/err"; fi

try "$KAPSEL" snapshot restore v new
measure "$KAPSEL" discard v
bad='' round=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  try "$KAPSEL" snapshot restore v new
  die_soon "$KAPSEL" discard v
  try "$KAPSEL" run --instance v "$img" -- /bin/sh -c "if $new; then echo new; elif [ -e /w ]; then ls -l /w; else echo none; fi"
  case $(cat "$T/out") in new | none) ;; *) bad="round $round" ;; esac
done
if [ -z "$bad" ]; then ok "$rounds kills of discard: all or nothing"; else not_ok "kills of discard: $bad" "$T/out" "$T/err"; fi
finish
