/* SPDX-License-Identifier: Apache-2.0 */
/* chmod, chown, times, truncate on every kind of name and through descriptors; times of parents. */
#include "guest.h"

#include <sys/time.h>
#include <utime.h>

static const struct timespec fixed[2] = {{.tv_sec = 1234567890, .tv_nsec = 5}, {.tv_sec = 1234567891, .tv_nsec = 123456789}};

static void times_of(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		printf("   times -%s\n", ename(errno));
	else if (st.st_mtime < 2000000000 && st.st_mtime != GUEST_TIME && st.st_mtime > 1600000000)
		printf("   times now\n");
	else
		printf("   times %ld.%09ld\n", (long)st.st_mtime, st.st_mtim.tv_nsec);
}

static void on_descriptor(const char *name, int flags)
{
	int fd = open(name, flags | O_NONBLOCK);

	printf("-- descriptor of %s, flags %x\n", name, flags);
	if (fd < 0) {
		result(fd, "open");
		return;
	}
	CALL(fchmod(fd, 0751));
	show(name);
	CALL(fchown(fd, geteuid(), getegid()));
	CALL(fchown(fd, 12345, -1));
	CALL(futimens(fd, fixed));
	times_of(name);
	CALL(ftruncate(fd, 3));
	show(name);
	struct stat st;
	if (fstat(fd, &st) == 0)
		printf("   fstat %04o %ld\n", st.st_mode & 07777, S_ISREG(st.st_mode) ? (long)st.st_size : 0L);
	CALL(fchmodat(fd, "", 0700, AT_EMPTY_PATH));
	CALL(fchownat(fd, "", -1, -1, AT_EMPTY_PATH));
	close(fd);
}

static void parent_time(const char *what, int rc)
{
	struct stat st;

	if (stat(".", &st) < 0)
		die("stat .");
	printf("%s: %d, parent %s\n", what, rc, st.st_mtime == GUEST_TIME ? "old" : "new");
	utimensat(AT_FDCWD, ".", (struct timespec[2]){{GUEST_TIME, 0}, {GUEST_TIME, 0}}, 0);
}

static void modes(void)
{
	EACH("chmod", { result(chmod(name, 0740), "chmod %s", name); show(name); });
	EACH("chmod to nothing", { result(chmod(name, 0), "chmod %s", name); show(name); });
	for (int i = 0; i < guest_set_count; i++) { /* so that the tree can be removed */
		char path[PATH_MAX];
		static const char *const locked[] = {"dir", "mdir", "wdir", "odir", "edir", "ndir", "dir/sub"};

		for (size_t k = 0; k < sizeof(locked) / sizeof(*locked); k++) {
			snprintf(path, sizeof(path), "%s/s%03d", guest_root, i);
			chmod(path, 0755);
			snprintf(path, sizeof(path), "%s/s%03d/%s", guest_root, i, locked[k]);
			chmod(path, 0755);
		}
	}
	chmod(guest_root, 0755);
	EACH("chmod special bits", { result(chmod(name, 07755), "chmod %s", name); show(name); });
	EACH("fchmodat2 nofollow", {
		result(syscall(452, AT_FDCWD, name, 0700, AT_SYMLINK_NOFOLLOW), "fchmodat2 %s", name);
		show(name);
	});
}

static void owners(void)
{
	EACH("chown to self", { result(chown(name, geteuid(), getegid()), "chown %s", name); show(name); });
	EACH("chown to another", { result(chown(name, 12345, 12345), "chown %s", name); show(name); });
	EACH("chown of nothing", { result(chown(name, -1, -1), "chown %s", name); show(name); });
	EACH("lchown", { result(lchown(name, geteuid(), -1), "lchown %s", name); });
	EACH("chown clears bits", {
		if (chmod(name, 06755) == 0) {
			result(chown(name, -1, getegid()), "chown %s", name);
			show(name);
		}
	});
}

static void times(void)
{
	struct timespec ts[2];

	EACH("utimensat", { result(utimensat(AT_FDCWD, name, fixed, 0), "utimensat %s", name); times_of(name); });
	EACH("utimensat nofollow", {
		result(utimensat(AT_FDCWD, name, fixed, AT_SYMLINK_NOFOLLOW), "utimensat %s", name);
		times_of(name);
	});
	EACH("utimensat now", { result(utimensat(AT_FDCWD, name, NULL, 0), "utimensat %s", name); times_of(name); });
	EACH("utimensat omit", {
		ts[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
		ts[1] = ts[0];
		result(utimensat(AT_FDCWD, name, ts, 0), "utimensat both %s", name);
		ts[1] = (struct timespec){.tv_sec = 77};
		result(utimensat(AT_FDCWD, name, ts, 0), "utimensat one %s", name);
		times_of(name);
	});
	EACH("utime", {
		result(utime(name, &(struct utimbuf){5, 6}), "utime %s", name);
		times_of(name);
	});
}

static void sizes(void)
{
	EACH("truncate", { result(truncate(name, 4), "truncate %s", name); show(name); });
	EACH("truncate to nothing", { result(truncate(name, 0), "truncate %s", name); show(name); });
	EACH("truncate longer", { result(truncate(name, 30), "truncate %s", name); show(name); });
}

static void arguments(void)
{
	struct timespec ts[2];

	next_set();
	CALL(truncate("file", -1));
	CALL(truncate("absent", -1));
	CALL(syscall(SYS_truncate, NULL, 0));
	CALL(syscall(SYS_chmod, NULL, 0));
	CALL(syscall(452, AT_FDCWD, "file", 0644, 0x4000));
	CALL(fchmod(99, 0644));
	CALL(fchownat(AT_FDCWD, "file", -1, -1, 0x4000));
	ts[0] = ts[1] = (struct timespec){.tv_nsec = 1000000000};
	CALL(utimensat(AT_FDCWD, "file", ts, 0));
	CALL(utimensat(AT_FDCWD, "absent", ts, 0));
	CALL(utimensat(AT_FDCWD, "file", fixed, 0x4000));
	CALL(syscall(SYS_utimensat, AT_FDCWD, NULL, fixed, 0));
	CALL(syscall(SYS_utimensat, 99, NULL, fixed, 0));
	CALL(syscall(SYS_utimensat, AT_FDCWD, "file", (char *)tail_alloc(8), 0));
}

static void through_descriptors(void)
{
	static const char *const names[] = {"file", "cu", "new", "hard1", "dir", "mdir", "ndir", "ro", "exec", "fifo", "lrel"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		on_descriptor(names[i], O_RDONLY);
	next_set();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		on_descriptor(names[i], O_RDWR);
	next_set();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		on_descriptor(names[i], O_PATH);
	on_descriptor("lrel", O_PATH | O_NOFOLLOW);
	on_descriptor("sock", O_PATH);
}

static void parent_times(void)
{
	/* What changes a directory's time. */
	next_set();
	parent_time("nothing", 0);
	parent_time("nothing", 0);
	parent_time("open for writing", close(open("file", O_WRONLY)));
	parent_time("chmod", chmod("ro", 0600));
	parent_time("chmod of a directory", chmod("dir", 0700));
	parent_time("made below", mkdir("dir/y", 0700));
	parent_time("create", close(open("c", O_WRONLY | O_CREAT, 0600)));
	parent_time("open again", close(open("c", O_WRONLY | O_CREAT, 0600)));
	parent_time("unlink", unlink("hard1"));
	parent_time("unlink of what was made", unlink("c"));
	parent_time("mkdir", mkdir("d", 0700));
	parent_time("rmdir", rmdir("d"));
	parent_time("rmdir of an image's", rmdir("edir"));
	parent_time("symlink", symlink("x", "y"));
	parent_time("link", link("exec", "exec2"));
	parent_time("rename", rename("exec", "exec3"));
	parent_time("rename of a directory", rename("mdir", "mdir2"));
	parent_time("mkfifo", mkfifo("p", 0600));
	parent_time("refused", unlink("dir"));
	times_of("exec3");
	times_of("mdir2");
	times_of("mdir2/a");
	times_of("dir");
	times_of("hard2");
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	modes();
	owners();
	times();
	sizes();
	arguments();
	through_descriptors();
	parent_times();
	return 0;
}
