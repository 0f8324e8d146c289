/* SPDX-License-Identifier: Apache-2.0 */
/* What stat and statx say of a known file. */
#include <fcntl.h>

#include "loader/answer.h"
#include "loader/attributes.h"
#include "loader/call.h"

const struct kp_fast_entry kp_plain = {.kind = KP_FAST_PLAIN, .mode = S_IFREG, .st_ino = KP_FAST_INO_UPPER};

bool kp_complete(const struct kp_fast_entry *e, struct stat *st)
{
	if (e->kind == KP_FAST_RECORD) {
		bool counted = S_ISREG(e->mode) || S_ISDIR(e->mode);

		kp_zero(st, sizeof(*st));
		st->st_mode = e->mode;
		st->st_nlink = e->nlink;
		st->st_uid = e->uid;
		st->st_gid = e->gid;
		st->st_ino = e->st_ino;
		st->st_size = (off_t)e->size;
		st->st_blksize = 4096;
		st->st_blocks = counted ? (blkcnt_t)((e->size + 4095) / 4096 * 8) : 0;
		st->st_atim.tv_sec = st->st_mtim.tv_sec = st->st_ctim.tv_sec = e->mtime;
		st->st_dev = ((const struct kp_fast *)KP_FAST_BASE)->st_dev;
		return true;
	}
	if ((st->st_mode & S_IFMT) != (e->mode & S_IFMT) || (S_ISREG(st->st_mode) && !(st->st_mode & S_ISVTX) != (e->kind == KP_FAST_PLAIN)))
		return false;
	st->st_dev = ((const struct kp_fast *)KP_FAST_BASE)->st_dev;
	if (e->kind == KP_FAST_PLAIN) {
		st->st_ino |= e->st_ino; /* the layer's bit */
		return true;
	}
	st->st_mode = e->kind == KP_FAST_DIR ? e->mode : (st->st_mode & (S_IFMT | S_ISUID | S_ISGID)) | (e->mode & 01777);
	st->st_uid = e->uid;
	st->st_gid = e->gid;
	st->st_ino = e->st_ino;
	if (e->nlink)
		st->st_nlink = e->nlink;
	return true;
}

static uint32_t major_of(uint64_t dev)
{
	return (uint32_t)((dev >> 8 & 0xfff) | (dev >> 32 & ~0xfffULL));
}

static uint32_t minor_of(uint64_t dev)
{
	return (uint32_t)((dev & 0xff) | (dev >> 12 & ~0xffULL));
}

void kp_to_statx(const struct stat *st, struct statx *x)
{
	kp_zero(x, sizeof(*x));
	x->stx_mask = STATX_BASIC_STATS;
	x->stx_blksize = (uint32_t)st->st_blksize;
	x->stx_nlink = (uint32_t)st->st_nlink;
	x->stx_uid = st->st_uid;
	x->stx_gid = st->st_gid;
	x->stx_mode = (uint16_t)st->st_mode;
	x->stx_ino = st->st_ino;
	x->stx_size = (uint64_t)st->st_size;
	x->stx_blocks = (uint64_t)st->st_blocks;
	x->stx_atime.tv_sec = st->st_atim.tv_sec;
	x->stx_atime.tv_nsec = (uint32_t)st->st_atim.tv_nsec;
	x->stx_mtime.tv_sec = st->st_mtim.tv_sec;
	x->stx_mtime.tv_nsec = (uint32_t)st->st_mtim.tv_nsec;
	x->stx_ctime.tv_sec = st->st_ctim.tv_sec;
	x->stx_ctime.tv_nsec = (uint32_t)st->st_ctim.tv_nsec;
	x->stx_dev_major = major_of(st->st_dev);
	x->stx_dev_minor = minor_of(st->st_dev);
	x->stx_rdev_major = major_of(st->st_rdev);
	x->stx_rdev_minor = minor_of(st->st_rdev);
}
