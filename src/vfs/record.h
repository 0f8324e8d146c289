/* SPDX-License-Identifier: Apache-2.0 */
/* What an entry of the upper layer says besides its inode: whiteouts, records, own attributes. On-disk contract. */
#ifndef KAPSEL_VFS_RECORD_H
#define KAPSEL_VFS_RECORD_H

#include <sys/stat.h>

#include "base/base.h"

static inline bool kp_is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0; /* character device 0/0 */
}

/* --- the record of an upper entry: what its inode cannot say (xattr user.kapsel) --- */
enum {
	KP_REC_OPAQUE = 1, /* directory: hides the layers below */
	KP_REC_MODE = 2,   /* guest mode differs from the inode's */
	KP_REC_INO = 4,    /* guest inode number, kept over copy-up */
	KP_REC_OWNER = 16, /* owner and group that the inode could not get */
	KP_REC_NUMBERED = 8, /* directory: a file in it has (or had) KP_REC_INO, so a listing must look */
	KP_REC_MOVED = 32,   /* directory: it was renamed; what the layers below have of it lies at KP_MOVED_XATTR */
	KP_REC_HOLDS = 64,   /* directory: below it is (or was) one with KP_REC_MOVED */
};
struct kp_record {
	uint8_t version, flags;
	uint16_t reserved;
	uint32_t mode;
	uint64_t ino;
	uint32_t uid, gid; /* records without KP_REC_OWNER may end before these */
};
#define KP_RECORD_SHORT offsetof(struct kp_record, uid)
#define KP_RECORD_XATTR "user.kapsel"
/* The one that is the guest's own: the type of a registry value, which copies of it may carry. */
#define KP_REGTYPE_XATTR "user.kapsel.type"
/* A regular file that has a record carries this bit, which means nothing to Linux on files: so a look-up knows from the stat alone
 * that there is none to read. Its record always has KP_REC_MODE. */
#define KP_RECORD_BIT S_ISVTX
static inline bool kp_may_have_record(mode_t inode_mode)
{
	return S_ISDIR(inode_mode) || (S_ISREG(inode_mode) && inode_mode & KP_RECORD_BIT);
}
/* The mode that the guest sees. Set-id bits are always the inode's: the kernel takes them away when a guest writes. */
static inline mode_t kp_guest_mode(mode_t inode_mode, const struct kp_record *r)
{
	mode_t kept = S_IFMT | (S_ISREG(inode_mode) ? S_ISUID | S_ISGID : 0);

	return r->flags & KP_REC_MODE ? (inode_mode & kept) | (r->mode & 07777 & ~kept) : inode_mode;
}
static inline void kp_record_owner(const struct kp_record *r, struct stat *st)
{
	if (r->flags & KP_REC_OWNER) {
		st->st_uid = r->uid;
		st->st_gid = r->gid;
	}
}
/* Of len bytes as the attribute gave them: all zeros, and false, if it is none. */
bool kp_record_check(struct kp_record *r, ssize_t len);
int kp_record_write_fd(int fd, const struct kp_record *r);
/* Permission bits an inode of the upper must have so that the supervisor can work on it. */
static inline mode_t kp_real_mode(mode_t guest_mode)
{
	return (guest_mode & 07777) | (S_ISDIR(guest_mode) ? 0700 : 0600);
}

/* Attributes of Kapsel's own: no guest sees, sets or removes one. */
#define KP_MOVED_XATTR "user.kapsel.from"    /* canonical path in the terms of the layers below */
/* len bytes (path has room for one more) as the attribute gave them: 0, or -EINVAL. */
int kp_moved_check(const char *path, ssize_t len);
#define KP_SINCE_XATTR "user.kapsel.since"   /* struct kp_since: in a copy of an upper, when the original was made */
#define KP_SOURCE_XATTR "user.kapsel.of"     /* struct kp_copied: in a snapshot, which file of the upper it is equal to */
static inline bool kp_is_own_xattr(const char *name)
{
	return !strncmp(name, KP_RECORD_XATTR, sizeof(KP_RECORD_XATTR) - 1) &&
	       (!name[sizeof(KP_RECORD_XATTR) - 1] || name[sizeof(KP_RECORD_XATTR) - 1] == '.') && strcmp(name, KP_REGTYPE_XATTR) != 0;
}
struct kp_since {
	int64_t sec;
	uint32_t nsec, reserved;
};
/* With the other in an ext4 inode of 256 bytes there is just room for it: no block more a file. */
struct kp_copied {
	uint64_t ino;
	int64_t changed; /* its ctime, in nanoseconds */
};

#endif
