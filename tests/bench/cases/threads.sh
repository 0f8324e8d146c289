# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='a stat, by 1, 8 and 64 threads at once'
prepare() { echo 'another text' >file; }
prints=1 command="$stage/bin/micro 1 threads-1 threads-8 threads-64"
