/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance's directory as one archive and back, for `kapsel export` and `import`, which lock, name and check it: a tar file (pax, zstd) with
 * whiteouts as character devices 0/0 and records as extended attributes. An archive may come from anywhere: nothing is made but below the
 * directory, through no symlink, and no kind of file that an instance cannot have.
 */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "kapsel/carried.h"
#include "packager/pack.h"
#include "vfs/record.h"

#define PIECE 65536U

static int complain(struct kp_err *err, int rc)
{
	if (!rc)
		return 0;
	kp_printable(err->text); /* names from archives are in it */
	(void)fprintf(stderr, "kapsel: %s\n", err->text);
	if (err->hint[0])
		(void)fprintf(stderr, "hint: %s\n", err->hint);
	return KP_EXIT_FAILED;
}

/* --- out --- */

struct out {
	struct archive *a;
	struct archive_entry_linkresolver *links;
	struct kp_strings todo; /* directories still to read */
	int root_fd;
	struct kp_err *err;
};

static int out_fail(struct out *o, const char *path)
{
	return kp_fail(o->err, EIO, "%s: cannot be written: %s", path, archive_error_string(o->a));
}

static void put_attributes(struct archive_entry *e, int fd)
{
	kp_autofree char *names = kp_calloc(1, XATTR_LIST_MAX), *value = kp_calloc(1, XATTR_SIZE_MAX);
	ssize_t len = flistxattr(fd, names, XATTR_LIST_MAX);
	bool since = false;
	struct statx x;

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size = strncmp(names + at, "user.", 5) != 0 ? -1 : fgetxattr(fd, names + at, value, XATTR_SIZE_MAX);

		since |= !strcmp(names + at, KP_SINCE_XATTR);
		if (size >= 0)
			archive_entry_xattr_add_entry(e, names + at, value, (size_t)size);
	}
	if (!since && statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && x.stx_mask & STATX_BTIME) {
		struct kp_since s = {.sec = x.stx_btime.tv_sec, .nsec = x.stx_btime.tv_nsec};

		archive_entry_xattr_add_entry(e, KP_SINCE_XATTR, &s, sizeof(s));
	}
}

static int put_data(struct out *o, const char *path, int fd, int64_t left)
{
	kp_autofree char *buf = kp_calloc(1, PIECE);

	while (left > 0) {
		ssize_t n = read(fd, buf, (size_t)KP_MIN(left, (int64_t)PIECE));

		if (n <= 0)
			return n < 0 ? kp_fail_errno(o->err, errno, "%s: cannot be read", path)
				     : kp_fail(o->err, EIO, "%s: became shorter while it was read", path);
		if (archive_write_data(o->a, buf, (size_t)n) != n)
			return out_fail(o, path);
		left -= n;
	}
	return 0;
}

static int put_entry(struct out *o, int dirfd, const char *name, const char *path)
{
	struct archive_entry *e = archive_entry_new(), *held = NULL;
	char target[PATH_MAX];
	kp_autoclose int fd = -1;
	struct stat st;
	ssize_t len;
	int r = 0;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = kp_fail_errno(o->err, errno, "%s: cannot be read", path);
	archive_entry_copy_stat(e, &st);
	archive_entry_copy_pathname(e, path);
	if (!r && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
		fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			r = kp_fail_errno(o->err, errno, "%s: cannot be read", path);
		else
			put_attributes(e, fd);
	} else if (!r && S_ISLNK(st.st_mode)) {
		len = readlinkat(dirfd, name, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		archive_entry_copy_symlink(e, target);
	}
	if (!r && S_ISDIR(st.st_mode))
		kp_strings_add(&o->todo, path);
	/* What tar has no kind for is a socket: one that nobody listens on says nothing. */
	if (!r && !S_ISSOCK(st.st_mode)) {
		archive_entry_linkify(o->links, &e, &held);
		r = archive_write_header(o->a, e) < ARCHIVE_WARN ? out_fail(o, path) : 0;
		if (!r && S_ISREG(st.st_mode) && archive_entry_size(e) > 0)
			r = put_data(o, path, fd, st.st_size);
	}
	archive_entry_free(e);
	archive_entry_free(held);
	return r;
}

static int put_dir(struct out *o, const char *path)
{
	kp_autoclose int fd = kp_open_beneath(o->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	struct dirent **names = NULL;
	int count = fd < 0 ? -1 : scandirat(fd, ".", &names, NULL, alphasort), r = 0;

	if (count < 0)
		return kp_fail_errno(o->err, errno, "%s: cannot be read", path);
	for (int i = 0; i < count; i++) {
		kp_autofree char *child = kp_asprintf("%s/%s", path, names[i]->d_name);

		if (!r && strcmp(names[i]->d_name, ".") && strcmp(names[i]->d_name, ".."))
			r = put_entry(o, fd, names[i]->d_name, child);
		free(names[i]);
	}
	free(names);
	return r;
}

static int put_text(struct out *o, const char *name, const char *text, size_t len)
{
	struct archive_entry *e = archive_entry_new();
	int r;

	archive_entry_copy_pathname(e, name);
	archive_entry_set_mode(e, S_IFREG | 0600);
	archive_entry_set_size(e, (la_int64_t)len);
	r = archive_write_header(o->a, e) != ARCHIVE_OK || (len && archive_write_data(o->a, text, len) < 0) ? out_fail(o, name) : 0;
	archive_entry_free(e);
	return r;
}

static int put_header(struct out *o, const char *name)
{
	kp_autofree char *text = kp_asprintf("1 %s\n", name);

	return put_text(o, KP_CARRIED_HEADER, text, strlen(text));
}

/* fd: a memory file from kapsel, or "-1". */
static int put_against(struct out *o, const char *fd)
{
	kp_autofree char *path = kp_asprintf("/proc/self/fd/%s", fd), *text = NULL;
	size_t len;
	int r;

	if (!strcmp(fd, "-1"))
		return 0;
	r = kp_read_file(AT_FDCWD, path, KP_CARRIED_AGAINST_MAX, &text, &len);
	return r < 0 ? kp_fail_errno(o->err, -r, "%s: cannot be read", path) : put_text(o, KP_CARRIED_AGAINST, text, len);
}

int cmd_export_tree(int argc, char **argv)
{
	struct kp_err err = {0};
	struct out o = {.root_fd = -1, .err = &err};
	int r;

	if (argc < 4)
		return complain(&err, kp_fail(&err, EINVAL, "export-tree: DIRECTORY NAME DESCRIPTOR ITEM... were expected"));
	o.root_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	o.a = archive_write_new();
	o.links = archive_entry_linkresolver_new();
	(void)archive_write_set_format_pax(o.a);
	(void)archive_write_add_filter_zstd(o.a);
	(void)archive_write_set_bytes_in_last_block(o.a, 1);
	archive_entry_linkresolver_set_strategy(o.links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	r = archive_write_open_fd(o.a, STDOUT_FILENO) != ARCHIVE_OK ? out_fail(&o, "archive") : put_header(&o, argv[2]);
	if (!r)
		r = put_against(&o, argv[3]);
	for (int i = 4; i < argc && !r; i++)
		r = put_entry(&o, o.root_fd, argv[i], argv[i]);
	while (o.todo.count) {
		kp_autofree char *path = kp_strings_pop(&o.todo);

		if (!r)
			r = put_dir(&o, path);
	}
	if (!r && archive_write_close(o.a) != ARCHIVE_OK)
		r = out_fail(&o, "archive");
	archive_entry_linkresolver_free(o.links);
	(void)archive_write_free(o.a);
	(void)kp_close(o.root_fd);
	kp_strings_free(&o.todo);
	return complain(&err, r);
}

/* --- in --- */

struct in {
	struct archive *a;
	int root_fd;
	const char *from; /* the archive, for people */
	uint64_t left; /* bytes that fit */
	char **dirs;   /* their modes and times come last */
	struct stat *dir_stats;
	size_t dir_count;
	struct kp_err *err;
};

/* "a/b": nothing empty, "." or "..". */
static bool is_clean(const char *path)
{
	size_t all = strlen(path);

	if (!all || all >= PATH_MAX)
		return false;
	for (const char *p = path;; p++) {
		size_t len = strcspn(p, "/");

		if (!len || len > NAME_MAX || (len <= 2 && !strncmp(p, "..", len)))
			return false;
		p += len;
		if (!*p)
			return true;
	}
}

static int open_parent(struct in *in, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	kp_autofree char *dir = slash ? kp_strndup(path, (size_t)(slash - path)) : kp_strdup(".");
	int fd = kp_open_beneath(in->root_fd, dir, O_RDONLY | O_DIRECTORY, 0);

	*ret_name = slash ? slash + 1 : path;
	return fd < 0 ? kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: the directory above is not one", in->from, path) : fd;
}

static int take_attributes(struct in *in, struct archive_entry *e, int fd, const char *path)
{
	const char *name;
	const void *value;
	size_t size;

	(void)archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
		if (!name || strncmp(name, "user.", 5) != 0 || size > XATTR_SIZE_MAX)
			return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: an attribute that no instance has", in->from, path);
		if (fsetxattr(fd, name, value, size, 0) < 0)
			return kp_fail_errno(in->err, errno, "%s: its attributes cannot be set", path);
	}
	return 0;
}

static int take_data(struct in *in, int fd, const char *path, int64_t size)
{
	const void *data;
	la_int64_t at;
	size_t len;
	int r;

	while ((r = archive_read_data_block(in->a, &data, &len, &at)) == ARCHIVE_OK) {
		if (at < 0 || at > size || (int64_t)len > size - at || len > in->left)
			return kp_fail(in->err, ENOSPC, "%s: '%s' in it: refused: more than it says, or than fits", in->from, path);
		in->left -= len;
		if (lseek(fd, at, SEEK_SET) < 0 || kp_write_full(fd, data, len) < 0)
			return kp_fail_errno(in->err, errno, "%s: cannot be written", path);
	}
	if (r != ARCHIVE_EOF)
		return kp_fail(in->err, EIO, "%s: '%s' in it: %s", in->from, path, archive_error_string(in->a));
	return ftruncate(fd, size) < 0 ? kp_fail_errno(in->err, errno, "%s: cannot be written", path) : 0;
}

static int set_inode(struct in *in, int fd, const char *path, const struct stat *st)
{
	struct timespec ts[2] = {st->st_mtim, st->st_mtim};

	if (geteuid() == 0 && fchown(fd, st->st_uid, st->st_gid) < 0)
		return kp_fail_errno(in->err, errno, "%s: its owner cannot be set", path);
	if (fchmod(fd, (st->st_mode & 07777) | (S_ISDIR(st->st_mode) ? 0700 : 0600)) < 0 || futimens(fd, ts) < 0)
		return kp_fail_errno(in->err, errno, "%s: its mode and times cannot be set", path);
	return 0;
}

static int take_file(struct in *in, struct archive_entry *e, int dirfd, const char *name, const char *path)
{
	const struct stat *st = archive_entry_stat(e);
	kp_autoclose int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return errno == EEXIST ? kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: twice", in->from, path)
				       : kp_fail_errno(in->err, errno, "%s: cannot be made", path);
	if (st->st_size < 0)
		return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: its size", in->from, path);
	r = take_data(in, fd, path, st->st_size);
	if (!r)
		r = take_attributes(in, e, fd, path);
	return r ? r : set_inode(in, fd, path, st);
}

static int take_hard_link(struct in *in, int dirfd, const char *name, const char *path, const char *target)
{
	kp_autoclose int from = -1;
	const char *from_name;
	struct stat st;

	if (!is_clean(target))
		return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: a link that leads out", in->from, path);
	from = open_parent(in, target, &from_name);
	if (from < 0)
		return from;
	if (fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode) || linkat(from, from_name, dirfd, name, 0) < 0)
		return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: a link to what is not there", in->from, path);
	return 0;
}

static int take_dir(struct in *in, struct archive_entry *e, int dirfd, const char *name, const char *path)
{
	kp_autoclose int fd = mkdirat(dirfd, name, 0700) < 0 ? -1 : openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == EEXIST ? kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: twice", in->from, path)
				       : kp_fail_errno(in->err, errno, "%s: cannot be made", path);
	in->dirs = kp_realloc(in->dirs, (in->dir_count + 1) * sizeof(*in->dirs));
	in->dir_stats = kp_realloc(in->dir_stats, (in->dir_count + 1) * sizeof(*in->dir_stats));
	in->dirs[in->dir_count] = kp_strdup(path);
	in->dir_stats[in->dir_count++] = *archive_entry_stat(e);
	return take_attributes(in, e, fd, path);
}

static int take_other(struct in *in, struct archive_entry *e, int dirfd, const char *name, const char *path)
{
	const struct stat *st = archive_entry_stat(e);
	struct timespec ts[2] = {st->st_mtim, st->st_mtim};
	const char *target = archive_entry_symlink(e);
	int r;

	if (S_ISLNK(st->st_mode) && target && *target && strlen(target) < PATH_MAX)
		r = symlinkat(target, dirfd, name);
	else if (S_ISFIFO(st->st_mode))
		r = mkfifoat(dirfd, name, st->st_mode & 0777);
	else if (S_ISCHR(st->st_mode) && archive_entry_rdev(e) == makedev(0, 0))
		r = mknodat(dirfd, name, S_IFCHR, makedev(0, 0));
	else
		return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: a kind that no instance has", in->from, path);
	if (r < 0)
		return errno == EEXIST ? kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: twice", in->from, path)
				       : kp_fail_errno(in->err, errno, "%s: cannot be made", path);
	if (geteuid() == 0 && fchownat(dirfd, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return kp_fail_errno(in->err, errno, "%s: its owner cannot be set", path);
	(void)utimensat(dirfd, name, ts, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int take_entry(struct in *in, struct archive_entry *e, bool first)
{
	const char *path = archive_entry_pathname(e), *name, *link = archive_entry_hardlink(e);
	kp_autofree char *copy = NULL;
	kp_autoclose int fd = -1;
	size_t len;

	if (!path)
		return kp_fail(in->err, EILSEQ, "%s: a name in it cannot be read", in->from);
	copy = kp_strdup(path);
	for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0'; /* as tar writes directories */
	if (first != !strcmp(copy, KP_CARRIED_HEADER))
		return kp_fail(in->err, EINVAL, "%s: not an exported instance", in->from);
	if (first)
		return take_file(in, e, in->root_fd, "." KP_CARRIED_HEADER, copy);
	if (!is_clean(copy) || copy[0] == '.')
		return kp_fail(in->err, EINVAL, "%s: '%s' in it: refused: leads out of the instance", in->from, copy);
	fd = open_parent(in, copy, &name);
	if (fd < 0)
		return fd;
	if (link)
		return take_hard_link(in, fd, name, copy, link);
	if (archive_entry_filetype(e) == AE_IFREG)
		return take_file(in, e, fd, name, copy);
	return archive_entry_filetype(e) == AE_IFDIR ? take_dir(in, e, fd, name, copy) : take_other(in, e, fd, name, copy);
}

static int finish_dirs(struct in *in, int r)
{
	for (size_t i = in->dir_count; i-- > 0;) {
		kp_autoclose int fd = r ? -1 : kp_open_beneath(in->root_fd, in->dirs[i], O_RDONLY | O_DIRECTORY, 0);

		if (!r)
			r = fd < 0 ? kp_fail_errno(in->err, errno, "%s: cannot be opened", in->dirs[i])
				   : set_inode(in, fd, in->dirs[i], &in->dir_stats[i]);
		free(in->dirs[i]);
	}
	free(in->dirs);
	free(in->dir_stats);
	return r;
}

int cmd_import_tree(int argc, char **argv)
{
	struct kp_err err = {0};
	struct in in = {.root_fd = -1, .err = &err};
	struct archive_entry *e;
	struct statvfs fs;
	bool first = true;
	int r = 0, got;

	if (argc != 3)
		return complain(&err, kp_fail(&err, EINVAL, "import-tree: DIRECTORY NAME-OF-ARCHIVE were expected"));
	in.from = argv[2];
	in.root_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	in.left = fstatvfs(in.root_fd, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
	in.a = archive_read_new();
	(void)archive_read_support_format_tar(in.a);
	(void)archive_read_support_filter_zstd(in.a);
	if (archive_read_open_fd(in.a, STDIN_FILENO, PIECE) != ARCHIVE_OK)
		r = kp_fail(&err, EINVAL, "%s: not an exported instance: %s", in.from, archive_error_string(in.a));
	while (!r && (got = archive_read_next_header(in.a, &e)) != ARCHIVE_EOF) {
		r = got < ARCHIVE_WARN ? kp_fail(&err, EINVAL, "%s: damaged, or not an exported instance: %s", in.from, archive_error_string(in.a))
				       : take_entry(&in, e, first);
		first = false;
	}
	if (!r && first)
		r = kp_fail(&err, EINVAL, "%s: empty", in.from);
	r = finish_dirs(&in, r);
	(void)archive_read_free(in.a);
	(void)kp_close(in.root_fd);
	return complain(&err, r);
}
