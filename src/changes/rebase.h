/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's changes on other layers than those that they were made on. */
#ifndef KAPSEL_CHANGES_REBASE_H
#define KAPSEL_CHANGES_REBASE_H

#include "changes/changes.h"

enum kp_rebase_fate {
	KP_REBASE_KEEP,     /* a change of the instance alone */
	KP_REBASE_DROP,     /* of no use any more: why */
	KP_REBASE_CONFLICT, /* the new layers differ there from the old ones, too: why */
	KP_REBASE_SAME,     /* no change: in the upper, but as the old layers have it */
	KP_REBASE_DIR,      /* the same of a directory that holds others */
};

struct kp_rebased {
	char *path; /* guest path */
	enum kp_rebase_fate fate;
	const char *why;
	char *key, *name; /* of the registry: path is both, for people; NULL: it is a file; name NULL: it is a key */
	bool hidden; /* in a directory that the instance made anew: nothing can be dropped there by itself */
	bool dir;
};

struct kp_rebase { /* zero-initialise */
	struct kp_rebased *items; /* of directories that hold others, the deepest first */
	size_t count, kept, conflicts;
};

/* old, new: lower views with the same rules. 0 or -errno with err. */
int kp_changes_rebase(int upper_fd, struct kp_vfs *old, struct kp_vfs *new, struct kp_rebase *ret, struct kp_err *err);
void kp_rebase_free(struct kp_rebase *r);
#define kp_autorebase __attribute__((cleanup(kp_rebase_free)))
/* Makes the upper one of the new layers; of what conflicts the instance's stays, or, with take_new, goes. Not in one step: the caller sees to that. */
int kp_rebase_apply(const struct kp_rebase *r, int upper_fd, struct kp_vfs *old, struct kp_vfs *new, bool take_new, struct kp_err *err);

/* Its files get numbers of its own: those of the layers that it was made on mean others in these. */
int kp_rebase_forget_numbers(int upper_fd, struct kp_err *err);
/* The same of the registry: own is the instance's file; old, new: the registries of the layers without it. Adds to ret. */
struct kp_reg;
int kp_changes_rebase_registry(const char *own, struct kp_reg *old, struct kp_reg *new, struct kp_rebase *ret, struct kp_err *err);
int kp_rebase_apply_registry(const struct kp_rebase *r, const char *own, bool take_new, struct kp_err *err);
/* One more of them; path is copied. */
struct kp_rebased *kp_rebase_add(struct kp_rebase *r, const char *path, enum kp_rebase_fate fate, const char *why);

#endif
