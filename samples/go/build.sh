#!/bin/sh
# Needs golang-go.
set -eu
cd "$(dirname "$0")"
CGO_ENABLED=0 GO111MODULE=off go build -trimpath -o hello hello.go
