/* SPDX-License-Identifier: Apache-2.0 */
/* Binding a guest's socket to a path. */
#ifndef KAPSEL_SYS_BINDPATH_H
#define KAPSEL_SYS_BINDPATH_H

#include <sys/un.h>

#include "sys/internal.h"

/*
 * n is the absent node of path 0 of the call, dir the host's path of its directory, which is there; fd is a copy of the caller's socket.
 * With the vfs write lock held. 0 or -errno.
 */
int kp_bind_path(struct kp_call *c, struct kp_node *n, const char *dir, int fd, const struct sockaddr_un *sa, socklen_t len);

#endif
