/* SPDX-License-Identifier: Apache-2.0 */
/* What the actions of `kapsel reg` share. */
#ifndef KAPSEL_CMD_REG_H
#define KAPSEL_CMD_REG_H

#include "cmd/cmd.h"
#include "registry/registry.h"

struct kp_regcmd {
	const struct kp_args *args;
	struct kp_plan plan;
	struct kp_reg *reg;
	mode_t umask;
};

int kp_regcmd_query(struct kp_regcmd *c, struct kp_err *err);
/* Says what an error of the registry means. value NULL: it is about the key. */
int kp_regcmd_fail(int rc, const char *key, const char *value, struct kp_err *err);

#endif
