#!/bin/sh
# Wine reads the image's registry, and what it writes is in the instance's. KAPSEL is the launcher, IMAGE the packed sample.
set -eu
name=sample-wine
trap '"$KAPSEL" rm "$name" >/dev/null 2>&1' EXIT
"$KAPSEL" run --instance "$name" "$IMAGE"
for key in 'HKCU\Software\Sample' 'HKLM\Software\Sample'; do
  "$KAPSEL" reg query "$name" "$key" /s
done
