#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What things cost, as an ordinary user: natively, under Kapsel at both levels, and under the peers that are installed. Engines take
# turns within a round; ratios are those of one round, so that what slows the machine slows both. Each case is a file of bench/cases;
# one whose program is missing is skipped by name. A table; the figures go to BUILD-DIR/bench.csv, a plot of them to bench.svg.
# Trees, and the instances' files, are in memory where there is room; those of cases that wait for a disk (place=disk) are on one.
#   CASES="stat git-status" ROUNDS=15 ENGINES="native strict" run-bench.sh BUILD-DIR
# PAGE=1: a page of them with the plot and the machine's description, too: docs/BENCH.md and docs/bench.svg.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

machine() { # what the figures were taken on, in a sentence
  awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo | tr -s ' ' | sed 's/ *$//'
  echo ", $(nproc) cores, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
  grep -q '^flags.* hypervisor' /proc/cpuinfo && echo ", a virtual machine"
  echo "; Linux $(uname -r | sed "s/[^0-9.].*//"), $(. /etc/os-release && echo "$PRETTY_NAME"), $(stat -f -c %T /var/tmp); load $(cut -d' ' -f1 /proc/loadavg) before; $(date +%Y-%m-%d)."
}

if [ -z "${BENCH_INNER-}" ]; then
  on=$(machine | tr -d '\n')
  build=$(cd "${1:?BUILD-DIR}" && pwd)
  stage=$(public_dir kapsel-bench)
  trap 'rm -rf "$stage"' EXIT
  mkdir "$stage/bin"
  cp -R "$here/bench/cases" "$here/lib.sh" "$here/run-bench.sh" "$build/kapsel" "$build/kapsel-pack" "$stage/"
  cp "$build"/tests/bench/micro "$build"/tests/bench/micro-static "$build"/tests/bench/timeit-static "$build"/tests/bench/names-static "$build"/tests/bench/least "$stage/bin/"
  chmod -R a+rX "$stage"
  rounds=${ROUNDS:-15}
  TEST_UID=${KAPSEL_TEST_UID:-$(id -u nobody)} # PostgreSQL does nothing for who has no account
  for place in memory disk; do
    as_user env BENCH_INNER=1 PLACE=$place CASES="${CASES-}" ROUNDS="$rounds" ENGINES="${ENGINES-}" sh "$stage/run-bench.sh" || exit 1
  done >"$stage/raw"
  [ -s "$stage/raw" ] || exit 1
  awk -v csv="$build/bench.csv" -f "$here/bench/report.awk" "$stage/raw" || exit 1
  awk -F, -f "$here/bench/plot.awk" "$build/bench.csv" >"$build/bench.svg"
  echo "# $rounds rounds; figures: $build/bench.csv, plot: $build/bench.svg"
  if [ -n "${PAGE-}" ]; then
    cp "$build/bench.svg" "$here/../docs/bench.svg"
    awk -F, -v machine="$on" -v plot=bench.svg -f "$here/bench/page.awk" "$build/bench.csv" >"$here/../docs/BENCH.md" || exit 1
    echo "# page: docs/BENCH.md"
  fi
  exit 0
fi

stage=$here
base=/var/tmp
if [ "$PLACE" = memory ]; then
  if [ "$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')0" -gt 20000000 ] && [ -w /dev/shm ]; then base=/dev/shm; else echo "# no room in /dev/shm: all is on a disk" >&2; fi
fi
work=$(mktemp -d $base/kpb.XXXXXX)
disk=$(mktemp -d /var/tmp/kpb.XXXXXX) # what an image holds is unpacked there: programs are mapped from a disk everywhere
kapsel=$stage/kapsel
export XDG_DATA_HOME="$work/data" XDG_CACHE_HOME="$disk" HOME="$work/home" PATH="$PATH:/usr/sbin:/sbin" stage work kapsel
mkdir "$HOME"
levels=
finish() {
  for level in $levels; do "$kapsel" stop --time 0 "bench-$level" 2>/dev/null; done
  chmod -R u+rwx "$work" "$disk" 2>/dev/null
  rm -rf "$work" "$disk"
}
trap finish EXIT
trap 'exit 1' INT TERM
tree=$work/t
inside=$tree
[ $base = /var/tmp ] || inside=/bench/${work##*/}/t # a guest's /dev/shm is its own
mkdir "$tree"

# For cases: 100,000 values in 100 keys, as a .reg file.
many_values() {
  awk 'BEGIN {
    print "REGEDIT4\n"
    for (k = 0; k < 100; k++) {
      printf "[HKEY_CURRENT_USER\\Big\\k%03d]\n", k
      for (v = 0; v < 1000; v++) printf "\"v%05d\"=\"value %d of %d\"\n", v, v, k
    }
  }'
}

# A case: `title`; `programs` that it needs, `copies` of more of the host's files; `prepare`, once, in its directory; `command`, timed
# there by each engine, or one that prints `NAME NUMBER` lines itself (prints=1); or `outside`, a command of the host in which $start
# starts a program anew, with `before` in front, which is not timed. `unit` of the numbers; `engines`, where not all make sense; `place`.
load() {
  title='' programs='' copies='' command='' outside='' prints='' unit=ns engines='' off='' place=memory
  prepare() { :; }
  before() { :; }
  # shellcheck disable=SC1090
  . "$stage/cases/$1.sh"
}

missing() {
  for program in $programs; do command -v "$program" >/dev/null || echo "$program"; done
}

all=$(cd "$stage/cases" && ls | sed 's/\.sh$//')
if [ "${CASES-}" = help ]; then
  for name in $all; do
    load "$name"
    printf '%-12s%s%s\n' "$name" "$title" "${off:+ (only where named)}" >&2
  done
  exit 1
fi
chosen=
for name in ${CASES:-$all}; do
  [ -f "$stage/cases/$name.sh" ] || {
    echo "run-bench: $name: no such case; there are: $all" >&2
    exit 1
  }
  load "$name"
  [ -z "$off" ] || [ -n "${CASES-}" ] || continue
  [ "$place" = "$PLACE" ] || continue
  lack=$(missing)
  mkdir "$tree/$name"
  if [ -n "$lack" ]; then
    echo "# $name: skipped, not installed: $lack" >&2
  elif ! (cd "$tree/$name" && prepare) >"$work/log" 2>&1; then
    echo "# $name: skipped, cannot be prepared: $(tail -n 1 "$work/log")" >&2
  else
    chosen="$chosen $name"
    for program in $programs; do readlink -f "$(command -v "$program")"; done >>"$work/programs"
    for program in $programs; do command -v "$program"; done >>"$work/programs"
    for copy in $copies; do echo "$copy"; done >>"$work/copies"
  fi
done
[ -n "$chosen" ] || exit 0

# One image for all.
{
  printf 'kapsel: 1\nname: bench\nversion: "1"\nentry: {command: [/bin/sh]}\ncontents:\n'
  [ ! -s "$work/copies" ] || sort -u "$work/copies" | while read -r copy; do
    [ ! -e "$copy" ] || echo "  - copy: {from: $copy, to: $copy}"
  done
  printf '  - elf: [/bin/sh, /bin/true, /bin/sleep, /bin/rm, /bin/mkdir, /bin/cat, %s/bin/micro, %s/bin/micro-static, %s/bin/timeit-static' "$stage" "$stage" "$stage"
  sort -u "$work/programs" 2>/dev/null | while read -r program; do printf ', %s' "$program"; done
  printf ']\n  - copy: {from: %s, to: %s}\n' "$tree" "$inside"
} >"$work/bench.yaml"
"$kapsel" pack --quiet --compression 3 "$work/bench.yaml" -o "$work/bench.kapsel" || exit 1

works() { # ENGINE
  case $1 in
    native) return 0 ;;
    portable | strict)
      "$kapsel" run --quiet --instance "bench-$1" --level "$1" "$work/bench.kapsel" -- /bin/sleep 86400 >/dev/null 2>&1 &
      levels="$levels $1" tries=0
      until "$kapsel" exec "bench-$1" -- /bin/true 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || return 1
        sleep 0.1
      done
      ;;
    least) engine least / /bin/true >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null && engine "$1" / /bin/true >/dev/null 2>&1 ;;
  esac
}

engine() { # ENGINE DIRECTORY CMD...
  e=$1 d=$2
  shift 2
  case $e in
    native) (cd "$d" && exec "$@") ;;
    portable | strict) "$kapsel" exec --cwd "$inside${d#"$tree"}" "bench-$e" -- "$@" ;;
    least) (cd "$d" && exec "$stage/bin/least" "$@") ;;
    bwrap) bwrap --dev-bind / / --chdir "$d" "$@" ;;
    proot) proot -r / -w "$d" "$@" ;;
    fakechroot) fakechroot chroot / /bin/sh -c 'cd "$0" && exec "$@"' "$d" "$@" ;;
    firejail) (cd "$d" && exec firejail --quiet --noprofile -- "$@") ;;
  esac
}

starting() { # ENGINE: what starts a program anew
  case $1 in
    portable | strict) echo "$kapsel run --quiet --level $1 --instance start-$1 " ;;
    least) echo "$stage/bin/least " ;;
    bwrap) echo "bwrap --dev-bind / / " ;;
    proot) echo "proot -r / " ;;
    firejail) echo "firejail --quiet --noprofile -- " ;;
  esac
}

usable=
for e in ${ENGINES:-native portable strict least bwrap proot fakechroot firejail}; do
  if works "$e"; then usable="$usable $e"; else echo "# $e: not installed, or does not work here" >&2; fi
done

sample() { # ROUND NAME ENGINE: `round case engine number unit` lines
  dir=$tree/$2
  start=$(starting "$3")
  if [ -n "$outside" ]; then
    export start
    (cd "$dir" && before "$3") >/dev/null 2>&1
    if [ -n "$prints" ]; then
      (cd "$dir" && ENGINE=$3 sh -c "$outside")
    else
      (cd "$dir" && ENGINE=$3 "$stage/bin/timeit-static" "$2" 1 /bin/sh -c "$outside")
    fi
  elif [ -n "$prints" ]; then
    engine "$3" "$dir" /bin/sh -c "$command"
  else
    engine "$3" "$dir" "$stage/bin/timeit-static" "$2" 1 /bin/sh -c "$command"
  fi 2>"$work/log" | awk -v r="$1" -v e="$3" -v u="$unit" 'NF == 2 { print r, $1, e, $2, u }' >"$work/lines"
  if [ -s "$work/lines" ]; then
    [ "$1" = 0 ] || cat "$work/lines"
  else
    [ "$1" != 0 ] || echo "# $2: $3: failed: $(tail -n 1 "$work/log")" >&2
  fi
}

round=0 # that of number 0 warms up and does not count
while [ $round -le "$ROUNDS" ]; do
  for name in $chosen; do
    load "$name"
    for e in ${engines:-$usable}; do
      case " $usable " in *" $e "*) sample $round "$name" "$e" ;; esac
    done
  done
  round=$((round + 1))
done
