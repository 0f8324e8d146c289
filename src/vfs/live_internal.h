/* SPDX-License-Identifier: Apache-2.0 */
/* The state of projected files, for live.c and live_sync.c. */
#ifndef KAPSEL_VFS_LIVE_INTERNAL_H
#define KAPSEL_VFS_LIVE_INTERNAL_H

#include "projection/merge.h"
#include "vfs/internal.h"
#include "vfs/live.h"

/* How a file of the upper was found or left. */
struct kp_live_mark {
	bool there;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct kp_live_state {
	char *guest, *key;
	const struct kp_format *format;
	char record[KP_LIVE_RECORD]; /* name below projections/ */
	bool known;               /* looked after in this run: the two below hold */
	struct kp_live_mark seen; /* as it was left */
	uint64_t generation;      /* of the registry, when it was */
	bool homeless;            /* its directory is not there */
	bool held_back;           /* it lies where the host's files are changed, or is none: no projection */
	struct kp_live_mark told; /* this text could not be read, as the user knows */
	size_t untold;            /* values that the format cannot tell, as the user knows */
};

struct kp_live {
	struct kp_reg *reg;
	struct kp_live_state *files;
	size_t count;
	int instance_fd, record_fd, watch_fd;
};

/* NULL: that is no projected file. */
struct kp_live_state *kp_live_find(const struct kp_live *l, const char *guest);
struct kp_live_mark kp_live_mark(const struct stat *st);
bool kp_live_same(const struct kp_live_mark *a, const struct kp_live_mark *b);
/* With the write lock: takes back what was written, then makes the file anew if the registry says something else. removed: a file that is gone
 * was deleted, and so were its values. */
void kp_live_sync(struct kp_vfs *v, struct kp_live_state *f, bool removed);

#endif
