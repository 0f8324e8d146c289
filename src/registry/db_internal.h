/* SPDX-License-Identifier: Apache-2.0 */
/* The connection's state, for db.c and db_rows.c only. */
#ifndef KAPSEL_REGISTRY_DB_INTERNAL_H
#define KAPSEL_REGISTRY_DB_INTERNAL_H

#include <sqlite3.h>

#include "registry/db.h"

enum kp_db_statement {
	KP_DB_CHILD,
	KP_DB_MTIME,
	KP_DB_VALUE,
	KP_DB_MAKE_KEY,
	KP_DB_SET_FLAGS,
	KP_DB_TOUCH,
	KP_DB_DROP_BELOW,
	KP_DB_DROP_VALUES,
	KP_DB_DROP_KEY,
	KP_DB_SET_VALUE,
	KP_DB_DROP_VALUE,
	KP_DB_STATEMENTS
};

struct kp_db_file {
	char *path;         /* NULL: no such part */
	int dir_fd;         /* the instance's directory, which stays: whether the file has come is asked often. -1: by its path */
	const char *schema; /* once it is open */
	bool ready;         /* open, and it has its tables */
	sqlite3_stmt *stmt[KP_DB_STATEMENTS];
};

struct kp_db {
	sqlite3 *sq;
	bool writable;
	int depth; /* of transactions */
	bool began; /* for reading: at its first statement */
	sqlite3_stmt *begin, *end;
	uint64_t changes;
	struct kp_db_file part[KP_DB_PARTS];
};

int kp_db_errno(int sqlite_error);
/* Before a statement that reads: all of one reading transaction are one state. */
int kp_db_first(struct kp_db *db);
int kp_db_run(struct kp_db *db, const char *sql);

#endif
