/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of registry/ share: folded names and paths, the readers of one layer each, the open registry. */
#ifndef KAPSEL_REGISTRY_INTERNAL_H
#define KAPSEL_REGISTRY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "registry/db.h"
#include "registry/hive.h"
#include "registry/registry.h"

/* --- names.c --- */
struct kp_regname {
	const char *name, *fold; /* NUL-terminated, both in the path's memory */
	size_t name_len, fold_len;
};
/* A key's path in parts; part 0 is the hive, by its short name. */
struct kp_regpath {
	size_t depth;
	struct kp_regname *part;
};
/* 0, -EINVAL, -ENAMETOOLONG. Release with kp_regpath_free. */
int kp_regpath_parse(const char *key, struct kp_regpath *ret);
void kp_regpath_free(struct kp_regpath *p);
#define kp_autoregpath __attribute__((cleanup(kp_regpath_free)))
/* A value's name, checked and folded. ret->name is name itself; the caller frees ret->fold. */
int kp_regname_value(const char *name, struct kp_regname *ret);
int kp_fold_order(const char *a, size_t a_len, const char *b, size_t b_len);

/* --- the open registry --- */
#define KP_REG_IMAGES 16
#define KP_REG_SOURCES (KP_REG_IMAGES + 4)

/* One layer. */
struct kp_regsource {
	bool is_db;
	enum kp_db_part part;
	struct kp_hive hive;
	enum kp_reg_layer layer;
	size_t image;
};

/* A key in all layers. */
struct kp_regpos {
	int64_t id[KP_REG_SOURCES]; /* -1: this layer has none, or it is hidden */
	size_t depth;
	int64_t mtime; /* the newest of its layers that count; 0 where only images and policy have it */
	enum kp_mode mode;
	bool shared_hidden; /* a layer above hides what the shared registry has */
	char *name;         /* "HKCU\\Software", as it was made */
};

struct kp_regrule {
	struct kp_regpath path;
	enum kp_mode mode;
};

struct kp_regcached {
	char *path; /* folded */
	uint64_t generation;
	struct kp_regpos pos;
};

#define KP_REG_CACHE 256
#define KP_REG_NOTICES 4

struct kp_reg {
	pthread_mutex_t lock; /* recursive: callers' callbacks read, and a transaction holds it */
	struct kp_regsource source[KP_REG_SOURCES];
	size_t count, shared; /* shared: which source it is */
	struct kp_db *db;
	bool writable;
	struct kp_regrule *rules;
	size_t rule_count;
	struct kp_buf policy, base; /* hives in memory */
	struct kp_reg_txn *txn;
	int depth; /* of readers */
	uint64_t seen; /* generation that all have been told of */
	bool cached; /* something is in the cache, which nobody else touches: it is most of this */
	struct kp_regcached cache[KP_REG_CACHE];
	struct {
		kp_reg_notice fn;
		void *ctx;
	} notice[KP_REG_NOTICES];
};

/* Takes the lock and begins to read. */
int kp_reg_enter(struct kp_reg *r);
void kp_reg_leave(struct kp_reg *r);
/* Another process has changed something since: what was read from several rows may be of two states, and is to be read again. */
bool kp_reg_moved(struct kp_reg *r);

/* The key at path: *ret is the registry's own, up to the next call. 0, -ENOENT. */
int kp_regpos_find(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos **ret);
/* The same for what need not exist: as deep as it does; mode and shared_hidden are those of the whole path. Free ret->name. */
int kp_regpos_walk(struct kp_reg *r, const struct kp_regpath *path, struct kp_regpos *ret);
/* From the key that has all but the path's last name: 0 or -ENOENT. Free ret->name. */
int kp_regpos_child(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *parent, struct kp_regpos *ret);
enum kp_mode kp_regpos_child_mode(const struct kp_reg *r, const struct kp_regpath *path, size_t depth, const char *fold, size_t fold_len,
				  enum kp_mode inherited);
/* Does that layer count there? */
static inline bool kp_reg_visible(const struct kp_reg *r, size_t source, enum kp_mode mode)
{
	return source != r->shared || mode != KP_MODE_FULL;
}
/* One value in one layer: 0, -ENODATA; *ret_deleted: it hides those below. ret as of kp_reg_get, or NULL. */
int kp_regsource_value(struct kp_reg *r, size_t source, int64_t key, const struct kp_regname *name, bool *ret_deleted,
		       struct kp_reg_value *ret);

/* UTF-8 as src/registry takes it: halves of surrogate pairs may stand alone. The code point at *s, which moves on; -1: it is none. */
int32_t kp_utf8_next(const char **s, const char *end);
size_t kp_utf8_put(char out[4], uint32_t c); /* bytes written */

#endif
