/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path from inside: directories and links that come, go, move and close, and what is known of names by way of them. `hidden DIRECTORY`:
 * in one that the host has, too.
 */
#include <dirent.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <stdbool.h>

#include "check.h"

static void directories(void)
{
	int dir = open("dir", O_RDONLY | O_DIRECTORY);
	struct stat st;

	for (int i = 0; i < 5; i++) {
		pid_t pid;

		CHECK(size_of("name") == 5 && !fstatat(dir, "name", &st, 0) && st.st_size == 4);
		pid = vfork();
		if (!pid) { /* shares memory, not the directory */
			_exit(chdir("dir") || size_of("name") != 4);
		}
		CHECK(waitpid(pid, &(int){0}, 0) == pid && size_of("name") == 5);
		CHECK(!chdir("dir") && size_of("name") == 4 && size_of("../name") == 5 && !chdir("..") && size_of("name") == 5);
		CHECK(!fchdir(dir) && size_of("name") == 4 && !chdir("..") && size_of("name") == 5);
	}
	close(dir);
}

static int entries_of(int fd)
{
	DIR *d = fdopendir(fd);
	int n = 0;

	while (d && readdir(d))
		n++;
	CHECK(d && !closedir(d));
	return n;
}

/* Opened again and again, by all kinds of path, while they change. */
static void listings(void)
{
	static const char *const names[] = {"list", "/tree/list", "./list", "to-list", "list/"};
	struct stat st, of_name;

	CHECK(!mkdir("list", 0700) && !symlink("list", "to-list"));
	for (int i = 0; i < 24; i++) {
		char name[16];

		for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++) {
			int fd = open(names[k], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			CHECK(fd >= 0 && fcntl(fd, F_GETFL) & O_DIRECTORY && fcntl(fd, F_GETFD) == FD_CLOEXEC);
			CHECK(!fstat(fd, &st) && !stat("list", &of_name) && st.st_ino == of_name.st_ino && st.st_dev == of_name.st_dev);
			CHECK(entries_of(fd) == 2 + i);
			fd = open(names[k], O_RDONLY);
			CHECK(fd >= 0 && !(fcntl(fd, F_GETFL) & O_DIRECTORY) && (i == 0 || !fstatat(fd, "f0", &st, 0)));
			close(fd);
			CHECK(open(names[k], O_WRONLY) < 0 && errno == EISDIR && open(names[k], O_RDONLY | O_CREAT, 0600) < 0 && errno == EISDIR);
		}
		CHECK(open("to-list", O_RDONLY | O_DIRECTORY | O_NOFOLLOW) < 0 && errno == ENOTDIR);
		CHECK(open("kept", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR);
		(void)snprintf(name, sizeof(name), "list/f%d", i);
		write_file(name, "1", O_EXCL);
		CHECK(!chmod("list", 0300) && open("list", O_RDONLY) < 0 && errno == EACCES && !chmod("list", 0700));
	}
	CHECK(!rename("list", "tsil") && open("list", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOENT && entries_of(open("tsil", O_RDONLY)) == 26);
	for (int i = 0; i < 24; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "tsil/f%d", i);
		CHECK(!unlink(name));
	}
	CHECK(!rmdir("tsil") && !unlink("to-list"));
}

/* What was asked of names in a directory that is gone now: something else has its name. */
static void take_name(int kind)
{
	long want = kind < 2 ? 4 : -ENOTDIR;

	CHECK(!mkdir("gone", 0700));
	for (int k = 0; k < 4; k++)
		CHECK(size_of("gone/name") == -ENOENT);
	CHECK(!rmdir("gone"));
	switch (kind) {
	case 0: CHECK(!symlink("dir", "gone")); break;
	case 1: CHECK(!symlink("dir", "to-dir") && !rename("to-dir", "gone")); break;
	case 2: CHECK(!link("made", "gone")); break;
	case 3: write_file("gone", "1", O_EXCL); break;
	default: want = mkdir("gone", 0600) ? 0 : size_of("gone/./name"); break; /* by a way that nobody has asked by yet */
	}
	CHECK(size_of("gone/name") == want);
	CHECK(kind == 4 ? !rmdir("gone") : !unlink("gone"));
}

/* Or another directory, which is the host's, its number. */
static void take_number(void)
{
	CHECK(!mkdir("gone", 0700) && !chdir("gone"));
	for (int k = 0; k < 4; k++)
		CHECK(size_of("name") == -ENOENT);
	CHECK(!chdir("..") && !rmdir("gone") && !mkdir("/dev/shm/other", 0700) && !chdir("/dev/shm/other"));
	write_file("name", "1", O_EXCL);
	CHECK(size_of("name") == 1 && !unlink("name") && !chdir("/tree") && !rmdir("/dev/shm/other"));
}

static void make_other(void)
{
	CHECK(!mkdir("other", 0700) && !mkdir("other/a", 0700));
	write_file("other/a/b", "1", O_EXCL);
}

static void make_far(int kind)
{
	CHECK((kind >= 3 && kind <= 5) || !mkdir("far", 0700));
	CHECK((kind != 1 && kind != 2) || !mkdir("far/a", 0700));
	if (kind >= 4)
		make_other();
	switch (kind) {
	case 2: write_file("far/a/b", "1", O_EXCL); break;
	case 3: write_file("far", "1", O_EXCL); break;
	case 4: CHECK(!rename("other", "far")); break;
	case 5: CHECK(!symlink("other", "far")); break;
	case 6: CHECK(!rename("other/a", "far/a") && !rmdir("other")); break;
	default: break;
	}
}

/* Names below a directory that is not there yet, by all calls, until something has its name. */
static void beyond(void)
{
	static const char *const names[] = {"far/a/b", "/tree/far/a/b", "dir/../far/a/b", "by-far/a/b"};
	struct statfs fs;

	CHECK(!symlink("far", "by-far"));
	for (int kind = 0; kind < 7; kind++) {
		long want = kind == 3 ? -ENOTDIR : kind < 2 ? -ENOENT : 1;

		for (int k = 0; k < 4; k++)
			for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
				CHECK(size_of(names[i]) == -ENOENT && access(names[i], F_OK) < 0 && errno == ENOENT && statfs(names[i], &fs) < 0 && errno == ENOENT);
				CHECK(open(names[i], O_RDONLY) < 0 && errno == ENOENT && open(names[i], O_RDONLY | O_DIRECTORY) < 0 && errno == ENOENT);
				CHECK(open(names[i], O_WRONLY) < 0 && errno == ENOENT && open(names[i], O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT);
			}
		make_far(kind);
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
			int fd = open(names[i], O_RDONLY);

			CHECK(size_of(names[i]) == want && (fd >= 0) == (want > 0) && (statfs(names[i], &fs) == 0) == (want > 0));
			if (fd >= 0)
				close(fd);
		}
		CHECK((unlink("far/a/b") == 0) == (want > 0) && (rmdir("far/a") == 0) == (kind != 0 && kind != 3));
		CHECK(kind == 3 || kind == 5 ? !unlink("far") : !rmdir("far"));
		CHECK(kind != 5 || !rmdir("other"));
	}
	CHECK(!unlink("by-far"));
}

/* In a directory that the host has, too: what was hidden there, the directory, and then what hid it go. The script goes on with each word. */
static int hidden(const char *shown)
{
	CHECK(!chdir(shown) && !unlink("gone/name"));
	for (int k = 0; k < 4; k++)
		CHECK(size_of("gone/name") == -ENOENT);
	puts("hidden");
	while (access("one", F_OK))
		usleep(1000);
	CHECK(!rmdir("gone"));
	puts("removed");
	while (access("two", F_OK))
		usleep(1000);
	CHECK(size_of("gone/name") == 2);
	printf("%d wrong\n", failures);
	return failures != 0;
}

/* Directories and links that come and go: what was asked of names by way of them, and of names in another that has its number now. */
static void ways(void)
{
	struct stat st;

	for (int kind = 0; kind < 5; kind++)
		take_name(kind);
	for (int i = 0; i < 5; i++)
		take_number();
	for (int i = 0; i < 40; i++) {
		int dir;

		for (int k = 0; k < 4; k++)
			CHECK(size_of("way/x") == -ENOENT && size_of("way/../kept") == -ENOENT);
		CHECK(!mkdir("way", 0700) && !symlink("way/../kept", "over") && !symlink("/tree/way", "to-way"));
		dir = open("way", O_RDONLY | O_DIRECTORY);
		for (int k = 0; k < 4; k++) {
			CHECK(size_of("way/x") == -ENOENT && size_of("way/../kept") == 4 && size_of("over") == 4 && size_of("to-way/x") == -ENOENT);
			CHECK(fstatat(dir, "x", &st, 0) < 0 && fstatat(dir, "../kept", &st, 0) == 0 && !lstat("to-way", &st) && S_ISLNK(st.st_mode));
		}
		CHECK(!chmod("way", 0755) && !stat("way", &st) && (st.st_mode & 07777) == 0755);
		write_file("way/x", "123", 0);
		for (int k = 0; k < 4; k++)
			CHECK(size_of("way/x") == 3 && size_of("to-way/x") == 3 && fstatat(dir, "x", &st, 0) == 0);
		CHECK(!chmod("way", 0) && (geteuid() == 0 || size_of("way/x") == -EACCES) && !chmod("way", 0700) && size_of("way/x") == 3);
		CHECK(!unlink("way/x") && !rmdir("way"));
		CHECK(size_of("way/x") == -ENOENT && size_of("way/../kept") == -ENOENT && size_of("over") == -ENOENT && size_of("to-way/x") == -ENOENT);
		CHECK(fstatat(dir, "x", &st, 0) < 0);
		close(dir);
		CHECK(!unlink("over") && !unlink("to-way") && lstat("to-way", &st) < 0 && size_of("to-way/x") == -ENOENT);
	}
}

/* A tree that goes elsewhere and comes back, looked at by every kind of path; then one that nobody may pass. */
static void trees(void)
{
	static const char *const names[] = {"one/b/c", "/tree/one/b/c", "two/b/c", "/tree/two/b/c", "one/b/../b/c", "to-one/b/c", "one/b/no", "two/no/no"};
	int in = 0, below = 0;
	struct stat st;

	CHECK(!mkdir("one", 0700) && !mkdir("one/b", 0700) && !symlink("/tree/one", "to-one"));
	write_file("one/b/c", "123", O_EXCL);
	in = open("one/b", O_RDONLY | O_DIRECTORY);
	below = open("one", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 12; i++) {
		bool there = !(i & 1), passable = !(i & 2);
		const char *dir = there ? "one" : "two";
		char cwd[64];

		CHECK(!chmod(dir, i & 2 ? 0600 : 0700) && !fchdir(in) && getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, there ? "/tree/one/b" : "/tree/two/b"));
		CHECK(size_of("c") == 3 && !chdir("/tree"));
		for (int k = 0; k < 4; k++)
			for (size_t j = 0; j < sizeof(names) / sizeof(*names); j++) {
				bool here = !strstr(names[j], "two") == there;

				CHECK(size_of(names[j]) == (!here ? -ENOENT : !passable ? -EACCES : strstr(names[j], "no") ? -ENOENT : 3));
			}
		CHECK((fstatat(below, "b/c", &st, 0) == 0) == passable && (fstatat(in, "c", &st, 0) == 0));
		CHECK(!rename(dir, there ? "two" : "one"));
	}
	close(in);
	close(below);
	CHECK(!chmod("one", 0700) && !unlink("one/b/c") && !rmdir("one/b") && !rmdir("one") && !unlink("to-one"));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "hidden"))
		return hidden(argv[2]);
	write_file("made", "123", O_TRUNC);
	directories();
	listings();
	ways();
	beyond();
	trees();
	printf("%d wrong\n", failures);
	return failures != 0;
}
