/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of sockets judged by the run's policy, for the handlers of socket.c; and what the kernel tells of AF_UNIX sockets. */
#ifndef KAPSEL_SYS_NET_H
#define KAPSEL_SYS_NET_H

#include "sys/broker.h"

/* May a guest connect or send there? The address is the supervisor's copy; not a path. 0, or the -errno that it gets. */
int kp_net_may_reach(struct kp_call *c, const struct sockaddr *sa, socklen_t len);
bool kp_net_is_abstract(const struct sockaddr *sa, socklen_t len);
/* Was that name given to a guest's socket in the place of one that others have? Then it becomes the host's. */
bool kp_net_own_abstract(struct kp_engine *e, struct sockaddr_storage *sa, socklen_t *len);
/* Does the mode restrict what a datagram on an inet socket may do? */
bool kp_net_restricted(const struct kp_call *c);
/* Would the message choose another device than the socket's, where that is not allowed? 0 or -errno. */
int kp_net_may_choose(struct kp_call *c, const struct kp_message *m);
/* Binds fd, a copy of the caller's socket; not to a path. 0 or -errno. */
int kp_net_bind(struct kp_call *c, int fd, const struct sockaddr *sa, socklen_t len);
/* The guest that holds the socket with that inode number, or 0. */
pid_t kp_net_holder(struct kp_engine *e, const char *inode);

/* diag.c: does a guest hold the socket that is bound to that file? known: the answer where the kernel does not tell. */
bool kp_net_guest_bound(struct kp_engine *e, const char *host, bool known);
/* What the kernel tells of the AF_UNIX socket with that inode number. 0; -ENOENT: there is none; -errno. */
struct kp_net_unix {
	uint32_t peer;               /* the other end's number; 0: it is closed */
	uint32_t file_dev, file_ino; /* what it, or the listener that it came from, is bound to; 0: no file */
};
int kp_net_unix_ask(uint32_t inode, struct kp_net_unix *ret);
uint32_t kp_net_pack_dev(dev_t dev); /* as file_dev */

/* sockname.c: has the AF_UNIX socket that is the caller's descriptor a name already? 1, 0; -ENOENT: it is no such socket. */
int kp_sockname_is_bound(struct kp_call *c, int fd);

#endif
