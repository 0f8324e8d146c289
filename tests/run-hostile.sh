#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the attempts of tests/hostile natively, inside at both levels, and inside with one mechanism after the other left out, as this user and,
# started by root, also as an ordinary one. None may succeed inside; each must somewhere; each mechanism must be what keeps at least one.
#   run-hostile.sh BUILD-DIR FAULTS-BUILD-DIR [ATTEMPT...]
# TAP; the matrix of attempts and mechanisms as comments.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

# Attempts on devices succeed natively for root: on devices of our own, which the host's names lead to in here.
if [ "$(id -u)" = 0 ] && [ -z "${OWN_DEVICES-}" ] && unshare -m true 2>/dev/null; then
  OWN_DEVICES=$(mktemp -d /var/tmp/kapsel-dev.XXXXXX)
  export OWN_DEVICES
  mknod -m 0666 "$OWN_DEVICES/null" c 1 3 && mknod -m 0666 "$OWN_DEVICES/zero" c 1 5 || exit 1
  status=0
  unshare -m --propagation private sh -c \
    'for name in null zero; do mount --bind "$OWN_DEVICES/$name" "/dev/$name" || exit 1; done; exec sh "$@"' sh "$0" "$@" || status=$?
  rm -rf "$OWN_DEVICES"
  exit $status
fi
build=$(cd "${1:?BUILD-DIR}" && pwd)
faults=$(cd "${2:?FAULTS-BUILD-DIR}" && pwd)
shift 2

mechanisms="landlock filter broker architecture descriptors capabilities"
stage=$(public_dir kapsel-t)
trap 'rm -rf "$stage"' EXIT
cp "$build/kapsel" "$build/kapsel-pack" "$build/tests/hostile/hostile" "$stage/"
cp "$faults/kapsel" "$stage/kapsel-faults"
"$stage/hostile" list >"$stage/list"
printf 'kapsel: 1\nname: hostile\nversion: "1"\nentry: {command: [/hostile], cwd: /}\ncontents:\n  - copy: {from: hostile, to: /hostile}\n' >"$stage/hostile.yaml"
"$stage/kapsel" pack --quiet "$stage/hostile.yaml" -o "$stage/hostile.kapsel" || exit 1
chmod -R a+rX "$stage"

cat >"$stage/tree" <<'END'
#!/bin/sh
# What can be seen of each attempt's directory, access times aside.
cd "$1" && find . -mindepth 2 -printf '%P|%y %m %s %C@ %T@ %U:%G %n %l\n' -o -printf '%P\n' | sort
END

cat >"$stage/one" <<'END'
#!/bin/sh
# RESULT HOW [ATTEMPT...]: in a stage; HOW is native, a level, or a mechanism to leave out.
dir=${0%/*} result=$1 how=$2
shift 2
out=${HOSTILE#out=}
out=${out%% *}
sh "$dir/tree" "$out" >"$result.before"
image="$dir/hostile.kapsel -- /hostile"
# shellcheck disable=SC2086 # words
case $how in
  native) mkdir "$PWD/inside" && "$dir/hostile" run $HOSTILE inside="$PWD/inside" "$@" >"$result.said" 2>"$result.errors" ;;
  portable | strict) "$dir/kapsel" run --rm --quiet --net none --level "$how" $image run $HOSTILE "$@" >"$result.said" 2>"$result.errors" ;;
  *) KAPSEL_FAULT=$how "$dir/kapsel-faults" run --rm --quiet --net none --level strict $image run $HOSTILE "$@" >"$result.said" 2>"$result.errors" ;;
esac
echo $? >"$result.status"
sh "$dir/tree" "$out" >"$result.after"
# The names of attempts whose directories changed.
diff "$result.before" "$result.after" | sed -n 's/^[<>] \([^/|]*\).*/\1/p' | sort -u >"$result.changed"
END

cat >"$stage/all" <<'END'
#!/bin/sh
# RESULTS "HOW..." [ATTEMPT...]
dir=${0%/*} results=$1 hows=$2
shift 2
T=$(mktemp -d /var/tmp/kapsel-t.XXXXXX)
trap 'chmod -R u+rwx "$T" 2>/dev/null; rm -rf "$T"' EXIT
export HOME="$T/home" XDG_RUNTIME_DIR="$T/run" LC_ALL=C
mkdir -m 0700 "$HOME" "$XDG_RUNTIME_DIR"
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME KAPSEL_OPTS
for how in $hows; do
  mkdir -m 0755 "$T/$how" "$T/$how/cwd"
  (cd "$T/$how/cwd" && timeout -k 5 400 "$dir/hostile" stage "$T/$how" sh "$dir/one" "$results/$how" "$how" "$@")
done
END

# Result files to `NAME HOW yes|no|- REASON`.
verdicts() { # LABEL
  for how in $hows; do
    [ -s "$stage/$1/$how.said" ] || {
      echo "not ok - $1 $how: nothing was said" >&2
      sed 's/^/# /' "$stage/$1/$how.errors" >&2
      continue
    }
    awk -v how="$how" -v user="$1" '
      FILENAME ~ /changed$/ { changed[$1] = 1; next }
      FILENAME ~ /list$/ { marks[$1] = $3; next }
      { verdict = $2 == "got" ? "yes" : $2 == "n/a" ? "-" : "no"
        if (marks[$1] ~ /W/ && verdict != "-") verdict = changed[$1] ? "yes" : "no"
        if (changed[$1]) verdict = "yes"
        print user, $1, how, verdict, $3 }' "$stage/list" "$stage/$1/$how.changed" "$stage/$1/$how.said"
  done
}

hows="native portable strict $mechanisms all"
run() { # LABEL AS... -- ATTEMPT...
  label=$1
  mkdir -m 0777 "$stage/$label"
  chmod 0777 "$stage/$label"
  shift
  "$@"
  verdicts "$label" >>"$stage/verdicts" 2>>"$stage/failures"
}
: >"$stage/verdicts"
: >"$stage/failures"
if [ "$(id -u)" = 0 ]; then
  run root sh "$stage/all" "$stage/root" "$hows" "$@"
  if can_become_user; then run user as_user sh "$stage/all" "$stage/user" "$hows" "$@"; fi
else
  run user sh "$stage/all" "$stage/user" "$hows" "$@"
fi
cat "$stage/failures"

awk -v hows="$hows" -v mechanisms="$mechanisms" -v whole="$#" '
  FILENAME ~ /list$/ { order[++count] = $1; cases[$1] = $2; marks[$1] = $3; next }
  { v[$1, $2, $3] = $4; why[$1, $2, $3] = $5; users[$1] = 1; seen[$2] = 1 }
  function sign(x) { return x == "yes" ? "X" : x == "no" ? "." : x == "-" ? "-" : " " }
  END {
    n = split(hows, how, " ")
    for (u in users) {
      printf "# %s: X it succeeds; . it does not; - neither this kernel nor this user can\n# %-22s %-6s", u, "attempt", "case"
      for (i = 1; i <= n; i++) printf " %s", how[i]
      printf "\n"
      for (k = 1; k <= count; k++) {
        if (!seen[order[k]]) continue
        printf "# %-22s %-6s", order[k], cases[order[k]]
        for (i = 1; i <= n; i++) printf " %*s", length(how[i]), sign(v[u, order[k], how[i]])
        printf "\n"
      }
    }
    for (k = 1; k <= count; k++) {
      a = order[k]
      if (!seen[a]) continue
      proven = 0; other = 0
      for (u in users) {
        bad = ""
        if (v[u, a, "strict"] !~ /^(no|-)$/) bad = bad " strict"
        if (v[u, a, "portable"] !~ /^(no|-)$/ && !(marks[a] ~ /S/ && v[u, a, "portable"] == "yes")) bad = bad " portable"
        if (bad == "") print "ok - " u ": " a " (" cases[a] "): " why[u, a, "strict"]
        else print "not ok - " u ": " a " (" cases[a] ") succeeds at" bad
        if (a ~ /^(i386|x32)-/ && v[u, a, "native"] != "-") foreign = 1
        for (i = 1; i <= n; i++) if (how[i] !~ /^(portable|strict)$/) {
          if (v[u, a, how[i]] == "yes") proven = 1
          else if (how[i] == "native" && v[u, a, how[i]] == "no") other = 1
        }
      }
      if (proven) print "ok - " a ": succeeds natively or with something left out"
      else if (!other || !("root" in users)) print "ok - " a ": proven # SKIP neither this kernel nor this user can"
      else print "not ok - " a " succeeds nowhere: it proves nothing"
    }
    m = split(mechanisms, mech, " ")
    for (i = 1; i <= m && !whole; i++) {
      needed = 0; example = ""
      for (u in users) for (k = 1; k <= count; k++)
        if (v[u, order[k], mech[i]] == "yes" && v[u, order[k], "strict"] != "yes") { needed++; if (example == "") example = order[k] }
      if (needed) print "ok - " mech[i] " alone keeps " needed " (" example ", ...)"
      else if (mech[i] == "capabilities" && !("root" in users)) print "ok - capabilities # SKIP of root only"
      else if (mech[i] == "architecture" && !foreign) print "ok - architecture # SKIP this machine runs no calls of another"
      else print "not ok - " mech[i] " is needed by none"
    }
  }' "$stage/list" "$stage/verdicts" >"$stage/tap"
cat "$stage/tap"
[ ! -s "$stage/failures" ] && ! grep -q '^not ok' "$stage/tap"
