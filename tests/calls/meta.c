/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: modes, owners, times, sizes, extended attributes. */
#include "guest.h"
#include <sys/time.h>
#include <sys/xattr.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static const char *const names[] = {"file", "ro", "dir", "link", "abslink", "dangling", "nothing", "file/x", "loop", "", "dir/", "file/"};

static void modes(void)
{
	static const mode_t wanted[] = {0, 0400, 0755, 01755, 0666, 0644};
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(chmod(tail_str(names[i]), 0700), "chmod '%s'", names[i]);
	show_lstat("file");
	show_lstat("dir");
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		showf(chmod("file", wanted[i]), "chmod file %04o", wanted[i]);
		show_lstat("file");
		fd = FD(open("file", O_RDWR));
		close(fd);
	}
	fd = open("empty", O_RDONLY);
	CALL(fchmod(fd, 0751));
	show_lstat("empty");
	CALL(fchmod(999, 0644));
	CALL(fchmod(open("empty", O_PATH), 0644));
	CALL(fchmodat(AT_FDCWD, "link", 0640, 0));
	show_lstat("file");
	CALL(chmod(tail_unterminated("file"), 0644));
	/* Older kernels and Kapsel's may lack it: then it is ENOSYS, and nothing changes. */
	long rc = syscall(SYS_fchmodat2, AT_FDCWD, "file", 0600, 0x100000);
	printf("fchmodat2 with an unknown flag: %s\n", rc < 0 && (errno == EINVAL || errno == ENOSYS) ? "refused" : "?");
	chmod("file", 0644);
	/* The bits of a directory decide what happens below it. */
	CALL(chmod("dir", 0));
	CALL(access("dir/a", F_OK));
	FD(open("dir", O_RDONLY));
	CALL(chmod("dir", 0500));
	FD(open("dir/new", O_CREAT | O_WRONLY, 0644));
	CALL(unlink("dir/a"));
	CALL(mkdir("dir/x", 0755));
	CALL(chmod("dir", 0300));
	FD(open("dir", O_RDONLY));
	FD(open("dir/a", O_RDONLY));
	CALL(chmod("dir", 0755));
}

static void owners(void)
{
	uid_t me = geteuid();
	gid_t group = getegid();

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		showf(chown(tail_str(names[i]), me, group), "chown '%s' to me", names[i]);
		showf(lchown(tail_str(names[i]), (uid_t)-1, (gid_t)-1), "lchown '%s' to nobody new", names[i]);
	}
	CALL(chown("file", me + 1, (gid_t)-1));
	CALL(fchown(open("file", O_RDONLY), me, group));
	CALL(fchownat(open("dir", O_RDONLY), "a", me, group, AT_SYMLINK_NOFOLLOW));
	CALL(fchownat(open("file", O_RDONLY), "", me, group, AT_EMPTY_PATH));
	CALL(fchownat(AT_FDCWD, "file", me, group, 0x10));
	show_lstat("file");
}

static void show_times(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		printf("times %s: %s\n", path, errno_name(errno));
	else
		printf("times %s: access %lld.%09ld change of content %lld.%09ld\n", path, (long long)st.st_atim.tv_sec,
		       st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void times(void)
{
	struct timespec ts[2] = {{1000000001, 123456789}, {1000000002, 987654321}};
	struct timeval tv[2] = {{1100000001, 123456}, {1100000002, 654321}};
	struct stat before, st;
	int fd = open("file", O_RDONLY);

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		showf(utimensat(AT_FDCWD, tail_str(names[i]), ts, 0), "utimensat '%s'", names[i]);
		showf(utimensat(AT_FDCWD, tail_str(names[i]), ts, AT_SYMLINK_NOFOLLOW), "utimensat '%s' nofollow", names[i]);
	}
	show_times("file");
	show_times("link");
	show_times("dir");
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1] = (struct timespec){5, 6};
	CALL(utimensat(AT_FDCWD, "file", ts, 0));
	show_times("file");
	ts[1].tv_nsec = UTIME_OMIT;
	CALL(utimensat(AT_FDCWD, "file", ts, 0));
	CALL(utimensat(AT_FDCWD, "nothing", ts, 0));
	show_times("file");
	ts[0].tv_nsec = 7;
	ts[1].tv_nsec = UTIME_NOW;
	CALL(futimens(fd, ts));
	stat("file", &st);
	printf("now is now: %d\n", st.st_mtim.tv_sec > 1500000000);
	ts[1].tv_nsec = 1000000000;
	CALL(utimensat(AT_FDCWD, "file", ts, 0));
	CALL(syscall(SYS_utimensat, fd, NULL, NULL, 0));
	CALL(utimensat(AT_FDCWD, "file", (void *)1, 0));
	CALL(utimes("link", tv));
	show_times("file");
	CALL(lutimes("link", tv));
	show_times("link");
	CALL(futimes(fd, tv));
	CALL(futimesat(AT_FDCWD, "dir/b", tv));
	show_times("dir/b");
	stat("big", &before);
	FD(open("big", O_RDWR));
	stat("big", &st);
	printf("opening for writing changes no time: %d\n", st.st_mtim.tv_sec == before.st_mtim.tv_sec && st.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
}

/* By a descriptor: the file is changed, whatever is called now as it was when it was opened. */
static void by_descriptor(const char *what, int fd)
{
	struct timespec ts[2] = {{3, 0}, {4, 0}};
	struct stat st;

	printf("by descriptor, %s:\n", what);
	CALL(futimens(fd, ts));
	CALL(fchmod(fd, 0640));
	CALL(fchown(fd, (uid_t)-1, getegid()));
	CALL(fstat(fd, &st));
	printf("  %04o %ld %ld, %lu links\n", (unsigned)st.st_mode & 07777, (long)st.st_atim.tv_sec, (long)st.st_mtim.tv_sec, (unsigned long)st.st_nlink);
	close(fd);
}

static void descriptors(void)
{
	int fd;

	put_file("d1", "one\n");
	by_descriptor("with its name", open("d1", O_RDONLY));
	fd = open("d1", O_RDWR);
	rename("d1", "d2");
	put_file("d1", "another\n");
	chmod("d1", 0604);
	by_descriptor("renamed, another in its place", fd);
	show_lstat("d1");
	show_lstat("d2");
	fd = open("d1", O_WRONLY);
	rename("d2", "d1");
	by_descriptor("replaced", fd);
	show_lstat("d1");
	link("d1", "d3");
	chmod("d1", 0606);
	fd = open("d1", O_RDONLY);
	unlink("d1");
	by_descriptor("another name left", fd);
	show_lstat("d3");
	fd = open("d3", O_RDONLY);
	unlink("d3");
	by_descriptor("no name left", fd);
	mkdir("dd", 0755);
	put_file("dd/f", "deep\n");
	fd = open("dd/f", O_RDONLY);
	rename("dd", "de");
	mkdir("dd", 0755);
	put_file("dd/f", "other\n");
	by_descriptor("its directory renamed", fd);
	show_lstat("dd/f");
	show_lstat("de/f");
	by_descriptor("neither reads nor writes", open("de/f", 3));
	by_descriptor("only a path", open("de/f", O_PATH));
	by_descriptor("a directory", open("de", O_RDONLY));
	by_descriptor("none", -1);
	unlink("dd/f");
	unlink("de/f");
	rmdir("dd");
	rmdir("de");
}

static void sizes(void)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(truncate(tail_str(names[i]), 3), "truncate '%s'", names[i]);
	show_content("file");
	CALL(truncate("file", 100000));
	show_lstat("file");
	CALL(truncate("file", -1));
	CALL(truncate("file", 1LL << 62));
	CALL(ftruncate(open("big", O_RDWR), 10));
	CALL(ftruncate(open("big", O_RDONLY), 5));
	CALL(ftruncate(open("big", O_WRONLY), -1));
	CALL(ftruncate(open("dir", O_RDONLY), 0));
	show_content("big");
	int fd = open("hard1", O_RDWR);
	CALL(posix_fallocate(fd, 0, 5000));
	show_lstat("hard1");
	show_lstat("hard2");
}

static void attributes(void)
{
	char buf[64], *small = tail_alloc(3);
	ssize_t n;

	if (setxattr("file", "user.probe", "1", 1, 0) < 0 && errno == EOPNOTSUPP) {
		puts("no user attributes here");
		return;
	}
	removexattr("file", "user.probe");
	CALL(getxattr("file", "user.one", buf, sizeof(buf)));
	CALL(setxattr("file", "user.one", "value", 5, XATTR_REPLACE));
	CALL(setxattr("file", "user.one", "value", 5, XATTR_CREATE));
	CALL(setxattr("file", "user.one", "value", 5, XATTR_CREATE));
	CALL(setxattr("link", "user.two", "2", 1, 0));
	CALL(getxattr("file", "user.one", buf, sizeof(buf)));
	CALL(getxattr("link", "user.two", NULL, 0));
	CALL(getxattr("file", "user.one", small, 3));
	CALL(getxattr(tail_unterminated("file"), "user.one", small, 3));
	n = listxattr("link", buf, sizeof(buf));
	printf("listxattr: %d\n", n >= 18 && memmem(buf, (size_t)n, "user.one", 9) && memmem(buf, (size_t)n, "user.two", 9));
	CALL(lsetxattr("link", "user.x", "1", 1, 0));
	CALL(lgetxattr("link", "user.one", buf, sizeof(buf)));
	CALL(fsetxattr(open("dir", O_RDONLY), "user.d", "dir", 3, 0));
	CALL(getxattr("dir", "user.d", buf, sizeof(buf)));
	CALL(rename("file", "moved"));
	CALL(getxattr("moved", "user.one", buf, sizeof(buf)));
	CALL(removexattr("moved", "user.one"));
	CALL(removexattr("moved", "user.one"));
	CALL(fremovexattr(open("dir", O_RDONLY), "user.d"));
	CALL(setxattr("nothing", "user.x", "1", 1, 0));
	CALL(setxattr("moved", "nonamespace", "1", 1, 0));
	CALL(setxattr("moved", "user.", "1", 1, 0));
}

int main(void)
{
	guest_start();
	modes();
	owners();
	times();
	descriptors();
	sizes();
	attributes();
	return 0;
}
