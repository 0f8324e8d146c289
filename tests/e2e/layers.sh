# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Images stacked on images.
. "$STAGE/e2e/lib.sh"

image() { # NAME: the rest of the manifest on standard input
  { printf 'kapsel: 1\nname: %s\nversion: "1"\n' "$1"; cat; } >"$T/$1.yaml"
  try "$KAPSEL" pack --quiet "$T/$1.yaml" -o "$T/$1.kapsel"
  [ "$status" = 0 ] || { not_ok "packing $1" "$T/err"; finish; }
}

image system <<END
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/rm, /bin/mv, /bin/mkdir]
  - file: {path: /etc/both, text: "system\n"}
  - file: {path: /data/system, text: "system\n"}
  - file: {path: /data/sub/system, text: "system\n"}
END
image base <<END
layers: [system.kapsel]
contents:
  - file: {path: /etc/both, text: "base\n"}
  - file: {path: /data/base, text: "base\n"}
END
image app <<END
entry: {command: [/bin/cat, /etc/both, /etc/app]}
layers: [base.kapsel]
contents:
  - file: {path: /etc/app, text: "app\n"}
  - file: {path: /data/app, text: "app\n"}
END
image extra <<END
contents:
  - file: {path: /data/extra, text: "extra\n"}
  - file: {path: /data/base, text: "extra\n"}
END

try "$T/app.kapsel"
expect_out "base
app" "a layer and the layer below it, the nearest first"
try "$KAPSEL" run --rm --layer "$T/extra.kapsel" "$T/app.kapsel" -- /bin/sh -c 'ls /data && cat /data/base /data/extra'
expect_out "app
base
extra
sub
system
base
extra" "--layer goes below"
try "$KAPSEL" run --instance stacked "$T/app.kapsel" -- /bin/sh -c 'cd /data && rm base && echo x >>system && mv sub moved && ls . moved && mkdir sub && ls sub && cat system'
expect_out ".:
app
moved
system

moved:
system
system
x" "files of any layer are changed, removed, moved"
try "$KAPSEL" run --instance stacked "$T/app.kapsel" -- /bin/sh -c 'ls /data'
expect_out "app
moved
sub
system" "and stay so"
try "$KAPSEL" run --instance stacked --layer "$T/extra.kapsel" "$T/app.kapsel" -- /bin/true
expect_status 125 "an instance keeps its layers"
expect_err_line 'stacked: made with other layers' "and says so"

try "$KAPSEL" inspect "$T/app.kapsel"
if grep -q '^layers  *base\.kapsel$' "$T/out"; then ok "inspect names the layers"; else not_ok "inspect names the layers" "$T/out"; fi
mkdir "$T/alone"
cp "$T/app.kapsel" "$T/alone/"
try "$T/alone/app.kapsel"
expect_status 125 "a layer that is not there"
expect_err_line 'alone/app\.kapsel: layer base\.kapsel: not beside it' "is named"
try "$KAPSEL" run --rm --layer "$T/base.kapsel" "$T/alone/app.kapsel"
expect_out "base
app" "--layer stands in for it"
digest=$("$KAPSEL" inspect "$T/base.kapsel" | sed -n 's/^digest *//p')
image by-digest <<END
entry: {command: [/bin/cat, /etc/both]}
layers: ["$digest"]
contents:
  - file: {path: /x, text: ""}
END
try "$T/by-digest.kapsel"
expect_out "base" "a layer by its digest"
image loop <<END
layers: [loop.kapsel, base.kapsel, base.kapsel]
contents:
  - file: {path: /x, text: ""}
END
try "$KAPSEL" run --rm "$T/loop.kapsel" -- /bin/cat /etc/both
expect_out "base" "a layer that names itself, and one twice"
printf 'kapsel: 1\nname: x\nlayers: [../up.kapsel]\ncontents: [{file: {path: /x, text: ""}}]\n' >"$T/bad.yaml"
try "$KAPSEL" pack "$T/bad.yaml" -o "$T/bad.kapsel"
expect_err_line 'bad\.yaml:3:9: layers: .*without directories' "a layer elsewhere is refused"

finish
