/* SPDX-License-Identifier: Apache-2.0 */
/* The stat family, access, readlink, statfs. */
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/handlers.h"
#include "vfs/proc.h"

/* Runs a look-up under the read lock and fills a statx. */
static int stat_path(struct kp_call *c, bool follow, int flags, struct statx *x)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve_at(c, 0, follow, flags, n);
	if (!rc && !c->path[0][0])
		kp_fast_note_fd(c, n);
	else
		kp_fast_note(c, follow, rc, n);
	if (!rc)
		rc = n->origin == KP_ABSENT ? -ENOENT : kp_node_statx(c->vfs, n, x);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

static int put_stat(struct kp_call *c, uint64_t addr, const struct statx *x)
{
	struct stat st = {0};

	st.st_dev = makedev(x->stx_dev_major, x->stx_dev_minor);
	st.st_ino = x->stx_ino;
	st.st_nlink = x->stx_nlink;
	st.st_mode = x->stx_mode;
	st.st_uid = x->stx_uid;
	st.st_gid = x->stx_gid;
	st.st_rdev = makedev(x->stx_rdev_major, x->stx_rdev_minor);
	st.st_size = (off_t)x->stx_size;
	st.st_blksize = (blksize_t)x->stx_blksize;
	st.st_blocks = (blkcnt_t)x->stx_blocks;
	st.st_atim = (struct timespec){x->stx_atime.tv_sec, x->stx_atime.tv_nsec};
	st.st_mtim = (struct timespec){x->stx_mtime.tv_sec, x->stx_mtime.tv_nsec};
	st.st_ctim = (struct timespec){x->stx_ctime.tv_sec, x->stx_ctime.tv_nsec};
	return kp_call_put(c, addr, &st, sizeof(st));
}

static int stat_into(struct kp_call *c, bool follow, int flags, uint64_t addr)
{
	struct statx x;
	int rc = stat_path(c, follow, flags, &x);

	return rc ? rc : put_stat(c, addr, &x);
}

int kp_sys_stat(struct kp_call *c)
{
	return stat_into(c, true, 0, c->raw[1]);
}

int kp_sys_lstat(struct kp_call *c)
{
	return stat_into(c, false, 0, c->raw[1]);
}

int kp_sys_newfstatat(struct kp_call *c)
{
	int flags = (int)c->raw[3];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
		return -EINVAL;
	return stat_into(c, !(flags & AT_SYMLINK_NOFOLLOW), flags, c->raw[2]);
}

static int stat_fd(struct kp_call *c, int fd, struct statx *x)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_fd_node(c, fd, n);
	if (!rc)
		kp_fast_note_fd(c, n);
	if (!rc)
		rc = kp_node_statx(c->vfs, n, x);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

int kp_sys_fstat(struct kp_call *c)
{
	struct statx x;
	int rc = (int)c->raw[0] < 0 ? -EBADF : stat_fd(c, (int)c->raw[0], &x);

	return rc ? rc : put_stat(c, c->raw[1], &x);
}

int kp_sys_statx(struct kp_call *c)
{
	int flags = (int)c->raw[2];
	struct statx x;
	int rc;

	if (c->raw[3] & 0x80000000U /* STATX__RESERVED */)
		return -EINVAL;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE) ||
	    (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
		return -EINVAL;
	rc = stat_path(c, !(flags & AT_SYMLINK_NOFOLLOW), flags, &x);
	return rc ? rc : kp_call_put(c, c->raw[4], &x, sizeof(x));
}

static int check_access(struct kp_call *c, int mode, int flags)
{
	struct kp_node *n;
	int rc;

	if (mode & ~(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	n = kp_calloc(1, sizeof(*n));
	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve_at(c, 0, !(flags & AT_SYMLINK_NOFOLLOW), flags, n);
	kp_fast_note(c, !(flags & AT_SYMLINK_NOFOLLOW), rc, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc && mode & W_OK && n->origin == KP_HOST && n->self.bind && n->self.bind->read_only && !S_ISCHR(n->mode))
		rc = -EROFS;
	if (!rc && mode && !S_ISLNK(n->mode)) {
		if (n->origin == KP_PROC && mode & W_OK && !kp_proc_is_of_process(n))
			rc = -EACCES;
		else if (n->origin == KP_PROC)
			rc = faccessat(AT_FDCWD, n->host.s, mode, AT_EACCESS) < 0 ? -errno : 0;
		else
			rc = kp_node_permit(c->vfs, n, kp_call_cred(c), mode);
	}
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

int kp_sys_access(struct kp_call *c)
{
	return check_access(c, (int)c->raw[1], 0);
}

int kp_sys_faccessat(struct kp_call *c)
{
	return check_access(c, (int)c->raw[2], 0);
}

int kp_sys_faccessat2(struct kp_call *c)
{
	return check_access(c, (int)c->raw[2], (int)c->raw[3]);
}

static int read_link(struct kp_call *c, uint64_t addr, uint64_t size)
{
	struct kp_node *n;
	char target[PATH_MAX + 16];
	size_t len;
	int rc;

	if ((int)size <= 0)
		return -EINVAL;
	n = kp_calloc(1, sizeof(*n));
	kp_vfs_read_lock(c->vfs);
	if (!c->path[0][0] && !c->path_null[0] && c->dirfd[0] != AT_FDCWD) {
		/* An O_PATH descriptor of a link: the kernel knows its text. */
		rc = kp_call_fd_node(c, c->dirfd[0], n);
		if (!rc && !S_ISLNK(n->mode))
			rc = -ENOENT;
		if (!rc && n->origin == KP_MAGIC) {
			/* Opening a magic link gives what it leads to, and that is the link itself. */
			kp_autoclose int fd = open(n->host.s, O_PATH | O_CLOEXEC);
			ssize_t got = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof(target) - 1);

			rc = got < 0 ? -EACCES : 0;
			target[got < 0 ? 0 : got] = '\0';
			goto have;
		}
	} else {
		rc = kp_call_resolve(c, 0, false, n);
		kp_fast_note(c, false, rc, n);
	}
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc)
		rc = kp_node_readlink(c->vfs, n, target, sizeof(target));
have:
	kp_vfs_unlock(c->vfs);
	free(n);
	if (rc)
		return rc;
	len = KP_MIN(strlen(target), (size_t)(int)size);
	c->value = (int64_t)len;
	return kp_call_put(c, addr, target, len);
}

int kp_sys_readlink(struct kp_call *c)
{
	return read_link(c, c->raw[1], c->raw[2]);
}

int kp_sys_readlinkat(struct kp_call *c)
{
	return read_link(c, c->raw[2], c->raw[3]);
}

int kp_sys_statfs(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct statfs fs;
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve(c, 0, true, n);
	if (n->origin == KP_ABSENT)
		kp_fast_note(c, true, rc, n);
	if (!rc)
		rc = n->origin == KP_ABSENT ? -ENOENT : kp_node_statfs(c->vfs, n, &fs);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc ? rc : kp_call_put(c, c->raw[1], &fs, sizeof(fs));
}

int kp_sys_fstatfs(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct statfs fs;
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = (int)c->raw[0] < 0 ? -EBADF : kp_call_fd_node(c, (int)c->raw[0], n);
	if (!rc)
		rc = kp_node_statfs(c->vfs, n, &fs);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc ? rc : kp_call_put(c, c->raw[1], &fs, sizeof(fs));
}
