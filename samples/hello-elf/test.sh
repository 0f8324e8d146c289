#!/bin/sh
# Runs in throw-away instances; KAPSEL is the launcher, IMAGE the packed sample.
set -eu
"$KAPSEL" run --rm "$IMAGE"
"$KAPSEL" run --rm "$IMAGE" -- /bin/sh -c 'cd /usr/bin; ls -1 ls'
"$KAPSEL" run --rm "$IMAGE" -- /usr/bin/env -i /bin/sh -c 'exit 0'
echo $?
