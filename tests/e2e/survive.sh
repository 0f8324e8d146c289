# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# kill -9 of front, of supervisor, and of both, at random instants of a run that writes files: the next run starts, what was
# synced is there, nothing half written is seen, the store verifies, nobody is left. KAPSEL_KILLS: rounds of each kind (200 by hand).
. "$STAGE/e2e/lib.sh"

small_image small /bin/mkdir /bin/cp /bin/mv /bin/rm /bin/sync /usr/bin/tail /bin/grep /usr/bin/wc /usr/bin/md5sum /bin/sleep
img=$T/small.kapsel
rounds=${KAPSEL_KILLS:-8}

# Each round writes whole files under a temporary name, syncs, renames, and says so on its output.
writer='
mkdir -p /w; i=0
while [ $i -lt 400 ]; do
  i=$((i + 1))
  echo "$1 $i start" >/w/.new && cat /etc/greeting >>/w/.new && echo "$1 $i end" >>/w/.new
  sync /w/.new 2>/dev/null || sync
  mv /w/.new /w/f$i && echo "$1 $i"
  rm -f /etc/greeting.bak; cp /etc/greeting /etc/greeting.bak
done'

supervisor_of() { # pid of the front: its child that is not a guest
  for p in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do echo "$p"; break; done
}

check_files() {
  "$KAPSEL" run --instance k "$img" -- /bin/sh -c '
    for f in /w/f*; do
      [ -e "$f" ] || continue
      read -r r i s <"$f"; [ "$s" = start ] || { echo "bad start in $f"; exit 1; }
      tail -n 1 "$f" | grep -q "^$r $i end$" || { echo "bad end in $f"; exit 1; }
    done; ls /w | wc -l'
}

for kind in front supervisor both; do
  bad=
  round=0
  while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    "$KAPSEL" run --instance k "$img" -- /bin/sh -c "$writer" writer "$kind$round" >"$T/said" 2>"$T/err" &
    front=$!
    # 0 to 400 ms
    sleep "0.$(awk -v s="$round$kind" 'BEGIN { srand(); printf "%03d", int((rand() * 1000 + length(s) * 37) % 400) }')"
    sup=$(supervisor_of "$front")
    case $kind in
      front) kill -9 "$front" 2>/dev/null ;;
      supervisor) [ -z "$sup" ] || kill -9 "$sup" 2>/dev/null ;;
      both) kill -9 "$front" $sup 2>/dev/null ;;
    esac
    wait "$front" 2>/dev/null
    last=$(tail -n 1 "$T/said")
    if ! check_files >"$T/out" 2>"$T/err2"; then
      bad="round $round after '$last'"
      break
    fi
    if [ -n "$last" ]; then
      "$KAPSEL" run --instance k "$img" -- /bin/cat "/w/f${last#* }" >"$T/out" 2>>"$T/err2" && grep -q "^$last start$" "$T/out" || {
        bad="round $round: '$last' was synced and is lost"
        break
      }
    fi
  done
  if [ -z "$bad" ]; then ok "$rounds kills of $kind"; else not_ok "$kind: $bad" "$T/out" "$T/err2" "$T/err"; fi
done

# While the first program starts, which takes a few milliseconds: nobody may wait for the dead.
from=$(date +%s%N)
for round in 1 2 3 4; do "$KAPSEL" run --instance s "$img" -- /bin/true; done
span=$((($(date +%s%N) - from) / 12000)) # of a start, in microseconds: a third of a whole run
round=0 hung=0 killed=0
while [ "$round" -lt $((rounds * 16)) ]; do
  round=$((round + 1)) front='' sup=''
  pause=$(awk -v s="$round" -v span="$span" 'BEGIN { srand(); printf "%.4f", (rand() * 100 + s * 37) % 100 / 100 * span / 1000000 }')
  timeout -k 5 120 "$KAPSEL" run --instance s "$img" -- /bin/sleep 0.02 >/dev/null 2>&1 &
  timeout=$!
  sleep "$pause"
  # No process in between, which would take longer than the start.
  read -r front _ 2>/dev/null <"/proc/$timeout/task/$timeout/children"
  [ -z "$front" ] || read -r sup _ 2>/dev/null <"/proc/$front/task/$front/children"
  if [ "$sup" ] && kill -9 "$sup" 2>/dev/null; then killed=$((killed + 1)); fi
  status=0
  wait "$timeout" 2>/dev/null || status=$?
  case $status in 124 | 137) hung=$((hung + 1)) ;; esac
done
if [ "$hung" = 0 ] && [ "$killed" -gt 0 ]; then ok "$killed kills of a supervisor that starts"; else not_ok "$killed kills of a supervisor that starts: $hung times the front waits on"; fi
try "$KAPSEL" cache verify
expect_status 0 "the store verifies"
nobody_is_left() {
  left=$(for p in /proc/[0-9]*; do
    case $(readlink "$p/exe" 2>/dev/null) in "$XDG_RUNTIME_DIR"/* | */kapsel-"$(id -u)"/k.*) echo "${p#/proc/}" ;; esac
  done)
  [ -z "$left" ]
}
if wait_for nobody_is_left; then ok "no guest is left"; else not_ok "guests are left: $left"; fi
finish
