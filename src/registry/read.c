/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the merged registry. */
#include <sodium.h>

#include "registry/internal.h"

typedef int (*key_reader)(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx);

/* Calls fn at a key, again where another process's change came between what it read: it says so itself (sure; -ERESTART), or this does. */
static int read_key(struct kp_reg *r, const char *key, bool sure, key_reader fn, void *ctx)
{
	struct kp_regpath kp_autoregpath path = {0};
	const struct kp_regpos *pos;
	int rc = kp_regpath_parse(key, &path);

	if (!rc)
		rc = kp_reg_enter(r);
	if (rc)
		return rc;
	for (int tries = 0; tries < 100; tries++) {
		rc = kp_regpos_find(r, &path, &pos);
		if (!rc)
			rc = fn(r, &path, pos, ctx);
		if (rc != -ERESTART && (sure || !kp_reg_moved(r)))
			break;
		kp_reg_leave(r);
		rc = kp_reg_enter(r);
		if (rc)
			return rc;
		rc = -EAGAIN;
	}
	kp_reg_leave(r);
	return rc;
}

static int take_name(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx)
{
	char **name = ctx;

	(void)r, (void)path;
	free(*name);
	*name = kp_strdup(pos->name);
	return 0;
}

int kp_reg_key(struct kp_reg *r, const char *key, char **ret_name)
{
	char *name = NULL;
	int rc = read_key(r, key, false, take_name, &name);

	if (rc || !ret_name)
		free(name);
	else
		*ret_name = name;
	return rc;
}

static void keep(struct kp_reg_value *ret, const char *name, size_t name_len, const struct kp_reg_data *d)
{
	char *mem = kp_calloc(1, name_len + 1 + d->len + 1);

	memcpy(mem, name, name_len);
	if (d->len)
		memcpy(mem + name_len + 1, d->data, d->len);
	*ret = (struct kp_reg_value){.name = mem, .d = {d->type, d->len, mem + name_len + 1}};
}

void kp_reg_value_free(struct kp_reg_value *v)
{
	free((char *)(uintptr_t)v->name);
	*v = (struct kp_reg_value){0};
}

struct taking {
	struct kp_reg_value *ret;
	bool deleted;
};

static void take_row(const struct kp_db_value *v, void *ctx)
{
	struct taking *t = ctx;

	t->deleted = v->deleted;
	if (t->ret && !v->deleted)
		keep(t->ret, v->name, v->name_len, &(struct kp_reg_data){v->type, v->len, v->data});
}

int kp_regsource_value(struct kp_reg *r, size_t source, int64_t key, const struct kp_regname *name, bool *ret_deleted, struct kp_reg_value *ret)
{
	const struct kp_regsource *s = &r->source[source];
	struct taking t = {.ret = ret};
	struct kp_hive_value v;
	uint32_t at;
	int rc;

	if (s->is_db) {
		rc = kp_db_value(r->db, s->part, key, name->fold, name->fold_len, take_row, &t);
		*ret_deleted = t.deleted;
	} else {
		rc = kp_hive_find_value(&s->hive, (uint32_t)key, name->fold, name->fold_len, &at);
		if (!rc)
			rc = kp_hive_value(&s->hive, at, &v);
		if (rc)
			return rc == -ENOENT ? -ENODATA : rc;
		*ret_deleted = v.flags & KP_HIVE_DELETED;
		if (ret && !*ret_deleted)
			keep(ret, v.name, v.name_len, &v.d);
	}
	if (!rc && ret && !*ret_deleted) {
		ret->layer = s->layer;
		ret->image = s->image;
	}
	return rc;
}

struct getting {
	struct kp_regname name;
	struct kp_reg_value value;
};

static int get(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx)
{
	struct getting *g = ctx;

	(void)path;
	kp_reg_value_free(&g->value);
	for (size_t i = 0; i < r->count; i++) {
		bool deleted = false;
		int rc;

		if (pos->id[i] < 0 || !kp_reg_visible(r, i, pos->mode))
			continue;
		if (r->source[i].is_db && !kp_db_has(r->db, r->source[i].part))
			continue;
		rc = kp_regsource_value(r, i, pos->id[i], &g->name, &deleted, &g->value);
		if (rc != -ENODATA)
			return rc ? rc : deleted ? -ENODATA : 0;
	}
	return -ENODATA;
}

int kp_reg_get(struct kp_reg *r, const char *key, const char *name, struct kp_reg_value *ret)
{
	struct getting g = {0};
	int rc = kp_regname_value(name, &g.name);

	if (rc)
		return rc;
	rc = read_key(r, key, false, get, &g);
	if (rc)
		kp_reg_value_free(&g.value);
	else
		*ret = g.value;
	free((char *)(uintptr_t)g.name.fold);
	return rc;
}

/* --- a key or value of that name in a key --- */

struct entry {
	struct getting g;
	const struct kp_regpath *whole;
	struct kp_reg_entry e;
};

static int entry(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx)
{
	struct entry *x = ctx;
	struct kp_regpos parent = *pos, child;
	int rc;

	kp_reg_entry_free(&x->e);
	parent.name = kp_strdup(pos->name); /* the cache's may go */
	rc = get(r, path, &parent, &x->g);
	if (!rc)
		x->e.value = x->g.value;
	x->g.value = (struct kp_reg_value){0};
	x->e.value_ns = parent.mtime;
	if (!rc || rc == -ENODATA)
		rc = kp_regpos_child(r, x->whole, &parent, &child);
	if (!rc) {
		x->e.key = kp_strdup(strrchr(child.name, '\\') + 1);
		x->e.key_ns = child.mtime;
		free(child.name);
	}
	free(parent.name);
	return rc == -ENOENT ? 0 : rc;
}

int kp_reg_entry(struct kp_reg *r, const char *key, const char *name, struct kp_reg_entry *ret)
{
	kp_autofree char *path = kp_asprintf("%s\\%s", key, name);
	struct kp_regpath kp_autoregpath whole = {0};
	struct entry x = {.whole = &whole};
	int rc = strchr(name, '\\') || !*name ? -EINVAL : kp_regpath_parse(path, &whole);

	*ret = (struct kp_reg_entry){0};
	if (rc) { /* only a value can be called so */
		rc = kp_reg_get(r, key, name, &ret->value);
		if (!rc)
			rc = kp_reg_mtime(r, key, &ret->value_ns);
		return rc == -ENODATA ? 0 : rc;
	}
	x.g.name = whole.part[whole.depth - 1];
	rc = read_key(r, key, false, entry, &x);
	if (rc)
		kp_reg_entry_free(&x.e);
	else
		*ret = x.e;
	return rc;
}

void kp_reg_entry_free(struct kp_reg_entry *e)
{
	free(e->key);
	kp_reg_value_free(&e->value);
	e->key = NULL;
}

/* --- enumerating: the layers' own lists are in order, and are gone through side by side --- */

struct side {
	bool on;
	uint32_t at, end; /* of a hive's records */
	struct kp_db_cursor db;
	/* where it stands: */
	const char *name, *fold;
	size_t name_len, fold_len;
	unsigned flags;
	struct kp_reg_data d;
};

struct sides {
	struct kp_reg *r;
	bool values;
	struct side side[KP_REG_SOURCES];
};

static int read_side(struct sides *s, size_t i)
{
	struct side *x = &s->side[i];
	struct kp_hive_value v;
	struct kp_hive_key k;
	int rc;

	if (s->r->source[i].is_db) {
		x->on = !x->db.done;
		x->name = x->db.v.name, x->name_len = x->db.v.name_len;
		x->fold = x->db.v.fold, x->fold_len = x->db.v.fold_len;
		x->flags = s->values ? (x->db.v.deleted ? KP_HIVE_DELETED : 0) : x->db.key.flags;
		x->d = (struct kp_reg_data){x->db.v.type, x->db.v.len, x->db.v.data};
		return 0;
	}
	x->on = x->at < x->end;
	if (!x->on)
		return 0;
	rc = s->values ? kp_hive_value(&s->r->source[i].hive, x->at, &v) : kp_hive_key(&s->r->source[i].hive, x->at, &k);
	if (rc)
		return rc;
	x->name = s->values ? v.name : k.name;
	x->name_len = s->values ? v.name_len : k.name_len;
	x->fold = s->values ? v.fold : k.fold;
	x->fold_len = s->values ? v.fold_len : k.fold_len;
	x->flags = s->values ? v.flags : k.flags;
	if (s->values)
		x->d = v.d;
	return 0;
}

static int open_side(struct sides *s, size_t i, int64_t id)
{
	const struct kp_regsource *source = &s->r->source[i];
	struct kp_hive_key k;
	int rc;

	if (source->is_db) {
		if (!kp_db_has(s->r->db, source->part))
			return 0;
		rc = kp_db_cursor_open(s->r->db, source->part, id, s->values, &s->side[i].db);
	} else {
		rc = kp_hive_key(&source->hive, (uint32_t)id, &k);
		if (!rc) {
			s->side[i].at = s->values ? k.first_value : k.first_key;
			s->side[i].end = s->side[i].at + (s->values ? k.value_count : k.key_count);
		}
	}
	return rc ? rc : read_side(s, i);
}

static int next_side(struct sides *s, size_t i)
{
	int rc = 0;

	if (s->r->source[i].is_db)
		rc = kp_db_cursor_next(s->r->db, &s->side[i].db);
	else
		s->side[i].at++;
	return rc ? rc : read_side(s, i);
}

/* The layer whose next name comes first, or the uppermost of several; count: all have ended. */
static size_t first_side(const struct sides *s)
{
	size_t best = s->r->count;

	for (size_t i = 0; i < s->r->count; i++)
		if (s->side[i].on && (best == s->r->count || kp_fold_order(s->side[i].fold, s->side[i].fold_len, s->side[best].fold,
									  s->side[best].fold_len) < 0))
			best = i;
	return best;
}

struct each {
	struct sides s;
	const struct kp_regpath *path;
	enum kp_mode mode;
	int (*key)(const char *name, void *ctx);
	int (*value)(const struct kp_reg_value *v, void *ctx);
	void *ctx;
};

/* What the layers say of the name that the sides in which[] stand at: is it there, and where is it seen? */
static int decide(struct each *e, const bool *which, size_t first)
{
	const struct side *f = &e->s.side[first];
	struct kp_reg *r = e->s.r;
	enum kp_mode mode = e->s.values ? e->mode
				       : kp_regpos_child_mode(r, e->path, e->path->depth, f->fold, f->fold_len, e->mode);
	size_t shown = r->count;

	for (size_t i = first; i < r->count; i++) {
		if (!which[i] || !kp_reg_visible(r, i, mode))
			continue;
		if (e->s.side[i].flags & KP_HIVE_DELETED)
			break;
		if (e->s.values) {
			struct kp_reg_value v = {e->s.side[i].name, e->s.side[i].d, r->source[i].layer, r->source[i].image};

			return e->value(&v, e->ctx);
		}
		if (!(e->s.side[i].flags & KP_HIVE_FAINT) && (shown == r->count || r->source[shown].layer == KP_REG_POLICY))
			shown = i;
		if (e->s.side[i].flags & KP_HIVE_OPAQUE || (!(e->s.side[i].flags & KP_HIVE_FAINT) && r->source[i].layer != KP_REG_POLICY))
			break;
	}
	return shown == r->count ? 0 : e->key(e->s.side[shown].name, e->ctx);
}

static int go_through(struct each *e)
{
	struct sides *s = &e->s;
	size_t first;
	int rc = 0;

	while (!rc && (first = first_side(s)) < s->r->count) {
		bool which[KP_REG_SOURCES] = {false};

		for (size_t i = first; i < s->r->count; i++)
			which[i] = s->side[i].on && !kp_fold_order(s->side[i].fold, s->side[i].fold_len, s->side[first].fold,
								   s->side[first].fold_len);
		rc = decide(e, which, first);
		/* The first last: the others' names have been compared with its. */
		for (size_t i = s->r->count; i-- > first && !rc;)
			if (which[i])
				rc = next_side(s, i);
	}
	return rc;
}

/* Once the lists are open, nobody commits before they are closed. */
static int each(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx)
{
	struct each *e = ctx;
	struct sides *s = &e->s;
	int rc = 0;

	memset(s->side, 0, sizeof(s->side));
	s->r = r;
	e->path = path;
	e->mode = pos->mode;
	for (size_t i = 0; i < r->count && !rc; i++)
		if (pos->id[i] >= 0 && (!s->values || kp_reg_visible(r, i, pos->mode)))
			rc = open_side(s, i, pos->id[i]);
	if (!rc && kp_reg_moved(r))
		rc = -ERESTART;
	if (!rc)
		rc = go_through(e);
	for (size_t i = 0; i < r->count; i++)
		if (r->source[i].is_db)
			kp_db_cursor_close(&s->side[i].db);
	return rc;
}

int kp_reg_each_subkey(struct kp_reg *r, const char *key, int (*fn)(const char *name, void *ctx), void *ctx)
{
	kp_autofree struct each *e = kp_calloc(1, sizeof(*e));

	e->key = fn;
	e->ctx = ctx;
	return read_key(r, key, true, each, e);
}

int kp_reg_each_value(struct kp_reg *r, const char *key, int (*fn)(const struct kp_reg_value *v, void *ctx), void *ctx)
{
	kp_autofree struct each *e = kp_calloc(1, sizeof(*e));

	e->s.values = true;
	e->value = fn;
	e->ctx = ctx;
	return read_key(r, key, true, each, e);
}

static int take_mtime(struct kp_reg *r, const struct kp_regpath *path, const struct kp_regpos *pos, void *ctx)
{
	(void)r, (void)path;
	*(int64_t *)ctx = pos->mtime;
	return 0;
}

int kp_reg_mtime(struct kp_reg *r, const char *key, int64_t *ret_ns)
{
	return read_key(r, key, false, take_mtime, ret_ns);
}

/* --- stamps --- */

struct stamping {
	crypto_generichash_state hash;
	struct kp_strings subkeys;
};

static void stamp_text(struct stamping *s, const void *data, size_t len)
{
	uint64_t n = len;

	crypto_generichash_update(&s->hash, (const uint8_t *)&n, sizeof(n));
	crypto_generichash_update(&s->hash, data, len);
}

static int stamp_value(const struct kp_reg_value *v, void *ctx)
{
	struct stamping *s = ctx;

	stamp_text(s, v->name, strlen(v->name));
	crypto_generichash_update(&s->hash, (const uint8_t *)&v->d.type, sizeof(v->d.type));
	stamp_text(s, v->d.data, v->d.len);
	return 0;
}

static int take_subkey(const char *name, void *ctx)
{
	kp_strings_add(&((struct stamping *)ctx)->subkeys, name);
	return 0;
}

static int stamp_key(struct kp_reg *r, const char *key, bool deep, struct stamping *s)
{
	struct kp_strings below;
	int rc = kp_reg_each_value(r, key, stamp_value, s);

	s->subkeys = (struct kp_strings){0};
	if (!rc)
		rc = kp_reg_each_subkey(r, key, take_subkey, s);
	below = s->subkeys;
	for (size_t i = 0; i < below.count && !rc; i++) {
		kp_autofree char *path = kp_asprintf("%s\\%s", key, below.items[i]);

		stamp_text(s, below.items[i], strlen(below.items[i]));
		if (deep)
			rc = stamp_key(r, path, true, s);
	}
	stamp_text(s, "", 0);
	kp_strings_free(&below);
	return rc;
}

int kp_reg_stamp(struct kp_reg *r, const char *key, bool deep, uint64_t *ret_stamp)
{
	struct stamping s = {0};
	uint8_t digest[16];
	int rc = kp_reg_enter(r);

	if (rc)
		return rc;
	crypto_generichash_init(&s.hash, NULL, 0, sizeof(digest));
	rc = stamp_key(r, key, deep, &s);
	kp_reg_leave(r);
	if (rc)
		return rc;
	crypto_generichash_final(&s.hash, digest, sizeof(digest));
	memcpy(ret_stamp, digest, sizeof(*ret_stamp));
	return 0;
}
