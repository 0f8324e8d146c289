/* SPDX-License-Identifier: Apache-2.0 */
/* Call sites of a file that has just been mapped. */
#ifndef KAPSEL_LOADER_PATCH_H
#define KAPSEL_LOADER_PATCH_H

#include <stdint.h>

struct kp_mapping {
	uint64_t addr, len, off; /* bytes, whole pages but for the length */
	int prot, fd;
	uint64_t ino, size; /* of the file */
};

/* Turns the sites that are known of the file into jumps to the stub, where there is a page of slots within reach. What cannot be
 * written stays as it is. */
void kp_patch(const struct kp_mapping *m);

#endif
