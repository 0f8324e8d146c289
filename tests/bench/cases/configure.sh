# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='a configure script of 500 lines'
programs='sed grep cat rm expr'
prepare() {
  i=0
  {
    echo '#!/bin/sh'
    while [ $i -lt 83 ]; do
      echo "cat >conftest.$i <<END"
      echo "int check_$i(void);"
      echo END
      echo "if grep check_$i conftest.$i >/dev/null 2>&1 && test -r /bin/sh && test ! -f /usr/nothing$i; then have=\$(expr $i + 1); fi"
      echo "sed -e 's/check/have/' conftest.$i >conftest.out"
      echo "rm -f conftest.$i conftest.out"
      i=$((i + 1))
    done
  } >configure
}
command='sh ./configure'
