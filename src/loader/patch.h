/* SPDX-License-Identifier: Apache-2.0 */
/* Call sites of a file that has just been mapped. */
#ifndef KAPSEL_LOADER_PATCH_H
#define KAPSEL_LOADER_PATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "kapsel/fast.h"

struct kp_mapping {
	uint64_t addr, len, off; /* whole pages */
	int prot;                /* that it has, or will have */
	bool writable;           /* it can be written, besides, for the time being */
	int fd;                  /* of the file; -1: closed */
	uint64_t size, dev;      /* of the file, in bytes; its device */
};

/* What is known of that file; NULL: nothing, or this process has no page of slots, or it is full. */
const struct kp_sites_file *kp_patch_known(uint64_t ino);
/* Where there is a copy of that code in which they are jumps: maps it, at m->addr, over what is there, and patches what was learned since. False: it
 * cannot be had, and the mapping is still to be made. m->writable is false. */
bool kp_patch_prepared(const struct kp_mapping *m, const struct kp_sites_file *f);
/* Turns those of the sites that lie in the mapping into jumps to the stub, where the slots are within reach. Text that cannot be written
 * stays as it is; all gets the protection that it is to have. With signals blocked: a handler's call might have the supervisor patch here, too. */
void kp_patch(const struct kp_mapping *m, const struct kp_sites_file *f);

/* In the loader's stub.S: a call that the filter lets through. 0 or more, or -errno. */
long kp_gate(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
