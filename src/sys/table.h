/* SPDX-License-Identifier: Apache-2.0 */
/* syscalls.def expanded: rows, their roles and actions, and the way from a number to its row. */
#ifndef KAPSEL_SYS_TABLE_H
#define KAPSEL_SYS_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct kp_call;

enum kp_role {
	KP_ROLE__, /* not looked at */
	KP_ROLE_RPATH, KP_ROLE_WPATH, KP_ROLE_CPATH, KP_ROLE_XPATH, KP_ROLE_OPATH,
	KP_ROLE_LRPATH, KP_ROLE_LWPATH, KP_ROLE_LCPATH, /* the last symlink is not followed */
	KP_ROLE_DIRFD, KP_ROLE_FD,
	KP_ROLE_AT_NF, KP_ROLE_AT_LF, KP_ROLE_OFLAGS, KP_ROLE_FLAGS, KP_ROLE_MODE, KP_ROLE_LEN, KP_ROLE_INT,
	KP_ROLE_STR, KP_ROLE_IBUF, KP_ROLE_OBUF, KP_ROLE_PTR, KP_ROLE_SADDR, KP_ROLE_HOW, KP_ROLE_OSTAT,
};

enum kp_action { KP_PASS, KP_EMULATE, KP_DENY, KP_NOSYS };

struct kp_row {
	const char *name;
	int nr_x86_64, nr_arm64; /* -1: none */
	uint8_t roles[6];        /* enum kp_role */
	enum kp_action action;
	int (*handler)(struct kp_call *c); /* KP_EMULATE only */
};

extern const struct kp_row kp_rows[];
extern const size_t kp_row_count;

/* Row of an x86-64 number, or NULL. */
const struct kp_row *kp_row_of(int nr);

static inline int kp_role_is_path(uint8_t role)
{
	return role >= KP_ROLE_RPATH && role <= KP_ROLE_LCPATH;
}

#endif
