/* SPDX-License-Identifier: Apache-2.0 */
/* rename: each kind of name onto each kind; directories of an image, also with somebody inside; the flags. */
#include "guest.h"

#include <linux/fs.h>

static int rename2(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void pair(const char *from, const char *to, unsigned flags)
{
	char *f = tail(from), *t = tail(to);

	errno = 0;
	result(rename2(f, t, flags), "rename %s %s %u", from, to, flags);
}

static void matrix(const char *from, unsigned flags)
{
	EACH(from, {
		pair(from, name, flags);
		if (access(from, F_OK) < 0) { /* it went: back again where it can */
			show(name);
			if (rename(name, from) < 0)
				next_set();
		}
	});
	list(".");
}

static void show_tree(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[PATH_MAX];

	list(dir);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && e->d_type == DT_DIR)
			list(path);
	}
	if (d)
		closedir(d);
}

static void pairs(void)
{
	matrix("file", 0);
	matrix("new", 0);
	matrix("cu", 0);
	matrix("dir", 0);
	matrix("mdir", 0);
	matrix("ndir", 0);
	matrix("edir", 0);
	matrix("lrel", 0);
	matrix("fifo", 0);
	matrix("new", RENAME_NOREPLACE);
	matrix("dir", RENAME_NOREPLACE);
	EACH("from", {
		pair(name, "to", 0);
		show("to");
		show(name);
		rename("to", name);
	});
	EACH("from, to/", {
		pair(name, "to/", 0);
		if (access("to", F_OK) == 0)
			rename("to", name);
	});
	EACH("exchange with a file", { pair(name, "new", RENAME_EXCHANGE); show("new"); });
	EACH("exchange with a directory", { pair(name, "mdir", RENAME_EXCHANGE); show("mdir"); });
	list(".");
}

static void arguments(void)
{
	next_set();
	pair("file", "x", 8);
	pair("file", "x", RENAME_NOREPLACE | RENAME_EXCHANGE);
	CALL((int)syscall(SYS_renameat2, AT_FDCWD, NULL, AT_FDCWD, "x", 0));
	CALL((int)syscall(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, NULL, 0));
	CALL((int)syscall(SYS_renameat2, 99, "file", AT_FDCWD, "x", 0));
	pair("absent", "absent/x", 0);
	pair("file", "absent/x", 0);
	pair("file", "new/x", 0);
	pair("dir", "dir/sub/x", 0);
	pair("dir", "dir/x", 0);
	pair("dir/sub", "dir", 0);
	pair("dir/a", "dir", 0);
	pair("dir", "dir", 0);
	pair("hard1", "hard2", 0);
	show("hard1");
	show("hard2");
	link("new", "new2");
	pair("new", "new2", 0);
	show("new");
}

static void directories(void)
{
	char cwd[PATH_MAX];
	int fd;

	/* A directory of the image moves with all that is in it, and what points into it goes along. */
	next_set();
	fd = open("dir/sub", O_RDONLY | O_DIRECTORY);
	CALL(chdir("dir"));
	CALL(rename("../dir", "../moved"));
	printf("cwd %s\n", getcwd(cwd, sizeof(cwd)) ? strrchr(cwd, '/') : ename(errno));
	show("a");
	CALL(faccessat(fd, "c", F_OK, 0));
	CALL(faccessat(fd, "../a", F_OK, 0));
	put_text("made", O_CREAT | O_WRONLY, "x");
	CALL(chdir(".."));
	show_tree("moved");
	show("dir");
	CALL(mkdir("dir", 0755));
	list("dir");
	CALL(rename("moved", "dir"));
	show_tree("dir");
	list(".");
	CALL(rename("dir", "ndir"));
	CALL(unlink("ndir/x"));
	CALL(rename("dir", "ndir"));
	show_tree("ndir");
	CALL(rename("mdir", "edir"));
	list("edir");
	CALL(rename("edir", "wdir"));
	list("wdir");
	CALL(rename("wdir", "xdir"));
	list("xdir");
	list(".");
	close(fd);
}

static void numbers(void)
{
	struct stat a, b;

	/* Numbers stay. */
	next_set();
	lstat("dir/a", &a);
	CALL(rename("dir", "d2"));
	lstat("d2/a", &b);
	printf("same number: %d\n", a.st_ino == b.st_ino);
	lstat("d2", &a);
	CALL(rename("d2", "d3"));
	lstat("d3", &b);
	printf("same number: %d\n", a.st_ino == b.st_ino);
	lstat("file", &a);
	CALL(rename("file", "f2"));
	lstat("f2", &b);
	printf("same number: %d\n", a.st_ino == b.st_ino);
}

static void exchange(void)
{
	char cwd[PATH_MAX];
	int fd;

	/* Exchange of directories with somebody in each. */
	CALL(chdir("mdir"));
	fd = open("../odir", O_RDONLY | O_DIRECTORY);
	pair("../mdir", "../odir", RENAME_EXCHANGE);
	printf("cwd %s\n", getcwd(cwd, sizeof(cwd)) ? strrchr(cwd, '/') : ename(errno));
	show("a");
	show("n");
	CALL(faccessat(fd, "n", F_OK, 0));
	CALL(faccessat(fd, "b", F_OK, 0));
	CALL(chdir(".."));
	list("mdir");
	list("odir");
	pair("mdir", "file", RENAME_EXCHANGE);
	pair("mdir", "new", RENAME_EXCHANGE);
	show("new");
	show("mdir");
	list("new");
	list(".");
}

static void not_allowed(void)
{
	/* Into and out of directories that may not be written. */
	next_set();
	chmod("ndir", 0555);
	chmod("mdir", 0555);
	pair("ndir/x", "x", 0);
	pair("file", "ndir/y", 0);
	pair("file", "mdir/a", 0);
	pair("mdir/a", "mdir/b", 0);
	pair("mdir", "ndir/z", 0);
	pair("mdir", "z", 0);
	chmod("ndir", 0755);
	chmod("dir", 0555);
	pair("dir", "ndir/z", 0);
	pair("dir", "z", 0);
	list(".");
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	pairs();
	arguments();
	directories();
	numbers();
	exchange();
	not_allowed();
	return 0;
}
