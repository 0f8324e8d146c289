# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Two versions of Python side by side: neither sees the other's files, settings, sockets or ports. The second is KAPSEL_PYTHON, the prefix of one
# that was built from source (bin/python3 and lib/).
. "$STAGE/e2e/lib.sh"

one=$(python3 -c 'import sys; print(sys.prefix)' 2>/dev/null) || skip_rest 'no python3 on this host'
two=${KAPSEL_PYTHON-}
[ -n "$two" ] && [ -x "$two/bin/python3" ] || skip_rest 'no second Python: KAPSEL_PYTHON names its prefix'
[ -x /usr/bin/python3 ] && one=/usr
cat >work.py <<'END'
import os, pathlib, socket, sys, threading, urllib.request, http.server, site
name, port = sys.argv[1], int(sys.argv[2])
home = pathlib.Path.home()
user = pathlib.Path('/opt/lib') ; user.mkdir(parents=True, exist_ok=True)
(user / 'mine.py').write_text(f'name = {name!r}\n')
sys.path.insert(0, str(user))
import mine
settings = pathlib.Path('/etc/app.ini')
before = settings.exists()
settings.write_text(name)
local = socket.socket(socket.AF_UNIX); local.bind('\0app'); local.listen()
path = socket.socket(socket.AF_UNIX); path.bind('/run/app.sock'); path.listen()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(name.encode())
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print('ready', flush=True)
sys.stdin.readline()
answer = urllib.request.urlopen(f'http://127.0.0.1:{port}/').read().decode()
print(*sys.version_info[:2], mine.name, before, settings.read_text(), answer, server.server_address[1], socket.__file__.startswith(sys.prefix))
END
image() { # NAME PREFIX
  version=$("$2/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  {
    printf 'kapsel: 1\nname: %s\nversion: "%s"\nentry: {command: [%s/bin/python3], cwd: /}\ncontents:\n' "$1" "$version" "$2"
    printf '  - copy: {from: %s, to: %s}\n' "$2/lib/python$version" "$2/lib/python$version"
    printf '  - elf: [/bin/sh, %s' "$(readlink -f "$2/bin/python3")"
    find "$2/lib/python$version/lib-dynload" -name '*.so' -perm -0100 -printf ', %p'
    printf ']\n'
    [ "$(readlink -f "$2/bin/python3")" = "$2/bin/python3" ] || printf '  - symlink: {path: %s/bin/python3, to: %s}\n' "$2" "$(readlink -f "$2/bin/python3")"
    printf '  - copy: {from: %s/work.py, to: /work.py}\n  - exclude: ["/**/test/**", "/**/__pycache__/**", "/**/site-packages/**", "/**/dist-packages/**"]\n' "$T"
  } >"$1.yaml"
  TIMEOUT=200 try "$KAPSEL" pack --quiet --compression 1 "$1.yaml" -o "$1.kapsel"
  expect_status 0 "an image of Python $version"
}
image one $one
image two "$two"
reaches_sockets one.kapsel || skip_rest 'pidfd_getfd is refused here'
port=$((23000 + $$ % 4000))
for name in one two; do
  mkfifo "in-$name"
  "$KAPSEL" run --quiet --instance $name $name.kapsel -- "$(eval echo \$$name)/bin/python3" -B /work.py $name $port <"in-$name" >"$name.out" 2>"$name.err" &
done
exec 8>in-one 9>in-two
for name in one two; do
  wait_for grep -q ready "$name.out"
done
echo >&8
echo >&9
exec 8>&- 9>&-
wait
for name in one two; do
  version=$("$(eval echo \$$name)/bin/python3" -c 'import sys; print("%d %d" % sys.version_info[:2])')
  printf 'ready\n%s %s False %s %s %s True\n' "$version" $name $name $name $port >wanted
  if cmp -s wanted "$name.out"; then ok "Python $version has all for itself"; else not_ok "Python $version has all for itself" wanted "$name.out" "$name.err"; fi
done
finish
