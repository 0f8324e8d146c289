/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the host's pseudo terminals are the guest's. */
#ifndef KAPSEL_VFS_PTS_H
#define KAPSEL_VFS_PTS_H

#include <sys/stat.h>

#include "base/base.h"

struct kp_vfs;

struct kp_terminal {
	unsigned number;
	int fd; /* only a path */
};

bool kp_pts_is_slave(const struct stat *st);
/* One that a guest has made just now; or one that it is handed, if fd is one. */
void kp_pts_put(struct kp_vfs *v, unsigned number);
void kp_pts_put_fd(struct kp_vfs *v, int fd);
bool kp_pts_has(struct kp_vfs *v, unsigned number);
/* By its name below /dev/pts. */
bool kp_pts_has_name(struct kp_vfs *v, const char *name, size_t len);
void kp_pts_free(struct kp_vfs *v);

#endif
