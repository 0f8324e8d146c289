/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call that takes a path x every kind of object that a path can lead to: the result, and what is there afterwards. The objects of one
 * call are in a directory of the fixture of their own, mx/NN; what is not a fixture's is made here, beside it.
 */
#include "guest.h"
#include <dirent.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>

/* --- objects: setup in the current directory; the name may be a path --- */
static void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || write(fd, "more\n", 5) != 5)
		printf("cannot append to %s: %s\n", path, errno_name(errno));
	close(fd);
}

static void do_copied(void) { append("copied"); }
static void do_made(void) { put_file("made", "made\n"); }
static void do_remade(void) { unlink("remade"); put_file("remade", "anew\n"); }
static void do_gone(void) { unlink("gone"); }
static void do_madedir(void) { mkdir("madedir", 0755); put_file("madedir/child", "child\n"); }
static void do_remadedir(void) { unlink("remadedir/child"); rmdir("remadedir"); mkdir("remadedir", 0755); put_file("remadedir/other", "other\n"); }
static void do_moveddir(void) { rename("old", "moveddir"); }
static void do_emptied(void) { unlink("emptied/child"); }
static void do_madelink(void) { if (symlink("file", "madelink") < 0) perror("symlink"); }
static void do_fifo(void) { mkfifo("fifo", 0644); }
static void do_unreadable(void) { chmod("unreadable", 0); }
static void do_socket(void) { mknod("socket", S_IFSOCK | 0644, 0); }

static const struct object {
	const char *name;
	void (*make)(void);
	const char *path; /* where it is not the name */
} objects[] = {
	{"file", NULL, NULL}, {"copied", do_copied, NULL}, {"made", do_made, NULL}, {"remade", do_remade, NULL},
	{"absent", NULL, NULL}, {"gone", do_gone, NULL}, {"dir", NULL, NULL}, {"edir", NULL, NULL},
	{"madedir", do_madedir, NULL}, {"remadedir", do_remadedir, NULL}, {"moveddir", do_moveddir, NULL},
	{"moveddir-child", NULL, "moveddir/child"}, {"moveddir-old", NULL, "old"}, {"emptied", do_emptied, NULL},
	{"link", NULL, NULL}, {"abslink", NULL, NULL}, {"dirlink", NULL, NULL}, {"dangling", NULL, NULL}, {"loop", NULL, NULL},
	{"madelink", do_madelink, NULL}, {"fifo", do_fifo, NULL}, {"socket", do_socket, NULL}, {"unreadable", do_unreadable, NULL},
	{"hard", NULL, NULL}, {"file-slash", NULL, "file2/"}, {"dir-slash", NULL, "dir2/"}, {"dirlink-slash", NULL, "dirlink2/"},
	{"below-file", NULL, "file3/x"}, {"below-dangling", NULL, "dangling/x"}, {"below-loop", NULL, "loop/x"},
	{"through-link", NULL, "dirlink2/child"}, {"dot", NULL, "dir3/."}, {"up", NULL, "dir3/../file3"},
};

/* --- calls: -1 and errno, or what is to be seen of success --- */
static const char *const other = "other.new";

static long opened(int fd)
{
	char buf[8];
	struct stat st;
	long n;

	if (fd < 0)
		return -1;
	n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, buf, sizeof(buf)) : 100;
	close(fd);
	return n < 0 ? 200 : n;
}

static long wrote(int fd)
{
	long n;

	if (fd < 0)
		return -1;
	n = write(fd, "W", 1);
	close(fd);
	return n < 0 ? 200 : n;
}

static long listed(const char *p)
{
	DIR *d = opendir(p);
	long n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static long statx_mode(const char *p)
{
	struct statx x;

	return syscall(SYS_statx, AT_FDCWD, p, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x) < 0 ? -1 : x.stx_mode & S_IFMT;
}

static long stat_mode(const char *p)
{
	struct stat st;

	return stat(p, &st) < 0 ? -1 : (long)(st.st_mode & S_IFMT);
}

static long link_text(const char *p)
{
	char buf[PATH_MAX];
	ssize_t n = readlink(p, buf, sizeof(buf));

	return n > 0 && buf[0] == '/' ? 1000 : n;
}

static long open_how(const char *p, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

	return opened((int)syscall(SYS_openat2, AT_FDCWD, p, &how, sizeof(how)));
}

static long with_file(void)
{
	put_file(other, "the other\n");
	return 0;
}

static long with_dir(void)
{
	return mkdir(other, 0755);
}

static long watched(const char *p)
{
	int fd = inotify_init1(IN_CLOEXEC);
	long rc = inotify_add_watch(fd, p, IN_MODIFY);
	int error = errno;

	close(fd);
	errno = error;
	return rc < 0 ? -1 : 0;
}

static long in_child(const char *p, bool exec)
{
	char *const argv[] = {(char *)(uintptr_t)p, NULL}, *const envp[] = {NULL};
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (exec)
			execve(p, argv, envp);
		else if (chdir(p) == 0)
			_exit(access(".", X_OK) == 0 ? 250 : 251);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 999;
	errno = WEXITSTATUS(status);
	return errno && errno < 250 ? -1 : errno;
}

static long bound(const char *p, bool connecting)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;
	long rc;

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", p);
	rc = (connecting ? connect : bind)(fd, (void *)&a, sizeof(a));
	error = errno;
	close(fd);
	errno = error;
	return rc;
}

static const struct timespec then[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789}, {.tv_sec = 1100000000, .tv_nsec = 987654321}};

#define CALLS(X)                                                                                        \
	X(stat, stat_mode(p)) X(statx, statx_mode(p))                                                   \
	X(access_r, access(p, R_OK)) X(access_w, access(p, W_OK)) X(access_x, access(p, X_OK))          \
	X(faccessat2, syscall(SYS_faccessat2, AT_FDCWD, p, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW))     \
	X(readlink, link_text(p))                                                                       \
	X(open_r, opened(open(p, O_RDONLY | O_NONBLOCK | O_CLOEXEC)))                                   \
	X(open_w, wrote(open(p, O_WRONLY | O_NONBLOCK | O_CLOEXEC)))                                    \
	X(open_append, wrote(open(p, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC)))                      \
	X(open_creat, wrote(open(p, O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0640)))                  \
	X(open_excl, wrote(open(p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0604)))                     \
	X(open_trunc, wrote(open(p, O_RDWR | O_TRUNC | O_NONBLOCK | O_CLOEXEC)))                        \
	X(open_dir, opened(open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC)))                                \
	X(open_path, opened(open(p, O_PATH | O_NOFOLLOW | O_CLOEXEC)) < 0 ? -1 : 0)                     \
	X(open_nofollow, opened(open(p, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)))               \
	X(open_tmpfile, wrote(open(p, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600)))                           \
	X(openat2_plain, open_how(p, O_RDONLY | O_NONBLOCK, RESOLVE_NO_SYMLINKS))                       \
	X(openat2_beneath, open_how(p, O_RDONLY | O_NONBLOCK, RESOLVE_BENEATH))                         \
	X(creat, wrote(open(p, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0600)))           \
	X(truncate, truncate(p, 3)) X(truncate_long, truncate(p, 9000))                                 \
	X(chmod, chmod(p, 0750)) X(chmod_0, chmod(p, 0))                                                \
	X(fchmodat2, syscall(452, AT_FDCWD, p, 0711, AT_SYMLINK_NOFOLLOW))                              \
	X(chown, chown(p, (uid_t)-1, getegid())) X(lchown, lchown(p, geteuid(), (gid_t)-1))             \
	X(chown_other, chown(p, 12345, (gid_t)-1))                                                      \
	X(utimensat, utimensat(AT_FDCWD, p, then, 0))                                                   \
	X(utimens_link, utimensat(AT_FDCWD, p, then, AT_SYMLINK_NOFOLLOW)) X(utime, utime(p, NULL))     \
	X(mkdir, mkdir(p, 0750)) X(mknod_fifo, mknod(p, S_IFIFO | 0640, 0))                             \
	X(mknod_file, mknod(p, S_IFREG | 0640, 0)) X(mknod_dev, mknod(p, S_IFBLK | 0640, 5))            \
	X(symlink, symlink("file", p)) X(unlink, unlink(p)) X(rmdir, rmdir(p)) X(remove, remove(p))     \
	X(link_from, link(p, other)) X(link_follow, linkat(AT_FDCWD, p, AT_FDCWD, other, AT_SYMLINK_FOLLOW)) \
	X(link_to, with_file() ? 900 : link(other, p))                                                  \
	X(rename_away, rename(p, other)) X(rename_over, with_file() ? 900 : rename(other, p))           \
	X(rename_dir_over, with_dir() ? 900 : rename(other, p)) X(rename_same, rename(p, p))            \
	X(noreplace_away, renameat2(AT_FDCWD, p, AT_FDCWD, other, RENAME_NOREPLACE))                    \
	X(noreplace_over, with_file() ? 900 : renameat2(AT_FDCWD, other, AT_FDCWD, p, RENAME_NOREPLACE)) \
	X(exchange, with_file() ? 900 : renameat2(AT_FDCWD, p, AT_FDCWD, other, RENAME_EXCHANGE))       \
	X(exchange_dir, with_dir() ? 900 : renameat2(AT_FDCWD, other, AT_FDCWD, p, RENAME_EXCHANGE))    \
	X(setxattr, setxattr(p, "user.x", "v", 1, 0)) X(lsetxattr, lsetxattr(p, "user.x", "v", 1, XATTR_CREATE)) \
	X(getxattr, getxattr(p, "user.none", NULL, 0)) X(listxattr, listxattr(p, NULL, 0))              \
	X(removexattr, removexattr(p, "user.none")) X(chdir, in_child(p, false)) X(exec, in_child(p, true)) \
	X(statfs, statfs(p, &(struct statfs){0})) X(inotify, watched(p)) X(opendir, listed(p))          \
	X(bind, bound(p, false)) X(connect, bound(p, true))

#define DEFINE(name, expr) static long call_##name(unused const char *p) { return (expr); }
CALLS(DEFINE)
#define ROW(name, expr) {#name, call_##name},
static const struct {
	const char *name;
	long (*make)(const char *path);
} calls[] = {CALLS(ROW)};

/* --- what is there --- */
static void state(const char *path)
{
	char text[64];
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0) {
		printf(" %s", errno_name(errno));
		return;
	}
	printf(" %s %04o", type_name(st.st_mode), st.st_mode & 07777);
	if (S_ISREG(st.st_mode))
		printf(" %lld/%lu", (long long)st.st_size, (unsigned long)st.st_nlink);
	if (st.st_mtime == 1000000000 || st.st_mtime == 1100000000)
		printf(" @%ld.%09ld", (long)st.st_mtime, st.st_mtim.tv_nsec);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlink(path, text, sizeof(text));

		printf(" ->%.*s", text[0] == '/' ? 1 : (int)n, text);
	}
	if (S_ISDIR(st.st_mode))
		printf(" of %ld", listed(path));
	fd = S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		ssize_t n = read(fd, text, 12);

		for (ssize_t i = 0; i < n; i++)
			putchar(text[i] == '\n' ? '|' : text[i] ? text[i] : '0');
		close(fd);
	}
}

static ino_t number(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

static void clear(const char *path)
{
	(void)chmod(path, 0755);
	if (unlink(path) == 0 || rmdir(path) == 0)
		return;
	if (rename(path, "../trash") == 0) /* a directory that holds something */
		(void)syscall(SYS_renameat2, AT_FDCWD, "../trash", AT_FDCWD, "../.trash", 0);
}

/* Names and numbers of a listing are those of lstat. */
static void check_listing(const char *call)
{
	struct dirent **names;
	int n = scandir(".", &names, NULL, alphasort);

	printf("%s leaves", call);
	for (int i = 0; i < n; i++) {
		struct stat st;

		if (names[i]->d_name[0] != '.') {
			printf(" %s", names[i]->d_name);
			if (lstat(names[i]->d_name, &st) < 0)
				printf("(%s)", errno_name(errno));
			else if (st.st_ino != names[i]->d_ino || (unsigned char)IFTODT(st.st_mode) != names[i]->d_type)
				printf("(%s, listed as another)", type_name(st.st_mode));
		}
		free(names[i]);
	}
	free(names);
	putchar('\n');
}

int main(void)
{
	guest_start();
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	for (size_t c = 0; c < ARRAY_LEN(calls); c++) {
		char dir[32];

		snprintf(dir, sizeof(dir), "mx/%02zu", c);
		if (chdir(dir) < 0) {
			printf("%s: %s\n", dir, errno_name(errno));
			return EXIT_FAILURE;
		}
		for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
			const struct object *o = &objects[i];
			const char *path = o->path ? o->path : o->name;
			ino_t before;
			long rc;

			if (o->make)
				o->make();
			before = number(path);
			fflush(stdout);
			errno = 0;
			rc = calls[c].make(path);
			printf("%s %s = %ld %s:", calls[c].name, o->name, rc, rc < 0 ? errno_name(errno) : "");
			state(path);
			if (before && before == number(path))
				printf(" the same");
			printf(";");
			state(other);
			putchar('\n');
			clear(other);
		}
		check_listing(calls[c].name);
		if (chdir("../..") < 0)
			return EXIT_FAILURE;
	}
	printf("%zu calls, %zu objects\n", ARRAY_LEN(calls), ARRAY_LEN(objects));
	return 0;
}
