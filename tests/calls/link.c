/* SPDX-License-Identifier: Apache-2.0 */
/* Names: link, symlink, readlink, unlink, and rename with all its flags over each kind of object. */
#include "guest.h"
#include <ftw.h>

static void show_link(const char *path)
{
	char buf[PATH_MAX];
	ssize_t n = readlink(path, buf, sizeof(buf));

	if (n < 0)
		printf("readlink '%s' = -1 %s\n", path, errno_name(errno));
	else
		printf("readlink '%s' = %zd %s\n", path, n, buf[0] == '/' ? "(absolute)" : (buf[n] = 0, buf));
}

static void reading_links(void)
{
	static const char *const names[] = {"link", "abslink", "dirlink", "dirlink/", "dir/up", "dangling", "loop", "loopa/x",
					    "file", "dir", "nothing", "", "link/", "dirlink/upfile", "file/x"};
	char *small = tail_alloc(2);

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		show_link(tail_str(names[i]));
	CALL(readlink("link", small, 2));
	printf("cut off: %.2s\n", small);
	CALL(syscall(SYS_readlink, "link", small, 0));
	CALL(syscall(SYS_readlink, "link", small, -1));
	CALL(syscall(SYS_readlink, "link", NULL, 10));
	CALL(readlinkat(open("link", O_PATH | O_NOFOLLOW), "", small, 2));
	CALL(readlinkat(open("file", O_RDONLY), "", small, 2));
}

static void making_links(void)
{
	static const char *const names[] = {"s1", "s1", "file", "nothing/s", "dirlink/s2", "s3/", "dangling", "", "file/x"};
	char *longest = malloc(PATH_MAX + 2);

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(symlink("file", tail_str(names[i])), "symlink '%s'", names[i]);
	show_lstat("dir/s2");
	CALL(symlink("", "s4"));
	CALL(symlink("  odd \n name", "s5"));
	CALL(symlink(tail_unterminated("t"), "s6"));
	memset(longest, 'l', PATH_MAX + 1);
	longest[PATH_MAX - 1] = 0;
	showf(symlink(longest, "s7"), "symlink of PATH_MAX-1");
	show_lstat("s7");
	longest[PATH_MAX - 1] = 'l';
	longest[PATH_MAX] = 0;
	showf(symlink(longest, "s8"), "symlink of PATH_MAX");
	free(longest);
}

static void hard_links(void)
{
	static const char *const from[] = {"file", "link", "dir", "dangling", "nothing", "file/", "hard1", "dirlink/a", "loop", "ro"};
	char to[16];

	for (size_t i = 0; i < ARRAY_LEN(from); i++) {
		snprintf(to, sizeof(to), "h%zu", i);
		showf(link(from[i], to), "link '%s'", from[i]);
		show_lstat(to);
		showf(linkat(AT_FDCWD, from[i], AT_FDCWD, to, AT_SYMLINK_FOLLOW), "linkat follow '%s'", from[i]);
	}
	show_lstat("file");
	show_lstat("hard1");
	put_file("h0", "through the new name\n");
	show_content("file");
	put_file("hard2", "through the other\n");
	show_content("hard1");
	CALL(unlink("hard1"));
	show_lstat("hard2");
	CALL(link("file", "dir"));
	CALL(link("file", "link"));
	CALL(link("file", "nothing/x"));
	CALL(link("file", "h20/"));
	CALL(linkat(AT_FDCWD, "", AT_FDCWD, "h21", 0));
	CALL(linkat(AT_FDCWD, "file", AT_FDCWD, "h22", 0x8000));
}

/* Nobody looks at a directory between its rename and the question where what was in it is. */
static void renamed_unseen(void)
{
	int fd = open("held", O_RDONLY | O_DIRECTORY);

	CALL(rename("kept", "kept away"));
	put_file("hard4", "through the other\n");
	show_lstat("hard4");
	show_content("kept away/hard3");
	CALL(rename("held", "held away"));
	CALL(faccessat(fd, "leaf", F_OK, 0));
	CALL(mkdirat(fd, "made", 0755));
	CALL(access("held away/made", F_OK));
	close(fd);
}

static void unlinking(void)
{
	static const char *const names[] = {"s1", "s1", "dir", "dir/", "link/", "dirlink/", "dirlink", "file/x", "nothing", "",
					    ".", "..", "loop", "dangling", "locked/inside", "dir/up/s4"};
	struct stat st;
	int fd = open("big", O_RDONLY);

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(unlink(tail_str(names[i])), "unlink '%s'", names[i]);
	CALL(unlink("big"));
	CALL(fstat(fd, &st));
	printf("open but nameless: size %lld links %lu\n", (long long)st.st_size, (unsigned long)st.st_nlink);
	CALL(access("big", F_OK));
	put_file("big", "small now\n");
	show_lstat("big");
	CALL(fstat(fd, &st));
	printf("the old one: size %lld\n", (long long)st.st_size);
}

/* One of each kind, made anew for each pair. */
static const char *const kinds[] = {"f", "f2", "d", "dfull", "l", "ld", "none"};

static int remove_one(const char *path, const struct stat *st unused, int type unused, struct FTW *ftw unused)
{
	return remove(path);
}

static void clear_scene(void)
{
	if (nftw("scene", remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		printf("scene cannot be cleared: %s\n", errno_name(errno));
}

static void scene(void)
{
	clear_scene();
	mkdir("scene", 0755);
	if (chdir("scene") < 0)
		exit(EXIT_FAILURE);
	put_file("f", "f\n");
	put_file("f2", "f2\n");
	mkdir("d", 0755);
	mkdir("dfull", 0755);
	put_file("dfull/x", "x\n");
	(void)!symlink("f", "l");
	(void)!symlink("d", "ld");
}

static void after(const char *name)
{
	struct stat st;

	printf(" %s:%s", name, lstat(name, &st) < 0 ? "none" : type_name(st.st_mode));
}

static void renaming(unsigned flags)
{
	for (size_t a = 0; a < ARRAY_LEN(kinds); a++)
		for (size_t b = 0; b < ARRAY_LEN(kinds); b++) {
			long rc;

			scene();
			rc = syscall(SYS_renameat2, AT_FDCWD, kinds[a], AT_FDCWD, kinds[b], flags);
			printf("rename %u %s -> %s: %s,", flags, kinds[a], kinds[b], rc ? errno_name(errno) : "0");
			after(kinds[a]);
			after(kinds[b]);
			putchar('\n');
			if (chdir("..") < 0)
				exit(EXIT_FAILURE);
		}
}

static void renaming_the_tree(void)
{
	CALL(rename("file", "moved"));
	CALL(access("file", F_OK));
	show_content("moved");
	CALL(rename("dir", "dir2"));
	CALL(access("dir", F_OK));
	show_content("dir2/sub/deep/leaf");
	show_content("dir2/a");
	CALL(rename("dir2", "dir2/sub/deep/inner"));
	CALL(rename("dir2/sub", "dir2"));
	CALL(mkdir("dir", 0755));
	CALL(access("dir/a", F_OK));
	CALL(rename("dir", "dir2"));
	CALL(rename("dir2/b", "dir/b"));
	show_content("dir/b");
	CALL(rename("dir2/", "dir3"));
	CALL(rename("moved/", "file"));
	CALL(rename("moved", "file/"));
	CALL(rename("dir3", "new/"));
	CALL(rename("new/.", "x"));
	CALL(rename("new", "."));
	CALL(rename("", "x"));
	CALL(rename("new", ""));
	CALL(rename(tail_unterminated("new"), "x"));
	CALL(rename("script", "locked/script"));
	CALL(rename("locked/inside", "out"));
	CALL(syscall(SYS_renameat2, AT_FDCWD, "ro", AT_FDCWD, "empty", 0x80));
	CALL(syscall(SYS_renameat2, AT_FDCWD, "ro", AT_FDCWD, "empty", 3));
	CALL(syscall(SYS_renameat2, AT_FDCWD, "ro", AT_FDCWD, "new", 2));
	show_lstat("ro");
	show_content("new");
	CALL(access("ro/sub/deep/leaf", F_OK));
	CALL(syscall(SYS_renameat2, AT_FDCWD, "empty", AT_FDCWD, "script", 1));
	CALL(rename("hard1", "hard2"));
	show_lstat("hard1");
	show_lstat("hard2");
}

int main(void)
{
	guest_start();
	reading_links();
	renaming(0);
	renaming(1);
	renaming(2);
	clear_scene();
	making_links();
	hard_links();
	renamed_unseen();
	unlinking();
	put_file("file", "hello\n");
	renaming_the_tree();
	return 0;
}
