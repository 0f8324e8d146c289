/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that make calls from where the fast path's stub makes them: KP_GATE, KP_ASK. */
#ifndef KAPSEL_TESTS_JUMP_H
#define KAPSEL_TESTS_JUMP_H

#include "kapsel/fast.h"

static inline long jump(long where, long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("call *%1" : "=a"(ret) : "r"(where), "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

#endif
