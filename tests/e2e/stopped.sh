# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The supervisor is stopped and goes on, as when a machine sleeps or its container is paused: no call is answered wrongly.
. "$STAGE/e2e/lib.sh"

small_image small "$STAGE/e2e/stopped"
img=$T/small.kapsel
program=$STAGE/e2e/stopped

KAPSEL_FAST=off "$KAPSEL" run --quiet --rm "$img" -- "$program" opens /opened 60000 >"$T/said" 2>&1 </dev/null &
front=$!
wait_for grep -q ready "$T/said"
supervisor=$(cut -d ' ' -f 1 "/proc/$front/task/$front/children") # the front's one child
"$program" stop "${supervisor:-0}" >"$T/stops" 2>&1
wait "$front"
status=$?
if [ "$status" = 0 ] && awk '{ exit !($1 > 100) }' "$T/stops"; then
  ok "no open is answered wrongly: $(cat "$T/stops")"
else
  not_ok "opens while the supervisor is stopped: exit $status" "$T/said" "$T/stops"
fi

finish
