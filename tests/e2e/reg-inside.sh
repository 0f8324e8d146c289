# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# /.kapsel/reg: what `kapsel reg` does, by a guest, on the instance that it runs in.
. "$STAGE/e2e/lib.sh"

cat >"$T/app.yaml" <<'END'
kapsel: 1
name: app
version: "1"
entry: {command: [/bin/sh]}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/sleep, /bin/chmod, /bin/cp, /bin/ln]
  - file: {path: /etc/app.ini, text: "theme=light\n"}
registry:
  values:
    - {key: 'HKCU\Software\App', name: theme, type: REG_SZ, data: light}
    - {key: 'HKCU\Software\App\Deep', name: Size, type: REG_DWORD, data: 12}
  projections: [{file: /etc/app.ini, format: ini, key: 'HKCU\Software\App'}]
END
try "$KAPSEL" pack --quiet "$T/app.yaml" -o "$T/app.kapsel"
expect_status 0 "an image is packed"
inside() { # SCRIPT: with R for the program and K for the key
  try "$KAPSEL" run --instance one ${profile:+--profile "$profile"} "$T/app.kapsel" -- /bin/sh -c "R=/.kapsel/reg K='HKCU\\Software\\App'; $1"
}

inside '$R query "$K"; $R query "$K" /v THEME; $R query "$K\Deep" --json'
expect_out '
HKEY_CURRENT_USER\Software\App
    theme    REG_SZ    light

HKEY_CURRENT_USER\Software\App\Deep


HKEY_CURRENT_USER\Software\App
    theme    REG_SZ    light

[
 {"key":"HKEY_CURRENT_USER\\Software\\App\\Deep","values":[
  {"name":"Size","type":"REG_DWORD","data":12,"layer":"image"}],"subkeys":[]}
]' "query, as outside"
inside '$R add "$K" /v theme /d dark'
expect_err_line '^kapsel: theme: exists already$' "add asks; nobody is there to answer"
expect_status 125 "which is an error"
inside '$R add "$K" /v theme /d dark /f && $R add "$K\New" /t REG_QWORD /ve /d 0x10 && cat /proc/registry/HKEY_CURRENT_USER/Software/App/theme /etc/app.ini'
expect_out 'The operation completed successfully.
The operation completed successfully.
darktheme=dark

[Deep]
Size=12

[New]
@=16' "add is seen at once, in the tree and in projected files"
inside 'echo theme=red >/etc/app.ini; echo -n blue >/proc/registry/HKEY_CURRENT_USER/Software/App/other; $R query "$K" /v theme; $R query "$K" /v other'
expect_out '
HKEY_CURRENT_USER\Software\App
    theme    REG_SZ    red


HKEY_CURRENT_USER\Software\App
    other    REG_SZ    blue
' "and query sees what was written into them"
inside '$R export "$K" /tmp/out.reg && $R export "$K" /tmp/out.reg; $R delete "$K" /f && $R query "$K"; $R import /tmp/out.reg && $R export "$K" - --utf8 && cat /etc/app.ini'
if grep -q '^"other"="blue"' "$T/out" && grep -q '^theme=red' "$T/out" && grep -q 'out.reg: exists' "$T/err" && grep -q 'no such key' "$T/err"; then
  ok "export, delete, import"
else
  not_ok "export, delete, import" "$T/out" "$T/err"
fi
inside 'printf "REGEDIT4\n[HKEY_CURRENT_USER\\\\x]\n\"a\"=\"1\"\n\"b\"=oops\n" | $R import -; $R query "HKCU\x"'
if grep -q -- '-:4: ' "$T/err" && grep -q 'no such key' "$T/err"; then ok "an import is whole or not done"; else not_ok "import" "$T/err"; fi
inside '$R delete "$K" /v other /f; $R query "$K" /v other; $R query; $R nothing x; $R query one "$K"; $R query "$K" --profile portable'
if grep -q 'other: the key has no such value' "$T/err" && grep -q 'not query, add' "$T/err" && grep -q 'hint: usage: reg query KEY' "$T/err" && grep -q 'profile: ' "$T/err"; then
  ok "errors and hints, without a target"
else
  not_ok "errors" "$T/err"
fi
inside 'chmod 0644 /.kapsel/reg; ln -s /.kapsel/reg /bin/reg; /.kapsel/reg query HKCU; chmod 0755 /.kapsel/reg; reg query "$K" /v theme && ls -l /.kapsel >/dev/null'
if [ "$status" = 0 ] && grep -q 'theme    REG_SZ    red' "$T/out" && grep -q 'Permission denied' "$T/err"; then ok "an ordinary file, also by a link"; else not_ok "as a file" "$T/out" "$T/err"; fi

# What is opened there must be a request.
inside 'for n in 0 1 99 x -1 4294967297; do cat "/proc/registry/%request.$n"; done 2>&1; exec 5</etc/app.ini; cat /proc/registry/%request.5 2>&1; echo x >/proc/registry/%request.5'
if [ "$(grep -c 'No such file\|Bad file desc\|Invalid arg' "$T/out")" = 7 ] && [ -s "$T/err" ]; then ok "no request, no answer"; else not_ok "no request" "$T/out" "$T/err"; fi

# Policy.
mkdir -p "$HOME/.config/kapsel/profiles"
chmod 0700 "$HOME/.config/kapsel"
cat >"$HOME/.config/kapsel/profiles/firm.yaml" <<'END'
kapsel: 1
include: isolated
registry: [{key: 'HKCU\Software\App', name: theme, type: REG_SZ, data: corporate}]
END
profile=firm
inside '$R query "$K" /v theme; $R add "$K" /v theme /d mine /f; $R delete "$K" /f'
if grep -q 'theme    REG_SZ    corporate' "$T/out" && [ "$(grep -c 'a policy of the profile' "$T/err")" = 2 ]; then
  ok "policy binds it, at level strict, too"
else
  not_ok "policy" "$T/out" "$T/err"
fi
profile=

# The launcher is gone from the host, and the other way to start one carries an image.
mkdir "$T/bin"
cp "$KAPSEL" "$T/bin/kapsel"
"$T/bin/kapsel" run --instance gone "$T/app.kapsel" -- /bin/sh -c 'echo up; until [ -e /go ]; do sleep 0.1; done; /.kapsel/reg add "HKCU\Software\App" /v theme /d late /f' >"$T/run.out" 2>&1 &
runner=$!
wait_for grep -q up "$T/run.out"
rm -r "$T/bin"
"$KAPSEL" exec gone -- /bin/sh -c ': >/go'
wait "$runner"
try "$KAPSEL" reg query gone 'HKCU\Software\App' /v theme
if grep -q 'REG_SZ    late' "$T/out"; then ok "it needs no launcher on the host"; else not_ok "no launcher" "$T/run.out" "$T/out" "$T/err"; fi
KAPSEL_OPTS=--rm try "$T/app.kapsel" -c '/.kapsel/reg query "HKCU\Software\App" /v theme'
if grep -q 'REG_SZ    light' "$T/out"; then ok "inside an image that runs by itself"; else not_ok "by itself" "$T/out" "$T/err"; fi
finish
