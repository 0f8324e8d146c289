/* SPDX-License-Identifier: Apache-2.0 */
/* The image under its final name, whole or not at all: a file without a name where the file system can, else a
 * hidden one. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int output_open(struct output *o, const char *path, struct kp_err *err)
{
	const char *name = base_name(path);
	struct stat st;

	o->path = path;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || strlen(name) > NAME_MAX - 16)
		return kp_fail(err, EINVAL, "%s: output: not a name for a file", path);
	o->dir = name == path ? kp_strdup(".") : kp_strndup(path, (size_t)(name - path));
	o->dir_fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->dir_fd < 0)
		return kp_fail_errno(err, errno, "%s: output's directory", o->dir);
	if (fstatat(o->dir_fd, name, &st, 0) == 0 && !S_ISREG(st.st_mode))
		return kp_fail(err, EEXIST, "%s: output: exists and is not a regular file", path);
	o->fd = openat(o->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (o->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL)) {
		o->tmp = kp_asprintf(".%s.%d", name, getpid());
		o->fd = openat(o->dir_fd, o->tmp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	return o->fd < 0 ? kp_fail_errno(err, errno, "%s: output", path) : 0;
}

int output_commit(struct output *o, struct kp_err *err)
{
	const char *name = base_name(o->path);
	char proc[64];

	if (fchmod(o->fd, 0755) < 0 || fsync(o->fd) < 0)
		return kp_fail_errno(err, errno, "%s: output", o->path);
	if (!o->tmp) {
		(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", o->fd);
		o->tmp = kp_asprintf(".%s.%d", name, getpid());
		(void)unlinkat(o->dir_fd, o->tmp, 0);
		if (linkat(AT_FDCWD, proc, o->dir_fd, o->tmp, AT_SYMLINK_FOLLOW) < 0)
			return kp_fail_errno(err, errno, "%s: output", o->path);
	}
	if (renameat(o->dir_fd, o->tmp, o->dir_fd, name) < 0)
		return kp_fail_errno(err, errno, "%s: output", o->path);
	free(o->tmp);
	o->tmp = NULL;
	return 0;
}

void output_drop(struct output *o)
{
	if (o->tmp && o->dir_fd >= 0)
		(void)unlinkat(o->dir_fd, o->tmp, 0);
	o->fd = kp_close(o->fd);
	o->dir_fd = kp_close(o->dir_fd);
	free(o->tmp);
	free(o->dir);
}
