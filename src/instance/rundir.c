/* SPDX-License-Identifier: Apache-2.0 */
/* The private directory of a run, and cleaning up after runs that crashed. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "instance/cgroup.h"
#include "instance/instance.h"
#include "instance/procs.h"

/* base/NAME.XXXXXX when base is (or can be made) ours and lets programs run. */
static char *try_base(const char *base, const char *name)
{
	struct statvfs fs;
	char *dir;

	if (mkdir(base, 0700) < 0 && errno != EEXIST)
		return NULL;
	if (kp_dir_private(base, NULL) < 0 || statvfs(base, &fs) < 0 || fs.f_flag & (ST_NOEXEC | ST_RDONLY))
		return NULL;
	dir = kp_asprintf("%s/%s.XXXXXX", base, name);
	if (!mkdtemp(dir)) {
		free(dir);
		return NULL;
	}
	return dir;
}

static char *make_dir(const struct kp_instance *i)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	kp_autofree char *first = NULL, *shm = kp_asprintf("/dev/shm/kapsel-%u", (unsigned)geteuid());
	kp_autofree char *tmp = kp_asprintf("/tmp/kapsel-%u", (unsigned)geteuid());
	kp_autofree char *own = kp_asprintf("%s/runs", i->dir);
	char *dir = NULL;

	if (runtime && runtime[0] == '/' && !kp_dir_private(runtime, NULL)) {
		first = kp_asprintf("%s/kapsel", runtime);
		dir = try_base(first, i->name);
	}
	if (!dir)
		dir = try_base(shm, i->name);
	if (!dir)
		dir = try_base(tmp, i->name);
	if (!dir)
		dir = try_base(own, i->name);
	return dir;
}

/* Where it is stands in the lock file, up to the newline: the one file that each run opens anyway. Making and removing a link costs
 * a millisecond where the file system looks for an inode that was not in use lately. */
static int note(const struct kp_instance *i, const char *text)
{
	kp_autofree char *path = kp_asprintf("%s/lock", i->dir);
	kp_autoclose int own = i->lock_fd < 0 ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	size_t len = strlen(text);

	if (i->lock_fd < 0 && own < 0)
		return -errno;
	return pwrite(own < 0 ? i->lock_fd : own, text, len, 0) == (ssize_t)len ? 0 : errno ? -errno : -EIO;
}

int kp_run_dir_create(const struct kp_instance *i, char **ret_dir, struct kp_err *err)
{
	kp_autofree char *dir = make_dir(i), *line = NULL;
	char *real;
	int r;

	if (!dir) {
		(void)kp_fail(err, EACCES, "%s: no directory for the run: all are foreign, full or noexec", i->name);
		return kp_hint(err, "XDG_RUNTIME_DIR=DIR names one that is yours, mode 0700 and not mounted noexec");
	}
	real = kp_real_path(dir);
	line = real ? kp_asprintf("%s\n", real) : NULL;
	r = real ? note(i, line) : -errno;
	if (r) {
		(void)kp_remove_tree(AT_FDCWD, dir);
		free(real);
		return kp_fail_errno(err, -r, "%s/lock: cannot be written", i->dir);
	}
	*ret_dir = real;
	return 0;
}

int kp_run_dir_find(const struct kp_instance *i, char **ret_dir)
{
	kp_autofree char *lock = kp_asprintf("%s/lock", i->dir);
	kp_autoclose int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char path[PATH_MAX], *base, *end;
	size_t len = strlen(i->name);
	ssize_t n = fd < 0 ? -1 : pread(fd, path, sizeof(path) - 1, 0);

	if (n < 0)
		return -errno;
	path[n] = '\0';
	end = strchr(path, '\n');
	if (!end || path[0] != '/')
		return -ENOENT;
	*end = '\0';
	base = strrchr(path, '/');
	if (strncmp(base + 1, i->name, len) || base[1 + len] != '.')
		return -ENOENT;
	*ret_dir = kp_strdup(path);
	return 0;
}

void kp_run_dir_remove(const struct kp_instance *i, const char *host_dir)
{
	if (!kp_dir_private(host_dir, NULL))
		(void)kp_remove_tree(AT_FDCWD, host_dir);
	(void)note(i, "\n");
}

void kp_instance_clean(const struct kp_instance *i)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	kp_autofree char *dir = NULL, *loader = NULL;

	if (kp_run_dir_find(i, &dir) < 0)
		return;
	loader = kp_asprintf("%s/loader", dir);
	/* Forks race with the scan: look until none is seen, for at most a second. */
	for (int tries = 0; tries < 200 && kp_procs_kill_running(loader); tries++)
		(void)nanosleep(&pause, NULL);
	if (!kp_dir_private(dir, NULL))
		kp_cgroup_clean(dir);
	kp_run_dir_remove(i, dir);
}
