/* SPDX-License-Identifier: Apache-2.0 */
/* Finishing or taking away what a killed command left. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instance/settle.h"
#include "vfs/vfs.h"

#define NOTE_MAX (1U << 26)

/* NUL-terminated strings: the temporary name, then the directories. */
int kp_settle_note_commit(const char *instance_dir, const struct kp_settle_commit *s, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir);
	struct kp_buf kp_autobuf b = {0};
	int r;

	kp_buf_add(&b, s->temp, strlen(s->temp) + 1);
	for (size_t i = 0; i < s->dirs.count; i++)
		kp_buf_add(&b, s->dirs.items[i], strlen(s->dirs.items[i]) + 1);
	r = kp_write_file_atomic(AT_FDCWD, path, b.data, b.len, 0600);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be written", path) : 0;
}

void kp_settle_commit_done(const char *instance_dir)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir);

	(void)unlink(path);
}

static void settle_commit(const char *instance_dir)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir), *note = NULL;
	kp_autoclose int root = -1;
	size_t len, at;

	if (kp_read_file(AT_FDCWD, path, NOTE_MAX, &note, &len))
		return;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	at = len ? strlen(note) + 1 : 0;
	while (at < len && !strncmp(note, KP_SETTLE_COMMIT, sizeof(KP_SETTLE_COMMIT) - 1) && !strchr(note, '/')) {
		const char *dir = note + at + strspn(note + at, "/");
		kp_autoclose int fd = kp_open_beneath(root, dir, O_RDONLY | O_DIRECTORY, 0);

		if (fd >= 0)
			(void)kp_remove_tree(fd, note);
		at += strlen(note + at) + 1;
	}
	kp_settle_commit_done(instance_dir);
}

bool kp_settle_is_local(const char *name)
{
	static const char *const local[] = {"lock", "run", "work", "snapshots", "throw-away", "committing", "renaming", "linking",
					    "times", "symlinks", KP_SETTLE_NEW, KP_SETTLE_RESTORING, "restored", KP_SETTLE_STATE};

	for (size_t i = 0; i < KP_ARRAY_LEN(local); i++)
		if (!strcmp(name, local[i]))
			return true;
	return name[0] == '.' || strstr(name, ".tmp.");
}

/* Calls fn for each name in dirfd/path that copies carry, but those in snapshots. */
static int each_carried(int dirfd, int (*fn)(int dirfd, const char *name, void *ctx), void *ctx)
{
	struct dirent **names = NULL;
	int count = scandirat(dirfd, ".", &names, NULL, NULL), r = count < 0 ? -errno : 0;

	for (int i = 0; i < count; i++) {
		if (!r && !kp_settle_is_local(names[i]->d_name))
			r = fn(dirfd, names[i]->d_name, ctx);
		free(names[i]);
	}
	free(names);
	return r;
}

struct restoring {
	int dir_fd, files_fd, old_fd;
	const char *items; /* NUL-terminated names of all that the new state has */
	size_t len;
};

/* Out of the way: not removed yet, so that each step is a rename. */
static int put_away(const struct restoring *x, const char *name)
{
	int r = kp_remove_tree(x->old_fd, name);

	return !r && renameat(x->dir_fd, name, x->old_fd, name) < 0 && errno != ENOENT ? -errno : r;
}

static int drop_extra(int dirfd, const char *name, void *ctx)
{
	const struct restoring *x = ctx;

	(void)dirfd;
	for (size_t at = 0; at < x->len; at += strlen(x->items + at) + 1)
		if (!strcmp(x->items + at, name))
			return 0;
	return put_away(x, name);
}

static int put_in_place(const struct restoring *x, const char *name)
{
	struct stat st;
	int r = 0;

	if (fstatat(x->files_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno; /* done before a crash */
	if (S_ISDIR(st.st_mode))
		r = put_away(x, name);
	return !r && renameat(x->files_fd, name, x->dir_fd, name) < 0 ? -errno : r;
}

static int settle_restore(int dir_fd)
{
	kp_autoclose int at_fd = openat(dir_fd, KP_SETTLE_RESTORING, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	kp_autoclose int files_fd = -1, old_fd = -1;
	struct restoring x = {.dir_fd = dir_fd};
	kp_autofree char *items = NULL;
	int r;

	if (at_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	(void)mkdirat(at_fd, "old", 0700);
	x.files_fd = files_fd = openat(at_fd, "files", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	x.old_fd = old_fd = openat(at_fd, "old", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (files_fd < 0 || old_fd < 0)
		return -errno;
	r = kp_read_file(at_fd, "items", NOTE_MAX, &items, &x.len);
	x.items = items;
	if (!r)
		r = each_carried(dir_fd, drop_extra, &x);
	for (size_t at = 0; !r && at < x.len; at += strlen(items + at) + 1)
		r = put_in_place(&x, items + at);
	if (!r && renameat(dir_fd, KP_SETTLE_RESTORING, dir_fd, "restored") < 0)
		r = -errno;
	return r;
}

/* Snapshots that were being made or removed. */
static void settle_snapshots(int dir_fd)
{
	kp_autoclose int fd = openat(dir_fd, "snapshots", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent **names = NULL;
	/* Not while one of an instance that runs no more is being removed. */
	int count = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ? 0 : scandirat(fd, ".", &names, NULL, NULL);

	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;

		if (name[0] == '.' && strcmp(name, ".") && strcmp(name, ".."))
			(void)kp_remove_tree(fd, name);
		free(names[i]);
	}
	free(names);
}

int kp_settle(const char *instance_dir)
{
	kp_autoclose int fd = open(instance_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	kp_vfs_settle(instance_dir);
	settle_commit(instance_dir);
	r = settle_restore(fd);
	(void)kp_remove_tree(fd, "restored");
	(void)kp_remove_tree(fd, KP_SETTLE_NEW);
	settle_snapshots(fd);
	return r;
}
