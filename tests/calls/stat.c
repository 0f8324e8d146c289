/* SPDX-License-Identifier: Apache-2.0 */
/* The stat family and access over every kind of name. */
#include "guest.h"
#include <linux/stat.h>

static const char *const names[] = {
	"file", "empty", "ro", "big", "hard1", "hard2", "dir", "dir/", "dir/.", "dir/..", ".", "..", "./file", "dir//a",
	"dir/many/../a", "file/", "file/.", "file/..", "file/x", "nothing", "nothing/", "nothing/x", "",
	"link", "link/", "abslink", "dirlink", "dirlink/", "dirlink/a", "dirslash", "rel", "rel/deep/leaf", "rel/..",
	"dangling", "dangling/", "dangling/x", "loop", "loop/", "loopa", "loopb/x", "dir/up", "dir/up/file", "dir/upfile",
	"through", "chain1", "chain39", "chain40", "chain41", "chain41/", "dir/up/dir/up/dir/up/file", "script",
};

static void each_name(void)
{
	struct stat st;
	char label[600];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *name = tail_str(names[i]);
		struct stat *tail = tail_alloc(sizeof(*tail));

		snprintf(label, sizeof(label), "stat '%s'", name);
		show_st(label, stat(name, tail), tail);
		snprintf(label, sizeof(label), "lstat '%s'", name);
		show_st(label, lstat(name, &st), &st);
		showf(access(name, F_OK), "access '%s' F", name);
		showf(access(name, R_OK | W_OK), "access '%s' RW", name);
		showf(access(name, X_OK), "access '%s' X", name);
		showf(faccessat(AT_FDCWD, name, W_OK, AT_EACCESS), "faccessat '%s' W EACCESS", name);
		showf(syscall(SYS_faccessat2, AT_FDCWD, name, R_OK, AT_SYMLINK_NOFOLLOW), "faccessat2 '%s' R NOFOLLOW", name);
	}
}

static void long_names(void)
{
	struct stat st;
	char name[300], *path = malloc(PATH_MAX + 10);

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	CALL(stat(name, &st));
	name[255] = 'n';
	name[256] = 0;
	CALL(stat(name, &st));
	for (int i = 0; i < PATH_MAX + 2; i += 2)
		memcpy(path + i, "./", 2);
	path[PATH_MAX - 1] = 0;
	CALL(stat(tail_str(path), &st));
	path[PATH_MAX - 1] = '/';
	path[PATH_MAX] = 0;
	CALL(stat(tail_str(path), &st));
	free(path);
}

static void bad_pointers(void)
{
	char *path = tail_str("file"), *cut = tail_unterminated("file");
	struct stat *st = tail_alloc(sizeof(*st));

	CALL(stat(cut, st));
	CALL(lstat(cut, st));
	CALL(access(cut, F_OK));
	CALL(stat((char *)NULL + 1, st));
	CALL(syscall(SYS_newfstatat, AT_FDCWD, path, (char *)st + 8, 0));
	CALL(syscall(SYS_newfstatat, AT_FDCWD, path, NULL, 0));
	CALL(syscall(SYS_newfstatat, AT_FDCWD, "nothing", NULL, 0));
	CALL(syscall(SYS_statx, AT_FDCWD, cut, 0, STATX_ALL, st));
	CALL(syscall(SYS_statx, AT_FDCWD, path, 0, STATX_ALL, NULL));
	CALL(syscall(SYS_access, cut, F_OK));
}

static void by_descriptor(void)
{
	int dir = FD(open("dir", O_RDONLY | O_DIRECTORY)), file = FD(open("file", O_RDONLY));
	int path = FD(open("link", O_PATH | O_NOFOLLOW));
	struct stat st;

	show_st("fstat dir", fstat(dir, &st), &st);
	show_st("fstat file", fstat(file, &st), &st);
	show_st("fstat O_PATH link", fstat(path, &st), &st);
	show_st("fstatat dir a", fstatat(dir, "a", &st, 0), &st);
	show_st("fstatat dir ../file", fstatat(dir, "../file", &st, 0), &st);
	show_st("fstatat dir upfile nofollow", fstatat(dir, "upfile", &st, AT_SYMLINK_NOFOLLOW), &st);
	show_st("fstatat dir upfile", fstatat(dir, "upfile", &st, 0), &st);
	show_st("fstatat dir empty path", fstatat(dir, "", &st, AT_EMPTY_PATH), &st);
	show_st("fstatat file empty path", fstatat(file, "", &st, AT_EMPTY_PATH), &st);
	show_st("fstatat cwd empty path", fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH), &st);
	show_st("fstatat link empty path", fstatat(path, "", &st, AT_EMPTY_PATH), &st);
	show_st("fstatat dir no flag", fstatat(dir, "", &st, 0), &st);
	show_st("fstatat file relative", fstatat(file, "x", &st, 0), &st);
	show_st("fstatat bad descriptor", fstatat(999, "x", &st, 0), &st);
	CALL(fstatat(999, "/", &st, 0));
	show_st("fstat bad descriptor", fstat(999, &st), &st);
	show_st("fstatat bad flags", fstatat(dir, "a", &st, 0x10000000), &st);
	CALL(syscall(SYS_faccessat2, dir, "", F_OK, AT_EMPTY_PATH));
	CALL(syscall(SYS_faccessat2, dir, "a", 8, 0));
	CALL(syscall(SYS_faccessat2, dir, "a", F_OK, 0x10000000));
	CALL(faccessat(dir, "a", X_OK, 0));
	CALL(faccessat(dir, "nothing", X_OK, 0));
}

static void with_statx(void)
{
	static const struct {
		const char *name;
		int flags;
	} rows[] = {
		{"file", 0}, {"link", 0}, {"link", AT_SYMLINK_NOFOLLOW}, {"dir", 0}, {"nothing", 0}, {"loop", 0}, {"", 0},
		{"", AT_EMPTY_PATH}, {"file", AT_STATX_DONT_SYNC}, {"file", AT_STATX_FORCE_SYNC},
		{"file", AT_STATX_SYNC_TYPE}, {"file", 0x40000000},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct statx *sx = tail_alloc(sizeof(*sx));
		long rc = showf(syscall(SYS_statx, AT_FDCWD, tail_str(rows[i].name), rows[i].flags, STATX_BASIC_STATS, sx),
				"statx '%s' %#x", rows[i].name, rows[i].flags);

		if (rc == 0)
			printf("  %s %04o size %llu has basic %d\n", type_name(sx->stx_mode), sx->stx_mode & 07777,
			       S_ISDIR(sx->stx_mode) ? 0 : (unsigned long long)sx->stx_size,
			       (sx->stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	}
	CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x80000000U, tail_alloc(sizeof(struct statx))));
}

static void identity(void)
{
	struct stat a, b, c;

	stat("hard1", &a);
	stat("hard2", &b);
	stat("file", &c);
	printf("hard links are one inode: %d\n", a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	printf("other files are others: %d\n", a.st_ino != c.st_ino);
	stat("dir/up", &a);
	stat(".", &b);
	printf("dir/up is here: %d\n", a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	int fd = open("file", O_RDONLY);
	fstat(fd, &a);
	printf("fstat agrees: %d\n", a.st_dev == c.st_dev && a.st_ino == c.st_ino && a.st_mtime == c.st_mtime);
	fd = open("file", O_RDWR);
	CALL(write(fd, "H", 1));
	stat("file", &b);
	fstat(fd, &a);
	printf("writing keeps the number: %d %d\n", b.st_ino == c.st_ino, a.st_ino == c.st_ino);
	show_content("file");
}

int main(void)
{
	guest_start();
	each_name();
	long_names();
	bad_pointers();
	by_descriptor();
	with_statx();
	identity();
	return 0;
}
