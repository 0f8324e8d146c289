#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Prints src/registry/fold.inc: Unicode's simple case folding (CaseFolding.txt, statuses C and S) from Python's own tables, as ranges.
import unicodedata

def fold(c):
    s = chr(c)
    full = s.casefold()
    if len(full) == 1:
        return ord(full)
    low = s.lower()  # where the full folding is longer, the simple one is the lower case, if that is one letter
    return ord(low) if len(low) == 1 else c

pairs = [(c, fold(c) - c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and fold(c) != c]
ranges = []
for c, delta in pairs:
    if ranges:
        first, last, step, d = ranges[-1]
        if d == delta and (c - last == step or (first == last and c - last in (1, 2))):
            ranges[-1] = (first, c, c - last, d)
            continue
    ranges.append((c, c, 1, delta))
print(f"/* Made by tools/fold-table.py: Unicode {unicodedata.unidata_version}. First, last, step, difference. */")
line = ""
for r in ranges:
    item = "{0x%x, 0x%x, %d, %d}, " % r
    if len(line) + len(item) > 120:
        print(line.rstrip())
        line = ""
    line += item
print(line.rstrip())
