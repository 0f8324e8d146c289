/* SPDX-License-Identifier: Apache-2.0 */
/* Takes as much as it gets of one thing: how much that was, and the error that ended it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long count, int code)
{
	printf("%s %ld %s\n", what, count, code ? strerrorname_np(code) : "0");
	(void)fflush(stdout);
}

static void take_processes(int max)
{
	pid_t *pids = calloc((size_t)max, sizeof(*pids));
	int n = 0;

	while (n < max && (pids[n] = fork()) >= 0) {
		if (!pids[n]) {
			(void)pause();
			_exit(0);
		}
		n++;
	}
	say("processes", n, n < max ? errno : 0);
	for (int i = 0; i < n; i++)
		(void)kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

static void *rest(void *arg)
{
	(void)pause();
	return arg;
}

static void take_threads(int max)
{
	int n = 0, rc = 0;
	pthread_t thread;

	while (n < max && !(rc = pthread_create(&thread, NULL, rest, NULL)))
		n++;
	say("threads", n, rc);
}

/* Many processes one after the other: none is refused. */
static void take_turns(int count)
{
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0) {
			say("turns", i, errno);
			return;
		}
		(void)waitpid(pid, NULL, 0);
	}
	say("turns", count, 0);
}

static void take_memory(int max)
{
	int n = 0;

	for (; n < max; n++) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			break;
		memset(p, 1, 1 << 20);
	}
	say("memory", n, n < max ? errno : 0);
}

/* Three processes, each with that much: how many are ended for it. */
static void take_together(int max)
{
	int status, ended = 0;

	for (int i = 0; i < 3; i++)
		if (!fork()) {
			take_memory(max);
			(void)sleep(2);
			_exit(0);
		}
	while (wait(&status) > 0)
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	say("together", ended, 0);
}

static void take_files(int max)
{
	int n = 0;

	while (n < max && open("/", O_RDONLY) >= 0)
		n++;
	say("files", n, n < max ? errno : 0);
}

/* MiB into one file, slowly enough to be seen. */
static void take_disk(const char *path, int max)
{
	static char data[1 << 20];
	const struct timespec pause = {.tv_nsec = 50000000};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), n = 0;

	(void)signal(SIGXFSZ, SIG_IGN);
	memset(data, 1, sizeof(data));
	while (n < max && write(fd, data, sizeof(data)) == (ssize_t)sizeof(data)) {
		n++;
		(void)nanosleep(&pause, NULL);
	}
	say("disk", n, n < max ? errno : 0);
	(void)close(fd);
	fd = open("/another", O_WRONLY | O_CREAT, 0644);
	say("create", 0, fd < 0 ? errno : 0);
	say("unlink", 0, unlink(path) < 0 ? errno : 0);
	for (int i = 0; i < 1200; i++) {
		(void)nanosleep(&pause, NULL);
		fd = open("/another", O_WRONLY | O_CREAT, 0644);
		if (fd >= 0)
			break;
	}
	say("create-again", 0, fd < 0 || write(fd, data, 4096) < 0 ? errno : 0);
}

static void lift(void)
{
	struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY}, now;

	say("lift", 0, getrlimit(RLIMIT_FSIZE, &now) < 0 || setrlimit(RLIMIT_FSIZE, &none) < 0 ? errno : 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int max = argc > 2 ? atoi(argv[argc - 1]) : 0;

	if (!strcmp(what, "processes"))
		take_processes(max);
	else if (!strcmp(what, "threads"))
		take_threads(max);
	else if (!strcmp(what, "turns"))
		take_turns(max);
	else if (!strcmp(what, "memory"))
		take_memory(max);
	else if (!strcmp(what, "together"))
		take_together(max);
	else if (!strcmp(what, "files"))
		take_files(max);
	else if (!strcmp(what, "disk"))
		take_disk(argv[2], max);
	else if (!strcmp(what, "lift"))
		lift();
	else if (!strcmp(what, "spin"))
		for (;;)
			;
	else
		return 2;
	return 0;
}
