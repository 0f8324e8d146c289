/* SPDX-License-Identifier: Apache-2.0 */
/* A file that a verb writes: without a name until it is whole. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

int kp_out_open(struct kp_out *o, const char *path, bool force, struct kp_err *err)
{
	const char *slash = strrchr(path, '/');
	kp_autofree char *dir = slash ? kp_strndup(path, (size_t)(slash - path) + 1) : kp_strdup(".");
	struct stat st;

	o->path = path;
	o->name = slash ? slash + 1 : path;
	o->force = force;
	o->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->dir_fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot be opened", dir);
	if (!*o->name || !strcmp(o->name, ".") || !strcmp(o->name, "..") || strlen(o->name) > 200)
		return kp_fail(err, EINVAL, "%s: not a name for a file", path);
	if (fstatat(o->dir_fd, o->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (!force || !S_ISREG(st.st_mode))) {
		(void)kp_fail(err, EEXIST, "%s: exists", path);
		return S_ISREG(st.st_mode) ? kp_hint(err, "--force replaces it") : -EEXIST;
	}
	o->fd = openat(o->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (o->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL)) {
		o->temp = kp_asprintf(".%s.%d", o->name, (int)getpid());
		o->fd = openat(o->dir_fd, o->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	return o->fd < 0 ? kp_fail_errno(err, errno, "%s: no file can be made there", dir) : 0;
}

int kp_out_publish(struct kp_out *o, mode_t mode, struct kp_err *err)
{
	char proc[32];

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", o->fd);
	if (fchmod(o->fd, mode) < 0 || fsync(o->fd) < 0)
		return kp_fail_errno(err, errno, "%s: cannot be written", o->path);
	if (!o->temp && !o->force)
		return linkat(AT_FDCWD, proc, o->dir_fd, o->name, AT_SYMLINK_FOLLOW) < 0
			       ? kp_fail_errno(err, errno, "%s: cannot be made", o->path) : 0;
	if (!o->temp) {
		o->temp = kp_asprintf(".%s.%d", o->name, (int)getpid());
		if (linkat(AT_FDCWD, proc, o->dir_fd, o->temp, AT_SYMLINK_FOLLOW) < 0)
			return kp_fail_errno(err, errno, "%s: cannot be made", o->path);
	}
	if (renameat(o->dir_fd, o->temp, o->dir_fd, o->name) < 0)
		return kp_fail_errno(err, errno, "%s: cannot be made", o->path);
	free(o->temp);
	o->temp = NULL;
	return 0;
}

void kp_out_close(struct kp_out *o)
{
	if (o->temp && o->dir_fd >= 0)
		(void)unlinkat(o->dir_fd, o->temp, 0);
	o->fd = kp_close(o->fd);
	o->dir_fd = kp_close(o->dir_fd);
	free(o->temp);
	o->temp = NULL;
}
