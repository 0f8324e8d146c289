# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Files of the program that show the registry: git's, an editor's, of every format; from inside, from outside, after a crash.
. "$STAGE/e2e/lib.sh"

{
  printf 'kapsel: 1\nname: settings\nversion: "1"\nentry: {command: [/bin/sh], cwd: /}\ncontents:\n'
  printf '  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/mv, /bin/rm, /bin/sed, /bin/chmod, /usr/bin/stat, /bin/sleep, /usr/bin/git, /bin/ln]\n'
  cat <<'M'
  - file: {path: /etc/app.ini, text: "; kept\n[ui]\ntheme=light   ; note\nown=1\n"}
  - file: {path: /etc/app.json, text: "{\n  \"ui\": {\"size\": 1, \"list\": [1, 2]}\n}\n"}
registry:
  values:
    - {key: 'HKCU\Software\App\ui', name: theme, type: REG_SZ, data: dark}
    - {key: 'HKCU\Software\App\ui', name: size, type: REG_DWORD, data: 12}
    - {key: 'HKCU\Software\Git\user', name: name, type: REG_SZ, data: A U Thor}
    - {key: 'HKCU\Software\Env', name: EDITOR, type: REG_SZ, data: vi -n}
  projections:
    - {file: /etc/app.ini, format: ini, key: 'HKCU\Software\App'}
    - {file: /etc/app.json, format: json, key: 'HKCU\Software\App'}
    - {file: /etc/app.xml, format: xml, key: 'HKCU\Software\App'}
    - {file: /etc/app.env, format: env, key: 'HKCU\Software\Env'}
    - {file: /etc/app.conf, format: plain, key: 'HKCU\Software\Env'}
    - {file: /etc/deep/er/keyfile, format: keyfile, key: 'HKCU\Software\App'}
    - {file: /root/.wine/user.reg, format: wine, key: 'HKCU'}
    - {file: /etc/gitconfig, format: ini, key: 'HKCU\Software\Git'}
M
} >"$T/settings.yaml"
try "$KAPSEL" pack --quiet "$T/settings.yaml" -o "$T/settings.kapsel"
[ "$status" = 0 ] || { not_ok "packing" "$T/err"; finish; }

run() { # INSTANCE SCRIPT
  try "$KAPSEL" run --instance "$1" "$T/settings.kapsel" -- /bin/sh -c "$2"
}
query() { # INSTANCE KEY NAME: its data
  try "$KAPSEL" reg query "$1" "$2" /v "$3"
  sed -n 's/^    [^ ].*    REG_[A-Z_]*    //p' "$T/out" >"$T/data" && mv "$T/data" "$T/out"
}
add() { # INSTANCE KEY NAME TYPE DATA
  try "$KAPSEL" reg add "$1" "$2" /v "$3" /t "$4" /d "$5" /f
  [ "$status" = 0 ] || not_ok "reg add $3" "$T/err"
}

run one 'for f in ini json xml env conf deep/er/keyfile; do case $f in */*) cat /etc/$f;; *) cat /etc/app.$f;; esac; done'
expect_out '; kept
[ui]
theme=dark   ; note
own=1
size=12
{
  "ui": {"size": 12, "list": [1, 2], "theme": "dark"}
}
<settings>
  <ui>
    <size>12</size>
    <theme>dark</theme>
  </ui>
</settings>
EDITOR='"'vi -n'"'
EDITOR vi -n
[ui]
size=12
theme='"'dark'" "a file shows what the registry of the image says, in its own text"
run one 'sed -n "/Software..Env/{p;n;p}" /root/.wine/user.reg'
expect_out '[Software\\Env]
"EDITOR"="vi -n"' "and all of a hive"

add one 'HKCU\Software\App\ui' theme REG_SZ blue
run one 'sed -n 3p /etc/app.ini; stat -c %a /etc/app.ini'
expect_out 'theme=blue   ; note
644' "what kapsel reg adds is there at the next start"
run one 'echo "size=30" >>/etc/app.ini; cat /etc/app.json'
# The name is there twice now: a list, to the registry.
query one 'HKCU\Software\App\ui' size
expect_out '12\030' "a name twice is a list"
run one 'sed -i -e "/size=30/d" -e s/=12/=13/ -e s/=blue/=red/ /etc/app.ini; cat /etc/app.json; sed -n 3p /etc/deep/er/keyfile'
expect_out '{
  "ui": {"size": ["13"], "list": [1, 2], "theme": "red"}
}
theme='"'red'" "what a program writes shows in its other files at once"
run one 'sed s/red/green/ /etc/app.json >/etc/new && mv /etc/new /etc/app.json; cat /etc/app.ini'
expect_out '; kept
[ui]
theme=green   ; note
own=1
size=13' "a file renamed over it"
run one 'sed -i s/=13/=14/ /etc/app.ini; cat /proc/registry/HKEY_CURRENT_USER/Software/App/ui/theme; echo; echo -n pink >/proc/registry/HKEY_CURRENT_USER/Software/App/ui/theme; sed -n 3p /etc/app.ini; sed -i s/pink/green/ /etc/app.ini; cat /proc/registry/HKEY_CURRENT_USER/Software/App/ui/theme; echo'
expect_out "green
theme=pink   ; note
green" "the tree and the files show each other's changes at once"
run one 'i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo -n $i >/proc/registry/HKEY_CURRENT_USER/Software/App/ui/theme; { read -r a; read -r a; read -r a; } </etc/app.ini; [ "${a%% *}" = "theme=$i" ] || echo "$i: $a"; done
echo -n green >/proc/registry/HKEY_CURRENT_USER/Software/App/ui/theme; sed -n 3p /etc/app.ini'
expect_out 'theme=green   ; note' "and so they do 300 times"
query one 'HKCU\Software\App\ui' theme
expect_out green "and it is in the registry"

if [ -x /usr/bin/git ]; then
  run git 'git config --system user.name; git config --system core.editor "vi # x"; git config --system remote.origin.url https://x/; git config --system --list'
  expect_out 'A U Thor
user.name=A U Thor
core.editor=vi # x
remote.origin.url=https://x/' "git reads and writes its configuration"
  query git 'HKCU\Software\Git\remote\origin' url
  expect_out https://x/ "in the registry"
  add git 'HKCU\Software\Git\remote\origin' url REG_SZ https://y/
  run git 'git config --system remote.origin.url; git config --system --unset core.editor; git config --system --get-all core.editor; cat /etc/gitconfig'
  expect_out 'https://y/
[user]
name = A U Thor
[remote "origin"]
	url = https://y/' "and back"
  try "$KAPSEL" reg query git 'HKCU\Software\Git\core' /v editor
  expect_status 125 "what git unsets is deleted"
else
  skip "git" "it is not here"
fi

# While it runs.
"$KAPSEL" run --instance live "$T/settings.kapsel" -- /bin/sh -c 'echo A=1 >>/etc/app.env; echo up; while [ ! -e /stop ]; do sleep 0.05; done; cat /etc/app.env' >"$T/live" 2>"$T/live.err" &
wait_for grep -q up "$T/live"
query live 'HKCU\Software\Env' A
expect_out 1 "what a running program wrote is in the registry for who asks from outside"
add live 'HKCU\Software\Env' A REG_SZ 2
add live 'HKCU\Software\Env' B REG_SZ 'x y'
"$KAPSEL" exec live -- /bin/sh -c ': >/stop' 2>>"$T/live.err"
wait
status=0
mv "$T/live" "$T/out"
expect_out "up
EDITOR='vi -n'
A=2
B='x y'" "and the other way round"

# kill -9 between a program's writing and anything else.
"$KAPSEL" run --instance killed "$T/settings.kapsel" -- /bin/sh -c 'cat /etc/app.env; echo "A=1" >>/etc/app.env; echo written; kill -9 $PPID; sleep 60' >"$T/out" 2>"$T/err" &
pid=$!
wait_for grep -q written "$T/out"
kill -9 "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
sleep 1
run killed 'cat /etc/app.env'
expect_out "EDITOR='vi -n'
A=1" "what was written before a crash is not lost"
query killed 'HKCU\Software\Env' A
expect_out 1 "and is in the registry after the next start"

# Both sides at once.
run both 'cat /etc/app.ini >/dev/null; exec 4<>/etc/app.ini; sed s/dark/mine/ /etc/app.ini >/tmp/x; cat /tmp/x >&4; cat /etc/app.json >/dev/null; sed s/dark/json/ /etc/app.json >/tmp/y; cat /tmp/y >/etc/app.json; cat /etc/app.xml >/dev/null; exec 4>&-; sed -n 3p /etc/app.ini'
if [ "$status" = 0 ] && grep -q "^kapsel: .*/etc/app.ini.*theme: changed on both sides: 'mine' of the file replaces 'json' of the registry" "$T/err" &&
  [ "$(cat "$T/out")" = 'theme=mine   ; note' ]; then
  ok "a value that both changed: the later one counts, and the user is told"
else
  not_ok "both sides" "$T/out" "$T/err"
fi

run broken 'echo "{" >/etc/app.json; cat /etc/app.ini /etc/app.json'
expect_out '; kept
[ui]
theme=dark   ; note
own=1
size=12
{' "a text that cannot be read stays"
if grep -q '^kapsel: .*/etc/app.json: not taken into the registry: json: line 2' "$T/err"; then ok "and the user is told"; else not_ok "not told" "$T/err"; fi
run broken 'rm /etc/app.json; ls /etc/app.json 2>/dev/null; cat /etc/app.env; rm /etc/app.env; ls /etc/app.env'
[ "$status" = 2 ] && ok "a file that is removed is gone" || not_ok "removed" "$T/out" "$T/err"
try "$KAPSEL" reg query broken 'HKCU\Software\Env' /v EDITOR
expect_status 125 "and so are its values"

# What is rendered is nobody's change: a new version of the image brings its own text to it.
image() { # VERSION TEXT
  {
    printf 'kapsel: 1\nname: app\nversion: "%s"\nentry: {command: [/bin/sh], cwd: /}\ncontents:\n' "$1"
    printf '  - elf: [/bin/sh, /bin/cat]\n  - file: {path: /etc/app.ini, text: "%s"}\nregistry:\n' "$2"
    printf "  projections: [{file: /etc/app.ini, format: ini, key: 'HKCU\\\\App'}, {file: /etc/new.ini, format: ini, key: 'HKCU\\\\App'}]\n"
  } >"$T/app-$1.yaml"
  try "$KAPSEL" pack --quiet "$T/app-$1.yaml" -o "$T/app-$1.kapsel"
  [ "$status" = 0 ] || not_ok "packing version $1" "$T/err"
}
app() { # VERSION SCRIPT
  try "$KAPSEL" run --instance up "$T/app-$1.kapsel" -- /bin/sh -c "$2"
}
image 1 'theme=light\nsize=1\n'
image 2 '; new\nsize=1\ntheme=light\n'
app 1 'cat /etc/app.ini'
add up 'HKCU\App' theme REG_SZ dark
app 1 'cat /etc/app.ini /etc/new.ini'
expect_out 'theme=dark
size=1
theme = dark' "an instance shows its registry in a file of the image, and in a new one"
try "$KAPSEL" diff up
if [ "$status" = 0 ] && [ "$(grep -c theme "$T/out")" = 1 ] && [ "$(wc -l <"$T/out")" = 1 ]; then ok "diff tells the value, and does not count what is rendered"; else not_ok "diff" "$T/out" "$T/err"; fi
try "$KAPSEL" clone up own
app 1 'echo "; mine" >>/etc/app.ini'
try "$KAPSEL" diff up
if grep -q '^M file .* /etc/app.ini ' "$T/out" && [ "$(wc -l <"$T/out")" = 2 ]; then ok "but what is not the registry's"; else not_ok "diff" "$T/out" "$T/err"; fi
try "$KAPSEL" upgrade up "$T/app-2.kapsel"
if [ "$status" = 125 ] && grep -q '^C /etc/app.ini' "$T/out"; then ok "which is a conflict in an upgrade"; else not_ok "a conflict" "$T/out" "$T/err"; fi
try "$KAPSEL" upgrade own "$T/app-2.kapsel"
expect_out 'own: 1 change kept, 0 conflicts' "an upgrade has no conflict where all is rendered"
try "$KAPSEL" run --instance own "$T/app-2.kapsel" -- /bin/cat /etc/app.ini /etc/new.ini
expect_out '; new
size=1
theme=dark
theme = dark' "and the new image's text shows the registry"

# The host's files are no place for one.
mkdir -p "$T/shared"
try "$KAPSEL" run --rm --bind "$T/shared:/etc/deep/er" "$T/settings.kapsel" -- /bin/sh -c 'ls /etc/deep/er; cat /etc/deep/er/keyfile 2>/dev/null; cat /etc/app.env'
expect_out "EDITOR='vi -n'" "none among the host's files"
if grep -q "/etc/deep/er/keyfile: no projection" "$T/err"; then ok "which is told"; else not_ok "not told" "$T/err"; fi
finish
