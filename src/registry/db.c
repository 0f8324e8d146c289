/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: files, locks, transactions. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/db_internal.h"

#define APPLICATION 0x6b707267 /* "kprg" */
#define FORMAT 1
#define WAIT_MS 60000

static const char schema_text[] =
	"CREATE TABLE %1$s.keys(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, fold BLOB NOT NULL, name BLOB NOT NULL,"
	" flags INTEGER NOT NULL, mtime INTEGER NOT NULL, UNIQUE(parent, fold));"
	"CREATE TABLE %1$s.vals(key INTEGER NOT NULL, fold BLOB NOT NULL, name BLOB NOT NULL, type INTEGER NOT NULL, data BLOB,"
	" PRIMARY KEY(key, fold)) WITHOUT ROWID;"
	"PRAGMA %1$s.application_id=%2$d; PRAGMA %1$s.user_version=%3$d;";

int kp_db_errno(int sqlite_error)
{
	switch (sqlite_error & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW: return 0;
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return -EAGAIN;
	case SQLITE_READONLY: return -EROFS;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_PERM:
	case SQLITE_AUTH: return -EACCES;
	case SQLITE_TOOBIG: return -EFBIG;
	default: return -EIO;
	}
}

int kp_db_run(struct kp_db *db, const char *sql)
{
	int rc = sqlite3_exec(db->sq, sql, NULL, NULL, NULL);

	return kp_db_errno(rc);
}

static uint32_t big_endian(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Before SQLite has the file open. An empty file is a registry that was being made. */
static int check_file(const char *path, struct kp_err *err)
{
	kp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint8_t head[100];
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return kp_fail_errno(err, errno, "%s: registry", path);
	if (S_ISREG(st.st_mode) && !st.st_size)
		return 0;
	if (!S_ISREG(st.st_mode) || kp_pread_full(fd, head, sizeof(head), 0) < 0 || memcmp(head, "SQLite format 3", 16) != 0)
		return kp_fail(err, EINVAL, "%s: not a registry of kapsel", path);
	if (!big_endian(head + 68) && !big_endian(head + 60)) /* made, but for the tables: a journal that has them to be taken back may be there */
		return 0;
	if (big_endian(head + 68) != APPLICATION)
		return kp_fail(err, EINVAL, "%s: not a registry of kapsel", path);
	if (big_endian(head + 60) > FORMAT) {
		(void)kp_fail(err, EINVAL, "%s: registry format %u: this kapsel reads %d", path, big_endian(head + 60), FORMAT);
		return kp_hint(err, "a newer kapsel is needed");
	}
	return 0;
}

static void set_path(struct kp_db_file *f, const char *path, bool dir_stays)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	kp_autofree char *dir = slash ? kp_strndup(path, (size_t)(slash - path) + 1) : NULL;

	f->path = path ? kp_strdup(path) : NULL;
	f->dir_fd = dir && dir_stays ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static bool is_there(const struct kp_db_file *f)
{
	struct stat st;

	return (f->dir_fd < 0 ? stat(f->path, &st) : fstatat(f->dir_fd, strrchr(f->path, '/') + 1, &st, 0)) == 0 && st.st_size;
}

int kp_db_new(const char *const paths[KP_DB_PARTS], bool writable, struct kp_db **ret_db, struct kp_err *err)
{
	struct kp_db *db;

	for (int i = 0; i < KP_DB_PARTS; i++) {
		int rc = paths[i] ? check_file(paths[i], err) : 0;

		if (rc)
			return rc;
	}
	db = kp_calloc(1, sizeof(*db));
	db->writable = writable;
	for (int i = 0; i < KP_DB_PARTS; i++)
		set_path(&db->part[i], paths[i], i == KP_DB_INSTANCE);
	*ret_db = db;
	return 0;
}

static void close_all(struct kp_db *db)
{
	for (int i = 0; i < KP_DB_PARTS; i++) {
		for (int s = 0; s < KP_DB_STATEMENTS; s++) {
			(void)sqlite3_finalize(db->part[i].stmt[s]);
			db->part[i].stmt[s] = NULL;
		}
		db->part[i].schema = NULL;
		db->part[i].ready = false;
	}
	(void)sqlite3_finalize(db->begin);
	(void)sqlite3_finalize(db->end);
	db->begin = db->end = NULL;
	(void)sqlite3_close_v2(db->sq);
	db->sq = NULL;
}

struct kp_db *kp_db_free(struct kp_db *db)
{
	if (!db)
		return NULL;
	close_all(db);
	for (int i = 0; i < KP_DB_PARTS; i++) {
		free(db->part[i].path);
		(void)kp_close(db->part[i].dir_fd);
	}
	free(db);
	return NULL;
}

/* Files may come from elsewhere, in an instance that was imported: they are data, and no more. */
static int set_up(struct kp_db *db)
{
	static const struct {
		int option, on;
	} options[] = {
		{SQLITE_DBCONFIG_DEFENSIVE, 1}, {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(options); i++)
		(void)sqlite3_db_config(db->sq, options[i].option, options[i].on, NULL);
	(void)sqlite3_busy_timeout(db->sq, WAIT_MS);
	return kp_db_run(db, "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON; PRAGMA cache_spill=OFF;");
}

static int open_part(struct kp_db *db, struct kp_db_file *f, const char *schema)
{
	kp_autofree char *sql = NULL;
	int rc;

	if (!db->sq) {
		rc = sqlite3_open_v2(f->path, &db->sq, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_FULLMUTEX, NULL);
		rc = rc ? kp_db_errno(rc) : set_up(db);
		if (rc) {
			(void)sqlite3_close_v2(db->sq);
			db->sq = NULL;
			return rc;
		}
	} else {
		sqlite3_stmt *st = NULL;

		rc = sqlite3_prepare_v2(db->sq, "ATTACH ?1 AS other", -1, &st, NULL);
		if (!rc) {
			(void)sqlite3_bind_text(st, 1, f->path, -1, SQLITE_STATIC);
			rc = sqlite3_step(st);
		}
		(void)sqlite3_finalize(st);
		if (kp_db_errno(rc))
			return kp_db_errno(rc);
	}
	sql = kp_asprintf("PRAGMA %1$s.synchronous=EXTRA; PRAGMA %1$s.cache_size=-512; PRAGMA %1$s.mmap_size=0;", schema);
	rc = kp_db_run(db, sql);
	if (!rc)
		f->schema = schema;
	return rc;
}

/* With its tables: 1, or 0: it has none yet. */
static int has_tables(struct kp_db *db, struct kp_db_file *f)
{
	kp_autofree char *sql = kp_asprintf("SELECT count(*) FROM %s.sqlite_schema WHERE name IN ('keys','vals')", f->schema);
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db->sq, sql, -1, &st, NULL), n = 0;

	if (!rc) {
		rc = sqlite3_step(st);
		n = rc == SQLITE_ROW ? sqlite3_column_int(st, 0) : 0;
	}
	(void)sqlite3_finalize(st);
	return kp_db_errno(rc) ? kp_db_errno(rc) : n == 2;
}

/* The change counter in the file's head, without a lock: it moves with each commit, by whomever. */
static uint64_t counter(struct kp_db *db, struct kp_db_file *f)
{
	sqlite3_file *file = NULL;
	uint8_t bytes[4] = {0};

	if (sqlite3_file_control(db->sq, f->schema, SQLITE_FCNTL_FILE_POINTER, &file) || !file || !file->pMethods)
		return 0;
	(void)file->pMethods->xRead(file, bytes, sizeof(bytes), 24);
	return (uint64_t)big_endian(bytes) + 1;
}

/* The instance's comes first, in every process: so locks are taken in one order. */
static int open_in_order(struct kp_db *db, struct kp_db_file *f)
{
	struct kp_db_file *shared = &db->part[KP_DB_SHARED];
	bool again = f == &db->part[KP_DB_INSTANCE] && shared->schema;
	int rc;

	if (again)
		close_all(db);
	rc = open_part(db, f, db->sq ? "other" : "main");
	return rc || !again ? rc : open_part(db, shared, "other");
}

/* Opens a part that has come into being: 1; 0: there is none; -errno. */
static int look(struct kp_db *db, struct kp_db_file *f)
{
	int rc = 0;

	if (f->ready || !f->path)
		return f->ready;
	if (!f->schema) {
		if (db->depth || !is_there(f))
			return 0;
		rc = open_in_order(db, f);
	}
	if (!rc)
		rc = has_tables(db, f);
	f->ready = rc == 1;
	return rc;
}

bool kp_db_has(struct kp_db *db, enum kp_db_part part)
{
	return look(db, &db->part[part]) == 1;
}

uint64_t kp_db_generation(struct kp_db *db)
{
	uint64_t g = kp_hash_add(0xcbf29ce484222325ULL, db->changes);

	for (int i = 0; i < KP_DB_PARTS; i++)
		g = kp_hash_add(g, look(db, &db->part[i]) == 1 ? counter(db, &db->part[i]) : 0);
	return g;
}

uint64_t kp_db_changes(const struct kp_db *db)
{
	return db->changes;
}

int kp_db_begin_read(struct kp_db *db)
{
	int rc = 0;

	for (int i = 0; i < KP_DB_PARTS && rc >= 0 && !db->depth; i++)
		rc = look(db, &db->part[i]);
	if (rc < 0)
		return rc;
	db->depth++;
	return 0;
}

static int run_kept(struct kp_db *db, sqlite3_stmt **st, const char *sql)
{
	int rc = *st ? 0 : sqlite3_prepare_v3(db->sq, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL);

	if (!rc)
		rc = sqlite3_step(*st);
	(void)sqlite3_reset(*st);
	return kp_db_errno(rc);
}

int kp_db_first(struct kp_db *db)
{
	int rc;

	if (db->began || !db->depth || !sqlite3_get_autocommit(db->sq))
		return 0;
	rc = run_kept(db, &db->begin, "BEGIN");
	db->began = !rc;
	return rc;
}

void kp_db_end_read(struct kp_db *db)
{
	if (--db->depth || !db->began)
		return;
	(void)run_kept(db, &db->end, "COMMIT");
	db->began = false;
}

static int make_part(struct kp_db *db, struct kp_db_file *f)
{
	kp_autofree char *sql = NULL;
	int rc = 0;

	if (look(db, f) == 1)
		return 0;
	if (!f->path)
		return -EROFS;
	if (!f->schema) {
		kp_autoclose int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return -errno;
		fd = kp_close(fd); /* before SQLite takes its locks */
		rc = open_in_order(db, f);
	}
	if (!rc)
		rc = kp_db_run(db, "BEGIN EXCLUSIVE");
	if (rc)
		return rc;
	rc = has_tables(db, f);
	if (!rc) {
		sql = kp_asprintf(schema_text, f->schema, APPLICATION, FORMAT);
		rc = kp_db_run(db, sql);
	}
	if (rc >= 0)
		rc = kp_db_run(db, "COMMIT");
	if (rc && !sqlite3_get_autocommit(db->sq))
		(void)kp_db_run(db, "ROLLBACK");
	f->ready = !rc;
	return rc;
}

int kp_db_begin(struct kp_db *db, unsigned parts)
{
	int rc = db->writable ? 0 : -EROFS;

	for (int i = 0; i < KP_DB_PARTS && !rc; i++)
		if (parts & 1U << i)
			rc = make_part(db, &db->part[i]);
	if (!rc)
		rc = kp_db_run(db, "BEGIN IMMEDIATE");
	if (!rc)
		db->depth++;
	return rc;
}

int kp_db_commit(struct kp_db *db)
{
	int rc = kp_db_run(db, "COMMIT");

	db->depth--;
	db->changes++;
	if (rc && !sqlite3_get_autocommit(db->sq))
		(void)kp_db_run(db, "ROLLBACK");
	return rc;
}

void kp_db_rollback(struct kp_db *db)
{
	db->depth--;
	db->changes++;
	if (!sqlite3_get_autocommit(db->sq))
		(void)kp_db_run(db, "ROLLBACK");
}
