/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run's profile refuses of system calls and sockets. Where it refuses nothing the static filter is used as it is, and no
 * call costs more than without a profile.
 */
#ifndef KAPSEL_SYS_POLICY_H
#define KAPSEL_SYS_POLICY_H

#include <linux/filter.h>
#include <sys/socket.h>

#include "base/base.h"
#include "kapsel/profile.h"

#define KP_POLICY_RESOLVERS 3
struct kp_policy {
	struct kp_net net;
	struct sockaddr_storage resolvers[KP_POLICY_RESOLVERS]; /* reached at port 53 in KP_NETWORK_CONNECT */
	size_t resolver_count;
	char *abstract[2]; /* names of granted sockets of the host without a file, without the NUL; or NULL */
	int *deny;         /* numbers of system calls, EPERM */
	size_t deny_count;
	bool count_tasks;  /* new processes and threads are counted */
	bool keep_file_size; /* guests do not change RLIMIT_FSIZE: it stops them where the disk is full */
};

/* The filter for it: what it refuses, then what passes at the gate (where there is one), then the static one. *ret_code is allocated. */
int kp_policy_filter(const struct kp_policy *p, bool gate, struct sock_filter **ret_code, unsigned short *ret_len, struct kp_err *err);
/* May a guest connect or send there? Only what is decided by the address alone. 0, or the -errno that it gets. */
int kp_policy_peer(const struct kp_policy *p, const struct sockaddr *sa, socklen_t len);
bool kp_policy_is_loopback(const struct sockaddr *sa);
bool kp_policy_is_any(const struct sockaddr *sa);
/* The name servers of the host. */
void kp_policy_read_resolvers(struct kp_policy *p, const char *resolv_conf);
void kp_policy_free(struct kp_policy *p);

#endif
