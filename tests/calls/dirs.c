/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: made, listed, positioned in, removed, also while they are read. */
#include "guest.h"
#include <dirent.h>
#include <stddef.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char dtype_letter(unsigned char type)
{
	switch (type) {
	case DT_REG: return 'f';
	case DT_DIR: return 'd';
	case DT_LNK: return 'l';
	default: return '?';
	}
}

/* Sorted names with types; says if d_ino disagrees with lstat. */
static void list(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char *names[300];
	size_t count = 0;
	struct stat st;

	if (!d) {
		printf("list %s: %s\n", path, errno_name(errno));
		return;
	}
	while ((e = readdir(d)) && count < ARRAY_LEN(names)) {
		if (!strcmp(e->d_name, "..")) /* a mount point may answer for another file system */
			st.st_ino = e->d_ino;
		else if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			printf("%s is listed, but: %s\n", e->d_name, errno_name(errno));
		if (st.st_ino != e->d_ino)
			printf("%s: d_ino is not st_ino\n", e->d_name);
		if (asprintf(&names[count++], "%s(%c)", e->d_name, dtype_letter(e->d_type)) < 0)
			abort();
	}
	closedir(d);
	qsort(names, count, sizeof(names[0]), by_name);
	printf("list %s: %zu:", path, count);
	for (size_t i = 0; i < count; i++) {
		if (count < 60 || i < 5 || i > count - 3)
			printf(" %s", names[i]);
		free(names[i]);
	}
	putchar('\n');
}

static void made_and_removed(void)
{
	static const char *const names[] = {
		"new", "new", "new/", "new/.", "file", "file/x", "nothing/x", "dangling", "dangling/", "loop", "dirlink", "dirlink/x",
		"dirlink/x", "new/slash/", "dir/up/viaup", "", ".", "..", "/", "locked/x", "dir/many/f000", "dir/up",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(mkdir(tail_str(names[i]), 0777), "mkdir '%s'", names[i]);
	list(".");
	list("dir");
	list("new");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], "..") != 0 && strcmp(names[i], "/") != 0) /* EBUSY or ENOTEMPTY by place */
			showf(rmdir(tail_str(names[i])), "rmdir '%s'", names[i]);
	CALL(rmdir("new/slash"));
	CALL(rmdir("new"));
	CALL(mkdir(tail_unterminated("x"), 0755));
	CALL(rmdir(tail_unterminated("x")));
	list(".");
}

static void modes(void)
{
	static const mode_t wanted[] = {0, 0500, 0755, 0777, 01777, 02755, 07777};

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		showf(mkdir("m", wanted[i]), "mkdir %04o", wanted[i]);
		show_lstat("m");
		showf(mkdir("m/sub", 0755), "mkdir below %04o", wanted[i]);
		rmdir("m/sub");
		rmdir("m");
	}
}

static void removed_from_the_image(void)
{
	CALL(unlink("dir/a"));
	list("dir");
	CALL(rmdir("dir/empty"));
	list("dir");
	CALL(mkdir("dir/empty", 0700));
	list("dir/empty");
	show_lstat("dir/empty");
	CALL(unlink("dir/sub/deep/leaf"));
	CALL(rmdir("dir/sub/deep"));
	CALL(mkdir("dir/sub/deep", 0755));
	list("dir/sub/deep");
	CALL(access("dir/sub/deep/leaf", F_OK));
	put_file("dir/a", "again\n");
	show_content("dir/a");
	list("dir");
	CALL(unlinkat(AT_FDCWD, "dir/sub/deep", 0));
	CALL(unlinkat(AT_FDCWD, "dir/a", AT_REMOVEDIR));
	CALL(unlinkat(AT_FDCWD, "dir/sub/deep", AT_REMOVEDIR));
	CALL(unlinkat(AT_FDCWD, "dir/b", 0x10000));
}

static void positions(void)
{
	DIR *d = opendir("dir/many");
	char *names[160];
	long at[160], end;
	size_t count = 0;
	struct dirent *e;

	for (;;) {
		long here = telldir(d);

		e = readdir(d);
		if (!e || count == ARRAY_LEN(names))
			break;
		at[count] = here;
		names[count++] = strdup(e->d_name);
	}
	end = telldir(d);
	printf("positions: %zu entries\n", count);
	for (size_t i = 0; i < count; i += 13) {
		seekdir(d, at[i]);
		e = readdir(d);
		printf("seek to %zu: %s\n", i, e && !strcmp(e->d_name, names[i]) ? "same" : "another");
	}
	seekdir(d, end);
	printf("seek to the end: %s\n", readdir(d) ? "an entry" : "no entry");
	rewinddir(d);
	e = readdir(d);
	printf("rewound: %s\n", e && !strcmp(e->d_name, names[0]) ? "same" : "another");
	CALL(lseek(dirfd(d), 0, SEEK_SET));
	closedir(d);
}

/* The entries that one getdents64 gives; -1 on an error. */
static long entries_of(int fd, char *buf, size_t size)
{
	long n = syscall(SYS_getdents64, fd, buf, size), count = 0;
	unsigned short reclen;

	for (long pos = 0; pos < n; pos += reclen, count++)
		memcpy(&reclen, buf + pos + offsetof(struct dirent64, d_reclen), sizeof(reclen));
	return n < 0 ? -1 : count;
}

static void small_buffers(void)
{
	static const size_t sizes[] = {1, 8, 23, 24, 32, 48, 64, 280, 4096};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		int fd = open("dir/many", O_RDONLY | O_DIRECTORY);
		char *buf = tail_alloc(sizes[i]);
		long entries = 0, n;

		while ((n = entries_of(fd, buf, sizes[i])) > 0)
			entries += n;
		showf(n, "getdents64 of %zu bytes", sizes[i]);
		printf("  %ld entries\n", entries);
		close(fd);
	}
	int fd = open("dir/many", O_RDONLY);
	CALL(syscall(SYS_getdents64, fd, NULL, 4096));
	CALL(syscall(SYS_getdents64, open("file", O_RDONLY), small_buffers, 4096));
	CALL(syscall(SYS_getdents64, open("dir", O_PATH), small_buffers, 4096));
	CALL(syscall(SYS_getdents64, 999, small_buffers, 4096));
}

static void shared_position(void)
{
	int fd = open("dir/many", O_RDONLY), copy = dup(fd);
	long mine = 0, n;
	char buf[256];
	int status;
	pid_t pid;

	for (int i = 0; i < 3; i++)
		mine += entries_of(fd, buf, sizeof(buf));
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit((int)entries_of(fd, buf, sizeof(buf)));
	waitpid(pid, &status, 0);
	mine += WEXITSTATUS(status);
	while ((n = entries_of(copy, buf, sizeof(buf))) > 0)
		mine += n;
	printf("three ways to one position: %ld entries\n", mine);
}

static void changed_while_read(void)
{
	DIR *d = opendir("dir/many");
	struct dirent *e;
	size_t removed = 0;

	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) == 0)
			removed++;
	closedir(d);
	printf("removed while reading: %zu\n", removed);
	CALL(rmdir("dir/many"));
	CALL(rmdir("dir"));

	mkdir("grow", 0755);
	put_file("grow/first", "");
	d = opendir("grow");
	CALL(rmdir("grow"));
	unlink("grow/first");
	CALL(rmdir("grow"));
	printf("reading a removed directory: %s\n", readdir(d) ? "an entry" : "no entry");
	CALL(mkdirat(dirfd(d), "x", 0755));
	FD(openat(dirfd(d), "x", O_CREAT | O_WRONLY, 0644));
	closedir(d);
}

int main(void)
{
	guest_start();
	list(".");
	list("dir/many");
	list("dirlink");
	list("file");
	list("nothing");
	made_and_removed();
	modes();
	removed_from_the_image();
	positions();
	small_buffers();
	shared_position();
	changed_while_read();
	return 0;
}
