/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses what a container's default seccomp profile refuses to an ordinary user, then runs its arguments. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char *const refused[] = {
	"acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init", "finit_module", "fsconfig",
	"fsmount", "fsopen", "fspick", "get_mempolicy", "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load",
	"keyctl", "lookup_dcookie", "mbind", "mount", "mount_setattr", "move_mount", "move_pages", "name_to_handle_at", "nfsservctl",
	"open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "quotactl", "reboot",
	"request_key", "set_mempolicy", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff", "swapon", "sysfs",
	"umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup",
};

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	const unsigned long namespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
					 CLONE_NEWCGROUP;
	int rc = ctx ? 0 : -ENOMEM;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: docker-shim COMMAND [ARGUMENT...]\n");
		return 2;
	}
	for (size_t i = 0; !rc && i < sizeof(refused) / sizeof(*refused); i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);

		if (nr >= 0) /* this machine may not have it */
			rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
	}
	for (unsigned bit = 0; !rc && bit < 32; bit++)
		if (namespaces & 1UL << bit)
			rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
					      SCMP_A0(SCMP_CMP_MASKED_EQ, 1UL << bit, 1UL << bit));
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!rc && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (!rc)
		rc = seccomp_load(ctx);
	if (rc) {
		(void)fprintf(stderr, "docker-shim: the filter: %s\n", strerror(-rc));
		return 125;
	}
	(void)execvp(argv[1], argv + 1);
	(void)fprintf(stderr, "docker-shim: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
