/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance changed: its upper layer compared with what lies below. Everything is read by descriptor below the upper's root,
 * through no symlink: a guest that works in it meanwhile can make an answer stale, not lead a read elsewhere.
 */
#ifndef KAPSEL_CHANGES_CHANGES_H
#define KAPSEL_CHANGES_CHANGES_H

#include <limits.h>
#include <time.h>

#include "base/base.h"
#include "vfs/explain.h"

enum kp_change_kind { KP_CHANGE_ADDED = 'A', KP_CHANGE_CHANGED = 'M', KP_CHANGE_DELETED = 'D', KP_CHANGE_RENAMED = 'R' };

/* What of it differs. */
enum {
	KP_DIFFERS_KIND = 1,
	KP_DIFFERS_CONTENT = 2, /* or a link's target */
	KP_DIFFERS_MODE = 4,
	KP_DIFFERS_OWNER = 8,
	KP_DIFFERS_TIME = 16,
};

struct kp_change {
	char *path;  /* canonical guest path */
	char *from;  /* RENAMED: what it was; NULL else */
	enum kp_change_kind kind;
	unsigned differs;
	mode_t mode, old_mode; /* with type; 0: there is (was) nothing */
	uint64_t size, old_size;
	uint64_t number, links; /* which inode of the upper it is, and how many names that has */
	enum kp_origin below;  /* the layer that has the old one; KP_ABSENT: none */
	char *host;  /* where the host has, or would have it; NULL: no mode shows the host there */
	uid_t uid;
	gid_t gid;
	bool hidden; /* a new directory is in the place of an old one above it: its own entry, if any, does not hide what lies below */
	bool copied; /* it is a copy of a file of the host, under that file's number, and its only name */
	bool chosen; /* see kp_changes_choose */
	bool moved;  /* DELETED: what a RENAMED one was */
	char *source; /* it is in a renamed directory, and its content still in the layers below, there; NULL: in the upper */
	struct timespec times[2]; /* with source */
	char *base;   /* in the upper, and what the layers below have of it lies there, since a directory was renamed; NULL: at path */
};

struct kp_changes {
	struct kp_change *items; /* sorted by path */
	size_t count;
};

/* lower: a view (kp_vfs_options.look_only) of the instance's layers without the instance. Paths that only came into the upper to hold
 * something else are no changes. 0 or -errno with err. */
int kp_changes_find(int upper_fd, struct kp_vfs *lower, struct kp_changes *ret, struct kp_err *err);
void kp_changes_free(struct kp_changes *c);
#define kp_autochanges __attribute__((cleanup(kp_changes_free)))
/* Marks as chosen those that are one of the guest paths or below it; -ENOENT with err where a path has none. No paths: all. */
int kp_changes_choose(struct kp_changes *c, const char *const *paths, size_t count, struct kp_err *err);
/* What belongs together is chosen together: both ends of a rename, all names of one file. */
void kp_changes_choose_whole(struct kp_changes *c);

/* An instance's directory, locked, to be changed: upper/ and a place beside it for what is on its way. */
struct kp_changing {
	const char *instance, *dir; /* name; host path */
	int upper_fd, work_fd;
	unsigned temps;
	int (*before)(void *ctx, struct kp_err *err); /* called once before the first change, when all has been checked; may be NULL */
	void *ctx;
};
/* Both are opened; work/ is made when missing. */
int kp_changing_open(struct kp_changing *g, const char *instance, const char *dir, struct kp_err *err);
void kp_changing_close(struct kp_changing *g);
#define kp_autochanging __attribute__((cleanup(kp_changing_close)))
/* The upper's entry at a canonical guest path goes, in one step, with all that is in it. A missing one is success. */
int kp_changing_drop(struct kp_changing *g, const char *guest);
/* Drops the changes at or below paths (none: all) and what belongs to those that are chosen. 0 or -errno with err; what is refused is
 * refused before anything is dropped. */
int kp_changes_discard(struct kp_changing *g, const struct kp_changes *c, const char *const *paths, size_t count, struct kp_err *err);

struct kp_commit {
	bool force;   /* also over what changed on the host meanwhile */
	bool dry_run;
	void (*said)(const struct kp_change *c, const char *left, void *ctx); /* applied; left: not, and why */
	void *ctx;
	size_t done, left;
};
/* Applies the chosen changes to the host, each whole or not at all, and drops them from the upper. Those that the host does not show,
 * or that are the image's, are left. Nothing is changed when one of them conflicts with a change of the host's (-EBUSY). */
int kp_changes_commit(struct kp_changing *g, struct kp_vfs *lower, struct kp_changes *c, struct kp_commit *how, struct kp_err *err);

/* The regular file at a canonical guest path, opened for reading. -errno; -EINVAL: not a regular file. */
int kp_changes_open_upper(int upper_fd, const char *guest, int *ret_fd);
/* The file of a change that is not DELETED, wherever its content is. */
int kp_changes_open(int upper_fd, struct kp_vfs *lower, const struct kp_change *c, int *ret_fd);
/* Its link's target. */
int kp_changes_readlink(int upper_fd, struct kp_vfs *lower, const struct kp_change *c, char target[PATH_MAX]);
/* The same of the lower layers; what an image has comes as a memfd copy (-EFBIG above max bytes). */
int kp_changes_open_lower(struct kp_vfs *lower, const char *guest, uint64_t max, int *ret_fd);
/* Since when the entry name of the upper directory is as it is to the host: a change of the host's at or after this instant is one
 * that the instance has not seen. -ENODATA: cannot be told. */
int kp_changes_since(int dirfd, const char *name, struct timespec *ret);

/* A text that a terminal may show for a path: as it is, or quoted as C does where it has bytes that drive terminals. Allocated. */
char *kp_path_quoted(const char *path);
/* Unified differences of two texts to out. false, and nothing printed: one of them is no text. */
bool kp_unified(FILE *out, const char *old, size_t old_len, const char *new, size_t new_len);

#endif
