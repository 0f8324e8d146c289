/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are made, many in a row: by every way of naming them, into directories of every kind, and what others see of it. */
#include "guest.h"
#include <linux/openat2.h>
#include <sched.h>

#define OFTEN 12 /* the guest makes them itself by then */

static int make_at(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd = openat(dirfd, path, flags | O_CREAT, mode);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

/* Makes OFTEN files `pattern` (with a %d) and tells how it went, once for all that went the same way. */
static void make_many(int dirfd, const char *pattern, int flags, mode_t mode)
{
	char path[300];
	int last = 1, error = 0;

	for (int i = 0; i < OFTEN; i++) {
		snprintf(path, sizeof(path), pattern, i);
		int rc = make_at(dirfd, path, flags, mode);

		if (last == 1 || rc != last || (rc && errno != error))
			showf(rc, "make %s flags %#o mode %#o from %d on", pattern, (unsigned)flags, mode, i);
		last = rc;
		error = rc ? errno : 0;
	}
	for (int i = 0; i < OFTEN; i += OFTEN - 1) {
		struct stat st;

		snprintf(path, sizeof(path), pattern, i);
		show_st(pattern, fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW), &st);
	}
}

static void ways(void)
{
	char whole[PATH_MAX + 64], cwd[PATH_MAX];
	int dir;

	CALL(mkdir("made", 0755));
	CALL(mkdir("made/deep", 0755));
	CALL(symlink("made/deep", "to-deep"));
	dir = FD(open("made", O_RDONLY | O_DIRECTORY));
	make_many(AT_FDCWD, "made/a%d", O_WRONLY | O_EXCL, 0666);
	make_many(AT_FDCWD, "made/b%d", O_RDWR | O_TRUNC, 0640);
	make_many(dir, "c%d", O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	make_many(dir, "deep/d%d", O_RDONLY, 0755);
	make_many(AT_FDCWD, "to-deep/e%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made//f%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/./deep/../g%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/h%d/", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/nothing/i%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/a0/j%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/a0", O_WRONLY | O_EXCL, 0666); /* there */
	make_many(AT_FDCWD, "made/a1", O_WRONLY | O_TRUNC, 0666);
	make_many(AT_FDCWD, "made/deep", O_WRONLY, 0666);
	make_many(AT_FDCWD, "made/..", O_RDONLY, 0666);
	make_many(AT_FDCWD, "made/k%d", O_WRONLY | O_DIRECTORY, 0666);
	make_many(AT_FDCWD, "made/l%d", O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_SYNC, 0666);
	make_many(AT_FDCWD, "made/m%d", O_WRONLY, 04755);
	make_many(AT_FDCWD, "made/n%d", O_RDWR, 0444);
	make_many(AT_FDCWD, "made/o%d", O_RDWR, 0);
	make_many(-1, "p%d", O_RDWR, 0644);
	snprintf(whole, sizeof(whole), "%s/made/q%%d", getcwd(cwd, sizeof(cwd)));
	for (int i = 0; i < OFTEN; i++) {
		char path[PATH_MAX + 64];

		snprintf(path, sizeof(path), "%s/made/q%d", cwd, i);
		if (make_at(AT_FDCWD, path, O_WRONLY, 0666))
			CALL(-1);
	}
	CALL(chdir("made/deep"));
	make_many(AT_FDCWD, "r%d", O_WRONLY, 0666);
	make_many(AT_FDCWD, "../s%d", O_WRONLY, 0666);
	CALL(chdir("../.."));
	CALL(access("made/q11", F_OK));
	CALL(open(tail_unterminated("made/t"), O_CREAT | O_WRONLY, 0644));
	memset(whole, 'x', 256);
	whole[256] = '\0';
	CALL(open(whole, O_CREAT | O_WRONLY, 0644));
	close(dir);
}

/* What was looked for before it was made. */
static void looked_for(void)
{
	struct stat st;

	CALL(mkdir("looked", 0755));
	make_many(AT_FDCWD, "looked/first%d", O_WRONLY, 0644);
	for (int i = 0; i < OFTEN; i++) {
		char name[64], beyond[80];
		int wrong = 0;

		snprintf(name, sizeof(name), "looked/n%d", i);
		snprintf(beyond, sizeof(beyond), "%s/x", name);
		for (int k = 0; k < 5; k++) {
			wrong += stat(name, &st) == 0 || errno != ENOENT;
			wrong += access(beyond, F_OK) == 0 || errno != ENOENT;
			wrong += open(name, O_RDONLY) >= 0 || errno != ENOENT;
		}
		wrong += make_at(AT_FDCWD, name, O_WRONLY | O_EXCL, 0644) != 0;
		wrong += stat(name, &st) != 0;
		wrong += access(beyond, F_OK) == 0 || errno != ENOTDIR;
		wrong += lstat(beyond, &st) == 0 || errno != ENOTDIR;
		wrong += unlink(name) != 0;
		wrong += stat(name, &st) == 0 || errno != ENOENT;
		showf(wrong, "looked for, made, removed %d", i);
	}
}

/* A directory in the place of one that had more in it, of the image's, and files where those had directories. */
static void in_its_place(void)
{
	struct stat st;
	int wrong = 0;

	for (int k = 0; k < 5; k++) {
		wrong += stat("dir/sub/deep/none", &st) == 0 || errno != ENOENT;
		wrong += stat("dir/sub/none/x", &st) == 0 || errno != ENOENT;
	}
	CALL(unlink("dir/sub/deep/leaf"));
	for (int k = 0; k < 5; k++)
		wrong += stat("dir/sub/deep/leaf", &st) == 0 || errno != ENOENT;
	CALL(rmdir("dir/sub/deep"));
	CALL(rmdir("dir/sub"));
	CALL(mkdir("dir/sub", 0755));
	make_many(AT_FDCWD, "dir/sub/y%d", O_WRONLY, 0644);
	CALL(make_at(AT_FDCWD, "dir/sub/deep", O_WRONLY, 0644));
	CALL(make_at(AT_FDCWD, "dir/sub/none", O_WRONLY, 0644));
	wrong += stat("dir/sub/deep/none", &st) == 0 || errno != ENOTDIR;
	wrong += stat("dir/sub/deep/leaf", &st) == 0 || errno != ENOTDIR;
	wrong += stat("dir/sub/none/x", &st) == 0 || errno != ENOTDIR;
	showf(wrong, "in the place of directories");
	/* One that is empty in the image. */
	make_many(AT_FDCWD, "dir/empty/z%d", O_WRONLY, 0644);
	CALL(rmdir("dir/empty"));
}

static void directories(void)
{
	CALL(mkdir("modes", 0755));
	make_many(AT_FDCWD, "modes/a%d", O_WRONLY, 0644);
	CALL(chmod("modes", 0555));
	make_many(AT_FDCWD, "modes/b%d", O_WRONLY, 0644);
	CALL(chmod("modes", 0755));
	make_many(AT_FDCWD, "modes/c%d", O_WRONLY, 0644);
	CALL(chmod("modes", 02755));
	make_many(AT_FDCWD, "modes/d%d", O_WRONLY, 0644);
	CALL(chmod("modes", 01777));
	make_many(AT_FDCWD, "modes/e%d", O_WRONLY, 0644);
	CALL(rename("modes", "renamed"));
	make_many(AT_FDCWD, "modes/f%d", O_WRONLY, 0644);
	make_many(AT_FDCWD, "renamed/g%d", O_WRONLY, 0644);
	CALL(rename("dir/many", "modes")); /* the image's, where names are taken */
	make_many(AT_FDCWD, "modes/f00%d", O_WRONLY | O_EXCL, 0644);
	CALL(mkdir("gone", 0755));
	int cwd = FD(open(".", O_RDONLY | O_DIRECTORY)), gone;

	make_many(AT_FDCWD, "gone/h%d", O_WRONLY, 0644);
	gone = FD(open("gone", O_RDONLY | O_DIRECTORY));
	CALL(chdir("gone"));
	make_many(AT_FDCWD, "i%d", O_WRONLY, 0644);
	for (int i = 0; i < OFTEN; i++) {
		char name[16];

		snprintf(name, sizeof(name), "h%d", i);
		unlink(name);
		name[0] = 'i';
		unlink(name);
	}
	CALL(rmdir("../gone"));
	make_many(AT_FDCWD, "j%d", O_WRONLY, 0644);
	make_many(gone, "k%d", O_WRONLY, 0644);
	CALL(fchdir(cwd));
	close(cwd);
	close(gone);
}

/* A directory that is removed while files are made in it is empty, and a file that was made is there. The other is a process: where there are threads, libc
 * makes its calls from elsewhere. */
static void comes_and_goes(const char *dir)
{
	mkdir(dir, 0755);
	sched_yield();
	rmdir(dir);
}

static void is_replaced(const char *dir)
{
	char with[64];

	snprintf(with, sizeof(with), "%s.with", dir);
	mkdir(dir, 0755);
	mkdir(with, 0755);
	rename(with, dir);
}

static void race(const char *label, void (*other)(const char *), const char *dir)
{
	int made = 0, lost = 0;
	char path[64];
	pid_t pid = fork();

	snprintf(path, sizeof(path), "%s/file", dir);
	while (!pid)
		other(dir);
	for (int i = 0; i < 50000 && made < 1000; i++) {
		if (make_at(AT_FDCWD, path, O_WRONLY | O_EXCL, 0644))
			continue;
		made++;
		lost += unlink(path) != 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("%s: made %s, lost %d\n", label, made ? "some" : "none", lost);
	rmdir(dir);
}

/* openat2 is always the supervisor's: what was not there when it looked may be there when it makes it. */
static int makes_too(const char *path)
{
	struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0644};
	int failed = 0;

	for (int i = 0; i < 20000; i++) {
		int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

		failed += fd < 0;
		if (fd >= 0)
			close(fd);
		unlink(path);
	}
	return failed;
}

static void both_make(void)
{
	int failed = 0, status = 0;
	pid_t pid;

	CALL(mkdir("both", 0755));
	make_many(AT_FDCWD, "both/a%d", O_WRONLY, 0644);
	pid = fork();
	if (!pid)
		_exit(makes_too("both/file") != 0);
	while (!waitpid(pid, &status, WNOHANG))
		failed += make_at(AT_FDCWD, "both/file", O_RDWR, 0644) != 0;
	printf("both make it: failed %d, other %d\n", failed, status);
}

static void wide_umask(void)
{
	struct stat st;

	CALL(mkdir("masked", 0755));
	make_many(AT_FDCWD, "masked/a%d", O_WRONLY, 0666);
	umask(0);
	make_many(AT_FDCWD, "masked/b%d", O_WRONLY, 0666);
	umask(0077);
	make_many(AT_FDCWD, "masked/c%d", O_WRONLY, 0777);
	umask(0222);
	make_many(AT_FDCWD, "masked/d%d", O_WRONLY, 0777);
	show_st("masked/d0", stat("masked/d0", &st), &st);
	umask(0777);
	make_many(AT_FDCWD, "masked/e%d", O_WRONLY, 0777);
	umask(022);
	make_many(AT_FDCWD, "masked/f%d", O_WRONLY, 0666);
}

/* Made by a child, found by its parent, whatever that knows. */
static void child_makes(void)
{
	struct stat st;
	int wrong = 0;

	CALL(mkdir("shared", 0755));
	make_many(AT_FDCWD, "shared/a%d", O_WRONLY, 0644);
	for (int i = 0; i < 40; i++) {
		char name[32];
		int status = 1;
		pid_t pid;

		snprintf(name, sizeof(name), "shared/b%d", i);
		for (int k = 0; k < 3; k++)
			wrong += access(name, F_OK) == 0;
		pid = fork();
		if (!pid)
			_exit(make_at(AT_FDCWD, name, O_WRONLY | O_EXCL, 0644) != 0);
		waitpid(pid, &status, 0);
		wrong += status != 0 || access(name, F_OK) != 0 || stat(name, &st) != 0 || st.st_size != 0;
		wrong += make_at(AT_FDCWD, name, O_WRONLY | O_EXCL, 0644) == 0 || errno != EEXIST;
	}
	showf(wrong, "made by a child");
}

int main(void)
{
	guest_start();
	ways();
	looked_for();
	in_its_place();
	directories();
	child_makes();
	race("a directory that comes and goes", comes_and_goes, "comes");
	race("one that is replaced", is_replaced, "replaced");
	/* In the place of the image's. */
	CALL(rename("held", "kept2"));
	CALL(unlink("kept2/leaf"));
	CALL(rmdir("kept2"));
	race("where one was renamed to", comes_and_goes, "kept2");
	both_make();
	wide_umask();
	return 0;
}
