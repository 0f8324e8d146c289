/* SPDX-License-Identifier: Apache-2.0 */
/* The stat family, access and readlink on every kind of name. */
#include "guest.h"

#include <sys/statfs.h>

static void print_stat(long rc, const struct stat *st, const char *call, const char *name)
{
	if (rc < 0) {
		result(rc, "%s %s", call, name);
		return;
	}
	printf("%s %s: %s %04o", call, name, kind_name(st->st_mode), st->st_mode & 07777);
	if (!S_ISDIR(st->st_mode))
		printf(" n%ld s%ld b%d", (long)st->st_nlink, (long)st->st_size, (int)(st->st_blocks > 0));
	printf(" %s\n", st->st_mtime == GUEST_TIME ? "old" : "new");
}

static void same(const char *a, const char *b)
{
	struct stat x, y;

	if (stat(a, &x) < 0 || stat(b, &y) < 0)
		printf("same %s %s: -%s\n", a, b, ename(errno));
	else
		printf("same %s %s: %s\n", a, b, x.st_ino == y.st_ino && x.st_dev == y.st_dev ? "yes" : "no");
}

static void keeps_number(const char *name)
{
	struct stat a, b;
	int fd;

	if (stat(name, &a) < 0 || chmod(name, 0600 | (S_ISDIR(a.st_mode) ? 0100 : 0)) < 0 || stat(name, &b) < 0)
		die("keeps_number");
	fd = open(name, O_RDONLY);
	printf("number of %s kept over chmod: %d", name, a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	if (fstat(fd, &b) < 0)
		die("fstat");
	printf(", through the descriptor: %d\n", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	close(fd);
}

static void each_kind(void)
{
	struct stat st;
	struct statx x;
	char buf[64];

	EACH("stat", print_stat(syscall(SYS_stat, name, &st), &st, "stat", name));
	EACH("lstat", print_stat(syscall(SYS_lstat, name, &st), &st, "lstat", name));
	EACH("fstatat nofollow", print_stat(fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW), &st, "fstatat", name));
	EACH("fstatat empty", print_stat(fstatat(AT_FDCWD, name, &st, AT_EMPTY_PATH), &st, "fstatat", name));
	EACH("statx", {
		long rc = statx(AT_FDCWD, name, 0, STATX_BASIC_STATS, &x);
		if (rc < 0)
			result(rc, "statx %s", name);
		else
			printf("statx %s: %s %04o\n", name, kind_name(x.stx_mode), x.stx_mode & 07777);
	});
	EACH("access", for (int m = 0; m < 8; m++) result(access(name, m), "access %s %d", name, m));
	EACH("faccessat2", {
		result(faccessat(AT_FDCWD, name, R_OK | W_OK, AT_SYMLINK_NOFOLLOW), "faccessat %s nofollow", name);
		result(faccessat(AT_FDCWD, name, X_OK, AT_EACCESS), "faccessat %s eaccess", name);
	});
	EACH("readlink", {
		long n = readlink(name, buf, sizeof(buf));
		if (n >= 0 && strcmp(name, "labs") != 0)
			printf("readlink %s: %.*s\n", name, (int)n, buf);
		else
			outcome(n, "readlink %s", name);
	});
	EACH("readlink short", {
		long n = readlink(name, tail_alloc(2), 2);
		result(n, "readlink %s", name);
	});
	EACH("statfs", {
		struct statfs fs;
		result(statfs(name, &fs), "statfs %s", name);
	});
	EACH("fstat of a path descriptor", {
		int fd = open(name, O_PATH | O_NOFOLLOW);
		if (fd < 0) {
			result(fd, "open %s", name);
		} else {
			print_stat(fstat(fd, &st), &st, "fstat", name);
			print_stat(fstatat(fd, "", &st, AT_EMPTY_PATH), &st, "fstatat", name);
			result(readlinkat(fd, "", buf, 3), "readlinkat %s", name);
			close(fd);
		}
	});
}

static void arguments(void)
{
	struct stat st;
	struct statx x;
	char buf[64];

	next_set();
	CALL(syscall(SYS_stat, NULL, &st));
	CALL(syscall(SYS_stat, "file", NULL));
	CALL(syscall(SYS_stat, "absent", NULL));
	CALL(syscall(SYS_stat, (char *)tail_alloc(4) + 4, &st));
	CALL(syscall(SYS_stat, memcpy(tail_alloc(4), "file", 4), &st));
	CALL(syscall(SYS_lstat, "file", (char *)tail_alloc(8)));
	CALL(syscall(SYS_newfstatat, AT_FDCWD, "file", &st, 0x40000000));
	CALL(syscall(SYS_newfstatat, 99, "file", &st, 0));
	CALL(syscall(SYS_newfstatat, 99, "/", &st, 0));
	CALL(syscall(SYS_newfstatat, -1, "", &st, AT_EMPTY_PATH));
	CALL(syscall(SYS_newfstatat, 99, "", &st, AT_EMPTY_PATH));
	CALL(syscall(SYS_newfstatat, 99, "", &st, 0));
	CALL(syscall(SYS_newfstatat, 0, "file", &st, 0));
	CALL(syscall(SYS_fstat, -1, &st));
	CALL(syscall(SYS_fstat, 99, &st));
	CALL(syscall(SYS_fstat, 0, NULL));
	CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x80000000, &x));
	CALL(syscall(SYS_statx, AT_FDCWD, "file", 0x6000, 0, &x));
	CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0, NULL));
	CALL(syscall(SYS_access, "file", 8));
	CALL(syscall(SYS_access, "absent", 8));
	CALL(syscall(SYS_access, NULL, 0));
	CALL(syscall(SYS_faccessat2, AT_FDCWD, "file", 0, 0x80));
	CALL(syscall(SYS_readlink, "lrel", NULL, 10));
	CALL(syscall(SYS_readlink, "lrel", buf, 0));
	CALL(syscall(SYS_readlink, "lrel", buf, -1));
	CALL(syscall(SYS_readlink, "absent", buf, 0));
}

static void numbers(void)
{
	same("hard1", "hard2");
	same("file", "lrel");
	same("file", "labs");
	same("file", "dir/../file");
	same("dir", "ldir");
	same("dir", "dir/sub/..");
	same("file", "cu");
	same(".", "dir/..");
	keeps_number("file");
	keeps_number("hard1");
	keeps_number("dir");
	keeps_number("mdir");
	keeps_number("new");
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	each_kind();
	arguments();
	numbers();
	return 0;
}
