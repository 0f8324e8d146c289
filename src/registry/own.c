/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance's registry file says by itself, without the layers below it: for moving it to other layers. */
#include "registry/internal.h"

struct own {
	struct kp_db *db;
	struct step { /* keys still to look into */
		int64_t id;
		char *key;
		bool hidden;
	} *todo;
	size_t count;
	int (*fn)(const struct kp_own *o, void *ctx);
	void *ctx;
};

static int open_db(const char *path, bool writable, struct kp_db **ret, struct kp_err *err)
{
	const char *paths[KP_DB_PARTS] = {[KP_DB_INSTANCE] = path};

	return kp_db_new(paths, writable, ret, err);
}

static void push(struct own *o, int64_t id, char *key, bool hidden)
{
	o->todo = kp_realloc(o->todo, (o->count + 1) * sizeof(*o->todo));
	o->todo[o->count++] = (struct step){id, key, hidden};
}

static int tell_key(struct own *o, const struct step *in, const struct kp_db_cursor *c)
{
	char *key = kp_asprintf("%s%s%s", in->key, *in->key ? "\\" : "", c->v.name);
	bool anew = c->key.flags & KP_HIVE_OPAQUE, gone = c->key.flags & KP_HIVE_DELETED;
	struct kp_own what = {.kind = gone ? KP_OWN_KEY_GONE : KP_OWN_KEY_ANEW, .key = key, .hidden = in->hidden};
	int rc = gone || anew ? o->fn(&what, o->ctx) : 0;

	push(o, c->key.id, key, in->hidden || anew);
	return rc;
}

static int tell_value(struct own *o, const struct step *in, const struct kp_db_cursor *c)
{
	struct kp_own what = {.kind = c->v.deleted ? KP_OWN_VALUE_GONE : KP_OWN_VALUE, .key = in->key, .name = c->v.name, .hidden = in->hidden,
			      .d = {c->v.type, c->v.len, c->v.data}};

	return o->fn(&what, o->ctx);
}

static int look_into(struct own *o, const struct step *in, bool values)
{
	struct kp_db_cursor c;
	int rc = kp_db_cursor_open(o->db, KP_DB_INSTANCE, in->id, values, &c);

	while (!rc && !c.done) {
		rc = values ? tell_value(o, in, &c) : tell_key(o, in, &c);
		if (!rc)
			rc = kp_db_cursor_next(o->db, &c);
	}
	kp_db_cursor_close(&c);
	return rc;
}

int kp_own_each(const char *path, int (*fn)(const struct kp_own *o, void *ctx), void *ctx, struct kp_err *err)
{
	struct own o = {.fn = fn, .ctx = ctx};
	int rc = open_db(path, false, &o.db, err);

	if (rc)
		return rc;
	if (kp_db_has(o.db, KP_DB_INSTANCE)) {
		rc = kp_db_begin_read(o.db);
		push(&o, 0, kp_strdup(""), false);
	}
	while (o.count) {
		struct step in = o.todo[--o.count];

		if (!rc && *in.key)
			rc = look_into(&o, &in, true);
		if (!rc)
			rc = look_into(&o, &in, false);
		free(in.key);
	}
	free(o.todo);
	if (kp_db_has(o.db, KP_DB_INSTANCE))
		kp_db_end_read(o.db);
	(void)kp_db_free(o.db);
	return rc < 0 && !err->code ? kp_fail_errno(err, -rc, "%s: cannot be read", path) : rc;
}

/* One key or value; what is not there is gone. */
static int drop(struct kp_db *db, const char *key, const char *name)
{
	struct kp_regpath kp_autoregpath p = {0};
	struct kp_db_key row = {0};
	struct kp_regname n = {0};
	int rc = kp_regpath_parse(key, &p);

	for (size_t i = 0; i < p.depth && !rc; i++)
		rc = kp_db_child(db, KP_DB_INSTANCE, row.id, p.part[i].fold, p.part[i].fold_len, false, &row);
	if (!rc && !name)
		rc = kp_db_drop_key(db, KP_DB_INSTANCE, row.id, false);
	if (!rc && name)
		rc = kp_regname_value(name, &n);
	if (!rc && name)
		rc = kp_db_drop_value(db, KP_DB_INSTANCE, row.id, n.fold, n.fold_len);
	free((char *)(uintptr_t)n.fold);
	return rc == -ENOENT ? 0 : rc;
}

int kp_own_drop(const char *path, const struct kp_own_name *names, size_t count, struct kp_err *err)
{
	struct kp_db *db;
	int rc = open_db(path, true, &db, err);

	if (rc)
		return rc;
	rc = kp_db_begin(db, 1U << KP_DB_INSTANCE);
	for (size_t i = 0; i < count && !rc; i++)
		rc = drop(db, names[i].key, names[i].name);
	if (!rc)
		rc = kp_db_commit(db);
	else
		kp_db_rollback(db);
	(void)kp_db_free(db);
	return rc < 0 ? kp_fail_errno(err, -rc, "%s: cannot be changed", path) : 0;
}
