/* SPDX-License-Identifier: Apache-2.0 */
/* The upper layer on disk. New things are made under work/ and moved into place whole. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/makes.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

struct kp_temp kp_temp_name(struct kp_vfs *v)
{
	struct kp_temp t;

	(void)snprintf(t.name, sizeof(t.name), "t%lu", atomic_fetch_add(&v->temp_count, 1));
	return t;
}

int kp_record_write_fd(int fd, const struct kp_record *r)
{
	struct kp_record rec = *r;

	rec.version = 1;
	if (!rec.flags)
		return fremovexattr(fd, KP_RECORD_XATTR) < 0 && errno != ENODATA && errno != EOPNOTSUPP ? -errno : 0;
	return fsetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec), 0) < 0 ? -errno : 0;
}

int kp_record_write(const struct kp_vfs *v, const char *rel, const struct kp_record *r)
{
	kp_autoclose int fd = openat(v->upper_fd, rel, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : kp_record_write_fd(fd, r);
}

int kp_upper_add_flags(struct kp_vfs *v, const char *rel, uint8_t flags)
{
	struct kp_record rec;
	int rc = kp_record_read(v, rel, &rec);

	if (rc || (rec.flags & flags) == flags)
		return rc;
	rec.flags |= flags;
	return kp_record_write(v, rel, &rec);
}

int kp_upper_note_number(struct kp_vfs *v, const struct kp_gpath *file)
{
	struct kp_gpath up;

	kp_gpath_parent(file, &up);
	return kp_upper_add_flags(v, kp_gpath_rel(&up), KP_REC_NUMBERED);
}

int kp_upper_set_mode(struct kp_vfs *v, const struct kp_node *n, mode_t mode)
{
	const char *rel = kp_gpath_rel(&n->guest);
	struct kp_record rec;
	mode_t real = kp_real_mode(mode);
	int rc = kp_makes_adopt(v, n);

	if (!rc)
		rc = kp_record_read(v, rel, &rec);
	if (rc)
		return rc;
	if (S_ISREG(mode) && (rec.flags || real != (mode & 07777)))
		real |= KP_RECORD_BIT;
	/* The root's inode was ours before it was the guest's: without a record it says nothing. */
	if (real == (mode & 07777) && !(rec.flags & KP_REC_MODE) && strcmp(rel, ".") != 0)
		return fchmodat(v->upper_fd, rel, real, 0) < 0 ? -errno : 0;
	rec.flags |= KP_REC_MODE;
	rec.mode = mode & 07777;
	/* Record first: a crash in between shows the new mode, never a stricter inode with the old record. */
	rc = kp_record_write(v, rel, &rec);
	if (!rc && fchmodat(v->upper_fd, rel, real, 0) < 0)
		rc = -errno;
	return rc;
}

int kp_upper_give(const struct kp_vfs *v, int dirfd, const char *name, const struct kp_node *n, const struct kp_cred *cred)
{
	gid_t gid = n->parent.mode & S_ISGID ? n->parent.gid : cred->gid;

	if (cred->uid == v->uid && gid == v->gid)
		return 0;
	return fchownat(dirfd, name, cred->uid, gid, AT_SYMLINK_NOFOLLOW) < 0 && v->uid == 0 ? -errno : 0;
}

int kp_refresh(struct kp_vfs *v, struct kp_node *n)
{
	struct kp_gpath at = n->guest;

	return kp_resolve_exact(v, at.s, 0, n);
}

static void lower_times(struct kp_vfs *v, const struct kp_node *n, struct timespec ts[2])
{
	struct kp_entry e;

	if (n->entry != KP_NO_ENTRY && !kp_image_entry(v->layers[n->layer].image, n->entry, &e))
		ts[0] = ts[1] = (struct timespec){.tv_sec = e.mtime};
	else
		ts[0] = ts[1] = n->st.st_mtim;
}

/* user.* attributes of a file of the host; what cannot be read or kept is left out, as cp -a does. */
static void copy_xattrs(const struct kp_node *n, int fd)
{
	kp_autofree char *names = NULL, *value = NULL;
	ssize_t len;

	if (n->origin != KP_HOST)
		return;
	len = llistxattr(n->host.s, NULL, 0);
	if (len <= 0)
		return;
	names = kp_calloc(1, XATTR_LIST_MAX);
	value = kp_calloc(1, XATTR_SIZE_MAX);
	len = llistxattr(n->host.s, names, XATTR_LIST_MAX);
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size;

		if (strncmp(names + at, "user.", 5) != 0 || kp_is_own_xattr(names + at))
			continue;
		size = lgetxattr(n->host.s, names + at, value, XATTR_SIZE_MAX);
		if (size >= 0 && fsetxattr(fd, names + at, value, (size_t)size, 0) < 0)
			KP_DEBUG(VFS, "%s: %s is not kept: %s", n->guest.s, names + at, strerror(errno));
	}
}

/* The host's owner: the inode gets it where we may give it, else the record says it. */
static void copy_owner(const struct kp_node *n, int fd, struct kp_record *rec)
{
	if (n->origin != KP_HOST || (n->st.st_uid == geteuid() && n->st.st_gid == getegid()) ||
	    fchown(fd, n->st.st_uid, n->st.st_gid) == 0)
		return;
	rec->flags |= KP_REC_OWNER;
	rec->uid = n->st.st_uid;
	rec->gid = n->st.st_gid;
}

/* One lower directory gets its counterpart in the upper. */
static int copy_up_dir(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_temp t = kp_temp_name(v);
	struct kp_record rec = {.mode = n->mode & 07777};
	struct kp_times_kept kept;
	struct timespec ts[2];
	int rc;

	if (mkdirat(v->work_fd, t.name, 0700) < 0)
		return -errno;
	kp_autoclose int fd = openat(v->work_fd, t.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	copy_owner(n, fd, &rec);
	copy_xattrs(n, fd);
	rc = fchmod(fd, kp_real_mode(n->mode)) < 0 ? -errno : 0;
	if (!rc && kp_real_mode(n->mode) != (n->mode & 07777))
		rec.flags |= KP_REC_MODE;
	if (!rc && rec.flags)
		rc = kp_record_write_fd(fd, &rec);
	lower_times(v, n, ts);
	kp_times_keep(v, &n->guest, &kept);
	if (!rc)
		(void)futimens(fd, ts);
	if (!rc && renameat(v->work_fd, t.name, v->upper_fd, n->guest.s + 1) < 0)
		rc = -errno;
	if (rc)
		(void)unlinkat(v->work_fd, t.name, AT_REMOVEDIR);
	kp_times_restore(v, &kept);
	return rc;
}

static int find_dir(struct kp_vfs *v, const char *guest, struct kp_node *n)
{
	int rc = kp_resolve_exact(v, guest, 0, n);

	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	return !rc && !S_ISDIR(n->mode) ? -ENOTDIR : rc;
}

/* It is looked up anew, and tells of itself by the kernel from now on; what is in it is what it was. */
static int bring_dir(struct kp_vfs *v, struct kp_node *n)
{
	int rc;

	kp_fast_copies_dir(v, n);
	rc = copy_up_dir(v, n);
	kp_dircache_renew(v);
	return rc;
}

/* The walk that led here has mostly left that behind. */
static bool is_in_upper(struct kp_vfs *v, const struct kp_gpath *dir)
{
	uint64_t ino;
	const struct kp_dir *known = kp_dircache_get(v, dir->s, &ino);

	return known && known->upper;
}

/* From the top down and not by recursion: a path may have two thousand components, a worker's stack is small. */
int kp_upper_parents(struct kp_vfs *v, const struct kp_gpath *guest)
{
	struct kp_node *n;
	struct kp_gpath up, part;
	size_t len = 0;
	int rc;

	kp_gpath_parent(guest, &up);
	if (is_in_upper(v, &up))
		return 0;
	n = kp_calloc(1, sizeof(*n));
	rc = find_dir(v, up.s, n);
	while (!rc && !n->self.upper && up.s[len]) {
		do {
			len += 1 + strcspn(up.s + len + 1, "/");
			(void)snprintf(part.s, sizeof(part.s), "%.*s", (int)len, up.s);
			rc = find_dir(v, part.s, n);
		} while (!rc && n->self.upper && up.s[len]);
		if (!rc && !n->self.upper)
			rc = bring_dir(v, n);
	}
	free(n);
	return rc;
}

static int publish(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n, unsigned flags)
{
	int rc = kp_makes_rename(v, v->work_fd, t->name, n, flags);

	/* A directory cannot be renamed over a whiteout. */
	if (rc == -ENOTDIR && n->whiteout) {
		rc = renameat2(v->work_fd, t->name, v->upper_fd, n->guest.s + 1, RENAME_EXCHANGE) < 0 ? -errno : 0;
		if (!rc)
			(void)unlinkat(v->work_fd, t->name, 0);
	}
	if (rc)
		(void)kp_remove_tree(v->work_fd, t->name);
	return rc;
}

int kp_upper_publish(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n)
{
	return publish(v, t, n, 0);
}

int kp_upper_publish_new(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n)
{
	return publish(v, t, n, RENAME_NOREPLACE);
}

int kp_upper_publish_quietly(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n)
{
	struct kp_times_kept kept;
	int rc;

	kp_times_keep(v, &n->guest, &kept);
	rc = kp_upper_publish(v, t, n);
	kp_times_restore(v, &kept);
	return rc;
}

/* others: names of the image's file that get the same copy, or NULL. */
static int copy_up_file(struct kp_vfs *v, const struct kp_node *n, enum kp_copy how, const struct kp_strings *others)
{
	struct kp_temp t;
	struct kp_record rec = {.flags = KP_REC_MODE, .ino = n->ino, .mode = n->mode & 07777};
	struct kp_times_kept kept;
	struct timespec ts[2];
	kp_autoclose int in_fd = -1, out_fd = -1;
	int ready = how == KP_COPY_DATA ? kp_ahead_take(v, n, true, &t) : 0, rc = 0;

	if (ready < 0)
		return ready;
	if (!ready)
		t = kp_temp_name(v);
	out_fd = openat(v->work_fd, t.name, O_RDWR | (ready ? O_NOFOLLOW : O_CREAT | O_EXCL) | O_CLOEXEC, 0600);
	if (out_fd < 0)
		return -errno;
	if (n->ino)
		rec.flags |= KP_REC_INO;
	if (n->ino && n->origin == KP_HOST)
		rc = kp_number_take(v, n->ino);
	if (!rc && how == KP_COPY_DATA && !ready) {
		rc = kp_node_open(v, n, O_RDONLY, &in_fd);
		kp_going_slow();
		if (!rc)
			rc = kp_copy_data(in_fd, out_fd, UINT64_MAX);
	}
	if (!rc) {
		copy_owner(n, out_fd, &rec);
		copy_xattrs(n, out_fd);
		rc = kp_record_write_fd(out_fd, &rec);
	}
	if (!rc && fchmod(out_fd, kp_real_mode(n->mode) | KP_RECORD_BIT) < 0)
		rc = -errno;
	lower_times(v, n, ts);
	if (how == KP_COPY_NO_DATA) /* it is empty now: a change that shows */
		ts[1].tv_nsec = UTIME_NOW;
	if (!rc && futimens(out_fd, ts) < 0)
		rc = -errno;
	if (rc) {
		(void)unlinkat(v->work_fd, t.name, 0);
		return rc;
	}
	kp_times_keep(v, &n->guest, &kept);
	rc = kp_upper_note_number(v, &n->guest);
	if (!rc && others && others->count)
		rc = kp_linked_note(v, out_fd, n, others);
	if (!rc)
		rc = kp_upper_publish(v, &t, n);
	else
		(void)unlinkat(v->work_fd, t.name, 0);
	kp_times_restore(v, &kept);
	return rc;
}

static int copy_up_link(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_temp t = kp_temp_name(v);
	struct kp_times_kept kept;
	struct timespec ts[2];
	char target[PATH_MAX];
	int rc = kp_node_readlink(v, n, target, sizeof(target));

	if (rc)
		return rc;
	if (symlinkat(target, v->work_fd, t.name) < 0)
		return -errno;
	lower_times(v, n, ts);
	(void)utimensat(v->work_fd, t.name, ts, AT_SYMLINK_NOFOLLOW);
	rc = kp_number_keep_link(v, t.name, n->ino);
	if (!rc && n->ino && n->origin == KP_HOST)
		rc = kp_number_take(v, n->ino);
	if (rc) {
		(void)unlinkat(v->work_fd, t.name, 0);
		return rc;
	}
	kp_times_keep(v, &n->guest, &kept);
	rc = kp_upper_publish(v, &t, n);
	kp_times_restore(v, &kept);
	return rc;
}

static int copy_up_special(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_temp t = kp_temp_name(v);
	struct kp_times_kept kept;
	int rc;

	if (mknodat(v->work_fd, t.name, n->mode & (S_IFMT | 07777), 0) < 0)
		return -errno;
	kp_times_keep(v, &n->guest, &kept);
	rc = kp_upper_publish(v, &t, n);
	kp_times_restore(v, &kept);
	return rc;
}

static int copy_up_other(struct kp_vfs *v, const struct kp_node *n, enum kp_copy how, const struct kp_strings *others)
{
	if (S_ISLNK(n->mode))
		return copy_up_link(v, n);
	return S_ISREG(n->mode) ? copy_up_file(v, n, how, others) : copy_up_special(v, n);
}

int kp_copy_up_as(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	*n = *from;
	n->guest = to->guest;
	n->whiteout = to->whiteout;
	n->ino = 0; /* the host gives the number to its next file */
	rc = kp_upper_parents(v, &n->guest);
	if (!rc)
		rc = copy_up_other(v, n, KP_COPY_DATA, NULL);
	free(n);
	return rc;
}

int kp_copy_up(struct kp_vfs *v, struct kp_node *n, enum kp_copy how)
{
	struct kp_strings others = {0};
	int rc;

	if (n->nameless)
		return -EROFS;
	rc = kp_config_touch(v, n, false);
	if (rc)
		return rc;
	if (n->self.bind)
		return n->self.bind->read_only ? -EROFS : 0;
	if (n->through || n->origin == KP_PROC || n->origin == KP_REG || n->origin == KP_MAGIC || n->origin == KP_UPPER)
		return 0;
	if (S_ISCHR(n->mode) || S_ISBLK(n->mode))
		return -EPERM;
	if (atomic_load(&v->full))
		return -ENOSPC;
	rc = kp_upper_parents(v, &n->guest);
	if (rc)
		return rc;
	KP_DEBUG(VFS, "copy-up %s", n->guest.s);
	if (S_ISDIR(n->mode))
		rc = bring_dir(v, n);
	else
		rc = kp_linked_find(v, n, &others);
	if (!rc && !S_ISDIR(n->mode))
		rc = copy_up_other(v, n, how, &others);
	if (!rc && others.count)
		rc = kp_linked_publish(v, n, &others);
	kp_strings_free(&others);
	return rc ? rc : kp_refresh(v, n);
}

/* A whiteout in the place of what is there (or of nothing), in one step. */
static int put_whiteout(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_temp t = kp_temp_name(v);
	bool dir = n->origin == KP_UPPER && S_ISDIR(n->st.st_mode);
	int rc;

	if (mknodat(v->work_fd, t.name, S_IFCHR, makedev(0, 0)) < 0)
		return -errno;
	if (dir)
		rc = kp_makes_replace(v, t.name, n);
	else
		rc = renameat(v->work_fd, t.name, v->upper_fd, n->guest.s + 1) < 0 ? -errno : 0;
	if (rc)
		(void)kp_remove_tree(v->work_fd, t.name);
	return rc;
}

int kp_keep_other_names(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_node *copy;
	struct kp_entry e;
	int rc;

	if (n->origin != KP_IMAGE || !S_ISREG(n->mode))
		return 0;
	if (kp_image_entry(v->layers[n->layer].image, n->entry, &e))
		return -EIO;
	if (e.nlink < 2)
		return 0;
	copy = kp_calloc(1, sizeof(*copy));
	*copy = *n;
	rc = kp_copy_up(v, copy, KP_COPY_DATA);
	free(copy);
	return rc;
}

int kp_upper_remove(struct kp_vfs *v, const struct kp_node *n)
{
	int rc;

	if (n->lower) {
		rc = kp_keep_other_names(v, n);
		if (!rc)
			rc = kp_upper_parents(v, &n->guest);
		return rc ? rc : put_whiteout(v, n);
	}
	if (!S_ISDIR(n->st.st_mode))
		return unlinkat(v->upper_fd, n->guest.s + 1, 0) < 0 ? -errno : 0;
	return kp_upper_drop(v, n);
}

int kp_upper_drop(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_temp t;

	if (unlinkat(v->upper_fd, n->guest.s + 1, AT_REMOVEDIR) == 0)
		return 0;
	/* Nobody makes files himself where there are whiteouts. */
	if (kp_makes_hold(v, v->upper_fd, n->guest.s + 1))
		return -ENOTEMPTY;
	/* Moved away whole first: it may hold whiteouts. */
	t = kp_temp_name(v);
	if (renameat(v->upper_fd, n->guest.s + 1, v->work_fd, t.name) < 0)
		return -errno;
	return kp_remove_tree(v->work_fd, t.name);
}

/* --- stand-ins --- */

/* A directory of the host stands for itself where its path tells what it is here: who is in it moves with it. */
static bool is_its_own(const struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_mapped m;

	if (!n->through)
		return n->self.bind != NULL;
	kp_map_host(v, n->host.s, &m);
	return m.kind == KP_MAP_GUEST && !m.deleted && !strcmp(m.guest.s, n->guest.s);
}

static int make_one(struct kp_vfs *v, const char *rel)
{
	struct stat st;

	if (mkdirat(v->dirs_fd, rel, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	kp_fast_standin_comes(v, fstatat(v->dirs_fd, rel, &st, AT_SYMLINK_NOFOLLOW) < 0 ? NULL : &st);
	return 0;
}

/* With those on the way to it, which mostly are there. */
static int make_standin(struct kp_vfs *v, const char *rel)
{
	char path[PATH_MAX];
	struct stat st;
	int rc;

	if (fstatat(v->dirs_fd, rel, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	rc = make_one(v, rel);
	if (rc != -ENOENT)
		return rc;
	(void)snprintf(path, sizeof(path), "%s", rel);
	rc = 0;
	for (char *slash = strchr(path, '/'); slash && !rc; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		rc = make_one(v, path);
		*slash = '/';
	}
	return rc ? rc : make_one(v, path);
}

int kp_standin(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret)
{
	int rc;

	if (n->origin == KP_PROC || n->origin == KP_MAGIC || (n->origin == KP_HOST && is_its_own(v, n))) {
		*ret = n->host;
		return 0;
	}
	if (kp_path_join(ret->s, sizeof(ret->s), v->dirs.s, n->guest.s))
		return -ENAMETOOLONG;
	kp_fast_standins_lock(v);
	rc = make_standin(v, kp_gpath_rel(&n->guest));
	kp_fast_standins_unlock(v);
	return rc;
}

void kp_standin_remove(struct kp_vfs *v, const struct kp_node *n)
{
	const char *rel = n->guest.s + 1;
	struct stat st;

	kp_dircache_forget(v);
	kp_fast_dir_went(v, n->guest.s);
	kp_moves_rename(v, n->guest.s, NULL);
	if (fstatat(v->dirs_fd, rel, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	kp_fast_standin_goes(v, &st);
	/* Who is still in it sees the mode it had. */
	if (n->mode && fchmodat(v->dirs_fd, rel, n->mode & 07777, 0) == 0 &&
	    (unlinkat(v->dirs_fd, rel, AT_REMOVEDIR) == 0 || fchmodat(v->dirs_fd, rel, 0700, 0) < 0))
		return;
	kp_fast_void(v); /* others below it go, too */
	(void)kp_remove_tree(v->dirs_fd, rel);
}

void kp_standin_rename(struct kp_vfs *v, const struct kp_gpath *from, const struct kp_gpath *to)
{
	struct kp_gpath up;

	kp_dircache_renew(v); /* where callers are changes its name, too */
	kp_moves_rename(v, to->s, NULL);
	kp_moves_rename(v, from->s, to->s);
	(void)kp_remove_tree(v->dirs_fd, to->s + 1);
	kp_gpath_parent(to, &up);
	(void)make_standin(v, kp_gpath_rel(&up));
	(void)renameat(v->dirs_fd, from->s + 1, v->dirs_fd, to->s + 1);
}

/* A lease for readers is not given while there is a writer. */
bool kp_has_writer(int fd)
{
	bool busy = fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && (errno == EAGAIN || errno == EBUSY);

	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return busy;
}
