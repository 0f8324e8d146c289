#!/bin/sh
# What gsettings sets is in the registry, and what is added there gsettings gets. KAPSEL is the launcher, IMAGE the packed sample.
set -eu
name=sample-gsettings
trap '"$KAPSEL" rm "$name" >/dev/null 2>&1' EXIT
key='HKCU\Software\GSettings\org\gnome\desktop\interface'
"$KAPSEL" run --instance "$name" "$IMAGE"
"$KAPSEL" reg query "$name" 'HKCU\Software\GSettings' /s | sed -n 's/^    //p'
"$KAPSEL" reg add "$name" "$key" /v cursor-theme /t REG_SZ /d Outside /f
"$KAPSEL" reg add "$name" "$key" /v clock-show-seconds /t REG_SZ /d true /f
"$KAPSEL" run --instance "$name" "$IMAGE" -- /bin/sh /opt/test/test again
