/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the registry: which of the two that can be changed takes it, and marks where lower layers would show through. In mode merged the
 * user's shared registry takes what no image has and the instance does not hide; all else is the instance's.
 */
#include "registry/internal.h"

struct notice {
	enum kp_reg_event what;
	char *key, *name;
};

/* Where values of a key go: found once for many. */
struct place {
	char *key;               /* as the caller wrote it; NULL: none */
	struct kp_regpath path;
	struct kp_regpos pos;    /* as deep as the key exists */
	int64_t row[KP_DB_PARTS]; /* of the key, once it was made there; 0: not yet */
};

struct kp_reg_txn {
	struct kp_reg *r;
	struct place place;
	struct notice *notices;
	size_t notice_count;
	int broken; /* a change failed half-way: nothing of this is committed */
};

/* --- begin and end --- */

static void forget(struct kp_reg_txn *t)
{
	free(t->place.key);
	free(t->place.pos.name);
	kp_regpath_free(&t->place.path);
	t->place = (struct place){0};
}

int kp_reg_begin(struct kp_reg *r, struct kp_reg_txn **ret_txn)
{
	unsigned parts = 0;
	int rc;

	if (!r->writable)
		return -EROFS;
	for (size_t i = 0; i < r->count; i++)
		if (r->source[i].layer == KP_REG_INSTANCE)
			parts |= 1U << KP_DB_INSTANCE;
	for (size_t i = 0; i < r->rule_count; i++)
		if (r->rules[i].mode == KP_MODE_MERGED && r->shared < r->count)
			parts |= 1U << KP_DB_SHARED;
	if (!(parts & 1U << KP_DB_INSTANCE))
		return -EROFS;
	(void)pthread_mutex_lock(&r->lock);
	rc = r->txn ? -EDEADLK : kp_db_begin(r->db, parts);
	if (rc) {
		(void)pthread_mutex_unlock(&r->lock);
		return rc;
	}
	r->txn = kp_calloc(1, sizeof(*r->txn));
	r->txn->r = r;
	*ret_txn = r->txn;
	return 0;
}

static void end(struct kp_reg_txn *t, bool done)
{
	struct kp_reg *r = t->r;

	r->txn = NULL;
	r->seen = kp_db_generation(r->db);
	for (size_t i = 0; i < t->notice_count; i++) {
		for (size_t n = 0; n < KP_REG_NOTICES && r->notice[n].fn && done; n++)
			r->notice[n].fn(t->notices[i].what, t->notices[i].key, t->notices[i].name, r->notice[n].ctx);
		free(t->notices[i].key);
		free(t->notices[i].name);
	}
	free(t->notices);
	forget(t);
	free(t);
	(void)pthread_mutex_unlock(&r->lock);
}

int kp_reg_commit(struct kp_reg_txn *t)
{
	int rc = t->broken;

	if (rc)
		kp_db_rollback(t->r->db);
	else
		rc = kp_db_commit(t->r->db);
	end(t, !rc);
	return rc;
}

void kp_reg_abort(struct kp_reg_txn *t)
{
	if (!t)
		return;
	kp_db_rollback(t->r->db);
	end(t, false);
}

/* What was refused before anything was done leaves the transaction as it was. */
static int ended(struct kp_reg_txn *t, int rc)
{
	static const int refusals[] = {0, -EACCES, -EBUSY, -EFBIG, -EINVAL, -ENAMETOOLONG, -ENODATA, -ENOENT, -ENOTEMPTY};

	for (size_t i = 0; i < KP_ARRAY_LEN(refusals); i++)
		if (rc == refusals[i])
			return rc;
	t->broken = rc;
	return rc;
}

static void note(struct kp_reg_txn *t, enum kp_reg_event what, const char *key, const char *name)
{
	if (!t->r->notice[0].fn)
		return;
	if (!(t->notice_count & (t->notice_count - 1)))
		t->notices = kp_realloc(t->notices, KP_MAX(2 * t->notice_count, (size_t)1) * sizeof(*t->notices));
	t->notices[t->notice_count++] = (struct notice){what, kp_strdup(key), name ? kp_strdup(name) : NULL};
}

/* --- places --- */

static int find(struct kp_reg_txn *t, const char *key)
{
	struct place *p = &t->place;
	int rc;

	if (p->key && !strcmp(p->key, key))
		return 0;
	forget(t);
	rc = kp_regpath_parse(key, &p->path);
	if (!rc)
		rc = kp_regpos_walk(t->r, &p->path, &p->pos);
	if (rc) {
		forget(t);
		return rc;
	}
	p->key = kp_strdup(key);
	return 0;
}

static bool exists(const struct place *p)
{
	return p->pos.depth == p->path.depth;
}

static int source_of(const struct kp_reg *r, enum kp_reg_layer layer)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->source[i].layer == layer)
			return (int)i;
	return -1;
}

/* Name number i of the key, as it was made where it exists. Allocated. */
static char *name_at(const struct place *p, size_t i)
{
	const char *at = p->pos.name;

	if (i >= p->pos.depth)
		return kp_strdup(p->path.part[i].name);
	for (size_t n = 0; n < i; n++)
		at = strchr(at, '\\') + 1;
	return kp_strndup(at, strcspn(at, "\\"));
}

/* The key's row in a part, made with those above it. */
static int make_row(struct kp_reg_txn *t, enum kp_db_part part, int64_t *ret_row)
{
	struct place *p = &t->place;
	int64_t row = 0;
	int rc = 0;

	for (size_t i = 0; i < p->path.depth && !p->row[part] && !rc; i++) {
		const struct kp_regname *n = &p->path.part[i];
		struct kp_db_key k = {0};

		rc = kp_db_child(t->r->db, part, row, n->fold, n->fold_len, false, &k);
		if (rc == -ENOENT) {
			kp_autofree char *name = name_at(p, i);

			rc = kp_db_make_key(t->r->db, part, row, n->fold, n->fold_len, name, 0, &k.id);
		} else if (!rc && k.flags & KP_HIVE_DELETED) {
			rc = kp_db_set_flags(t->r->db, part, k.id, KP_HIVE_OPAQUE);
		}
		row = k.id;
	}
	if (!rc && !p->row[part])
		p->row[part] = row;
	*ret_row = p->row[part];
	return rc;
}

/* After a key was made: where it is now. */
static int find_again(struct kp_reg_txn *t)
{
	struct place *p = &t->place;

	free(p->pos.name);
	p->pos = (struct kp_regpos){0};
	return kp_regpos_walk(t->r, &p->path, &p->pos);
}

/* What the layers say of one value of the place's key. */
struct seen {
	bool policy, instance, instance_deleted, image, image_mark, shared; /* has it; image: one shows it; image_mark: one hides it */
};

static int look(struct kp_reg_txn *t, const struct kp_regname *name, struct seen *ret)
{
	struct kp_reg *r = t->r;
	const struct place *p = &t->place;
	bool hidden = false;

	*ret = (struct seen){0};
	for (size_t i = 0; i < r->count && exists(p); i++) {
		bool deleted = false;
		int rc;

		if (p->pos.id[i] < 0 || !kp_reg_visible(r, i, p->pos.mode) || (r->source[i].is_db && !kp_db_has(r->db, r->source[i].part)))
			continue;
		rc = kp_regsource_value(r, i, p->pos.id[i], name, &deleted, NULL);
		if (rc == -ENODATA)
			continue;
		if (rc)
			return rc;
		switch (r->source[i].layer) {
		case KP_REG_POLICY: ret->policy = true; break;
		case KP_REG_INSTANCE:
			ret->instance = true;
			ret->instance_deleted = deleted;
			break;
		case KP_REG_IMAGE:
			ret->image |= !hidden && !deleted;
			ret->image_mark |= !hidden && deleted;
			hidden = true;
			break;
		case KP_REG_SHARED: ret->shared = !hidden; break;
		}
	}
	return 0;
}

static bool shared_takes(const struct kp_reg_txn *t)
{
	return t->place.pos.mode == KP_MODE_MERGED && !t->place.pos.shared_hidden && t->r->shared < t->r->count;
}

/* --- changes --- */

static int create(struct kp_reg_txn *t)
{
	int64_t row;
	int rc;

	if (exists(&t->place))
		return 0;
	rc = make_row(t, shared_takes(t) ? KP_DB_SHARED : KP_DB_INSTANCE, &row);
	if (rc)
		return rc;
	rc = find_again(t);
	if (!rc)
		note(t, KP_REG_MADE, t->place.pos.name, NULL);
	return rc;
}

int kp_reg_create_key(struct kp_reg_txn *t, const char *key)
{
	int rc = find(t, key);

	return ended(t, rc ? rc : create(t));
}

static int set(struct kp_reg_txn *t, const struct kp_regname *n, const struct kp_reg_data *d)
{
	enum kp_db_part part;
	struct seen s;
	int64_t row;
	bool there;
	int rc = look(t, n, &s);

	if (rc || s.policy)
		return rc ? rc : -EACCES;
	there = (s.instance && !s.instance_deleted) || (!s.instance && (s.image || s.shared));
	part = shared_takes(t) && !s.image && !s.image_mark && (!s.instance || s.instance_deleted) ? KP_DB_SHARED : KP_DB_INSTANCE;
	rc = create(t);
	if (!rc)
		rc = make_row(t, part, &row);
	if (!rc && part == KP_DB_SHARED && s.instance) { /* a mark that it was deleted would hide it */
		int64_t own;

		rc = make_row(t, KP_DB_INSTANCE, &own);
		if (!rc)
			rc = kp_db_drop_value(t->r->db, KP_DB_INSTANCE, own, n->fold, n->fold_len);
	}
	if (!rc)
		rc = kp_db_set_value(t->r->db, part, row, n->fold, n->fold_len, n->name, d->type, d->len ? d->data : "", d->len);
	if (!rc)
		rc = kp_db_touch(t->r->db, part, row);
	if (!rc && t->place.pos.id[part == KP_DB_SHARED ? (int)t->r->shared : source_of(t->r, KP_REG_INSTANCE)] < 0)
		rc = find_again(t);
	if (!rc)
		note(t, there ? KP_REG_CHANGED : KP_REG_MADE, t->place.pos.name, n->name);
	return rc;
}

int kp_reg_set(struct kp_reg_txn *t, const char *key, const char *name, const struct kp_reg_data *data)
{
	struct kp_regname n;
	int rc;

	if (data->len > KP_REG_DATA)
		return -EFBIG;
	rc = kp_regname_value(name, &n);
	if (rc)
		return rc;
	rc = find(t, key);
	if (!rc)
		rc = set(t, &n, data);
	free((char *)(uintptr_t)n.fold);
	return ended(t, rc);
}

static int delete_value(struct kp_reg_txn *t, const struct kp_regname *n)
{
	bool shared, mark;
	struct seen s;
	int64_t row;
	int rc = look(t, n, &s);

	if (rc || s.policy)
		return rc ? rc : -EACCES;
	if (s.instance ? s.instance_deleted : !s.image && !s.shared)
		return -ENODATA;
	shared = s.shared && shared_takes(t);
	mark = s.image || (s.shared && !shared);
	if (shared) {
		rc = make_row(t, KP_DB_SHARED, &row);
		if (!rc)
			rc = kp_db_drop_value(t->r->db, KP_DB_SHARED, row, n->fold, n->fold_len);
		if (!rc)
			rc = kp_db_touch(t->r->db, KP_DB_SHARED, row);
	}
	if (!rc && (s.instance || mark)) {
		rc = make_row(t, KP_DB_INSTANCE, &row);
		if (!rc && mark)
			rc = kp_db_set_value(t->r->db, KP_DB_INSTANCE, row, n->fold, n->fold_len, n->name, 0, NULL, 0);
		else if (!rc)
			rc = kp_db_drop_value(t->r->db, KP_DB_INSTANCE, row, n->fold, n->fold_len);
		if (!rc)
			rc = kp_db_touch(t->r->db, KP_DB_INSTANCE, row);
		if (!rc && t->place.pos.id[source_of(t->r, KP_REG_INSTANCE)] < 0)
			rc = find_again(t);
	}
	if (!rc)
		note(t, KP_REG_DELETED, t->place.pos.name, n->name);
	return rc;
}

int kp_reg_delete_value(struct kp_reg_txn *t, const char *key, const char *name)
{
	struct kp_regname n;
	int rc = kp_regname_value(name, &n);

	if (rc)
		return rc;
	rc = find(t, key);
	if (!rc)
		rc = exists(&t->place) ? delete_value(t, &n) : -ENOENT;
	free((char *)(uintptr_t)n.fold);
	return ended(t, rc);
}

/* Does another mode begin at that key or below? */
static bool is_held(const struct kp_reg *r, const struct kp_regpath *path)
{
	for (size_t i = 0; i < r->rule_count; i++) {
		const struct kp_regpath *rule = &r->rules[i].path;
		size_t same = 0;

		while (same < path->depth && same < rule->depth && !strcmp(path->part[same].fold, rule->part[same].fold))
			same++;
		if (same == path->depth)
			return true;
	}
	return false;
}

static int has_subkey(const char *name, void *ctx)
{
	(void)name, (void)ctx;
	return -ENOTEMPTY;
}

/* One layer's row of the key: dropped, or left as a mark that hides the rest. */
static int drop_row(struct kp_reg_txn *t, enum kp_db_part part, bool mark)
{
	int64_t row;
	int rc = make_row(t, part, &row);

	if (!rc)
		rc = kp_db_drop_key(t->r->db, part, row, mark);
	return rc || !mark ? rc : kp_db_set_flags(t->r->db, part, row, KP_HIVE_DELETED);
}

static int delete_key(struct kp_reg_txn *t, const char *key, bool tree)
{
	kp_autofree char *name = NULL;
	struct kp_reg *r = t->r;
	struct place *p = &t->place;
	struct kp_regpos left;
	int own = source_of(r, KP_REG_INSTANCE), policy = source_of(r, KP_REG_POLICY), rc = find(t, key);

	if (rc || !exists(p))
		return rc ? rc : -ENOENT;
	if (p->path.depth == 1 || is_held(r, &p->path))
		return -EBUSY;
	if (policy >= 0 && p->pos.id[policy] >= 0)
		return -EACCES;
	name = kp_strdup(p->pos.name);
	rc = tree ? 0 : kp_reg_each_subkey(r, name, has_subkey, NULL);
	if (!rc && shared_takes(t) && p->pos.id[r->shared] >= 0)
		rc = drop_row(t, KP_DB_SHARED, false);
	if (!rc && p->pos.id[own] >= 0)
		rc = drop_row(t, KP_DB_INSTANCE, false);
	if (!rc)
		rc = kp_regpos_walk(r, &p->path, &left);
	if (rc)
		return rc;
	free(left.name);
	memset(p->row, 0, sizeof(p->row));
	if (left.depth == p->path.depth) /* it is there still, in a layer that stays as it is: a mark hides it */
		rc = drop_row(t, KP_DB_INSTANCE, true);
	if (!rc)
		note(t, KP_REG_DELETED, name, NULL);
	return rc;
}

int kp_reg_delete_key(struct kp_reg_txn *t, const char *key, bool tree)
{
	int rc = ended(t, delete_key(t, key, tree));

	forget(t);
	return rc;
}
