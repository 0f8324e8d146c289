/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For programs that run twice, natively and inside Kapsel, and must print the same: results and errno by
 * name, facts about files without numbers that differ between file systems, objects against a guard page.
 */
#ifndef KAPSEL_TESTS_GUEST_H
#define KAPSEL_TESTS_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define unused __attribute__((unused))

/* First thing in main: a known umask, whole lines in order also across fork, an end to every hang. */
static inline void guest_start(void)
{
	umask(022);
	setvbuf(stdout, NULL, _IOLBF, 4096);
	alarm(200);
}

static inline const char *errno_name(int error)
{
	const char *name = error ? strerrorname_np(error) : "0";

	return name ? name : "unknown error";
}

/* Prints `LABEL = VALUE` or `LABEL = -1 EWHAT`, and passes the value on. */
static inline long show(const char *label, long value)
{
	int error = errno;

	if (value == -1)
		printf("%s = -1 %s\n", label, errno_name(error));
	else
		printf("%s = %ld\n", label, value);
	errno = error;
	return value;
}

/* The same for a new descriptor, whose number is nobody's business. */
static inline int show_fd(const char *label, int fd)
{
	int error = errno;

	if (fd < 0)
		printf("%s = -1 %s\n", label, errno_name(error));
	else
		printf("%s = fd\n", label);
	errno = error;
	return fd;
}

#define CALL(expr) show(#expr, (expr))
#define FD(expr) show_fd(#expr, (expr))

/* For loops: the label is made like printf. */
__attribute__((format(printf, 2, 3))) static inline long showf(long value, const char *fmt, ...)
{
	int error = errno;
	char label[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(label, sizeof(label), fmt, args);
	va_end(args);
	errno = error;
	return show(label, value);
}

/* size bytes that end at an unmapped page: one byte too many read or written is a fault. */
static inline void *tail_alloc(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len = (size + page - 1) / page * page;
	char *p = mmap(NULL, len + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p + len, page) < 0) {
		perror("tail_alloc");
		exit(EXIT_FAILURE);
	}
	return p + len - size;
}

static inline char *tail_str(const char *s)
{
	size_t size = strlen(s) + 1;

	return memcpy(tail_alloc(size), s, size);
}

/* A string without its end, cut off by an unmapped page: EFAULT wherever a path is read. */
static inline char *tail_unterminated(const char *s)
{
	return memcpy(tail_alloc(strlen(s)), s, strlen(s));
}

static inline const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "dir";
	case S_IFLNK: return "symlink";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFCHR: return "chardev";
	case S_IFBLK: return "blockdev";
	default: return "?";
	}
}

/* Type, mode, owner, and for files also size and links. */
static inline void show_st(const char *label, long rc, const struct stat *st)
{
	if (rc < 0) {
		show(label, rc);
		return;
	}
	printf("%s: %s %04o %s", label, type_name(st->st_mode), st->st_mode & 07777,
	       st->st_uid == geteuid() && st->st_gid == getegid() ? "mine" : "not mine");
	if (S_ISREG(st->st_mode))
		printf(" size %lld links %lu", (long long)st->st_size, (unsigned long)st->st_nlink);
	if (S_ISLNK(st->st_mode))
		printf(" size %lld", (long long)st->st_size);
	putchar('\n');
}

static inline void show_lstat(const char *path)
{
	struct stat st;
	char label[PATH_MAX];

	snprintf(label, sizeof(label), "lstat %s", path);
	show_st(label, lstat(path, &st), &st);
}

/* Prints at most the first 60 bytes. */
static inline void show_content(const char *path)
{
	char buf[61];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (n < 0) {
		printf("content %s: %s\n", path, errno_name(errno));
	} else {
		buf[n] = 0;
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] == '\n')
				buf[i] = '|';
		printf("content %s: [%s]\n", path, buf);
	}
	if (fd >= 0)
		close(fd);
}

static inline void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		printf("put_file %s: %s\n", path, errno_name(errno));
		exit(EXIT_FAILURE);
	}
	close(fd);
}

/* How a child ended. */
static inline void show_wait(const char *label, pid_t pid)
{
	int status;

	if (pid < 0)
		show(label, -1);
	else if (waitpid(pid, &status, 0) != pid)
		printf("%s: wait: %s\n", label, errno_name(errno));
	else if (WIFEXITED(status))
		printf("%s: exit %d\n", label, WEXITSTATUS(status));
	else
		printf("%s: signal %s\n", label, sigabbrev_np(WTERMSIG(status)));
}

#endif
