/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that the supervisor makes on a guest's own socket, with an address that nobody can change any more. What would block goes on in a
 * thread of its own, which answers.
 */
#ifndef KAPSEL_SYS_BROKER_H
#define KAPSEL_SYS_BROKER_H

#include <sys/socket.h>

#include "sys/internal.h"

/* Where a call leads, as it was judged. */
struct kp_target {
	struct sockaddr_storage sa;
	socklen_t len; /* 0: to whom the socket is connected */
	int pin;       /* the file that sa names by /proc/self/fd, or -1 */
};
void kp_target_drop(struct kp_target *t);
#define kp_autotarget __attribute__((cleanup(kp_target_drop)))

/* What is sent: copies of the guest's, its descriptors among the control data held here. */
struct kp_message {
	char *data, *control;
	size_t size, control_len;
	int *fds;
	size_t fd_count;
};
void kp_message_free(struct kp_message *m);
#define kp_automessage __attribute__((cleanup(kp_message_free)))

/* A copy of the caller's descriptor, or -errno: -EBADF, -ENOTSOCK; -EPERM where this host does not let us. */
int kp_broker_socket(struct kp_call *c, int fd);
/* Would kp_broker_socket be refused? */
bool kp_broker_refused(int rc);
int kp_broker_option(int fd, int which); /* SOL_SOCKET, an int; or -errno */

/* Copies size bytes of data, or a message (name apart). 0 or -errno. */
int kp_message_read(struct kp_call *c, uint64_t data, size_t size, struct kp_message *ret);
int kp_message_read_msghdr(struct kp_call *c, const struct msghdr *m, struct kp_message *ret);

/* Both set the reply, or return -errno. Descriptors and buffers that a thread goes on with are taken from *fd, *t and *m. */
int kp_broker_connect(struct kp_call *c, int *fd, struct kp_target *t);
/* len_at: where in the guest the number of bytes goes (the value is 1 then), or 0. */
int kp_broker_send(struct kp_call *c, int *fd, struct kp_target *t, struct kp_message *m, int flags, uint64_t len_at);

#endif
