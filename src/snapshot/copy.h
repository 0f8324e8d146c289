/* SPDX-License-Identifier: Apache-2.0 */
/* Copying an instance's trees: all that they are, and nothing shared that a guest could change through the other. */
#ifndef KAPSEL_SNAPSHOT_COPY_H
#define KAPSEL_SNAPSHOT_COPY_H

#include "base/base.h"

enum kp_copy_kind {
	KP_TREE_CLONE,   /* both are live from now on */
	KP_TREE_FREEZE,  /* from live to a snapshot: files that did not change since before_fd are links to those there */
	KP_TREE_RESTORE, /* from a snapshot to live */
};

/* Copies dirfd/name (a file or a tree) to to_dirfd/name, which does not exist: kinds, modes, owners (as root), times, user attributes, hard
 * links among its files, whiteouts and their times. before_fd: the directory that holds name in the snapshot before, or -1. Nobody may
 * change the source meanwhile. 0 or -errno with err. */
int kp_tree_copy(int dirfd, int to_dirfd, const char *name, enum kp_copy_kind kind, int before_fd, struct kp_err *err);

#endif
