/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room. */
#ifndef KAPSEL_CHANGES_INTERNAL_H
#define KAPSEL_CHANGES_INTERNAL_H

#include "changes/changes.h"
#include "vfs/record.h"

/* Is the upper's regular file at path equal to the lower node's, which has the same size? False also where one cannot be read. */
bool kp_same_content(int upper_fd, struct kp_vfs *lower, const struct kp_node *n, const char *path);

#endif
