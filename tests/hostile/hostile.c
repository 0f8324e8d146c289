/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile list                          the attempts: name, cases, marks
 * hostile stage DIR COMMAND...          lays out what is to be got at, runs COMMAND with $HOSTILE (stage.c)
 * hostile run KEY=VALUE... [NAME...]    makes the attempts, each in a process of its own: `NAME got`, `NAME no REASON`, `NAME n/a`
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

static const struct attempt *const families[] = {abi_attempts, path_attempts, proc_attempts, ipc_attempts, exec_attempts};

int refused(void)
{
	return errno > 0 && errno < NOT_HERE ? errno : EIO;
}

int holds_token(const struct hostile *h, int fd)
{
	static char text[1 << 16];
	ssize_t n;

	if (fd < 0)
		return refused();
	n = read(fd, text, sizeof(text));
	(void)close(fd);
	return n > 0 && memmem(text, (size_t)n, h->token, strlen(h->token)) ? GOT : EIO;
}

int reads_token(const struct hostile *h, const char *path)
{
	return holds_token(h, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

const char *outside(const struct hostile *h, const char *name)
{
	static char buf[4][512];
	static unsigned next;
	char *at = buf[next++ % 4];

	(void)snprintf(at, sizeof(buf[0]), "%s/%s", h->dir, name);
	return at;
}

const char *inner(const struct hostile *h, const char *name)
{
	static char buf[512];

	(void)snprintf(buf, sizeof(buf), "%s/%s-%d", strcmp(h->inside, "/") ? h->inside : "", name, getpid());
	return buf;
}

int in_child(int (*what)(const struct hostile *h), const struct hostile *h)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		(void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1);
		_exit(what(h));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return refused();
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static void attempt(const struct hostile *base, const struct attempt *a)
{
	struct hostile h = *base;
	char dir[512];
	pid_t pid;
	int status;

	(void)snprintf(dir, sizeof(dir), "%s/%s", base->out, a->name);
	h.dir = dir;
	(void)fflush(stdout);
	pid = fork();
	if (!pid) {
		(void)alarm(30);
		_exit(a->try(&h));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		printf("%s no fork: %s\n", a->name, strerror(errno));
	else if (WIFSIGNALED(status))
		printf("%s no %s\n", a->name, WTERMSIG(status) == SIGALRM ? "hung" : strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == GOT)
		printf("%s got\n", a->name);
	else if (WEXITSTATUS(status) == NOT_HERE)
		printf("%s n/a\n", a->name);
	else
		printf("%s no %s\n", a->name, strerrorname_np(WEXITSTATUS(status)));
}

static void set(struct hostile *h, const char *key, const char *value)
{
	const struct {
		const char *key;
		const char **text;
		int *number;
	} keys[] = {
		{"out", &h->out, NULL}, {"token", &h->token, NULL}, {"victim", NULL, &h->victim}, {"fd", NULL, &h->victim_fd},
		{"port", NULL, &h->port}, {"abstract", &h->abstract, NULL}, {"path", &h->path, NULL}, {"pts", &h->pts, NULL},
		{"shm", NULL, &h->shm}, {"sem", NULL, &h->sem}, {"msg", NULL, &h->msg}, {"shm_key", NULL, &h->shm_key},
		{"queue", &h->queue, NULL}, {"dev_shm", &h->dev_shm, NULL}, {"inside", &h->inside, NULL},
	};

	if (!strcmp(key, "address"))
		h->address = strtoull(value, NULL, 0);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i].key, key)) {
			if (keys[i].text)
				*keys[i].text = value;
			else
				*keys[i].number = (int)strtol(value, NULL, 0);
		}
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static int run_main(char **argv)
{
	struct hostile h = {.parent = getppid(), .inside = "/"};

	for (; *argv && strchr(*argv, '='); argv++) {
		char *value = strchr(*argv, '=');

		*value = '\0';
		set(&h, *argv, value + 1);
	}
	if (!h.out || !h.token)
		return 2;
	(void)umask(0);
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
		for (const struct attempt *a = families[f]; a->name; a++)
			if (wanted(a->name, argv))
				attempt(&h, a);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "list")) {
		for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
			for (const struct attempt *a = families[f]; a->name; a++)
				printf("%s %s %s\n", a->name, a->cases, a->marks[0] ? a->marks : "-");
		return 0;
	}
	if (argc > 3 && !strcmp(argv[1], "stage"))
		return stage_main(argc - 2, argv + 2);
	if (argc > 2 && !strcmp(argv[1], "run"))
		return run_main(argv + 2);
	fprintf(stderr, "usage: hostile list | stage DIR COMMAND... | run KEY=VALUE... [NAME...]\n");
	return 2;
}
