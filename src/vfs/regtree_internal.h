/* SPDX-License-Identifier: Apache-2.0 */
/* The tree's state, for regtree.c and regstage.c. */
#ifndef KAPSEL_VFS_REGTREE_INTERNAL_H
#define KAPSEL_VFS_REGTREE_INTERNAL_H

#include "registry/registry.h"
#include "vfs/internal.h"
#include "vfs/regtree.h"

struct kp_regwatch {
	int wd;
	char *guest; /* directory */
	bool all;    /* a guest watches it: every value has its file */
};

struct kp_regtree {
	pthread_mutex_t lock; /* recursive; of all below */
	struct kp_vfs *vfs;
	struct kp_reg *reg;
	int dirs_fd, inotify_fd, fds_fd; /* fds: /proc/self/fd */
	char *instance_dir;
	int file_wd; /* of the directory that holds the registry's file */
	struct kp_regwatch *watches;
	size_t watch_count;
	atomic_bool watching; /* there have been watches */
	atomic_bool changed; /* by others: what is watched is to be looked over */
	atomic_uint staged;  /* files made: is there anything to look for? */
};

/* Key of a guest path of len bytes: 0, or -ENOENT where it names none. Allocated. */
int kp_regtree_key(const char *guest, size_t len, char **ret_key);
/* Key and name of a value's node. */
int kp_regtree_value(const struct kp_node *n, char **ret_key, char name[NAME_MAX + 1]);
/* The content of a value that this thread has just looked up; the caller frees it. */
bool kp_regtree_take_seen(const char *guest, struct kp_buf *ret);
int kp_regtree_set(struct kp_regtree *t, const char *key, const char *name, const struct kp_reg_data *data);

/* --- regstage.c --- */
/* A file of its own with that text, opened for reading, that says where it is from. Descriptor or -errno. */
int kp_regtree_snapshot(const struct kp_regtree *t, const struct kp_node *n, const struct kp_buf *text);
/* Is there a file that was written and has not become a value yet? */
bool kp_regtree_is_staged(struct kp_regtree *t, const char *guest, struct stat *ret_st);
void kp_regtree_unstage(struct kp_regtree *t, const char *guest);
void kp_regtree_restage(struct kp_regtree *t, const char *from, const char *to);

#endif
