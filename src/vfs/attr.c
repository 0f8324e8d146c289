/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of nodes: stat, chmod, chown, times, size; and opening what a node stands for. */
#include <elf.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/proc.h"
#include "vfs/pts.h"
#include "vfs/regtree.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

static void from_stat(const struct stat *st, struct statx *x)
{
	*x = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = (uint32_t)st->st_blksize,
		.stx_nlink = (uint32_t)st->st_nlink,
		.stx_uid = st->st_uid,
		.stx_gid = st->st_gid,
		.stx_mode = (uint16_t)st->st_mode,
		.stx_ino = st->st_ino,
		.stx_size = (uint64_t)st->st_size,
		.stx_blocks = (uint64_t)st->st_blocks,
		.stx_atime = {.tv_sec = st->st_atim.tv_sec, .tv_nsec = (uint32_t)st->st_atim.tv_nsec},
		.stx_mtime = {.tv_sec = st->st_mtim.tv_sec, .tv_nsec = (uint32_t)st->st_mtim.tv_nsec},
		.stx_ctime = {.tv_sec = st->st_ctim.tv_sec, .tv_nsec = (uint32_t)st->st_ctim.tv_nsec},
		.stx_dev_major = major(st->st_dev),
		.stx_dev_minor = minor(st->st_dev),
		.stx_rdev_major = major(st->st_rdev),
		.stx_rdev_minor = minor(st->st_rdev),
	};
}

static bool later(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static int image_statx(struct kp_vfs *v, const struct kp_node *n, struct statx *x)
{
	struct kp_entry e;

	if (kp_image_entry(v->layers[n->layer].image, n->entry, &e))
		return -EIO;
	*x = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = 4096,
		.stx_nlink = e.nlink,
		.stx_uid = v->uid,
		.stx_gid = v->gid,
		.stx_size = S_ISDIR(e.mode) ? 4096 : e.size,
		.stx_blocks = S_ISREG(e.mode) ? (e.size + 4095) / 4096 * 8 : S_ISDIR(e.mode) ? 8 : 0,
		.stx_atime = {.tv_sec = e.mtime},
		.stx_mtime = {.tv_sec = e.mtime},
		.stx_ctime = {.tv_sec = e.mtime},
	};
	return 0;
}

/* In merged new names in a directory that an image has, too, are made in the host's: its times tell of them. */
static void host_times(const struct kp_node *n, struct statx *x)
{
	struct kp_hpath host;
	struct statx h;
	struct stat st;

	if (kp_shown_of(&n->self, n->guest.s, &host) || fstatat(AT_FDCWD, host.s, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	from_stat(&st, &h);
	if (later(&h.stx_mtime, &x->stx_mtime))
		x->stx_mtime = h.stx_mtime;
	if (later(&h.stx_ctime, &x->stx_ctime))
		x->stx_ctime = h.stx_ctime;
}

/* A directory of an image, or of the instance, that the host has, too, where its names are made. */
static bool is_half_host(const struct kp_node *n)
{
	return n->self.host && n->self.rule && n->self.rule->mode == KP_MODE_MERGED && n->origin != KP_HOST;
}

int kp_node_statx(struct kp_vfs *v, const struct kp_node *n, struct statx *x)
{
	switch (n->origin) {
	case KP_IMAGE:
		if (image_statx(v, n, x))
			return -EIO;
		break;
	case KP_UPPER:
		if (!n->guest.s[1]) { /* the root's node is kept, its times are not */
			struct stat st;

			if (fstat(v->upper_fd, &st) < 0)
				return -errno;
			from_stat(&st, x);
			break;
		}
		from_stat(&n->st, x);
		break;
	case KP_BASE:
	case KP_REG:
		from_stat(&n->st, x);
		break;
	case KP_HOST:
	case KP_PROC: {
		struct stat st;

		if (fstatat(AT_FDCWD, n->host.s, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		from_stat(&st, x);
		if (!n->ino)
			return 0;
		break; /* shown by a mode: part of the tree */
	}
	case KP_MAGIC:
		from_stat(&n->st, x);
		if (!n->ino)
			return 0;
		break; /* an open file of the upper, or of the host */
	case KP_ABSENT:
	default:
		return -ENOENT;
	}
	x->stx_mode = (uint16_t)n->mode;
	x->stx_ino = n->ino;
	x->stx_dev_major = major(v->dev);
	x->stx_dev_minor = minor(v->dev);
	if (n->origin == KP_BASE) {
		x->stx_uid = v->uid;
		x->stx_gid = v->gid;
	}
	if (is_half_host(n))
		host_times(n, x);
	/* As overlayfs: the links of a merged directory cannot be counted cheaply. */
	if (S_ISDIR(n->mode) && (n->origin == KP_UPPER ? kp_has_lower(&n->self) : n->lower) && (n->origin != KP_IMAGE || n->self.base))
		x->stx_nlink = 1;
	return 0;
}

int kp_node_statfs(struct kp_vfs *v, const struct kp_node *n, struct statfs *ret)
{
	if (n->origin == KP_HOST || n->origin == KP_PROC || n->origin == KP_MAGIC)
		return statfs(n->host.s, ret) < 0 ? -errno : 0;
	return fstatfs(v->upper_fd, ret) < 0 ? -errno : 0;
}

int kp_node_host_path(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret)
{
	struct kp_gpath buf;

	switch (n->origin) {
	case KP_UPPER:
		if (S_ISDIR(n->mode))
			return kp_standin(v, n, ret);
		return kp_path_join(ret->s, sizeof(ret->s), v->upper.s, n->guest.s);
	case KP_BASE:
		if (S_ISDIR(n->mode))
			return kp_standin(v, n, ret);
		return kp_base_place(v, kp_lower_path(&n->self, n->guest.s, &buf), ret);
	case KP_IMAGE:
		if (S_ISDIR(n->mode))
			return kp_standin(v, n, ret);
		return snprintf(ret->s, sizeof(ret->s), "%s/%u", v->store_dir[n->layer].s, n->entry) < 0 ? -EIO : 0;
	case KP_HOST:
		if (S_ISDIR(n->mode))
			return kp_standin(v, n, ret);
		*ret = n->host;
		return 0;
	case KP_REG:
		return kp_regtree_real(v, n, ret);
	case KP_PROC:
	case KP_MAGIC:
		*ret = n->host;
		return 0;
	case KP_ABSENT:
	default:
		return -ENOENT;
	}
}

int kp_node_watch_path(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret)
{
	if (n->origin == KP_UPPER)
		return kp_path_join(ret->s, sizeof(ret->s), v->upper.s, n->guest.s);
	if (n->origin == KP_HOST) {
		*ret = n->host;
		return 0;
	}
	return kp_node_host_path(v, n, ret);
}

/* Opening these can block, or means something to the opener's session: the guest does it itself. */
static bool must_open_itself(const struct kp_node *n, int flags)
{
	if (flags & O_PATH)
		return false;
	if (S_ISFIFO(n->mode))
		return true;
	return S_ISCHR(n->mode) && n->origin == KP_HOST && (major(n->st.st_rdev) == 5 || major(n->st.st_rdev) == 4 ||
							    (major(n->st.st_rdev) >= 136 && major(n->st.st_rdev) <= 143));
}

/* On a file system that does not allow exec, what a program may want to execute or map is handed out as a copy that it can. */
static int executable_copy(struct kp_vfs *v, const struct kp_node *n, int flags, int fd)
{
	unsigned char head[18];
	char name[64 + PATH_MAX];
	int copy;

	if (!v->upper_noexec || flags & (O_ACCMODE | O_PATH | O_DIRECTORY) || !S_ISREG(n->mode) ||
	    pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) || memcmp(head, ELFMAG, SELFMAG) != 0 ||
	    (!(n->mode & 0111) && head[16] != ET_DYN))
		return fd;
	kp_going_slow();
	(void)snprintf(name, sizeof(name), "%s%s", KP_MEMFD_UPPER, n->guest.s);
	copy = strlen(name) < 249 ? kp_sealed_copy(name, fd) : -ENAMETOOLONG; /* NAME_MAX, with the kernel's "memfd:" */
	if (copy < 0)
		return fd;
	(void)kp_close(fd);
	/* A position of its own, at the beginning, and read-only as asked for. */
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", copy);
	fd = open(name, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	(void)kp_close(copy);
	return fd;
}

/* A file of the host may be another by now, or leased: opening it could wait, with the lock held. Then the guest does it itself. */
static int open_host_file(const char *host, int flags)
{
	int fd = kp_open_exact(AT_FDCWD, host, flags | O_NONBLOCK, 0);
	struct stat st;

	if (fd < 0 || flags & O_NONBLOCK)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0)
		return fd;
	(void)kp_close(fd);
	errno = EAGAIN;
	return -1;
}

static int open_held(struct kp_vfs *v, const struct kp_node *n, int flags)
{
	kp_autoclose int held = -1;
	struct kp_hpath path;
	int rc = kp_node_hold(v, n, &held, &path);

	if (rc) {
		errno = -rc;
		return -1;
	}
	return open(path.s, flags & ~O_NOFOLLOW);
}

int kp_node_open(struct kp_vfs *v, const struct kp_node *n, int flags, int *ret_fd)
{
	struct kp_hpath host;
	int fd, rc;

	if (must_open_itself(n, flags))
		return -EAGAIN;
	flags |= O_CLOEXEC | O_NOCTTY;
	if (n->origin == KP_REG)
		return kp_regtree_open(v, n, flags, ret_fd);
	if (n->origin == KP_PROC && !(flags & (O_PATH | O_DIRECTORY))) {
		fd = kp_proc_open_text(v, n);
		if (fd != -ENOSYS) {
			if (fd >= 0)
				*ret_fd = fd;
			return fd < 0 ? fd : 0;
		}
	}
	if (n->origin == KP_IMAGE && !S_ISDIR(n->mode)) {
		rc = flags & O_PATH ? 0 : kp_ahead_take(v, n, false, NULL);
		if (rc < 0)
			return rc;
		fd = kp_store_open_entry(v->layers[n->layer].store, n->entry, S_ISLNK(n->mode) ? flags | O_NOFOLLOW : flags);
		if (fd < 0)
			return fd;
		kp_fast_opened(v, n, fd);
		*ret_fd = fd;
		return 0;
	}
	if (n->origin == KP_UPPER && !S_ISDIR(n->mode)) {
		fd = S_ISLNK(n->mode) ? openat(v->upper_fd, n->guest.s + 1, flags | O_NOFOLLOW)
				      : kp_open_exact(v->upper_fd, n->guest.s + 1, flags, 0);
		if (fd >= 0)
			fd = executable_copy(v, n, flags, fd);
	} else {
		rc = kp_node_host_path(v, n, &host);
		if (rc)
			return rc;
		if (n->origin == KP_MAGIC && !S_ISLNK(n->mode))
			fd = open_held(v, n, flags);
		else if (S_ISLNK(n->mode))
			fd = open(host.s, flags | O_NOFOLLOW);
		else if (n->origin == KP_HOST && S_ISREG(n->mode) && !(flags & O_PATH))
			fd = open_host_file(host.s, flags);
		else
			fd = kp_open_exact(AT_FDCWD, host.s, flags, 0);
	}
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int kp_node_xattr_path(struct kp_vfs *v, const struct kp_node *n, int *ret_held, char *buf, size_t size)
{
	struct kp_hpath path = n->host;
	int rc;

	switch (n->origin) {
	case KP_UPPER:
		return (size_t)snprintf(buf, size, "/proc/self/fd/%d/%s", v->upper_fd, kp_gpath_rel(&n->guest)) >= size
			       ? -ENAMETOOLONG : 0;
	case KP_HOST:
	case KP_PROC:
	case KP_MAGIC:
		rc = ret_held ? kp_node_hold(v, n, ret_held, &path) : 0;
		return rc ? rc : (size_t)snprintf(buf, size, "%s", path.s) >= size ? -ENAMETOOLONG : 0;
	case KP_IMAGE:
	case KP_BASE:
	case KP_REG:
		buf[0] = '\0';
		return 0;
	case KP_ABSENT:
	default:
		return -ENOENT;
	}
}

bool kp_node_is_kernels(struct kp_vfs *v, const struct kp_node *n)
{
	if (n->origin == KP_PROC)
		return !kp_proc_is_of_process(n);
	if (n->origin != KP_HOST && n->origin != KP_MAGIC)
		return false;
	if (S_ISCHR(n->mode) || S_ISBLK(n->mode))
		return !kp_pts_is_slave(&n->st) || !kp_pts_has(v, minor(n->st.st_rdev));
	return n->self.bind && !strcmp(n->self.bind->guest, "/dev/pts");
}

static int may_change(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred)
{
	uid_t uid;
	gid_t gid;

	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (n->origin == KP_HOST && n->self.bind && n->self.bind->read_only)
		return -EROFS;
	if (kp_node_is_kernels(v, n))
		return -EPERM;
	kp_node_owner(v, n, &uid, &gid);
	return cred->privileged || cred->uid == uid ? 0 : -EPERM;
}

/* An open file of the upper, by its descriptor: it may have no name. */
static int chmod_open_file(const struct kp_node *n, const struct kp_hpath *held, mode_t mode)
{
	kp_autoclose int fd = S_ISREG(n->mode) ? open(held->s, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct kp_record rec = {0};
	mode_t real = kp_real_mode((n->mode & S_IFMT) | (mode & 07777));
	int rc;

	if (!S_ISREG(n->mode))
		return chmod(held->s, mode & 07777) < 0 ? -errno : 0;
	if (fd < 0)
		return -errno;
	(void)kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec)));
	if (real != (mode & 07777) || rec.flags) {
		real |= KP_RECORD_BIT;
		rec.flags |= KP_REC_MODE;
		rec.mode = mode & 07777;
		rc = kp_record_write_fd(fd, &rec);
		if (rc)
			return rc;
	}
	return fchmod(fd, real) < 0 ? -errno : 0;
}

static int chmod_by_path(struct kp_vfs *v, const struct kp_node *n, mode_t mode)
{
	kp_autoclose int held = -1;
	struct kp_hpath path;
	int rc = kp_node_hold(v, n, &held, &path);

	if (rc)
		return rc;
	if (n->origin == KP_MAGIC && n->ino && !n->self.rule)
		return chmod_open_file(n, &path, mode);
	return chmod(path.s, mode & 07777) < 0 ? -errno : 0;
}

int kp_chmod(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode)
{
	int rc = may_change(v, n, cred);

	if (rc)
		return rc;
	if (S_ISLNK(n->mode))
		return -EOPNOTSUPP;
	rc = kp_copy_up(v, n, KP_COPY_DATA);
	if (rc || n->origin == KP_REG) /* a registry has no modes, owners and times of its own: asking for them does no harm */
		return rc;
	if (n->origin != KP_UPPER)
		return chmod_by_path(v, n, mode);
	if (kp_fast_keeps_ways(v, n, cred, mode))
		kp_dircache_forget(v);
	else if (S_ISDIR(n->mode))
		kp_dircache_renew(v);
	/* FIFOs and sockets carry no record (no user.* attributes there): their inode says it all. */
	if (!S_ISREG(n->mode) && !S_ISDIR(n->mode))
		return fchmodat(v->upper_fd, n->guest.s + 1, mode & 07777, 0) < 0 ? -errno : 0;
	return kp_upper_set_mode(v, n, (n->mode & S_IFMT) | (mode & 07777));
}

/* Where the record tells the owner: it goes along with the inode. */
static int note_owner(struct kp_vfs *v, const char *rel, uid_t uid, gid_t gid)
{
	struct kp_record rec;
	int rc = kp_record_read(v, rel, &rec);

	if (rc || !(rec.flags & KP_REC_OWNER))
		return rc;
	rec.uid = uid == (uid_t)-1 ? rec.uid : uid;
	rec.gid = gid == (gid_t)-1 ? rec.gid : gid;
	return kp_record_write(v, rel, &rec);
}

static int chown_by_path(struct kp_vfs *v, const struct kp_node *n, uid_t uid, gid_t gid)
{
	kp_autoclose int held = -1;
	struct kp_hpath path;
	int rc = kp_node_hold(v, n, &held, &path);

	return rc ? rc : fchownat(AT_FDCWD, path.s, uid, gid, n->origin == KP_MAGIC ? 0 : AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int kp_chown(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, uid_t uid, gid_t gid)
{
	uid_t old_uid;
	gid_t old_gid;
	int rc;

	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (kp_node_is_kernels(v, n))
		return -EPERM;
	kp_node_owner(v, n, &old_uid, &old_gid);
	if (!cred->privileged) {
		bool group_ok = gid == (gid_t)-1 || gid == old_gid || gid == cred->gid;

		for (size_t i = 0; i < cred->group_count; i++)
			group_ok |= cred->groups[i] == gid;
		if (cred->uid != old_uid || (uid != (uid_t)-1 && uid != old_uid) || !group_ok)
			return -EPERM;
	}
	rc = kp_copy_up(v, n, KP_COPY_DATA);
	if (rc || n->origin == KP_REG)
		return rc;
	if (n->origin != KP_UPPER)
		return chown_by_path(v, n, uid, gid);
	if (S_ISDIR(n->mode))
		kp_dircache_renew(v);
	if (fchownat(v->upper_fd, kp_gpath_rel(&n->guest), uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	rc = kp_may_have_record(n->st.st_mode) ? note_owner(v, kp_gpath_rel(&n->guest), uid, gid) : 0;
	if (rc)
		return rc;
	/* The kernel has taken the set-id bits from the inode; the record may still tell of them. */
	if (!S_ISREG(n->mode) || !(n->mode & (S_ISUID | S_ISGID)))
		return 0;
	n->mode &= ~(mode_t)(n->mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
	return kp_upper_set_mode(v, n, n->mode);
}

static int utimens_by_path(struct kp_vfs *v, const struct kp_node *n, const struct timespec times[2])
{
	kp_autoclose int held = -1;
	struct kp_hpath path;
	int rc = kp_node_hold(v, n, &held, &path);

	return rc ? rc : utimensat(AT_FDCWD, path.s, times, n->origin == KP_MAGIC ? 0 : AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int kp_utimens(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, const struct timespec times[2])
{
	bool now = !times || (times[0].tv_nsec == UTIME_NOW && times[1].tv_nsec == UTIME_NOW);
	int rc = may_change(v, n, cred);

	if (rc == -EPERM && now)
		rc = kp_node_permit(v, n, cred, W_OK);
	if (rc)
		return rc;
	rc = kp_copy_up(v, n, KP_COPY_DATA);
	if (rc || n->origin == KP_REG)
		return rc;
	if (is_half_host(n) && !kp_shown_of(&n->self, n->guest.s, &n->host))
		(void)utimensat(AT_FDCWD, n->host.s, times, AT_SYMLINK_NOFOLLOW);
	if (n->origin != KP_UPPER)
		return utimens_by_path(v, n, times);
	return utimensat(v->upper_fd, kp_gpath_rel(&n->guest), times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int kp_truncate(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, off_t length)
{
	kp_autoclose int fd = -1;
	int rc;

	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (S_ISDIR(n->mode))
		return -EISDIR;
	if (!S_ISREG(n->mode))
		return -EINVAL;
	rc = kp_node_is_kernels(v, n) ? -EACCES : kp_node_permit(v, n, cred, W_OK);
	if (!rc)
		rc = kp_copy_up(v, n, length ? KP_COPY_DATA : KP_COPY_NO_DATA);
	if (!rc)
		rc = kp_node_open(v, n, O_WRONLY, &fd);
	if (rc)
		return rc;
	return ftruncate(fd, length) < 0 ? -errno : 0;
}
