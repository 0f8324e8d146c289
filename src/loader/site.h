/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call sites of the fast path: how one is known, and what is written in its place and into its slot. For the supervisor, and for the exec
 * loader, which has no libc.
 */
#ifndef KAPSEL_LOADER_SITE_H
#define KAPSEL_LOADER_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kapsel/fast.h"

#define KP_SITE_MOVES 15U /* bytes of moves between the two, at most: musl and glibc's opens have them */
#define KP_SITE_MOV 5U    /* of mov $nr,%eax, and of the jump that replaces it */
#define KP_SITE_CODE (1 + KP_SITE_MOV + KP_SITE_MOVES + 2)

struct kp_site_code {
	uint8_t bytes[KP_SITE_CODE]; /* that end with the syscall */
	size_t len;                  /* of the mov and the moves that a jump and its slot stand for */
	uint64_t ip;                 /* behind the syscall */
};

static inline uint32_t kp_site_get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void kp_site_put32(uint8_t *at, uint64_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* How long is the move there, of a register into another (64 bits) or of a constant into one (32 bits), but not into rax? 0: it is none. */
static inline size_t kp_site_move(const uint8_t *p)
{
	if ((p[0] & 0xfa) == 0x48 && p[1] == 0x89 && p[2] >= 0xc0 && (p[2] & 7 || p[0] & 1))
		return 3;
	return p[0] > 0xb8 && p[0] <= 0xbf ? 5 : 0;
}

/* glibc's syscall(): what is replaced is the last of its moves, mov 8(%rsp),%r9, behind mov %r9,%r8. */
static inline bool kp_site_is_any(const uint8_t *end)
{
	static const uint8_t moves[8] = {0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08};

	for (size_t i = 0; i < sizeof(moves); i++)
		if (*(end - sizeof(moves) + i) != moves[i])
			return false;
	return true;
}

/* Is it mov $nr,%eax, some moves, syscall? REX and size prefixes would make another instruction of the mov. Sets len. */
static inline bool kp_site_check(struct kp_site_code *s, uint32_t nr)
{
	const uint8_t *end = s->bytes + KP_SITE_CODE - 2;

	if (end[0] != 0x0f || end[1] != 0x05)
		return false;
	s->len = KP_SITE_MOV;
	if (nr == KP_SITE_ANY)
		return kp_site_is_any(end);
	for (size_t moves = 0; moves <= KP_SITE_MOVES; moves++) {
		const uint8_t *mov = end - moves - KP_SITE_MOV, *at = end - moves;
		size_t len = 1;

		if (mov[0] != 0xb8 || kp_site_get32(mov + 1) != nr || (mov[-1] & 0xf0) == 0x40 || mov[-1] == 0x66 || mov[-1] == 0x67)
			continue;
		while (at < end && len) {
			len = kp_site_move(at);
			at += len;
		}
		s->len = KP_SITE_MOV + moves;
		if (at == end)
			return true;
	}
	return false;
}

/* Can a jump lead from the one to the other? */
static inline bool kp_site_is_near(uint64_t a, uint64_t b)
{
	int64_t d = (int64_t)(a - b);

	return d > INT32_MIN + 65536LL && d < INT32_MAX - 65536LL;
}

static inline uint64_t kp_site_mov(const struct kp_site_code *s)
{
	return s->ip - 2 - s->len;
}

static inline uint64_t kp_site_slot_at(uint64_t near, uint32_t index)
{
	return near + KP_NEAR_FIRST + (uint64_t)index * KP_NEAR_SLOT;
}

/* mov $nr,%eax; the moves; lea -128(%rsp),%rsp; call *near(%rip); lea 128(%rsp),%rsp; jc SYSCALL; jmp BEHIND */
static inline void kp_site_make_slot(uint8_t slot[KP_NEAR_SLOT], const struct kp_site_code *s, uint64_t at, uint64_t near)
{
	static const uint8_t call[30] = {0x48, 0x8d, 0x64, 0x24, 0x80, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x8d, 0xa4, 0x24,
					 0x80, 0, 0, 0, 0x0f, 0x82, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0};
	uint8_t *rest = slot + s->len;

	for (size_t i = 0; i < KP_NEAR_SLOT; i++)
		slot[i] = i < s->len ? s->bytes[KP_SITE_CODE - 2 - s->len + i] : i - s->len < sizeof(call) ? call[i - s->len] : 0xcc;
	at += s->len;
	kp_site_put32(rest + 7, near - (at + 11));
	kp_site_put32(rest + 21, s->ip - 2 - (at + 25));
	kp_site_put32(rest + 26, s->ip - (at + 30));
}

static inline void kp_site_make_jump(uint8_t jump[KP_SITE_MOV], const struct kp_site_code *s, uint64_t slot)
{
	jump[0] = 0xe9;
	kp_site_put32(jump + 1, slot - (kp_site_mov(s) + KP_SITE_MOV));
}

#endif
