/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values as rows. Statements are made once; those of cursors, which may be open in numbers, each time. */
#include <time.h>

#include "kapsel/registry.h"
#include "registry/db_internal.h"

static const char *const texts[KP_DB_STATEMENTS] = {
	[KP_DB_CHILD] = "SELECT id, flags, name, mtime FROM %s.keys WHERE parent=?1 AND fold=?2",
	[KP_DB_VALUE] = "SELECT fold, name, type, data FROM %s.vals WHERE key=?1 AND fold=?2",
	[KP_DB_MAKE_KEY] = "INSERT INTO %s.keys(parent, fold, name, flags, mtime) VALUES(?1, ?2, ?3, ?4, ?5)",
	[KP_DB_SET_FLAGS] = "UPDATE %s.keys SET flags=?2, mtime=?3 WHERE id=?1",
	[KP_DB_TOUCH] = "UPDATE %s.keys SET mtime=?2 WHERE id=?1",
	[KP_DB_DROP_BELOW] = "WITH RECURSIVE below(id, depth) AS (SELECT id, 1 FROM %1$s.keys WHERE parent=?1 UNION ALL"
			     " SELECT k.id, depth + 1 FROM %1$s.keys k JOIN below b ON k.parent=b.id WHERE depth < 600)"
			     " SELECT id FROM below ORDER BY depth DESC",
	[KP_DB_DROP_VALUES] = "DELETE FROM %s.vals WHERE key=?1",
	[KP_DB_DROP_KEY] = "DELETE FROM %s.keys WHERE id=?1",
	[KP_DB_SET_VALUE] = "INSERT OR REPLACE INTO %s.vals(key, fold, name, type, data) VALUES(?1, ?2, ?3, ?4, ?5)",
	[KP_DB_DROP_VALUE] = "DELETE FROM %s.vals WHERE key=?1 AND fold=?2",
};

static int statement(struct kp_db *db, enum kp_db_part part, enum kp_db_statement which, sqlite3_stmt **ret)
{
	struct kp_db_file *f = &db->part[part];
	int rc = kp_db_first(db);

	if (rc)
		return rc;
	if (!f->stmt[which]) {
		kp_autofree char *sql = kp_asprintf(texts[which], f->schema);

		rc = sqlite3_prepare_v3(db->sq, sql, -1, SQLITE_PREPARE_PERSISTENT, &f->stmt[which], NULL);
	}
	*ret = f->stmt[which];
	return kp_db_errno(rc);
}

static int step_once(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	(void)sqlite3_reset(st);
	(void)sqlite3_clear_bindings(st);
	return kp_db_errno(rc);
}

static int64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* A blob of a row as a NUL-terminated text without NULs in it; NULL: it is none. */
static const char *text_column(sqlite3_stmt *st, int column, size_t *ret_len)
{
	const char *s = (const char *)sqlite3_column_text(st, column);

	*ret_len = (size_t)sqlite3_column_bytes(st, column);
	return s && strlen(s) == *ret_len ? s : NULL;
}

int kp_db_child(struct kp_db *db, enum kp_db_part part, int64_t parent, const char *fold, size_t fold_len, bool want_name,
		struct kp_db_key *ret)
{
	sqlite3_stmt *st;
	const char *name;
	size_t len;
	int rc = statement(db, part, KP_DB_CHILD, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, parent);
	(void)sqlite3_bind_blob(st, 2, fold, (int)fold_len, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*ret = (struct kp_db_key){.id = sqlite3_column_int64(st, 0), .flags = (unsigned)sqlite3_column_int(st, 1),
					  .mtime = sqlite3_column_int64(st, 3)};
		name = want_name ? text_column(st, 2, &len) : NULL;
		rc = want_name && (!name || strchr(name, '\\')) ? -EIO : 0;
		if (!rc && want_name)
			ret->name = kp_strdup(name);
	} else {
		rc = rc == SQLITE_DONE ? -ENOENT : kp_db_errno(rc);
	}
	(void)sqlite3_reset(st);
	return rc;
}

static bool value_row(sqlite3_stmt *st, struct kp_db_value *v)
{
	int64_t type = sqlite3_column_int64(st, 2);

	*v = (struct kp_db_value){0};
	v->fold = text_column(st, 0, &v->fold_len);
	v->name = text_column(st, 1, &v->name_len);
	v->deleted = type < 0;
	v->type = (uint32_t)type;
	v->data = sqlite3_column_blob(st, 3);
	v->len = (size_t)sqlite3_column_bytes(st, 3);
	if (!v->data)
		v->data = "";
	return v->fold && v->name && type <= UINT32_MAX && v->len <= KP_REG_DATA;
}

int kp_db_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len,
		void (*fn)(const struct kp_db_value *v, void *ctx), void *ctx)
{
	struct kp_db_value v;
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_VALUE, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	(void)sqlite3_bind_blob(st, 2, fold, (int)fold_len, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		rc = value_row(st, &v) ? 0 : -EIO;
		if (!rc)
			fn(&v, ctx);
	} else {
		rc = rc == SQLITE_DONE ? -ENODATA : kp_db_errno(rc);
	}
	(void)sqlite3_reset(st);
	return rc;
}

int kp_db_cursor_open(struct kp_db *db, enum kp_db_part part, int64_t key, bool values, struct kp_db_cursor *ret)
{
	const char *format = values ? "SELECT fold, name, type, data FROM %s.vals WHERE key=?1 ORDER BY fold"
				    : "SELECT fold, name, flags, id, mtime FROM %s.keys WHERE parent=?1 ORDER BY fold";
	kp_autofree char *sql = kp_asprintf(format, db->part[part].schema);
	int rc;

	*ret = (struct kp_db_cursor){.values = values};
	rc = kp_db_first(db);
	if (rc)
		return rc;
	rc = sqlite3_prepare_v2(db->sq, sql, -1, &ret->stmt, NULL);
	if (rc)
		return kp_db_errno(rc);
	(void)sqlite3_bind_int64(ret->stmt, 1, key);
	return kp_db_cursor_next(db, ret);
}

int kp_db_cursor_next(struct kp_db *db, struct kp_db_cursor *c)
{
	int rc = sqlite3_step(c->stmt);

	(void)db;
	if (rc == SQLITE_DONE) {
		c->done = true;
		return 0;
	}
	if (rc != SQLITE_ROW)
		return kp_db_errno(rc);
	if (c->values)
		return value_row(c->stmt, &c->v) ? 0 : -EIO;
	c->v.fold = text_column(c->stmt, 0, &c->v.fold_len);
	c->v.name = text_column(c->stmt, 1, &c->v.name_len);
	c->key = (struct kp_db_key){.id = sqlite3_column_int64(c->stmt, 3), .mtime = sqlite3_column_int64(c->stmt, 4),
				    .flags = (unsigned)sqlite3_column_int(c->stmt, 2)};
	return c->v.fold && c->v.name && !strchr(c->v.name, '\\') ? 0 : -EIO;
}

void kp_db_cursor_close(struct kp_db_cursor *c)
{
	(void)sqlite3_finalize(c->stmt);
	c->stmt = NULL;
}

int kp_db_make_key(struct kp_db *db, enum kp_db_part part, int64_t parent, const char *fold, size_t fold_len, const char *name, unsigned flags,
		   int64_t *ret_id)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_MAKE_KEY, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, parent);
	(void)sqlite3_bind_blob(st, 2, fold, (int)fold_len, SQLITE_STATIC);
	(void)sqlite3_bind_blob(st, 3, name, (int)strlen(name), SQLITE_STATIC);
	(void)sqlite3_bind_int(st, 4, (int)flags);
	(void)sqlite3_bind_int64(st, 5, now());
	rc = step_once(st);
	db->changes++;
	*ret_id = sqlite3_last_insert_rowid(db->sq);
	return rc;
}

int kp_db_set_flags(struct kp_db *db, enum kp_db_part part, int64_t key, unsigned flags)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_SET_FLAGS, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	(void)sqlite3_bind_int(st, 2, (int)flags);
	(void)sqlite3_bind_int64(st, 3, now());
	db->changes++;
	return step_once(st);
}

int kp_db_touch(struct kp_db *db, enum kp_db_part part, int64_t key)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_TOUCH, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	(void)sqlite3_bind_int64(st, 2, now());
	return step_once(st);
}

/* One statement that has only the key's number. */
static int drop(struct kp_db *db, enum kp_db_part part, enum kp_db_statement which, int64_t key)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, which, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	return step_once(st);
}

int kp_db_drop_key(struct kp_db *db, enum kp_db_part part, int64_t key, bool contents_only)
{
	kp_autofree int64_t *below = NULL;
	size_t count = 0;
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_DROP_BELOW, &st), step;

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		if (!(count & (count - 1)))
			below = kp_realloc(below, KP_MAX(2 * count, (size_t)1) * sizeof(*below));
		below[count++] = sqlite3_column_int64(st, 0);
	}
	(void)sqlite3_reset(st);
	rc = kp_db_errno(step);
	db->changes++;
	for (size_t i = 0; i < count && !rc; i++) {
		rc = drop(db, part, KP_DB_DROP_VALUES, below[i]);
		if (!rc)
			rc = drop(db, part, KP_DB_DROP_KEY, below[i]);
	}
	if (!rc)
		rc = drop(db, part, KP_DB_DROP_VALUES, key);
	return rc || contents_only ? rc : drop(db, part, KP_DB_DROP_KEY, key);
}

int kp_db_set_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len, const char *name, uint32_t type,
		    const void *data, size_t len)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_SET_VALUE, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	(void)sqlite3_bind_blob(st, 2, fold, (int)fold_len, SQLITE_STATIC);
	(void)sqlite3_bind_blob(st, 3, name, (int)strlen(name), SQLITE_STATIC);
	(void)sqlite3_bind_int64(st, 4, data ? (int64_t)type : -1);
	if (data)
		(void)sqlite3_bind_blob(st, 5, data, (int)len, SQLITE_STATIC);
	db->changes++;
	return step_once(st);
}

int kp_db_drop_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len)
{
	sqlite3_stmt *st;
	int rc = statement(db, part, KP_DB_DROP_VALUE, &st);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(st, 1, key);
	(void)sqlite3_bind_blob(st, 2, fold, (int)fold_len, SQLITE_STATIC);
	db->changes++;
	return step_once(st);
}
