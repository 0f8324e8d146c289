# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The registry: packed, layered, as files, by commands, beside a run.
. "$STAGE/e2e/lib.sh"

reg() {
  try "$KAPSEL" reg "$@"
}

# WHAT: the whole of standard output, from standard input
expect_text() {
  cat >"$T/wanted"
  if [ "$status" = 0 ] && cmp -s "$T/wanted" "$T/out"; then ok "$1"; else not_ok "$1: exit $status" "$T/wanted" "$T/out" "$T/err"; fi
}

value() { # TARGET KEY NAME WANTED WHAT: its data, by the command
  reg query "$1" "$2" /v "$3"
  if [ "$status" = 0 ] && sed -n 's/^    .*    REG_[A-Z_]*    //p' "$T/out" | grep -qxF -- "$4"; then ok "$5"; else not_ok "$5: $4 was expected" "$T/out" "$T/err"; fi
}

inside() { # INSTANCE SCRIPT
  try "$KAPSEL" run --instance "$1" "$T/app.kapsel" -- /bin/sh -c "$2"
}

cat >"$T/defaults.reg" <<'END'
Windows Registry Editor Version 5.00

[HKEY_CURRENT_USER\Software\App]
@="the default"
"Theme"="light"
"Size"=dword:0000000c
"a/b%c"="odd name"

[HKEY_CURRENT_USER\Environment]
"GREETING"="hello"
"WHERE"=hex(2):25,00,48,00,4f,00,4d,00,45,00,25,00,2f,00,25,00,4e,00,4f,00,25,\
  00,00,00
END
cat >"$T/app.yaml" <<'END'
kapsel: 1
name: app
version: "1"
entry: {command: [/bin/sh], env: {GREETING: "from the manifest"}}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/cp, /bin/mv, /bin/rm, /bin/mkdir, /bin/rmdir, /bin/grep, /usr/bin/env, /usr/bin/stat, /bin/sleep, /bin/dd]
registry:
  import: [defaults.reg]
  values: [{key: 'HKCU\Software\App', name: Fonts, type: REG_MULTI_SZ, data: [Sans, Mono]}]
  modes: {'HKLM\Software\Shared': merged}
END
try "$KAPSEL" pack --quiet "$T/app.yaml" -o "$T/app.kapsel"
expect_status 0 "an image with a registry is packed"
try "$KAPSEL" verify "$T/app.kapsel"
expect_status 0 "it is whole"
try "$KAPSEL" inspect "$T/app.kapsel"
if grep -qx 'registry  4 keys, 7 values' "$T/out"; then ok "inspect shows it"; else not_ok "inspect shows it" "$T/out"; fi

# --- commands ---
reg query "$T/app.kapsel" 'hkcu\software\app'
expect_text "query prints as reg.exe does" <<'END'

HKEY_CURRENT_USER\Software\App
    (Default)    REG_SZ    the default
    a/b%c    REG_SZ    odd name
    Fonts    REG_MULTI_SZ    Sans\0Mono
    Size    REG_DWORD    0xc
    Theme    REG_SZ    light

END
reg add "$T/app.kapsel" 'HKCU\Software\App' /v x /d y
expect_err_line 'an image is not changed' "an image is not changed"
inside one 'echo "$GREETING $WHERE"'
expect_out "hello $HOME/%NO%" "HKCU\\Environment is in the environment, expanded"
reg add one 'HKCU\Software\App' /v Theme /d dark
expect_err_line 'Theme: exists already$' "a value is not replaced unasked"
reg add one 'HKCU\Software\App' --value Theme --data dark --force
expect_status 0 "but with --force"
value one 'HKCU\Software\App' theme dark "and it is there, whatever the case"
value "$T/app.kapsel" 'HKCU\Software\App' Theme light "the image has its own still"
reg add one 'HKCU\Software\New\Key' /ve /t REG_EXPAND_SZ /d '%HOME%'
reg query one 'HKCU\Software' /s --json
if grep -q '"name":"","type":"REG_EXPAND_SZ","data":"%HOME%","layer":"instance"' "$T/out" && grep -q '"data":\["Sans","Mono"\],"layer":"image"' "$T/out"; then
  ok "query --json"
else
  not_ok "query --json" "$T/out" "$T/err"
fi
reg export one 'HKCU\Software' "$T/out.reg"
expect_status 0 "export"
try "$KAPSEL" clone one copy
reg delete copy 'HKCU\Software' /f
reg query copy 'HKCU\Software\App'
expect_err_line 'no such key' "a deleted key hides the image's; a clone has a registry of its own"
reg import copy "$T/out.reg"
reg export one HKCU "$T/a.reg" --utf8
reg export copy HKCU "$T/b.reg" --utf8
if cmp -s "$T/a.reg" "$T/b.reg" && [ -s "$T/a.reg" ]; then ok "what was exported is imported"; else not_ok "what was exported is imported" "$T/a.reg" "$T/b.reg"; fi
printf 'REGEDIT4\n[HKEY_CURRENT_USER\\x]\n"a"=oops\n' >"$T/bad.reg"
reg import one "$T/bad.reg"
expect_err_line 'bad.reg:3: a value was expected' "a bad file's line is named"
reg query one 'HKCU\x'
expect_err_line 'no such key' "and nothing of it was done"

# --- files ---
inside one 'cd /proc/registry/HKEY_CURRENT_USER/Software/App && ls && cat @ Theme Size && echo'
expect_out "@
Fonts
Size
Theme
a%2Fb%25c
the defaultdark12" "keys are directories, values are files"
inside one 'cd /proc/registry/HKEY_CURRENT_USER/Software/App && echo -n blue >Theme && cat Theme && echo 77 >Size && cat Size && stat -c %s Size'
expect_out "blue772" "what is written is read"
value one 'HKCU\Software\App' Size 0x4d "and is in the registry, with its type"
inside one 'cd /proc/registry/HKEY_CURRENT_USER/Software && mkdir A && echo -n 1 >A/x && echo -n 2 >A/y && mv A/x A/z && rmdir A 2>/dev/null || ls A; rm A/y A/z && rmdir A && ls'
expect_out "y
z
App
New" "mkdir, create, mv, rm, rmdir"
inside one 'cd /proc/registry && grep -rl blue . && cp -r HKEY_CURRENT_USER/Software/App HKEY_LOCAL_MACHINE/Copied && cat HKEY_LOCAL_MACHINE/Copied/Fonts'
expect_out "./HKEY_CURRENT_USER/Software/App/Theme
Sans
Mono" "grep -r, cp -r"
inside one 'cd /proc/registry && mkdir HKEY_OTHER; echo x >x; cat HKEY_CURRENT_USER/Software/None; rmdir HKEY_CURRENT_USER'
for why in 'HKEY_OTHER.*Operation not permitted' 'x: Operation not permitted' 'None: No such file or directory' 'HKEY_CURRENT_USER.*Directory not empty'; do
  if grep -q "$why" "$T/err"; then ok "error: $why"; else not_ok "error: $why" "$T/err"; fi
done
inside one 'cd /proc/registry/HKEY_CURRENT_USER && dd if=/dev/zero bs=1024 count=1024 2>/dev/null of=big && stat -c %s big'
expect_out 1048576 "a value of 1 MiB"
inside one 'cd /proc/registry/HKEY_CURRENT_USER && dd if=/dev/zero bs=1024 count=17000 2>/dev/null of=big; stat -c %s big'
expect_out 1048576 "a longer one than 16 MiB is not taken"
if grep -qx 'kapsel: .*/proc/registry/HKEY_CURRENT_USER/big: what was written is not taken into the registry: it is longer than 16 MiB' "$T/err"; then
  ok "which is told"
else
  not_ok "which is told" "$T/err"
fi
: >"$T/run.out" # not what the one before said
"$KAPSEL" run --instance many "$T/app.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER; i=0; while [ $i -lt 30 ]; do mkdir k$i; echo -n $i >k$i/v; i=$((i + 1)); done; cat k*/v >/all; echo ready; sleep 300' >"$T/run.out" 2>&1 &
runner=$!
wait_for grep -q ready "$T/run.out"
if [ "$(find "$XDG_RUNTIME_DIR" /dev/shm /tmp -path '*/dirs/proc/registry/*' -name v 2>/dev/null | wc -l)" = 0 ] && grep -q ready "$T/run.out"; then
  ok "what has become a value is no file any more"
else
  not_ok "files stay" "$T/run.out"
fi
"$KAPSEL" stop --time 0 many 2>"$T/err"
wait "$runner" 2>/dev/null

long=$(printf '%0300d' 0) name=$(printf '%0255d' 7)
reg add one 'HKCU\Long' /v "x/%$long" /d "a long name" /f
reg add one "HKCU\\Long\\$name\\Below" /v y /d below /f
inside one 'cd /proc/registry/HKEY_CURRENT_USER/Long && for f in x*; do cat "$f" && echo && echo -n changed >"$f"; done; cd 0* && cat Below/y && echo && pwd | { read -r p; echo ${#p}; } && mkdir Below/z && ls Below'
expect_out "a long name
below
289
y
z" "names that are too long for a file have short ones"
value one 'HKCU\Long' "x/%$long" changed "under which they are changed"
inside one 'cd /proc/registry/HKEY_CURRENT_USER/ && mv Software/App Moved && mv Moved Software/App && cat Software/App/Theme'
value one 'HKCU\Software\App' Size 0x4d "a key is moved with all in it, and its types"

# --- beside a run ---
: >"$T/run.out" # not what the one before said
"$KAPSEL" run --instance one "$T/app.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER/Software/App; echo -n inside >Theme; echo ready; while [ "$(cat Theme)" = inside ]; do sleep 0.1; done; cat Theme' >"$T/run.out" 2>&1 &
runner=$!
wait_for grep -q ready "$T/run.out"
value one 'HKCU\Software\App' Theme inside "a command outside sees what a guest wrote"
reg add one 'HKCU\Software\App' /v Theme /d outside /f
wait "$runner"
if [ "$(cat "$T/run.out")" = "ready
outside" ]; then ok "and the guest what the command wrote"; else not_ok "and the guest what the command wrote" "$T/run.out"; fi

# --- a killed run: what a guest had written is a value at the next start ---
: >"$T/run.out" # not what the one before said
"$KAPSEL" run --instance one "$T/app.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER/Software/App; exec 3>Theme; printf kept >&3; echo ready; sleep 300' >"$T/run.out" 2>&1 &
runner=$!
wait_for grep -q ready "$T/run.out"
supervisor=$(cut -d ' ' -f 1 "/proc/$runner/task/$runner/children") # the front's one child
kill -9 "$supervisor" "$runner"
wait "$runner" 2>/dev/null
wait_for "$KAPSEL" reg query one HKCU >/dev/null # the supervisor is no child of ours
reg query one 'HKCU\Software\App' /v Theme
grep -qE 'Theme +REG_SZ +(outside|kept)$' "$T/out" && ok "a run that was killed leaves the registry whole" || not_ok "a run that was killed leaves the registry whole" "$T/out" "$T/err"
inside one 'cat /proc/registry/HKEY_CURRENT_USER/Software/App/Theme && echo'
expect_out "kept" "what a killed run had staged is kept"

# --- policy, sharing ---
mkdir -p "$HOME/.config/kapsel/profiles"
chmod 0700 "$HOME/.config/kapsel"
cat >"$HOME/.config/kapsel/profiles/strictly.yaml" <<'END'
kapsel: 1
include: portable
registry: [{key: 'HKCU\Software\App', name: Theme, type: REG_SZ, data: corporate}]
END
try "$KAPSEL" run --rm --profile strictly "$T/app.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER/Software/App; cat Theme; echo x >Theme; rm Theme; cat Theme'
if [ "$(cat "$T/out")" = corporatecorporate ] && grep -q 'Theme: Permission denied' "$T/err"; then ok "a policy wins, and is not changed"; else not_ok "a policy wins, and is not changed" "$T/out" "$T/err"; fi
reg add one 'HKCU\Software\App' /v Theme /d x /f --profile strictly
expect_err_line 'a policy of the profile' "nor by the command"
sed 's/include: portable/include: isolated/' "$HOME/.config/kapsel/profiles/strictly.yaml" >"$HOME/.config/kapsel/profiles/portable.yaml"
reg add one 'HKCU\Software\App' /v Theme /d x /f
expect_err_line 'a policy of the profile' "that of the default profile holds where none is named"
rm "$HOME/.config/kapsel/profiles/portable.yaml"
inside one 'mkdir /proc/registry/HKEY_LOCAL_MACHINE/Software/Shared/both && echo -n yes >/proc/registry/HKEY_LOCAL_MACHINE/Software/Shared/both/seen'
inside two 'cat /proc/registry/HKEY_LOCAL_MACHINE/Software/Shared/both/seen && echo'
expect_out yes "mode merged: one instance sees what another wrote"
inside two 'cat /proc/registry/HKEY_CURRENT_USER/Software/App/Theme && echo'
expect_out light "mode full: each has its own"
try "$KAPSEL" run --rm --profile isolated "$T/app.kapsel" -- /bin/sh -c 'ls /proc/registry/HKEY_LOCAL_MACHINE'
expect_status 0 "a profile's forced full binds keys, too"
if [ ! -s "$T/out" ]; then ok "nothing shared is seen"; else not_ok "nothing shared is seen" "$T/out"; fi

# --- two writers inside and the command outside: nothing is lost ---
"$KAPSEL" run --instance two "$T/app.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER; mkdir A B
  (i=0; while [ $i -lt 40 ]; do echo -n $i >A/v$i; i=$((i + 1)); done) &
  i=0; while [ $i -lt 40 ]; do echo -n $i >B/v$i; i=$((i + 1)); done; wait' >"$T/run.out" 2>&1 &
runner=$!
n=0
while [ $n -lt 20 ]; do
  "$KAPSEL" reg add two 'HKCU\C' /v "v$n" /d "$n" >/dev/null 2>&1 || : # not before the instance is there
  n=$((n + 1))
done
wait "$runner"
n=0
while [ $n -lt 20 ]; do
  "$KAPSEL" reg add two 'HKCU\C' /v "v$n" /d "$n" /f >/dev/null 2>&1
  n=$((n + 1))
done
reg query two HKCU /s
if [ "$(grep -c '^    v[0-9]' "$T/out")" = 100 ]; then ok "two writers and the command lose nothing"; else not_ok "two writers and the command lose nothing" "$T/out" "$T/err" "$T/run.out"; fi


# --- diff, discard and a new image ---
cat >"$T/d.yaml" <<'END'
kapsel: 1
name: d
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/rm, /bin/mkdir]
registry:
  values:
    - {key: 'HKCU\App', name: Theme, type: REG_SZ, data: dark}
    - {key: 'HKCU\App', name: Gone, type: REG_SZ, data: old}
    - {key: 'HKCU\App', name: Same, type: REG_SZ, data: same}
    - {key: 'HKCU\Tree\Sub', name: x, type: REG_SZ, data: y}
END
try "$KAPSEL" pack --quiet "$T/d.yaml" -o "$T/d.kapsel"
in_d() { try "$KAPSEL" run --instance d "$T/d.kapsel" -- /bin/sh -c "cd /proc/registry/HKEY_CURRENT_USER; $1"; }
in_d 'printf light >App/Theme; rm App/Gone; printf same >App/Same; printf new >App/New; rm Tree/Sub/x; echo f >/f'
try "$KAPSEL" reg delete d 'HKCU\Tree' --force
try "$KAPSEL" diff d
cat >"$T/wanted" <<'END'
A file 2 /f
A value 3 HKCU\App\New
D key - HKCU\Tree
D value 3 HKCU\App\Gone
M value 5 HKCU\App\Theme was 4
END
sed -E 's/ +/ /g' "$T/out" | LC_ALL=C sort >"$T/seen"
if [ "$status" = 0 ] && cmp -s "$T/wanted" "$T/seen"; then ok "diff lists what changed in the registry"; else not_ok "diff lists what changed in the registry" "$T/seen" "$T/err"; fi
try "$KAPSEL" diff --unified d
if grep -A4 '^--- below HKCU.App.Theme$' "$T/out" | tail -2 | tr '\n' ' ' | grep -q '^-dark +light'; then ok "diff --unified shows values"; else not_ok "diff --unified shows values" "$T/out" "$T/err"; fi
try "$KAPSEL" diff --json d
if python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(sum("key" in e for e in d) != 4)' "$T/out" 2>"$T/err"; then ok "diff --json has them"; else not_ok "diff --json has them" "$T/out" "$T/err"; fi
try "$KAPSEL" diff d /f
expect_out "A file             2 /f" "with a path only that is told"
try "$KAPSEL" commit d --to-image "$T/d2.kapsel"
try "$T/d2.kapsel" -c 'cd /proc/registry/HKEY_CURRENT_USER; cat App/Theme App/New App/Same; [ -e App/Gone ] || [ -e Tree ] || echo; cat /f'
expect_out "lightnewsame
f" "a new image has the registry with the changes"
try "$KAPSEL" commit d --to-image "$T/d3.kapsel" /f
try "$KAPSEL" run --rm "$T/d3.kapsel" -- /bin/sh -c 'cd /proc/registry/HKEY_CURRENT_USER; cat App/Theme; echo; cat App/Gone; echo; cat /f'
expect_out "dark
old
f" "where paths are named, the layers' registry alone"
try "$KAPSEL" discard d
expect_out "d: 5 changes discarded" "discard drops them"
in_d 'cat App/Theme; echo; cat Tree/Sub/x; echo; [ -e App/New ] || echo none'
expect_out "dark
y
none" "and what lies below shows again"
try "$KAPSEL" undo d
in_d 'cat App/Theme; echo; [ -e Tree ] || echo none'
expect_out "light
none" "undo brings them back"
finish
