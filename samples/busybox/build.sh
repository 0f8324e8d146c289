#!/bin/sh
# Fetches the one package; without dependencies it is unpacked as it is, and nothing comes with it.
set -eu
cd "$(dirname "$0")"
rm -f ./busybox-static_*.deb
apt-get download busybox-static >/dev/null
mv ./busybox-static_*.deb busybox-static.deb
