/* SPDX-License-Identifier: Apache-2.0 */
/* What changes were made against, as digests: for carrying them without the layers below. */
#ifndef KAPSEL_CHANGES_AGAINST_H
#define KAPSEL_CHANGES_AGAINST_H

#include "changes/changes.h"

struct kp_reg;

/* lower: a view of the instance's images alone; own: its registry's file; reg: the registry of the images alone. upper_fd -1: none.
 * 0 or -errno with err. */
int kp_against_make(int upper_fd, struct kp_vfs *lower, const char *own, struct kp_reg *reg, struct kp_buf *out, struct kp_err *err);
/* Have these layers the same at each of them? differs is called with what does not, which a terminal may show. text may come from anywhere,
 * and is written over. 0, or -EPROTO: it is none. */
int kp_against_check(char *text, size_t len, struct kp_vfs *lower, struct kp_reg *reg, void (*differs)(const char *what, void *ctx), void *ctx);

#endif
