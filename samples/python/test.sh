#!/bin/sh
# Runs in a throw-away instance; KAPSEL is the launcher, IMAGE the packed sample.
set -eu
"$KAPSEL" run --rm "$IMAGE" -- /bin/sh /opt/test/test
for mode in full writecopy merged; do
  "$KAPSEL" run --rm --mode "/tmp=$mode" "$IMAGE" -- /bin/sh /opt/test/install
done
