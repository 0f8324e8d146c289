/* SPDX-License-Identifier: Apache-2.0 */
/* Copies trees of an instance, one directory of each side open at a time. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "snapshot/internal.h"
#include "vfs/record.h"

struct kp_first { /* the first name of a source file that has more */
	ino_t ino;
	struct timespec changed;
	char *path;
	UT_hash_handle hh;
};

static char *below(const char *dir, const char *name)
{
	return *dir ? kp_asprintf("%s/%s", dir, name) : kp_strdup(name);
}

static void add_dir(struct kp_copy *c, char *path)
{
	if (c->dir_count == c->dir_room) {
		c->dir_room = c->dir_room ? 2 * c->dir_room : 64;
		c->dirs = kp_realloc(c->dirs, c->dir_room * sizeof(*c->dirs));
	}
	c->dirs[c->dir_count++] = path;
}

static int copy_attributes(struct kp_copy *c, int from, int to)
{
	ssize_t len = flistxattr(from, c->names_buf, XATTR_LIST_MAX);
	bool since = false;
	struct statx x;

	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(c->names_buf + at) + 1) {
		const char *name = c->names_buf + at;
		ssize_t size;

		if (strncmp(name, "user.", 5) != 0 || !strcmp(name, KP_SOURCE_XATTR))
			continue;
		since |= !strcmp(name, KP_SINCE_XATTR);
		size = fgetxattr(from, name, c->value_buf, XATTR_SIZE_MAX);
		if (size < 0 || fsetxattr(to, name, c->value_buf, (size_t)size, 0) < 0)
			return -errno;
	}
	/* The birth time stays behind: it is what tells whether the host changed since. */
	if (!since && statx(from, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && x.stx_mask & STATX_BTIME) {
		struct kp_since s = {.sec = x.stx_btime.tv_sec, .nsec = x.stx_btime.tv_nsec};

		(void)fsetxattr(to, KP_SINCE_XATTR, &s, sizeof(s), 0);
	}
	return 0;
}

/* Everything but the content, times last. */
int kp_copy_inode(struct kp_copy *c, int from, int to)
{
	struct timespec ts[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return -errno;
	r = copy_attributes(c, from, to);
	if (!r && geteuid() == 0 && fchown(to, st.st_uid, st.st_gid) < 0)
		r = -errno;
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	if (!r && (fchmod(to, st.st_mode & 07777) < 0 || futimens(to, ts) < 0))
		r = -errno;
	return r;
}

#define TICK_NS 20000000 /* the file system's clock goes in steps of up to 10 ms */

/* A change made now would give a file of this time another one. */
bool kp_old_enough(const struct timespec *changed)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - changed->tv_sec) * 1000000000LL + (now.tv_nsec - changed->tv_nsec) > TICK_NS;
}

/* Nobody has it open for writing, nor mapped so that writes leave no trace in its times. */
static bool has_no_writer(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return false;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

/* Will a change made from now on be told by the time of change? */
static bool changes_tell(const struct kp_copy *c, int live, const struct stat *st)
{
	bool old = kp_old_enough(&st->st_ctim);

	if (c->how->kind == KP_TREE_PREPARE)
		return old && has_no_writer(live);
	if (!old && !c->how->running && c->how->young)
		*c->how->young = true;
	return !kp_inodes_have(c->how->mapped, st->st_ino) && (!c->how->running || old);
}

static struct kp_copied copied_of(const struct stat *live)
{
	return (struct kp_copied){.ino = live->st_ino, .changed = live->st_ctim.tv_sec * 1000000000LL + live->st_ctim.tv_nsec};
}

/* In the snapshot's file: which live one it is equal to. The next snapshot may take it again. */
static void note_source(const struct stat *live, int snapshot)
{
	struct kp_copied s = copied_of(live);

	(void)fsetxattr(snapshot, KP_SOURCE_XATTR, &s, sizeof(s), 0);
}

/* The snapshot before has this very file, as it is now: 1 when the copy is a link to that. */
static int share(const struct kp_place *p, const char *name, const struct stat *st)
{
	kp_autoclose int fd = p->before < 0 ? -1 : openat(p->before, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct kp_copied s, is = copied_of(st);

	if (fd < 0 || fgetxattr(fd, KP_SOURCE_XATTR, &s, sizeof(s)) != (ssize_t)sizeof(s) || memcmp(&s, &is, sizeof(s)) != 0)
		return 0;
	return linkat(p->before, name, p->to, name, 0) == 0; /* too many links: a copy it is */
}

/* Of a file with several names: the one that was met first, or NULL: it is this one. */
static const struct kp_first *first_of(struct kp_copy *c, const struct kp_place *p, const char *name, const struct stat *st)
{
	struct kp_first *first = NULL;

	if (st->st_nlink < 2) /* of a snapshot's files also because other snapshots have them */
		return NULL;
	HASH_FIND(hh, c->names, &st->st_ino, sizeof(st->st_ino), first);
	if (first)
		return first;
	first = kp_calloc(1, sizeof(*first));
	first->ino = st->st_ino;
	first->changed = st->st_ctim;
	first->path = below(p->path, name);
	HASH_ADD(hh, c->names, ino, sizeof(first->ino), first);
	return NULL;
}

/* The content and all else, to a file that is not there yet. */
static int copy_whole(struct kp_copy *c, const struct kp_place *p, const char *name, int in, const struct stat *st, bool noted)
{
	int64_t begun = c->how->tally ? kp_clock_us(CLOCK_MONOTONIC) : 0;
	kp_autoclose int out = openat(p->to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat now;
	int r = out < 0 ? -errno : kp_copy_data(in, out, UINT64_MAX);

	if (!r)
		r = kp_copy_inode(c, in, out);
	if (!r && noted)
		note_source(st, out);
	if (!r && c->how->kind == KP_TREE_RESTORE && fstat(out, &now) == 0)
		note_source(&now, in);
	if (r < 0 && out >= 0)
		(void)unlinkat(p->to, name, 0);
	if (!r && c->how->tally) {
		c->how->tally->files++;
		c->how->tally->bytes += (uint64_t)st->st_size;
		c->how->tally->us += (uint64_t)(kp_clock_us(CLOCK_MONOTONIC) - begun);
	}
	return r;
}

static int copy_file(struct kp_copy *c, const struct kp_place *p, const char *name, const struct stat *st)
{
	const struct kp_first *first = first_of(c, p, name, st);
	kp_autoclose int in = -1;
	bool from_live = c->how->kind == KP_TREE_FREEZE || c->how->kind == KP_TREE_PREPARE, noted;
	struct stat now;

	if (first && c->how->kind == KP_TREE_PREPARE && !kp_same_time(&first->changed, &st->st_ctim))
		return -EAGAIN;
	if (first)
		return linkat(c->how->to_fd, first->path, p->to, name, 0) < 0 ? -errno : 0;
	if (from_live && !kp_inodes_have(c->how->mapped, st->st_ino) && share(p, name, st))
		return 0;
	in = openat(p->from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0 || fstat(in, &now) < 0)
		return -errno;
	if (!S_ISREG(now.st_mode))
		return -ESTALE;
	noted = from_live && changes_tell(c, in, &now); /* before it is read */
	/* In KP_TREE_PREPARE also when it is no more what was looked at. */
	if (c->how->kind == KP_TREE_PREPARE && (!noted || now.st_ino != st->st_ino || !kp_same_time(&now.st_ctim, &st->st_ctim)))
		return -EAGAIN;
	return copy_whole(c, p, name, in, &now, noted);
}

static int copy_link(const struct kp_place *p, const char *name)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(p->from, name, target, sizeof(target) - 1);

	if (len < 0)
		return -errno;
	target[len] = '\0';
	return symlinkat(target, p->to, name) < 0 ? -errno : 0;
}

/* Neither a file nor a directory. */
static int copy_other(const struct kp_place *p, const char *name, const struct stat *st)
{
	const struct timespec ts[2] = {st->st_atim, st->st_mtim};
	int r = 0;

	if (S_ISLNK(st->st_mode))
		r = copy_link(p, name);
	else if (kp_is_whiteout(st) || S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode))
		r = mknodat(p->to, name, st->st_mode & (S_IFMT | 07777), st->st_rdev) < 0 ? -errno : 0;
	else
		return -EPERM; /* a device: nothing that an instance can have */
	if (r < 0)
		return r;
	if (!S_ISLNK(st->st_mode) && fchmodat(p->to, name, st->st_mode & 07777, 0) < 0)
		r = -errno;
	if (!r && geteuid() == 0 && fchownat(p->to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (!r && utimensat(p->to, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(p->to, name, 0);
	return r;
}

int kp_copy_entry(struct kp_copy *c, const struct kp_place *p, const char *name)
{
	struct stat st;
	int r;

	if (c->how->cancel && atomic_load(c->how->cancel))
		return -ECANCELED;
	if (fstatat(p->from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		r = copy_file(c, p, name, &st);
	} else if (!S_ISDIR(st.st_mode)) {
		r = copy_other(p, name, &st);
	} else {
		r = mkdirat(p->to, name, 0700) < 0 ? -errno : 0;
		if (!r)
			add_dir(c, below(p->path, name));
	}
	if (!r && p->made)
		kp_made_add(p->made, name, &st);
	return r;
}

/* KP_TREE_PREPARE: what is gone, or another by now, is the freeze's. */
static bool left_for_later(const struct kp_copy *c, int r)
{
	return c->how->kind == KP_TREE_PREPARE && r != -ENOSPC && r != -EDQUOT && r != -ECANCELED;
}

static int copy_dir(struct kp_copy *c, const char *path)
{
	const char *rel = *path ? path : ".";
	kp_autoclose int from = kp_open_beneath(c->how->from_fd, rel, O_RDONLY | O_DIRECTORY, 0);
	kp_autoclose int to = kp_open_beneath(c->how->to_fd, rel, O_RDONLY | O_DIRECTORY, 0);
	kp_autoclose int before = c->how->before_fd < 0 ? -1 : kp_open_beneath(c->how->before_fd, rel, O_RDONLY | O_DIRECTORY, 0);
	struct kp_place p = {from, to, before, path, NULL};
	struct dirent **names = NULL;
	int count, r = 0;

	if (c->how->kind == KP_TREE_PREPARE && from >= 0)
		p.made = kp_made_dir(c->how->prepared, path, from);
	count = from < 0 || to < 0 ? -1 : scandirat(from, ".", &names, NULL, NULL);
	if (count < 0) {
		r = -errno;
		if (!left_for_later(c, r))
			return kp_fail_errno(c->err, -r, "%s: cannot be copied", path);
		kp_made_unsure(c->how->prepared, path);
		return 0;
	}
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;

		if (!r && strcmp(name, ".") && strcmp(name, "..")) {
			r = kp_copy_entry(c, &p, name);
			if (r < 0 && left_for_later(c, r)) {
				kp_made_add(p.made, name, NULL);
				r = 0;
			}
			if (r < 0)
				(void)kp_fail_errno(c->err, -r, "%s/%s: cannot be copied", path, name);
		}
		free(names[i]);
	}
	free(names);
	return r;
}

static int finish_dir(struct kp_copy *c, const char *path)
{
	kp_autoclose int from = kp_open_beneath(c->how->from_fd, path, O_RDONLY | O_DIRECTORY, 0);
	kp_autoclose int to = kp_open_beneath(c->how->to_fd, path, O_RDONLY | O_DIRECTORY, 0);
	int r = from < 0 || to < 0 ? -errno : kp_copy_inode(c, from, to);

	if (r < 0 && left_for_later(c, r)) {
		kp_made_unsure(c->how->prepared, path);
		return 0;
	}
	return r < 0 ? kp_fail_errno(c->err, -r, "%s: cannot be copied", path) : 0;
}

void kp_copy_begin(struct kp_copy *c, const struct kp_carry *how, struct kp_err *err)
{
	*c = (struct kp_copy){.how = how, .err = err, .names_buf = kp_calloc(1, XATTR_LIST_MAX), .value_buf = kp_calloc(1, XATTR_SIZE_MAX)};
}

int kp_copy_dirs(struct kp_copy *c)
{
	int r = 0;

	for (size_t i = 0; i < c->dir_count && !r; i++)
		r = copy_dir(c, c->dirs[i]);
	for (size_t i = c->dir_count; i-- > 0 && !r;)
		r = finish_dir(c, c->dirs[i]);
	return r;
}

void kp_copy_end(struct kp_copy *c)
{
	struct kp_first *n, *next;

	for (size_t i = 0; i < c->dir_count; i++)
		free(c->dirs[i]);
	free(c->dirs);
	HASH_ITER (hh, c->names, n, next) {
		HASH_DEL(c->names, n);
		free(n->path);
		free(n);
	}
	free(c->names_buf);
	free(c->value_buf);
}

int kp_tree_copy(const struct kp_carry *how, const char *name, struct kp_err *err)
{
	struct kp_place root = {how->from_fd, how->to_fd, how->before_fd, "", NULL};
	struct kp_copy c;
	int r;

	kp_copy_begin(&c, how, err);
	if (how->kind == KP_TREE_PREPARE)
		root.made = kp_made_dir(how->prepared, "", how->from_fd);
	r = kp_copy_entry(&c, &root, name);
	if (r < 0 && left_for_later(&c, r))
		r = 0; /* the root is read again in any case */
	r = r < 0 ? kp_fail_errno(err, -r, "%s: cannot be copied", name) : kp_copy_dirs(&c);
	kp_copy_end(&c);
	return r;
}
