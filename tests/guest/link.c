/* SPDX-License-Identifier: Apache-2.0 */
/* link, symlink, unlink, rmdir, mkdir, mknod: each kind of name as source and as target. */
#include "guest.h"

static void links(void)
{
	EACH("link from", {
		CALL(link(name, "to"));
		show("to");
		unlink("to");
	});
	EACH("link from, following", {
		CALL(linkat(AT_FDCWD, name, AT_FDCWD, "to", AT_SYMLINK_FOLLOW));
		show("to");
		unlink("to");
	});
	EACH("link to", {
		printf("%s ", name);
		CALL(link("new", name));
		show(name);
	});
	EACH("link an image's file to", {
		printf("%s ", name);
		CALL(link("file", name));
	});
	EACH("link of a directory to", {
		printf("%s ", name);
		CALL(link("dir", name));
	});
	EACH("link of nothing to", {
		printf("%s ", name);
		CALL(link("absent", name));
	});
}

static void each_kind(void)
{
	EACH("symlink", {
		printf("%s ", name);
		CALL(symlink("target", name));
		show(name);
	});
	EACH("unlink", {
		printf("%s ", name);
		CALL(unlink(name));
		show(name);
		list(".");
	});
	EACH("rmdir", {
		printf("%s ", name);
		CALL(rmdir(name));
		show(name);
		list(".");
	});
	EACH("mkdir", {
		printf("%s ", name);
		CALL(mkdir(name, 0750));
		show(name);
	});
	EACH("mkdir, listed", {
		if (mkdir(name, 0755) == 0)
			list(name);
	});
	EACH("mkfifo", {
		printf("%s ", name);
		CALL(mkfifo(name, 0640));
		show(name);
	});
	EACH("mknod file", {
		printf("%s ", name);
		CALL(mknod(name, S_IFREG | 0640, 0));
		show(name);
	});
	EACH("mknod socket", {
		printf("%s ", name);
		CALL(mknod(name, S_IFSOCK | 0640, 0));
	});
}

static void arguments(void)
{
	int fd;

	next_set();
	CALL(mknod("m0", 0640, 0));
	show("m0");
	CALL(mknod("m1", S_IFDIR | 0755, 0));
	CALL(mknod("m1", S_IFLNK | 0755, 0));
	CALL(mknod("file", S_IFDIR | 0755, 0));
	CALL(symlink("", "s"));
	CALL(symlink("", "file"));
	CALL(syscall(SYS_symlink, NULL, "s"));
	CALL(syscall(SYS_symlink, "x", NULL));
	CALL(syscall(SYS_unlink, NULL));
	CALL(syscall(SYS_mkdir, memcpy(tail_alloc(2), "md", 2), 0755));
	CALL(unlinkat(AT_FDCWD, "file", 0x1000));
	CALL(unlinkat(AT_FDCWD, "edir", AT_REMOVEDIR));
	CALL(unlinkat(AT_FDCWD, "file", AT_REMOVEDIR));
	CALL(unlinkat(99, "file", 0));
	CALL(linkat(AT_FDCWD, "file", AT_FDCWD, "t", 1));
	CALL(linkat(AT_FDCWD, "", AT_FDCWD, "t", AT_EMPTY_PATH));
	fd = open("file", O_RDONLY);
	CALL(linkat(fd, "", AT_FDCWD, "t", 0));
}

static void numbers_and_replaced(void)
{
	struct stat a, b;

	/* Numbers and counts of links stay true over copy-up. */
	CALL(link("hard1", "hard3"));
	put_text("hard1", O_WRONLY | O_APPEND, "more\n");
	show("hard1");
	show("hard2");
	show("hard3");
	printf("one file: %d\n", !stat("hard1", &a) && !stat("hard3", &b) && a.st_ino == b.st_ino);
	CALL(unlink("hard1"));
	show("hard2");
	show("hard3");
	/* A directory made where one of the image was does not show what lay there. */
	CALL(unlink("dir/a"));
	CALL(unlink("dir/b"));
	CALL(rmdir("dir"));
	CALL(unlink("dir/sub/c"));
	CALL(rmdir("dir/sub"));
	CALL(rmdir("dir"));
	CALL(mkdir("dir", 0700));
	list("dir");
	show("dir");
	CALL(mkdir("dir/sub", 0755));
	list("dir/sub");
	CALL(unlink("file"));
	CALL(mkdir("file", 0755));
	list("file");
	CALL(rmdir("file"));
	put_text("file", O_CREAT | O_EXCL | O_WRONLY, "again");
	show("file");
	list(".");
}

static void modes(void)
{
	/* Modes. */
	umask(0);
	CALL(mkdir("d1", 07777));
	show("d1");
	CALL(mkdir("d2", 0));
	show("d2");
	CALL(mkdir("d2/x", 0755));
	CALL(chmod("d1", 02755));
	CALL(mkdir("d1/g", 0755));
	show("d1/g");
	put_text("d1/f", O_CREAT | O_WRONLY, "x");
	show("d1/f");
	umask(0777);
	CALL(mkdir("d3", 0777));
	show("d3");
	CALL(mkfifo("p3", 0777));
	show("p3");
}

static void names(void)
{
	char longest[258];

	/* Names. */
	umask(022);
	CALL(mkdir(".wh.file", 0755));
	CALL(mkdir("new\nline", 0755));
	CALL(mkdir("\377\376", 0755));
	put_text(".wh..wh..opq", O_CREAT | O_WRONLY, "x");
	show("lrel");
	show("dir");
	show(".wh..wh..opq");
	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	result(mkdir(tail(longest), 0755), "mkdir of 256");
	result(unlink(tail(longest)), "unlink of 256");
	longest[255] = '\0';
	result(mkdir(tail(longest), 0755), "mkdir of 255");
	result(rmdir(tail(longest)), "rmdir of 255");
}

static void not_allowed(void)
{
	/* Where the caller may not write. */
	CALL(chmod("ndir", 0555));
	CALL(chmod("mdir", 0555));
	CALL(chmod("dir", 0));
	CALL(mkdir("ndir/y", 0755));
	CALL(unlink("ndir/x"));
	CALL(unlink("ndir/absent"));
	CALL(mkdir("ndir/x", 0755));
	CALL(unlink("mdir/a"));
	CALL(symlink("x", "mdir/l"));
	CALL(link("new", "mdir/l"));
	CALL(link("new", "mdir/a"));
	CALL(rmdir("mdir/absent"));
	CALL(mkdir("dir/x", 0755));
	CALL(unlink("dir/absent"));
	CALL(chmod("ndir", 0755));
	CALL(chmod("dir", 0755));
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	links();
	each_kind();
	arguments();
	numbers_and_replaced();
	modes();
	names();
	not_allowed();
	return 0;
}
