# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='npm install of a local package of 200 files'
programs='node npm'
copies='/usr/share/nodejs /usr/share/npm /usr/lib/nodejs /usr/lib/node_modules'
prepare() {
  mkdir -p package
  echo '{"name": "many", "version": "1.0.0", "main": "index.js"}' >package/package.json
  i=0
  while [ $i -lt 200 ]; do echo "module.exports = $i;" >package/m$i.js && i=$((i + 1)); done
  tar -czf many.tgz package
  mkdir app
  echo '{"name": "app", "version": "1.0.0"}' >app/package.json
}
command='cd app && rm -rf node_modules package-lock.json && npm install --offline --silent --no-audit --no-fund --cache "$PWD/cache" ../many.tgz >/dev/null'
