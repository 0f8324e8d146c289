# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What an image calls configuration: the instance is copied before the first change of it in a run, and undo goes back there.
. "$STAGE/e2e/lib.sh"

cat >"$T/app.yaml" <<'END'
kapsel: 1
name: app
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/mkdir, /bin/mv, /bin/rm, /bin/ln, /bin/chmod, /bin/dd, /usr/bin/touch, /usr/bin/truncate]
  - file: {path: /etc/app.conf, text: "old\n"}
  - file: {path: /etc/app.d/one, text: "old\n"}
  - file: {path: /etc/other, text: "old\n"}
config: [/etc/app.conf, /etc/app.d, 'HKCU\Software\App', /etc/shown.ini]
registry:
  values:
    - {key: 'HKCU\Software\App', name: Theme, type: REG_SZ, data: dark}
    - {key: 'HKCU\Software\Shown', name: Size, type: REG_SZ, data: "1"}
  projections: [{file: /etc/shown.ini, format: ini, key: 'HKCU\Software\Shown'}]
END
try "$KAPSEL" pack --quiet "$T/app.yaml" -o "$T/app.kapsel"
expect_status 0 "an image with tags is packed"
in_i() { # INSTANCE SHELL-TEXT
  try "$KAPSEL" run --instance "$1" "$T/app.kapsel" -- /bin/sh -c "$2"
}
snapshots() { # INSTANCE: how many
  "$KAPSEL" snapshot list "$1" | grep -c automatic
}

in_i a 'echo 1 >/data; cat /etc/app.conf /proc/registry/HKEY_CURRENT_USER/Software/App/Theme; echo x >/etc/other; ls /etc/app.d; mkdir -p /etc; chmod 700 /etc; cat </etc/shown.ini >/dev/null'
if [ "$status" = 0 ] && [ "$(snapshots a)" = 0 ]; then ok "reading it, and changing other files, makes no snapshot"; else not_ok "no snapshot without a change" "$T/out" "$T/err"; fi
in_i a 'echo 2 >/data; echo new >/etc/app.conf; echo 3 >/data; echo newer >/etc/app.conf; rm /etc/app.d/one'
if [ "$status" = 0 ] && [ "$(snapshots a)" = 1 ]; then ok "one is made before the first change in a run, and no more"; else not_ok "one snapshot" "$T/out" "$T/err"; fi
try "$KAPSEL" snapshot list a
if grep -q 'automatic *before the first change of /etc/app.conf$' "$T/out"; then ok "it says of what"; else not_ok "it says of what" "$T/out"; fi
try "$KAPSEL" undo a
if [ "$status" = 0 ] && grep -q 'as it was before the first change of /etc/app.conf' "$T/out"; then ok "undo goes there"; else not_ok "undo goes there" "$T/out" "$T/err"; fi
in_i a 'cat /data /etc/app.conf /etc/app.d/one'
expect_out "2
old
old" "all is as it was at that moment"

n=0
each() { # WHAT SHELL-TEXT: in an instance of its own
  n=$((n + 1))
  in_i "e$n" "$2"
  if [ "$status" = 0 ] && [ "$(snapshots "e$n")" = 1 ]; then ok "before $1"; else not_ok "before $1" "$T/out" "$T/err"; fi
}
each "a file in a tagged directory is made" 'echo x >/etc/app.d/two'
each "one is removed" 'rm /etc/app.d/one'
each "one is renamed" 'mv /etc/app.conf /etc/app.old'
each "another takes its name" 'echo x >/etc/t; mv /etc/t /etc/app.conf'
each "a directory above it is renamed" 'mv /etc /conf'
each "it is linked over" 'ln -sf /etc/other /etc/app.conf'
each "its mode is changed" 'chmod 600 /etc/app.conf'
each "it is cut off" 'truncate -s 1 /etc/app.conf'
each "a directory is made" 'mkdir /etc/app.d/sub'
reg=/proc/registry/HKEY_CURRENT_USER
each "a value is written" "echo light >$reg/Software/App/Theme"
each "a value is made" "echo light >$reg/software/APP/new"
each "a key is made" "mkdir $reg/Software/App/Sub"
each "a value is removed" "rm $reg/Software/App/Theme"
each "the key of a tagged projection is written" "echo 2 >$reg/Software/Shown/Size"
each "a tagged projection is written" "cat /etc/shown.ini >/dev/null; echo '[x]' >>/etc/shown.ini"
in_i r "echo light >$reg/Software/App/Theme"
try "$KAPSEL" undo r
in_i r "cat $reg/Software/App/Theme; echo"
expect_out dark "undo of a value"

# Two processes at once, while a third one runs.
in_i p 'i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo $i >/beat; done & echo a >/etc/app.conf & echo b >/etc/app.d/one & wait; cat /etc/app.conf /etc/app.d/one /beat'
expect_out "a
b
200" "two that change it at once, beside one that goes on"
if [ "$(snapshots p)" = 1 ]; then ok "make one snapshot"; else not_ok "make one snapshot"; fi
try "$KAPSEL" run --rm "$T/app.kapsel" -- /bin/sh -c 'echo x >/etc/app.conf'
expect_status 0 "a throw-away instance just changes it"

for wrong in "config: [etc/app]|no key below" "config: [/a/../b]|absolute path without" "config: /etc|a list"; do
  { grep -v '^config:' "$T/app.yaml" && echo "${wrong%%|*}"; } >"$T/wrong.yaml"
  try "$KAPSEL" pack --quiet "$T/wrong.yaml" -o "$T/wrong.kapsel"
  if [ "$status" = 125 ] && grep -qE "${wrong#*|}" "$T/err" && [ ! -e "$T/wrong.kapsel" ]; then ok "${wrong%%|*} is refused"; else not_ok "${wrong%%|*} is refused" "$T/err"; fi
done
finish
