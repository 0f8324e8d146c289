/* SPDX-License-Identifier: Apache-2.0 */
/* The walk: openat2's restrictions, chains of links around the limit, long names and paths, page ends. */
#include "guest.h"

#include <linux/openat2.h>

static void open2(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .resolve = resolve};
	int fd = (int)syscall(SYS_openat2, dir, tail(path), &how, sizeof(how));

	outcome(fd, "openat2 %s %llx %llx", shorten(path), (unsigned long long)flags, (unsigned long long)resolve);
	if (fd >= 0)
		close(fd);
}

static void long_path(size_t len)
{
	char path[PATH_MAX + 10];

	memset(path, '/', sizeof(path));
	for (size_t i = 0; i < len; i += 2)
		path[i] = '.';
	memcpy(path + len - 4, "file", 5);
	path[len - 5] = '/';
	result(access(tail(path), F_OK), "path of %zu", len);
}

static void restrictions(void)
{
	static const uint64_t flags[] = {RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH,
					 RESOLVE_IN_ROOT};
	static const char *const paths[] = {"file", "lrel", "labs", "ldir/a", "ldang", "lloop", "..", "../", "dir/..", "dir/../..",
					    "dir/../../s001/file", "/", "/file", "/tmp", "/proc/self/exe", "/proc/self/fd/0",
					    "/proc/self", "/proc/version", "/dev/null", ".", "dir/sub/../../file", "up", "up/file",
					    "root", "esc", "absent", "wh", "mdir/n", "new"};
	int dir;

	if (symlink("..", "up") < 0 || symlink("/", "root") < 0 || symlink("dir/../../s001", "esc") < 0)
		die("links");
	for (size_t f = 0; f < sizeof(flags) / sizeof(*flags); f++)
		for (size_t p = 0; p < sizeof(paths) / sizeof(*paths); p++)
			open2(AT_FDCWD, paths[p], O_PATH, flags[f]);
	dir = open("mdir", O_PATH | O_DIRECTORY);
	open2(dir, "n", O_RDONLY, RESOLVE_BENEATH);
	open2(dir, "../file", O_RDONLY, RESOLVE_BENEATH);
	open2(dir, "../file", O_RDONLY, RESOLVE_IN_ROOT);
	open2(dir, "../n", O_RDONLY, RESOLVE_IN_ROOT);
	open2(dir, "/n", O_RDONLY, RESOLVE_IN_ROOT);
	open2(dir, "made", O_RDONLY | O_CREAT, RESOLVE_IN_ROOT);
	open2(AT_FDCWD, "dir/../labs", O_PATH, RESOLVE_NO_XDEV);
	open2(AT_FDCWD, "root/proc/self", O_PATH, RESOLVE_NO_XDEV);
	open2(AT_FDCWD, "up/s001/labs", O_PATH, RESOLVE_NO_XDEV);
	open2(AT_FDCWD, "labs", O_PATH, RESOLVE_NO_XDEV | RESOLVE_IN_ROOT);
	open2(AT_FDCWD, "file", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT);
	open2(AT_FDCWD, "file", O_RDONLY, 0x40);
	open2(AT_FDCWD, "file", O_PATH | O_RDWR, 0);
	open2(AT_FDCWD, "file", O_TMPFILE, 0);
	open2(AT_FDCWD, "file", 1ULL << 40, 0);
}

static void how(void)
{
	struct open_how how = {0};
	char more[sizeof(how) + 8] = "";

	how.mode = 0644;
	CALL(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
	how.mode = 0;
	CALL(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how) - 1));
	CALL(syscall(SYS_openat2, AT_FDCWD, "file", &how, 5000));
	CALL(syscall(SYS_openat2, AT_FDCWD, "file", NULL, sizeof(how)));
	more[sizeof(how) + 1] = 1;
	CALL(syscall(SYS_openat2, AT_FDCWD, "file", more, sizeof(more)));
	more[sizeof(how) + 1] = 0;
	OPENS(syscall(SYS_openat2, AT_FDCWD, "file", more, sizeof(more)));
}

static void limits(void)
{
	char path[PATH_MAX + 10];

	/* Chains. */
	for (int i = 38; i <= 43; i++) {
		snprintf(path, sizeof(path), "../chain/l%d", i);
		result(access(tail(path), F_OK), "chain of %d", i);
		outcome(open(path, O_PATH | O_NOFOLLOW), "chain of %d, last not followed", i);
		result(access(strcat(path, "/"), F_OK), "chain of %d with a slash", i);
	}
	/* Lengths. */
	memset(path, 'n', sizeof(path));
	path[256] = '\0';
	result(access(tail(path), F_OK), "name of 256");
	path[255] = '\0';
	result(access(tail(path), F_OK), "name of 255");
	memset(path, 'n', 300);
	memcpy(path, "absent/", 7);
	path[290] = '\0';
	result(access(tail(path), F_OK), "long name in what is absent");
	long_path(PATH_MAX - 2);
	long_path(PATH_MAX - 1);
	long_path(PATH_MAX);
	long_path(PATH_MAX + 1);
}

static void odd_paths(void)
{
	/* Page ends. */
	CALL(access(memcpy(tail_alloc(4), "file", 4), F_OK));
	CALL(access(memcpy(tail_alloc(5), "file", 5), F_OK));
	CALL(access((char *)tail_alloc(1) + 1, F_OK));
	CALL(access((char *)1, F_OK));
	CALL(access((char *)-1, F_OK));
	memset(memset(tail_alloc(5000), '/', 5000), '/', 4999);
	CALL(access(memset(tail_alloc(5000), '/', 5000), F_OK));
	CALL(access(memset(tail_alloc(4000), '/', 4000), F_OK));
	/* Above the root, repeated slashes. */
	CALL(access("/../../../proc", F_OK));
	CALL(access("//proc//self//", F_OK));
	CALL(access("./././file", F_OK));
	CALL(access("dir/./sub/.././a", F_OK));
	CALL(access("absent/..", F_OK));
	CALL(access("file/..", F_OK));
	CALL(access("ldang/..", F_OK));
	CALL(access("xdir/..", F_OK));
}

static void not_allowed(void)
{
	/* Search permission on the way. */
	CALL(chmod("dir", 0644));
	CALL(access("dir/a", F_OK));
	CALL(access("dir/absent", F_OK));
	CALL(access("dir/..", F_OK));
	CALL(access("dir/.", F_OK));
	CALL(access("dir/sub/c", F_OK));
	list("dir");
	CALL(chmod("dir", 0755));
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	next_set();
	restrictions();
	how();
	limits();
	odd_paths();
	not_allowed();
	return 0;
}
