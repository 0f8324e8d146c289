# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='PostgreSQL under pgbench: nanoseconds a transaction, 4 clients'
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
programs="${bin:-/nowhere}/postgres ${bin:-/nowhere}/pgbench ${bin:-/nowhere}/pg_ctl awk"
copies="/usr/share/postgresql /usr/share/zoneinfo ${bin%/bin}"
prepare() {
  "$bin/initdb" -D "$PWD/data" -A trust -U bench >/dev/null || return 1
  "$bin/pg_ctl" -D "$PWD/data" -w -o "-k '$PWD' -h ''" start >/dev/null || return 1
  "$bin/pgbench" -h "$PWD" -U bench -i -q -s 1 postgres
  rc=$?
  "$bin/pg_ctl" -D "$PWD/data" -w stop >/dev/null
  return $rc
}
prints=1
command="chmod 700 data; $bin/pg_ctl -D \"\$PWD/data\" -w -o \"-k '\$PWD' -h ''\" start >/dev/null || exit 1
$bin/pgbench -h \"\$PWD\" -U bench -n -c 4 -t 200 postgres | awk '/^tps/ { print \"pgbench\", int(1e9 / \$3) }'
$bin/pg_ctl -D \"\$PWD/data\" -w -m fast stop >/dev/null"
