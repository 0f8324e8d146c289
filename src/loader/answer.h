/* SPDX-License-Identifier: Apache-2.0 */
/* What the stub's answers are made of: the call as it was made, and the cache (docs/FAST.md). */
#ifndef KAPSEL_LOADER_ANSWER_H
#define KAPSEL_LOADER_ANSWER_H

#include <limits.h>
#include <stdbool.h>

#include "kapsel/fast.h"
#include "loader/attributes.h"
#include "loader/call.h"

#define MISS LONG_MIN

/* As stub.S has saved them. */
struct regs {
	uint64_t rax, r9, r8, r10, rdx, rsi, rdi, back;
	uint8_t red_zone[128];
};

enum what { STAT, STATX, ACCESS, READLINK, OPEN, STATFS /* of what is not there */ };

struct query {
	enum what what;
	int dirfd;
	uint64_t path, buf, size;
	size_t len;    /* of the path, once the kernel has read it */
	uint8_t links; /* KP_FAST_FOLLOW, KP_FAST_NOFOLLOW or KP_FAST_GETCWD */
	int mode;      /* access: what for; open: flags */
	uint32_t make; /* open: the mode of what is made */
	const struct regs *regs;
};

static const struct kp_fast *const fast = (const struct kp_fast *)KP_FAST_BASE;

static inline bool holds(const struct kp_fast_entry *e, uint32_t seq)
{
	return kp_load32(&e->seq) == seq && e->all == kp_load32(&fast->all) && (!e->dirs || e->dirs == kp_load32(&fast->dirs)) &&
	       e->name == kp_load32(&fast->names[e->name_slot % KP_FAST_NAMES]);
}

/* The entry of q's path, of that hash and length, from that directory (absolute: 0); NULL: there is none that holds. */
const struct kp_fast_entry *kp_find(const struct query *q, uint64_t hash, size_t len, uint64_t dev, uint64_t ino, uint32_t *ret_seq);
/* The real directory that the call starts from. */
bool kp_start_of(const struct query *q, uint64_t *ret_dev, uint64_t *ret_ino);

/* A call that the supervisor knows to be the stub's. */
long kp_ask(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* An open that reads. */
long kp_open(const struct query *q, const struct kp_fast_entry *e, uint32_t seq);
/* alone.c: a name without an entry in a directory of the instance alone; and an open that may make it. The kernel has read the path. */
long kp_alone(const struct query *q);
long kp_make(const struct query *q);
/* A descriptor's: is it known from there? */
bool kp_is_known(const struct stat *st);
/* What the entry of a file of the instance says that has no record. */
extern const struct kp_fast_entry kp_plain;
/* Into the caller's buffer. */
long kp_give(const struct query *q, const struct stat *st);

#endif
