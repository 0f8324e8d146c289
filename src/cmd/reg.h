/* SPDX-License-Identifier: Apache-2.0 */
/* What `kapsel reg` and a guest's /.kapsel/reg share: words to a request, and the files and the terminal around it (regcmd.c). */
#ifndef KAPSEL_CMD_REG_H
#define KAPSEL_CMD_REG_H

#include "cmd/cmd.h"
#include "registry/request.h"

struct kp_regcmd {
	const struct kp_args *args;
	bool target; /* the second word is an image or instance */
	/* As kp_reg_perform(). */
	int (*perform)(const struct kp_reg_request *q, struct kp_buf *out, void *ctx, struct kp_err *err);
	void *ctx;
	struct kp_reg_request request;
	const char *file; /* of export, import */
};

/* Fills request and file. 0 or -EINVAL. */
int kp_regcmd_parse(struct kp_regcmd *c, struct kp_err *err);
int kp_regcmd_run(struct kp_regcmd *c, struct kp_err *err);

#endif
