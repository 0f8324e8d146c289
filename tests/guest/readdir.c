/* SPDX-License-Identifier: Apache-2.0 */
/* Directory streams: seekdir, rewinddir, dup, fork, tiny buffers, big directories, removal while reading. */
#include "guest.h"

struct entry64 {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static int count(int fd, size_t size)
{
	char buf[32768];
	long n;
	int total = 0;

	while ((n = syscall(SYS_getdents64, fd, buf, size)) > 0)
		for (long at = 0; at < n;) {
			struct entry64 *e = (void *)(buf + at);

			total++;
			at += e->len;
		}
	return n < 0 ? -errno : total;
}

static void streams(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	long at[3];
	char names[3][256];
	int n, total = 0;

	printf("-- %s\n", dir);
	for (n = 0; n < 3; n++) {
		at[n] = telldir(d);
		e = readdir(d);
		snprintf(names[n], sizeof(names[n]), "%s", e ? e->d_name : "end");
	}
	while (readdir(d))
		total++;
	printf("%d more\n", total);
	for (n = 2; n >= 0; n--) {
		seekdir(d, at[n]);
		e = readdir(d);
		printf("seek %d: %s\n", n, !strcmp(e ? e->d_name : "end", names[n]) ? "the same" : "another");
	}
	rewinddir(d);
	for (total = 0; readdir(d);)
		total++;
	printf("rewound: %d\n", total);
	closedir(d);
}

static void shared_position(void)
{
	char buf[64];
	int fd = open("dir", O_RDONLY), copy = dup(fd), status, first = 0, rest;

	while (syscall(SYS_getdents64, fd, buf, 32) > 0 && ++first < 2)
		;
	if (fork() == 0)
		_exit(count(copy, 1024));
	wait(&status);
	rest = WEXITSTATUS(status);
	printf("first %d, child %d, then %d\n", first, rest, count(fd, 1024));
	CALL(lseek(fd, 0, SEEK_SET));
	printf("again %d\n", count(copy, 1024));
	close(fd);
	close(copy);
}

static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int removed = 0, failed = 0;

	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			failed++;
		else
			removed++;
	}
	closedir(d);
	printf("%s: removed %d, failed %d\n", dir, removed, failed);
	list(dir);
	CALL(rmdir(dir));
}

int main(int argc, char **argv)
{
	static const char *const dirs[] = {"dir", "mdir", "wdir", "odir", "edir", "ndir", "."};
	char path[PATH_MAX], name[64], buf[64];
	int fd;

	guest_begin(argc, argv);
	next_set();
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		list(dirs[i]);
		streams(dirs[i]);
	}
	shared_position();
	fd = open("dir", O_RDONLY);
	for (size_t size = 0; size <= 48; size += 8)
		result(syscall(SYS_getdents64, fd, buf, size) > 0, "buffer of %zu", size);
	CALL(syscall(SYS_getdents64, fd, (char *)tail_alloc(8) + 8, 1000) < 0 ? -1 : 0);
	CALL(syscall(SYS_getdents64, fd, NULL, 1000) < 0 ? -1 : 0);
	close(fd);
	CALL(syscall(SYS_getdents64, 99, buf, 64));
	fd = open("file", O_RDONLY);
	CALL(syscall(SYS_getdents64, fd, buf, 64));
	close(fd);
	fd = open("dir", O_PATH);
	CALL(syscall(SYS_getdents64, fd, buf, 64));
	close(fd);

	/* A directory that goes while it is open. */
	fd = open("ndir", O_RDONLY);
	CALL(unlink("ndir/x"));
	CALL(rmdir("ndir"));
	printf("removed: %d\n", count(fd, 1024));
	OPENS(openat(fd, "x", O_CREAT | O_WRONLY, 0644));
	CALL(mkdirat(fd, "x", 0755));
	CALL(faccessat(fd, "..", F_OK, 0));
	CALL(mkdir("ndir", 0755));
	OPENS(openat(fd, "x", O_CREAT | O_WRONLY, 0644));
	list("ndir");
	close(fd);
	fd = open("edir", O_RDONLY);
	CALL(rmdir("edir"));
	printf("removed: %d\n", count(fd, 1024));
	close(fd);

	snprintf(path, sizeof(path), "%s/big", guest_root);
	if (chdir(path) < 0)
		die("big");
	fd = open(".", O_RDONLY);
	printf("big: %d\n", count(fd, 32768));
	CALL(lseek(fd, 0, SEEK_SET));
	printf("big, small buffers: %d\n", count(fd, 64));
	close(fd);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%04d", i * 30 + 1);
		unlink(name);
		snprintf(name, sizeof(name), "m%04d", i);
		put_text(name, O_CREAT | O_WRONLY, "");
	}
	fd = open(".", O_RDONLY);
	printf("big, changed: %d\n", count(fd, 32768));
	close(fd);
	streams(".");
	if (chdir(guest_root) < 0)
		die("root");
	remove_all("big");
	next_set();
	unlink("mdir/a");
	remove_all("mdir");
	remove_all("odir");
	list(".");
	return 0;
}
