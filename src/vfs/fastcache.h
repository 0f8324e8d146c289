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

/* Directories that are gone, by the slots of their names or of their stand-ins' numbers. What was told of names in one that is empty stays true
 * of it; of what has its name now, if that is a link or a file, or of another directory with its number it would not be. */
struct kp_fast_gone {
	uint64_t slots[KP_FAST_NAMES / 64];
	bool any;
};

struct kp_fast_cache {
	struct kp_fast *mem;
	pthread_mutex_t lock; /* of what follows */
	uint32_t next;        /* the entry that is taken next, and which way of a full set goes */
	struct kp_fast_object *objects;
	struct kp_fast_gone names, standins;
	bool reused; /* the file system of the stand-ins gives their numbers to others, also to directories that are none */
	uint64_t *opened[KP_MAX_LAYERS]; /* a bit for each entry of an image */
};

static inline uint32_t kp_fast_name_slot(const char *guest)
{
	uint64_t h = kp_hash_string(guest);

	return (uint32_t)(h ^ h >> 32) % KP_FAST_NAMES;
}

static inline uint32_t kp_fast_inode_slot(dev_t dev, ino_t ino)
{
	return (uint32_t)(kp_fast_key(KP_FAST_SEED, dev, ino) >> 8) % KP_FAST_NAMES;
}

#endif
