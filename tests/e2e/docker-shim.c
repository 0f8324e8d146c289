/* SPDX-License-Identifier: Apache-2.0 */
/* docker-shim PROGRAM [ARG...]: under refusals like those of Docker's default seccomp filter, without its capabilities. */
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the default profile allows only with a capability that a container lacks, or never. */
static const char *const refused[] = {
	"acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init", "finit_module",
	"fsconfig", "fsmount", "fsopen", "fspick", "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register",
	"io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind",
	"mount", "mount_setattr", "move_mount", "move_pages", "nfsservctl", "open_by_handle_at", "open_tree",
	"perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "quotactl", "reboot", "request_key",
	"set_mempolicy", "setdomainname", "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs",
	"syslog", "umount", "umount2", "unshare", "userfaultfd", "uselib", "ustat", "vhangup",
};

static void must(int rc, const char *what)
{
	if (rc < 0) {
		fprintf(stderr, "docker-shim: %s: error %d\n", what, -rc);
		exit(125);
	}
}

int main(int argc, char **argv)
{
	const unsigned long namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
					 CLONE_NEWPID | CLONE_NEWNET;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (argc < 2 || !filter) {
		fprintf(stderr, "usage: docker-shim PROGRAM [ARG...]\n");
		return 125;
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);

		if (nr >= 0)
			must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), nr, 0), refused[i]);
	}
	/* One rule a flag: any of them is refused. */
	for (unsigned long flag = 1; flag; flag <<= 1)
		if (namespaces & flag)
			must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
					      SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)), "clone");
	must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), "clone3");
	must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), 462 /* mseal, newer than the library */, 0), "mseal");
	must(seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1), "no_new_privs");
	must(seccomp_load(filter), "load");
	seccomp_release(filter);
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return errno == ENOENT ? 127 : 126;
}
