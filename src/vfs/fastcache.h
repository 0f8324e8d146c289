/* SPDX-License-Identifier: Apache-2.0 */
/* What fast.c, which writes down answers, and stale.c, which voids them, share. */
#ifndef KAPSEL_VFS_FASTCACHE_H
#define KAPSEL_VFS_FASTCACHE_H

#include <pthread.h>

#include "kapsel/fast.h"
#include "vfs/internal.h"

/* An inode of the store and the one entry that it was opened as. Never forgotten: descriptors of that may be about. */
struct kp_fast_object {
	dev_t dev;
	ino_t ino;
	uint32_t layer, entry;
	bool several; /* it was opened as another, too */
};

/* Directories that are gone, by their stand-ins' numbers or their names. What was told of names in one that is empty stays true of it; of another
 * directory with its number, or of what has its name now, if that is a link or a file, it would not be. */
struct kp_fast_gone {
	uint64_t slots[KP_FAST_INODES / 64];
	bool any;
};
/* Hashes of names, few of which meet: many files are made where some directories went. No room for one: all that was told is void instead. */
#define KP_FAST_WENT_SETS 512U
#define KP_FAST_WENT_WAYS 8U
struct kp_fast_went {
	uint64_t hash[KP_FAST_WENT_SETS][KP_FAST_WENT_WAYS]; /* 0: none */
};

/* By hashes, the directories that an entry's canonical path leads through, outermost first, and the name itself; deeper ones are not told apart. */
#define KP_FAST_DEPTH 8U
struct kp_fast_way {
	uint32_t hash[KP_FAST_DEPTH]; /* 0: it is not so deep */
};

struct kp_fast_cache {
	struct kp_fast *mem;
	pthread_mutex_t lock; /* of what follows */
	uint32_t next;        /* the entry that is taken next, and which way of a full set goes */
	struct kp_fast_way *ways; /* of each entry */
	int64_t looks, looked;    /* how many entries may be looked at for a directory's sake; when that was said, us */
	struct kp_fast_object *objects; /* by number, object_room of them, at most half of which are taken */
	size_t object_room, object_count;
	struct kp_fast_gone standins;
	struct kp_fast_went names;
	bool reused; /* the file system of the stand-ins gives their numbers to others, also to directories that are none */
	uint64_t *opened[KP_MAX_LAYERS]; /* a bit for each entry of an image */
};

/* Returns how deep the path goes, KP_FAST_DEPTH at most; the root: 0. */
unsigned kp_fast_way_of(const char *guest, struct kp_fast_way *ret);

static inline uint32_t kp_fast_name_slot(const char *guest)
{
	uint64_t h = KP_FAST_SEED, dir = h;

	for (const char *p = guest; *p; p++) {
		if (*p == '/')
			dir = h;
		h = kp_fast_mix(h, (uint8_t)*p);
	}
	return KP_FAST_INODES + (uint32_t)((dir ^ dir >> 32) % ((KP_FAST_NAMES - KP_FAST_INODES) / KP_FAST_DIR_NAMES)) * KP_FAST_DIR_NAMES +
	       (uint32_t)((h ^ h >> 32) % KP_FAST_DIR_NAMES);
}

#endif
