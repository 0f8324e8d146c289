# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='sqlite: 200 transactions, rollback journal and WAL'
programs=sqlite3
prepare() {
  for mode in delete wal; do
    echo "PRAGMA journal_mode=$mode; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);"
    i=0
    while [ $i -lt 200 ]; do echo "BEGIN; INSERT INTO t (b) VALUES ('row $i'); COMMIT;" && i=$((i + 1)); done
    echo 'SELECT count(*) FROM t;'
  done | awk '/^PRAGMA/ { n++ } { print > "sql." n }'
}
prints=1
command="rm -f j.db* w.db*; $stage/bin/timeit-static sqlite-journal 1 sqlite3 j.db '.read sql.1' && $stage/bin/timeit-static sqlite-wal 1 sqlite3 w.db '.read sql.2'"
