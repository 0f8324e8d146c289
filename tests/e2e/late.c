/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late SECONDS: opens of two FIFOs, which the guest makes itself. Those of "slow" are made by a thread that hardly gets a core (SCHED_IDLE), those of
 * "quick" by several that do, many a moment: what the slow one is given must be its own all the same.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define QUICK 4 /* threads */
#define LEAST 5 /* tries, however long it takes */

static atomic_bool over;
static atomic_ulong quick_tries, wrong, failed;

static void open_and_look(const char *path, ino_t wanted)
{
	int fd = open(path, O_RDWR | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		atomic_fetch_add(&failed, 1);
	else if (fstat(fd, &st) < 0 || st.st_ino != wanted)
		atomic_fetch_add(&wrong, 1);
	(void)close(fd);
}

static ino_t number(const char *path)
{
	struct stat st;

	if (mkfifo(path, 0600) < 0 || stat(path, &st) < 0)
		exit(2);
	return st.st_ino;
}

static void *quick(void *arg)
{
	ino_t wanted = *(ino_t *)arg;

	while (!atomic_load(&over)) {
		open_and_look("/quick", wanted);
		atomic_fetch_add(&quick_tries, 1);
	}
	return NULL;
}

static void *spins(void *arg)
{
	while (!atomic_load(&over))
		;
	return arg;
}

int main(int argc, char **argv)
{
	ino_t slow_number = number("/slow"), quick_number = number("/quick");
	struct sched_param p = {0};
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);
	unsigned long tries = 0;
	pthread_t t[64];
	int count = 0;

	for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN) && count < 32; i++)
		(void)pthread_create(&t[count++], NULL, spins, NULL);
	for (int i = 0; i < QUICK; i++)
		(void)pthread_create(&t[count++], NULL, quick, &quick_number);
	if (sched_setscheduler((pid_t)syscall(SYS_gettid), SCHED_IDLE, &p) < 0)
		return 2;
	for (; time(NULL) < end || (tries < LEAST && time(NULL) < end + 120); tries++)
		open_and_look("/slow", slow_number);
	atomic_store(&over, true);
	for (int i = 0; i < count; i++)
		(void)pthread_join(t[i], NULL);
	printf("slow %lu, quick %lu, failed %lu, wrong %lu\n", tries, atomic_load(&quick_tries), atomic_load(&failed), atomic_load(&wrong));
	return atomic_load(&wrong) || atomic_load(&failed) || tries < LEAST;
}
