# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Writers of the registry are killed at random instants: each transaction is whole or absent. KAPSEL_KILLS: how often.
. "$STAGE/e2e/lib.sh"

rounds=${KAPSEL_KILLS:-10}
small_image app /bin/sleep
"$KAPSEL" run --instance one "$T/app.kapsel" -- /bin/true
# A transaction: what the last one made is deleted; 200 values in ten keys, all with one number.
transaction() { # NUMBER
  awk -v n="$1" 'BEGIN {
    print "REGEDIT4\n\n[-HKEY_CURRENT_USER\\Kill]"
    for (k = 0; k < 10; k++) {
      printf "[HKEY_CURRENT_USER\\Kill\\k%d]\n", k
      for (v = 0; v < 20; v++) printf "\"v%d\"=dword:%08x\n", v, n
    }
  }'
}
n=0
while [ $n -lt 64 ]; do
  transaction $n >"$T/$n.reg"
  n=$((n + 1))
done
try "$KAPSEL" reg import one "$T/0.reg"
expect_status 0 "a transaction"

# The state of one number, whole; prints it.
whole() {
  "$KAPSEL" reg query one 'HKCU\Kill' /s >"$T/state" 2>"$T/err" || return 1
  awk '/^    / { if (seen && $3 != last) bad = 1; last = $3; seen++ } END { if (bad || seen != 200) exit 1; print last }' "$T/state"
}
# What was killed is no child of ours, and may not be gone yet. Sets now.
settled() {
  n=0
  until now=$(whole) || [ $n = 600 ]; do n=$((n + 1)) && sleep 0.1; done
  [ $n -lt 600 ] || { bad=$((bad + 1)) && cp "$T/state" "$T/bad" && cp "$T/err" "$T/bad.err"; }
}
# Instants are chosen by how long it takes here and now.
span() { # COMMAND...: in $ms
  from=$(date +%s%N)
  "$@" >/dev/null 2>&1
  ms=$((($(date +%s%N) - from) / 1000000 + 1))
}
after() { # LOW HIGH: rests for so many milliseconds
  sleep "$(awk -v s="$killed$$" -v low="$1" -v high="$2" 'BEGIN { srand(s); printf "%.3f", (low + rand() * (high - low)) / 1000 }')"
}
span "$KAPSEL" reg import one "$T/0.reg"
killed=0 bad=0 moved=0 last=$(whole)
while [ $killed -lt "$rounds" ]; do
  sh -c 'n=0; while :; do n=$(((n + 1) % 64)); "$1" reg import one "$2/$n.reg" >/dev/null 2>&1; done' writer "$KAPSEL" "$T" &
  writer=$!
  after 0 $((ms * 10))
  kill -STOP "$writer"
  for child in $(cat "/proc/$writer/task/$writer/children"); do kill -9 "$child" 2>/dev/null; done
  kill -9 "$writer"
  wait "$writer" 2>/dev/null
  settled
  [ "$now" = "$last" ] || moved=$((moved + 1))
  last=$now killed=$((killed + 1))
done
if [ $bad = 0 ] && [ $moved -gt 0 ]; then ok "$rounds kills of \`kapsel reg import\`: each transaction is whole or absent"; else not_ok "$bad of $rounds are not whole, $moved moved" "$T/bad" "$T/bad.err"; fi

# The supervisor dies, with all that runs in it, while a guest writes transactions.
killed=0 bad=0 moved=0
cp "$T"/*.reg "$HOME/"
span "$KAPSEL" run --quiet --instance one --bind "$HOME:/reg:ro" "$T/app.kapsel" -- /.kapsel/reg import /reg/0.reg
last=$(whole)
while [ $killed -lt "$rounds" ]; do
  "$KAPSEL" run --quiet --instance one --bind "$HOME:/reg:ro" "$T/app.kapsel" -- /bin/sh -c 'n=0; while :; do n=$(((n + 1) % 64)); /.kapsel/reg import /reg/$n.reg; done' >/dev/null 2>&1 &
  front=$!
  after "$ms" $((ms * 5))
  supervisor=$(cut -d ' ' -f 1 "/proc/$front/task/$front/children" 2>/dev/null)
  kill -9 ${supervisor:+"$supervisor"} "$front" 2>/dev/null
  wait "$front" 2>/dev/null
  settled
  [ "$now" = "$last" ] || moved=$((moved + 1))
  last=$now killed=$((killed + 1))
done
if [ $bad = 0 ] && [ $moved -gt 0 ]; then ok "$rounds kills of the supervisor: the same"; else not_ok "$bad of $rounds are not whole, $moved moved" "$T/bad" "$T/bad.err"; fi
finish
