/* SPDX-License-Identifier: Apache-2.0 */
/* What a profile refuses: instructions in front of the static filter, and addresses. */
#include <arpa/inet.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "kapsel/fast.h"
#include "sys/filter.h"
#include "sys/policy.h"
#include "trap/trap.h"

/* --- the filter --- */

struct program {
	struct sock_filter *code;
	size_t len;
	size_t ends[32]; /* jumps that lead to the end of it: to the static filter */
	size_t end_count;
};

static void put(struct program *p, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
	p->code = kp_realloc(p->code, (p->len + 1) * sizeof(*p->code));
	p->code[p->len++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, size_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* If A is k, go on behind the next `skip` instructions. */
static void when(struct program *p, uint32_t k, uint8_t skip)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, skip, 0, k);
}

/* If A is not k, the same. */
static void unless(struct program *p, uint32_t k, uint8_t skip)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, skip, k);
}

static void verdict(struct program *p, uint32_t action)
{
	put(p, BPF_RET | BPF_K, 0, 0, action);
}

static void refuse(struct program *p, int code)
{
	verdict(p, SECCOMP_RET_ERRNO | (uint32_t)code);
}

static void leave(struct program *p)
{
	p->ends[p->end_count++] = p->len;
	put(p, BPF_JMP | BPF_JA, 0, 0, 0);
}

#define ARG(i) (offsetof(struct seccomp_data, args) + 8 * (i)) /* its low half: these are ints to the kernel */

#define NAMESPACES                                                                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static void put_limits(struct program *p, const struct kp_policy *policy)
{
	if (policy->count_tasks) {
		when(p, SYS_fork, 1);
		unless(p, SYS_vfork, 1);
		verdict(p, SECCOMP_RET_USER_NOTIF);
		unless(p, SYS_clone, 4);
		load(p, ARG(0));
		put(p, BPF_JMP | BPF_JSET | BPF_K, 0, 1, NAMESPACES);
		leave(p); /* to be refused there */
		verdict(p, SECCOMP_RET_USER_NOTIF);
	}
	if (policy->keep_file_size) {
		unless(p, SYS_setrlimit, 4);
		load(p, ARG(0));
		unless(p, RLIMIT_FSIZE, 1);
		refuse(p, EPERM);
		leave(p);
		unless(p, SYS_prlimit64, 9);
		load(p, ARG(1));
		when(p, RLIMIT_FSIZE, 1);
		leave(p);
		load(p, ARG(2));
		unless(p, 0, 3);
		load(p, ARG(2) + 4);
		unless(p, 0, 1);
		leave(p);
		refuse(p, EPERM);
	}
}

/* Kinds of sockets: without a kind there are no addresses of it either. */
static void put_socket(struct program *p, enum kp_network mode)
{
	size_t jump = p->len;

	unless(p, SYS_socket, 0);
	load(p, ARG(0));
	unless(p, AF_UNIX, 1);
	leave(p);
	if (mode != KP_NETWORK_NONE) {
		when(p, AF_INET, 2);
		when(p, AF_INET6, 1);
		refuse(p, EAFNOSUPPORT);
		load(p, ARG(1));
		put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf);
		when(p, SOCK_STREAM, 2);
		when(p, SOCK_DGRAM, 1);
		refuse(p, EPERM);
		load(p, ARG(2));
		when(p, 0, 3);
		when(p, IPPROTO_TCP, 2);
		when(p, IPPROTO_UDP, 1);
		refuse(p, EPROTONOSUPPORT);
		if (mode == KP_NETWORK_LOOPBACK)
			verdict(p, SECCOMP_RET_USER_NOTIF);
		else
			leave(p);
	} else {
		refuse(p, EAFNOSUPPORT);
	}
	p->code[jump].jf = (uint8_t)(p->len - jump - 1);
}

static void put_policy(struct program *p, const struct kp_policy *policy)
{
	load(p, offsetof(struct seccomp_data, arch));
	when(p, AUDIT_ARCH_X86_64, 1);
	leave(p);
	load(p, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < policy->deny_count; i++) {
		unless(p, (uint32_t)policy->deny[i], 1);
		refuse(p, EPERM);
	}
	put_limits(p, policy);
	if (policy->net.mode != KP_NETWORK_HOST) {
		unless(p, SYS_socketpair, 4);
		load(p, ARG(0));
		unless(p, AF_UNIX, 1);
		leave(p);
		refuse(p, EAFNOSUPPORT);
		if (policy->net.mode == KP_NETWORK_CONNECT) {
			unless(p, SYS_listen, 1);
			verdict(p, SECCOMP_RET_USER_NOTIF);
		}
		put_socket(p, policy->net.mode);
	}
	for (size_t i = 0; i < p->end_count; i++)
		p->code[p->ends[i]].k = (uint32_t)(p->len - p->ends[i] - 1);
}

/* Goes on behind the next `skip` instructions and these four, unless that 64-bit field is k. */
static void unless_wide(struct program *p, size_t offset, uint64_t k, uint8_t skip)
{
	load(p, offset);
	unless(p, (uint32_t)k, (uint8_t)(skip + 2));
	load(p, offset + 4);
	unless(p, (uint32_t)(k >> 32), skip);
}

/* What the stub may ask from the gate (kapsel/fast.h): attributes, which Landlock leaves to everybody, too; opens that only read, and those that make a
 * file which is not there, where Landlock decides. The number is looked at first: for all others the kernel still sees that they pass without running
 * the filter. */
static void put_gate(struct program *p)
{
	load(p, offsetof(struct seccomp_data, arch));
	unless(p, AUDIT_ARCH_X86_64, 17);
	load(p, offsetof(struct seccomp_data, nr));
	when(p, SYS_newfstatat, 10);
	unless(p, SYS_openat, 14);
	load(p, ARG(2));
	put(p, BPF_JMP | BPF_JSET | BPF_K, 0, 7, ~(uint32_t)KP_GATE_OPEN_FLAGS);
	put(p, BPF_JMP | BPF_JSET | BPF_K, 11, 0, ~(uint32_t)KP_GATE_MAKE_FLAGS);
	put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, KP_GATE_MAKES);
	unless(p, KP_GATE_MAKES, 9);
	load(p, ARG(3));
	put(p, BPF_JMP | BPF_JSET | BPF_K, 7, 0, ~(uint32_t)KP_GATE_MAKE_MODE);
	put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, KP_GATE_MAKE_OWNER);
	unless(p, KP_GATE_MAKE_OWNER, 5);
	unless_wide(p, offsetof(struct seccomp_data, instruction_pointer), KP_GATE_IP, 1);
	verdict(p, SECCOMP_RET_ALLOW);
}

/* An execve of a path that the supervisor has written and the guest can neither write nor map away, from its beginning. Not of any path: files
 * without a place in the tree (memfds) are nothing to Landlock, and what they hold would run without what the exec loader sets up. */
static void put_exec_gate(struct program *p)
{
	load(p, offsetof(struct seccomp_data, arch));
	unless(p, AUDIT_ARCH_X86_64, 12);
	load(p, offsetof(struct seccomp_data, nr));
	unless(p, SYS_execve, 10);
	unless_wide(p, offsetof(struct seccomp_data, instruction_pointer), KP_GATE_IP, 6);
	load(p, ARG(0) + 4);
	unless(p, (uint32_t)(KP_SCRATCH_LOADER >> 32), 4);
	load(p, ARG(0));
	put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, ~(KP_LOADER_NAME * (KP_LOADER_NAMES - 1)));
	unless(p, (uint32_t)KP_SCRATCH_LOADER, 1);
	verdict(p, SECCOMP_RET_ALLOW);
}

enum kp_gate kp_policy_gate(bool fast)
{
	return !fast ? KP_GATE_SHUT : kp_trap_can_seal() ? KP_GATE_EXECUTES : KP_GATE_READS;
}

int kp_policy_filter(const struct kp_policy *policy, enum kp_gate gate, struct sock_filter **ret_code, unsigned short *ret_len, struct kp_err *err)
{
	bool nothing = policy->net.mode == KP_NETWORK_HOST && !policy->deny_count && !policy->count_tasks && !policy->keep_file_size;
	struct program p = {0};

	if (!nothing)
		put_policy(&p, policy);
	if (gate != KP_GATE_SHUT)
		put_gate(&p);
	if (gate == KP_GATE_EXECUTES)
		put_exec_gate(&p);
	if (p.len + kp_filter_len > BPF_MAXINSNS) {
		free(p.code);
		return kp_fail(err, E2BIG, "filter: too many system calls denied");
	}
	p.code = kp_realloc(p.code, (p.len + kp_filter_len) * sizeof(*p.code));
	memcpy(p.code + p.len, kp_filter_code, kp_filter_len * sizeof(*p.code));
	*ret_len = (unsigned short)(p.len + kp_filter_len);
	*ret_code = p.code;
	return 0;
}

/* --- addresses --- */

bool kp_policy_is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 && (IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
					     (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127));
}

bool kp_policy_is_any(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};

	if (sa->sa_family == AF_INET)
		return in->sin_addr.s_addr == INADDR_ANY;
	return sa->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) || !memcmp(&in6->sin6_addr, mapped, sizeof(mapped)));
}

static uint16_t port_of(const struct sockaddr *sa)
{
	/* In the same place for both families. */
	return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
}

static bool is_resolver(const struct kp_policy *p, const struct sockaddr *sa)
{
	for (size_t i = 0; i < p->resolver_count; i++) {
		const struct sockaddr_in *a = (const void *)&p->resolvers[i], *b = (const void *)sa;
		const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

		if (a->sin_family != sa->sa_family || port_of(sa) != 53)
			continue;
		if (a->sin_family == AF_INET ? a->sin_addr.s_addr == b->sin_addr.s_addr : IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr))
			return true;
	}
	return false;
}

static int peer_abstract(const struct kp_policy *p, const struct sockaddr *sa, socklen_t len)
{
	const char *name = sa->sa_data + 1;
	size_t size = len - offsetof(struct sockaddr, sa_data) - 1;

	for (size_t i = 0; i < KP_ARRAY_LEN(p->abstract); i++)
		if (p->abstract[i] && strlen(p->abstract[i]) == size && !memcmp(p->abstract[i], name, size))
			return 0;
	return -ECONNREFUSED;
}

int kp_policy_peer(const struct kp_policy *p, const struct sockaddr *sa, socklen_t len)
{
	bool v6 = sa->sa_family == AF_INET6;

	if (len < sizeof(sa->sa_family) || sa->sa_family == AF_UNSPEC)
		return 0;
	if (sa->sa_family == AF_UNIX)
		return len > offsetof(struct sockaddr, sa_data) && !sa->sa_data[0] ? peer_abstract(p, sa, len) : 0;
	if (p->net.mode == KP_NETWORK_HOST)
		return 0;
	if (sa->sa_family != AF_INET && !v6)
		return -EACCES;
	if (len < (v6 ? offsetof(struct sockaddr_in6, sin6_scope_id) : sizeof(struct sockaddr_in)))
		return 0; /* the kernel has its own words for that */
	if (p->net.mode == KP_NETWORK_NONE)
		return -ENETUNREACH;
	if (kp_policy_is_loopback(sa) || kp_policy_is_any(sa))
		return 0;
	if (p->net.mode == KP_NETWORK_LOOPBACK)
		return -ENETUNREACH;
	for (size_t i = 0; i < p->net.port_count; i++)
		if (p->net.ports[i] == port_of(sa))
			return 0;
	return is_resolver(p, sa) ? 0 : -EACCES;
}

void kp_policy_read_resolvers(struct kp_policy *p, const char *text)
{
	while (text && *text && p->resolver_count < KP_POLICY_RESOLVERS) {
		struct sockaddr_in in = {.sin_family = AF_INET};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		char name[64];

		if (sscanf(text, "nameserver %63s", name) == 1) {
			if (inet_pton(AF_INET, name, &in.sin_addr) == 1)
				memcpy(&p->resolvers[p->resolver_count++], &in, sizeof(in));
			else if (inet_pton(AF_INET6, name, &in6.sin6_addr) == 1)
				memcpy(&p->resolvers[p->resolver_count++], &in6, sizeof(in6));
		}
		text = strchr(text, '\n');
		text += !!text;
	}
}

void kp_policy_free(struct kp_policy *p)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(p->abstract); i++)
		free(p->abstract[i]);
	free(p->deny);
	*p = (struct kp_policy){0};
}
