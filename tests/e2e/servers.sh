# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL, Redis and nginx at their usual ports in two instances side by side: each is reached by its own clients, none by the
# other's, and from the host where it was published. TAP.
. "$STAGE/e2e/lib.sh"

mkdir guest
cat >guest/start <<'E'
# start NAME: three servers that answer NAME.
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
dir=/srv/servers
mkdir -p "$dir/www"
initdb -D "$dir/pg" -U test --auth=trust --locale=C.UTF-8 >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }
pg_ctl -w -D "$dir/pg" -l "$dir/pg.log" -o "-c listen_addresses=127.0.0.1 -c port=5432 -k /srv/servers" start >/dev/null || { cat "$dir/pg.log"; exit 1; }
psql -q -h 127.0.0.1 -p 5432 -U test -d postgres -c 'create table who(name text)' -c "insert into who values('$1')"
redis-server --bind 127.0.0.1 --port 6379 --dir "$dir" --logfile "$dir/redis.log" --daemonize yes >/dev/null
i=0
until redis-cli -p 6379 set who "$1" >/dev/null 2>&1; do
  i=$((i + 1))
  [ $i -lt 600 ] || { cat "$dir/redis.log"; exit 1; }
  sleep 0.1
done
echo "$1" >"$dir/www/who"
cat >"$dir/nginx.conf" <<END
pid $dir/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
  server { listen 80; root $dir/www; }
}
END
nginx -c "$dir/nginx.conf" -p "$dir" -e "$dir/nginx.log"
E
cat >guest/ask <<'E'
# ask POSTGRESQL REDIS NGINX: what the servers at these ports answer.
psql -h 127.0.0.1 -p "$1" -U test -d postgres -At -c 'select name from who' 2>/dev/null || echo none
redis-cli -p "$2" get who 2>/dev/null || echo none
curl -sf --max-time 60 "http://127.0.0.1:$3/who" || echo none
E
[ "$(id -u)" != 0 ] || skip_rest 'PostgreSQL does not start as root'
for program in /usr/lib/postgresql/15/bin/postgres /usr/bin/redis-server /usr/sbin/nginx /usr/bin/curl; do
  [ -x $program ] || skip_rest "$program is not installed"
done
cat >servers.yaml <<'E'
kapsel: 1
name: servers
entry: {command: [/bin/sh, /opt/start], cwd: /root}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/mkdir, /bin/sleep, /usr/sbin/nginx, /usr/bin/redis-server, /usr/bin/redis-cli, /usr/bin/curl]
  - copy: {from: /usr/lib/postgresql/15, to: /usr/lib/postgresql/15}
  - copy: {from: /usr/share/postgresql/15, to: /usr/share/postgresql/15}
  - elf: [/usr/lib/postgresql/15/bin/postgres, /usr/lib/postgresql/15/bin/initdb, /usr/lib/postgresql/15/bin/pg_ctl, /usr/lib/postgresql/15/bin/psql]
  - exclude: ["/usr/lib/postgresql/15/lib/bitcode/**", "/usr/share/postgresql/15/man/**"]
  - symlink: {path: /usr/bin/psql, to: ../lib/postgresql/15/bin/psql}
  - copy: {from: guest/, to: /opt, mode: "u=rwX,go=rX"}
E
TIMEOUT=200 try "$KAPSEL" pack --quiet --compression 1 servers.yaml -o servers.kapsel
expect_status 0 'an image of three servers'
reaches_sockets servers.kapsel || skip_rest 'pidfd_getfd is refused here'
trap 'for name in one two; do "$KAPSEL" stop $name; done >/dev/null 2>&1' EXIT

web=$((21000 + $$ % 4000 * 2))
try "$KAPSEL" run --quiet --instance one --publish $web:80 --publish $((web + 1)):5432 servers.kapsel -- /bin/sh /opt/start one
expect_status 0 'the first starts'
try "$KAPSEL" run --quiet --instance two servers.kapsel -- /bin/sh /opt/start two
expect_status 0 'the second starts beside it'
for name in one two; do
  try "$KAPSEL" exec $name -- /bin/sh /opt/ask 5432 6379 80
  expect_out "$(printf '%s\n%s\n%s' $name $name $name)" "in $name its own servers answer"
done
try "$KAPSEL" run --rm servers.kapsel -- /bin/sh /opt/ask $((web + 1)) 9 $web
expect_out "$(printf 'one\nnone\none')" 'what is published is reached from elsewhere'
# shellcheck disable=SC2016 # for the guest
try "$KAPSEL" exec two -- /bin/sh -c 'kill $(cat /srv/servers/nginx.pid); while [ -e /srv/servers/nginx.pid ]; do sleep 0.1; done; /bin/sh /opt/ask 5432 6379 80'
expect_out "$(printf 'two\ntwo\nnone')" "and one that has ended is not another instance's"
finish
