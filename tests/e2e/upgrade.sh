# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# An instance moves to a new version of its image: three-way for each path, in one step, and back. KAPSEL_KILLS: how often it is killed.
. "$STAGE/e2e/lib.sh"

rounds=${KAPSEL_KILLS:-8}
base=$HOME/.local/share/kapsel/instances
image() { # VERSION; more of the manifest on standard input
  {
    printf 'kapsel: 1\nname: app\nversion: "%s"\nentry: {command: [/bin/sh], cwd: /}\ncontents:\n' "$1"
    printf '  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/true, /bin/mkdir, /bin/mv, /bin/rm, /bin/chmod, /usr/bin/touch, /usr/bin/stat]\n'
    while read -r path text; do printf '  - file: {path: %s, text: "%s\\n"}\n' "$path" "$text"; done
  } >"$T/app-$1.yaml"
  try "$KAPSEL" pack --quiet "$T/app-$1.yaml" -o "$T/app-$1.kapsel"
  [ "$status" = 0 ] || not_ok "packing version $1" "$T/err"
}
image 1 <<'END'
/etc/kept same
/etc/left old
/etc/both old
/etc/gone old
/etc/gone-changed old
/etc/dropped same
/etc/dropped-changed old
/etc/dropped-gone old
/etc/opened old
/etc/touched old
/etc/moved same
/etc/likewise old
/opt/p/one same
/opt/r/left old
/opt/r/both old
/opt/r/opened old
/opt/r/kept same
END
image 2 <<'END'
/etc/kept same
/etc/left new
/etc/both new
/etc/dropped same
/etc/dropped-changed new
/etc/opened new
/etc/touched new
/etc/moved same
/etc/likewise mine
/etc/made new
/etc/made-alike mine
/opt/p new
/opt/q new
/opt/r/left new
/opt/r/both new
/opt/r/opened new
/opt/r/kept same
END
run() { # VERSION SHELL-TEXT
  try "$KAPSEL" run --instance i "$T/app-$1.kapsel" -- /bin/sh -c "$2"
}

run 1 'cd /etc; echo mine >kept; echo mine >both; echo mine >gone-changed; rm dropped dropped-changed dropped-gone; : >>opened; touch -d 2001-02-03 touched
  mv moved moved2; echo mine >likewise; echo mine >made; echo mine >made-alike; mkdir /own; echo mine >/own/f; echo mine >/opt/p/two; chmod 600 /own/f
  mv /opt/r /opt/s; echo mine >/opt/s/both; echo mine >/opt/s/kept; : >>/opt/s/opened'
expect_status 0 "an instance of the old version changes things"
try "$KAPSEL" upgrade --dry-run i "$T/app-2.kapsel"
cat >"$T/wanted" <<'END'
- /etc/dropped-gone: the new image has none either
- /etc/likewise: the new image has it so
- /etc/made-alike: the new image has it so
- /etc/touched: only its time was changed
C /etc/both: changed here and in the new image
C /etc/dropped-changed: deleted here, changed in the new image
C /etc/gone-changed: changed here, the new image has none
C /etc/made: the new image has another one
C /opt/p/two: its directory is none in the new image
C /opt/s/both: changed here and in the new image
i: 10 changes would be kept, 6 conflicts
END
LC_ALL=C sort "$T/out" >"$T/seen"
if [ "$status" = 0 ] && cmp -s "$T/wanted" "$T/seen"; then ok "--dry-run tells what would become of each"; else
  diff "$T/wanted" "$T/seen" >"$T/d"
  not_ok "--dry-run tells what would become of each" "$T/d" "$T/err"
fi
try "$KAPSEL" upgrade --quiet i "$T/app-2.kapsel"
expect_err_line '^kapsel: i: 6 conflicts, the first: /' "with conflicts nothing is done"
run 1 'cat /etc/both /etc/left'
expect_out "mine
old" "it is as it was"
try "$KAPSEL" clone i j

try "$KAPSEL" upgrade --conflicts keep --quiet i "$T/app-2.kapsel"
expect_status 0 "upgrade, keeping what conflicts"
# shellcheck disable=SC2016 # for the guest's shell
look='cd /etc; for f in kept left both gone gone-changed dropped dropped-changed dropped-gone opened touched moved moved2 likewise made made-alike /own/f /opt/p/two /opt/q /opt/r/left /opt/s/left /opt/s/both /opt/s/opened /opt/s/kept; do
  if [ -f $f ]; then echo $f $(cat $f); else echo $f -; fi; done'
run 2 "$look"
expect_out "kept mine
left new
both mine
gone -
gone-changed mine
dropped -
dropped-changed -
dropped-gone -
opened new
touched new
moved -
moved2 same
likewise mine
made mine
made-alike mine
/own/f mine
/opt/p/two mine
/opt/q new
/opt/r/left -
/opt/s/left new
/opt/s/both mine
/opt/s/opened new
/opt/s/kept mine" "each path comes from where it should"
run 1 true
expect_err_line '^kapsel: i: made from another image' "the old version is refused then"
try "$KAPSEL" verify i
expect_status 0 "its files verify"
try "$KAPSEL" diff i
if [ "$status" = 0 ] && grep -q 'R .*/etc/moved -> /etc/moved2' "$T/out" && ! grep -q /etc/opened "$T/out"; then ok "diff goes by the new image"; else not_ok "diff goes by the new image" "$T/out" "$T/err"; fi
run 2 'cd /etc; stat -c %i kept left both opened moved2 likewise made /own/f /bin/sh /etc /own'
if [ "$(sort -u "$T/out" | wc -l)" = 11 ]; then ok "no two files have one number"; else not_ok "no two files have one number" "$T/out"; fi
try "$KAPSEL" undo i
if [ "$status" = 0 ] && grep -q 'before upgrade' "$T/out"; then ok "undo goes back to the old version"; else not_ok "undo" "$T/out" "$T/err"; fi
run 1 'cat /etc/both /etc/left /etc/opened; ls /etc/moved2 /opt/p/two'
expect_out "mine
old
old
/etc/moved2
/opt/p/two" "with all that it had"

try "$KAPSEL" upgrade --conflicts new --quiet j "$T/app-2.kapsel"
expect_status 0 "upgrade, taking the new image's"
try "$KAPSEL" run --instance j "$T/app-2.kapsel" -- /bin/sh -c "$look"
grep -E '^(both|gone-changed|dropped-changed|made|kept|/opt[^ ]*) ' "$T/out" >"$T/seen"
printf 'kept mine\nboth new\ngone-changed -\ndropped-changed new\nmade new\n/opt/p/two -\n/opt/q new\n/opt/r/left -\n/opt/s/left new\n/opt/s/both new\n/opt/s/opened new\n/opt/s/kept mine\n' >"$T/wanted"
if cmp -s "$T/wanted" "$T/seen"; then ok "what conflicted is the new image's"; else not_ok "what conflicted is the new image's" "$T/seen" "$T/err"; fi
try "$KAPSEL" run --instance j "$T/app-2.kapsel" -- /bin/cat /opt/p
expect_out new "a directory made way for a file"

# --- what is refused ---
try "$KAPSEL" upgrade j "$T/app-2.kapsel"
expect_err_line '^kapsel: j: is made from that image' "to where it is already"
mv "$T/app-1.kapsel" "$T/elsewhere.kapsel"
try "$KAPSEL" upgrade --dry-run i "$T/app-2.kapsel"
expect_err_line '^kapsel: i: the image that it was made from is not ' "an old image that is not there"
cp "$T/app-2.kapsel" "$T/app-1.kapsel"
try "$KAPSEL" upgrade --dry-run i "$T/app-2.kapsel"
expect_err_line '^kapsel: i: the image that it was made from is no longer ' "one that was replaced"
try "$KAPSEL" upgrade --dry-run --from "$T/elsewhere.kapsel" i "$T/app-2.kapsel"
expect_status 0 "--from says where it is"
mv "$T/elsewhere.kapsel" "$T/app-1.kapsel"

# --- the registry: three-way for each value ---
reg_image() { # VERSION; values on standard input: KEY NAME DATA
  {
    printf 'kapsel: 1\nname: reg\nversion: "%s"\nentry: {command: [/bin/sh], cwd: /}\ncontents:\n  - elf: [/bin/sh, /bin/cat, /bin/rm, /bin/mkdir, /bin/rmdir]\nregistry:\n  values:\n' "$1"
    while read -r key name text; do printf '    - {key: '"'HKCU\\\\Software\\\\%s'"', name: "%s", type: REG_SZ, data: "%s"}\n' "$key" "$name" "$text"; done
  } >"$T/reg-$1.yaml"
  try "$KAPSEL" pack --quiet "$T/reg-$1.yaml" -o "$T/reg-$1.kapsel"
  [ "$status" = 0 ] || not_ok "packing registry $1" "$T/err"
}
reg_image 1 <<'END'
App kept same
App left old
App both old
App gone old
App gone-changed old
App dropped same
App dropped-changed old
App dropped-gone old
App likewise old
App same old
Tree a old
Tree2 a same
END
reg_image 2 <<'END'
App kept same
App left new
App both new
App dropped same
App dropped-changed new
App likewise mine
App made new
App same new
Tree a new
Tree2 a same
END
in_reg() { # INSTANCE VERSION SHELL-TEXT
  try "$KAPSEL" run --instance "$1" "$T/reg-$2.kapsel" -- /bin/sh -c "cd /proc/registry/HKEY_CURRENT_USER/Software; $3"
}
in_reg r 1 'cd App; for v in kept both gone-changed likewise made own; do printf mine >$v; done; printf old >same; rm dropped dropped-changed dropped-gone; mkdir Sub; printf mine >Sub/v
  rm ../Tree/a ../Tree2/a; rmdir ../Tree ../Tree2'
expect_status 0 "an instance changes values"
try "$KAPSEL" upgrade --dry-run r "$T/reg-2.kapsel"
cat >"$T/wanted" <<'END'
- HKCU\Software\App\dropped-gone: the new image has none either
- HKCU\Software\App\likewise: the new image has it so
C HKCU\Software\App\both: changed here and in the new image
C HKCU\Software\App\dropped-changed: deleted here, changed in the new image
C HKCU\Software\App\gone-changed: changed here, the new image has none
C HKCU\Software\App\made: the new image has another one
C HKCU\Software\Tree: deleted here, changed in the new image
r: 5 changes would be kept, 5 conflicts
END
LC_ALL=C sort "$T/out" >"$T/seen"
if [ "$status" = 0 ] && cmp -s "$T/wanted" "$T/seen"; then ok "--dry-run tells of each value"; else
  diff "$T/wanted" "$T/seen" >"$T/d"
  not_ok "--dry-run tells of each value" "$T/d" "$T/err"
fi
try "$KAPSEL" upgrade --quiet r "$T/reg-2.kapsel"
expect_err_line '^kapsel: r: 5 conflicts, the first: HKCU' "with conflicts nothing is done"
try "$KAPSEL" clone r rn
# shellcheck disable=SC2016 # for the guest's shell
look_reg='for v in App/kept App/left App/both App/gone App/gone-changed App/dropped App/dropped-changed App/likewise App/made App/own App/same App/Sub/v Tree/a Tree2/a; do
  [ -e $v ] && echo $v $(cat $v) || echo $v -; done'
try "$KAPSEL" upgrade --conflicts keep --quiet r "$T/reg-2.kapsel"
expect_status 0 "upgrade, keeping values"
in_reg r 2 "$look_reg"
expect_out "App/kept mine
App/left new
App/both mine
App/gone -
App/gone-changed mine
App/dropped -
App/dropped-changed -
App/likewise mine
App/made mine
App/own mine
App/same new
App/Sub/v mine
Tree/a -
Tree2/a -" "each value comes from where it should"
try "$KAPSEL" undo r
in_reg r 1 'cat App/same App/both'
expect_out_text() { if [ "$status" = 0 ] && [ "$(cat "$T/out")" = "$1" ]; then ok "$2"; else not_ok "$2" "$T/out" "$T/err"; fi; }
expect_out_text oldmine "undo goes back to the old values"
try "$KAPSEL" upgrade --conflicts new --quiet rn "$T/reg-2.kapsel"
expect_status 0 "upgrade, taking the new image's values"
in_reg rn 2 "$look_reg"
expect_out "App/kept mine
App/left new
App/both new
App/gone -
App/gone-changed -
App/dropped -
App/dropped-changed new
App/likewise mine
App/made new
App/own mine
App/same new
App/Sub/v mine
Tree/a new
Tree2/a -" "what conflicted is the new image's"

# --- killed ---
try "$KAPSEL" snapshot create i old
from=$(date +%s%N)
try "$KAPSEL" upgrade --conflicts keep i "$T/app-2.kapsel"
span=$((($(date +%s%N) - from) / 900000 + 1))
bad='' round=0 olds=0 news=0
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  try "$KAPSEL" snapshot restore i old
  "$KAPSEL" upgrade --conflicts keep --quiet i "$T/app-2.kapsel" >/dev/null 2>&1 &
  victim=$!
  sleep "$(awk -v s="$victim" -v span="$span" 'BEGIN { srand(s); printf "%.4f", rand() * span / 1000 }')"
  kill -9 "$victim" 2>/dev/null
  wait "$victim" 2>/dev/null
  run 1 'cat /etc/left /etc/opened'
  if [ "$status" = 0 ] && [ "$(cat "$T/out")" = "old
old" ]; then olds=$((olds + 1)); else
    run 2 'cat /etc/left /etc/opened; ls /opt/q'
    if [ "$status" = 0 ] && [ "$(cat "$T/out")" = "new
new
/opt/q" ]; then news=$((news + 1)); else bad="round $round"; fi
  fi
  "$KAPSEL" verify --quiet i >"$T/verify" 2>&1 || bad="round $round: verify"
done
if [ -z "$bad" ]; then
  ok "$round kills of upgrade: all old or all new"
  echo "# $olds old, $news new"
else not_ok "kills of upgrade: $bad" "$T/out" "$T/err" "$T/verify"; fi
finish
