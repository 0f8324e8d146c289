# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Isolation modes: what of the host is seen, and where changes go.
. "$STAGE/e2e/lib.sh"

host=$T/host
cat >"$T/modes.yaml" <<END
kapsel: 1
name: modes
entry: {command: [/bin/sh]}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/mv, /bin/rm, /bin/ln, /bin/mkdir, /bin/rmdir, /bin/chmod, /usr/bin/stat, /bin/pwd, /usr/bin/touch, /usr/bin/env]
  - file: {path: $host/both, text: "image\n"}
  - file: {path: $host/image, text: "image\n"}
  - file: {path: $host/dir/of-image, text: "image\n"}
modes: {$host/asked: writecopy, /: full}
END
try "$KAPSEL" pack --quiet "$T/modes.yaml" -o "$T/modes.kapsel"
[ "$status" = 0 ] || { not_ok "packing" "$T/err"; finish; }

fresh() {
  rm -rf "$host"
  mkdir -p "$host/dir" "$host/asked" "$host/gone"
  echo host >"$host/both"; echo host >"$host/mine"; echo deep >"$host/dir/of-host"; echo asked >"$host/asked/file"
  ln -s mine "$host/link"; ln -s /etc "$host/outside"
  touch -d @1200000000 "$host/mine"
}
state() { (cd "$host" && find . -printf '%P %y %m %T@ %l\n' | sort; cat both mine dir/of-host asked/file) >"$1" 2>&1; }
inside() { # MODE SCRIPT
  mode=$1
  shift
  try "$KAPSEL" run --rm --mode "$host=$mode" "$T/modes.kapsel" -- /bin/sh -c "cd $host && $*"
}

fresh
try "$KAPSEL" run --rm "$T/modes.kapsel" -- /bin/sh -c "cd $host && ls && ls asked && cat both"
expect_out "asked
both
dir
image
file
image" "full shows nothing of the host; a mode of the manifest does"

try "$KAPSEL" inspect "$T/modes.kapsel"
if grep -q "^modes .*$host/asked: writecopy$" "$T/out"; then ok "inspect says what an image asks for"; else not_ok "inspect says what an image asks for" "$T/out"; fi
for mode in writecopy merged; do
  inside $mode 'ls . dir && cat both mine link dir/of-host dir/of-image'
  expect_out ".:
asked
both
dir
gone
image
link
mine
outside

dir:
of-host
of-image
image
host
host
deep
image" "$mode: one tree of both, the image first"
  inside $mode 'ls outside/greeting /etc/hostname'
  if grep -q /etc/hostname "$T/out" && grep -q greeting "$T/err"; then ok "$mode: a host's link leads to the guest's /etc"; else not_ok "$mode: a link to /etc" "$T/out" "$T/err"; fi
done

changes='echo more >>mine && echo new >new && chmod 600 dir/of-host && mkdir made && rm link && echo x >>both && mv dir/of-host made/ && rmdir gone && touch -d @1300000000 image'
fresh
state "$T/before"
inside writecopy "$changes; cat mine; ls . dir made; stat -c '%a %Y' made/of-host image"
expect_out "host
more
.:
asked
both
dir
image
made
mine
new
outside

dir:
of-image

made:
of-host
600 $(stat -c %Y "$host/dir/of-host")
644 1300000000" "writecopy: changes are seen inside"
state "$T/after"
if cmp -s "$T/before" "$T/after"; then ok "writecopy: the host is as it was"; else not_ok "writecopy changed the host" "$T/before" "$T/after"; fi

inside merged "$changes; cat both"
expect_out "image
x" "merged: changes are seen inside"
(cd "$host" && cat mine new both && ls && ls dir made && stat -c %a made/of-host) >"$T/out" 2>&1
status=0
expect_out "host
more
new
host
asked
both
dir
made
mine
new
outside
dir:

made:
of-host
600" "merged: what is the host's changed on the host, what is the image's did not"

fresh
inside merged 'rm both image && ls && echo again >image && cat image'
expect_out "asked
dir
gone
link
mine
outside
again" "merged: a removed name hides both"
if [ "$(cat "$host/both")" = host ] && [ ! -e "$host/image" ]; then ok "and the host keeps its own"; else not_ok "the host's file behind an image's"; fi
inside merged 'echo saved >image.tmp && mv image.tmp image && cat image && ls'
expect_out "saved
asked
both
dir
gone
image
link
mine
outside" "merged: a new file renamed over an image's"
if [ ! -e "$host/image.tmp" ] && [ ! -e "$host/image" ]; then ok "leaves nothing on the host"; else not_ok "left on the host"; fi

# Rules inside rules; a rule for what is not there yet; nothing of ours.
try "$KAPSEL" run --rm --mode "$host=merged" --mode "$host/dir=writecopy" --mode "$host/gone=full" "$T/modes.kapsel" -- /bin/sh -c \
  "cd $host && echo x >>dir/of-host && mkdir gone && echo y >gone/z && echo z >mine && ls gone && rmdir dir"
if [ "$(cat "$host/dir/of-host")" = deep ] && [ ! -e "$host/gone/z" ] && [ "$(cat "$host/mine")" = z ] && [ "$status" != 0 ]; then
  ok "the deepest rule counts"
else
  not_ok "rules inside rules" "$T/out" "$T/err"
fi
try "$KAPSEL" run --rm --mode "$host/later=merged" "$T/modes.kapsel" -- /bin/sh -c "echo x >$host/later/file"
[ "$(cat "$host/later/file" 2>&1)" = x ] && ok "merged makes the directory that the host lacks" || not_ok "a directory that the host lacks" "$T/err"
try "$KAPSEL" run --rm --mode /=writecopy "$T/modes.kapsel" -- /bin/sh -c 'ls -d "$1" "$1"/* "$2" /dev/sda /dev/mem 2>/dev/null; ls /proc/1 2>/dev/null; ls -d /dev/null /var/lib/dpkg' - \
  "${XDG_DATA_HOME:-$HOME/.local/share}/kapsel" "${XDG_CACHE_HOME:-$HOME/.cache}/kapsel"
expect_out "/dev/null
/var/lib/dpkg" "the whole host, but for what is Kapsel's own, devices and processes"

# The host changes meanwhile.
fresh
try "$KAPSEL" run --instance live --mode "$host=merged" "$T/modes.kapsel" -- /bin/sh -c "cd $host/gone && while [ ! -e stop ]; do cat ../mine ../other 2>/dev/null; done; cat ../mine ../other; /bin/pwd; ls" &
wait_for grep -q '^host$' "$T/out"
echo changed >"$host/mine"; echo other >"$host/other"; mv "$host/gone" "$host/moved"
touch "$host/moved/stop" # who sees this sees the others, too
wait
if [ "$(tail -4 "$T/out" | tr '\n' ' ')" = "changed other $host/moved stop " ]; then
  ok "what host programs do is seen at once"
else
  tail -5 "$T/out" >"$T/tail"
  not_ok "what host programs do" "$T/tail" "$T/err"
fi

fresh
cd "$host/asked" || exit 1
try "$KAPSEL" run --rm --mode "$host=merged" "$T/modes.kapsel" -- /bin/sh -c 'pwd; echo here >here'
cd "$T" || exit 1
expect_out "$host/asked" "the guest starts where the user is"
[ ! -e "$host/asked/here" ] && ok "under the manifest's rule for it" || not_ok "the manifest's rule"
try "$KAPSEL" run --rm --mode "$host" "$T/modes.kapsel"
expect_status 125 "a path without a mode"
expect_err_line "no mode given" "says so"
try "$KAPSEL" run --rm --mode relative=merged "$T/modes.kapsel"
expect_err_line "not an absolute path" "a relative path"
try "$KAPSEL" run --rm --mode "$host=shared" "$T/modes.kapsel"
expect_err_line "full, writecopy or merged" "no such mode"
mkdir -p "$HOME/.hidden"
sed "s|^modes:.*|modes: {/: merged, $HOME/.hidden: merged}|" "$T/modes.yaml" >"$T/greedy.yaml"
try "$KAPSEL" pack --quiet "$T/greedy.yaml" -o "$T/greedy.kapsel"
try "$KAPSEL" run --rm "$T/greedy.kapsel" -- /bin/sh -c "echo x >$T/greedy.was-here; echo x >$HOME/.hidden/greedy; ls $HOME/.hidden"
if [ "$(cat "$T/out")" = greedy ] && [ ! -e "$T/greedy.was-here" ] && [ ! -e "$HOME/.hidden/greedy" ]; then
  ok "an image's merged does not reach what the user keeps"
else
  not_ok "an image's merged for the root" "$T/out" "$T/err"
fi

# Which layer answers, and why.
fresh
try "$KAPSEL" run --instance told --mode "$host=merged" "$T/modes.kapsel" -- /bin/sh -c "cd $host && rm image && echo x >>both"
mkdir "$T/for-a-while"
export TMPDIR="$T/for-a-while" # others explain, too
explained() { # PATH REGEX WHAT: in all lines joined
  try "$KAPSEL" explain --mode "$host=merged" told "$host/$1"
  if [ "$status" = 0 ] && tr '\n' ' ' <"$T/out" | grep -qE -- "$2"; then ok "explain: $3"; else not_ok "explain: $3" "$T/out" "$T/err"; fi
}
explained both "both: file .*, from the instance .*mode +merged, by the rule for $host .*goes to the instance .*instance +file +/.*/upper.*/both.*image +file, hidden .*host +file, hidden +$host/both" "a changed file of the image"
explained image "not there: the instance has deleted it .*whiteout.*image +file, hidden" "a deleted one"
explained mine "from the host .*goes to the host: $host/mine .*instance +nothing.*host +file +$host/mine" "a file of the host"
explained nothing "not there: no layer has it .*goes to the host: $host/nothing" "a name that nobody has"
explained dir "directory .*image modes\\.kapsel .*image +directory .*host +directory, its names are seen too" "a directory of both"
try "$KAPSEL" explain "$T/modes.kapsel" "$host/mine"
if grep -q 'the host has it: --mode' "$T/out"; then ok "explain: what a mode would show"; else not_ok "explain: what a mode would show" "$T/out" "$T/err"; fi
if [ -z "$(ls -A "$T/for-a-while")" ]; then ok "explain leaves nothing"; else not_ok "explain leaves something"; fi

finish
