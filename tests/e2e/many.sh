# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Twenty busy instances of one image at once, each with files of its own; and what an idle supervisor costs.
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/sync /usr/bin/tail /bin/grep /usr/bin/wc /usr/bin/md5sum /bin/sleep
img=$T/small.kapsel

i=0
while [ $i -lt 20 ]; do
  i=$((i + 1))
  "$KAPSEL" run --profile isolated --instance "m$i" "$img" -- /bin/sh -c '
    n=0; mkdir -p /tmp/w; while [ $n -lt 40 ]; do n=$((n + 1)); echo "$1 $n" >/tmp/w/$n; cat /tmp/w/$n; done | md5sum
    echo "$1" >/etc/greeting; cat /etc/greeting; ls /tmp/w | wc -l' busy "$i" >"$T/m$i" 2>&1 &
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

"$KAPSEL" run --instance idle "$img" -- /bin/sh -c 'cat /etc/greeting >/dev/null; exec sleep 5' &
front=$!
sleep 1.5
sup=$(cat "/proc/$front/task/$front/children")
pss=$(awk '/^Pss:/ { print $2 }' "/proc/${sup% *}/smaps_rollup")
echo "# supervisor after a second: ${pss:-?} kB PSS"
if [ "${pss:-99999}" -lt 8192 ]; then ok "supervisor under 8 MB PSS"; else not_ok "supervisor: ${pss:-?} kB PSS"; fi
kill "$front" 2>/dev/null
wait "$front" 2>/dev/null
finish
