/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that make, remove, link and rename names. */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/handlers.h"
#include "vfs/fast.h"

/* What is there already is not made anew. */
static void declare_make(struct kp_call *c, const struct kp_node *n)
{
	if (n->origin == KP_ABSENT)
		kp_fast_changes(c->vfs, n);
	else
		kp_fast_unchanged(c->vfs);
}

static void declare_remove(struct kp_call *c, const struct kp_node *n)
{
	if (n->origin == KP_ABSENT)
		kp_fast_unchanged(c->vfs);
	else
		kp_fast_removes(c->vfs, n);
}

/* Resolves the name that path 0 is, under the write lock, and hands it to a change. */
#define WITH_NAME(c, n, declare, expr)                                                                                   \
	({                                                                                                      \
		struct kp_node *n = kp_calloc(1, sizeof(*n));                                                   \
		int rc_;                                                                                        \
		kp_vfs_may_defer();                                                                     \
		do {                                                                                    \
			kp_vfs_write_lock((c)->vfs);                                                    \
			rc_ = kp_call_resolve_name((c), 0, n);                                          \
			if (rc_)                                                                        \
				kp_fast_unchanged((c)->vfs);                                            \
			else                                                                            \
				declare((c), n);                                                        \
			if (!rc_)                                                                       \
				rc_ = (expr);                                                           \
			kp_vfs_unlock((c)->vfs);                                                        \
		} while (kp_vfs_again((c)->vfs, rc_));                                                  \
		free(n);                                                                                        \
		rc_;                                                                                            \
	})

static void declare_make_dir(struct kp_call *c, const struct kp_node *n, mode_t mode)
{
	if (n->origin == KP_ABSENT)
		kp_fast_makes_dir(c->vfs, n, mode);
	else
		kp_fast_unchanged(c->vfs);
}

static int make_dir(struct kp_call *c, uint64_t raw_mode)
{
	mode_t mode = kp_call_mode(c, raw_mode);

#define DECLARE_DIR(c, n) declare_make_dir(c, n, mode)
	return WITH_NAME(c, n, DECLARE_DIR, kp_make_dir(c->vfs, n, kp_call_cred(c), mode));
#undef DECLARE_DIR
}

int kp_sys_mkdir(struct kp_call *c)
{
	return make_dir(c, c->raw[1]);
}

int kp_sys_mkdirat(struct kp_call *c)
{
	return make_dir(c, c->raw[2]);
}

static int make_special(struct kp_call *c, uint64_t mode)
{
	mode_t kind = (mode_t)mode & S_IFMT;

	if (S_ISDIR(kind))
		return -EPERM;
	if (kind && !S_ISREG(kind) && !S_ISCHR(kind) && !S_ISBLK(kind) && !S_ISFIFO(kind) && !S_ISSOCK(kind))
		return -EINVAL;
	return WITH_NAME(c, n, declare_make, kp_make_special(c->vfs, n, kp_call_cred(c), kind | kp_call_mode(c, mode)));
}

int kp_sys_mknod(struct kp_call *c)
{
	return make_special(c, c->raw[1]);
}

int kp_sys_mknodat(struct kp_call *c)
{
	return make_special(c, c->raw[2]);
}

int kp_sys_symlink(struct kp_call *c)
{
	if (!c->str[0])
		return -ENOENT;
	return WITH_NAME(c, n, declare_make, kp_make_symlink(c->vfs, n, kp_call_cred(c), c->str));
}

int kp_sys_symlinkat(struct kp_call *c)
{
	return kp_sys_symlink(c);
}

int kp_sys_unlink(struct kp_call *c)
{
	return WITH_NAME(c, n, declare_remove, kp_unlink(c->vfs, n, kp_call_cred(c)));
}

int kp_sys_rmdir(struct kp_call *c)
{
	return WITH_NAME(c, n, declare_remove, kp_rmdir(c->vfs, n, kp_call_cred(c)));
}

int kp_sys_unlinkat(struct kp_call *c)
{
	int flags = (int)c->raw[2];

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return flags & AT_REMOVEDIR ? kp_sys_rmdir(c) : kp_sys_unlink(c);
}

static int rename_to(struct kp_call *c, unsigned flags)
{
	struct kp_node *n = kp_calloc(2, sizeof(*n));
	int rc;

	kp_vfs_may_defer();
	do {
		kp_vfs_write_lock(c->vfs);
		if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
			rc = -EINVAL;
		else
			rc = kp_call_resolve_name(c, 0, &n[0]);
		if (!rc)
			rc = kp_call_resolve_name(c, 1, &n[1]);
		if (rc) {
			kp_fast_unchanged(c->vfs);
		} else {
			kp_fast_changes(c->vfs, &n[0]);
			kp_fast_changes(c->vfs, &n[1]);
		}
		if (!rc)
			rc = kp_rename(c->vfs, &n[0], &n[1], kp_call_cred(c), flags);
		kp_vfs_unlock(c->vfs);
	} while (kp_vfs_again(c->vfs, rc));
	free(n);
	return rc;
}

int kp_sys_rename(struct kp_call *c)
{
	return rename_to(c, 0);
}

int kp_sys_renameat(struct kp_call *c)
{
	return rename_to(c, 0);
}

int kp_sys_renameat2(struct kp_call *c)
{
	return rename_to(c, (unsigned)c->raw[4]);
}

static int link_to(struct kp_call *c, int flags)
{
	struct kp_node *n = kp_calloc(2, sizeof(*n));
	int rc;

	kp_vfs_may_defer();
	do {
		kp_vfs_write_lock(c->vfs);
		rc = kp_call_resolve_at(c, 0, flags & AT_SYMLINK_FOLLOW, flags, &n[0]);
		if (!rc && n[0].origin == KP_ABSENT)
			rc = -ENOENT;
		if (!rc)
			rc = kp_call_resolve_name(c, 1, &n[1]);
		if (rc) {
			kp_fast_unchanged(c->vfs);
		} else {
			kp_fast_changes(c->vfs, &n[0]); /* it may be copied up */
			kp_fast_changes(c->vfs, &n[1]);
		}
		if (!rc && n[0].origin == KP_MAGIC && !S_ISLNK(n[0].mode))
			rc = S_ISDIR(n[0].mode) ? -EPERM : kp_link_open_file(c->vfs, &n[0], &n[1], kp_call_cred(c));
		else if (!rc)
			rc = kp_link(c->vfs, &n[0], &n[1], kp_call_cred(c));
		kp_vfs_unlock(c->vfs);
	} while (kp_vfs_again(c->vfs, rc));
	free(n);
	return rc;
}

int kp_sys_link(struct kp_call *c)
{
	return link_to(c, 0);
}

int kp_sys_linkat(struct kp_call *c)
{
	int flags = (int)c->raw[4];

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return link_to(c, flags);
}
