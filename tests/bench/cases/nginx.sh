# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='nginx under wrk: nanoseconds a request, without and with open_file_cache'
programs='nginx wrk awk cat mkdir'
prepare() {
  mkdir www tmp
  echo 'hello from a file' >www/index.html
  for cache in off max=100; do
    printf 'daemon off; pid %s/pid; error_log %s/log; worker_processes 1; events {}\nhttp { access_log off; open_file_cache %s;\n' "$PWD" "$PWD" "$cache"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $PWD/tmp;"; done
    printf 'server { listen 127.0.0.1:17392; root %s/www; } }\n' "$PWD"
  done | awk '/^daemon/ { n++ } { print > "conf." n }'
}
prints=1
command='for n in 1 2; do
  nginx -p "$PWD" -c "$PWD/conf.$n" 2>/dev/null & i=0
  until [ -s pid ]; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.05; done
  wrk -t1 -c8 -d1s http://127.0.0.1:17392/ | awk -v n=$n "/Requests\/sec/ { print n == 1 ? \"nginx\" : \"nginx-cached\", int(1e9 / \$2) }"
  kill "$(cat pid)"; wait; rm -f pid
done'
