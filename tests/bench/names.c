/* SPDX-License-Identifier: Apache-2.0 */
/* names LABEL DIRECTORY GROUPS EACH COUNT: DIRECTORY/kNNN/vNNNNN, each looked up (stat), and opened, read and closed, in no order; none twice where
 * there are enough. Prints what the quickest hundred took, in ns for one: `LABEL-lookup N`, `LABEL-open N`. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH 100U
#define STRIDE 7919U /* a prime: goes through all of them */

static const char *directory;
static unsigned groups, each;

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static const char *name(unsigned at)
{
	static char path[4096];
	unsigned n = (unsigned)((uint64_t)at * STRIDE % ((uint64_t)groups * each));

	(void)snprintf(path, sizeof(path), "%s/k%03u/v%05u", directory, n / each, n % each);
	return path;
}

static void look_up(unsigned at)
{
	struct stat st;

	if (stat(name(at), &st) < 0)
		fail(name(at));
}

static void read_one(unsigned at)
{
	char bytes[256];
	int fd = open(name(at), O_RDONLY);

	if (fd < 0 || read(fd, bytes, sizeof(bytes)) <= 0)
		fail(name(at));
	(void)close(fd);
}

static uint64_t quickest(void (*what)(unsigned at), unsigned from, unsigned to)
{
	uint64_t best = UINT64_MAX;

	for (unsigned at = from; at + BATCH <= to; at += BATCH) {
		uint64_t begun = now();

		for (unsigned i = at; i < at + BATCH; i++)
			what(i);
		begun = (now() - begun) / BATCH;
		best = begun < best ? begun : best;
	}
	return best;
}

int main(int argc, char **argv)
{
	unsigned count;

	if (argc != 6)
		return EXIT_FAILURE;
	directory = argv[2];
	groups = (unsigned)atoi(argv[3]);
	each = (unsigned)atoi(argv[4]);
	count = (unsigned)atoi(argv[5]);
	printf("%s-open %llu\n", argv[1], (unsigned long long)quickest(read_one, 0, count));
	printf("%s-lookup %llu\n", argv[1], (unsigned long long)quickest(look_up, count, 2 * count));
	return EXIT_SUCCESS;
}
