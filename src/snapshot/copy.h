/* SPDX-License-Identifier: Apache-2.0 */
/* Copying an instance's trees: all that they are, and nothing shared that a guest could change through the other. */
#ifndef KAPSEL_SNAPSHOT_COPY_H
#define KAPSEL_SNAPSHOT_COPY_H

#include <stdatomic.h>

#include "base/base.h"

enum kp_copy_kind {
	KP_TREE_CLONE,   /* both are live from now on */
	KP_TREE_PREPARE, /* from live, while it is being worked in: what can be had is copied, so that the freeze after it is short */
	KP_TREE_FREEZE,  /* from live to a snapshot: files that did not change since before_fd are links to those there */
	KP_TREE_RESTORE, /* from a snapshot to live */
};

struct kp_inodes { /* zero-initialise */
	struct kp_inode *table;
};
void kp_inodes_add(struct kp_inodes *s, ino_t ino);
void kp_inodes_free(struct kp_inodes *s);
bool kp_inodes_have(const struct kp_inodes *s, ino_t ino);
/* Files that a thread has mapped shared: their content changes without a trace in their times. False: it has no memory (any more). */
bool kp_inodes_mapped(struct kp_inodes *s, pid_t tid);

struct kp_tally {
	uint64_t files, bytes, us; /* contents that were copied, and how long that took: what is shared with another snapshot is not counted */
};

struct kp_prepared; /* what a copy of KP_TREE_PREPARE has made */

struct kp_carry {
	int from_fd, to_fd; /* directories */
	int before_fd;      /* the snapshot before, or -1 */
	enum kp_copy_kind kind;
	bool running;                   /* the source lives on right after: what is too young to tell a change is not noted as equal */
	const struct kp_inodes *mapped; /* or NULL */
	struct kp_tally *tally;
	struct kp_prepared *prepared; /* KP_TREE_PREPARE: is told; KP_TREE_FREEZE: to_fd has that already, or NULL */
	int gone_fd;		      /* KP_TREE_FREEZE with prepared: a directory for what is not to be in the copy after all */
	const atomic_bool *cancel;    /* or NULL */
	bool *young;		      /* or NULL: set when something noted as equal is too young to tell a change at once */
};

/* Copies name (a file or a tree) from one directory to the other, where it does not exist: kinds, modes, owners (as root), times, user
 * attributes, hard links among its files, whiteouts and their times. But in KP_TREE_PREPARE nobody may change the source meanwhile.
 * 0 or -errno with err. */
int kp_tree_copy(const struct kp_carry *how, const char *name, struct kp_err *err);

#endif
