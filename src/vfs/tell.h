/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for the user that no call's error can say. */
#ifndef KAPSEL_VFS_TELL_H
#define KAPSEL_VFS_TELL_H

#include "base/base.h"

struct kp_vfs;
struct kp_notices;

struct kp_notices *kp_notices_new(const char *instance_dir); /* NULL: without a log */
struct kp_notices *kp_notices_free(struct kp_notices *l);    /* NULL is fine; returns NULL */

void kp_vfs_tell(struct kp_vfs *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line for the user: taken once. The instance's log has it, too. */
bool kp_vfs_notice(struct kp_vfs *v, char *buf, size_t size);

#endif
