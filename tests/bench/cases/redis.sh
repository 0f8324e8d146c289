# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='redis-benchmark: nanoseconds a SET, 20,000 of them by 10 clients'
programs='redis-server redis-benchmark redis-cli awk'
prints=1
command='redis-server --port 0 --unixsocket "$PWD/s" --save "" --daemonize no >/dev/null & i=0
until redis-cli -s "$PWD/s" ping >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.05; done
redis-benchmark -s "$PWD/s" -q -n 20000 -c 10 -t set --csv | awk -F, "/SET/ { gsub(/\"/, \"\"); printf \"redis %d\\n\", 1e9 / \$2 }"
redis-cli -s "$PWD/s" shutdown nosave'
