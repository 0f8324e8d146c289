/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts at other processes: seeing, signalling, tracing, slowing; and at what was inherited. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

static int answer(long rc)
{
	return rc < 0 ? refused() : GOT;
}

static const char *of(pid_t pid, const char *name)
{
	static char buf[64];

	(void)snprintf(buf, sizeof(buf), "/proc/%d/%s", pid, name);
	return buf;
}

/* --- signals --- */

static int signal_kill(const struct hostile *h)
{
	return answer(kill(h->victim, SIGURG));
}

static int signal_parent(const struct hostile *h)
{
	return answer(kill(h->parent, SIGURG));
}

static int signal_tgkill(const struct hostile *h)
{
	return answer(syscall(SYS_tgkill, h->victim, h->victim, SIGURG));
}

static int signal_tkill(const struct hostile *h)
{
	return answer(syscall(SYS_tkill, h->victim, SIGURG));
}

static int signal_queue(const struct hostile *h)
{
	return answer(sigqueue(h->victim, SIGURG, (union sigval){0}));
}

static int signal_pidfd(const struct hostile *h)
{
	int fd = (int)syscall(SYS_pidfd_open, h->victim, 0);

	return fd < 0 ? refused() : answer(syscall(SYS_pidfd_send_signal, fd, SIGURG, NULL, 0));
}

static int signal_proc_directory(const struct hostile *h)
{
	int fd = open(of(h->victim, ""), O_RDONLY | O_DIRECTORY);

	return fd < 0 ? refused() : answer(syscall(SYS_pidfd_send_signal, fd, SIGURG, NULL, 0));
}

/* The owner of a descriptor is sent what happens there: signals by way of the kernel. */
static int signal_owner(const struct hostile *h)
{
	int fds[2], pid = 0;

	if (pipe(fds) < 0 || fcntl(fds[0], F_SETSIG, SIGURG) < 0 || fcntl(fds[0], F_SETOWN, h->victim) < 0)
		return refused();
	pid = fcntl(fds[0], F_GETOWN);
	if (fcntl(fds[0], F_SETFL, O_ASYNC) < 0)
		return refused();
	(void)!write(fds[1], "x", 1);
	(void)usleep(20000);
	/* The victim counts what it gets in a file that only the stage reads; W. */
	return pid == h->victim ? GOT : EIO;
}

/* --- memory and descriptors --- */

static int peek(const struct hostile *h)
{
	char text[16];
	long word;

	if (ptrace(PTRACE_SEIZE, h->victim, NULL, NULL) < 0)
		return refused();
	(void)ptrace(PTRACE_INTERRUPT, h->victim, NULL, NULL);
	(void)waitpid(h->victim, NULL, __WALL);
	word = ptrace(PTRACE_PEEKDATA, h->victim, (void *)(uintptr_t)h->address, NULL); /* NOLINT */
	(void)ptrace(PTRACE_DETACH, h->victim, NULL, NULL);
	memcpy(text, &word, sizeof(word));
	return !memcmp(text, h->token, sizeof(word)) ? GOT : EIO;
}

static int vm_read(const struct hostile *h)
{
	char text[64] = "";
	struct iovec local = {text, 16}, remote = {(void *)(uintptr_t)h->address, 16}; /* NOLINT */

	if (process_vm_readv(h->victim, &local, 1, &remote, 1, 0) < 0)
		return refused();
	return !strncmp(text, h->token, 16) ? GOT : EIO;
}

static int parent_vm_read(const struct hostile *h)
{
	char text[64] = "";
	struct iovec local = {text, 16}, remote = {(void *)(uintptr_t)h->address, 16}; /* NOLINT */
	long rc = process_vm_readv(h->parent, &local, 1, &remote, 1, 0);

	/* Nothing need be mapped there: that it is asked is enough. */
	return rc >= 0 || errno == EFAULT ? GOT : refused();
}

static int mem_file(const struct hostile *h)
{
	char text[64] = "";
	int fd = open(of(h->victim, "mem"), O_RDONLY);

	if (fd < 0 || pread(fd, text, 16, (off_t)h->address) < 0)
		return refused();
	return !strncmp(text, h->token, 16) ? GOT : EIO;
}

static int environment(const struct hostile *h)
{
	return reads_token(h, of(h->victim, "environ"));
}

static int take_descriptor(const struct hostile *h)
{
	int fd = (int)syscall(SYS_pidfd_open, h->victim, 0);
	int got = fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, fd, h->victim_fd, 0);

	if (got < 0)
		return refused();
	(void)lseek(got, 0, SEEK_SET);
	return holds_token(h, got);
}

/* A child's harmless call becomes another one while it stops at it: the filter looks after the tracer has. */
static int traced_call(const struct hostile *h)
{
	struct user_regs_struct regs;
	const char *path = outside(h, "canary");
	int status, pipes[2], result = EIO;
	pid_t pid;

	if (pipe(pipes) < 0)
		return refused();
	pid = fork();
	if (!pid) {
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)raise(SIGSTOP);
		_exit(holds_token(h, (int)syscall(SYS_getpid, path, O_RDONLY)) == GOT ? 0 : 1);
	}
	(void)waitpid(pid, &status, 0);
	(void)ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.orig_rax == SYS_getpid && (long)regs.rax == -ENOSYS) {
			regs.orig_rax = SYS_open;
			(void)ptrace(PTRACE_SETREGS, pid, NULL, &regs);
		}
		(void)ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
	}
	if (WIFEXITED(status))
		result = WEXITSTATUS(status) ? EIO : GOT;
	return result;
}

/* --- being seen, being slowed --- */

static int seen_by_stat(const struct hostile *h)
{
	struct stat st;

	return answer(stat(of(h->victim, ""), &st));
}

static int seen_first(const struct hostile *h)
{
	struct stat st;

	(void)h;
	return answer(stat("/proc/1", &st));
}

static int seen_in_list(const struct hostile *h)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (atoi(e->d_name) == h->victim)
			return GOT;
	return ENOENT;
}

static int seen_by_status(const struct hostile *h)
{
	return answer(open(of(h->victim, "status"), O_RDONLY));
}

static int parent_status(const struct hostile *h)
{
	return answer(open(of(h->parent, "cmdline"), O_RDONLY));
}

static int seen_by_getsid(const struct hostile *h)
{
	return answer(getsid(h->victim));
}

static int seen_by_getpgid(const struct hostile *h)
{
	return answer(getpgid(h->victim));
}

static int limit_other(const struct hostile *h)
{
	struct rlimit l = {4096, 4096};

	return answer(prlimit(h->victim, RLIMIT_CORE, &l, NULL));
}

static int nice_other(const struct hostile *h)
{
	return answer(setpriority(PRIO_PROCESS, (id_t)h->victim, 19));
}

/* The victim leads a group. Not PRIO_USER: natively that is every process of the user. */
static int nice_group(const struct hostile *h)
{
	return answer(setpriority(PRIO_PGRP, (id_t)h->victim, 19));
}

static int ask_nice_of_user(const struct hostile *h)
{
	errno = 0;
	(void)h;
	return getpriority(PRIO_USER, 0) == -1 && errno ? refused() : GOT;
}

static int bind_other(const struct hostile *h)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return answer(sched_setaffinity(h->victim, sizeof(set), &set));
}

static int schedule_other(const struct hostile *h)
{
	struct sched_param p = {0};

	return answer(sched_setscheduler(h->victim, SCHED_IDLE, &p));
}

static int ioprio_other(const struct hostile *h)
{
	return answer(syscall(SYS_ioprio_set, 1, h->victim, 3 << 13));
}

/* --- what was inherited --- */

static int inherited_file(const struct hostile *h)
{
	char text[128] = "";

	for (int fd = 3; fd < 1024; fd++)
		if (pread(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, h->token))
			return GOT;
	return EBADF;
}

static int inherited_directory(const struct hostile *h)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && fchdir(fd) == 0)
			return GOT;
	}
	(void)h;
	return EBADF;
}

static int inherited_any(const struct hostile *h)
{
	(void)h;
	for (int fd = 3; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return GOT;
	return EBADF;
}

/* --- powers of root --- */

static int become_other(const struct hostile *h)
{
	(void)h;
	return getuid() ? NOT_HERE : answer(setuid(12345));
}

static int change_root(const struct hostile *h)
{
	return answer(chroot(h->inside));
}

static int any_capability(const struct hostile *h)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;

	(void)h;
	if (getuid())
		return NOT_HERE;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1 || sscanf(line, "CapPrm: %llx", &caps) == 1 || sscanf(line, "CapBnd: %llx", &caps) == 1)
			if (caps)
				return GOT;
	return EPERM;
}

/* The name that it has: natively this is allowed. */
static int set_host_name(const struct hostile *h)
{
	struct utsname u;

	(void)h;
	return getuid() || uname(&u) ? NOT_HERE : answer(syscall(SYS_sethostname, u.nodename, strlen(u.nodename)));
}

const struct attempt proc_attempts[] = {
	{"kill", "23", "", signal_kill},
	{"kill-parent", "23", "", signal_parent},
	{"tgkill", "23", "", signal_tgkill},
	{"tkill", "23", "", signal_tkill},
	{"sigqueue", "23", "", signal_queue},
	{"pidfd-signal", "23", "", signal_pidfd},
	{"proc-dir-signal", "23", "", signal_proc_directory},
	{"sigio", "23", "W", signal_owner},
	{"ptrace", "23", "", peek},
	{"process_vm_readv", "23", "", vm_read},
	{"parent-memory", "23", "", parent_vm_read},
	{"proc-mem", "11,23", "", mem_file},
	{"proc-environ", "11,18", "", environment},
	{"pidfd_getfd", "23", "", take_descriptor},
	{"traced-call", "8,23", "", traced_call},
	{"proc-stat", "11", "", seen_by_stat},
	{"proc-first", "11", "", seen_first},
	{"proc-list", "11", "", seen_in_list},
	{"proc-status", "11", "", seen_by_status},
	{"parent-cmdline", "23", "", parent_status},
	{"getsid", "23", "", seen_by_getsid},
	{"getpgid", "23", "", seen_by_getpgid},
	{"prlimit", "23", "", limit_other},
	{"setpriority", "23", "", nice_other},
	{"setpriority-group", "23", "", nice_group},
	{"getpriority-user", "23", "", ask_nice_of_user},
	{"sched_setaffinity", "23", "", bind_other},
	{"sched_setscheduler", "23", "", schedule_other},
	{"ioprio_set", "23", "", ioprio_other},
	{"inherited-file", "12,31", "", inherited_file},
	{"inherited-directory", "12", "", inherited_directory},
	{"inherited-any", "12,27", "", inherited_any},
	{"setuid", "26", "", become_other},
	{"chroot", "10", "", change_root},
	{"capabilities", "26", "", any_capability},
	{"sethostname", "26", "", set_host_name},
	{NULL, NULL, NULL, NULL},
};
