#!/bin/sh
# What gsettings sets is in the registry, and what is put there gsettings gets. KAPSEL is the launcher, IMAGE the packed sample.
set -eu
"$KAPSEL" run --rm "$IMAGE"
