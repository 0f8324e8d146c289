/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two states of an instance. */
#ifndef KAPSEL_SNAPSHOT_COMPARE_H
#define KAPSEL_SNAPSHOT_COMPARE_H

#include <sys/stat.h>

#include "base/base.h"

struct kp_state_change {
	const char *path;	     /* in the instance's directory: "upper/etc/hosts", "config.yaml" */
	const struct stat *old, *now; /* NULL: it has none. A character device 0/0 is a deletion. */
};

/* old_fd, now_fd: directories as of kp_snapshot_open(), or an instance's own. Calls fn, sorted by path within each directory, for what is in one only
 * or differs. What is below a directory that only one has is not told. 0 or -errno with err. */
int kp_states_compare(int old_fd, int now_fd, void (*fn)(const struct kp_state_change *c, void *ctx), void *ctx, struct kp_err *err);

#endif
