/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying changes to the host: each under a temporary name beside its place, then renamed there. Every directory of the host is opened
 * from the root through no symlink, whoever made one: the path is the one that the mode shows, or nothing is done.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "changes/internal.h"
#include "instance/settle.h"
#include "vfs/resolve.h"

struct commit {
	struct kp_changing *g;
	struct kp_vfs *lower;
	struct kp_changes *c;
	struct kp_commit *how;
	struct kp_err *err;
	int root_fd;
	char temp[64];
	struct kp_node *node;
};

/* The host's directory that holds host, opened; *ret_name: the last component. */
static int host_parent(const struct commit *m, const char *host, const char **ret_name)
{
	const char *slash = strrchr(host, '/');
	kp_autofree char *dir = slash == host ? kp_strdup(".") : kp_strndup(host + 1, (size_t)(slash - host) - 1);
	int fd = kp_open_beneath(m->root_fd, dir, O_RDONLY | O_DIRECTORY, 0);

	*ret_name = slash + 1;
	return fd < 0 ? -errno : fd;
}

static bool older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Has anything in or at dirfd/name changed at or after since? Deep trees are walked by path, one directory open at a time. */
static bool newer_in(int dirfd, const char *name, const struct timespec *since)
{
	struct kp_strings kp_autostrings todo = {0};
	bool newer = false;

	kp_strings_add(&todo, name);
	while (todo.count && !newer) {
		kp_autofree char *path = kp_strings_pop(&todo);
		kp_autoclose int fd = kp_open_beneath(dirfd, path, O_RDONLY | O_DIRECTORY, 0);
		struct dirent **names = NULL;
		struct stat st;
		int n;

		newer = fd < 0 || fstat(fd, &st) < 0 || !older(&st.st_ctim, since);
		n = newer ? 0 : scandirat(fd, ".", &names, NULL, NULL);
		newer |= n < 0;
		for (int i = 0; i < n; i++) {
			const char *child = names[i]->d_name;

			if (!newer && strcmp(child, ".") && strcmp(child, "..")) {
				newer = fstatat(fd, child, &st, AT_SYMLINK_NOFOLLOW) < 0 || !older(&st.st_ctim, since);
				if (!newer && S_ISDIR(st.st_mode)) {
					kp_autofree char *below = kp_asprintf("%s/%s", path, child);

					kp_strings_add(&todo, below);
				}
			}
			free(names[i]);
		}
		free(names);
	}
	return newer;
}

/* Since when the instance's version is the instance's. */
static int instance_since(const struct commit *m, const struct kp_change *c, struct timespec *ret)
{
	bool of_parent = c->kind == KP_CHANGE_DELETED && c->hidden;
	kp_autofree char *dir = of_parent ? kp_strndup(c->path, (size_t)(strrchr(c->path, '/') - c->path)) : NULL;
	const char *name;
	kp_autoclose int fd = kp_upper_parent(m->g->upper_fd, dir ? dir : c->path, &name);

	return fd < 0 ? fd : kp_changes_since(fd, name, ret);
}

/* NULL: the host is as the instance has seen it. */
static const char *conflict(const struct commit *m, const struct kp_change *c)
{
	struct timespec since;
	const char *name;
	struct stat st;
	kp_autoclose int fd = host_parent(m, c->host, &name);

	if (fd == -ELOOP)
		return "a symlink is in the way";
	if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return c->kind == KP_CHANGE_ADDED && c->copied ? "deleted on the host meanwhile" : NULL;
	if (c->kind == KP_CHANGE_CHANGED && S_ISDIR(c->mode) && S_ISDIR(st.st_mode))
		return NULL; /* only its mode: what is in it is asked by itself */
	if (instance_since(m, c, &since) < 0)
		return "since when is not known: the file system keeps no birth times";
	if (S_ISDIR(st.st_mode) ? newer_in(fd, name, &since) : !older(&st.st_ctim, &since))
		return "changed on the host meanwhile";
	return NULL;
}

/* Why a change is not one for the host; NULL: it is. */
static const char *not_for_host(struct commit *m, const struct kp_change *c)
{
	if (!c->host)
		return "no mode shows the host there";
	if (c->below == KP_IMAGE || c->below == KP_BASE)
		return "it is the image's";
	if (S_ISSOCK(c->mode))
		return "a socket";
	if (!c->old_mode || !S_ISDIR(c->old_mode) || (c->mode && S_ISDIR(c->mode)))
		return NULL;
	kp_vfs_read_lock(m->lower);
	if (!kp_resolve_exact(m->lower, c->path, getpid(), m->node) && kp_vfs_is_held(m->lower, m->node)) {
		kp_vfs_unlock(m->lower);
		return "another mode begins below it";
	}
	kp_vfs_unlock(m->lower);
	return NULL;
}

/* Directories of the host that only an image had so far. */
static int make_parents(const struct commit *m, const char *host)
{
	kp_autofree char *path = kp_strdup(host);
	int r = 0;

	for (char *slash = path; !r && (slash = strchr(slash + 1, '/'));) {
		const char *name;
		kp_autoclose int fd = -1;

		*slash = '\0';
		fd = host_parent(m, path, &name);
		if (fd < 0)
			r = fd;
		else if (mkdirat(fd, name, 0755) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES && errno != EPERM)
			r = -errno;
		*slash = '/';
	}
	return r;
}

static int write_file(struct commit *m, const struct kp_change *c, int dirfd)
{
	kp_autoclose int in_fd = -1, out_fd = -1;
	struct timespec ts[2];
	struct stat st;
	int r = kp_changes_open_upper(m->g->upper_fd, c->path, &in_fd);

	if (r < 0)
		return r;
	out_fd = openat(dirfd, m->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out_fd < 0 || fstat(in_fd, &st) < 0)
		return -errno;
	r = kp_copy_data(in_fd, out_fd, UINT64_MAX);
	kp_copy_attributes(in_fd, out_fd);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	if (!r && geteuid() == 0 && fchown(out_fd, c->uid, c->gid) < 0)
		r = -errno;
	/* Nobody becomes somebody else by a program that a guest made. */
	if (!r && (fchmod(out_fd, c->mode & 0777) < 0 || futimens(out_fd, ts) < 0 || fsync(out_fd) < 0))
		r = -errno;
	return r;
}

static int write_link(struct commit *m, const struct kp_change *c, int dirfd)
{
	char target[PATH_MAX];
	const char *name;
	kp_autoclose int fd = kp_upper_parent(m->g->upper_fd, c->path, &name);
	ssize_t len = fd < 0 ? -1 : readlinkat(fd, name, target, sizeof(target) - 1);

	if (len < 0)
		return fd < 0 ? fd : -errno;
	target[len] = '\0';
	return symlinkat(target, dirfd, m->temp) < 0 ? -errno : 0;
}

/* The host's own moves to the temporary name, whole, and is removed there: settling a killed commit does the rest. */
static int remove_host(struct commit *m, int dirfd, const char *name)
{
	if (renameat(dirfd, name, dirfd, m->temp) < 0)
		return errno == ENOENT ? 0 : -errno;
	return kp_remove_tree(dirfd, m->temp);
}

static int apply_dir(struct commit *m, const struct kp_change *c, int dirfd, const char *name)
{
	mode_t mode = c->mode & (0777 | S_ISVTX);
	kp_autoclose int fd = -1;
	struct stat st;
	int r = 0;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
		r = remove_host(m, dirfd, name);
	if (!r && mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r)
		return r;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || (geteuid() == 0 && fchown(fd, c->uid, c->gid) < 0) || fchmod(fd, mode) < 0)
		return -errno;
	return 0;
}

static int apply(struct commit *m, const struct kp_change *c)
{
	int r = c->kind == KP_CHANGE_DELETED ? 0 : make_parents(m, c->host);
	kp_autoclose int fd = -1;
	const char *name;
	struct stat st;

	if (r)
		return r;
	fd = host_parent(m, c->host, &name);
	if (fd < 0)
		return c->kind == KP_CHANGE_DELETED && fd == -ENOENT ? 0 : fd;
	if (c->kind == KP_CHANGE_DELETED)
		return remove_host(m, fd, name);
	if (S_ISDIR(c->mode))
		return apply_dir(m, c, fd, name);
	if (S_ISLNK(c->mode))
		r = write_link(m, c, fd);
	else if (S_ISFIFO(c->mode))
		r = mkfifoat(fd, m->temp, c->mode & 0777) < 0 ? -errno : 0;
	else
		r = S_ISREG(c->mode) ? write_file(m, c, fd) : -EINVAL;
	if (!r && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
		/* A file in the place of a directory: the two change places, then the directory goes. */
		r = renameat2(fd, m->temp, fd, name, RENAME_EXCHANGE) < 0 ? -errno : kp_remove_tree(fd, m->temp);
	} else if (!r && renameat(fd, m->temp, fd, name) < 0) {
		r = -errno;
	}
	if (r)
		(void)kp_remove_tree(fd, m->temp);
	return r;
}

/* The host has it: the instance need not. Below a directory that hides the host's it must stay, see kp_changes_commit. */
static int leave_upper(struct commit *m, const struct kp_change *c)
{
	if (S_ISDIR(c->mode) || c->hidden || (c->kind == KP_CHANGE_DELETED && c->hidden))
		return 0;
	return kp_changing_drop(m->g, c->path);
}

static int check(struct commit *m, struct kp_change *c)
{
	const char *why = not_for_host(m, c);

	if (why) {
		c->chosen = false;
		m->how->left++;
		m->how->said(c, why, m->how->ctx);
		return 0;
	}
	why = m->how->force ? NULL : conflict(m, c);
	if (!why)
		return 0;
	(void)kp_fail(m->err, EBUSY, "%s: not committed: %s", c->path, why);
	return kp_hint(m->err, "compare with %.150s; --force commits all the same", c->host);
}

static int by_host_dir(struct commit *m, struct kp_settle_commit *s)
{
	for (size_t i = 0; i < m->c->count; i++) {
		const struct kp_change *c = &m->c->items[i];
		kp_autofree char *dir = c->chosen ? kp_strndup(c->host, (size_t)(strrchr(c->host, '/') - c->host)) : NULL;

		if (dir && (!s->dirs.count || strcmp(s->dirs.items[s->dirs.count - 1], dir) != 0))
			kp_strings_add(&s->dirs, dir);
	}
	return kp_settle_note_commit(m->g->dir, s, m->err);
}

/* Directories that stood in the place of old ones and now differ in nothing. */
static int drop_equal(struct commit *m)
{
	kp_autofree char *last = NULL;
	struct kp_changes kp_autochanges now = {0};
	bool looked = false;
	int r = 0;

	for (size_t i = 0; i < m->c->count && !r; i++) {
		const struct kp_change *c = &m->c->items[i];
		size_t len = c->chosen && c->hidden ? kp_below_opaque(m->g->upper_fd, c->path) : 0;
		bool differs = false;

		if (!len || (last && strlen(last) == len && !strncmp(last, c->path, len)))
			continue;
		free(last);
		last = kp_strndup(c->path, len);
		if (!looked)
			r = kp_changes_find(m->g->upper_fd, m->lower, &now, m->err);
		looked = true;
		for (size_t j = 0; j < now.count && !differs; j++)
			differs = kp_path_below(now.items[j].path, last);
		if (!r && !differs && kp_changing_drop(m->g, last) < 0)
			r = kp_fail(m->err, EIO, "%s: committed, but cannot be dropped", last);
	}
	return r;
}

static int apply_all(struct commit *m)
{
	struct kp_settle_commit s = {0};
	bool any = false;
	int r;

	(void)snprintf(m->temp, sizeof(m->temp), "%s%lx%x", KP_SETTLE_COMMIT, (unsigned long)getpid(), (unsigned)time(NULL));
	s.temp = m->temp;
	for (size_t i = 0; i < m->c->count && !any; i++)
		any = m->c->items[i].chosen;
	r = any && m->g->before ? m->g->before(m->g->ctx, m->err) : 0;
	if (!r)
		r = kp_changes_bring_up(m->g, m->lower, m->c, m->err);
	if (!r)
		r = by_host_dir(m, &s);
	for (size_t i = 0; i < m->c->count && !r; i++) {
		const struct kp_change *c = &m->c->items[i];

		if (!c->chosen)
			continue;
		r = apply(m, c);
		if (r < 0 && (r == -ELOOP || r == -ENOTDIR)) {
			r = kp_fail(m->err, -r, "%s: not committed: something that is no directory is in the way on the host", c->path);
		} else if (r < 0) {
			r = kp_fail_errno(m->err, -r, "%s: cannot be committed to %s", c->path, c->host);
		} else {
			r = leave_upper(m, c);
			if (r < 0)
				(void)kp_fail_errno(m->err, -r, "%s: committed, but cannot be dropped", c->path);
			m->how->done++;
			m->how->said(c, NULL, m->how->ctx);
		}
	}
	if (!r)
		r = drop_equal(m);
	kp_settle_commit_done(m->g->dir);
	kp_strings_free(&s.dirs);
	return r;
}

int kp_changes_commit(struct kp_changing *g, struct kp_vfs *lower, struct kp_changes *c, struct kp_commit *how, struct kp_err *err)
{
	struct commit m = {.g = g, .lower = lower, .c = c, .how = how, .err = err, .node = kp_calloc(1, sizeof(*m.node))};
	int r = 0;

	m.root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < c->count && !r; i++)
		if (c->items[i].chosen)
			r = check(&m, &c->items[i]);
	for (size_t i = 0; i < c->count && !r && how->dry_run; i++)
		if (c->items[i].chosen) {
			how->done++;
			how->said(&c->items[i], NULL, how->ctx);
		}
	if (!r && !how->dry_run)
		r = apply_all(&m);
	(void)kp_close(m.root_fd);
	free(m.node);
	return r;
}
