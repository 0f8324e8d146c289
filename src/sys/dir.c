/* SPDX-License-Identifier: Apache-2.0 */
/* Working directory and directory listings. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/handlers.h"
#include "vfs/fast.h"
#include "vfs/internal.h"

int kp_sys_getcwd(struct kp_call *c)
{
	struct kp_gpath at;
	size_t len;
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_start(c, AT_FDCWD, &at);
	if (!rc && c->from_standin)
		c->noted = kp_fast_put_cwd(c->vfs, at.s);
	kp_vfs_unlock(c->vfs);
	if (rc)
		return rc;
	len = strlen(at.s) + 1;
	if (len > c->raw[1])
		return -ERANGE;
	c->value = (int64_t)len;
	return kp_call_put(c, c->raw[0], at.s, len);
}

/* The guest goes to the real directory that stands for the guest's. */
static int change_dir(struct kp_call *c, struct kp_node *n)
{
	struct kp_hpath host;
	int rc;

	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	rc = kp_node_permit(c->vfs, n, kp_call_cred(c), X_OK);
	if (!rc)
		rc = kp_standin(c->vfs, n, &host);
	return rc ? rc : kp_rewrite_string(kp_call_rewrite(c, SYS_chdir), 0, host.s);
}

int kp_sys_chdir(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve(c, 0, true, n);
	if (!rc)
		rc = change_dir(c, n);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

/* A guest's directory descriptor is the real directory already. */
int kp_sys_fchdir(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = (int)c->raw[0] < 0 ? -EBADF : kp_call_fd_node(c, (int)c->raw[0], n);
	if (!rc && !S_ISDIR(n->mode))
		rc = -ENOTDIR;
	if (!rc && n->origin != KP_MAGIC)
		rc = kp_node_permit(c->vfs, n, kp_call_cred(c), X_OK);
	kp_vfs_unlock(c->vfs);
	free(n);
	if (!rc)
		c->reply = KP_REPLY_KERNEL;
	return rc;
}

int kp_sys_chroot(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve(c, 0, true, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	else if (!rc && !S_ISDIR(n->mode))
		rc = -ENOTDIR;
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc ? rc : -EPERM;
}

/* --- getdents --- */

struct filling {
	char *buf;
	size_t size, used;
	bool old; /* struct linux_dirent */
	bool full;
	uint64_t cookie;
};

struct old_dirent {
	unsigned long d_ino, d_off;
	unsigned short d_reclen;
	char d_name[];
};

struct new_dirent {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static bool fill(const struct kp_dirent *e, void *ctx)
{
	struct filling *f = ctx;
	size_t name = strlen(e->name);
	size_t header = f->old ? offsetof(struct old_dirent, d_name) : offsetof(struct new_dirent, d_name);
	size_t len = (header + name + 1 + (f->old ? 1 : 0) + 7) & ~(size_t)7;

	if (f->used + len > f->size) {
		f->full = true;
		return false;
	}
	memset(f->buf + f->used, 0, len);
	if (f->old) {
		struct old_dirent *d = (struct old_dirent *)(void *)(f->buf + f->used);

		d->d_ino = e->ino;
		d->d_off = e->cookie;
		d->d_reclen = (unsigned short)len;
		memcpy(d->d_name, e->name, name);
		f->buf[f->used + len - 1] = (char)e->type;
	} else {
		struct new_dirent *d = (struct new_dirent *)(void *)(f->buf + f->used);

		d->d_ino = e->ino;
		d->d_off = (int64_t)e->cookie;
		d->d_reclen = (unsigned short)len;
		d->d_type = e->type;
		memcpy(d->d_name, e->name, name);
	}
	f->used += len;
	f->cookie = e->cookie;
	return true;
}

/* Answers with what was filled, and leaves the descriptor's position behind the last entry. */
static int list_node(struct kp_call *c, struct kp_node *n, bool old)
{
	struct filling f = {.size = KP_MIN(c->raw[2], (uint64_t)1 << 18), .old = old};
	int fd = (int)c->raw[0], rc;
	kp_autoclose int copy = kp_dup_from(c->tid, fd);
	kp_autofree char *buf = NULL;
	int64_t pos;

	if (copy >= 0) {
		pos = lseek(copy, 0, SEEK_CUR);
		if (pos < 0)
			return -errno; /* only a path */
	} else if ((rc = kp_task_fd_pos(c->tid, fd, &pos))) {
		return rc;
	}
	f.buf = buf = kp_calloc(1, f.size + 8);
	f.cookie = (uint64_t)pos;
	rc = kp_list(c->vfs, n, (uint64_t)pos, fill, &f);
	if (rc)
		return rc;
	if (!f.used)
		return f.full ? -EINVAL : 0;
	rc = kp_call_put(c, c->raw[1], f.buf, f.used);
	if (rc)
		return rc;
	c->value = (int64_t)f.used;
	if (copy >= 0)
		return lseek(copy, (off_t)f.cookie, SEEK_SET) < 0 ? -errno : 0;
	rc = kp_trap_inject(c->trap, &c->n, SYS_lseek, (uint64_t[6]){(uint64_t)fd, f.cookie, SEEK_SET}, c->value);
	if (!rc)
		c->reply = KP_REPLY_DONE;
	return rc;
}

static int list_fd(struct kp_call *c, bool old)
{
	struct kp_node *n;
	char host[PATH_MAX];
	struct kp_mapped m;
	int rc = kp_task_fd(c->tid, (int)c->raw[0], host, sizeof(host));

	if (rc)
		return rc;
	/* Anything but a directory of the layered tree is the kernel's business; only a number is passed. */
	kp_map_host(c->vfs, host, &m);
	if (m.kind != KP_MAP_GUEST || (!m.rule && !kp_path_below(host, c->vfs->dirs.s) && strcmp(host, "/proc") != 0 &&
				       strcmp(m.guest.s, "/dev/pts") != 0)) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	if (m.deleted)
		return -ENOENT;
	n = kp_calloc(1, sizeof(*n));
	kp_vfs_read_lock(c->vfs);
	rc = kp_resolve_exact(c->vfs, m.guest.s, c->tid, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc && !S_ISDIR(n->mode))
		c->reply = KP_REPLY_KERNEL; /* which says so */
	else if (!rc)
		rc = list_node(c, n, old);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

int kp_sys_getdents64(struct kp_call *c)
{
	return list_fd(c, false);
}

int kp_sys_getdents(struct kp_call *c)
{
	return list_fd(c, true);
}
