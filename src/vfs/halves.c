/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renames in mode merged that have a half in the instance and a half on the host. Before the first half is done a note beside the upper says
 * what is to be done; who finds one of a killed run finishes it when the first half is done, so that it is done or not done.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

#define NOTE "renaming"

struct note {
	uint64_t dev, host_ino, upper_ino; /* of the directory's halves; zero: a temporary file, on the host */
	unsigned exchange, flags;          /* how the upper's half is renamed */
	char host_to[PATH_MAX];            /* or the temporary file */
	char from[PATH_MAX], to[PATH_MAX]; /* in the upper */
};

static int put_note(struct kp_vfs *v, const struct note *n)
{
	return kp_write_file_atomic(v->upper_fd, "../" NOTE, n, sizeof(*n), 0600);
}

static void drop_note(struct kp_vfs *v)
{
	(void)unlinkat(v->upper_fd, "../" NOTE, 0);
}

static int rename_upper(int upper_fd, const struct note *n)
{
	int rc = renameat2(upper_fd, n->from, upper_fd, n->to, n->exchange ? RENAME_EXCHANGE : n->flags) < 0 ? -errno : 0;

	if (!rc && n->exchange && !n->flags && unlinkat(upper_fd, n->from, 0) < 0) /* the whiteout, over nothing */
		rc = -errno;
	return rc;
}

void kp_vfs_settle(const char *instance_dir)
{
	kp_autofree char *path = kp_asprintf("%s/" NOTE, instance_dir), *upper = kp_asprintf("%s/upper", instance_dir), *data = NULL;
	kp_autoclose int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct note *n;
	struct stat host, mine;
	size_t len;

	kp_linked_settle(instance_dir, fd);
	kp_times_settle(instance_dir, fd);
	if (kp_read_file(AT_FDCWD, path, sizeof(*n), &data, &len))
		return;
	n = (const void *)data;
	if (len == sizeof(*n) && fd >= 0 && !data[len - 1] && memchr(n->host_to, 0, PATH_MAX) && memchr(n->from, 0, PATH_MAX)) {
		if (!n->host_ino)
			(void)unlink(n->host_to);
		else if (lstat(n->host_to, &host) == 0 && host.st_ino == n->host_ino && host.st_dev == n->dev &&
			 fstatat(fd, n->from, &mine, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == n->upper_ino)
			(void)rename_upper(fd, n);
	}
	(void)unlink(path);
}

static int put_text(char *to, const char *text)
{
	return (size_t)snprintf(to, PATH_MAX, "%s", text) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int describe(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to, const char *host_from, struct note *n)
{
	struct stat host, mine;

	if (lstat(host_from, &host) < 0 || fstatat(v->upper_fd, from->guest.s + 1, &mine, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	n->dev = host.st_dev;
	n->host_ino = host.st_ino;
	n->upper_ino = mine.st_ino;
	n->exchange = to->whiteout;
	n->flags = from->lower ? RENAME_WHITEOUT : 0;
	return put_text(n->host_to, to->host.s) || put_text(n->from, from->guest.s + 1) || put_text(n->to, to->guest.s + 1) ? -ENAMETOOLONG : 0;
}

/* The instance's half of a directory, which may have been the host's alone so far. */
static int make_half(struct kp_vfs *v, struct kp_node *from, const struct kp_node *to)
{
	int rc = 0;

	if (!from->self.upper) {
		from->through = false;
		rc = kp_copy_up(v, from, KP_COPY_DATA);
	}
	/* Also without any image's half it says whence it is: so it is not one of an image's that is called as it is now. */
	if (!rc)
		rc = kp_moved_set(v, from);
	if (!rc)
		rc = kp_upper_parents(v, &to->guest);
	return rc ? rc : kp_moved_mark(v, &to->guest);
}

int kp_rename_halves(struct kp_vfs *v, struct kp_node *from, struct kp_node *to)
{
	kp_autofree struct note *n = kp_calloc(1, sizeof(*n));
	struct kp_hpath host_from;
	int rc = kp_shown_of(&from->self, from->guest.s, &host_from);

	if (!rc)
		rc = kp_shown_parents(v, to);
	if (!rc)
		rc = make_half(v, from, to);
	if (!rc)
		rc = describe(v, from, to, host_from.s, n);
	if (!rc)
		rc = put_note(v, n);
	if (rc)
		return rc;
	if (renameat2(AT_FDCWD, host_from.s, AT_FDCWD, to->host.s, to->origin == KP_ABSENT ? RENAME_NOREPLACE : 0) < 0)
		rc = errno == EEXIST && to->whiteout ? -EXDEV : -errno; /* one that the instance hides is in the way */
	if (!rc) {
		rc = rename_upper(v->upper_fd, n);
		if (rc)
			(void)renameat(AT_FDCWD, to->host.s, AT_FDCWD, host_from.s);
	}
	drop_note(v);
	if (rc)
		return rc;
	if (to->origin != KP_ABSENT)
		kp_standin_remove(v, to);
	kp_standin_rename(v, &from->guest, &to->guest);
	return 0;
}

static int write_host(struct kp_vfs *v, const struct kp_node *from, const char *temp)
{
	char target[PATH_MAX];
	kp_autoclose int in = -1, out = -1;
	struct timespec ts[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	struct kp_entry e;
	int rc;

	if (S_ISLNK(from->mode)) {
		rc = kp_node_readlink(v, from, target, sizeof(target));
		return rc ? rc : symlinkat(target, AT_FDCWD, temp) < 0 ? -errno : 0;
	}
	rc = kp_node_open(v, from, O_RDONLY, &in);
	if (rc)
		return rc;
	out = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	rc = out < 0 ? -errno : kp_copy_data(in, out, UINT64_MAX);
	if (from->origin == KP_UPPER) {
		ts[0] = from->st.st_atim;
		ts[1] = from->st.st_mtim;
	} else if (!kp_image_entry(v->layers[from->layer].image, from->entry, &e)) {
		ts[0] = ts[1] = (struct timespec){.tv_sec = e.mtime};
	}
	if (!rc && geteuid() == 0 && from->origin == KP_UPPER && fchown(out, from->st.st_uid, from->st.st_gid) < 0)
		rc = -errno;
	return !rc && (fchmod(out, from->mode & 07777) < 0 || futimens(out, ts) < 0) ? -errno : rc;
}

int kp_rename_into_host(struct kp_vfs *v, struct kp_node *from, struct kp_node *to)
{
	kp_autofree struct note *n = kp_calloc(1, sizeof(*n));
	const char *slash = strrchr(to->host.s, '/');
	struct kp_temp t = kp_temp_name(v);
	int rc;

	if ((size_t)snprintf(n->host_to, sizeof(n->host_to), "%.*s/.kapsel-%x-%s", (int)(slash - to->host.s), to->host.s,
			     (unsigned)v->supervisor, t.name) >= sizeof(n->host_to))
		return -ENAMETOOLONG;
	rc = put_note(v, n);
	if (!rc)
		rc = write_host(v, from, n->host_to);
	if (!rc && rename(n->host_to, to->host.s) < 0)
		rc = -errno;
	if (rc)
		(void)unlink(n->host_to);
	drop_note(v);
	return rc ? rc : kp_upper_remove(v, from);
}
