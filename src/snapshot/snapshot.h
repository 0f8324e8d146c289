/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole copies of an instance: snapshots in instances/NAME/snapshots, and other instances. All that is in its directory is carried but
 * what belongs to the place (kp_settle_is_local). Whoever goes back to one has the instance locked, and so has who makes one of an
 * instance that does not run. Each appears, or replaces the instance, in one step.
 */
#ifndef KAPSEL_SNAPSHOT_SNAPSHOT_H
#define KAPSEL_SNAPSHOT_SNAPSHOT_H

#include "instance/instance.h"
#include "snapshot/copy.h"

/* Why it was made. */
enum kp_snapshot_kind {
	KP_SNAPSHOT_ASKED = 'm', /* by the user */
	KP_SNAPSHOT_AUTO = 'a',	 /* before commit, discard or restore: what `undo` goes back to */
	KP_SNAPSHOT_UNDO = 'u',	 /* before an undo */
	KP_SNAPSHOT_UNDONE = 'd', /* an automatic one that an undo has gone back to */
	KP_SNAPSHOT_HIDDEN = 'h', /* for a clone: its name begins with KP_SNAPSHOT_CLONE, nobody sees it, and it goes again at once */
};
#define KP_SNAPSHOT_CLONE ".clone-"
#define KP_SNAPSHOT_AUTO_MAX 10 /* so many that were not asked for are kept */

struct kp_snapshot {
	char *name, *note;
	char *parent; /* what it was made from: a snapshot, or "" */
	enum kp_snapshot_kind kind;
	struct timespec created;
	uint64_t bytes, own; /* on disk: all of it; what no other snapshot shares */
};

struct kp_snapshots {
	struct kp_snapshot *items; /* oldest first */
	size_t count;
};

struct kp_snapshot_make {
	const char *name; /* NULL: made from the time */
	const char *note; /* or NULL */
	enum kp_snapshot_kind kind;
	struct kp_prepared *prepared; /* as of kp_snapshot_prepare, or NULL: what was copied becomes the snapshot, and the rest is added */
	/* Of an instance that runs: calls fn(fn_ctx) while it is held still. NULL: it does not run. */
	int (*hold)(void *ctx, int (*fn)(void *ctx, struct kp_err *err), void *fn_ctx, struct kp_err *err);
	void *ctx;
	const struct kp_inodes *mapped; /* then: what its programs have mapped shared; known when fn is called */
	struct kp_tally *tally; /* or NULL: counts what is copied; not what was prepared */
};
/* The name is returned (allocated; may be NULL). */
int kp_snapshot_create(const struct kp_instance *i, const struct kp_snapshot_make *make, char **ret_name, struct kp_err *err);
/* While it runs, without a lock: most of what the next snapshot will hold. *ret is for kp_snapshot_unprepare() in the end, used or not.
 * The caller has SIGIO blocked: it comes when somebody writes to what is looked at by way of a lease. cancel: -ECANCELED once it is set. */
int kp_snapshot_prepare(const struct kp_instance *i, const atomic_bool *cancel, struct kp_prepared **ret, struct kp_err *err);
void kp_snapshot_unprepare(const struct kp_instance *i, struct kp_prepared *p);
/* One of KP_SNAPSHOT_HIDDEN. */
void kp_snapshot_drop(const struct kp_instance *i, const char *name);
/* sizes: count what is on disk, too. Needs no lock. */
int kp_snapshot_list(const struct kp_instance *i, bool sizes, struct kp_snapshots *ret, struct kp_err *err);
void kp_snapshots_free(struct kp_snapshots *s);
#define kp_autosnapshots __attribute__((cleanup(kp_snapshots_free)))
const struct kp_snapshot *kp_snapshots_find(const struct kp_snapshots *s, const char *name);
/* The instance becomes what it was, as edit (may be NULL) changes it: host_files is the directory with the new state's files, as of
 * kp_snapshot_open(); when edit fails the instance stays as it is. */
int kp_snapshot_restore(const struct kp_instance *i, const char *name, int (*edit)(const char *host_files, void *ctx, struct kp_err *err), void *ctx,
			struct kp_err *err);
int kp_snapshot_remove(const struct kp_instance *i, const char *name, struct kp_err *err);
/* Those that nobody asked for do not pile up: the newest KP_SNAPSHOT_AUTO_MAX stay. */
void kp_snapshot_prune(const struct kp_instance *i);
/* It is no longer what `undo` goes back to. */
int kp_snapshot_mark_undone(const struct kp_instance *i, const struct kp_snapshot *s, struct kp_err *err);
/* Descriptor of the directory that holds its files (upper/, config.yaml, ...), or -errno with err. */
int kp_snapshot_open(const struct kp_instance *i, const char *name, struct kp_err *err);

/* A new instance that is what i is, or, with a snapshot, was. -EEXIST with err where there is one of that name. */
int kp_clone_create(const struct kp_instance *i, const char *snapshot, const char *name, struct kp_err *err);

#endif
