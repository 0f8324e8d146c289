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
#define KP_POLICY_PUBLISH 64
struct kp_policy {
	struct kp_net net;
	struct sockaddr_storage resolvers[KP_POLICY_RESOLVERS]; /* reached at port 53 in KP_NETWORK_CONNECT */
	size_t resolver_count;
	char *abstract[2]; /* names of granted sockets of the host without a file, without the NUL; or NULL */
	int *deny;         /* numbers of system calls, EPERM */
	size_t deny_count;
	struct kp_publish {
		bool udp;
		uint16_t host, guest;
	} publish[KP_POLICY_PUBLISH]; /* ports of guests that are to be those of the host */
	size_t publish_count;
	bool count_tasks;  /* new processes and threads are counted */
	bool keep_file_size; /* guests do not change RLIMIT_FSIZE: it stops them where the disk is full */
};

/* What passes at the gate of the fast path: nothing, what reads, an execve of the exec loader, too. */
enum kp_gate { KP_GATE_SHUT, KP_GATE_READS, KP_GATE_EXECUTES };
enum kp_gate kp_policy_gate(bool fast);

/* The filter for it: what it refuses, then what passes at the gate, then the static one. *ret_code is allocated. */
int kp_policy_filter(const struct kp_policy *p, enum kp_gate gate, struct sock_filter **ret_code, unsigned short *ret_len, struct kp_err *err);
/* May a guest connect or send there? Only what is decided by the address alone. 0, or the -errno that it gets. */
int kp_policy_peer(const struct kp_policy *p, const struct sockaddr *sa, socklen_t len);
bool kp_policy_is_loopback(const struct sockaddr *sa);
bool kp_policy_is_any(const struct sockaddr *sa);
/* The name servers of the host. */
void kp_policy_read_resolvers(struct kp_policy *p, const char *resolv_conf);
void kp_policy_free(struct kp_policy *p);

#endif
