/* SPDX-License-Identifier: Apache-2.0 */
/* What the stub's answers are made of: the call as it was made, and the cache (docs/FAST.md). */
#ifndef KAPSEL_LOADER_ANSWER_H
#define KAPSEL_LOADER_ANSWER_H

#include <limits.h>
#include <stdbool.h>

#include "kapsel/fast.h"
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

/* An open that reads. */
long kp_open(const struct query *q, const struct kp_fast_entry *e, uint32_t seq);
/* One that may make the file. The kernel has read the path, which has len bytes. */
long kp_make(const struct query *q, size_t len);

#endif
