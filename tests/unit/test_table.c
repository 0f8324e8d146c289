/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of the table, and the filter made from it, interpreted for every number and architecture. */
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include "base/base.h"
#include "kapsel/start.h"
#include "sys/filter.h"
#include "sys/table.h"
#include "tests/unit/bpf_sim.h"
#include "tests/unit/suites.h"

START_TEST(rows_hold_together)
{
	const struct kp_row *r = &kp_rows[_i];
	bool dirfd = false, ended = false;

	ck_assert_msg(_i == 0 || kp_rows[_i - 1].nr_x86_64 < r->nr_x86_64, "%s: not sorted by number", r->name);
	ck_assert_ptr_eq(kp_row_of(r->nr_x86_64), r);
	ck_assert_msg((r->action == KP_EMULATE) == (r->handler != NULL), "%s: handler", r->name);
	for (int i = 0; i < 6; i++) {
		uint8_t role = r->roles[i];

		ck_assert_msg(!ended || role == KP_ROLE__, "%s: a hole before argument %d", r->name, i);
		ended |= role == KP_ROLE__;
		ck_assert_msg(!dirfd || kp_role_is_path(role), "%s: DIRFD without a path", r->name);
		dirfd = role == KP_ROLE_DIRFD;
		ck_assert_msg(!kp_role_is_path(role) || r->action == KP_EMULATE, "%s: a path, but not emulated", r->name);
	}
	ck_assert_msg(!dirfd, "%s: DIRFD at the end", r->name);
	for (size_t k = 0; k < (size_t)_i; k++) {
		ck_assert_str_ne(kp_rows[k].name, r->name);
		ck_assert_msg(r->nr_arm64 < 0 || kp_rows[k].nr_arm64 != r->nr_arm64, "%s, %s: the same arm64 number",
			      r->name, kp_rows[k].name);
	}
}
END_TEST

START_TEST(numbers_agree_with_libseccomp)
{
	const struct kp_row *r = &kp_rows[_i];
	int x86 = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, r->name);
	int arm = seccomp_syscall_resolve_name_arch(SCMP_ARCH_AARCH64, r->name);

	/* Negative: newer than the library, or not on that architecture. */
	if (x86 >= 0)
		ck_assert_int_eq(x86, r->nr_x86_64);
	if (arm >= 0 && r->nr_arm64 >= 0)
		ck_assert_int_eq(arm, r->nr_arm64);
}
END_TEST

START_TEST(every_name_of_the_headers_has_a_row)
{
	static const struct {
		const char *name;
		int nr;
	} known[] = {
#define KNOWN(name, nr) {#name, nr},
#include "unistd_names.inc"
#undef KNOWN
	};

	ck_assert_uint_gt(KP_ARRAY_LEN(known), 300);
	for (size_t i = 0; i < KP_ARRAY_LEN(known); i++) {
		const struct kp_row *r = kp_row_of(known[i].nr);

		ck_assert_msg(r != NULL, "%s (%d) has no row", known[i].name, known[i].nr);
		ck_assert_str_eq(r->name, known[i].name);
	}
}
END_TEST

static uint32_t verdict(int nr, uint32_t arch, const uint64_t args[6])
{
	struct seccomp_data d = {.nr = nr, .arch = arch};

	if (args)
		memcpy(d.args, args, sizeof(d.args));
	return bpf_sim(kp_filter_code, kp_filter_len, &d);
}

static uint32_t wanted(const struct kp_row *r)
{
	switch (r->action) {
	case KP_PASS:
		return SECCOMP_RET_ALLOW;
	case KP_EMULATE:
		return SECCOMP_RET_USER_NOTIF;
	case KP_DENY:
		return SECCOMP_RET_ERRNO | EPERM;
	case KP_NOSYS:
	default:
		return SECCOMP_RET_ERRNO | ENOSYS;
	}
}

/* Of the caller itself, process 0, all may be asked. */
static bool takes_pid(const char *name)
{
	static const char *const names[] = {"sched_setparam", "sched_getparam", "sched_setscheduler", "sched_getscheduler", "sched_rr_get_interval",
					    "sched_setaffinity", "sched_getaffinity", "sched_setattr", "sched_getattr", "getpgid", "getsid", "prlimit64",
					    "setpriority", "getpriority"};

	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

START_TEST(filter_says_what_the_row_says)
{
	for (int nr = 0; nr < 1024; nr++) {
		const struct kp_row *r = kp_row_of(nr);
		uint32_t want = r ? wanted(r) : SECCOMP_RET_ERRNO | ENOSYS;

		/* Without an address, and other requests or commands, pass: see the conditions. */
		if (r && (!strcmp(r->name, "sendto") || !strcmp(r->name, "ptrace") || !strcmp(r->name, "fcntl") ||
			  !strcmp(r->name, "socket") || !strcmp(r->name, "madvise") || !strcmp(r->name, "prctl") || !strcmp(r->name, "seccomp") || !strcmp(r->name, "listen") ||
			  !strcmp(r->name, "getsockopt") ||
			  !strcmp(r->name, "clone") || !strcmp(r->name, "fork") || !strcmp(r->name, "vfork") ||
			  takes_pid(r->name)))
			want = SECCOMP_RET_ALLOW;
		ck_assert_msg(verdict(nr, AUDIT_ARCH_X86_64, NULL) == want, "%d (%s): %08x, not %08x", nr,
			      r ? r->name : "no row", verdict(nr, AUDIT_ARCH_X86_64, NULL), want);
		ck_assert_uint_eq(verdict(nr, AUDIT_ARCH_I386, NULL), SECCOMP_RET_KILL_PROCESS);
		ck_assert_uint_eq(verdict(nr, AUDIT_ARCH_AARCH64, NULL), SECCOMP_RET_KILL_PROCESS);
		ck_assert_uint_eq(verdict(nr | 0x40000000, AUDIT_ARCH_X86_64, NULL), SECCOMP_RET_KILL_PROCESS);
	}
	ck_assert_uint_eq(verdict(KP_NR_START, AUDIT_ARCH_X86_64, NULL), SECCOMP_RET_USER_NOTIF);
}
END_TEST

static const uint32_t other_architectures[] = {
	AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, AUDIT_ARCH_PPC64LE, AUDIT_ARCH_S390X, AUDIT_ARCH_RISCV64, AUDIT_ARCH_MIPS64, AUDIT_ARCH_SPARC64,
	AUDIT_ARCH_IA64, AUDIT_ARCH_ALPHA, 0, UINT32_MAX, AUDIT_ARCH_X86_64 ^ 1, AUDIT_ARCH_X86_64 & 0xffff,
};

START_TEST(other_architectures_are_killed)
{
	for (int nr = -1; nr <= 600; nr++)
		ck_assert_uint_eq(verdict(nr, other_architectures[_i], NULL), SECCOMP_RET_KILL_PROCESS);
	ck_assert_uint_eq(verdict(KP_NR_START, other_architectures[_i], NULL), SECCOMP_RET_KILL_PROCESS);
}
END_TEST

/* No kernel has calls there: it answers ENOSYS itself. Those of x32, which begin at 2^30, are not for it to answer. */
START_TEST(numbers_far_away)
{
	static const int far[] = {1024, 65535, 0x3fffffff, -1};
	static const int never[] = {0x40000000, 0x40000001, 0x40000000 + 520, 0x7fffffff, INT32_MIN, INT32_MIN + 2, -2, -4096};

	for (size_t i = 0; i < KP_ARRAY_LEN(far); i++)
		if (verdict(far[i], AUDIT_ARCH_X86_64, NULL) != (SECCOMP_RET_ERRNO | ENOSYS))
			ck_assert_uint_eq(verdict(far[i], AUDIT_ARCH_X86_64, NULL), SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < KP_ARRAY_LEN(never); i++)
		ck_assert_uint_eq(verdict(never[i], AUDIT_ARCH_X86_64, NULL), SECCOMP_RET_KILL_PROCESS);
}
END_TEST

START_TEST(filter_as_text)
{
	kp_autobuf struct kp_buf text = {0};
	unsigned lines = 0;

	kp_filter_text(kp_filter_code, kp_filter_len, &text);
	for (const char *p = text.data; *p; p += strcspn(p, "\n") + 1, lines++) {
		unsigned at, yes = 0, no = 0;

		ck_assert_int_eq(sscanf(p, "%u: ", &at), 1);
		ck_assert_uint_eq(at, lines);
		if (sscanf(p, "%*u: if A %*[^\n]goto %u else goto %u", &yes, &no) == 2)
			ck_assert(yes > at && no > at && yes < kp_filter_len && no < kp_filter_len);
	}
	ck_assert_uint_eq(lines, kp_filter_len);
	ck_assert_ptr_null(strstr(text.data, "code "));
	ck_assert_ptr_nonnull(strstr(text.data, "A = syscall number"));
	ck_assert_ptr_nonnull(strstr(text.data, "kill the process"));
}
END_TEST

static const struct {
	const char *name;
	uint64_t args[6];
	uint32_t want;
} conditions[] = {
	{"clone", {0x1200011}, SECCOMP_RET_ALLOW},
	{"getsockopt", {3, SOL_SOCKET, SO_PEERCRED}, SECCOMP_RET_USER_NOTIF},
	{"getsockopt", {3, SOL_SOCKET, SO_ERROR}, SECCOMP_RET_ALLOW},
	{"ptrace", {PTRACE_ATTACH, 1}, SECCOMP_RET_USER_NOTIF},
	{"ptrace", {PTRACE_SEIZE, 1}, SECCOMP_RET_USER_NOTIF},
	{"ptrace", {PTRACE_CONT, 1}, SECCOMP_RET_USER_NOTIF},
	{"ptrace", {PTRACE_GETREGS, 1}, SECCOMP_RET_ALLOW},
	{"clone", {0x10000000 /* CLONE_NEWUSER */}, SECCOMP_RET_ERRNO | EPERM},
	{"clone", {0x00020000 | 0x11 /* CLONE_NEWNS */}, SECCOMP_RET_ERRNO | EPERM},
	{"clone", {0x40000000 /* CLONE_NEWNET */}, SECCOMP_RET_ERRNO | EPERM},
	{"unshare", {0x200 /* CLONE_FS */}, SECCOMP_RET_ALLOW},
	{"unshare", {0x80 /* CLONE_NEWTIME */}, SECCOMP_RET_ERRNO | EPERM},
	{"ioctl", {0, 0x5413 /* TIOCGWINSZ */}, SECCOMP_RET_ALLOW},
	{"ioctl", {0, 0x5412 /* TIOCSTI */}, SECCOMP_RET_ERRNO | EPERM},
	{"ioctl", {0, 0xdeadbeef00005412}, SECCOMP_RET_ERRNO | EPERM},
	{"ioctl", {0, 0x40086602 /* FS_IOC_SETFLAGS */}, SECCOMP_RET_ERRNO | EOPNOTSUPP},
	{"fcntl", {3, 1024 /* F_SETLEASE */, 1}, SECCOMP_RET_USER_NOTIF},
	{"fcntl", {3, 0xdeadbeef00000400, 1}, SECCOMP_RET_USER_NOTIF},
	{"fcntl", {3, 1025 /* F_GETLEASE */}, SECCOMP_RET_ALLOW},
	{"fcntl", {3, 6 /* F_SETLK */}, SECCOMP_RET_ALLOW},
	{"fcntl", {3, 5 /* F_GETLK */}, SECCOMP_RET_USER_NOTIF},
	{"fcntl", {3, 37 /* F_OFD_SETLK */}, SECCOMP_RET_USER_NOTIF},
	{"madvise", {0, 4096, 10 /* MADV_DONTFORK */}, SECCOMP_RET_USER_NOTIF},
	{"process_madvise", {3, 0, 1, 10, 0}, SECCOMP_RET_ERRNO | EINVAL},
	{"prctl", {15 /* PR_SET_NAME */}, SECCOMP_RET_ALLOW},
	{"prctl", {4 /* PR_SET_DUMPABLE */}, SECCOMP_RET_USER_NOTIF},
	{"prctl", {0xdeadbeef00000004}, SECCOMP_RET_USER_NOTIF},
	{"prctl", {3 /* PR_GET_DUMPABLE */}, SECCOMP_RET_USER_NOTIF},
	{"prlimit64", {0, 7, 1}, SECCOMP_RET_ALLOW},
	{"prlimit64", {1, 7, 1}, SECCOMP_RET_USER_NOTIF},
	{"setpriority", {0, 0, 5}, SECCOMP_RET_ALLOW},
	{"setpriority", {0, 1, 5}, SECCOMP_RET_USER_NOTIF},
	{"setpriority", {2, 0, 5}, SECCOMP_RET_USER_NOTIF},
	{"getsid", {0}, SECCOMP_RET_ALLOW},
	{"getsid", {1ULL << 32}, SECCOMP_RET_USER_NOTIF},
	{"sendto", {3, 4096, 1, 0, 0x7fff0000}, SECCOMP_RET_USER_NOTIF},
	{"sendto", {3, 4096, 1, 0, 0x700000000}, SECCOMP_RET_USER_NOTIF},
};

START_TEST(conditions_on_arguments)
{
	int nr = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, conditions[_i].name);

	ck_assert_uint_eq(verdict(nr, AUDIT_ARCH_X86_64, conditions[_i].args), conditions[_i].want);
}
END_TEST

Suite *test_table(void)
{
	Suite *s = suite_create("table");
	TCase *t = tcase_create("table");

	tcase_add_loop_test(t, rows_hold_together, 0, (int)kp_row_count);
	tcase_add_loop_test(t, numbers_agree_with_libseccomp, 0, (int)kp_row_count);
	tcase_add_test(t, every_name_of_the_headers_has_a_row);
	tcase_add_test(t, filter_says_what_the_row_says);
	tcase_add_loop_test(t, other_architectures_are_killed, 0, KP_ARRAY_LEN(other_architectures));
	tcase_add_test(t, numbers_far_away);
	tcase_add_test(t, filter_as_text);
	tcase_add_loop_test(t, conditions_on_arguments, 0, KP_ARRAY_LEN(conditions));
	suite_add_tcase(s, t);
	return s;
}
