/* SPDX-License-Identifier: Apache-2.0 */
/* Is an instance's upper layer whole? */
#ifndef KAPSEL_VFS_CHECK_H
#define KAPSEL_VFS_CHECK_H

#include <stdint.h>

#include "base/base.h"

struct kp_upper_counts {
	uint64_t directories, files, others, whiteouts, wrong;
};

/* Walks host_upper, an instance's upper/, while nobody runs in it. Calls said for each thing that is wrong, with its path below the
 * upper. 0, or -errno with err where it cannot be walked at all. Nothing is changed. */
int kp_upper_check(const char *host_upper, void (*said)(const char *path, const char *what, void *ctx), void *ctx,
		   struct kp_upper_counts *ret_counts, struct kp_err *err);

#endif
