#!/bin/sh
# Needs musl-tools.
set -eu
cd "$(dirname "$0")"
musl-gcc -O2 -o hello hello.c
musl-gcc -O2 -static -o hello-static hello.c
