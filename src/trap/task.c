/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel knows of a guest's task: directories, descriptors, identity. Nothing is remembered here, and one descriptor kept. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "trap/trap.h"

static int read_link(const char *path, char *buf, size_t size)
{
	ssize_t n = readlink(path, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int kp_task_fd(pid_t tid, int fd, char *buf, size_t size)
{
	char path[48];
	int rc;

	if (fd < 0)
		return -EBADF;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	rc = read_link(path, buf, size);
	return rc == -ENOENT ? -EBADF : rc;
}

int kp_task_start(pid_t tid, int dirfd, char *buf, size_t size)
{
	char path[48];

	if (dirfd != AT_FDCWD)
		return kp_task_fd(tid, dirfd, buf, size);
	(void)snprintf(path, sizeof(path), "/proc/%d/cwd", tid);
	return read_link(path, buf, size);
}

/* The number behind a field of /proc/TID/fdinfo/N. */
static int fd_info(pid_t tid, int fd, const char *field, int base, int64_t *ret)
{
	char path[64];
	kp_autofree char *text = NULL;
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", tid, fd);
	if (kp_read_file(AT_FDCWD, path, 65536, &text, NULL) || !(at = strstr(text, field)))
		return -EBADF;
	*ret = strtoll(at + strlen(field), NULL, base);
	return 0;
}

int kp_task_fd_flags(pid_t tid, int fd, int *ret_flags)
{
	int64_t flags;
	int rc = fd_info(tid, fd, "flags:", 8, &flags);

	if (!rc)
		*ret_flags = (int)flags;
	return rc;
}

int kp_task_fd_usable(pid_t tid, int fd)
{
	struct stat link;
	char path[48];
	int flags;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	if (fd < 0 || lstat(path, &link) < 0)
		return -EBADF;
	/* The link's mode tells whether it can be read and written; one that can neither may still be more than a path (fs/proc/fd.c). */
	if (link.st_mode & (S_IRUSR | S_IWUSR))
		return 0;
	return kp_task_fd_flags(tid, fd, &flags) || flags & O_PATH ? -EBADF : 0;
}

int kp_task_fd_pos(pid_t tid, int fd, int64_t *ret_pos)
{
	int rc = kp_task_fd_usable(tid, fd);

	return rc ? rc : fd_info(tid, fd, "pos:", 10, ret_pos);
}

static int open_status(pid_t tid)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", tid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int read_status(pid_t tid, char *buf, size_t size)
{
	kp_autoclose int fd = open_status(tid);
	ssize_t n;

	if (fd < 0 || (n = read(fd, buf, size - 1)) < 0)
		return -ESRCH;
	buf[n] = '\0';
	return 0;
}

/* Who makes one file makes more: the last one's is kept open, and only that, since descriptors are few. It is of the thread itself, not of whoever has its
 * number later. */
static int read_kept_status(pid_t tid, char *buf, size_t size)
{
	static struct {
		pthread_mutex_t lock;
		pid_t tid;
		int fd;
	} kept = {PTHREAD_MUTEX_INITIALIZER, 0, -1};
	ssize_t n = -1;

	if (pthread_mutex_trylock(&kept.lock))
		return read_status(tid, buf, size);
	if (kept.tid == tid)
		n = pread(kept.fd, buf, size - 1, 0);
	if (n <= 0) {
		(void)kp_close(kept.fd);
		kept.fd = open_status(tid);
		kept.tid = kept.fd < 0 ? 0 : tid;
		n = kept.fd < 0 ? -1 : pread(kept.fd, buf, size - 1, 0);
	}
	pthread_mutex_unlock(&kept.lock);
	if (n <= 0)
		return -ESRCH;
	buf[n] = '\0';
	return 0;
}

mode_t kp_task_umask(pid_t tid)
{
	char buf[4096], *at;

	if (read_kept_status(tid, buf, sizeof(buf)) || !(at = strstr(buf, "\nUmask:")))
		return 022;
	return (mode_t)strtoul(at + 7, NULL, 8);
}

pid_t kp_task_tracer(pid_t tid)
{
	char buf[4096], *at;

	if (read_status(tid, buf, sizeof(buf)) || !(at = strstr(buf, "\nTracerPid:")))
		return 0;
	return (pid_t)strtol(at + 11, NULL, 10);
}

int kp_task_call(pid_t tid)
{
	char path[48], buf[256], *end;
	ssize_t n;
	long nr;

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	kp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	buf[n < 0 ? 0 : n] = '\0';
	if (n <= 0)
		return -ESRCH;
	nr = strtol(buf, &end, 10);
	return end > buf ? (int)nr : -EAGAIN;
}

char kp_task_state(pid_t tid)
{
	char path[48], buf[64];
	const char *end;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	kp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	buf[n < 0 ? 0 : n] = '\0';
	end = strrchr(buf, ')'); /* the name before it may hold anything */
	return end && end[1] ? end[2] : 0;
}

bool kp_task_signalled(pid_t tid)
{
	static const char *const names[] = {"SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:"};
	uint64_t sets[4] = {0};
	kp_autofree char *text = NULL;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (kp_read_file(AT_FDCWD, path, 65536, &text, NULL))
		return true;
	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++) {
		const char *at = strstr(text, names[i]);

		if (at)
			sets[i] = strtoull(at + strlen(names[i]), NULL, 16);
	}
	return (sets[0] | sets[1]) & ~sets[2] & ~sets[3];
}
