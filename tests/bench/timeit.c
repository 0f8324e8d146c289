/* SPDX-License-Identifier: Apache-2.0 */
/* timeit NAME RUNS PROGRAM [ARG...]: wall-clock nanoseconds of a whole run, median; of several after one that is not counted. */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t once(char **argv)
{
	posix_spawn_file_actions_t actions;
	struct timespec a, b;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "timeit: %s: failed\n", argv[0]);
		exit(EXIT_FAILURE);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	posix_spawn_file_actions_destroy(&actions);
	return (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000U + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
}

int main(int argc, char **argv)
{
	size_t runs = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	uint64_t *ns = calloc(runs ? runs : 1, sizeof(*ns));

	if (!runs || !ns) {
		fprintf(stderr, "usage: timeit NAME RUNS PROGRAM [ARG...]\n");
		return EXIT_FAILURE;
	}
	if (runs > 1)
		(void)once(argv + 3);
	for (size_t i = 0; i < runs; i++)
		ns[i] = once(argv + 3);
	qsort(ns, runs, sizeof(*ns), ascending);
	printf("%s %llu\n", argv[1], (unsigned long long)ns[runs / 2]);
	free(ns);
	return EXIT_SUCCESS;
}
