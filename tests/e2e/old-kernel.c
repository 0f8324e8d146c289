/* SPDX-License-Identifier: Apache-2.0 */
/* old-kernel LACK PROGRAM [ARG...]: on a kernel that lacks something, or whose administrator forbids it: its calls end as they do there. */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SET_FLAGS _IOW('!', 4, uint64_t)
#define WAIT_KILLABLE (1U << 5)

static const struct {
	const char *name;
	int call, error;
	uint64_t mask, value; /* of its second argument; 0: every such call */
} lacks[] = {
	{"landlock", SYS_landlock_create_ruleset, ENOSYS, 0, 0},
	{"landlock-on", SYS_landlock_create_ruleset, EOPNOTSUPP, 0, 0}, /* built, and not among the LSMs */
	{"notify", SYS_seccomp, EINVAL, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_NEW_LISTENER},
	{"free-listener", SYS_seccomp, EBUSY, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_NEW_LISTENER},
	{"addfd", SYS_ioctl, EINVAL, 0xffffffff, SECCOMP_IOCTL_NOTIF_ADDFD},
	{"sync-wake-up", SYS_ioctl, EINVAL, 0xffffffff, SET_FLAGS},
	{"wait-killable", SYS_seccomp, EINVAL, WAIT_KILLABLE, WAIT_KILLABLE},
	{"ptrace", SYS_ptrace, EPERM, 0, 0},			  /* Yama 3 */
	{"memory", SYS_process_vm_readv, EPERM, 0, 0},
	{"pidfd_getfd", SYS_pidfd_getfd, EPERM, 0, 0},
	{"mseal", 462, ENOSYS, 0, 0},
	{"openat2", SYS_openat2, ENOSYS, 0, 0},
};

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc = -1;

	for (size_t i = 0; argc > 2 && filter && i < sizeof(lacks) / sizeof(lacks[0]); i++)
		if (!strcmp(argv[1], lacks[i].name))
			rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)lacks[i].error), lacks[i].call, lacks[i].mask != 0,
					      SCMP_A1(SCMP_CMP_MASKED_EQ, lacks[i].mask, lacks[i].value));
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	if (rc) {
		fprintf(stderr, "old-kernel: %d\n", rc);
		return 2;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 2;
}
