# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL under pgbench: snapshots in a row while it works; each recovers with every transaction that was acknowledged before it.
# KAPSEL_SNAPSHOTS: how many (50 by hand).
. "$STAGE/e2e/lib.sh"

[ "$(id -u)" != 0 ] || skip_rest 'PostgreSQL does not start as root'
bin=/usr/lib/postgresql/15/bin
for program in postgres initdb pg_ctl psql pgbench; do
  [ -x $bin/$program ] || skip_rest "$bin/$program is not installed"
done
snapshots=${KAPSEL_SNAPSHOTS:-3}
mkdir guest
# shellcheck disable=SC2016 # for the guest's shell
cat >guest/work <<'END'
# work: a cluster under load; each number that was committed is printed.
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
dir=/srv/db
initdb -D $dir -U test --auth=trust --locale=C.UTF-8 >/dev/null
pg_ctl -w -D $dir -l $dir/log -o "-c listen_addresses= -k $dir" start >/dev/null
createdb -h $dir -U test bench
pgbench -q -i -s 1 -h $dir -U test bench >/dev/null 2>&1
psql -q -h $dir -U test bench -c 'create table acked(n int primary key)'
pgbench -n -c 4 -T 3600 -h $dir -U test bench >/dev/null 2>&1 &
i=0
while :; do i=$((i + 1)); echo "insert into acked values($i); select $i;"; done | psql -qAt -h $dir -U test bench
END
cat >guest/check <<'END'
# check: starts the cluster as after a power cut; how many numbers it has, whether all up to the last are there, whether the books balance.
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
dir=/srv/db
rm -f $dir/postmaster.pid
pg_ctl -w -t 120 -D $dir -l $dir/log -o "-c listen_addresses= -k $dir" start >/dev/null
psql -qAt -h $dir -U test bench -c 'select max(n), max(n) = count(*) from acked' \
  -c 'select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)'
pg_ctl -w -D $dir -m immediate stop >/dev/null
END
cat >db.yaml <<'END'
kapsel: 1
name: db
entry: {command: [/bin/sh, /opt/work], cwd: /}
contents:
  - elf: [/bin/sh, /bin/rm]
  - copy: {from: /usr/lib/postgresql/15, to: /usr/lib/postgresql/15}
  - copy: {from: /usr/share/postgresql/15, to: /usr/share/postgresql/15}
  - elf: [/usr/lib/postgresql/15/bin/postgres, /usr/lib/postgresql/15/bin/initdb, /usr/lib/postgresql/15/bin/pg_ctl, /usr/lib/postgresql/15/bin/psql, /usr/lib/postgresql/15/bin/createdb, /usr/lib/postgresql/15/bin/pgbench]
  - exclude: ["/usr/lib/postgresql/15/lib/bitcode/**", "/usr/share/postgresql/15/man/**"]
  - copy: {from: guest/, to: /opt, mode: "u=rwX,go=rX"}
END
TIMEOUT=200 try "$KAPSEL" pack --quiet --compression 1 db.yaml -o db.kapsel
expect_status 0 'an image of PostgreSQL'
trap '"$KAPSEL" stop --time 0 p >/dev/null 2>&1' EXIT
"$KAPSEL" run --quiet --instance p db.kapsel >acked 2>acked.err &
runs=$!
begun() { [ "$(wc -l <acked)" -gt 20 ]; }
wait_for begun || wait_for begun # a cluster is made before
n=0 bad=''
: >held
while [ "$n" -lt "$snapshots" ] && [ -z "$bad" ]; do
  n=$((n + 1))
  tail -n 2 acked | head -1 >"acked.$n"
  try "$KAPSEL" snapshot create --json p "s$n"
  [ "$status" = 0 ] || bad="snapshot $n"
  sed -n 's/.*"held_ms":\([0-9.]*\),"copied_files":\([0-9]*\),"copied_bytes":\([0-9]*\),"copying_ms":\([0-9.]*\).*/\1 \2 \3 \4/p' out >>held
  sleep 0.1
done
more() { [ "$(tail -n 2 acked | head -1)" -gt "$last" ]; }
last=$(tail -n 1 acked)
[ -n "$bad" ] || wait_for more || bad="nothing is committed any more"
"$KAPSEL" stop --time 0 p
wait "$runs"
if [ -z "$bad" ]; then ok "$n snapshots under pgbench"; else not_ok "snapshots under pgbench: $bad" out err acked.err; fi
sort -n held | awk '{ a[NR] = $1; files += $2; bytes += $3; rest = $1 - $4; most = rest > most ? rest : most; all += rest }
  END { if (NR) print "# held still for " a[1] " to " a[NR] " ms, half of them at most " a[int((NR + 1) / 2)] "; copied meanwhile: " int(files / NR) " files, " \
  int(bytes / NR / 1024) " KiB each time; without the copying " all / NR " ms, at most " most }'
all=$(find "$HOME/.local/share/kapsel/instances/p/snapshots/s1/files" -type f | wc -l)
if [ -s held ] && [ "$(awk '{ print $2 }' held | sort -n | tail -1)" -lt $((all / 3)) ]; then ok "of $all files most are not copied while it stands still"; else not_ok "of $all files were copied while it stood still:" held; fi
n=0
while [ "$n" -lt "$snapshots" ] && [ -z "$bad" ]; do
  n=$((n + 1))
  try "$KAPSEL" snapshot restore p "s$n"
  [ "$status" = 0 ] || bad="restore $n"
  TIMEOUT=200 try "$KAPSEL" run --quiet --instance p db.kapsel -- /bin/sh /opt/check
  has=$(sed -n '1s/|t$//p' out)
  [ "${has:-0}" -ge "$(cat "acked.$n")" ] && [ "$(sed -n 2p out)" = t ] || bad="snapshot $n: acknowledged $(cat "acked.$n"), has '$(tr '\n' ' ' <out)'"
done
if [ -z "$bad" ]; then ok "each recovers with all that was acknowledged"; else not_ok "recovery: $bad" out err; fi
finish
