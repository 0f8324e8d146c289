/* SPDX-License-Identifier: Apache-2.0 */
/* The scratch directory, gone when the packager ends, and the cache that stays. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

char *cache_dir(void)
{
	const char *xdg = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");

	if (xdg && xdg[0] == '/')
		return kp_asprintf("%s/kapsel-pack", xdg);
	if (home && home[0] == '/')
		return kp_asprintf("%s/.cache/kapsel-pack", home);
	return kp_asprintf("/var/tmp/kapsel-pack-%u", (unsigned)geteuid());
}

/* Scratch directories that nobody holds a lock on were left by a packager that was killed. */
static void remove_stale(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		kp_autoclose int fd = -1;

		if (strncmp(e->d_name, "work.", 5) != 0)
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)kp_remove_tree(dirfd(d), e->d_name);
	}
	if (d)
		(void)closedir(d);
}

int work_open(struct pack *p, struct kp_err *err)
{
	kp_autofree char *cache = cache_dir(), *work = NULL;
	kp_autoclose int lock = -1;
	struct stat st;
	int rc = 0;

	if (p->work)
		return 0;
	rc = kp_mkdir_all(AT_FDCWD, cache, 0700);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: cache directory", cache);
	lock = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || fstat(lock, &st) < 0)
		return kp_fail_errno(err, errno, "%s: cache directory", cache);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return kp_fail(err, EPERM, "%s: cache directory: not ours alone (owner or mode)", cache);
	/* Making and locking a directory is one step to whoever looks for stale ones. */
	if (flock(lock, LOCK_EX) < 0)
		return kp_fail_errno(err, errno, "%s: lock", cache);
	remove_stale(cache);
	work = kp_asprintf("%s/work.XXXXXX", cache);
	if (!mkdtemp(work))
		return kp_fail_errno(err, errno, "%s: scratch directory", work);
	p->work = kp_take_ptr(work);
	p->work_fd = open(p->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->work_fd < 0 || flock(p->work_fd, LOCK_EX | LOCK_NB) < 0)
		return kp_fail_errno(err, errno, "%s: scratch directory", p->work);
	return 0;
}

void work_close(struct pack *p)
{
	if (p->work)
		(void)kp_remove_tree(AT_FDCWD, p->work);
	p->work_fd = kp_close(p->work_fd);
	free(p->work);
	p->work = NULL;
}

int work_file(struct pack *p, char **ret_path, struct kp_err *err)
{
	kp_autofree char *path = NULL;
	int rc = work_open(p, err), fd;

	if (rc)
		return rc;
	path = kp_asprintf("%s/%u", p->work, p->work_files++);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return kp_fail_errno(err, errno, "%s", path);
	*ret_path = kp_take_ptr(path);
	return fd;
}
