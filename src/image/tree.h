/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes of the tree to pack, shared by tree.c and write.c. */
#ifndef KAPSEL_IMAGE_TREE_H
#define KAPSEL_IMAGE_TREE_H

#include <uthash.h>

#include "base/base.h"
#include "image/writer.h"

/* Content: one for all names of a hard-linked file. */
struct kp_tfile {
	unsigned names;
	uint32_t write_id; /* scratch of kp_tree_write: id of the first name */
	mode_t mode;
	int64_t mtime;
	char *host_path; /* or data */
	void *data;
	uint64_t size;
};

struct kp_tnode {
	UT_hash_handle hh; /* in parent->kids, by name */
	struct kp_tnode *parent, *kids;
	char *name;
	size_t path_len;       /* of the absolute path, 0 for the root */
	struct kp_tfile *file; /* regular files */
	char *target;	       /* symlinks; neither: a directory */
	mode_t mode;	       /* directories: permission bits */
	int64_t mtime;
};

struct kp_tree {
	struct kp_tnode *root;
};

static inline bool kp_tnode_is_dir(const struct kp_tnode *n)
{
	return !n->file && !n->target;
}

/* Children in strcmp order; the caller frees the array. */
struct kp_tnode **kp_tnode_sorted(const struct kp_tnode *dir, size_t *ret_count);

#endif
