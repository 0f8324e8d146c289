# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# An instance as one file, to another home, and files that only look like one.
. "$STAGE/e2e/lib.sh"

command -v tar >/dev/null && command -v zstd >/dev/null || skip_rest "no tar or zstd here"
small_image small /bin/mkdir /bin/mv /bin/rm /bin/ln /bin/chmod /usr/bin/mkfifo /usr/bin/stat /usr/bin/find /usr/bin/sort /usr/bin/md5sum /bin/dd
img=$T/small.kapsel
other=$T/other
mkdir -m 0700 "$other"
state='find /w /bin /etc/moved /etc/greeting | sort | while read -r f; do
  if [ -d "$f" ]; then stat -c "%n %A %u" "$f"; else stat -c "%n %A %u %s %Y %h %N" "$f"; fi
  if [ -f "$f" ]; then md5sum <"$f"; fi; done; stat -c %i /etc/moved'
there="env HOME=$other $KAPSEL"

try "$KAPSEL" run --instance k "$img" -- /bin/sh -c 'mkdir /w; echo one >/w/a; ln /w/a /w/b; ln -s a /w/l; mkfifo /w/p; chmod 4751 /w/a; mv /etc/greeting /etc/moved
  mkdir /w/.wh.x; echo n >"/w/$(printf "n\nl")"; dd if=/dev/zero of=/w/holes bs=1 count=1 seek=50M 2>/dev/null; rm /bin/id'
try "$KAPSEL" run --instance k "$img" -- /bin/sh -c "$state"
cp "$T/out" "$T/state"
try "$KAPSEL" export k -o "$T/k.kpi"
expect_status 0 "export"
try "$KAPSEL" export k -o "$T/k.kpi"
expect_err_line "^kapsel: .*/k.kpi: exists" "a file that is there is not overwritten"
if [ "$(stat -c %s "$T/k.kpi")" -lt 200000 ]; then ok "it is small"; else not_ok "it is small"; fi
try $there import "$T/k.kpi"
expect_status 0 "import elsewhere"
try $there verify k
expect_status 0 "its files verify"
try $there run --instance k "$img" -- /bin/sh -c "$state"
if [ "$status" = 0 ] && cmp -s "$T/state" "$T/out"; then ok "it is the same to its guests"; else
  diff "$T/state" "$T/out" >"$T/d"
  not_ok "it is the same to its guests" "$T/d" "$T/err"
fi
try $there import "$T/k.kpi"
expect_err_line "^kapsel: k: there is an instance of that name" "a name that is taken"
try $there import --image "$img" "$T/k.kpi" k2
expect_status 0 "under another name, with its image"
small_image other
try $there import --image "$T/other.kapsel" "$T/k.kpi" k3
expect_err_line "not the image that the instance was made from" "another image is refused"

# --- changes only, with what they were made against ---
version() { # VERSION GREETING OTHER THEME
  cat >"$T/v$1.yaml" <<END
kapsel: 1
name: v
version: "$1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/rm, /bin/mv, /bin/mkdir, /usr/bin/stat]
  - file: {path: /etc/greeting, text: "$2\\n"}
  - file: {path: /etc/other, text: "$3\\n"}
  - file: {path: /d/one, text: "$2\\n"}
  - file: {path: /e/one, text: "same\\n"}
registry:
  values:
    - {key: 'HKCU\\App', name: Theme, type: REG_SZ, data: "$4"}
    - {key: 'HKCU\\App', name: Other, type: REG_SZ, data: "$3"}
  projections: [{file: /etc/shown.ini, format: ini, key: 'HKCU\\App'}]
END
  try "$KAPSEL" pack --quiet "$T/v$1.yaml" -o "$T/v$1.kapsel"
  [ "$status" = 0 ] || not_ok "packing version $1" "$T/err"
}
version 1 hello one dark
version 2 hello two dark
version 3 goodbye one light
try "$KAPSEL" run --instance c "$T/v1.kapsel" -- /bin/sh -c 'echo mine >/etc/greeting; echo new >/etc/new; rm -r /d; mv /e /f; printf blue >/proc/registry/HKEY_CURRENT_USER/App/Theme; cat /etc/shown.ini >/dev/null; rm /bin/ls'
try "$KAPSEL" export c -o "$T/c.kpi"
try $there import "$T/c.kpi" whole
expect_status 0 "an instance with projections is carried whole"
try "$KAPSEL" export --changes c -o "$T/ch.kpi"
expect_status 0 "export --changes"
try $there import "$T/ch.kpi" c1
expect_err_line "^kapsel: $T/ch.kpi: it holds changes only" "without an image they cannot be taken in"
try $there import --image "$T/v2.kapsel" "$T/c.kpi" c1
expect_err_line "not the image that the instance was made from" "a whole instance goes onto no other image"
try $there import --image "$T/v2.kapsel" "$T/ch.kpi" c2
expect_status 0 "changes go onto an image that has the same where they are"
look='cat /etc/greeting /etc/new /etc/other /f/one /proc/registry/HKEY_CURRENT_USER/App/Theme; echo; cat /proc/registry/HKEY_CURRENT_USER/App/Other; echo; [ -e /d ] || [ -e /bin/ls ] || [ -e /e ] || echo gone'
try $there run --instance c2 "$T/v2.kapsel" -- /bin/sh -c "$look"
expect_out "mine
new
two
same
blue
two
gone" "and are there, on the new version"
try $there run --instance c2 "$T/v2.kapsel" -- /bin/sh -c 'stat -c %i /etc/greeting /etc/other /etc/new /f/one /bin/cat /bin/sh'
if [ "$(sort -u "$T/out" | wc -l)" = 6 ]; then ok "no two files have one number"; else not_ok "no two files have one number" "$T/out"; fi
try $there verify c2
expect_status 0 "its files verify"
try $there import --image "$T/v3.kapsel" "$T/ch.kpi" c3
sort "$T/out" >"$T/seen"
printf 'C /d\nC /etc/greeting\nC HKCU\\App\\Theme\n' | sort >"$T/wanted"
if cmp -s "$T/seen" "$T/wanted"; then ok "onto another one they are told that it has otherwise"; else not_ok "what differs" "$T/out" "$T/err"; fi
expect_err_line "^kapsel: $T/ch.kpi: 3 of its changes were made on what .*/v3.kapsel has otherwise, the first: " "and refused"
if [ "$(find "$other/.local/share/kapsel/instances" -maxdepth 1 -name '.*' ! -name instances | wc -l)" = 0 ]; then ok "nothing is left of it"; else not_ok "nothing is left of it"; fi
mkdir "$T/x"
(cd "$T/x" && zstd -qdc "$T/ch.kpi" | tar xf - kapsel-instance config.yaml against 2>/dev/null && printf 'f zz' >against && tar cf - kapsel-instance against config.yaml | zstd -q >"$T/bad-against")
try $there import --image "$T/v2.kapsel" "$T/bad-against" c4
expect_err_line "^kapsel: $T/bad-against: refused: what its changes were made against" "a list that is none is refused"

# --- killed at any instant ---
"$KAPSEL" run --instance big "$img" -- /bin/sh -c 'mkdir /w; i=0; while [ $i -lt 400 ]; do i=$((i + 1)); echo $i >/w/f$i; done'
rounds=${KAPSEL_KILLS:-8} round=0 bad='' whole=0
from=$(date +%s%N)
"$KAPSEL" export big -o "$T/big.kpi"
$there import "$T/big.kpi" >/dev/null 2>&1
span=$((($(date +%s%N) - from) / 1000000))
while [ "$round" -lt "$rounds" ] && [ -z "$bad" ]; do
  round=$((round + 1))
  HOME=$other "$KAPSEL" import "$T/big.kpi" "i$round" >/dev/null 2>&1 &
  import=$!
  sleep "$(awk -v s="$import" -v span="$span" 'BEGIN { srand(s); printf "%.4f", rand() * span / 1000 }')"
  kill -9 "$import" 2>/dev/null
  wait "$import" 2>/dev/null
  if [ -e "$other/.local/share/kapsel/instances/i$round" ]; then
    try $there run --instance "i$round" "$img" -- /bin/sh -c 'cd /w; set -- *; echo $#'
    if [ "$(cat "$T/out")" = 400 ]; then whole=$((whole + 1)); else bad="round $round"; fi
  fi
  "$KAPSEL" export --force big -o "$T/cut.kpi" &
  export=$!
  sleep "$(awk -v s="$export" -v span="$span" 'BEGIN { srand(s); printf "%.4f", rand() * span / 2000 }')"
  kill -9 "$export" 2>/dev/null
  wait "$export" 2>/dev/null
  if [ -e "$T/cut.kpi" ] && ! zstd -qt "$T/cut.kpi"; then bad="round $round: export"; fi
done
mkdir "$other/.local/share/kapsel/instances/.gone-half" # a sweep was killed in the middle
nothing_is_left() { # what was killed has left its packager, which ends by itself
  try $there run --rm "$img" -- /bin/true
  left=$(find "$other/.local/share/kapsel/instances" -maxdepth 1 -name '.*')
  [ -z "$left" ]
}
if [ -z "$bad" ] && wait_for nothing_is_left; then ok "$rounds kills of import and export: whole or not there"; else not_ok "kills of import: $bad $left" "$T/out" "$T/err"; fi
echo "# $whole whole"

# --- what is none ---
bases=$other/.local/share/kapsel/instances
refused() { # WHAT REGEX: $T/bad
  zstd -qf "$T/bad" -o "$T/bad.zst"
  try $there import "$T/bad.zst" x
  if [ "$status" = 125 ] && head -1 "$T/err" | grep -qE -- "$2" && ! [ -e "$bases/x" ] && [ "$(find "$bases" -maxdepth 1 -name '.*' | wc -l)" = 0 ] &&
    ! LC_ALL=C grep -q "$(printf '\033')" "$T/err"; then
    ok "$1 is refused"
  else
    not_ok "$1 is refused" "$T/out" "$T/err"
  fi
}
: >"$T/bad"
refused "an empty file" "^kapsel: $T/bad.zst: "
echo hello >"$T/bad"
refused "a text" "^kapsel: $T/bad.zst: "
cp "$T/k.kpi" "$T/cut"
truncate -s 2000 "$T/cut"
try $there import "$T/cut" x
expect_err_line "^kapsel: $T/cut: " "one cut short is refused, by its name"
mkdir "$T/bld"
cd "$T/bld" || exit 1
zstd -qdc "$T/k.kpi" | tar xf - kapsel-instance config.yaml 2>/dev/null
again() { # ARGS...: an archive of the header and configuration, then what tar adds
  tar cf "$T/bad" --no-recursion kapsel-instance config.yaml upper
  tar -P "$@" -rf "$T/bad"
}
mkdir -p upper/d
echo evil >upper/f
tar cf "$T/bad" config.yaml
refused "one without its header" "not an exported instance"
tar cf "$T/bad" kapsel-instance
refused "one without a configuration" "no configuration"
again --transform 's#upper/f#upper/../../f#' upper/f
refused "a name with .." "refused: leads out"
again --transform 's#upper/f#/tmp/kapsel-evil#' upper/f
refused "an absolute name" "refused: leads out"
ln -s /tmp upper/link
again upper/link
tar --transform 's#upper/f#upper/link/kapsel-evil#' -rf "$T/bad" upper/f
refused "a file through a planted link" "the directory above is not one"
again --transform 's#upper/f#lock/f#' upper/f
refused "a part that no instance has" "the directory above is not one"
again --transform 's#upper/f#lock#' upper/f
refused "one with a lock" "refused: twice"
again --transform 's#upper/f#snapshots#' upper/f
refused "one with another part" "no part of an instance"
ln upper/f upper/hard
again --transform 'flags=h;s#upper/hard#../../../etc/passwd#' upper/hard upper/f
refused "a hard link that leads out" "a link that leads out"
again upper/f
tar -rf "$T/bad" upper/f
refused "a name that comes twice" "refused: twice"
if [ "$(id -u)" = 0 ]; then
  mknod upper/dev c 1 3
  again upper/dev
  refused "a device" "a kind that no instance has"
  rm upper/dev
fi
sed -i 's/^1 .*/1 ..\/x/' kapsel-instance
again upper/f
refused "a name of an instance that is none" "refused: its name"
printf '1 %s\n' "$(printf '\033[31m')" >kapsel-instance
again upper/f
refused "one with escapes" "refused: its name"
sed -i 's/^1 .*/2 x/' kapsel-instance
again upper/f
refused "a newer format" "does not know"
cd "$T" || exit 1
if [ -e /tmp/kapsel-evil ]; then not_ok "nothing was made outside"; else ok "nothing was made outside"; fi
finish
