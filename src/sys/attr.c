/* SPDX-License-Identifier: Apache-2.0 */
/* chmod, chown, times, truncate; and extended attributes. */
#include <fcntl.h>
#include <limits.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include "sys/call.h"
#include "sys/handlers.h"
#include "vfs/fast.h"
#include "vfs/internal.h"
#include "vfs/regtree.h"

/* What a changing call works on: path 0, or a descriptor. */
struct target {
	bool by_fd;
	int fd;
	bool follow;
	int flags;
};

static int find(struct kp_call *c, const struct target *t, struct kp_node *n)
{
	int rc;

	if (t->by_fd)
		rc = kp_call_fd_node_for_change(c, t->fd, n);
	else if (!c->path[0][0] && !c->path_null[0] && t->flags & AT_EMPTY_PATH)
		rc = kp_call_fd_node_for_change(c, c->dirfd[0], n);
	else
		rc = kp_call_resolve(c, 0, t->follow, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	return rc;
}

#define CHANGE(c, target, n, declare, expr)                                                                              \
	({                                                                                                      \
		struct kp_node *n = kp_calloc(1, sizeof(*n));                                                   \
		int rc_;                                                                                        \
		kp_vfs_may_defer();                                                                     \
		do {                                                                                    \
			kp_vfs_write_lock((c)->vfs);                                                    \
			rc_ = find((c), (target), n);                                                   \
			if (rc_)                                                                        \
				kp_fast_unchanged((c)->vfs);                                            \
			else                                                                            \
				declare((c)->vfs, n);                                                   \
			if (!rc_)                                                                       \
				rc_ = (expr);                                                           \
			kp_vfs_unlock((c)->vfs);                                                        \
		} while (kp_vfs_again((c)->vfs, rc_));                                                  \
		free(n);                                                                                        \
		rc_;                                                                                            \
	})

static int do_chmod(struct kp_call *c, const struct target *t, uint64_t mode)
{
#define DECLARE_MODE(v, n) kp_fast_changes_mode(v, n, kp_call_cred(c), (mode_t)mode & 07777)
	return CHANGE(c, t, n, DECLARE_MODE, kp_chmod(c->vfs, n, kp_call_cred(c), (mode_t)mode & 07777));
#undef DECLARE_MODE
}

int kp_sys_chmod(struct kp_call *c)
{
	return do_chmod(c, &(struct target){.follow = true}, c->raw[1]);
}

int kp_sys_fchmod(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : do_chmod(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]}, c->raw[1]);
}

int kp_sys_fchmodat(struct kp_call *c)
{
	return do_chmod(c, &(struct target){.follow = true}, c->raw[2]);
}

int kp_sys_fchmodat2(struct kp_call *c)
{
	int flags = (int)c->raw[3];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_chmod(c, &(struct target){.follow = !(flags & AT_SYMLINK_NOFOLLOW), .flags = flags}, c->raw[2]);
}

static int do_chown(struct kp_call *c, const struct target *t, uint64_t uid, uint64_t gid)
{
	return CHANGE(c, t, n, kp_fast_changes_file, kp_chown(c->vfs, n, kp_call_cred(c), (uid_t)uid, (gid_t)gid));
}

int kp_sys_chown(struct kp_call *c)
{
	return do_chown(c, &(struct target){.follow = true}, c->raw[1], c->raw[2]);
}

int kp_sys_lchown(struct kp_call *c)
{
	return do_chown(c, &(struct target){.follow = false}, c->raw[1], c->raw[2]);
}

int kp_sys_fchown(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : do_chown(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]}, c->raw[1], c->raw[2]);
}

int kp_sys_fchownat(struct kp_call *c)
{
	int flags = (int)c->raw[4];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_chown(c, &(struct target){.follow = !(flags & AT_SYMLINK_NOFOLLOW), .flags = flags}, c->raw[2], c->raw[3]);
}

static bool valid_times(const struct timespec *ts)
{
	for (int i = 0; ts && i < 2; i++)
		if (ts[i].tv_nsec != UTIME_NOW && ts[i].tv_nsec != UTIME_OMIT &&
		    (ts[i].tv_nsec < 0 || ts[i].tv_nsec > 999999999))
			return false;
	return true;
}

static int do_times(struct kp_call *c, const struct target *t, const struct timespec *ts)
{
	return CHANGE(c, t, n, kp_fast_changes_data, !valid_times(ts) ? -EINVAL : kp_utimens(c->vfs, n, kp_call_cred(c), ts));
}

int kp_sys_utimensat(struct kp_call *c)
{
	int flags = (int)c->raw[3], rc;
	struct timespec ts[2];
	struct target t = {.follow = !(flags & AT_SYMLINK_NOFOLLOW), .flags = flags};

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (c->raw[2]) {
		rc = kp_call_get(c, c->raw[2], ts, sizeof(ts));
		if (rc)
			return rc;
	}
	if (c->raw[2] && ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
		return 0; /* before anything is looked up */
	if (c->path_null[0]) { /* futimens */
		if (c->dirfd[0] == AT_FDCWD)
			return -EFAULT;
		rc = kp_task_fd_usable(c->tid, c->dirfd[0]);
		if (rc)
			return rc;
		t = (struct target){.by_fd = true, .fd = c->dirfd[0]};
	}
	return do_times(c, &t, c->raw[2] ? ts : NULL);
}

static int times_from_timeval(struct kp_call *c, uint64_t addr)
{
	struct target t = {.follow = true};
	struct timeval tv[2];
	struct timespec ts[2];
	int rc;

	if (!addr)
		return do_times(c, &t, NULL);
	rc = kp_call_get(c, addr, tv, sizeof(tv));
	if (rc)
		return rc;
	for (int i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec > 999999)
			return -EINVAL;
		ts[i] = (struct timespec){tv[i].tv_sec, tv[i].tv_usec * 1000};
	}
	return do_times(c, &t, ts);
}

int kp_sys_utimes(struct kp_call *c)
{
	return times_from_timeval(c, c->raw[1]);
}

int kp_sys_futimesat(struct kp_call *c)
{
	return times_from_timeval(c, c->raw[2]);
}

int kp_sys_utime(struct kp_call *c)
{
	struct target t = {.follow = true};
	struct utimbuf ut;
	struct timespec ts[2];
	int rc;

	if (!c->raw[1])
		return do_times(c, &t, NULL);
	rc = kp_call_get(c, c->raw[1], &ut, sizeof(ut));
	if (rc)
		return rc;
	ts[0] = (struct timespec){.tv_sec = ut.actime};
	ts[1] = (struct timespec){.tv_sec = ut.modtime};
	return do_times(c, &t, ts);
}

int kp_sys_truncate(struct kp_call *c)
{
	if ((int64_t)c->raw[1] < 0)
		return -EINVAL;
	return CHANGE(c, &(struct target){.follow = true}, n, kp_fast_changes_data, kp_truncate(c->vfs, n, kp_call_cred(c), (off_t)c->raw[1]));
}

/* --- extended attributes: user.* of files and directories; ours is not there for the guest --- */

/* Before anything is looked up. */
static int check_length(const char *name)
{
	size_t len = strlen(name);

	return !len || len > XATTR_NAME_MAX ? -ERANGE : 0;
}

static int permit_xattr(struct kp_call *c, const struct kp_node *n, const char *name, bool write)
{
	if (!strncmp(name, "trusted.", 8) || kp_is_own_xattr(name))
		return write ? -EPERM : -ENODATA;
	if (!strncmp(name, "security.", 9))
		return write ? -EPERM : -EOPNOTSUPP;
	if (!strncmp(name, "system.", 7)) /* ACLs: the file systems that we stand for have none */
		return -EOPNOTSUPP;
	if (strncmp(name, "user.", 5) != 0) {
		int rc = kp_node_permit(c->vfs, n, kp_call_cred(c), write ? W_OK : R_OK);

		return rc ? rc : -EOPNOTSUPP;
	}
	if (!S_ISREG(n->mode) && !S_ISDIR(n->mode))
		return write ? -EPERM : -ENODATA;
	return kp_node_permit(c->vfs, n, kp_call_cred(c), write ? W_OK : R_OK);
}

/* The one that values of the registry have. */
static int set_reg_type(struct kp_call *c, const struct kp_node *n, const char *value, size_t size)
{
	kp_autofree char *type = kp_strndup(value, size);

	return strcmp(c->str, KP_REGTYPE_XATTR) != 0 ? -EOPNOTSUPP : kp_regtree_set_type(c->vfs, n, type);
}

/* name NULL: the list. */
static int get_reg_type(struct kp_vfs *v, const struct kp_node *n, const char *name, char *buf, ssize_t *ret_len)
{
	char type[KP_REG_TYPE_NAME];
	int rc = kp_regtree_type(v, n, type);

	if (rc == -ENODATA && !name) {
		*ret_len = 0;
		return 0;
	}
	if (rc || (name && strcmp(name, KP_REGTYPE_XATTR) != 0))
		return rc ? rc : -ENODATA;
	*ret_len = name ? (ssize_t)strlen(type) : (ssize_t)sizeof(KP_REGTYPE_XATTR);
	memcpy(buf, name ? type : KP_REGTYPE_XATTR, (size_t)*ret_len);
	return 0;
}

static int set_xattr(struct kp_call *c, const struct target *t, uint64_t addr, uint64_t size, int flags)
{
	kp_autofree char *value = NULL;
	char path[PATH_MAX + 32];
	int rc = check_length(c->str);

	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (rc)
		return rc;
	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	value = kp_calloc(1, size ? size : 1);
	rc = kp_call_get(c, addr, value, size);
	if (rc)
		return rc;
	return CHANGE(c, t, n, kp_fast_changes_file, ({
		kp_autoclose int held = -1;
		int r = permit_xattr(c, n, c->str, true);
		if (!r && n->origin == KP_REG)
			r = set_reg_type(c, n, value, size);
		else if (!r)
			r = kp_copy_up(c->vfs, n, KP_COPY_DATA);
		if (!r)
			r = kp_node_xattr_path(c->vfs, n, &held, path, sizeof(path));
		if (!r && n->origin != KP_REG)
			r = (n->origin == KP_MAGIC ? setxattr : lsetxattr)(path, c->str, value, size, flags) < 0 ? -errno : 0;
		r;
	}));
}

int kp_sys_setxattr(struct kp_call *c)
{
	return set_xattr(c, &(struct target){.follow = true}, c->raw[2], c->raw[3], (int)c->raw[4]);
}

int kp_sys_lsetxattr(struct kp_call *c)
{
	return set_xattr(c, &(struct target){.follow = false}, c->raw[2], c->raw[3], (int)c->raw[4]);
}

int kp_sys_fsetxattr(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : set_xattr(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]}, c->raw[2], c->raw[3], (int)c->raw[4]);
}

static int remove_xattr(struct kp_call *c, const struct target *t)
{
	char path[PATH_MAX + 32];
	int rc = check_length(c->str);

	if (rc)
		return rc;
	return CHANGE(c, t, n, kp_fast_changes_file, ({
		kp_autoclose int held = -1;
		int r = permit_xattr(c, n, c->str, true);
		if (!r && (n->origin == KP_HOST || n->origin == KP_MAGIC))
			r = kp_copy_up(c->vfs, n, KP_COPY_DATA);
		if (!r)
			r = kp_node_xattr_path(c->vfs, n, &held, path, sizeof(path));
		if (!r && !path[0])
			r = -ENODATA;
		if (!r)
			r = (n->origin == KP_MAGIC ? removexattr : lremovexattr)(path, c->str) < 0 ? -errno : 0;
		r;
	}));
}

int kp_sys_removexattr(struct kp_call *c)
{
	return remove_xattr(c, &(struct target){.follow = true});
}

int kp_sys_lremovexattr(struct kp_call *c)
{
	return remove_xattr(c, &(struct target){.follow = false});
}

int kp_sys_fremovexattr(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : remove_xattr(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]});
}

/* Reads into a buffer of ours: *ret_len, or -errno. */
static int read_xattr(struct kp_call *c, const struct target *t, const char *name, char *buf, ssize_t *ret_len)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	char path[PATH_MAX + 32];
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = t->by_fd ? kp_call_fd_node(c, t->fd, n) : kp_call_resolve(c, 0, t->follow, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc && name)
		rc = permit_xattr(c, n, name, false);
	if (!rc)
		rc = kp_node_xattr_path(c->vfs, n, NULL, path, sizeof(path));
	if (!rc && n->origin == KP_REG) {
		rc = get_reg_type(c->vfs, n, name, buf, ret_len);
	} else if (!rc && !path[0]) {
		*ret_len = 0;
		rc = name ? -ENODATA : 0;
	} else if (!rc) {
		bool by_link = n->origin == KP_MAGIC;

		if (name)
			*ret_len = (by_link ? getxattr : lgetxattr)(path, name, buf, XATTR_SIZE_MAX);
		else
			*ret_len = (by_link ? listxattr : llistxattr)(path, buf, XATTR_LIST_MAX);
		rc = *ret_len < 0 ? -errno : 0;
	}
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

static int give_bytes(struct kp_call *c, const char *buf, ssize_t len, uint64_t addr, uint64_t size)
{
	c->value = len;
	if (!size)
		return 0;
	if ((uint64_t)len > size)
		return -ERANGE;
	return kp_call_put(c, addr, buf, (size_t)len);
}

static int get_xattr(struct kp_call *c, const struct target *t)
{
	kp_autofree char *buf = NULL;
	ssize_t len = 0;
	int rc = check_length(c->str);

	if (rc)
		return rc;
	buf = kp_calloc(1, XATTR_SIZE_MAX);
	rc = read_xattr(c, t, c->str, buf, &len);
	return rc ? rc : give_bytes(c, buf, len, c->raw[2], c->raw[3]);
}

int kp_sys_getxattr(struct kp_call *c)
{
	return get_xattr(c, &(struct target){.follow = true});
}

int kp_sys_lgetxattr(struct kp_call *c)
{
	return get_xattr(c, &(struct target){.follow = false});
}

int kp_sys_fgetxattr(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : get_xattr(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]});
}

static int list_xattr(struct kp_call *c, const struct target *t)
{
	kp_autofree char *all = kp_calloc(1, XATTR_LIST_MAX), *shown = kp_calloc(1, XATTR_LIST_MAX);
	ssize_t len = 0, kept = 0;
	int rc = read_xattr(c, t, NULL, all, &len);

	if (rc)
		return rc;
	for (ssize_t at = 0; at < len;) {
		size_t n = strlen(all + at) + 1;

		if (!strncmp(all + at, "user.", 5) && !kp_is_own_xattr(all + at)) {
			memcpy(shown + kept, all + at, n);
			kept += (ssize_t)n;
		}
		at += (ssize_t)n;
	}
	return give_bytes(c, shown, kept, c->raw[1], c->raw[2]);
}

int kp_sys_listxattr(struct kp_call *c)
{
	return list_xattr(c, &(struct target){.follow = true});
}

int kp_sys_llistxattr(struct kp_call *c)
{
	return list_xattr(c, &(struct target){.follow = false});
}

int kp_sys_flistxattr(struct kp_call *c)
{
	int rc = kp_task_fd_usable(c->tid, (int)c->raw[0]);

	return rc ? rc : list_xattr(c, &(struct target){.by_fd = true, .fd = (int)c->raw[0]});
}
