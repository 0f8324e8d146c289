/* SPDX-License-Identifier: Apache-2.0 */
/* The open registry: its layers, and where a key is in each of them. */
#include "registry/internal.h"

/* --- opening --- */

static int add_hive(struct kp_reg *r, enum kp_reg_layer layer, const struct kp_hive_tree *t, struct kp_buf *mem, struct kp_err *err)
{
	struct kp_regsource *s = &r->source[r->count];
	int rc = kp_hive_build(t, mem);

	if (!rc)
		rc = kp_hive_open_memory(mem->data, mem->len, &s->hive);
	if (rc)
		return kp_fail_errno(err, -rc, "registry");
	s->layer = layer;
	r->count++;
	return 0;
}

static void add_db(struct kp_reg *r, enum kp_reg_layer layer, enum kp_db_part part)
{
	r->source[r->count++] = (struct kp_regsource){.is_db = true, .part = part, .layer = layer};
}

static int add_images(struct kp_reg *r, const struct kp_reg_options *o, struct kp_err *err)
{
	for (size_t i = 0; i < o->image_count; i++) {
		struct kp_regsource *s = &r->source[r->count];
		int rc = kp_hive_open(o->images[i], &s->hive);

		if (rc == -ENOENT)
			continue;
		if (rc == -EPROTONOSUPPORT) {
			(void)kp_fail(err, EPROTONOSUPPORT, "%s: its registry is of another version of kapsel", kp_image_name(o->images[i]));
			return kp_hint(err, "pack it anew");
		}
		if (rc || i >= KP_REG_IMAGES)
			return kp_fail_errno(err, rc ? -rc : E2BIG, "%s: registry", kp_image_name(o->images[i]));
		s->layer = KP_REG_IMAGE;
		s->image = i;
		r->count++;
	}
	return 0;
}

/* Lowest of all: the hives, and the keys where a mode that shows something begins, exist. */
static int add_base(struct kp_reg *r, const struct kp_reg_options *o, struct kp_err *err)
{
	struct kp_hive_tree *t = kp_hive_tree_new();
	int rc = 0;

	for (int i = 0; i < KP_REG_HIVES && !rc; i++)
		rc = kp_hive_tree_key(t, kp_reg_hive_short[i]);
	r->rules = kp_calloc(o->mode_count + 1, sizeof(*r->rules));
	for (size_t i = 0; i < o->mode_count && !rc; i++) {
		rc = kp_regpath_parse(o->modes[i].key, &r->rules[i].path);
		if (rc) {
			rc = kp_fail_errno(err, -rc, "registry: %s", o->modes[i].key);
			break;
		}
		r->rules[r->rule_count++].mode = o->modes[i].mode;
		if (o->modes[i].mode != KP_MODE_FULL)
			rc = kp_hive_tree_key(t, o->modes[i].key);
	}
	if (!rc)
		rc = add_hive(r, KP_REG_IMAGE, t, &r->base, err);
	(void)kp_hive_tree_free(t);
	return rc;
}

int kp_reg_open(const struct kp_reg_options *o, struct kp_reg **ret_reg, struct kp_err *err)
{
	const char *const paths[KP_DB_PARTS] = {[KP_DB_INSTANCE] = o->instance, [KP_DB_SHARED] = o->shared};
	struct kp_reg *r = kp_pages(sizeof(*r));
	pthread_mutexattr_t recursive;
	int rc = kp_db_new(paths, o->writable, &r->db, err);

	(void)pthread_mutexattr_init(&recursive);
	(void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	(void)pthread_mutex_init(&r->lock, &recursive);
	(void)pthread_mutexattr_destroy(&recursive);
	r->writable = o->writable;
	r->shared = KP_REG_SOURCES;
	if (!rc && o->policy)
		rc = add_hive(r, KP_REG_POLICY, o->policy, &r->policy, err);
	if (!rc && o->instance)
		add_db(r, KP_REG_INSTANCE, KP_DB_INSTANCE);
	if (!rc)
		rc = add_images(r, o, err);
	if (!rc && o->shared) {
		r->shared = r->count;
		add_db(r, KP_REG_SHARED, KP_DB_SHARED);
	}
	if (!rc)
		rc = add_base(r, o, err);
	if (rc) {
		(void)kp_reg_free(r);
		return rc;
	}
	*ret_reg = r;
	return 0;
}

struct kp_reg *kp_reg_free(struct kp_reg *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; r->cached && i < KP_REG_CACHE; i++) {
		free(r->cache[i].path);
		free(r->cache[i].pos.name);
	}
	for (size_t i = 0; i < r->rule_count; i++)
		kp_regpath_free(&r->rules[i].path);
	free(r->rules);
	kp_buf_free(&r->policy);
	kp_buf_free(&r->base);
	(void)kp_db_free(r->db);
	(void)pthread_mutex_destroy(&r->lock);
	return kp_pages_free(r, sizeof(*r));
}

/* --- entering --- */

static void tell_elsewhere(struct kp_reg *r)
{
	uint64_t now = kp_db_generation(r->db);

	if (now == r->seen || r->txn)
		return;
	for (size_t i = 0; i < KP_REG_NOTICES && r->notice[i].fn && r->seen; i++)
		r->notice[i].fn(KP_REG_ELSEWHERE, NULL, NULL, r->notice[i].ctx);
	r->seen = now;
}

int kp_reg_enter(struct kp_reg *r)
{
	int rc;

	(void)pthread_mutex_lock(&r->lock);
	if (!r->depth)
		tell_elsewhere(r);
	rc = kp_db_begin_read(r->db);
	if (rc)
		(void)pthread_mutex_unlock(&r->lock);
	else
		r->depth++;
	return rc;
}

bool kp_reg_moved(struct kp_reg *r)
{
	return !r->txn && kp_db_generation(r->db) != r->seen;
}

void kp_reg_leave(struct kp_reg *r)
{
	r->depth--;
	kp_db_end_read(r->db);
	(void)pthread_mutex_unlock(&r->lock);
}

uint64_t kp_reg_generation(struct kp_reg *r)
{
	uint64_t g;

	(void)pthread_mutex_lock(&r->lock);
	tell_elsewhere(r);
	g = kp_db_generation(r->db);
	(void)pthread_mutex_unlock(&r->lock);
	return g;
}

void kp_reg_on_change(struct kp_reg *r, kp_reg_notice fn, void *ctx)
{
	(void)pthread_mutex_lock(&r->lock);
	if (!r->seen)
		r->seen = kp_db_generation(r->db);
	for (size_t i = 0; i < KP_REG_NOTICES; i++)
		if (!r->notice[i].fn) {
			r->notice[i].fn = fn;
			r->notice[i].ctx = ctx;
			break;
		}
	(void)pthread_mutex_unlock(&r->lock);
}

/* --- positions --- */

/* Does a rule's path, of depth + 1 names, name that child of the first depth names of path? */
static bool rule_is(const struct kp_regrule *rule, const struct kp_regpath *path, size_t depth, const char *fold, size_t fold_len)
{
	if (rule->path.depth != depth + 1 || rule->path.part[depth].fold_len != fold_len || memcmp(rule->path.part[depth].fold, fold, fold_len) != 0)
		return false;
	for (size_t i = depth; i-- > 0;)
		if (strcmp(rule->path.part[i].fold, path->part[i].fold) != 0)
			return false;
	return true;
}

enum kp_mode kp_regpos_child_mode(const struct kp_reg *r, const struct kp_regpath *path, size_t depth, const char *fold, size_t fold_len,
				  enum kp_mode inherited)
{
	for (size_t i = 0; i < r->rule_count; i++)
		if (rule_is(&r->rules[i], path, depth, fold, fold_len))
			return r->rules[i].mode;
	return inherited;
}

/* The child of a key in one layer: *ret_id and its flags; -ENOENT. The name is wanted from the first layer that shows it. */
static int child_in(struct kp_reg *r, const struct kp_regsource *s, int64_t parent, const struct kp_regname *n, bool want_name, int64_t *ret_id,
		    int64_t *ret_mtime, unsigned *ret_flags, char **ret_name)
{
	struct kp_db_key row;
	struct kp_hive_key k;
	uint32_t id;
	int rc;

	if (s->is_db) {
		if (!kp_db_has(r->db, s->part))
			return -ENOENT;
		rc = kp_db_child(r->db, s->part, parent, n->fold, n->fold_len, want_name, &row);
		if (rc)
			return rc;
		*ret_id = row.id;
		*ret_mtime = row.mtime;
		*ret_flags = row.flags;
		*ret_name = want_name ? row.name : NULL;
		return 0;
	}
	rc = kp_hive_find_key(&s->hive, (uint32_t)parent, n->fold, n->fold_len, &id);
	if (!rc)
		rc = kp_hive_key(&s->hive, id, &k);
	if (rc)
		return rc;
	*ret_id = id;
	*ret_mtime = 0;
	*ret_flags = k.flags;
	*ret_name = want_name ? kp_strdup(k.name) : NULL;
	return 0;
}

static void add_name(struct kp_regpos *pos, char *name)
{
	char *whole = pos->depth ? kp_asprintf("%s\\%s", pos->name, name) : kp_strdup(name);

	free(pos->name);
	pos->name = whole;
}

/* From a key (where it is in each layer: at) to one in it. Where none shows it, pos stays, and at goes on: what hides things may be below. */
static int step(struct kp_reg *r, const struct kp_regpath *path, size_t depth, int64_t *at, struct kp_regpos *pos)
{
	const struct kp_regname *n = &path->part[depth];
	kp_autofree char *name = NULL, *policy_name = NULL;
	int64_t id[KP_REG_SOURCES], newest = 0, own_mtime;
	bool hidden = false, exists = false;

	pos->mode = kp_regpos_child_mode(r, path, depth, n->fold, n->fold_len, pos->mode);
	for (size_t i = 0; i < r->count; i++) {
		const struct kp_regsource *s = &r->source[i];
		bool counts = kp_reg_visible(r, i, pos->mode), policy = s->layer == KP_REG_POLICY;
		char *own = NULL;
		unsigned flags;
		int rc;

		id[i] = -1;
		if (i == r->shared)
			pos->shared_hidden |= hidden;
		if (hidden || at[i] < 0)
			continue;
		rc = child_in(r, s, at[i], n, counts && !name, &id[i], &own_mtime, &flags, &own);
		if (rc == -ENOENT)
			continue;
		if (rc)
			return rc;
		hidden |= flags & (KP_HIVE_DELETED | KP_HIVE_OPAQUE);
		if (flags & KP_HIVE_DELETED) {
			id[i] = -1;
			free(own);
			continue;
		}
		exists |= counts && !(flags & KP_HIVE_FAINT);
		newest = counts ? KP_MAX(newest, own_mtime) : newest;
		if (policy)
			policy_name = own;
		else if (own)
			name = own;
	}
	memcpy(at, id, r->count * sizeof(*id));
	if (!exists || pos->depth != depth)
		return 0;
	add_name(pos, name ? name : policy_name);
	pos->depth++;
	pos->mtime = newest;
	memcpy(pos->id, id, r->count * sizeof(*id));
	return 0;
}

int kp_regpos_walk(struct kp_reg *r, const struct kp_regpath *path, struct kp_regpos *ret)
{
	struct kp_regpos pos = {.mode = KP_MODE_FULL};
	int64_t at[KP_REG_SOURCES] = {0};
	int rc = 0;

	for (size_t depth = 0; !rc && depth < path->depth; depth++)
		rc = step(r, path, depth, at, &pos);
	if (rc)
		free(pos.name);
	else
		*ret = pos;
	return rc;
}

int kp_regpos_child(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *parent, struct kp_regpos *ret)
{
	struct kp_regpos pos = *parent;
	int64_t at[KP_REG_SOURCES];
	int rc;

	memcpy(at, parent->id, sizeof(at));
	pos.name = kp_strdup(parent->name);
	rc = step(r, path, parent->depth, at, &pos);
	if (!rc && pos.depth == parent->depth)
		rc = -ENOENT;
	if (rc)
		free(pos.name);
	else
		*ret = pos;
	return rc;
}

static char *folded(const struct kp_regpath *path)
{
	struct kp_buf b = {0};

	for (size_t i = 0; i < path->depth; i++) {
		kp_buf_add(&b, "\\", i ? 1 : 0);
		kp_buf_add(&b, path->part[i].fold, path->part[i].fold_len);
	}
	return b.data;
}

int kp_regpos_find(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos **ret)
{
	uint64_t generation = r->txn ? kp_db_changes(r->db) : r->seen;
	char *key = folded(path);
	struct kp_regcached *c = &r->cache[kp_hash_string(key) % KP_REG_CACHE];
	struct kp_regpos pos;
	int rc;

	if (c->path && c->generation == generation && !strcmp(c->path, key)) {
		free(key);
		*ret = &c->pos;
		return 0;
	}
	rc = kp_regpos_walk(r, path, &pos);
	if (!rc && pos.depth < path->depth) {
		free(pos.name);
		rc = -ENOENT;
	}
	if (rc) {
		free(key);
		return rc;
	}
	free(c->path);
	free(c->pos.name);
	r->cached = true;
	*c = (struct kp_regcached){key, generation, pos};
	*ret = &c->pos;
	return 0;
}
