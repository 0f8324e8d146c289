#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What things cost: natively, under Kapsel, and under proot and bubblewrap where they are installed; engines take turns within
# one run, medians of rounds are compared. Prints a table with ratios to native; the figures also go to BUILD-DIR/bench.csv.
#   run-bench.sh BUILD-DIR [ROUNDS]
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
build=$(cd "${1:?BUILD-DIR}" && pwd)
rounds=${2:-3}

stage=$(public_dir kapsel-bench)
trap 'rm -rf "$stage"' EXIT
tree=$stage/t
mkdir -p "$stage/bin" "$tree/dir"
cp "$build/kapsel" "$build/kapsel-pack" "$build/tests/bench/timeit-static" "$stage/"
cp "$build/tests/bench/micro" "$build/tests/bench/micro-static" "$stage/bin/"
echo text >"$tree/file"
i=0
while [ $i -lt 100 ]; do : >"$tree/dir/f$i" && i=$((i + 1)); done
programs="/bin/sh, /bin/true, /bin/sleep, $stage/bin/micro, $stage/bin/micro-static"
extra= git= python=
if command -v git >/dev/null; then
  git=$(command -v git)
  programs="$programs, $git"
  mkdir "$tree/repo"
  (
    cd "$tree/repo" && git init -q . && git config gc.auto 0 && git config maintenance.auto false && i=0
    while [ $i -lt 100 ]; do
      mkdir "d$i" && j=0
      while [ $j -lt 100 ]; do echo "$i $j" >"d$i/f$j" && j=$((j + 1)); done
      i=$((i + 1))
    done
    git add . && git -c user.name=x -c user.email=x@example.org commit -qm 'ten thousand files'
  ) || git=
fi
if [ -x /usr/bin/python3 ]; then
  python=$(readlink -f /usr/bin/python3)
  programs="$programs, $python"
  extra="  - copy: {from: /usr/lib/$(basename "$python"), to: /usr/lib/$(basename "$python")}"
fi

engines=native
prefix_native=
if "$stage/kapsel" run --help >/dev/null 2>&1; then
  printf 'kapsel: 1\nname: bench\nversion: "1"\nentry: {command: [/bin/sh]}\ncontents:\n  - elf: [%s]\n%s\n  - copy: {from: %s, to: %s}\n' \
    "$programs" "$extra" "$tree" "$tree" >"$stage/manifest.yaml"
  "$stage/kapsel" pack --quiet "$stage/manifest.yaml" -o "$stage/image.kapsel" || exit 1
  # Instances and store of its own. Programs join an instance that runs; start:* is a throw-away instance from start to end.
  export XDG_DATA_HOME="$stage/data" XDG_CACHE_HOME="$stage/cache"
  "$stage/kapsel" run --quiet --instance bench "$stage/image.kapsel" -- /bin/sleep 86400 &
  trap '"$stage/kapsel" stop --time 0 bench; rm -rf "$stage"' EXIT
  i=0
  until "$stage/kapsel" exec bench -- /bin/true 2>/dev/null; do
    i=$((i + 1))
    [ $i -lt 100 ] || exit 1
    sleep 0.1
  done
  engines="$engines kapsel"
  prefix_kapsel="$stage/kapsel exec --cwd $tree bench --"
  start_kapsel="$stage/kapsel run --quiet --rm --cwd $tree $stage/image.kapsel --"
else
  echo "# this kapsel has no 'run': the others only"
fi
if command -v proot >/dev/null && proot /bin/true 2>/dev/null; then
  engines="$engines proot"
  prefix_proot="proot -r / -w $tree"
fi
if command -v bwrap >/dev/null && bwrap --dev-bind / / /bin/true 2>/dev/null; then
  engines="$engines bwrap"
  prefix_bwrap="bwrap --dev-bind / / --chdir $tree"
fi

cd "$tree" || exit 1
: >"$stage/raw"
measure() { # ENGINE: `engine case ns` lines
  eval "prefix=\$prefix_$1 start=\${start_$1-}"
  # shellcheck disable=SC2086,SC2154 # words are wanted
  {
    $prefix "$stage/bin/micro" 3
    $prefix "$stage/bin/micro-static" 3 | awk '$1 == "stat" || $1 == "open+close" { print $1 "-static", $2 }'
    "$stage/timeit-static" "run:sh-c-true" 10 $prefix /bin/sh -c true
    "$stage/timeit-static" "start:sh-c-true" 10 ${start:-$prefix} /bin/sh -c true
    [ -z "$git" ] || "$stage/timeit-static" "run:git-status-10000" 3 $prefix "$git" -C "$tree/repo" -c safe.directory='*' status --short
    [ -z "$python" ] || "$stage/timeit-static" "run:python3-c-pass" 5 $prefix "$python" -I -c pass
  } | sed "s/^/$1 /" >>"$stage/raw"
}
r=0
while [ $r -lt "$rounds" ]; do
  for engine in $engines; do measure "$engine"; done
  r=$((r + 1))
done

sort -k1,1 -k2,2 -k3,3n "$stage/raw" | awk -v engines="$engines" -v csv="$build/bench.csv" '
  { key = $1 SUBSEP $2; value[key, ++count[key]] = $3; cases[$2] = 1 }
  function median(engine, name, key) { key = engine SUBSEP name; return count[key] ? value[key, int((count[key] + 1) / 2)] : "" }
  END {
    n = split(engines, e, " ")
    m = split("read fstat stat stat-static stat-relative enoent open+close open+close-static getcwd readdir-100 create+unlink spawn-true " \
      "run:sh-c-true start:sh-c-true run:git-status-10000 run:python3-c-pass", order, " ")
    printf "%-22s", "microseconds"
    for (i = 1; i <= n; i++) printf "%12s", e[i]
    for (i = 2; i <= n; i++) printf "%14s", e[i] "/native"
    print ""
    print "case,engine,ns,ratio" > csv
    for (c = 1; c <= m; c++) {
      if (!(order[c] in cases)) continue
      base = median("native", order[c])
      printf "%-22s", order[c]
      for (i = 1; i <= n; i++) { v = median(e[i], order[c]); if (v == "") printf "%12s", "-"; else printf "%12.2f", v / 1000 }
      for (i = 2; i <= n; i++) { v = median(e[i], order[c]); if (v == "" || !base) printf "%14s", "-"; else printf "%14.1f", v / base }
      print ""
      for (i = 1; i <= n; i++) { v = median(e[i], order[c]); if (v != "") printf "%s,%s,%d,%.2f\n", order[c], e[i], v, base ? v / base : 0 > csv }
    }
  }'
echo "# figures: $build/bench.csv"
