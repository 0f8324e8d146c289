/* SPDX-License-Identifier: Apache-2.0 */
/* What profiles refuse of sockets and system calls: the filter interpreted, and addresses. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/base.h"
#include "kapsel/fast.h"
#include "manifest/requests.h"
#include "sys/filter.h"
#include "sys/policy.h"
#include "tests/unit/bpf_sim.h"
#include "tests/unit/suites.h"

#define ALLOW SECCOMP_RET_ALLOW
#define NOTIFY SECCOMP_RET_USER_NOTIF
#define NO(code) (SECCOMP_RET_ERRNO | (code))

static const struct {
	const char *net;
	int nr;
	uint64_t args[3];
	uint32_t want;
} verdicts[] = {
	{"host", SYS_socket, {AF_INET, SOCK_STREAM}, ALLOW},
	{"host", SYS_socket, {AF_PACKET, SOCK_RAW}, ALLOW},
	{"host", SYS_listen, {3, 1}, ALLOW},
	{"none", SYS_socket, {AF_UNIX, SOCK_STREAM}, ALLOW},
	{"none", SYS_socket, {AF_INET, SOCK_STREAM}, NO(EAFNOSUPPORT)},
	{"none", SYS_socket, {AF_INET6, SOCK_DGRAM}, NO(EAFNOSUPPORT)},
	{"none", SYS_socket, {AF_NETLINK, SOCK_RAW}, NO(EAFNOSUPPORT)},
	{"none", SYS_socket, {AF_INET | 1ULL << 32, SOCK_STREAM}, NO(EAFNOSUPPORT)},
	{"none", SYS_socket, {AF_UNIX | 1ULL << 32, SOCK_STREAM}, ALLOW},
	{"none", SYS_socketpair, {AF_UNIX}, ALLOW},
	{"none", SYS_socketpair, {AF_TIPC}, NO(EAFNOSUPPORT)},
	{"none", SYS_read, {0}, ALLOW},
	{"none", SYS_open, {0}, NOTIFY},
	{"none", SYS_io_uring_setup, {0}, NO(ENOSYS)},
	{"loopback", SYS_socket, {AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK}, NOTIFY},
	{"loopback", SYS_socket, {AF_INET6, SOCK_DGRAM, IPPROTO_UDP}, NOTIFY},
	{"loopback", SYS_socket, {AF_INET, SOCK_RAW}, NO(EPERM)},
	{"loopback", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_ICMP}, NO(EPROTONOSUPPORT)},
	{"loopback", SYS_socket, {AF_VSOCK, SOCK_STREAM}, NO(EAFNOSUPPORT)},
	{"loopback", SYS_listen, {3, 1}, ALLOW},
	{"connect=1", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_TCP}, ALLOW},
	{"connect=1", SYS_socket, {AF_INET, SOCK_PACKET}, NO(EPERM)},
	{"connect=1", SYS_listen, {3, 1}, NOTIFY},
	{"connect=1", SYS_connect, {3, 1}, NOTIFY},
};

START_TEST(filter_verdicts)
{
	struct kp_policy p = {0};
	struct seccomp_data data = {.nr = verdicts[_i].nr, .arch = AUDIT_ARCH_X86_64};
	struct sock_filter *code;
	unsigned short len;

	memcpy(data.args, verdicts[_i].args, sizeof(verdicts[_i].args));
	ck_assert_int_eq(kp_net_parse(verdicts[_i].net, &p.net), 0);
	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_SHUT, &code, &len, NULL), 0);
	ck_assert_uint_eq(bpf_sim(code, len, &data), verdicts[_i].want);
	data.arch = AUDIT_ARCH_I386;
	ck_assert_uint_eq(bpf_sim(code, len, &data), SECCOMP_RET_KILL_PROCESS);
	free(code);
}
END_TEST

/* What passes with that data does so at no address that differs from the gate's in a bit. */
static void only_there(const struct sock_filter *code, unsigned short len, struct seccomp_data data)
{
	for (int bit = 0; bit < 64; bit++) {
		data.instruction_pointer = KP_GATE_IP ^ 1ULL << bit;
		ck_assert_uint_eq(bpf_sim(code, len, &data), NOTIFY);
	}
}

/* At the gate attributes may be asked for, and nothing else is different there. */
START_TEST(gate)
{
	struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}};
	struct seccomp_data data = {.nr = SYS_newfstatat, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = KP_GATE_IP};
	unsigned short len, plain_len;
	struct sock_filter *code, *plain;

	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_EXECUTES, &code, &len, NULL), 0);
	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_SHUT, &plain, &plain_len, NULL), 0);
	ck_assert_uint_eq(bpf_sim(code, len, &data), ALLOW);
	ck_assert_uint_eq(bpf_sim(plain, plain_len, &data), NOTIFY);
	for (int nr = -1; nr < 600; nr++) {
		data.nr = nr;
		if (nr != SYS_newfstatat && nr != SYS_openat)
			ck_assert_uint_eq(bpf_sim(code, len, &data), bpf_sim(plain, plain_len, &data));
	}
	data.nr = SYS_openat;
	ck_assert_uint_eq(bpf_sim(code, len, &data), ALLOW);
	for (int bit = 0; bit < 32; bit++) {
		data.args[2] = 1ULL << bit;
		ck_assert_uint_eq(bpf_sim(code, len, &data), data.args[2] & KP_GATE_OPEN_FLAGS ? ALLOW : NOTIFY);
	}
	data.args[2] = 0;
	only_there(code, len, data);
	data.nr = SYS_newfstatat;
	only_there(code, len, data);
	data.arch = AUDIT_ARCH_I386;
	ck_assert_uint_eq(bpf_sim(code, len, &data), SECCOMP_RET_KILL_PROCESS);
	free(code);
	free(plain);
}
END_TEST

/* An open passes there that makes a file, which was not, with a plain mode. */
START_TEST(gate_makes)
{
	struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}};
	struct seccomp_data data = {.nr = SYS_openat, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = KP_GATE_IP, .args = {[2] = KP_GATE_MAKES, [3] = 0600}};
	struct sock_filter *code;
	unsigned short len;

	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_READS, &code, &len, NULL), 0);
	for (int bit = 0; bit < 32; bit++) {
		uint32_t flag = 1U << bit;

		data.args[2] = KP_GATE_MAKES ^ flag;
		ck_assert_uint_eq(bpf_sim(code, len, &data), flag & KP_GATE_MAKE_FLAGS & ~(uint32_t)KP_GATE_MAKES ? ALLOW : NOTIFY);
	}
	data.args[2] = KP_GATE_MAKES | O_RDWR;
	for (int bit = 0; bit < 32; bit++) {
		uint32_t flag = 1U << bit;

		data.args[3] = 0600 ^ flag;
		ck_assert_uint_eq(bpf_sim(code, len, &data), flag & 0177 ? ALLOW : NOTIFY);
	}
	data.args[3] = 0600;
	only_there(code, len, data);
	data.nr = SYS_open;
	ck_assert_uint_eq(bpf_sim(code, len, &data), NOTIFY);
	free(code);
}
END_TEST

/* An execve passes at the gate with one of those paths, from its beginning, where it cannot be another's. */
START_TEST(exec_gate)
{
	struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}};
	struct seccomp_data data = {.nr = SYS_execve, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = KP_GATE_IP, .args = {KP_SCRATCH_LOADER, 1, 2}};
	unsigned short len, reads_len;
	struct sock_filter *code, *reads;

	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_EXECUTES, &code, &len, NULL), 0);
	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_READS, &reads, &reads_len, NULL), 0);
	ck_assert_uint_eq(bpf_sim(code, len, &data), ALLOW);
	ck_assert_uint_eq(bpf_sim(reads, reads_len, &data), NOTIFY);
	for (int bit = 0; bit < 64; bit++) {
		data.args[0] = KP_SCRATCH_LOADER ^ 1ULL << bit;
		ck_assert_uint_eq(bpf_sim(code, len, &data), (1ULL << bit) & KP_LOADER_NAME * (KP_LOADER_NAMES - 1) ? ALLOW : NOTIFY);
	}
	data.args[0] = KP_SCRATCH_LOADER;
	only_there(code, len, data);
	for (uint64_t at = KP_SCRATCH_LOADER - KP_SCRATCH_SLOT; at < KP_SCRATCH_BASE + KP_SCRATCH_SIZE + KP_SCRATCH_SLOT; at++) {
		bool name = at >= KP_SCRATCH_LOADER && at < KP_SCRATCH_BASE + KP_SCRATCH_SIZE && at % KP_LOADER_NAME == 0;

		data.args[0] = at;
		ck_assert_uint_eq(bpf_sim(code, len, &data), name ? ALLOW : NOTIFY);
	}
	data.args[0] = KP_SCRATCH_LOADER;
	data.instruction_pointer = KP_ASK_IP;
	ck_assert_uint_eq(bpf_sim(code, len, &data), NOTIFY);
	data.instruction_pointer = KP_GATE_IP;
	data.nr = SYS_execveat;
	ck_assert_uint_eq(bpf_sim(code, len, &data), NOTIFY);
	free(code);
	free(reads);
}
END_TEST

START_TEST(denied_calls)
{
	int deny[] = {SYS_ptrace, SYS_getpid};
	struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}, .deny = deny, .deny_count = 2};
	struct seccomp_data data = {.arch = AUDIT_ARCH_X86_64};
	struct sock_filter *code;
	unsigned short len;

	ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_SHUT, &code, &len, NULL), 0);
	for (int nr = 0; nr < 600; nr++) {
		uint32_t without;

		data.nr = nr;
		without = bpf_sim(kp_filter_code, kp_filter_len, &data);
		ck_assert_uint_eq(bpf_sim(code, len, &data), nr == SYS_ptrace || nr == SYS_getpid ? NO(EPERM) : without);
	}
	free(code);
}
END_TEST

START_TEST(limits_in_the_filter)
{
	static const struct {
		int nr;
		uint64_t args[3];
		uint32_t tasks, size; /* with count_tasks; with keep_file_size */
	} rows[] = {
		{SYS_fork, {0}, NOTIFY, ALLOW},
		{SYS_vfork, {0}, NOTIFY, ALLOW},
		{SYS_clone, {CLONE_VM | SIGCHLD}, NOTIFY, ALLOW},
		{SYS_clone, {CLONE_NEWUSER | SIGCHLD}, NO(EPERM), NO(EPERM)},
		{SYS_clone3, {0}, NO(ENOSYS), NO(ENOSYS)},
		{SYS_setrlimit, {RLIMIT_FSIZE, 4096}, ALLOW, NO(EPERM)},
		{SYS_setrlimit, {RLIMIT_FSIZE | 1ULL << 32, 4096}, ALLOW, NO(EPERM)},
		{SYS_setrlimit, {RLIMIT_CORE, 4096}, ALLOW, ALLOW},
		{SYS_prlimit64, {0, RLIMIT_FSIZE, 0}, ALLOW, ALLOW},
		{SYS_prlimit64, {0, RLIMIT_FSIZE, 4096}, ALLOW, NO(EPERM)},
		{SYS_prlimit64, {0, RLIMIT_FSIZE, 1ULL << 40}, ALLOW, NO(EPERM)},
		{SYS_prlimit64, {0, RLIMIT_NOFILE, 4096}, ALLOW, ALLOW},
		{SYS_futex, {0}, ALLOW, ALLOW},
		{SYS_open, {0}, NOTIFY, NOTIFY},
		{SYS_socket, {AF_INET, SOCK_STREAM}, ALLOW, ALLOW},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++)
		for (int which = 0; which < 2; which++) {
			struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}, .count_tasks = !which, .keep_file_size = which};
			struct seccomp_data data = {.nr = rows[i].nr, .arch = AUDIT_ARCH_X86_64};
			struct sock_filter *code;
			unsigned short len;

			memcpy(data.args, rows[i].args, sizeof(rows[i].args));
			ck_assert_int_eq(kp_policy_filter(&p, KP_GATE_SHUT, &code, &len, NULL), 0);
			ck_assert_msg(bpf_sim(code, len, &data) == (which ? rows[i].size : rows[i].tasks), "row %zu, %d: %x", i, which,
				      bpf_sim(code, len, &data));
			free(code);
		}
}
END_TEST

static const struct {
	const char *net, *host;
	int port, want;
} peers[] = {
	{"host", "198.51.100.1", 1, 0}, {"none", "127.0.0.1", 1, ENETUNREACH}, {"loopback", "127.0.0.1", 1, 0},
	{"loopback", "127.255.255.254", 1, 0}, {"loopback", "128.0.0.1", 1, ENETUNREACH}, {"loopback", "0.0.0.0", 1, 0},
	{"loopback", "::1", 1, 0}, {"loopback", "::", 1, 0}, {"loopback", "::2", 1, ENETUNREACH}, {"loopback", "::ffff:127.1.2.3", 1, 0},
	{"loopback", "::ffff:128.0.0.1", 1, ENETUNREACH}, {"loopback", "::127.0.0.1", 1, ENETUNREACH},
	{"connect=80,443", "198.51.100.1", 443, 0}, {"connect=80,443", "198.51.100.1", 444, EACCES}, {"connect=80", "2001:db8::1", 80, 0},
	{"connect=80", "2001:db8::1", 20480, EACCES}, {"connect=80", "127.0.0.1", 5432, 0}, {"connect=80", "192.0.2.53", 53, 0},
	{"connect=80", "192.0.2.53", 54, EACCES}, {"connect=80", "192.0.2.54", 53, EACCES}, {"connect=80", "2001:db8::53", 53, 0},
};

START_TEST(addresses)
{
	struct kp_policy p = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)peers[_i].port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
	bool v6 = strchr(peers[_i].host, ':');

	ck_assert_int_eq(kp_net_parse(peers[_i].net, &p.net), 0);
	kp_policy_read_resolvers(&p, "# nameserver 192.0.2.54\nnameserver 192.0.2.53\noptions x\nnameserver 2001:db8::53\nnameserver nonsense");
	ck_assert_uint_eq(p.resolver_count, 2);
	ck_assert_int_eq(inet_pton(v6 ? AF_INET6 : AF_INET, peers[_i].host, v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr), 1);
	ck_assert_int_eq(kp_policy_peer(&p, v6 ? (void *)&in6 : (void *)&in, v6 ? sizeof(in6) : sizeof(in)), -peers[_i].want);
}
END_TEST

START_TEST(names_without_files)
{
	char granted[] = "/tmp/.X11-unix/X0";
	struct kp_policy p = {.net = {.mode = KP_NETWORK_HOST}, .abstract = {granted}};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(granted));

	memcpy(sa.sun_path + 1, granted, strlen(granted));
	ck_assert_int_eq(kp_policy_peer(&p, (void *)&sa, len), 0);
	ck_assert_int_eq(kp_policy_peer(&p, (void *)&sa, len + 1), -ECONNREFUSED);
	ck_assert_int_eq(kp_policy_peer(&p, (void *)&sa, len - 1), -ECONNREFUSED);
	ck_assert_int_eq(kp_policy_peer(&p, (void *)&sa, 2), 0);
	ck_assert_int_eq(kp_policy_peer(&p, (void *)&sa, 0), 0);
}
END_TEST

Suite *test_policy(void)
{
	Suite *s = suite_create("policy");
	TCase *t = tcase_create("policy");

	tcase_add_loop_test(t, filter_verdicts, 0, KP_ARRAY_LEN(verdicts));
	tcase_add_test(t, denied_calls);
	tcase_add_test(t, gate);
	tcase_add_test(t, gate_makes);
	tcase_add_test(t, exec_gate);
	tcase_add_test(t, limits_in_the_filter);
	tcase_add_loop_test(t, addresses, 0, KP_ARRAY_LEN(peers));
	tcase_add_test(t, names_without_files);
	suite_add_tcase(s, t);
	return s;
}
