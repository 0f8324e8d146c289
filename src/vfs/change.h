/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of names and attributes. All need the write lock, take resolved nodes, check permissions against cred, and
 * return 0 or the -errno that the guest sees. Each is atomic on disk: a kill leaves it done or not done.
 */
#ifndef KAPSEL_VFS_CHANGE_H
#define KAPSEL_VFS_CHANGE_H

#include <time.h>

#include "vfs/node.h"

/*
 * A call that may copy or unpack a big file does that before it takes the lock, in the second of two tries:
 *	kp_vfs_may_defer();
 *	do { lock; resolve; change; unlock } while (kp_vfs_again(v, rc));
 */
#define KP_EDEFER 1001 /* never leaves such a loop */
void kp_vfs_may_defer(void);
bool kp_vfs_again(struct kp_vfs *v, int rc);

/* Brings a node into the upper (nothing to do for upper and host nodes) and refreshes it. */
enum kp_copy { KP_COPY_DATA, KP_COPY_NO_DATA /* about to be truncated */ };
int kp_copy_up(struct kp_vfs *v, struct kp_node *n, enum kp_copy how);

/* A new regular file at an absent node. flags: host open flags without O_CREAT. mode: umask already applied. */
int kp_create_file(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, int flags, mode_t mode, int *ret_fd);
/* An unnamed file in directory n. */
int kp_create_unnamed(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, int flags, mode_t mode, int *ret_fd);
int kp_make_dir(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode);
/* mode with type: FIFO, socket, regular. Devices are refused (-EPERM). */
int kp_make_special(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode);
int kp_make_symlink(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, const char *target);
int kp_unlink(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred);
int kp_rmdir(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred);
int kp_link(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, const struct kp_cred *cred);
/* A name for the open file that file (KP_MAGIC: host is /proc/PID/fd/N) leads to. */
int kp_link_open_file(struct kp_vfs *v, const struct kp_node *file, struct kp_node *to, const struct kp_cred *cred);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
int kp_rename(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, const struct kp_cred *cred, unsigned flags);

/* Devices, /dev/pts, what /proc has beside processes: one for the whole host. Root without powers owns them all the same; guests change no
 * attribute of them. A terminal of theirs is theirs. */
bool kp_node_is_kernels(struct kp_vfs *v, const struct kp_node *n);
int kp_chmod(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode);
int kp_chown(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, uid_t uid, gid_t gid);
/* times as of utimensat; NULL: now. */
int kp_utimens(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, const struct timespec times[2]);
int kp_truncate(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, off_t length);

/* Reads, under a read lock. */
struct statx;
struct statfs;
int kp_node_statx(struct kp_vfs *v, const struct kp_node *n, struct statx *ret);
int kp_node_statfs(struct kp_vfs *v, const struct kp_node *n, struct statfs *ret);
/* held.c. Of a guest's descriptor (KP_MAGIC): that what n tells is still behind it, taken hold of before anything is done to it: *ret leads to that as long
 * as *ret_fd is open. -EBADF: it is something else by now. Of all others: n->host, and no descriptor. */
int kp_node_hold(struct kp_vfs *v, const struct kp_node *n, int *ret_fd, struct kp_hpath *ret);

/* Host path through which *xattr calls reach a node ("" where it has none: an image file). ret_held as for kp_node_hold(); NULL: for what only
 * reads. */
int kp_node_xattr_path(struct kp_vfs *v, const struct kp_node *n, int *ret_held, char *buf, size_t size);

/* Opens what a node stands for with host flags (no O_CREAT). Directories come as their stand-in. Image files are
 * only ever opened for reading. -EAGAIN: the guest must open node_host itself (FIFO, terminal). */
int kp_node_open(struct kp_vfs *v, const struct kp_node *n, int flags, int *ret_fd);
/* Host path of the file behind a node (for calls that the guest makes itself). */
int kp_node_host_path(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret);
/* The same, but a directory's own place in the upper: where its changes can be watched. */
int kp_node_watch_path(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret);
/* Host path of the directory that stands for guest directory n, made when missing. */
int kp_standin(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret);

/* Merged directory listing with stable cookies (list.c). */
struct kp_dirent {
	uint64_t ino, cookie; /* cookie of the entry after this one */
	unsigned char type;   /* DT_* */
	const char *name;
};
/* Calls fn for the entries of directory n from cookie on, until fn returns false or the end. from 0 reads the
 * directory anew. */
/* For kp_list: gathers names, but "." and "..", in a struct kp_strings. */
bool kp_take_name(const struct kp_dirent *e, void *strings);
int kp_list(struct kp_vfs *v, const struct kp_node *n, uint64_t from, bool (*fn)(const struct kp_dirent *, void *), void *ctx);
/* 0, or -ENOTEMPTY. */
int kp_list_is_empty(struct kp_vfs *v, const struct kp_node *n);

#endif
