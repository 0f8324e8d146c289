/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping an instance that runs, and starting it as it was started. */
#ifndef KAPSEL_CMD_AGAIN_H
#define KAPSEL_CMD_AGAIN_H

#include "instance/instance.h"

/* Ends all processes of an instance: TERM, and KILL after so many seconds. 0, -ESRCH (err set) when it does not run, -errno with err. */
int kp_stop_running(const struct kp_instance *i, long seconds, struct kp_err *err);

/* How a run was started; zero-initialise. */
struct kp_again {
	char *program, *cwd;
	char **argv, **envp; /* NULL-terminated, each one block with its strings */
};
/* Asks the supervisor of an instance that runs. 0 or -errno with err. */
int kp_again_take(const struct kp_instance *i, struct kp_again *ret, struct kp_err *err);
void kp_again_free(struct kp_again *a);
/* Becomes that command. Returns on failure only. */
int kp_again_exec(const struct kp_again *a, struct kp_err *err);

#endif
