/* SPDX-License-Identifier: Apache-2.0 */
/* micro [ROUNDS [CASE...]]: nanoseconds a call, median of rounds, one `name ns` line a case; in a directory with `file` and `dir`. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int fd;
static char path[4096]; /* of file */

static int do_stat(void)
{
	struct stat st;

	return stat(path, &st);
}

static int do_stat_relative(void)
{
	struct stat st;

	return stat("file", &st);
}

static int do_open_close(void)
{
	int f = open(path, O_RDONLY | O_CLOEXEC);

	return f < 0 ? -1 : close(f);
}

static int do_fstat(void)
{
	struct stat st;

	return fstat(fd, &st);
}

static int do_enoent(void)
{
	struct stat st;

	return stat("nothing", &st) < 0 && errno == ENOENT ? 0 : -1;
}

static int do_readdir(void)
{
	DIR *d = opendir("dir");

	if (!d)
		return -1;
	while (readdir(d))
		;
	return closedir(d);
}

static int do_getcwd(void)
{
	char buf[4096];

	return getcwd(buf, sizeof(buf)) ? 0 : -1;
}

static int do_create_unlink(void)
{
	int f = open("new", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	return f < 0 || close(f) < 0 ? -1 : unlink("new");
}

static int do_read(void)
{
	char byte;

	return pread(fd, &byte, 1, 0) == 1 ? 0 : -1;
}

static int do_spawn(void)
{
	char name[] = "true";
	char *argv[] = {name, NULL};
	int status;
	pid_t pid;

	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status ? -1 : 0;
}

static int do_fork(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

#define EACH 200 /* stats of a thread */
#define THREADS_MAX 64

static void *stats(void *unused)
{
	for (int i = 0; i < EACH; i++)
		if (do_stat() < 0)
			return &fd; /* anything */
	return unused;
}

static int many(int count)
{
	pthread_t threads[THREADS_MAX];
	void *failed = NULL;
	int rc = 0;

	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, stats, NULL) != 0)
			return -1;
	for (int i = 0; i < count; i++)
		if (pthread_join(threads[i], &failed) != 0 || failed)
			rc = -1;
	return rc;
}

static int do_threads_1(void)
{
	return many(1);
}

static int do_threads_8(void)
{
	return many(8);
}

static int do_threads_64(void)
{
	return many(THREADS_MAX);
}

static const struct {
	const char *name;
	int (*fn)(void);
	int calls; /* a round */
	int inside; /* operations of one, 0: 1 */
} cases[] = {
	{"read", do_read, 20000, 0},
	{"fstat", do_fstat, 2000, 0},
	{"stat", do_stat, 2000, 0},
	{"stat-relative", do_stat_relative, 2000, 0},
	{"enoent", do_enoent, 2000, 0},
	{"open+close", do_open_close, 2000, 0},
	{"getcwd", do_getcwd, 2000, 0},
	{"readdir-100", do_readdir, 200, 0},
	{"create+unlink", do_create_unlink, 200, 0},
	{"fork", do_fork, 100, 0},
	{"spawn-true", do_spawn, 20, 0},
	{"threads-1", do_threads_1, 1, EACH},
	{"threads-8", do_threads_8, 1, EACH * 8},
	{"threads-64", do_threads_64, 1, EACH * THREADS_MAX},
};

static int wanted(char **names, const char *name)
{
	if (!*names)
		return strncmp(name, "threads", 7) != 0;
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5;
	uint64_t *ns = calloc(rounds ? rounds : 1, sizeof(*ns));

	fd = open("file", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !ns || !rounds || !realpath("file", path)) {
		perror("file");
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!wanted(argv + (argc > 1 ? 2 : 1), cases[i].name))
			continue;
		for (size_t r = 0; r < rounds; r++) {
			uint64_t start = now();

			for (int n = 0; n < cases[i].calls; n++)
				if (cases[i].fn() < 0) {
					perror(cases[i].name);
					return EXIT_FAILURE;
				}
			ns[r] = (now() - start) / (uint64_t)(cases[i].calls * (cases[i].inside ? cases[i].inside : 1));
		}
		qsort(ns, rounds, sizeof(*ns), ascending);
		printf("%s %llu\n", cases[i].name, (unsigned long long)ns[rounds / 2]);
	}
	free(ns);
	return EXIT_SUCCESS;
}
