/* SPDX-License-Identifier: Apache-2.0 */
/* System calls and memory of what runs in a guest's process without a libc. */
#ifndef KAPSEL_LOADER_CALL_H
#define KAPSEL_LOADER_CALL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long kp_call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define kp_call4(nr, a, b, c, d) kp_call6(nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), 0, 0)

/* Returns which were blocked. */
static inline uint64_t kp_block(uint64_t signals)
{
	uint64_t old = 0;

	kp_call4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &signals, &old, sizeof(old));
	return old;
}

static inline void kp_copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static inline void kp_zero(void *to, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
}

static inline uint32_t kp_load32(const uint32_t *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

#endif
