/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operations [-s] [-1] [-rN] ROOT STEPS SEED...: STEPS random operations in ROOT/SEED/w for each seed, each printed with its result, and the
 * whole tree every 200 steps. The same numbers come out wherever it runs, so two runs in two equal trees must print the same. With no
 * STEPS (0) it prints the hash of the tree as it is, then the tree.
 *
 * -1: no step makes more than one change, and after each stands the hash of the whole tree.
 * -rN: other operations, for several at once in the same tree; what they print depends on the others.
 * -s: directories stay searchable: in mode merged the host is asked by absolute paths, so who takes the right to search a
 * directory from himself loses what he still had below it through a descriptor or the current directory.
 *
 * Kept out: descriptors that were opened for reading only and outlive a copy-up (overlayfs shows them the old file too).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tree.h"

#define HELD 4

static uint64_t state;
static bool one_change;
static uint64_t among; /* one of several at once in the same tree: which */
static bool searchable; /* no directory becomes one that its owner cannot search */
static const char *tree; /* ROOT/SEED/w */
static int held_dir[HELD], held_file[HELD];

static unsigned any(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 24) % below;
}

static bool one_in(unsigned n)
{
	return !any(n);
}

#define PICK(array) ((array)[any(sizeof(array) / sizeof((array)[0]))])

/* What the last name usually is: names are told apart so that most operations find something. */
enum kind { ANY, DIR, NEW_DIR };

static const char *a_path_to(enum kind kind)
{
	static const char *const dirs[] = {"d", "d", "e", "f", "m", "g"}, *const leaves[] = {"a", "b", "c", "h", "x", "y", "z", "l"};
	static char paths[4][PATH_MAX];
	static unsigned turn;
	char *p = paths[turn++ % 4], *at = p;
	unsigned parts = 1 + any(3);
	bool up = false;

	if (one_in(40))
		return one_in(2) ? "" : one_in(2) ? "." : "..";
	if (one_in(4))
		at += sprintf(at, "%s/", tree);
	for (unsigned i = 0; i < parts; i++) {
		bool leaf = i + 1 == parts && (kind == ANY ? !one_in(4) : one_in(kind == DIR ? 8 : 15));

		if (i && !up && one_in(12)) {
			at += sprintf(at, "../");
			up = true;
		}
		at += sprintf(at, "%s%s", leaf || one_in(25) ? PICK(leaves) : PICK(dirs),
			      i + 1 < parts ? one_in(20) ? "//" : one_in(20) ? "/./" : "/" : "");
	}
	if (one_in(25))
		at += sprintf(at, "/");
	else if (one_in(60))
		at += sprintf(at, "/.");
	else if (one_in(150))
		at += sprintf(at, "%0300d", 0);
	*at = '\0';
	return p;
}

static const char *a_path(void)
{
	return a_path_to(ANY);
}

static const char *error_name(long rc)
{
	return rc < 0 ? strerrorname_np(errno) : "0";
}

static void said(long rc)
{
	printf(" = %s", error_name(rc));
}

/* The cwd, or a held directory; what is printed is the number of its place. */
static int a_start(void)
{
	unsigned i;

	if (!one_in(5))
		return AT_FDCWD;
	i = any(HELD);
	if (held_dir[i] < 0)
		return AT_FDCWD;
	printf("@%u ", i);
	return held_dir[i];
}

static void use_file(int fd)
{
	struct stat st;
	char text[64];
	int n;

	switch (one_change ? 4 : any(5)) {
	case 0:
		n = sprintf(text, "written %u", any(100000));
		printf(" write %zd", pwrite(fd, text, (size_t)n, any(9000)));
		break;
	case 1:
		n = sprintf(text, "more %u\n", any(100000));
		printf(" append %zd", lseek(fd, 0, SEEK_END) < 0 ? -1 : write(fd, text, (size_t)n));
		break;
	case 2:
		printf(" ftruncate");
		said(ftruncate(fd, any(12000)));
		break;
	default:
		break;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		printf(" ");
		print_stat(stdout, &st);
		printf(" holds %lx", hash_fd(fd));
	}
}

static void op_open(void)
{
	static const int how[] = {O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
	static const int more[] = {0, 0, 0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_CREAT | O_TRUNC, O_NOFOLLOW, O_DIRECTORY,
				   O_APPEND, O_CREAT | O_NOFOLLOW};
	static const mode_t modes[] = {0644, 0600, 0755, 0444, 0200, 04711, 01666};
	int start = a_start(), flags = PICK(how) | PICK(more), fd;
	const char *path = a_path();
	mode_t mode = PICK(modes);

	printf("open(%s, %o, %o)", path, (unsigned)flags, mode);
	fd = openat(start, path, flags | O_NONBLOCK | O_CLOEXEC, mode);
	said(fd);
	if (fd < 0)
		return;
	use_file(fd);
	if ((flags & O_ACCMODE) == O_RDWR && one_in(2)) {
		unsigned i = any(HELD);

		printf(" kept as %u", i);
		(void)close(held_file[i]);
		held_file[i] = fd;
	} else {
		(void)close(fd);
	}
}

static void op_open_dir(void)
{
	int start = a_start(), fd;
	const char *path = a_path_to(DIR);
	unsigned i = any(HELD);

	printf("opendir(%s) as %u", path, i);
	fd = openat(start, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	said(fd);
	if (fd < 0)
		return;
	print_names(fd);
	(void)close(held_dir[i]);
	held_dir[i] = fd;
}

static void op_openat2(void)
{
	static const uint64_t resolve[] = {RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};
	int start = a_start();
	const char *path = a_path();
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | (one_in(3) ? O_PATH : 0), .resolve = PICK(resolve)};
	long fd;

	printf("openat2(%s, %llx)", path, (unsigned long long)how.resolve);
	fd = syscall(SYS_openat2, start, path, &how, sizeof(how));
	said(fd);
	if (fd >= 0)
		(void)close((int)fd);
}

static void op_held_file(void)
{
	unsigned i = any(HELD);
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1200000000 + any(1000), .tv_nsec = any(1000000000)}};

	printf("file %u:", i);
	if (held_file[i] < 0)
		return;
	switch (any(4)) {
	case 0:
		printf(" fchmod");
		said(fchmod(held_file[i], 0600 | any(0200)));
		break;
	case 1:
		printf(" futimens");
		said(futimens(held_file[i], ts));
		break;
	case 2:
		printf(" fsetxattr");
		said(fsetxattr(held_file[i], "user.held", "value", 5, 0));
		break;
	default:
		break;
	}
	use_file(held_file[i]);
}

static void op_unnamed(void)
{
	const char *dir = a_path_to(DIR), *to = a_path();
	char link[64];
	int fd;

	printf("O_TMPFILE(%s), link to %s", dir, to);
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
	said(fd);
	if (fd < 0)
		return;
	use_file(fd);
	(void)sprintf(link, "/proc/self/fd/%d", fd);
	said(linkat(AT_FDCWD, link, AT_FDCWD, to, AT_SYMLINK_FOLLOW));
	(void)close(fd);
}

static void op_stat(void)
{
	int start = a_start(), flags = one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
	const char *path = a_path();
	struct stat st;
	int rc;

	printf("stat(%s, %x)", path, (unsigned)flags);
	rc = fstatat(start, path, &st, flags);
	said(rc);
	printf(" ");
	if (!rc)
		print_stat(stdout, &st);
}

static void op_access(void)
{
	const char *path = a_path();
	int start = AT_FDCWD, mode = (int)any(8);

	printf("access(%s, %d)", path, mode);
	said(faccessat(start, path, mode, one_in(3) ? AT_EACCESS : 0));
}

static void op_mkdir(void)
{
	static const mode_t modes[] = {0755, 0700, 0777, 01777, 02775};
	int start = a_start();
	const char *path = a_path_to(NEW_DIR);
	mode_t mode = PICK(modes);

	printf("mkdir(%s, %o)", path, mode);
	said(mkdirat(start, path, mode));
}

static void op_unlink(void)
{
	int start = a_start(), flags = one_in(3) ? AT_REMOVEDIR : 0;
	const char *path = a_path_to(one_in(6) ? ANY : flags ? DIR : ANY);

	printf("unlink(%s, %x)", path, (unsigned)flags);
	said(unlinkat(start, path, flags));
}

static void op_rename(void)
{
	static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	int start = a_start();
	enum kind kind = one_in(3) ? DIR : ANY;
	const char *from = a_path_to(kind), *to = a_path_to(one_in(8) ? DIR : kind);
	unsigned how = PICK(flags);

	printf("rename(%s, %s, %u)", from, to, how);
	said(syscall(SYS_renameat2, start, from, AT_FDCWD, to, how));
}

static void op_link(void)
{
	const char *from = a_path(), *to = a_path();
	int flags = one_in(3) ? AT_SYMLINK_FOLLOW : 0, start = a_start();

	printf("link(%s, %s, %x)", from, to, (unsigned)flags);
	said(linkat(AT_FDCWD, from, start, to, flags));
}

static void op_symlink(void)
{
	static const char *const targets[] = {"a", "d", "d/e", ".", "x", "m/a", "l", "d/nothing", "e/"};
	char absolute[PATH_MAX];
	const char *to = PICK(targets);
	int start = a_start();
	const char *path = a_path();

	if (one_in(4)) {
		(void)snprintf(absolute, sizeof(absolute), "%s/%s", tree, to);
		to = absolute;
	}
	printf("symlink(%s, %s)", to, path);
	said(symlinkat(to, start, path));
}

static void op_readlink(void)
{
	int start = a_start();
	const char *path = a_path();
	char text[PATH_MAX];
	ssize_t n;

	printf("readlink(%s)", path);
	n = readlinkat(start, path, text, sizeof(text));
	said(n);
	if (n >= 0)
		printf(" %.*s", (int)n, text);
}

static void op_chmod(void)
{
	static const mode_t modes[] = {0644, 0755, 0700, 0711, 0444, 0755, 04755, 02755, 01777, 0, 0500};
	const char *path = a_path();
	mode_t mode = PICK(modes);

	if (!(mode & 0200) && !one_in(4))
		mode |= 0700;
	if (searchable)
		mode |= 0100;
	printf("chmod(%s, %o)", path, mode);
	said(fchmodat(a_start(), path, mode, 0));
}

static void op_chown(void)
{
	uid_t uid = one_in(2) ? geteuid() : one_in(2) ? (uid_t)-1 : 12345;
	gid_t gid = one_in(2) ? getegid() : (gid_t)-1;
	const char *path = a_path();

	printf("chown(%s, %s, %s)", path, uid == 12345 ? "other" : uid == (uid_t)-1 ? "-1" : "own", gid == (gid_t)-1 ? "-1" : "own");
	said(fchownat(AT_FDCWD, path, uid, gid, one_in(2) ? AT_SYMLINK_NOFOLLOW : 0));
}

static void op_utimens(void)
{
	struct timespec ts[2] = {{.tv_sec = 1100000000 + any(1000)}, {.tv_sec = 1100000000 + any(1000), .tv_nsec = any(1000000000)}};
	int start = a_start(), flags = one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
	const char *path = a_path();
	bool now = one_in(5);

	if (one_in(5))
		ts[1].tv_nsec = UTIME_OMIT;
	printf("utimens(%s, %lld.%ld, %x)", path, now ? 0 : (long long)ts[1].tv_sec, now ? 0 : ts[1].tv_nsec, (unsigned)flags);
	said(utimensat(start, path, now ? NULL : ts, flags));
}

static void op_truncate(void)
{
	const char *path = a_path();
	off_t len = any(3) ? any(20000) : 0;

	printf("truncate(%s, %ld)", path, (long)len);
	said(truncate(path, len));
}

static void op_special(void)
{
	static const mode_t types[] = {S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR, S_IFBLK};
	int start = a_start();
	const char *path = a_path();
	mode_t mode = PICK(types) | 0644;

	printf("mknod(%s, %o)", path, mode);
	said(mknodat(start, path, mode, 0x103));
}

static void op_xattr(void)
{
	static const char *const names[] = {"user.a", "user.b", "user.longer", "trusted.x", "nonsense", "system.none"};
	const char *path = a_path(), *name = PICK(names);
	char value[64];
	ssize_t n;

	printf("xattr(%s, %s)", path, name);
	switch (any(3)) {
	case 0:
		n = sprintf(value, "v%u", any(1000));
		printf(" set");
		said(setxattr(path, name, value, (size_t)n, one_in(4) ? XATTR_CREATE : one_in(4) ? XATTR_REPLACE : 0));
		break;
	case 1:
		n = getxattr(path, name, value, sizeof(value));
		printf(" get");
		said(n);
		printf(" %.*s", n < 0 ? 0 : (int)n, value);
		break;
	default:
		printf(" remove");
		said(removexattr(path, name));
		break;
	}
}

static void op_chdir(void)
{
	const char *path = one_in(2) ? tree : a_path_to(DIR);

	printf("chdir(%s)", path);
	said(chdir(path));
}

static void op_umask(void)
{
	static const mode_t masks[] = {022, 077, 0, 002};
	mode_t mask = PICK(masks);

	printf("umask(%o)", mask);
	(void)umask(mask);
}

static const struct {
	unsigned weight;
	void (*fn)(void);
} ops[] = {
	{24, op_open}, {6, op_open_dir}, {4, op_openat2}, {8, op_held_file}, {3, op_unnamed}, {12, op_stat}, {3, op_access},
	{9, op_mkdir}, {12, op_unlink}, {18, op_rename}, {6, op_link}, {5, op_symlink}, {3, op_readlink}, {6, op_chmod},
	{2, op_chown}, {4, op_utimens}, {4, op_truncate}, {2, op_special}, {5, op_xattr}, {4, op_chdir}, {1, op_umask},
};

/* No more than one change, by one call. */
static bool changes_once(void (*fn)(void))
{
	return fn != op_unnamed && fn != op_held_file;
}

static void one_step(void)
{
	unsigned total = 0, at, i = 0;

	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
		total += ops[k].weight;
	for (at = any(total); at >= ops[i].weight; i++)
		at -= ops[i].weight;
	if (!one_change || changes_once(ops[i].fn))
		ops[i].fn();
}

/* Now and then what was lost of the shape comes back. */
static void reshape(void)
{
	static const char *const dirs[] = {"d", "d/e", "d/e/f", "m", "g"}, *const files[] = {"a", "c", "d/a", "d/e/b", "m/a"};

	printf("reshape");
	said(chdir(tree));
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		struct stat st;

		if (lstat(dirs[i], &st) == 0 && !S_ISDIR(st.st_mode))
			said(unlink(dirs[i]));
		said(mkdir(dirs[i], 0755));
		said(chmod(dirs[i], 0755));
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int fd = open(files[i], O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);

		said(fd);
		if (fd >= 0)
			(void)close(fd);
	}
	said(symlink("d/e", "l"));
}

static void one_seed(const char *root, const char *seed, long steps)
{
	char above[PATH_MAX], path[PATH_MAX + 2];

	(void)snprintf(above, sizeof(above), "%s/%s", root, seed);
	(void)snprintf(path, sizeof(path), "%s/w", above);
	tree = path;
	state = strtoull(seed, NULL, 10) * 0x9e3779b97f4a7c15u + 0x1234567 + among * 0x51ed2701u;
	for (int i = 0; i < 20; i++)
		(void)any(2);
	for (int i = 0; i < HELD; i++)
		held_dir[i] = held_file[i] = -1;
	(void)umask(022);
	if (chdir(tree) < 0 && steps)
		exit(1);
	if (!steps) {
		printf("tree %lx\n", hash_tree(above));
		print_tree(stdout, above);
	}
	for (long step = 1; step <= steps; step++) {
		printf("%s/%ld ", seed, step);
		if (step % 50 == 0 && !one_change)
			reshape();
		else
			one_step();
		if (one_change)
			printf(" tree %lx", hash_tree(above));
		printf("\n");
		if (one_change)
			(void)fflush(stdout);
		else if (step % 200 == 0 || step == steps)
			print_tree(stdout, above);
	}
	(void)fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	int status, bad = 0;
	const char *root;
	long steps;

	for (; argc > 3 && argv[1][0] == '-'; argc--, argv++) {
		searchable |= argv[1][1] == 's';
		one_change |= argv[1][1] == '1';
		if (argv[1][1] == 'r')
			among = strtoull(argv[1] + 2, NULL, 10);
	}
	root = argc > 1 ? argv[1] : "";
	steps = argc > 2 ? atol(argv[2]) : 0;

	for (int i = 3; i < argc; i++) {
		pid_t pid;

		(void)fflush(stdout);
		pid = fork();
		if (!pid)
			one_seed(root, argv[i], steps);
		if (waitpid(pid, &status, 0) != pid || status) {
			printf("seed %s ended with %x\n", argv[i], (unsigned)status);
			bad = 1;
		}
	}
	return bad;
}
