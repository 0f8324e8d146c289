/* SPDX-License-Identifier: Apache-2.0 */
/* The table, expanded. */
#include "sys/handlers.h"
#include "sys/table.h"

#ifdef KP_TABLE_ONLY /* the filter generator has no handlers */
#define KP_ROW_HANDLER_EMULATE(h) NULL
#else
#define KP_ROW_HANDLER_EMULATE(h) kp_sys_##h
#endif
#define KP_ROW_HANDLER_PASS(h) NULL
#define KP_ROW_HANDLER_DENY(h) NULL
#define KP_ROW_HANDLER_NOSYS(h) NULL

const struct kp_row kp_rows[] = {
#define SYS(name, x86, arm, a0, a1, a2, a3, a4, a5, action, handler)                                            \
	{#name, x86, arm,                                                                                       \
	 {KP_ROLE_##a0, KP_ROLE_##a1, KP_ROLE_##a2, KP_ROLE_##a3, KP_ROLE_##a4, KP_ROLE_##a5},                  \
	 KP_##action, KP_ROW_HANDLER_##action(handler)},
#include "sys/syscalls.def"
#undef SYS
};

const size_t kp_row_count = sizeof(kp_rows) / sizeof(kp_rows[0]);

/* Number to position; a number given twice does not compile (-Woverride-init). */
enum {
#define SYS(name, x86, arm, a0, a1, a2, a3, a4, a5, action, handler) ROW_##name,
#include "sys/syscalls.def"
#undef SYS
};

static const uint16_t by_number[] = {
#define SYS(name, x86, arm, a0, a1, a2, a3, a4, a5, action, handler) [x86] = ROW_##name + 1,
#include "sys/syscalls.def"
#undef SYS
};

const struct kp_row *kp_row_of(int nr)
{
	if (nr < 0 || (size_t)nr >= sizeof(by_number) / sizeof(by_number[0]) || !by_number[nr])
		return NULL;
	return &kp_rows[by_number[nr] - 1];
}
