# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='pip install of a local wheel of 200 files'
programs=/usr/bin/python3
copies='/usr/lib/python3.11 /usr/lib/python3.12 /usr/lib/python3.13 /usr/lib/python3/dist-packages'
prepare() {
  /usr/bin/python3 -I -m pip --version || return 1
  /usr/bin/python3 -I - <<'END'
import zipfile
with zipfile.ZipFile("many-1-py3-none-any.whl", "w") as wheel:
    names = ["many/__init__.py"] + [f"many/m{i}.py" for i in range(200)]
    for name in names:
        wheel.writestr(name, "x = 1\n")
    wheel.writestr("many-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: many\nVersion: 1\n")
    wheel.writestr("many-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("many-1.dist-info/RECORD", "".join(f"{name},,\n" for name in names))
END
}
command='rm -rf site && /usr/bin/python3 -I -m pip install -q --no-index --no-cache-dir --target site ./many-1-py3-none-any.whl'
