/* SPDX-License-Identifier: Apache-2.0 */
/* The static seccomp filter, from the table: what passes, what is refused, what comes to the supervisor. */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/msdos_fs.h>
#include <linux/netlink.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/base.h"
#include "kapsel/start.h"
#include "sys/filter.h"
#include "sys/table.h"

/* Rows of which only some calls are special. action is for calls that match; the others take otherwise. */
struct condition {
	const char *name;
	unsigned arg;
	enum scmp_compare op;
	uint64_t a, b; /* MASKED_EQ: mask and value; else a */
	uint32_t action;
};

static const struct condition conditions[] = {
	/* No new namespaces. A bit of the mask a rule: a masked comparison tells one value only. */
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWNS, CLONE_NEWNS, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWCGROUP, CLONE_NEWCGROUP, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWUTS, CLONE_NEWUTS, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWIPC, CLONE_NEWIPC, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWPID, CLONE_NEWPID, SCMP_ACT_ERRNO(EPERM)},
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWNET, CLONE_NEWNET, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWNS, CLONE_NEWNS, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWCGROUP, CLONE_NEWCGROUP, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWUTS, CLONE_NEWUTS, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWIPC, CLONE_NEWIPC, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWPID, CLONE_NEWPID, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, CLONE_NEWNET, CLONE_NEWNET, SCMP_ACT_ERRNO(EPERM)},
	{"unshare", 0, SCMP_CMP_MASKED_EQ, 0x80, 0x80, SCMP_ACT_ERRNO(EPERM)},
	/* Typing into a terminal; the kernel looks at the low 32 bits. */
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI, SCMP_ACT_ERRNO(EPERM)},
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCLINUX, SCMP_ACT_ERRNO(EPERM)},
	/* Flags of a shared object belong to nobody. */
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, FS_IOC_SETFLAGS, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, FS_IOC_FSSETXATTR, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	/* Nor what else a descriptor that only reads may set. */
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, FS_IOC_SETVERSION, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, _IOW('f', 4, long) /* EXT4_IOC_SETVERSION */, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, FS_IOC_ENABLE_VERITY, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	{"ioctl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, FAT_IOCTL_SET_ATTRIBUTES, SCMP_ACT_ERRNO(EOPNOTSUPP)},
	/* Leases reach whoever opens the object: not all may be taken. */
	{"fcntl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, F_SETLEASE, SCMP_ACT_NOTIFY},
	/* Locks of ranges there: who has one is told by the run's own, and no description's may cover what stands for flock's. */
	{"fcntl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, F_GETLK, SCMP_ACT_NOTIFY},
	{"fcntl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, F_OFD_GETLK, SCMP_ACT_NOTIFY},
	{"fcntl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, F_OFD_SETLK, SCMP_ACT_NOTIFY},
	{"fcntl", 1, SCMP_CMP_MASKED_EQ, 0xffffffff, F_OFD_SETLKW, SCMP_ACT_NOTIFY},
	/* A process that nobody can read would blind the supervisor. */
	{"prctl", 0, SCMP_CMP_MASKED_EQ, 0xffffffff, PR_SET_DUMPABLE, SCMP_ACT_NOTIFY},
	{"prctl", 0, SCMP_CMP_MASKED_EQ, 0xffffffff, PR_GET_DUMPABLE, SCMP_ACT_NOTIFY},
	/* A filter of a guest's own is one for the exec loader's calls, too. */
	{"prctl", 0, SCMP_CMP_MASKED_EQ, 0xffffffff, PR_SET_SECCOMP, SCMP_ACT_NOTIFY},
	{"seccomp", 0, SCMP_CMP_MASKED_EQ, 0xffffffff, SECCOMP_SET_MODE_FILTER, SCMP_ACT_NOTIFY},
	/* A child without the scratch area could put memory of its own there. */
	{"madvise", 2, SCMP_CMP_MASKED_EQ, 0xffffffff, MADV_DONTFORK, SCMP_ACT_NOTIFY},
	{"process_madvise", 3, SCMP_CMP_MASKED_EQ, 0xffffffff, MADV_DONTFORK, SCMP_ACT_ERRNO(EINVAL)},
	/* Who may be traced, and when he may go on (traced.c); other requests are for a process that is traced and stopped. */
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_ATTACH, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_SEIZE, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_CONT, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_SYSCALL, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_SINGLESTEP, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_SINGLEBLOCK, 0, SCMP_ACT_NOTIFY},
	{"ptrace", 0, SCMP_CMP_EQ, PTRACE_DETACH, 0, SCMP_ACT_NOTIFY},
	/* Of oneself all may be asked; of others, if they are guests. */
	{"sched_setparam", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_getparam", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_setscheduler", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_getscheduler", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_rr_get_interval", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_setaffinity", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_getaffinity", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_setattr", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"sched_getattr", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"getpgid", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"getsid", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"prlimit64", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"setpriority", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"setpriority", 1, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"getpriority", 0, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	{"getpriority", 1, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	/* Without an address there is nothing to translate. */
	{"sendto", 4, SCMP_CMP_NE, 0, 0, SCMP_ACT_NOTIFY},
	/* Who connected, where it was done for him. */
	{"getsockopt", 2, SCMP_CMP_MASKED_EQ, 0xffffffff, SO_PEERCRED, SCMP_ACT_NOTIFY},
	{"getsockopt", 2, SCMP_CMP_MASKED_EQ, 0xffffffff, 77 /* SO_PEERPIDFD */, SCMP_ACT_NOTIFY},
	/* Notified where the profile restricts (policy.c); else for what no program asks. */
	{"socket", 0, SCMP_CMP_EQ, UINT64_MAX, 0, SCMP_ACT_NOTIFY},
	{"listen", 0, SCMP_CMP_EQ, UINT64_MAX, 0, SCMP_ACT_NOTIFY},
	{"fork", 0, SCMP_CMP_EQ, UINT64_MAX, 0, SCMP_ACT_NOTIFY},
	{"vfork", 0, SCMP_CMP_EQ, UINT64_MAX, 0, SCMP_ACT_NOTIFY},
};

static uint32_t action_of(const struct kp_row *row)
{
	switch (row->action) {
	case KP_PASS:
		return SCMP_ACT_ALLOW;
	case KP_EMULATE:
		return SCMP_ACT_NOTIFY;
	case KP_DENY:
		return SCMP_ACT_ERRNO(EPERM);
	case KP_NOSYS:
	default:
		return SCMP_ACT_ERRNO(ENOSYS);
	}
}

/* A row with conditions gets one rule for each; all other calls of it take the default, which is to pass. */
static int add_row(scmp_filter_ctx ctx, const struct kp_row *row)
{
	bool conditional = false;
	int rc = 0;

	for (size_t i = 0; i < KP_ARRAY_LEN(conditions) && !rc; i++) {
		const struct condition *on = &conditions[i];
		struct scmp_arg_cmp cmp = {on->arg, on->op, on->a, on->b};

		if (strcmp(on->name, row->name) != 0)
			continue;
		conditional = true;
		rc = seccomp_rule_add_array(ctx, on->action, row->nr_x86_64, 1, &cmp);
	}
	if (!conditional && action_of(row) != SCMP_ACT_ALLOW)
		rc = seccomp_rule_add(ctx, action_of(row), row->nr_x86_64, 0);
	return rc;
}

/* Numbers without a row below that. Those above need one look together (put_front); beyond x32's bit the rules say what of others. */
#define NUMBERS 512

/* It would tell the ports and names of the host; without it tools read /proc/net, which has the guest's. */
static int refuse_diagnosis(scmp_filter_ctx ctx)
{
	struct scmp_arg_cmp which[] = {{0, SCMP_CMP_MASKED_EQ, 0xffffffff, AF_NETLINK}, {2, SCMP_CMP_MASKED_EQ, 0xffffffff, NETLINK_SOCK_DIAG}};

	return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), KP_ARRAY_LEN(which), which);
}

static int add_rules(scmp_filter_ctx ctx, struct kp_err *err)
{
	int rc = refuse_diagnosis(ctx);

	for (size_t i = 0; i < kp_row_count; i++) {
		if (kp_rows[i].nr_x86_64 >= 0)
			rc = add_row(ctx, &kp_rows[i]);
		if (rc)
			return kp_fail_errno(err, -rc, "filter: %s", kp_rows[i].name);
	}
	for (int nr = 0; nr < NUMBERS && !rc; nr++)
		if (!kp_row_of(nr))
			rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), nr, 0);
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, KP_NR_START, 0);
	return rc ? kp_fail_errno(err, -rc, "filter: cannot be made") : 0;
}

static int build(scmp_filter_ctx *ret_ctx, struct kp_err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int rc;

	if (!ctx)
		return kp_fail(err, ENOMEM, "filter: cannot be made");
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	rc = add_rules(ctx, err);
	if (rc) {
		seccomp_release(ctx);
		return rc;
	}
	*ret_ctx = ctx;
	return 0;
}

/* Before the rules: what the kernel may give out one day is refused without a rule each. The kernel runs over the filter once for
 * each number when it is installed. */
static const struct sock_filter front[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, NUMBERS, 0, 3),
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000 /* x32 */, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KP_NR_START, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
};

int kp_filter_build(struct sock_filter **ret_code, unsigned short *ret_len, struct kp_err *err)
{
	kp_autoclose int fd = memfd_create("filter", MFD_CLOEXEC);
	scmp_filter_ctx ctx = NULL;
	off_t size;
	int rc = build(&ctx, err);

	if (rc)
		return rc;
	rc = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	size = rc ? 0 : lseek(fd, 0, SEEK_END);
	if (rc || size <= 0 || size / (off_t)sizeof(struct sock_filter) > UINT16_MAX)
		return kp_fail(err, EIO, "filter: cannot be exported");
	*ret_len = (unsigned short)(KP_ARRAY_LEN(front) + (size_t)size / sizeof(struct sock_filter));
	*ret_code = kp_calloc(*ret_len, sizeof(struct sock_filter));
	memcpy(*ret_code, front, sizeof(front));
	rc = kp_pread_full(fd, *ret_code + KP_ARRAY_LEN(front), (size_t)size, 0);
	if (rc)
		free(*ret_code);
	return rc ? kp_fail_errno(err, -rc, "filter: cannot be read back") : 0;
}
