/* SPDX-License-Identifier: Apache-2.0 */
/* What each layer says of one path. */
#ifndef KAPSEL_VFS_EXPLAIN_H
#define KAPSEL_VFS_EXPLAIN_H

#include "vfs/node.h"

/* One layer's answer. */
struct kp_said {
	enum kp_origin layer;  /* KP_UPPER, KP_IMAGE, KP_HOST, KP_BASE */
	size_t image;          /* KP_IMAGE: which, top down */
	uint32_t entry;        /* KP_IMAGE */
	bool answers;          /* the guest sees this one */
	bool merges;           /* a directory: its names are seen besides those of the layer that answers */
	bool whiteout, opaque; /* KP_UPPER */
	struct kp_gpath from;  /* where the layer has it, because a directory was renamed; "": at its own path */
	mode_t mode;           /* 0: the layer has nothing there */
	struct kp_hpath host;  /* file of the host that holds it; "" for an image */
};

struct kp_explained {
	struct kp_node node;   /* what the guest sees; node.guest is where the path leads */
	const struct kp_rule *rule; /* the mode there; NULL: full */
	struct kp_said said[KP_MAX_LAYERS + 3]; /* top down */
	size_t count;
};

/* path as the guest would write it, from its root; links are followed if follow. 0 (also when nothing is there), or -errno of the walk
 * to the directory that would hold it. Nothing is made or changed. */
int kp_vfs_explain(struct kp_vfs *v, const char *path, bool follow, struct kp_explained *ret);

const struct kp_image *kp_vfs_image(const struct kp_vfs *v, size_t layer);
/* Path of the image's file that has this guest number (its first name there), or -ENOENT. */
int kp_vfs_numbered(const struct kp_vfs *v, uint64_t ino, struct kp_gpath *ret);
/* Is that the guest number of a file of the host? */
bool kp_vfs_is_host_number(uint64_t ino);
/* Where the host has, or would have, what lies at a canonical guest path, by the rule that shows it. -ENOENT: no rule does, or it is
 * one of Kapsel's own directories, or in one. */
int kp_vfs_shown_at(const struct kp_vfs *v, const char *guest, struct kp_hpath *ret);
/* Something below that directory begins another mode, or is Kapsel's own: it is not to be moved or removed. */
bool kp_vfs_is_held(const struct kp_vfs *v, const struct kp_node *n);

#endif
