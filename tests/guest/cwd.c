/* SPDX-License-Identifier: Apache-2.0 */
/* The working directory: each kind of name, renamed and removed under one's feet, fchdir. */
#include "guest.h"

static void where(void)
{
	char buf[PATH_MAX];

	puts(getcwd(buf, sizeof(buf)) ? shorten(buf) : ename(errno));
}

static void every_kind(void)
{
	EACH("chdir", {
		int back = open(".", O_PATH);
		result(chdir(name), "chdir %s", name);
		where();
		if (fchdir(back) < 0)
			die("fchdir");
		close(back);
	});
}

static void moved_and_removed(void)
{
	char path[PATH_MAX];

	next_set();
	CALL(chdir("dir/sub"));
	where();
	CALL(chdir("../.."));
	where();
	CALL(chdir("ldir"));
	where();
	CALL(rename("../dir", "../dir2"));
	where();
	list(".");
	show("a");
	CALL(chdir(".."));
	CALL(chdir("ndir"));
	CALL(unlink("x"));
	CALL(rmdir("../ndir"));
	where();
	list(".");
	show(".");
	show("..");
	OPENS(open("y", O_CREAT | O_WRONLY, 0644));
	CALL(mkdir("y", 0755));
	CALL(access(".", F_OK));
	CALL(chdir("."));
	CALL(mkdir("../ndir", 0755));
	CALL(chdir(".."));
	next_set();
	CALL(chdir("mdir"));
	CALL(unlink("a"));
	CALL(unlink("b"));
	CALL(unlink("n"));
	snprintf(path, sizeof(path), "%s/s%03d/mdir", guest_root, guest_set_count - 1);
	CALL(rmdir(strrchr(path, '/') ? path : ""));
	where();
	CALL(mkdir(path, 0755) < 0 ? -1 : 0);
	where();
	CALL(access("x", F_OK));
}

static void descriptors(void)
{
	char small[4];
	int fd;

	next_set();
	fd = open("file", O_RDONLY);
	CALL(fchdir(fd));
	close(fd);
	CALL(fchdir(99));
	CALL(fchdir(-1));
	fd = open("mdir", O_PATH);
	CALL(fchdir(fd));
	where();
	CALL(fchdir(fd));
	close(fd);
	CALL(syscall(SYS_getcwd, small, sizeof(small)));
	CALL(syscall(SYS_getcwd, NULL, 0));
	CALL(syscall(SYS_getcwd, NULL, 4096));
	CALL(syscall(SYS_chdir, NULL));
	CALL(chdir(".."));
	CALL(chmod("ndir", 0));
	CALL(chdir("ndir"));
	where();
	CALL(chmod("ndir", 0755)); /* the tree can be removed */
}

static void child(void)
{
	if (chdir(guest_root) < 0)
		die("root");
	if (fork() == 0) {
		if (chdir("deep/a/b/c") < 0)
			_exit(1);
		where();
		_exit(0);
	}
	wait(NULL);
	where();
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	every_kind();
	moved_and_removed();
	descriptors();
	child();
	return 0;
}
