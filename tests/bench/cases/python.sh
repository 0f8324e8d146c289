# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='python3 with 30 imports'
programs=/usr/bin/python3
copies='/usr/lib/python3.11 /usr/lib/python3.12 /usr/lib/python3.13'
modules='argparse,ast,asyncio,base64,bisect,calendar,collections,configparser,contextlib,copy,csv,datetime,decimal,difflib,email'
modules="$modules,fractions,gzip,hashlib,heapq,html,inspect,json,logging,pathlib,pickle,random,shutil,subprocess,tempfile,threading"
command="/usr/bin/python3 -I -c 'import $modules'"
