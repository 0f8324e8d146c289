/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of /proc/net in guest terms; the vfs calls it (kp_vfs_set_net_text). */
#ifndef KAPSEL_SYS_NETTEXT_H
#define KAPSEL_SYS_NETTEXT_H

#include "base/base.h"

/* 0; -ENOSYS: the host's own text will do; -errno. */
int kp_sockets_text(void *engine, const char *host_path, struct kp_buf *out);

#endif
