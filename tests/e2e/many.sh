# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Twenty busy instances of one image at once, each with files of its own; and what an idle supervisor costs.
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/sync /usr/bin/tail /bin/grep /usr/bin/wc /usr/bin/md5sum /bin/sleep
img=$T/small.kapsel

i=0
while [ $i -lt 20 ]; do
  i=$((i + 1))
  "$KAPSEL" run --instance "m$i" "$img" -- /bin/sh -c '
    n=0; mkdir -p /w; while [ $n -lt 40 ]; do n=$((n + 1)); echo "$1 $n" >/w/$n; cat /w/$n; done | md5sum
    echo "$1" >/etc/greeting; cat /etc/greeting; ls /w | wc -l' busy "$i" >"$T/m$i" 2>&1 &
done
wait
bad=
i=0
while [ $i -lt 20 ]; do
  i=$((i + 1))
  want="$(n=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo "$i $n"; done | md5sum)
$i
40"
  [ "$(cat "$T/m$i")" = "$want" ] || bad="$bad $i"
done
if [ -z "$bad" ]; then ok "twenty instances at once"; else not_ok "wrong:$bad" "$T/m${bad##* }"; fi

# --- eight clones of one instance start together ---
"$KAPSEL" run --instance origin "$img" -- /bin/sh -c 'mkdir /w; echo own >/w/f; echo more >>/etc/greeting'
try "$KAPSEL" clone -n 8 origin c
expect_status 0 "eight clones"
# Which file is behind what their guests have mapped of the C library: of each one, once all have begun their last program.
share() {
  for sup in $("$KAPSEL" ps --json | sed -n 's/.*"name":"c-.*"supervisor":\([0-9]*\).*/\1/p'); do
    for p in $(cat "/proc/$sup/task"/*/children); do awk '/r-xp/ && $5 > 0 { print $4, $5 }' "/proc/$p/maps" | sort -u; done
  done | sort | uniq -c | awk '{ print $1 }' >"$T/mapped"
  [ "$(sort -n "$T/mapped" | tail -1)" = 8 ] && [ "$(grep -cvx '[18]' "$T/mapped")" = 0 ]
}
least=99999 round=0
while [ "$round" -lt 5 ]; do
  round=$((round + 1))
  rm -f "$T"/c[1-8]
  from=$(date +%s%N)
  for i in 1 2 3 4 5 6 7 8; do
    "$KAPSEL" run --instance "c-$i" "$img" -- /bin/sh -c 'cat /w/f; exec sleep 300' >"$T/c$i" 2>&1 &
  done
  i=0
  until [ "$(cat "$T"/c[1-8] 2>/dev/null | grep -c '^own$')" = 8 ] || [ "$i" -gt 3000 ]; do
    i=$((i + 1))
    sleep 0.01
  done
  took=$((($(date +%s%N) - from) / 1000000))
  [ "$took" -ge "$least" ] || least=$took
  wait_for share && shared=yes || shared=no
  for i in 1 2 3 4 5 6 7 8; do "$KAPSEL" stop --time 0 "c-$i" 2>/dev/null; done
  wait
done
echo "# eight clones answer after $least ms (the least of $round rounds)"
if [ "$least" -lt 1000 ]; then ok "they start within a second"; else not_ok "they start within a second: $least ms" "$T"/c[1-8]; fi
if [ "$shared" = yes ]; then ok "their code is the same files: the image's pages are shared"; else not_ok "the image's pages are shared" "$T/mapped"; fi

"$KAPSEL" run --instance idle "$img" -- /bin/sh -c 'cat /etc/greeting >/dev/null; echo idle; exec sleep 300' >"$T/idle" &
front=$!
wait_for test -s "$T/idle"
sleep 1
rests() {
  sup=$(cat "/proc/$front/task/$front/children")
  pss=$(awk '/^Pss:/ { print $2 }' "/proc/${sup% *}/smaps_rollup")
  [ "${pss:-99999}" -lt 8192 ]
}
wait_for rests
echo "# supervisor after a second: ${pss:-?} kB PSS"
if [ "${pss:-99999}" -lt 8192 ]; then ok "supervisor under 8 MB PSS"; else not_ok "supervisor: ${pss:-?} kB PSS"; fi
kill "$front" 2>/dev/null
wait "$front" 2>/dev/null
finish
