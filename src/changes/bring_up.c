/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before a renamed directory is applied to the host what it shows of the host's comes into the instance: the places on the host are about to
 * change, in whatever order. A kill leaves some of it there, equal to what lies below.
 */
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "changes/internal.h"
#include "vfs/resolve.h"

struct bring {
	struct kp_changing *g;
	struct kp_vfs *lower;
	struct kp_changes *c;
	struct kp_err *err;
	const struct kp_change **files; /* brought up, that have more names */
	size_t file_count;
	bool *brought; /* of each change, in the tree at hand */
};

void kp_copy_attributes(int from, int to)
{
	kp_autofree char *names = kp_calloc(1, XATTR_LIST_MAX), *value = kp_calloc(1, XATTR_SIZE_MAX);
	ssize_t len = flistxattr(from, names, XATTR_LIST_MAX);

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size;

		if (strncmp(names + at, "user.", 5) != 0 || kp_is_own_xattr(names + at))
			continue;
		size = fgetxattr(from, names + at, value, XATTR_SIZE_MAX);
		if (size >= 0)
			(void)fsetxattr(to, names + at, value, (size_t)size, 0);
	}
}

/* The renamed directory that path is in, nearest first: its length, or 0. */
static size_t moved_above(int upper_fd, const char *path)
{
	kp_autofree char *up = kp_strdup(path);

	for (char *slash; (slash = strrchr(up, '/')) && slash > up;) {
		struct kp_record rec = {0};
		kp_autoclose int fd = -1;

		*slash = '\0';
		fd = kp_open_beneath(upper_fd, up + 1, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0 && kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec))) && rec.flags & KP_REC_MOVED)
			return strlen(up);
	}
	return 0;
}

/* Mode, owner, number and times, as the guest has seen them. */
static int put_inode(const struct kp_change *c, int fd)
{
	struct kp_record rec = {.flags = KP_REC_INO, .mode = c->mode & 07777, .ino = c->number};
	mode_t real = kp_real_mode(c->mode);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != c->uid || st.st_gid != c->gid) && fchown(fd, c->uid, c->gid) < 0) {
		rec.flags |= KP_REC_OWNER;
		rec.uid = c->uid;
		rec.gid = c->gid;
	}
	if (S_ISREG(c->mode))
		real |= KP_RECORD_BIT;
	if (real != (c->mode & 07777))
		rec.flags |= KP_REC_MODE;
	if (fchmod(fd, real) < 0 || kp_record_write_fd(fd, &rec) < 0 || futimens(fd, c->times) < 0)
		return -errno;
	return 0;
}

static int make_file(struct bring *b, const struct kp_change *c, const char *temp)
{
	kp_autoclose int in = -1, out = openat(b->g->work_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = out < 0 ? -errno : kp_changes_open_lower(b->lower, c->source, UINT64_MAX, &in);

	if (!r)
		r = kp_copy_data(in, out, UINT64_MAX);
	if (r)
		return r;
	kp_copy_attributes(in, out);
	return put_inode(c, out);
}

static int make(struct bring *b, const struct kp_change *c, const char *temp)
{
	char target[PATH_MAX];
	int r;

	for (size_t i = 0; i < b->file_count; i++)
		if (b->files[i]->number == c->number)
			return linkat(b->g->upper_fd, b->files[i]->path + 1, b->g->work_fd, temp, 0) < 0 ? -errno : 0;
	if (S_ISREG(c->mode))
		return make_file(b, c, temp);
	if (S_ISDIR(c->mode)) {
		kp_autoclose int fd = mkdirat(b->g->work_fd, temp, 0700) < 0
					      ? -1 : openat(b->g->work_fd, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		return fd < 0 ? -errno : put_inode(c, fd);
	}
	if (S_ISLNK(c->mode)) {
		r = kp_changes_readlink(b->g->upper_fd, b->lower, c, target);
		if (!r && symlinkat(target, b->g->work_fd, temp) < 0)
			r = -errno;
	} else {
		r = mknodat(b->g->work_fd, temp, c->mode & (S_IFMT | 07777), 0) < 0 ? -errno : 0;
	}
	return !r && utimensat(b->g->work_fd, temp, c->times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : r;
}

static int note_number(int dirfd)
{
	struct kp_record rec = {0};

	(void)kp_record_check(&rec, fgetxattr(dirfd, KP_RECORD_XATTR, &rec, sizeof(rec)));
	rec.flags |= KP_REC_NUMBERED;
	return kp_record_write_fd(dirfd, &rec);
}

static int bring(struct bring *b, struct kp_change *c)
{
	struct timespec ts[2];
	char temp[32];
	const char *name;
	kp_autoclose int fd = kp_upper_parent(b->g->upper_fd, c->path, &name);
	struct stat st;
	int r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;

	if (r || faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) /* a killed one got so far */
		return r;
	(void)snprintf(temp, sizeof(temp), "bring%u", b->g->temps++);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	r = make(b, c, temp);
	if (!r && S_ISREG(c->mode))
		r = note_number(fd);
	if (!r && renameat2(b->g->work_fd, temp, fd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r)
		(void)kp_remove_tree(b->g->work_fd, temp);
	else
		(void)futimens(fd, ts);
	if (!r && c->links > 1)
		b->files[b->file_count++] = c;
	return r;
}

/* All of it is in the upper: it hides what lies below. */
static int close_dir(struct bring *b, const char *dir, size_t len)
{
	kp_autofree char *rel = kp_strndup(dir + 1, len - 1);
	kp_autoclose int fd = kp_open_beneath(b->g->upper_fd, rel, O_RDONLY | O_DIRECTORY, 0);
	struct kp_record rec = {0};

	if (fd < 0)
		return -errno;
	(void)kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec)));
	rec.flags = (uint8_t)((rec.flags | KP_REC_OPAQUE) & ~KP_REC_MOVED);
	return kp_record_write_fd(fd, &rec);
}

static int bring_tree(struct bring *b, const char *dir, size_t len)
{
	int r = 0;

	for (size_t i = 0; i < b->c->count && !r; i++) {
		struct kp_change *c = &b->c->items[i];

		if (!c->source || strncmp(c->path, dir, len) != 0 || c->path[len] != '/' || moved_above(b->g->upper_fd, c->path) != len)
			continue;
		r = bring(b, c);
		b->brought[i] = true;
		if (r < 0)
			return kp_fail_errno(b->err, -r, "%s: cannot be copied into the instance", c->path);
	}
	r = close_dir(b, dir, len);
	if (r < 0)
		return kp_fail_errno(b->err, -r, "%.*s: cannot be written to", (int)len, dir);
	for (size_t i = 0; i < b->c->count; i++)
		if (b->brought[i]) {
			free(b->c->items[i].source);
			b->c->items[i].source = NULL;
			b->brought[i] = false;
		}
	return 0;
}

int kp_changes_bring_up(struct kp_changing *g, struct kp_vfs *lower, struct kp_changes *c, struct kp_err *err)
{
	kp_autofree const struct kp_change **files = kp_calloc(c->count + 1, sizeof(*files));
	kp_autofree bool *brought = kp_calloc(c->count + 1, sizeof(*brought));
	struct bring b = {.g = g, .lower = lower, .c = c, .err = err, .files = files, .brought = brought};
	int r = 0;

	for (size_t i = 0; i < c->count && !r; i++) {
		const char *path = c->items[i].path;
		size_t len = c->items[i].chosen && c->items[i].source ? moved_above(g->upper_fd, path) : 0;
		kp_autofree char *dir = len ? kp_strndup(path, len) : NULL;

		if (dir)
			r = bring_tree(&b, dir, len);
	}
	return r;
}
