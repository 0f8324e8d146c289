#!/bin/sh
# Runs in a throw-away instance; KAPSEL is the launcher, IMAGE the packed sample.
set -eu
exec "$KAPSEL" run --rm "$IMAGE" -- /bin/sh /opt/test/test
