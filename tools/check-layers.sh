#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A file may include its own layer and the lower ones (src/README.md); finds includes that go up.
set -eu
cd "$(dirname "$0")/.."

find src packager include -name '*.[ch]' | sort | xargs awk '
BEGIN {
  n = split("base:0 image:1 store:1 registry:1 projection:1 manifest:1 profile:2 vfs:2 trap:3 sys:4 confine:5 instance:5 changes:6 snapshot:6 launch:7 cmd:8", rows, " ")
  for (i = 1; i <= n; i++) { split(rows[i], r, ":"); rank[r[1]] = r[2] }
  rank["loader"] = 0       # stands alone: base does not know it, anyone may carry it
  rank["kapsel"] = -1      # include/kapsel: what programs must agree on
  rank["main.c"] = 99
}
function complain(why) { printf "%s:%d: %s: %s\n", FILENAME, FNR, what, why; bad = 1 }
FNR == 1 {
  split(FILENAME, part, "/")
  room = part[1] == "src" ? part[2] : part[1] == "include" ? "kapsel" : "packager"
  if (!(room in rank) && room != "packager") { what = room; complain("a room without a place in the layers") }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
  split($0, quoted, "\""); what = quoted[2]
  if (split(what, p, "/") < 2) { complain("written without its directory"); next }
  to = p[1]
  if (to == "packager") { if (room != "packager") complain("only the packager includes the packager"); next }
  if (to == "tests" || !(to in rank)) { complain("not a room of the source"); next }
  if (room == "packager") {
    if (what == "vfs/record.h") next # what archives of instances carry
    if (rank[to] > 1 || to == "loader" || to == "cmd") complain("the packager stands on base, image, store, registry and manifest")
  } else if (room == "loader") {
    if (to != "loader" && to != "kapsel") complain("the loader is freestanding")
  } else if (room == "base" && to == "loader") {
    complain("base includes nothing but itself")
  } else if (rank[to] > rank[room]) {
    complain("goes up from " room)
  }
}
END { exit bad }'
