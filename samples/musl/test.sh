#!/bin/sh
# Runs in throw-away instances; KAPSEL is the launcher, IMAGE the packed sample.
set -eu
"$KAPSEL" run --rm "$IMAGE" -- /usr/bin/hello dynamic
"$KAPSEL" run --rm "$IMAGE" -- /usr/bin/hello-static static
