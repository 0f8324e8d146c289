/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopped opens FILE COUNT: opens and closes it; tells of answers that are no descriptor of its own. stopped stop PID: stops and continues that one over
 * and over until it is gone or 10 s are over.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int opens(const char *file, int count)
{
	int wrong = 0, failed = 0;

	close(open(file, O_RDWR | O_CREAT, 0644));
	puts("ready");
	(void)fflush(stdout);
	for (int i = 0; i < count; i++) {
		int fd = open(file, O_RDWR);

		wrong += fd >= 0 && fd <= 2;
		failed += fd < 0;
		if (fd > 2)
			close(fd);
	}
	printf("wrong: %d, failed: %d\n", wrong, failed);
	return wrong || failed;
}

static int stop(pid_t pid)
{
	double until = now() + 10;
	int stops = 0;

	if (pid <= 1)
		return EXIT_FAILURE;
	while (now() < until && kill(pid, SIGSTOP) == 0) {
		(void)usleep(5);
		(void)kill(pid, SIGCONT);
		(void)usleep((useconds_t)(30 + rand() % 100));
		stops++;
	}
	(void)kill(pid, SIGCONT);
	printf("%d stops\n", stops);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "opens"))
		return opens(argv[2], atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "stop"))
		return stop((pid_t)atoi(argv[2]));
	return EXIT_FAILURE;
}
