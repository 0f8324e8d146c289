# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
title='gcc over 20 files, make -j2'
programs="gcc make as ld $(gcc -print-prog-name=cc1 2>/dev/null) $(gcc -print-prog-name=collect2 2>/dev/null)"
libs=/usr/lib/x86_64-linux-gnu
copies="$(dirname "$(gcc -print-libgcc-file-name 2>/dev/null || echo /nowhere/x)") /usr/include $libs/crt1.o $libs/crti.o $libs/crtn.o
  $libs/Scrt1.o $libs/libc.so $libs/libc_nonshared.a $libs/libc.so.6 $libs/libgcc_s.so.1"
prepare() {
  i=0
  while [ $i -lt 20 ]; do
    printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int x) { return printf("%%d", x) + (int)strlen("abc"); }\n' $i >f$i.c
    i=$((i + 1))
  done
  echo 'int main(void) { return 0; }' >main.c
  printf 'OBJ = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(OBJ)\n\tgcc -o $@ $(OBJ)\n%%.o: %%.c\n\tgcc -O1 -c -o $@ $<\n' >Makefile
}
command='rm -f *.o prog && make -s -j2'
