/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least CMD ARG...: the program under a supervisor that does the least any can: each call that names a file, or asks what a descriptor is, is
 * received, its path read, looked whether the call still stands, and the kernel told to go on; an open it makes itself
 * and hands the descriptor over, as whoever lets a program open nothing must. What a call costs under it is what the mechanism costs
 * (seccomp_unotify(2)) on this machine; Kapsel at level strict cannot be quicker.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

static const int calls[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(getcwd), SCMP_SYS(chdir), SCMP_SYS(fchdir), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
	SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat),
	SCMP_SYS(chmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(lchown), SCMP_SYS(fchownat), SCMP_SYS(utimensat), SCMP_SYS(truncate),
	SCMP_SYS(getdents64), SCMP_SYS(execve), SCMP_SYS(execveat),
};

static void die(const char *what)
{
	(void)fprintf(stderr, "least: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* Which of the arguments is a path: 1, 2, or 0. */
static int path_of(int nr)
{
	switch (nr) {
	case SYS_openat:
	case SYS_openat2:
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_readlinkat:
	case SYS_mkdirat:
	case SYS_unlinkat:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_linkat:
	case SYS_fchmodat:
	case SYS_fchownat:
	case SYS_utimensat:
	case SYS_execveat:
		return 2;
	case SYS_fstat:
	case SYS_getcwd:
	case SYS_fchdir:
	case SYS_getdents64:
		return 0;
	default:
		return 1;
	}
}

static int filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	for (size_t i = 0; ctx && i < sizeof(calls) / sizeof(*calls); i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, calls[i], 0) < 0)
			die("filter");
	if (!ctx || seccomp_load(ctx) < 0)
		die("filter");
	return seccomp_notify_fd(ctx);
}

/* What the caller opens, in its stead; -1: that it does itself. Under its working directory, or the descriptor that it names, by /proc: one call. */
static int open_for(const struct seccomp_notif *n, const char *path, int *ret_flags)
{
	bool at = n->data.nr == SYS_openat;
	int flags = n->data.nr == SYS_creat ? O_CREAT | O_WRONLY | O_TRUNC : (int)n->data.args[at ? 2 : 1];
	char whole[4096 + 64];

	*ret_flags = flags;
	if ((!at && n->data.nr != SYS_open && n->data.nr != SYS_creat) || !path[0] || flags & (O_PATH | O_DIRECTORY))
		return -1;
	if (!strncmp(path, "/proc/", 6) || !strncmp(path, "/dev/", 5)) /* mean the opener */
		return -1;
	if (path[0] == '/')
		(void)snprintf(whole, sizeof(whole), "%s", path);
	else if (!at || (int)n->data.args[0] == AT_FDCWD)
		(void)snprintf(whole, sizeof(whole), "/proc/%d/cwd/%s", (int)n->pid, path);
	else
		(void)snprintf(whole, sizeof(whole), "/proc/%d/fd/%d/%s", (int)n->pid, (int)n->data.args[0], path);
	return open(whole, flags | O_CLOEXEC | O_NOCTTY, (mode_t)n->data.args[n->data.nr == SYS_creat ? 1 : at ? 3 : 2] & 07777);
}

/* The caller is kept here while it installs the descriptor: woken on another core it costs several times as much, on most machines. */
static bool give(int listener, const struct seccomp_notif *n, const char *path)
{
	struct seccomp_notif_addfd add = {.id = n->id};
	struct seccomp_notif_resp answer = {.id = n->id};
	cpu_set_t before, here;
	int flags, fd = open_for(n, path, &flags), rc;

	if (fd < 0)
		return false;
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	(void)sched_getaffinity((pid_t)n->pid, sizeof(before), &before);
	(void)sched_setaffinity((pid_t)n->pid, sizeof(here), &here);
	add.srcfd = (uint32_t)fd;
	add.newfd_flags = (uint32_t)flags & O_CLOEXEC;
	rc = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
	(void)sched_setaffinity((pid_t)n->pid, sizeof(before), &before);
	(void)close(fd);
	if (rc < 0)
		return false;
	answer.val = rc;
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0;
}

static void supervise(int fd, pid_t program)
{
	struct seccomp_notif n;

	(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	for (;;) {
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		char path[4096];
		ssize_t got = 0;
		int which;

		memset(&n, 0, sizeof(n));
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0) {
			if (errno != EINTR && (errno != ENOENT || kill(program, 0) < 0))
				return;
			continue;
		}
		which = path_of(n.data.nr);
		if (which) {
			size_t room = sizeof(path) - n.data.args[which - 1] % sizeof(path);
			struct iovec local = {path, room < 256 ? room : 256}, remote = {(void *)(uintptr_t)n.data.args[which - 1], local.iov_len};

			got = process_vm_readv((pid_t)n.pid, &local, 1, &remote, 1, 0);
			(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id);
		}
		if (got > 0 && memchr(path, '\0', (size_t)got) && give(fd, &n, path))
			continue;
		answer.id = n.id;
		(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

/* Takes the program's listener; a child of nobody's, so that the program has none that it did not make. */
static void supervisor(int ready, pid_t program)
{
	int pidfd = (int)syscall(SYS_pidfd_open, program, 0), listener, fd;

	if (fork())
		_exit(0);
	if (read(ready, &listener, sizeof(listener)) != sizeof(listener))
		_exit(125);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
	if (fd < 0)
		die("pidfd_getfd");
	(void)close(ready);
	(void)close(pidfd);
	supervise(fd, program);
	_exit(0);
}

/* The program is this process, whose status it then has. */
int main(int argc, char **argv)
{
	int ready[2], listener;
	pid_t program = getpid(), pid;

	if (argc < 2 || pipe(ready) < 0)
		die("usage: least CMD ARG...");
	(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pid = fork();
	if (!pid) {
		(void)close(ready[1]);
		supervisor(ready[0], program);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) < 0)
		die("supervisor");
	listener = filter();
	if (write(ready[1], &listener, sizeof(listener)) != sizeof(listener))
		die("supervisor");
	(void)close(ready[1]);
	(void)close(ready[0]);
	(void)fcntl(listener, F_SETFD, FD_CLOEXEC);
	execvp(argv[1], argv + 1);
	die(argv[1]);
}
