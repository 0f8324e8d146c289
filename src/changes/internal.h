/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room. */
#ifndef KAPSEL_CHANGES_INTERNAL_H
#define KAPSEL_CHANGES_INTERNAL_H

#include "changes/changes.h"
#include "vfs/record.h"

struct kp_sames { /* what is in the upper and no change, directories before what they hold; zero-initialise */
	struct kp_same {
		char *path, *base;
		bool hidden; /* see struct kp_change */
		bool dir;
	} *items;
	size_t count;
};
int kp_changes_find_same(int upper_fd, struct kp_vfs *lower, struct kp_changes *ret, struct kp_sames *same, struct kp_err *err);

/* Is the upper's regular file at path equal to the lower node's, which has the same size? False also where one cannot be read. */
bool kp_same_content(int upper_fd, struct kp_vfs *lower, const struct kp_node *n, const char *path);

/* From where the upper's directory dirfd/name was renamed, in the terms of the layers below; "": it does not say. */
void kp_moved_from(int dirfd, const char *name, char from[PATH_MAX]);

/* What is chosen, and lies below in a renamed directory still, comes into the upper, with all of that directory. */
int kp_changes_bring_up(struct kp_changing *g, struct kp_vfs *lower, struct kp_changes *c, struct kp_err *err);
/* user.* attributes that a guest gave it. */
void kp_copy_attributes(int from, int to);

/* What a user wrote, as a canonical guest path; allocated, or NULL. */
char *kp_change_path(const char *path);
/* For qsort and bsearch. */
int kp_change_by_path(const void *a, const void *b);
/* The directory of the upper that holds guest, opened; *ret_name: the last component. -errno. */
int kp_upper_parent(int upper_fd, const char *guest, const char **ret_name);
/* A directory of the upper strictly above guest is in the place of an old one: its length, or 0. */
size_t kp_below_opaque(int upper_fd, const char *guest);

#endif
