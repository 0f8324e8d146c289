/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room. */
#ifndef KAPSEL_SNAPSHOT_INTERNAL_H
#define KAPSEL_SNAPSHOT_INTERNAL_H

#include <sys/stat.h>
#include <time.h>
#include <uthash.h>

#include "snapshot/copy.h"
#include "snapshot/snapshot.h"

struct kp_inode {
	ino_t ino;
	UT_hash_handle hh;
};

/* --- copy.c: a copy on its way --- */
struct kp_copy {
	const struct kp_carry *how; /* and the roots */
	char **dirs; /* below the roots; those to come, then all again from the end: their times are set last */
	size_t dir_count, dir_room;
	struct kp_first *names;
	char *names_buf, *value_buf;
	struct kp_err *err;
};

struct kp_place { /* a directory on each side */
	int from, to, before;
	const char *path; /* "" is the root */
	struct kp_made_dir *made; /* where what is copied is noted, or NULL */
};

void kp_copy_begin(struct kp_copy *c, const struct kp_carry *how, struct kp_err *err);
/* One name; a directory is made, and filled by kp_copy_dirs(). 0 or -errno. */
int kp_copy_entry(struct kp_copy *c, const struct kp_place *p, const char *name);
int kp_copy_dirs(struct kp_copy *c);
void kp_copy_end(struct kp_copy *c);
/* Everything of an inode but its content, times last. */
int kp_copy_inode(struct kp_copy *c, int from, int to);

/* A change made now would give a file of this time another one. */
bool kp_old_enough(const struct timespec *changed);
static inline bool kp_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* --- prepare.c: what was copied before the freeze, and what is left to do in it --- */
/* Notes a directory before its names are read; it may be noted already. */
struct kp_made_dir *kp_made_dir(struct kp_prepared *p, const char *path, int from);
/* Its names could not be read, or its attributes not be copied. */
void kp_made_unsure(struct kp_prepared *p, const char *path);
/* st: the live one when it was copied; NULL: it was not. */
void kp_made_add(struct kp_made_dir *d, const char *name, const struct stat *st);
struct kp_prepared *kp_prepared_new(const char *name);
void kp_prepared_free(struct kp_prepared *p);
const char *kp_prepared_name(const struct kp_prepared *p); /* in snapshots/; NULL: it is a snapshot by now */
void kp_prepared_taken(struct kp_prepared *p);
/* Brings what KP_TREE_PREPARE made, in how->to_fd, up to date; fn: is that name of the root copied? */
int kp_prepared_finish(const struct kp_carry *how, bool (*fn)(const char *name), struct kp_err *err);

/* Everything that copies carry. */
int kp_carry(const struct kp_carry *how, struct kp_err *err);
/* Later changes get a later time than all that was copied so far. */
void kp_let_time_pass(void);

#endif
