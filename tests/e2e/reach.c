/* SPDX-License-Identifier: Apache-2.0 */
/* reach PID: which calls reach into that process; 0: a child of its own. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char word[8] = "secret";

static void told(const char *what, long r)
{
	printf("%s: %s\n", what, r < 0 ? strerrorname_np(errno) : "yes");
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 1 ? atoi(argv[1]) : getppid(), child = 0;
	char buf[8] = "";
	struct iovec here = {buf, sizeof(buf)}, there = {word, sizeof(word)};
	int fd;

	if (!pid) {
		pid = child = fork();
		while (!child)
			pause();
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	told("pidfd_open", fd);
	if (!child)
		told("pidfd_getfd", fd < 0 ? fd : syscall(SYS_pidfd_getfd, fd, 0, 0));
	/* The address means something in a child only. */
	told("process_vm_readv", process_vm_readv(pid, &here, 1, &there, child ? 1 : 0, 0));
	told("process_vm_writev", process_vm_writev(pid, &here, 1, &there, child ? 1 : 0, 0));
	if (child)
		printf("read: %s\n", buf);
	told("attach", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
	if (child)
		(void)waitpid(pid, NULL, __WALL);
	(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
	told("seize", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	if (child)
		(void)kill(child, SIGKILL);
	return 0;
}
