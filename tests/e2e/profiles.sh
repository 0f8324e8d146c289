# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Profiles: what each shipped one grants of files and variables, and the user's own. TAP.
. "$STAGE/e2e/lib.sh"

small_image p /bin/mv /bin/rm /bin/mkdir /usr/bin/env /bin/sleep
mkdir -p "$HOME/docs" "$HOME/.config/app" "$T/work"
printf 'rc\n' >"$HOME/.rc" && printf 'doc\n' >"$HOME/docs/d" && printf 'work\n' >"$T/work/w"
cd "$T/work" || exit 1
run() { # OPTIONS... TEXT
  options=
  while [ $# -gt 1 ]; do options="$options $1" && shift; done
  # shellcheck disable=SC2086 # words
  try "$KAPSEL" run --rm $options "$T/p.kapsel" -- /bin/sh -c "$1"
}

# --- portable: the default ---
run 'pwd; cat w "$HOME/docs/d" "$HOME/.rc"; echo new >n; echo new >"$HOME/docs/n"; echo new >"$HOME/.n"; echo changed >"$HOME/.rc"; rm -r "$HOME/.config/app"; cat "$HOME/.rc"; ls -A "$HOME"'
expect_out "$(printf '%s\nwork\ndoc\nrc\nchanged\n.cache\n.config\n.local\n.n\n.rc\ndocs' "$T/work")" 'portable: home and current directory are there, and the guest starts in it'
try sh -c 'cat n "$HOME/docs/n" "$HOME/.rc"; ls -d "$HOME/.config/app"; ls -A "$HOME"'
expect_out "$(printf 'new\nnew\nrc\n%s/.config/app\n.cache\n.config\n.local\n.rc\ndocs' "$HOME")" 'portable: what it makes is on the host, what it does to dot entries is not'
run 'ls -d /var/lib/dpkg /usr/share/doc /root/.profile 2>/dev/null; echo end'
expect_out end 'portable: the rest of the host is not there'
run 'mkdir ~/.d && mv ~/.d ~/d; ls -d ~/d; ls ~/.local/share ~/.cache'
try ls -d "$HOME/d"
expect_out "$HOME/d" 'portable: a dot entry is moved out of hiding by a copy'
mkdir "$HOME/.hid" && cd "$HOME/.hid" || exit 1
run 'echo x >x'
try cat x
expect_out x 'portable: the current directory is merged, in a dot entry too'
cd "$HOME" && run 'pwd; echo y >.y; echo y >y; ls -A'
try sh -c 'cat y; ls .y 2>/dev/null; echo end'
expect_out "$(printf 'y\nend')" 'portable: started in the home, its dot entries are still writecopy'
cd /etc && run 'pwd; ls /etc/fstab /etc/shadow 2>/dev/null'
cd "$T/work" || exit 1
if [ "$(cat "$T/out")" = / ]; then ok 'portable: a system directory is nobody'"'"'s current directory'; else not_ok 'portable: a system directory' "$T/out"; fi
"$KAPSEL" explain "$T/p.kapsel" "$HOME/.rc" >"$T/out"
if grep -q "writecopy, by the rule for $HOME/\.\*$" "$T/out"; then ok 'explain names the rule'; else not_ok 'explain names the rule' "$T/out"; fi

cp "$T/p.kapsel" here.kapsel
sum=$(cksum <here.kapsel)
# shellcheck disable=SC2016 # for the guest
try "$KAPSEL" run --rm here.kapsel -- /bin/sh -c 'echo x >>here.kapsel; true >here.kapsel; cat <>here.kapsel >/dev/null; mv here.kapsel moved && echo x >>moved; mv moved here.kapsel; cat here.kapsel >/dev/null && echo read'
expect_out read 'portable: the image that it runs from can be read'
if [ "$(cksum <here.kapsel)" = "$sum" ] && [ "$(grep -c 'Text file busy' "$T/err")" = 4 ]; then ok 'but not be written to'; else not_ok 'but not be written to' "$T/err"; fi
rm -f here.kapsel

# --- the others ---
for profile in isolated server; do
  run --profile $profile 'pwd; ls -A "$HOME"; ls w; ls /tmp'
  if [ "$(cat "$T/out")" = / ]; then ok "$profile: nothing of the host"; else not_ok "$profile: nothing of the host" "$T/out"; fi
done
run --profile untrusted 'pwd; cat w; echo changed >w; echo new >n2; cat w; ls -A ~; rm w; ls; sleep 100 &'
expect_out "$(printf '%s\nwork\nchanged\nn\nn2' "$T/work")" 'untrusted: sees the current directory; the home is empty'
try sh -c 'cat w; ls'
expect_out "$(printf 'work\nn\nw')" 'untrusted: nothing reaches the host'
cd / && run --profile untrusted 'pwd'
cd "$T/work" || exit 1
expect_status 125 'untrusted: started in the root it is refused'
expect_err_line '^kapsel: profile untrusted: \$CWD is not shown: ' 'with the reason'
if grep -q '^hint: .*--bind' "$T/err"; then ok 'and a hint'; else not_ok 'and a hint' "$T/err"; fi
(cd / && "$KAPSEL" run --rm --profile untrusted --bind "$T/work:/work" "$T/p.kapsel" -- /bin/cat /work/w) >"$T/out" 2>"$T/err"
status=$?
expect_out work 'untrusted: with a directory that is named'
started=$(date +%s)
try "$KAPSEL" run --profile untrusted --instance nodaemons "$T/p.kapsel" -- /bin/sh -c '(trap "" TERM; sleep 170) & echo started'
try "$KAPSEL" ps
if [ $(($(date +%s) - started)) -lt 150 ] && ! grep -q 'nodaemons.*running' "$T/out"; then ok 'untrusted: nothing outlives the program'; else not_ok 'untrusted: nothing outlives the program' "$T/out"; fi
"$KAPSEL" stop --time 0 nodaemons 2>/dev/null

# --- what an image asks for is capped ---
mkdir "$T/asked" && echo host >"$T/asked/f"
sed '1a modes: {'"$T/asked"': merged, '"$HOME/.rc"': merged, /: merged}' "$T/p.yaml" >"$T/q.yaml"
try "$KAPSEL" pack --quiet "$T/q.yaml" -o "$T/q.kapsel"
try "$KAPSEL" run --rm "$T/q.kapsel" -- /bin/sh -c "cat $T/asked/f; echo x >$T/asked/new; echo x >~/.rc; cat ~/.rc; ls /var/lib/dpkg 2>/dev/null; true"
expect_out "$(printf 'host\nx')" 'portable: an image gets the deeper directory that it asks for'
if [ -e "$T/asked/new" ] && [ "$(cat "$HOME/.rc")" = rc ]; then ok 'and no dot entry of the home'; else not_ok 'and no dot entry of the home'; fi
try "$KAPSEL" run --rm --profile isolated "$T/q.kapsel" -- /bin/sh -c "ls $T/asked 2>/dev/null; echo end"
expect_out end 'isolated: an image gets nothing of what it asks for'
try "$KAPSEL" run --rm --profile isolated --mode "$T/asked=merged" "$T/q.kapsel" -- /bin/sh -c "ls $T/asked"
expect_out "$(printf 'f\nnew')" 'the user gets what he says'

# --- the user's own profiles ---
mkdir -p "$HOME/.config/kapsel/profiles"
printf 'include: isolated\nmodes: {$CWD: writecopy}\nenv: [GRANTED, "PRE_*", LD_PRELOAD_NOT]\nnetwork: host\n' >"$HOME/.config/kapsel/profiles/mine.yaml"
# shellcheck disable=SC2016 # for the guest
GRANTED=1 PRE_A=2 PRE=3 OTHER=4 LD_X=5 run --profile mine 'cat w; echo "$GRANTED$PRE_A$PRE$OTHER$LD_X"'
expect_out "$(printf 'work\n12')" 'a profile of the user, by name: modes and variables'
printf 'env: ["*"]\n' >"$T/all.yaml"
# shellcheck disable=SC2016
GRANTED=1 LD_BIND_NOW=1 PYTHONPATH=x KAPSEL_OPTS=x run --profile "$T/all.yaml" 'echo "$GRANTED$LD_BIND_NOW$PYTHONPATH$KAPSEL_OPTS"'
expect_out 1 'by file; no pattern lets the loader'"'"'s variables in'
printf 'network: host\nmodes: {$CWD: readonly}\n' >"$T/bad.yaml"
run --profile "$T/bad.yaml" true
expect_status 125 'a bad profile is refused'
expect_err_line "^kapsel: $T/bad.yaml:2:15: modes.\\\$CWD: .readonly. is no mode: full, writecopy or merged" 'with the place'
chmod 0666 "$HOME/.config/kapsel/profiles/mine.yaml"
run --profile mine true
expect_err_line '^kapsel: .*/mine.yaml: refused: others than you can change it' 'a profile that others can write is refused'
run --profile nothing true
expect_err_line "^kapsel: profile 'nothing': there is none" 'no such profile'
run --profile "$T" true
expect_err_line 'not a profile: not a regular file' 'a directory is no profile'
run --profile isolated 'ls ~/.config 2>/dev/null; cat ~/.config/kapsel/profiles/mine.yaml 2>/dev/null; echo end'
expect_out end 'profiles are not shown'
run 'cat ~/.config/kapsel/profiles/mine.yaml 2>/dev/null; echo end'
expect_out end 'not in portable either'

# --- inspect: asked for, granted ---
sed '1a modes: {/srv/x: merged}\nrequests: {network: connect=443, desktop: [x11, dbus], devices: [/dev/dri]}' "$T/p.yaml" >"$T/r.yaml"
try "$KAPSEL" pack --quiet "$T/r.yaml" -o "$T/r.kapsel"
has() { # TEXT WHAT
  if [ "$status" = 0 ] && grep -qF -- "$1" "$T/out"; then ok "inspect: $2"; else not_ok "inspect: $2" "$T/out" "$T/err"; fi
}
try "$KAPSEL" inspect "$T/r.kapsel"
has 'asks for  network: connect=443' 'what it asks for'
has "  files   $HOME: seen and changed" 'the home in portable'
has "          $HOME/.*: seen; changes stay in the instance" 'and its dot entries'
has '/srv/x: seen and changed' 'what it asks for and gets'
has 'outward connections to the ports 443' 'the network, the less of both'
has '  desktop nothing' 'no desktop in portable'
try "$KAPSEL" inspect --profile desktop "$T/r.kapsel"
has '  desktop x11' 'desktop: what is both asked for and granted'
try "$KAPSEL" inspect --profile isolated "$T/r.kapsel"
has '  network none: no sockets' 'isolated'
has "  files   none of the host's are seen" 'isolated: no files'
(cd / && "$KAPSEL" inspect --profile untrusted "$T/r.kapsel") >"$T/out" 2>"$T/err"
status=$?
has '  files   profile untrusted: $CWD is not shown' 'that it would be refused here'
try "$KAPSEL" inspect --json --profile untrusted "$T/r.kapsel"
has '"requests": {"network": "connect=443", "desktop": ["x11", "dbus"], "devices": ["/dev/dri"]}' 'JSON, asked for'
has '"network": "none", "desktop": [], "devices": [], "limits": {"memory": 4294967296' 'JSON, granted'

# --- what runs keeps what it was granted ---
"$KAPSEL" run --instance held --profile isolated "$T/p.kapsel" -- /bin/sh -c 'echo up >/up; sleep 300' &
wait_for "$KAPSEL" exec held -- /bin/cat /up >/dev/null
try "$KAPSEL" run --instance held "$T/p.kapsel" -- /bin/cat /up
expect_out up 'an instance that runs is joined'
try "$KAPSEL" run --instance held --profile isolated "$T/p.kapsel" -- /bin/cat /up
expect_out up 'also by who grants it the same'
for other in '--profile untrusted' '--profile isolated --net host' '--profile isolated --limit processes=9'; do
  # shellcheck disable=SC2086 # words
  try "$KAPSEL" run --instance held $other "$T/p.kapsel" -- /bin/cat /up
  expect_status 125 "not with $other"
  expect_err_line '^kapsel: held: runs with other grants: profile isolated, network none' 'and why'
done
"$KAPSEL" stop --time 1 held
wait
finish
