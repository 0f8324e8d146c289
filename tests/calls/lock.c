/* SPDX-License-Identifier: Apache-2.0 */
/* flock, fcntl and open-file-description locks, between descriptors and across fork. */
#include "guest.h"
#include <sys/file.h>

static long lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, cmd, &fl);
}

static const char *holder(int fd, int cmd, pid_t expected)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, cmd, &fl) < 0)
		return errno_name(errno);
	if (fl.l_type == F_UNLCK)
		return "nobody";
	return fl.l_pid == expected ? "the one expected" : fl.l_pid == -1 ? "a description" : "somebody else";
}

#define IN_CHILD(...)                                                                                   \
	do {                                                                                            \
		fflush(stdout);                                                                         \
		pid_t pid_ = fork();                                                                    \
		if (!pid_) {                                                                            \
			__VA_ARGS__;                                                                    \
			exit(0);                                                                        \
		}                                                                                       \
		show_wait("child", pid_);                                                               \
	} while (0)

static void whole(const char *path)
{
	int a = FD(open(path, O_RDONLY)), b = FD(open(path, O_RDONLY)), copy = dup(a);

	printf("flock on %s\n", path);
	CALL(flock(a, LOCK_SH | LOCK_NB));
	CALL(flock(b, LOCK_SH | LOCK_NB));
	CALL(flock(a, LOCK_EX | LOCK_NB));
	CALL(flock(b, LOCK_UN));
	CALL(flock(a, LOCK_EX | LOCK_NB));
	CALL(flock(b, LOCK_SH | LOCK_NB));
	CALL(flock(copy, LOCK_EX | LOCK_NB));
	IN_CHILD(CALL(flock(a, LOCK_EX | LOCK_NB)); CALL(flock(open(path, O_RDONLY), LOCK_EX | LOCK_NB)));
	close(a);
	CALL(flock(b, LOCK_SH | LOCK_NB));
	close(copy);
	CALL(flock(b, LOCK_SH | LOCK_NB));
	close(b);
}

static void ranges(const char *path)
{
	int a = FD(open(path, O_RDWR)), r = FD(open(path, O_RDONLY));
	pid_t me = getpid();

	printf("fcntl on %s\n", path);
	CALL(lock(a, F_SETLK, F_WRLCK, 0, 10));
	CALL(lock(r, F_SETLK, F_WRLCK, 0, 10));
	CALL(lock(r, F_SETLK, F_RDLCK, 20, 10));
	printf("held by %s\n", holder(a, F_GETLK, me));
	IN_CHILD(int c = open(path, O_RDWR); CALL(lock(c, F_SETLK, F_WRLCK, 5, 1)); CALL(lock(c, F_SETLK, F_WRLCK, 10, 5));
		 CALL(lock(c, F_SETLK, F_RDLCK, 20, 1)); CALL(lock(c, F_SETLK, F_WRLCK, 20, 1));
		 printf("child: held by %s\n", holder(c, F_GETLK, me)));
	/* Closing any descriptor of the file drops them all. */
	close(open(path, O_RDONLY));
	IN_CHILD(int c = open(path, O_RDWR); CALL(lock(c, F_SETLK, F_WRLCK, 0, 0)));
	close(a);
	close(r);
}

static void descriptions(const char *path)
{
	int a = FD(open(path, O_RDWR)), b = FD(open(path, O_RDWR));

	printf("descriptions on %s\n", path);
	CALL(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	CALL(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	CALL(lock(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	printf("held by %s\n", holder(b, F_OFD_GETLK, 0));
	IN_CHILD(CALL(lock(a, F_OFD_SETLK, F_UNLCK, 0, 0)));
	CALL(lock(b, F_OFD_SETLK, F_WRLCK, 0, 0));
	close(open(path, O_RDONLY));
	CALL(lock(a, F_OFD_SETLK, F_RDLCK, 0, 0));
	close(a);
	close(b);
}

/* Each kind is blind for the others, and tells of its own holders only. */
static void apart(const char *path)
{
	int a = FD(open(path, O_RDONLY)), b = FD(open(path, O_RDONLY)), d;
	pid_t me = getpid();

	printf("kinds on %s\n", path);
	CALL(lock(a, F_SETLK, F_RDLCK, 0, 0));
	CALL(flock(b, LOCK_EX | LOCK_NB));
	printf("held by %s, %s\n", holder(a, F_GETLK, me), holder(a, F_OFD_GETLK, me));
	IN_CHILD(int c = open(path, O_RDONLY); CALL(flock(c, LOCK_SH | LOCK_NB)); CALL(flock(c, LOCK_EX | LOCK_NB));
		 printf("child: held by %s, %s\n", holder(c, F_GETLK, me), holder(c, F_OFD_GETLK, me)));
	CALL(flock(b, LOCK_UN));
	IN_CHILD(int c = open(path, O_RDONLY); CALL(flock(c, LOCK_EX | LOCK_NB)); CALL(flock(c, LOCK_EX | LOCK_NB));
		 CALL(flock(c, LOCK_SH | LOCK_NB)); CALL(flock(a, LOCK_EX | LOCK_NB)));
	CALL(flock(b, LOCK_SH | LOCK_NB));
	CALL(lock(a, F_SETLK, F_UNLCK, 0, 0));
	IN_CHILD(int c = open(path, O_RDONLY); printf("child: held by %s, %s\n", holder(c, F_GETLK, me), holder(c, F_OFD_GETLK, me)));
	close(a);
	close(b);
	/* One description with locks of both kinds. */
	d = FD(open(path, O_RDONLY));
	CALL(flock(d, LOCK_EX | LOCK_NB));
	CALL(lock(d, F_OFD_SETLK, F_RDLCK, 0, 0));
	CALL(lock(d, F_OFD_SETLK, F_WRLCK, 0, 1));
	CALL(lock(d, F_OFD_SETLK, F_RDLCK, -1, 1));
	printf("held by %s, %s\n", holder(d, F_GETLK, me), holder(d, F_OFD_GETLK, me));
	IN_CHILD(int c = open(path, O_RDONLY); CALL(flock(c, LOCK_SH | LOCK_NB));
		 printf("child: held by %s, %s\n", holder(c, F_GETLK, me), holder(c, F_OFD_GETLK, me)));
	CALL(lock(d, F_OFD_SETLK, F_UNLCK, 0, 0));
	IN_CHILD(int c = open(path, O_RDONLY); CALL(flock(c, LOCK_SH | LOCK_NB));
		 printf("child: held by %s, %s\n", holder(c, F_GETLK, me), holder(c, F_OFD_GETLK, me)));
	CALL(lock(d, F_OFD_SETLK, F_RDLCK, 5, 5));
	CALL(flock(d, LOCK_UN));
	IN_CHILD(int c = open(path, O_RDONLY); CALL(flock(c, LOCK_EX | LOCK_NB));
		 printf("child: held by %s, %s\n", holder(c, F_GETLK, me), holder(c, F_OFD_GETLK, me)));
	close(d);
}

static void waiting(void)
{
	int pipes[2], back[2], fd = open("file", O_RDWR);
	char byte;
	pid_t pid;

	if (pipe(pipes) < 0 || pipe(back) < 0)
		exit(EXIT_FAILURE);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int own = open("file", O_RDWR);

		flock(own, LOCK_EX);
		(void)!write(pipes[1], "x", 1);
		(void)!read(back[0], &byte, 1);
		usleep(100000);
		_exit(0);
	}
	(void)!read(pipes[0], &byte, 1);
	CALL(flock(fd, LOCK_EX | LOCK_NB));
	(void)!write(back[1], "x", 1);
	CALL(flock(fd, LOCK_EX));
	show_wait("the holder went first", pid);
}

/* Who has it is told that somebody comes, by the signal that he chose, with the number of his descriptor. */
static void write_lease(const char *name)
{
	const struct timespec limit = {100, 0};
	int fd = dup2(open(name, O_RDONLY | O_CLOEXEC), 77), status = -1;
	siginfo_t info = {0};
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CALL(fcntl(fd, F_SETSIG, SIGRTMIN + 1));
	CALL(fcntl(fd, F_SETLEASE, F_WRLCK));
	CALL(fcntl(fd, F_GETLEASE));
	CALL(fcntl(fd, F_GETOWN) == getpid());
	pid = fork();
	if (!pid) {
		close(fd);
		_exit(open(name, O_RDONLY) < 0);
	}
	CALL(sigtimedwait(&set, &info, &limit) == SIGRTMIN + 1);
	CALL(info.si_fd);
	CALL(fcntl(fd, F_SETLEASE, F_UNLCK));
	CALL(waitpid(pid, &status, 0) == pid && status == 0);
	CALL(fcntl(open("dir", O_RDONLY), F_SETLEASE, F_WRLCK));
	CALL(fcntl(99, F_SETLEASE, F_WRLCK));
	close(fd);
}

/* The lock of a descriptor goes with its close, whoever opened it: the other one, who was told of it, gets it at once. */
static void goes_with_close(void)
{
	int to[2], from[2], missed = 0;
	pid_t pid, busy[2];
	char c = 0;

	if (pipe(to) || pipe(from))
		exit(EXIT_FAILURE);
	put_file("locked", "");
	/* Others keep whoever opens files busy, so that more than one does. */
	for (int i = 0; i < 2; i++) {
		busy[i] = fork();
		for (; !busy[i];)
			close(open("busy", O_RDWR | O_CREAT, 0644));
	}
	pid = fork();
	if (!pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1) {
			int fd = open("locked", O_RDWR);

			c = flock(fd, LOCK_EX | LOCK_NB) < 0;
			close(fd);
			(void)!write(from[1], &c, 1);
		}
		_exit(0);
	}
	close(to[0]);
	for (int i = 0; i < 700; i++) {
		int fd = open("locked", O_RDWR);
		struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

		missed += flock(fd, LOCK_EX | LOCK_NB) < 0;
		missed += fcntl(fd, F_OFD_SETLK, &l) < 0;
		close(fd);
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			missed += 1000;
		missed += c;
	}
	printf("missed: %d\n", missed);
	for (int i = 0; i < 2; i++) {
		kill(busy[i], SIGKILL);
		show_wait("busy", busy[i]);
	}
	close(to[1]); /* they had it, too */
	show_wait("the other", pid);
	unlink("busy");
	unlink("locked");
}

int main(void)
{
	guest_start();
	whole("file");
	whole("ro");
	whole("dir");
	apart("ro");
	apart("dir");
	apart("file");
	ranges("file");
	put_file("new", "new\n");
	ranges("new");
	descriptions("big");
	waiting();
	CALL(fcntl(open("file", O_RDONLY), F_SETLEASE, F_RDLCK) == 0 ? 0 : -1);
	goes_with_close();
	put_file("leased", "leased\n");
	write_lease("leased");
	return 0;
}
