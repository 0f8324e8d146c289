#!/bin/sh
# Wine reads the image's registry, and what it writes is in the instance's. KAPSEL is the launcher, IMAGE the packed sample.
set -eu
"$KAPSEL" run --rm "$IMAGE"
