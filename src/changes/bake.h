/* SPDX-License-Identifier: Apache-2.0 */
/* A new image: the layers below an instance, as one, with its changes. */
#ifndef KAPSEL_CHANGES_BAKE_H
#define KAPSEL_CHANGES_BAKE_H

#include "changes/changes.h"
#include "manifest/manifest.h"

struct kp_reg;

struct kp_bake {
	const struct kp_manifest *manifest; /* of the new image; its layers are part of it then, and are not named */
	const char *launcher;		    /* host path */
	struct kp_reg *registry;	    /* that it is to have; NULL: none */
	int level;			    /* of compression, 0: default */
	size_t files, left;		    /* what went in; FIFOs and sockets, which an image cannot have */
};

/* Writes the image to out_fd (empty, seekable, read-write). lower: a view without modes. Of c the chosen ones count. What is on its way
 * lies in g's work/. 0 or -errno with err. */
int kp_changes_bake(struct kp_changing *g, struct kp_vfs *lower, const struct kp_changes *c, struct kp_bake *b, int out_fd,
		    struct kp_err *err);

#endif
