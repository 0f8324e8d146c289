/* SPDX-License-Identifier: Apache-2.0 */
/* Making, removing, linking and renaming names. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/regtree.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

/* Common to everything that makes a name: it must be new, and the parent must take it. */
static int may_create(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, bool dir)
{
	if (n->origin != KP_ABSENT || n->last != KP_LAST_NORM)
		return -EEXIST;
	if (n->last_error)
		return n->last_error;
	if (n->trailing_slash && !dir)
		return -ENOENT;
	return kp_node_permit_parent(v, n, cred, false);
}

bool kp_is_mount_point(const struct kp_node *n)
{
	return (n->self.bind && !strcmp(n->self.bind->guest, n->guest.s)) ||
	       (n->self.rule && !strcmp(n->self.rule->guest, n->guest.s)) || !strcmp(n->guest.s, "/proc");
}

static int may_remove(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred)
{
	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (n->origin == KP_MAGIC)
		return -EPERM;
	/* A mount point, or what stands in for one. */
	if (kp_is_mount_point(n))
		return -EBUSY;
	return kp_node_permit_parent(v, n, cred, true);
}

/* Absent names on the host have their path from the look-up. */
static int prepare(struct kp_vfs *v, const struct kp_node *n)
{
	int rc = kp_config_touch(v, n, false);

	if (rc)
		return rc;
	if (kp_node_on_host(n))
		return kp_shown_parents(v, n);
	return atomic_load(&v->full) ? -ENOSPC : kp_upper_parents(v, &n->guest);
}

/* Where to make it: straight at its name, or under work/ when a whiteout stands there or it must appear whole. */
struct place {
	int dirfd;
	const char *name;
	struct kp_temp temp;
	bool publish;
};

static struct place place_for(struct kp_vfs *v, const struct kp_node *n, bool aside)
{
	struct place p = {.dirfd = v->upper_fd, .name = n->guest.s + 1};

	if (kp_node_on_host(n)) {
		p.dirfd = AT_FDCWD;
		p.name = n->host.s;
	} else if (n->whiteout || aside) {
		p.temp = kp_temp_name(v);
		p.dirfd = v->work_fd;
		p.publish = true;
	}
	return p;
}

static const char *place_name(const struct place *p)
{
	return p->publish ? p->temp.name : p->name;
}

static int finish(struct kp_vfs *v, const struct place *p, const struct kp_node *n, const struct kp_cred *cred)
{
	int rc = kp_upper_give(v, p->dirfd, place_name(p), n, cred);

	if (!rc && p->publish)
		return kp_upper_publish_new(v, &p->temp, n);
	if (rc)
		(void)kp_remove_tree(p->dirfd, place_name(p));
	return rc;
}

int kp_create_file(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, int flags, mode_t mode, int *ret_fd)
{
	mode_t guest_mode = S_IFREG | (mode & 07777), real = kp_real_mode(guest_mode);
	bool record = real != (guest_mode & 07777);
	kp_autoclose int fd = -1;
	struct place p;
	int rc = may_create(v, n, cred, false);

	if (!rc && n->parent.reg)
		return kp_regtree_create(v, n, flags, ret_fd);
	if (!rc)
		rc = prepare(v, n);
	if (rc)
		return rc;
	p = place_for(v, n, record);
	if (kp_node_on_host(n))
		real = mode & 07777;
	else if (record)
		real |= KP_RECORD_BIT;
	fd = kp_open_exact(p.dirfd, place_name(&p), (flags & ~(O_TRUNC | O_DIRECTORY)) | O_CREAT | O_EXCL | O_NOCTTY, real);
	if (fd < 0)
		return -errno;
	if (!kp_node_on_host(n) && record) {
		struct kp_record rec = {.flags = KP_REC_MODE, .mode = guest_mode & 07777};
		kp_autoclose int rec_fd = openat(p.dirfd, place_name(&p), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		rc = rec_fd < 0 ? -errno : kp_record_write_fd(rec_fd, &rec);
	}
	if (rc)
		(void)unlinkat(p.dirfd, place_name(&p), 0);
	else
		rc = finish(v, &p, n, cred);
	if (!rc)
		*ret_fd = kp_take_fd(&fd);
	return rc;
}

int kp_create_unnamed(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, int flags, mode_t mode, int *ret_fd)
{
	struct kp_record rec = {.flags = KP_REC_MODE, .mode = mode & 07777};
	mode_t real = kp_real_mode(S_IFREG | (mode & 07777));
	kp_autoclose int fd = -1;
	bool merged;
	int rc;

	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	rc = kp_node_permit(v, n, cred, W_OK | X_OK);
	if (rc)
		return rc;
	if (n->origin == KP_PROC || n->origin == KP_REG || n->origin == KP_MAGIC)
		return -EOPNOTSUPP;
	if (n->self.bind && n->self.bind->read_only)
		return -EROFS;
	merged = n->self.host && n->self.rule->mode == KP_MODE_MERGED;
	if (merged && kp_shown_path(n->self.rule, n->guest.s, &n->host))
		return -ENAMETOOLONG;
	if (n->self.bind || merged) {
		fd = open(n->host.s, flags | O_CLOEXEC, mode & 07777);
	} else {
		bool record = real != rec.mode;

		rc = kp_copy_up(v, n, KP_COPY_DATA); /* /proc/PID/fd names its directory */
		if (rc)
			return rc;
		fd = openat(v->upper_fd, kp_gpath_rel(&n->guest), flags | O_CLOEXEC, record ? real | KP_RECORD_BIT : real);
		if (fd >= 0 && record)
			rc = kp_record_write_fd(fd, &rec);
	}
	if (fd < 0)
		return -errno;
	if (!rc)
		*ret_fd = kp_take_fd(&fd);
	return rc;
}

int kp_make_dir(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode)
{
	mode_t guest_mode = S_IFDIR | (mode & 01777), real = kp_real_mode(guest_mode);
	bool record = n->lower || real != (guest_mode & 07777);
	struct place p;
	int rc = may_create(v, n, cred, true);

	if (!rc && n->parent.reg)
		return kp_regtree_mkdir(v, n);
	if (!rc)
		rc = prepare(v, n);
	if (rc)
		return rc;
	if (kp_node_on_host(n))
		return mkdirat(AT_FDCWD, n->host.s, mode & 01777) < 0 ? -errno : 0;
	p = place_for(v, n, record);
	if (n->parent.mode & S_ISGID) {
		guest_mode |= S_ISGID;
		real |= S_ISGID;
	}
	if (mkdirat(p.dirfd, place_name(&p), real) < 0)
		return -errno;
	if (real & S_ISGID && fchmodat(p.dirfd, place_name(&p), real, 0) < 0)
		rc = -errno;
	if (!rc && record) {
		struct kp_record rec = {.mode = guest_mode & 07777};
		kp_autoclose int fd = openat(p.dirfd, place_name(&p), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		rec.flags = (uint8_t)((n->lower ? KP_REC_OPAQUE : 0) |
				      (real != (guest_mode & 07777) ? KP_REC_MODE : 0));
		rc = fd < 0 ? -errno : kp_record_write_fd(fd, &rec);
	}
	if (rc)
		(void)unlinkat(p.dirfd, place_name(&p), AT_REMOVEDIR);
	else
		rc = finish(v, &p, n, cred);
	/* Nothing is remembered of a directory that was not there; but another that was called so may still stand. */
	if (faccessat(v->dirs_fd, n->guest.s + 1, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		kp_standin_remove(v, n);
	return rc;
}

int kp_make_special(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, mode_t mode)
{
	struct place p;
	int rc;

	rc = may_create(v, n, cred, false);
	if (rc)
		return rc;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		return -EPERM;
	if ((mode & S_IFMT) == 0)
		mode |= S_IFREG;
	if (!S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISREG(mode))
		return -EINVAL;
	if (S_ISREG(mode)) {
		int fd;

		rc = kp_create_file(v, n, cred, O_RDONLY, mode, &fd);
		if (!rc)
			(void)kp_close(fd);
		return rc;
	}
	rc = n->parent.reg ? -EPERM : prepare(v, n);
	if (rc)
		return rc;
	p = place_for(v, n, false);
	if (mknodat(p.dirfd, place_name(&p), mode, 0) < 0)
		return -errno;
	return finish(v, &p, n, cred);
}

int kp_make_symlink(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred, const char *target)
{
	struct place p;
	int rc;

	rc = may_create(v, n, cred, false);
	if (!rc)
		rc = n->parent.reg ? -EPERM : prepare(v, n);
	if (rc)
		return rc;
	p = place_for(v, n, false);
	if (symlinkat(target, p.dirfd, place_name(&p)) < 0)
		return -errno;
	return finish(v, &p, n, cred);
}

int kp_unlink(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred)
{
	int rc;

	if (n->last != KP_LAST_NORM)
		return -EISDIR;
	if (n->last_error)
		return n->last_error;
	if (n->trailing_slash)
		return n->origin == KP_ABSENT ? -ENOENT : S_ISDIR(n->mode) ? -EISDIR : -ENOTDIR;
	rc = may_remove(v, n, cred);
	if (rc)
		return rc;
	if (S_ISDIR(n->mode))
		return -EISDIR;
	if (n->origin == KP_REG)
		return kp_regtree_remove(v, n);
	if (kp_node_on_host(n))
		return unlink(n->host.s) < 0 ? -errno : 0;
	rc = kp_config_touch(v, n, true);
	return rc ? rc : kp_upper_remove(v, n);
}

/* One that lies in the instance alone: the kernel says whether it is empty, and who watches it sees no more than that it went. */
static bool removed_at_once(struct kp_vfs *v, const struct kp_node *n)
{
	return n->origin == KP_UPPER && !n->lower && !n->self.host && !n->self.moved &&
	       unlinkat(v->upper_fd, n->guest.s + 1, AT_REMOVEDIR) == 0;
}

int kp_rmdir(struct kp_vfs *v, struct kp_node *n, const struct kp_cred *cred)
{
	int rc;

	if (n->last == KP_LAST_DOT)
		return -EINVAL;
	if (n->last == KP_LAST_DOTDOT)
		return -ENOTEMPTY;
	if (n->last == KP_LAST_ROOT)
		return -EBUSY;
	if (n->last_error)
		return n->last_error;
	rc = may_remove(v, n, cred);
	if (rc)
		return rc;
	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	if (n->origin == KP_REG) {
		rc = kp_regtree_remove(v, n);
		if (!rc)
			kp_standin_remove(v, n);
		return rc;
	}
	if (removed_at_once(v, n)) {
		kp_standin_remove(v, n);
		return 0;
	}
	if (!kp_node_on_host(n) || n->self.upper)
		rc = kp_list_is_empty(v, n);
	if (!rc)
		rc = kp_config_touch(v, n, true);
	if (!rc && kp_node_on_host(n) && rmdir(n->host.s) < 0)
		rc = -errno;
	if (rc)
		return rc;
	if (kp_node_on_host(n))
		rc = n->self.upper ? kp_upper_drop(v, n) : 0;
	else
		rc = kp_upper_remove(v, n);
	/* The host's half of it: what the instance has hidden there keeps it. */
	if (!rc && !kp_node_on_host(n) && n->self.host && n->self.rule->mode == KP_MODE_MERGED &&
	    !kp_shown_of(&n->self, n->guest.s, &n->host))
		(void)rmdir(n->host.s);
	if (!rc)
		kp_standin_remove(v, n);
	else
		kp_dircache_void(v);
	return rc;
}

int kp_link(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, const struct kp_cred *cred)
{
	struct place p;
	int rc;

	if (from->origin == KP_ABSENT)
		return -ENOENT;
	rc = may_create(v, to, cred, false);
	if (rc == -EEXIST || rc == -ENOENT || (rc && rc == to->last_error))
		return rc;
	if (from->parent.bind != to->parent.bind || from->origin == KP_PROC || to->parent.proc || kp_crosses_zones(from, to))
		return -EXDEV;
	if (rc)
		return rc;
	if (S_ISDIR(from->mode))
		return -EPERM;
	if (kp_node_on_host(from) && !kp_node_on_host(to))
		return -EXDEV; /* a name that the instance has hidden is the instance's */
	if (kp_node_on_host(from)) {
		rc = kp_shown_parents(v, to);
		return rc ? rc : linkat(AT_FDCWD, from->host.s, AT_FDCWD, to->host.s, 0) < 0 ? -errno : 0;
	}
	to->through = false; /* a new name of an instance's file is the instance's */
	rc = kp_config_touch(v, to, false);
	if (!rc)
		rc = kp_copy_up(v, from, KP_COPY_DATA);
	if (!rc)
		rc = kp_upper_parents(v, &to->guest);
	if (rc)
		return rc;
	if (kp_may_have_record(from->st.st_mode))
		rc = kp_upper_note_number(v, &to->guest);
	if (rc)
		return rc;
	p = place_for(v, to, false);
	if (linkat(v->upper_fd, from->guest.s + 1, p.dirfd, place_name(&p), 0) < 0)
		return -errno;
	return p.publish ? kp_upper_publish_new(v, &p.temp, to) : 0;
}

int kp_link_open_file(struct kp_vfs *v, const struct kp_node *file, struct kp_node *to, const struct kp_cred *cred)
{
	kp_autoclose int held = -1;
	struct kp_hpath path;
	struct place p;
	int rc = may_create(v, to, cred, false);

	/* For the guest its last name is gone. The host's file, under a name of the instance, would be written to through that. */
	if (!rc && file->nameless)
		rc = -ENOENT;
	if (!rc)
		rc = kp_node_hold(v, file, &held, &path);
	if (!rc)
		rc = prepare(v, to);
	if (rc)
		return rc;
	p = place_for(v, to, false);
	if (linkat(AT_FDCWD, path.s, p.dirfd, place_name(&p), AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return p.publish ? kp_upper_publish_new(v, &p.temp, to) : 0;
}
