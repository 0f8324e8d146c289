/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More guests of the freeze test; each says "ready".
 *   held mapped F   counts in a shared mapping of F for ever: no call tells, and no time of F
 *   held traced     traces a child that runs for ever
 *   held stopped    traces a child that it has stopped
 *   held vfork      waits for the child of a vfork, which sleeps for ever
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static int mapped(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	volatile uint64_t *p;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return 1;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	p[0] = 1;
	ready();
	for (;;) {
		p[0]++;
		usleep(1000);
	}
}

static int traced(int stop)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			;
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		return 1;
	if (stop && (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || waitpid(pid, NULL, 0) != pid))
		return 1;
	ready();
	pause();
	return 0;
}

static int held_by_child(void)
{
	ready();
	if (!vfork()) {
		for (;;)
			syscall(SYS_pause);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "mapped"))
		return mapped(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "vfork"))
		return held_by_child();
	return argc > 1 ? traced(!strcmp(argv[1], "stopped")) : 2;
}
