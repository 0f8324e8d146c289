/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes, from what the supervisor has written down and what the kernel says. */
#ifndef KAPSEL_LOADER_ATTRIBUTES_H
#define KAPSEL_LOADER_ATTRIBUTES_H

#include <stdbool.h>
#include <sys/stat.h>

#include "kapsel/fast.h"

/* What the entry says, on top of what the kernel said of the file, if it was asked (not of records). False: it is not what it was. */
bool kp_complete(const struct kp_fast_entry *e, struct stat *st);
void kp_to_statx(const struct stat *st, struct statx *x);

#endif
