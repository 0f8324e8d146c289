/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory look-ups, remembered per thread. Only the supervisor changes the upper, and images never change, so an entry
 * holds until the generation moves. Directories of the host (binds, /proc, what a rule shows) are never kept; keys of the registry are, until it changes. Beside them, names
 * that the upper lacks: these hold until anybody takes the write lock, and none does when a guest has made a name itself (a socket's), nor where it may (makes.c).
 */
#include "vfs/internal.h"

#define SETS 256
#define WAYS 4 /* names on one path must not push each other out */

struct slot {
	const struct kp_vfs *vfs;
	unsigned generation;
	uint64_t hash, ino;
	struct kp_dir dir;
	char *guest;
	size_t guest_size;
};

struct set {
	struct slot ways[WAYS];
	unsigned next; /* to be replaced */
};

static _Thread_local struct set *sets;

static uint64_t hash_of(const char *s)
{
	uint64_t h = kp_hash_string(s);

	return h ^ h >> 29;
}

static struct slot *find(const struct kp_vfs *v, uint64_t hash, const char *guest)
{
	struct set *set = &sets[hash % SETS];

	for (size_t i = 0; i < WAYS; i++) {
		struct slot *s = &set->ways[i];

		if (s->hash == hash && s->vfs == v && !strcmp(s->guest, guest))
			return s;
	}
	return NULL;
}

const struct kp_dir *kp_dircache_get(struct kp_vfs *v, const char *guest, uint64_t *ret_ino)
{
	struct slot *s = sets ? find(v, hash_of(guest), guest) : NULL;

	if (!s || s->generation != atomic_load(&v->generation))
		return NULL;
	*ret_ino = s->ino;
	return &s->dir;
}

void kp_dircache_put(struct kp_vfs *v, const char *guest, const struct kp_dir *dir, uint64_t ino)
{
	uint64_t h = hash_of(guest);
	size_t size = strlen(guest) + 1;
	struct slot *s;

	if (dir->bind || (dir->proc && !dir->reg) || (dir->rule && dir->rule->mode != KP_MODE_FULL))
		return;
	if (!sets)
		sets = kp_pages(SETS * sizeof(*sets));
	s = find(v, h, guest);
	if (!s)
		s = &sets[h % SETS].ways[sets[h % SETS].next++ % WAYS];
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

#define LACKS 512

struct lack {
	const struct kp_vfs *vfs;
	unsigned changes;
	char guest[116];
};

static _Thread_local struct lack *lacks;

bool kp_upper_lacks(const struct kp_vfs *v, const char *guest)
{
	const struct lack *l = lacks && kp_vfs_is_reading(v) && !atomic_load(&v->guest_makes_names) ? &lacks[hash_of(guest) % LACKS] : NULL;

	return l && l->vfs == v && l->changes == atomic_load(&v->changes) && !strcmp(l->guest, guest);
}

void kp_upper_note_lack(const struct kp_vfs *v, const char *guest)
{
	size_t size = strlen(guest) + 1;
	struct lack *l;

	if (size > sizeof(l->guest) || !kp_vfs_is_reading(v))
		return;
	if (!lacks)
		lacks = kp_pages(LACKS * sizeof(*lacks));
	l = &lacks[hash_of(guest) % LACKS];
	l->vfs = v;
	l->changes = atomic_load(&v->changes);
	memcpy(l->guest, guest, size);
}
