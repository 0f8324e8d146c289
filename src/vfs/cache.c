/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory look-ups, remembered per thread. Only the supervisor changes the upper, and images never change, so an entry
 * holds until the generation moves. Directories of the host (binds, /proc) are never kept.
 */
#include "vfs/internal.h"

#define SLOTS 256

struct slot {
	const struct kp_vfs *vfs;
	unsigned generation;
	uint64_t hash, ino;
	struct kp_dir dir;
	char *guest;
	size_t guest_size;
};

static _Thread_local struct slot *slots;

static uint64_t hash_of(const char *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 0x100000001b3ULL;
	return h ^ h >> 29;
}

const struct kp_dir *kp_dircache_get(struct kp_vfs *v, const char *guest, uint64_t *ret_ino)
{
	uint64_t h = hash_of(guest);
	struct slot *s;

	if (!slots)
		return NULL;
	s = &slots[h % SLOTS];
	if (s->vfs != v || s->hash != h || s->generation != atomic_load(&v->generation) ||
	    strcmp(s->guest, guest) != 0)
		return NULL;
	*ret_ino = s->ino;
	return &s->dir;
}

void kp_dircache_put(struct kp_vfs *v, const char *guest, const struct kp_dir *dir, uint64_t ino)
{
	uint64_t h = hash_of(guest);
	size_t size = strlen(guest) + 1;
	struct slot *s;

	if (dir->bind || dir->proc)
		return;
	if (!slots)
		slots = kp_calloc(SLOTS, sizeof(*slots));
	s = &slots[h % SLOTS];
	if (s->guest_size < size) {
		s->guest = kp_realloc(s->guest, size);
		s->guest_size = size;
	}
	memcpy(s->guest, guest, size);
	s->vfs = v;
	s->hash = h;
	s->ino = ino;
	s->dir = *dir;
	s->generation = atomic_load(&v->generation);
}
