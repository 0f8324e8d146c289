# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='1,000 times true, by the shell'
command='i=0; while [ $i -lt 1000 ]; do /bin/true || exit 1; i=$((i + 1)); done'
