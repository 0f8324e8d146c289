/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of sockets judged by the run's policy: for the handlers of socket.c. Each sets the reply, or returns -errno. */
#ifndef KAPSEL_SYS_NET_H
#define KAPSEL_SYS_NET_H

#include <sys/socket.h>

#include "sys/internal.h"
#include "sys/policy.h"

/* The address is the supervisor's copy; not a path. */
int kp_net_may_reach(struct kp_call *c, const struct sockaddr *sa, socklen_t len);
int kp_net_connect(struct kp_call *c, const struct sockaddr *sa, socklen_t len);
int kp_net_sendto(struct kp_call *c, const struct sockaddr *sa, socklen_t len);
int kp_net_bind(struct kp_call *c, const struct sockaddr *sa, socklen_t len);
/* One message; sa NULL: to whom the socket is connected. *ret_sent: it was sent here, c->value bytes; else the guest may. */
int kp_net_send_message(struct kp_call *c, const struct msghdr *m, const struct sockaddr *sa, socklen_t len, int flags, bool *ret_sent);
/* Does a guest hold the socket with that inode number? */
bool kp_net_guest_has(struct kp_engine *e, const char *inode);
/* diag.c: does a guest hold the socket that is bound to that file? known: the answer where the kernel does not tell. */
bool kp_net_guest_bound(struct kp_engine *e, const char *host, bool known);

#endif
