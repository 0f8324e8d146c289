/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two registries on disk that can be changed, SQLite files: the instance's and the user's. One connection for both, so that a transaction
 * over both is whole or absent. Nothing is opened before it is needed, nothing made before it is written. Used by one thread at a time.
 *
 * A rollback journal, not a write-ahead log: the file alone is the registry whenever nobody writes, it works on network file systems, and
 * whether it changed is one read of four bytes. The file must not be opened and closed by other code of a process that has it open here: that
 * would drop the locks.
 */
#ifndef KAPSEL_REGISTRY_DB_H
#define KAPSEL_REGISTRY_DB_H

#include "base/base.h"

enum kp_db_part { KP_DB_INSTANCE, KP_DB_SHARED, KP_DB_PARTS };

struct kp_db;

/* Paths may be NULL: there is no such part. 0, or -errno with err where a file is there and is none of ours, or newer. */
int kp_db_new(const char *const paths[KP_DB_PARTS], bool writable, struct kp_db **ret_db, struct kp_err *err);
struct kp_db *kp_db_free(struct kp_db *db);

/* Is there such a part, now? */
bool kp_db_has(struct kp_db *db, enum kp_db_part part);
/* Another number after each change of either part, by whomever. */
uint64_t kp_db_generation(struct kp_db *db);
uint64_t kp_db_changes(const struct kp_db *db); /* the same for this connection's own alone: enough in a transaction */

/* Read transactions nest, also in a write transaction; they begin at the first read. */
int kp_db_begin_read(struct kp_db *db);
void kp_db_end_read(struct kp_db *db);
/* Makes the parts that are wanted (bits) and waits for other writers. */
int kp_db_begin(struct kp_db *db, unsigned parts);
int kp_db_commit(struct kp_db *db); /* failed: rolled back */
void kp_db_rollback(struct kp_db *db);

/* Key 0 is the root. */
struct kp_db_key {
	int64_t id, mtime;
	unsigned flags; /* enum kp_disk_hive_flags */
	char *name;     /* for the caller to free; NULL where not asked for */
};
/* 0, -ENOENT, other -errno. ret->name is set when want_name. */
int kp_db_child(struct kp_db *db, enum kp_db_part part, int64_t parent, const char *fold, size_t fold_len, bool want_name,
		struct kp_db_key *ret);

struct kp_db_value {
	const char *name, *fold; /* as long as the statement stands; NUL-terminated */
	size_t name_len, fold_len;
	bool deleted;
	uint32_t type;
	const void *data;
	size_t len;
};
/* Calls fn with it, and returns what fn does; -ENODATA: none. */
int kp_db_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len,
		void (*fn)(const struct kp_db_value *v, void *ctx), void *ctx);

/* All keys below, or values in, a key, in order. Several may be open at once. */
struct kp_db_cursor {
	struct sqlite3_stmt *stmt;
	bool values, done;
	struct kp_db_key key;        /* name as that of v */
	struct kp_db_value v;        /* keys: name and fold only */
};
int kp_db_cursor_open(struct kp_db *db, enum kp_db_part part, int64_t key, bool values, struct kp_db_cursor *ret);
int kp_db_cursor_next(struct kp_db *db, struct kp_db_cursor *c); /* done is set behind the last */
void kp_db_cursor_close(struct kp_db_cursor *c);

/* --- in a write transaction --- */
int kp_db_make_key(struct kp_db *db, enum kp_db_part part, int64_t parent, const char *fold, size_t fold_len, const char *name, unsigned flags,
		   int64_t *ret_id);
int kp_db_set_flags(struct kp_db *db, enum kp_db_part part, int64_t key, unsigned flags);
int kp_db_touch(struct kp_db *db, enum kp_db_part part, int64_t key);
/* The key's values and all below it; the key itself too, unless only its contents are to go. */
int kp_db_drop_key(struct kp_db *db, enum kp_db_part part, int64_t key, bool contents_only);
/* data NULL: a mark that it is deleted. */
int kp_db_set_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len, const char *name, uint32_t type,
		    const void *data, size_t len);
int kp_db_drop_value(struct kp_db *db, enum kp_db_part part, int64_t key, const char *fold, size_t fold_len);

#endif
