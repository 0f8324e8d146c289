/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache that guests read themselves (kapsel/fast.h, docs/FAST.md): filled from resolved nodes under the read lock, voided under
 * the write lock. A writer that declares no names voids all of it.
 */
#ifndef KAPSEL_VFS_FAST_H
#define KAPSEL_VFS_FAST_H

#include "kapsel/fast.h"
#include "vfs/resolve.h"

struct kp_fast_cache;
struct kp_fast;

/* mem: zeroes, which guests can read, and one page behind them that is ours alone; outlives the cache. Without one (NULL) the functions below do nothing. */
void kp_fast_make(struct kp_vfs *v, struct kp_fast *mem);
struct kp_fast_cache *kp_fast_free(struct kp_fast_cache *c);
/* All that is known is void. */
void kp_fast_void(struct kp_vfs *v);
/* With the write lock held, before anything is done: what this change may concern. A new name, or one of something that no path leads
 * through, concerns itself; a directory what lies below it, and as a link what leads by way of links or dots; nothing declared at all: all names,
 * when the lock is let go. */
void kp_fast_changes(struct kp_vfs *v, const struct kp_node *n);
/* A directory is about to be made where nothing is: names that were not in one called so before are not in it either, for who may look. */
void kp_fast_makes_dir(struct kp_vfs *v, const struct kp_node *n, mode_t mode);
/* Something is about to be removed, a directory only if it is empty; one was: what is made under its name next and is no directory voids what was below it. */
void kp_fast_removes(struct kp_vfs *v, const struct kp_node *n);
void kp_fast_dir_went(struct kp_vfs *v, const char *guest);
void kp_fast_dir_goes(struct kp_vfs *v);
/* A directory is about to be copied up. */
void kp_fast_copies_dir(struct kp_vfs *v, const struct kp_node *n);
/* Whoever could go through directory n still can, and nobody else: guests are all one user. */
struct kp_cred;
bool kp_fast_keeps_ways(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, mode_t mode);
void kp_fast_changes_mode(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, mode_t mode);
/* Directories that stand for a guest's: its number may be another's from now on; one has come, NULL: or several. Under the write lock, or the
 * stand-ins' lock: nobody is let into a new one before its number is known to be nobody's. */
void kp_fast_standins_lock(struct kp_vfs *v);
void kp_fast_standins_unlock(struct kp_vfs *v);
void kp_fast_standin_goes(struct kp_vfs *v, const struct stat *st);
void kp_fast_standin_comes(struct kp_vfs *v, const struct stat *st);
/* Of owner or mode, which other names of the file have, too. */
void kp_fast_changes_file(struct kp_vfs *v, const struct kp_node *n);
/* Of size or times, which are nobody's to remember once they are the instance's. */
void kp_fast_changes_data(struct kp_vfs *v, const struct kp_node *n);
void kp_fast_unchanged(struct kp_vfs *v);

/* With the read lock held: what path, from start (NULL: it is absolute), led to. start is a stand-in's guest path. program: as
 * which it is executed, {0}: nobody knows. Returns the entry that it is known by now. */
struct kp_fast_ref kp_fast_put(struct kp_vfs *v, const char *path, const char *start, bool follow, const struct kp_cred *cred, const struct kp_node *n,
			       struct kp_fast_program program);
/* By which counters an entry of that canonical name would hold now. */
void kp_fast_state(const struct kp_vfs *v, const char *guest, uint32_t ret[2]);
/* From now on the supervisor is asked at every execve. */
void kp_fast_settle_all(struct kp_vfs *v);

/* With the read lock held: the name of a directory, by its stand-in, for who is in it. */
bool kp_fast_put_cwd(struct kp_vfs *v, const char *standin);

/* Where a thread is, so that its relative paths need not ask: the stand-in's guest path. begin: before the kernel is asked where. put: false
 * when that is not to be told any more. moves: before a thread, any, is let into chdir; ended: it is another's number now, or nobody's. */
struct kp_fast_mark {
	uint32_t moved, seq;
};
void kp_fast_place_begin(struct kp_vfs *v, pid_t tid, struct kp_fast_mark *ret);
bool kp_fast_place_put(struct kp_vfs *v, pid_t tid, const struct kp_fast_mark *mark, const char *standin);
void kp_fast_place_moves(struct kp_vfs *v);
void kp_fast_place_ended(struct kp_vfs *v, pid_t tid);

/* The same of what a descriptor holds; n as kp_call_fd_node gives it. */
bool kp_fast_put_fd(struct kp_vfs *v, const struct kp_cred *cred, const struct kp_node *n);
/* Each time before a guest gets a descriptor of an image's file: equal files are one inode of the store, and then none is known by it. */
void kp_fast_opened(struct kp_vfs *v, const struct kp_node *n, int fd);
/* There is a copy of that object's code with `prepared` jumps, whose path and place f tells. False: the object is several files'. */
struct kp_sites_file;
bool kp_fast_put_prepared(struct kp_vfs *v, const struct stat *st, struct kp_sites_file *f, uint32_t prepared);

#endif
