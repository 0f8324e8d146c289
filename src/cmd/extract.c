/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel extract: unpacks an image, never through a link that stands in the way. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

struct extract {
	const struct kp_look *look;
	bool force;
	int root;         /* HOSTDIR */
	char **first;     /* per entry id: where its first name was put, for hard links; NULL when nowhere */
	uint32_t count;
};

static int set_times(int fd, int dirfd, const char *name, const struct kp_entry *e)
{
	struct timespec times[2] = {{.tv_sec = e->mtime}, {.tv_sec = e->mtime}};

	return (fd >= 0 ? futimens(fd, times) : utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW)) < 0 ? -errno : 0;
}

/* Contents come whole: a temporary name, checked against the digest, then moved into place. */
static int put_file(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err)
{
	kp_autofree char *temp = kp_asprintf(".kapsel-%d.%u", (int)getpid(), (unsigned)e->id);
	kp_autoclose int fd = -1;
	int r;

	if (e->ino < x->count && x->first[e->ino]) {
		if (x->force)
			(void)unlinkat(dirfd, e->name, 0);
		if (!linkat(x->root, x->first[e->ino], dirfd, e->name, 0))
			return 0;
		if (errno == EEXIST)
			return kp_fail(err, EEXIST, "%s: exists", path);
	}
	(void)unlinkat(dirfd, temp, 0);
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot be made", path);
	r = kp_image_extract(x->look->image, e->id, fd, err);
	if (!r && (fchmod(fd, e->mode & 07777) < 0 || set_times(fd, -1, NULL, e) < 0))
		r = kp_fail_errno(err, errno, "%s: mode or time not set", path);
	if (!r && x->force && renameat(dirfd, temp, dirfd, e->name) < 0)
		r = kp_fail_errno(err, errno, "%s: cannot be replaced", path);
	if (!r && !x->force && renameat2(dirfd, temp, dirfd, e->name, RENAME_NOREPLACE) < 0) {
		r = kp_fail(err, errno, "%s: %s", path, errno == EEXIST ? "exists" : strerror(errno));
		if (err->code == EEXIST)
			(void)kp_hint(err, "--force replaces files");
	}
	if (r < 0)
		(void)unlinkat(dirfd, temp, 0);
	else if (e->nlink > 1 && e->ino < x->count && !x->first[e->ino])
		x->first[e->ino] = kp_strdup(path);
	return r;
}

static int put_link(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err)
{
	if (x->force && unlinkat(dirfd, e->name, 0) < 0 && errno != ENOENT)
		return kp_fail_errno(err, errno, "%s: cannot be replaced", path);
	if (symlinkat(e->target, dirfd, e->name) < 0)
		return kp_fail(err, errno, "%s: %s", path, errno == EEXIST ? "exists" : strerror(errno));
	(void)set_times(-1, dirfd, e->name, e);
	return 0;
}

static int put(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err);

static int put_children(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err)
{
	for (uint32_t i = 0; i < e->child_count; i++) {
		kp_autofree char *below = NULL;
		struct kp_entry child;
		int r = kp_image_entry(x->look->image, e->first_child + i, &child);

		if (r < 0)
			return kp_fail_errno(err, -r, "%s: damaged entry below /%s", x->look->path, path);
		/* An index that holds together has no such names; this is where they would hurt. */
		if (!*child.name || strchr(child.name, '/') || !strcmp(child.name, ".") || !strcmp(child.name, ".."))
			return kp_fail(err, EIO, "%s: damaged name below /%s", x->look->path, path);
		below = kp_asprintf("%s%s%s", path, *path ? "/" : "", child.name);
		if (strlen(below) >= PATH_MAX)
			return kp_fail(err, ENAMETOOLONG, "%s: path too long", x->look->path);
		r = put(x, &child, dirfd, below, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_dir(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err)
{
	kp_autoclose int fd = -1;
	int r;

	if (mkdirat(dirfd, e->name, 0700) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", path);
	fd = openat(dirfd, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return kp_fail(err, errno, "%s: stands in the way: %s", path,
			       errno == ELOOP || errno == ENOTDIR ? "not a directory" : strerror(errno));
	r = put_children(x, e, fd, path, err);
	if (!r && (fchmod(fd, e->mode & 07777) < 0 || set_times(fd, -1, NULL, e) < 0))
		r = kp_fail_errno(err, errno, "%s: mode or time not set", path);
	return r;
}

static int put(struct extract *x, const struct kp_entry *e, int dirfd, const char *path, struct kp_err *err)
{
	if (S_ISDIR(e->mode))
		return put_dir(x, e, dirfd, path, err);
	return S_ISLNK(e->mode) ? put_link(x, e, dirfd, path, err) : put_file(x, e, dirfd, path, err);
}

/* Makes the directories above path, one open directory at a time; returns the last, or -errno. */
static int open_parents(struct extract *x, char *path, struct kp_err *err)
{
	int fd = fcntl(x->root, F_DUPFD_CLOEXEC, 3);

	for (char *p = path, *slash; fd >= 0 && (slash = strchr(p, '/')); p = slash + 1) {
		int next;

		*slash = '\0';
		if (mkdirat(fd, p, 0755) < 0 && errno != EEXIST)
			next = -1;
		else
			next = openat(fd, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			(void)kp_fail_errno(err, errno, "%s: cannot be made", path);
		*slash = '/';
		(void)kp_close(fd);
		fd = next;
		if (fd < 0)
			return -err->code;
	}
	return fd < 0 ? kp_fail_errno(err, errno, "%s", path) : fd;
}

static int extract_path(struct extract *x, const char *given, struct kp_err *err)
{
	kp_autofree char *path = kp_strdup(given + strspn(given, "/"));
	kp_autoclose int dir = -1;
	struct kp_entry e;
	size_t len = strlen(path);
	int r = kp_look_find(x->look, given, &e, err);

	if (r < 0)
		return r;
	while (len && path[len - 1] == '/')
		path[--len] = '\0';
	if (e.id == KP_ROOT_ENTRY)
		return put_children(x, &e, x->root, "", err);
	dir = open_parents(x, path, err);
	return dir < 0 ? dir : put(x, &e, dir, path, err);
}

int kp_cmd_extract(const struct kp_args *args, struct kp_err *err)
{
	const char *to = kp_args_get(args, "directory");
	struct kp_look kp_autolook look = {0};
	struct extract x = {.look = &look, .force = kp_args_has(args, "force"), .root = -1};
	int r;

	if (!to || !*to) {
		(void)kp_fail(err, EINVAL, "extract: --directory missing");
		return kp_hint(err, "usage: kapsel extract %s", args->verb->usage);
	}
	r = kp_look_open(&look, args->operands[0], err);
	if (r < 0)
		return r;
	if (mkdir(to, 0755) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", to);
	x.root = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x.root < 0)
		return kp_fail_errno(err, errno, "%s", to);
	x.count = kp_image_count(look.image);
	x.first = kp_calloc((size_t)x.count + 1, sizeof(*x.first));
	if (args->operand_count == 1)
		r = extract_path(&x, "/", err);
	for (size_t i = 1; !r && i < args->operand_count; i++)
		r = extract_path(&x, args->operands[i], err);
	for (uint32_t i = 0; i < x.count; i++)
		free(x.first[i]);
	free(x.first);
	(void)kp_close(x.root);
	return r;
}
