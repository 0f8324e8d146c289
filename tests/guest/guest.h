/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers of the guest programs. Each program runs natively and inside Kapsel on the same tree and must print the same, so
 * it prints results, errors by name and what it left behind, and only what does not change from run to run: no inode or
 * device numbers, times, process numbers.
 *
 * A program is started with the tree as its only argument and calls guest_begin() first.
 */
#ifndef KAPSEL_TESTS_GUEST_H
#define KAPSEL_TESTS_GUEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST_TIME 1000000000 /* of everything in the fixture */

__attribute__((unused)) static const char *guest_root;
__attribute__((unused)) static int guest_set_count;

__attribute__((unused, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stdout, fmt, ap);
	va_end(ap);
	(void)printf(": %s\n", strerrorname_np(errno) ? strerrorname_np(errno) : "0");
	exit(99);
}

/* Goes to the tree. Lines come out at once: a child must not print them again. */
__attribute__((unused)) static void guest_begin(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		(void)fprintf(stderr, "usage: %s TREE\n", argv[0]);
		exit(2);
	}
	guest_root = argv[1];
	umask(022);
	if (chdir(guest_root) < 0)
		die("chdir %s", guest_root);
}

/* A buffer whose end lies against a page that cannot be touched. */
__attribute__((unused)) static void *tail_alloc(size_t len)
{
	size_t page = 4096, pages = (len + page - 1) / page;
	char *p;

	if (!pages)
		pages = 1;
	p = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + pages * page, page, PROT_NONE) < 0)
		die("tail_alloc");
	return p + pages * page - len;
}

/* A copy of text whose NUL is the last byte before such a page. Good until 64 more were made. */
__attribute__((unused)) static char *tail(const char *text)
{
	static struct {
		char *map;
		size_t len;
	} ring[64];
	static unsigned next;
	size_t len = strlen(text) + 1, pages = (len + 4095) / 4096;
	unsigned at = next++ % 64;

	if (ring[at].map)
		munmap(ring[at].map, ring[at].len);
	ring[at].len = (pages + 1) * 4096;
	ring[at].map = mmap(NULL, ring[at].len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring[at].map == MAP_FAILED || mprotect(ring[at].map + pages * 4096, 4096, PROT_NONE) < 0)
		die("tail");
	return memcpy(ring[at].map + pages * 4096 - len, text, len);
}

__attribute__((unused)) static const char *ename(int err)
{
	return strerrorname_np(err) ? strerrorname_np(err) : "?";
}

/* Prints "label: value" or "label: -ENAME". Returns value. */
__attribute__((unused, format(printf, 2, 3))) static long result(long value, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	if (value < 0)
		(void)printf(": -%s\n", ename(err));
	else
		(void)printf(": %ld\n", value);
	return value;
}

/* The same for calls whose value is a number that may differ (descriptors): "ok". */
__attribute__((unused, format(printf, 2, 3))) static long outcome(long value, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	if (value < 0)
		(void)printf(": -%s\n", ename(err));
	else
		(void)printf(": ok\n");
	return value;
}

#define CALL(expr) ({ errno = 0; result((expr), "%s", #expr); })
#define OPENS(expr) ({ errno = 0; (int)outcome((expr), "%s", #expr); })

/* Text with the tree's own path cut down to "@". */
__attribute__((unused)) static const char *shorten(const char *text)
{
	static char buf[4][2 * PATH_MAX];
	static unsigned next;
	char *out = buf[next++ % 4], *at = out;
	size_t len = strlen(guest_root);

	while (*text && at < out + 2 * PATH_MAX - 2) {
		if (!strncmp(text, guest_root, len)) {
			*at++ = '@';
			text += len;
		} else {
			*at++ = *text++;
		}
	}
	*at = '\0';
	return out;
}

__attribute__((unused)) static const char *kind_name(mode_t mode)
{
	return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "dir" : S_ISLNK(mode) ? "link" : S_ISFIFO(mode) ? "fifo"
	       : S_ISSOCK(mode) ? "sock" : S_ISCHR(mode) ? "chr" : S_ISBLK(mode) ? "blk" : "?";
}

__attribute__((unused)) static const char *type_name(unsigned char d_type)
{
	return d_type == DT_UNKNOWN ? "unknown" : kind_name(DTTOIF(d_type));
}

/* What lies at path: kind, mode, links, size, whether its time is the fixture's, content or target. */
__attribute__((unused)) static void show_as(const char *path, const char *label)
{
	char text[200];
	struct stat st;
	ssize_t n;
	int fd;

	if (lstat(path, &st) < 0) {
		(void)printf("   %s -%s\n", label, ename(errno));
		return;
	}
	(void)printf("   %s %s %04o", label, kind_name(st.st_mode), st.st_mode & 07777);
	if (!S_ISDIR(st.st_mode))
		(void)printf(" n%ld s%ld", (long)st.st_nlink, (long)st.st_size);
	(void)printf(" %s", st.st_mtime == GUEST_TIME && !st.st_mtim.tv_nsec ? "old" : "new");
	(void)printf(" %s%s", st.st_uid == geteuid() ? "mine" : "foreign", st.st_gid == getegid() ? "" : "+group");
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, text, sizeof(text) - 1);
		text[n < 0 ? 0 : n] = '\0';
		(void)printf(" -> %s", shorten(text));
	} else if (S_ISREG(st.st_mode) && (fd = open(path, O_RDONLY)) >= 0) {
		n = read(fd, text, 60);
		text[n < 0 ? 0 : n] = '\0';
		(void)printf(" \"");
		for (ssize_t i = 0; i < n; i++)
			(void)putchar(text[i] == '\n' ? '|' : text[i] < ' ' ? '.' : text[i]);
		(void)printf("\"");
		(void)close(fd);
	}
	(void)printf("\n");
}

__attribute__((unused)) static void show(const char *path)
{
	show_as(path, path);
}

__attribute__((unused)) static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names and types of a directory, sorted; each d_type and d_ino must agree with lstat. */
__attribute__((unused)) static void list(const char *path)
{
	DIR *d = opendir(path);
	char *names[4096];
	struct dirent *e;
	size_t n = 0;

	if (!d) {
		(void)printf("   ls %s -%s\n", path, ename(errno));
		return;
	}
	while (n < 4096 && (e = readdir(d))) {
		const char *mark = "";
		struct stat st;
		char line[400];

		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			mark = "!stat";
		else if (strcmp(e->d_name, "..") != 0 && st.st_ino != e->d_ino)
			mark = "!ino";
		else if (e->d_type != DT_UNKNOWN && (mode_t)DTTOIF(e->d_type) != (st.st_mode & S_IFMT))
			mark = "!type";
		(void)snprintf(line, sizeof(line), "%s:%s%s", e->d_name, type_name(e->d_type), mark);
		names[n++] = strdup(line);
	}
	(void)closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	(void)printf("   ls %s:", path);
	for (size_t i = 0; i < n; i++) {
		(void)printf(" %s", names[i]);
		free(names[i]);
	}
	(void)printf("\n");
}

__attribute__((unused)) static void put_text(const char *path, int flags, const char *text)
{
	int fd = open(path, flags, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("put_text %s", path);
	(void)close(fd);
}

__attribute__((unused)) static void make_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("socket %s", path);
	(void)close(s);
}

/*
 * Every kind of name, in a directory of its own: the fixture made what an image holds, the rest is made here. See
 * fixture.sh for the former. Kinds: file ro exec of an image; cu copied up; wh removed; hard1, hard2 one file; dir of the image,
 * mdir with more in it, wdir emptied, odir removed and made again, xdir removed, edir empty; new and ndir of the instance;
 * links; fifo; sock.
 */
__attribute__((unused)) static void next_set(void)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/s%03d", guest_root, guest_set_count++);
	if (chdir(path) < 0)
		die("set %s", path);
	put_text("cu", O_WRONLY | O_APPEND, "more\n");
	put_text("new", O_WRONLY | O_CREAT | O_EXCL, "new file\n");
	put_text("mdir/n", O_WRONLY | O_CREAT | O_EXCL, "n\n");
	if (unlink("wh") < 0 || unlink("wdir/a") < 0 || unlink("xdir/a") < 0 || rmdir("xdir") < 0 || unlink("odir/a") < 0 ||
	    rmdir("odir") < 0 || mkdir("odir", 0755) < 0 || mkdir("ndir", 0755) < 0 || symlink("new", "lnew") < 0 ||
	    mkfifo("fifo", 0644) < 0)
		die("set %s", path);
	put_text("odir/n", O_WRONLY | O_CREAT | O_EXCL, "n\n");
	put_text("ndir/x", O_WRONLY | O_CREAT | O_EXCL, "x\n");
	make_socket("sock");
}

#define KINDS                                                                                                           \
	"file", "ro", "exec", "cu", "new", "wh", "absent", "hard1", "dir", "mdir", "wdir", "odir", "edir", "xdir",          \
		"ndir", "lrel", "labs", "ldang", "lloop", "ldir", "lwh", "lnew", "fifo", "sock"
#define ODD_KINDS                                                                                                       \
	"file/", "new/", "dir/", "mdir/", "absent/", "wh/", "xdir/", "lrel/", "ldir/", "ldang/", "lloop/", "file/x",       \
		"absent/x", "wh/x", "dir/.", "dir/..", "dir/a", "mdir/a", "mdir/n", "wdir/a", "odir/a", "odir/n",           \
		"xdir/a", "ldir/a", "ldir/absent", "file/.", "file/..", "", ".", "..", "./file", "dir/../file",        \
		"dir//a", "lloop/x"

/* Runs body with char *name for every kind of name; each call of EACH gets names of its own. */
#define EACH(what, body)                                                                                                \
	do {                                                                                                            \
		static const char *const each_[] = {KINDS, ODD_KINDS};                                                  \
		next_set();                                                                                             \
		(void)printf("== %s\n", what);                                                                          \
		for (size_t i_ = 0; i_ < sizeof(each_) / sizeof(*each_); i_++) {                                        \
			char *name = tail(each_[i_]);                                                                   \
			errno = 0;                                                                                      \
			body;                                                                                           \
		}                                                                                                       \
	} while (0)

#endif
