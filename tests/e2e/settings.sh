# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Real programs and their settings in the registry: git, python, redis, nginx; two versions side by side; policy.
. "$STAGE/e2e/lib.sh"

query() { # INSTANCE KEY NAME: its data
  try "$KAPSEL" reg query "$1" "$2" /v "$3"
  sed -n 's/^    [^ ].*    REG_[A-Z_]*    //p' "$T/out" >"$T/data" && mv "$T/data" "$T/out"
}
add() { # INSTANCE KEY NAME TYPE DATA
  try "$KAPSEL" reg add "$1" "$2" /v "$3" /t "$4" /d "$5" /f
  [ "$status" = 0 ] || not_ok "reg add $3" "$T/err"
}
pack() { # NAME: the manifest on standard input
  cat >"$T/$1.yaml"
  TIMEOUT=300 try "$KAPSEL" pack --quiet --compression 1 "$T/$1.yaml" -o "$T/$1.kapsel"
  [ "$status" = 0 ] || not_ok "packing $1" "$T/err"
}

# --- python: a JSON file in place, and written anew and renamed ---
if [ -x /usr/bin/python3 ]; then
  stdlib=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  cat >"$T/edit.py" <<'END'
import json, os, sys

path = "/etc/app.json"
with open(path) as f:
    settings = json.load(f)
print(settings["ui"]["theme"], settings["ui"]["size"], settings["recent"])
settings["ui"]["theme"] = sys.argv[2]
settings["ui"]["size"] += 1
settings["ui"]["wide"] = True
if sys.argv[1] == "in-place":
    with open(path, "w") as f:
        json.dump(settings, f, indent=2)
else:
    with open(path + ".new", "w") as f:
        json.dump(settings, f, indent=2)
        f.flush()
        os.fsync(f.fileno())
    os.rename(path + ".new", path)
END
  cat >"$T/tree.py" <<'END'
import ctypes, os, select, struct, subprocess

root = "/proc/registry/HKEY_CURRENT_USER/"
os.mkdir(root + "Types")
for kind, text in [("REG_SZ", b"text"), ("REG_EXPAND_SZ", b"%HOME%"), ("REG_MULTI_SZ", b"a\nb\n"), ("REG_DWORD", b"4294967295"),
                   ("REG_QWORD", b"18446744073709551615"), ("REG_BINARY", b"\0\xff"), ("REG_NONE", b"")]:
    path = root + "Types/" + kind
    with open(path, "wb") as f:
        f.write(text)
    os.setxattr(path, "user.kapsel.type", kind.encode())
    assert os.getxattr(path, "user.kapsel.type").decode() == kind and os.listxattr(path) == ["user.kapsel.type"], kind
    with open(path, "rb") as f:
        assert f.read() == text, kind
print(" ".join(sorted(os.listdir(root + "Types"))))
try:
    os.setxattr(root + "Types/REG_SZ", "user.kapsel.type", b"REG_DWORD")
except OSError as e:
    print("text is no number:", e.strerror)

# Whoever changes a value, and however: a watched key is told.
libc = ctypes.CDLL(None)
watch = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(watch, (root + "Types").encode(), 0x2 | 0x8 | 0x100 | 0x200) > 0
def events():
    names = set()
    while select.select([watch], [], [], 30 if not names else 0.2)[0]:
        data, at = os.read(watch, 65536), 0
        while at < len(data):
            _, _, _, length = struct.unpack_from("iIII", data, at)
            names.add(data[at + 16:at + 16 + length].rstrip(b"\0").decode())
            at += 16 + length
    return names
with open(root + "Types/REG_SZ", "w") as f:
    f.write("other")
print("written:", "REG_SZ" in events())
subprocess.run(["/.kapsel/reg", "add", r"HKCU\Types", "/v", "New", "/d", "x", "/f"], check=True, stdout=subprocess.DEVNULL)
print("added:", "New" in events())

# Limits.
with open(root + "Types/big", "wb") as f:
    f.write(b"x" * (3 << 20))
print(os.stat(root + "Types/big").st_size)
os.mkdir(root + "k" * 255)
subprocess.run(["/.kapsel/reg", "add", "HKCU" + r"\d" * 511], check=True, stdout=subprocess.DEVNULL)
print("deep:", os.path.isdir(root + "d/" * 511))
try:
    os.mkdir(root + "d/" * 511 + "d")
except OSError as e:
    print("too deep:", e.strerror)
END
  cp "$stdlib"/lib-dynload/_ctypes.*.so "$T/needs-ffi" # packed as a program, for its libraries
  chmod 0755 "$T/needs-ffi"
  pack python <<END
kapsel: 1
name: python
version: "1"
entry: {command: [/usr/bin/python3, -I, /edit.py], cwd: /}
contents:
  - elf: [/usr/bin/python3, $T/needs-ffi]
  - copy: {from: $stdlib/, to: $stdlib}
  - copy: {from: edit.py, to: /edit.py}
  - copy: {from: tree.py, to: /tree.py}
  - file: {path: /etc/app.json, text: "{\"recent\": [1, 2.5], \"ui\": {\"size\": 1}}\n"}
  - exclude: ["$stdlib/**/__pycache__/**"]
$(for dir in asyncio concurrent "config-*" curses dbm dist-packages distutils email ensurepip html http idlelib lib2to3 logging multiprocessing \
    pydoc_data sqlite3 test tkinter tomllib turtledemo unittest venv wsgiref xml xmlrpc zoneinfo; do echo "  - exclude: [\"$stdlib/$dir/**\"]"; done)
registry:
  values:
    - {key: 'HKCU\\Software\\App\\ui', name: theme, type: REG_SZ, data: light}
    - {key: 'HKCU\\Software\\App\\ui', name: size, type: REG_DWORD, data: 12}
  projections: [{file: /etc/app.json, format: json, key: 'HKCU\\Software\\App'}]
END
  python() { try "$KAPSEL" run --instance py "$T/python.kapsel" -- /usr/bin/python3 -I /edit.py "$@"; }
  python in-place dark
  expect_out 'light 12 [1, 2.5]' "python reads a JSON projection"
  query py 'HKCU\Software\App\ui' theme
  expect_out dark "and writes it in place"
  query py 'HKCU\Software\App\ui' size
  expect_out 0xd "numbers stay numbers"
  add py 'HKCU\Software\App\ui' theme REG_SZ blue
  python renamed red
  expect_out 'blue 13 [1, 2.5]' "what is set outside is there at the next start"
  query py 'HKCU\Software\App\ui' theme
  expect_out red "and what is written anew and renamed is taken"
  TIMEOUT=120 try "$KAPSEL" run --instance py "$T/python.kapsel" -- /usr/bin/python3 -I /tree.py
  expect_out 'REG_BINARY REG_DWORD REG_EXPAND_SZ REG_MULTI_SZ REG_NONE REG_QWORD REG_SZ
text is no number: Invalid argument
written: True
added: True
3145728
deep: True
too deep: File name too long' "the tree: seven types by their attribute, watching, limits"
  try "$KAPSEL" reg query py 'HKCU\Types' /v REG_MULTI_SZ
  if grep -qx '    REG_MULTI_SZ    REG_MULTI_SZ    a.0b' "$T/out"; then ok "as outside"; else not_ok "as outside" "$T/out"; fi
else
  skip python "it is not here"
fi

# --- redis: its file, changed by CONFIG REWRITE ---
if [ -x /usr/bin/redis-server ] && [ -x /usr/bin/redis-cli ]; then
  pack redis <<'END'
kapsel: 1
name: redis
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/sleep, /usr/bin/redis-server, /usr/bin/redis-cli]
  - file: {path: /etc/redis.conf, text: "# kept\nport 0\nsave \"\"\nmaxmemory 1mb\n"}
  - file: {path: /test, text: "redis-server /etc/redis.conf >/log &\nuntil redis-cli -s /run/redis ping >/dev/null 2>&1; do sleep 0.1; done\nredis-cli -s /run/redis \"$@\"\nredis-cli -s /run/redis shutdown nosave\nwait\n"}
registry:
  values:
    - {key: 'HKLM\Software\Redis', name: maxmemory, type: REG_SZ, data: 7340032}
    - {key: 'HKLM\Software\Redis', name: unixsocket, type: REG_SZ, data: /run/redis}
  projections: [{file: /etc/redis.conf, format: plain, key: 'HKLM\Software\Redis'}]
END
  # By its socket, whose address only the supervisor can judge at that level.
  redis_level=strict
  reaches_sockets "$T/redis.kapsel" || redis_level=portable
  redis_sh() { try "$KAPSEL" run --instance redis --profile isolated --level "$redis_level" "$T/redis.kapsel" -- /bin/sh "$@"; }
  redis() { redis_sh /test "$@"; }
  redis config get maxmemory
  expect_out 'maxmemory
7340032' "redis starts with what the registry says"
  add redis 'HKLM\Software\Redis' maxmemory REG_SZ 9mb
  redis config get maxmemory
  expect_out 'maxmemory
9437184' "and with what is set outside"
  redis_sh -c 'redis-server /etc/redis.conf >/log &
    until redis-cli -s /run/redis ping >/dev/null 2>&1; do sleep 0.1; done
    for words in "config set maxmemory 6mb" "config rewrite" "shutdown nosave"; do redis-cli -s /run/redis $words; done; wait'
  expect_out 'OK
OK' "redis rewrites its file"
  query redis 'HKLM\Software\Redis' maxmemory
  expect_out 6mb "which is in the registry"
  redis_sh -c 'cat /etc/redis.conf'
  if grep -qx '# kept' "$T/out" && grep -qx 'maxmemory 6mb' "$T/out"; then ok "and its comments stay"; else not_ok "redis.conf" "$T/out" "$T/err"; fi
else
  skip redis "it is not here"
fi

# --- nginx: a file with blocks ---
if [ -x /usr/sbin/nginx ]; then
  pack nginx <<'END'
kapsel: 1
name: nginx
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/mkdir, /usr/sbin/nginx]
  - file: {path: /etc/nginx.conf, text: "pid /tmp/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {\n  worker_connections 16;\n}\n"}
registry:
  values: [{key: 'HKLM\Software\Nginx', name: worker_processes, type: REG_DWORD, data: 3}]
  projections: [{file: /etc/nginx.conf, format: plain, key: 'HKLM\Software\Nginx'}]
END
  nginx() { try "$KAPSEL" run --instance nginx --profile isolated "$T/nginx.kapsel" -- /bin/sh -c 'mkdir -p /var/log/nginx /var/lib/nginx; exec nginx -T -c /etc/nginx.conf'; }
  nginx
  if [ "$status" = 0 ] && grep -qx 'worker_processes 3;' "$T/out" && grep -q 'worker_connections 16' "$T/out"; then ok "nginx takes its configuration"; else not_ok "nginx" "$T/out" "$T/err"; fi
  add nginx 'HKLM\Software\Nginx' worker_processes REG_SZ many
  nginx
  if [ "$status" = 1 ] && grep -q 'worker_processes. directive invalid value' "$T/err"; then ok "and what is wrong in it"; else not_ok "nginx: many" "$T/out" "$T/err"; fi
else
  skip nginx "it is not here"
fi

# --- two versions at once, policy; git as the program ---
if [ -x /usr/bin/git ]; then
  for version in 1 2; do
    pack "two-$version" <<END
kapsel: 1
name: two
version: "$version"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/cat, /bin/sleep, /usr/bin/git]
registry:
  values: [{key: 'HKCU\\Software\\Git\\user', name: name, type: REG_SZ, data: "version $version"}]
  projections: [{file: /etc/gitconfig, format: ini, key: 'HKCU\\Software\\Git'}]
END
  done
  for version in 1 2; do
    "$KAPSEL" run --instance "two-$version" "$T/two-$version.kapsel" -- /bin/sh -c '
      git config --system user.name; echo up; until [ -e /go ]; do sleep 0.1; done
      git config --system user.name; cat /proc/registry/HKEY_CURRENT_USER/Software/Git/user/name; echo' >"$T/two-$version" 2>&1 &
  done
  wait_for grep -q up "$T/two-1"
  wait_for grep -q up "$T/two-2"
  add two-1 'HKCU\Software\Git\user' name REG_SZ first
  add two-2 'HKCU\Software\Git\user' name REG_SZ second
  for version in 1 2; do "$KAPSEL" exec "two-$version" -- /bin/sh -c ': >/go'; done
  wait
  status=0
  cat "$T/two-1" "$T/two-2" >"$T/out"
  expect_out 'version 1
up
first
first
version 2
up
second
second' "two versions side by side, each with its own value of a key"

  mkdir -p "$HOME/.config/kapsel/profiles"
  chmod 0700 "$HOME/.config/kapsel"
  cat >"$HOME/.config/kapsel/profiles/firm.yaml" <<'END'
kapsel: 1
include: portable
registry: [{key: 'HKCU\Software\Git\user', name: name, type: REG_SZ, data: The Firm}]
END
  try "$KAPSEL" run --instance firm --profile firm "$T/two-1.kapsel" -- /bin/sh -c '
    git config --system user.name; git config --system user.name me; echo $?; git config --system user.mail m; git config --system user.mail
    echo "[user] name = me" >/etc/gitconfig; git config --system user.name
    echo -n me >/proc/registry/HKEY_CURRENT_USER/Software/Git/user/name; git config --system user.name'
  expect_out 'The Firm
4
m
The Firm
The Firm' "policy wins over all that a program writes"
  if grep -q 'error: could not write config file /etc/gitconfig: Permission denied' "$T/err" && grep -q 'name: Permission denied' "$T/err" &&
    grep -q '/etc/gitconfig: HKCU.Software.Git.user: name: not taken into the registry: policy sets it' "$T/err"; then
    ok "EACCES where a file is renamed over it, and in the tree; a line where it is written in place"
  else
    not_ok "policy: EACCES" "$T/err"
  fi
else
  skip git "it is not here"
fi
finish
