/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits bytes|descriptors THREADS: so many threads send what nobody receives, 4 MiB each or 250 descriptors each; then a file is opened. Says how
 * many threads wait and whether the file could be; rests until its input ends.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES (4U << 20)
#define DESCRIPTORS 250

static bool descriptors;
static atomic_uint begun, ended;
static char *bytes;

static void *sender(void *arg)
{
	union {
		char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {bytes, descriptors ? 1 : BYTES};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	int pair[2], numbers[DESCRIPTORS];

	if (socketpair(AF_UNIX, descriptors ? SOCK_DGRAM : SOCK_STREAM, 0, pair) < 0)
		exit(2);
	if (descriptors) {
		while (send(pair[0], "", 1, MSG_DONTWAIT) == 1)
			;
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		*CMSG_FIRSTHDR(&m) = (struct cmsghdr){CMSG_LEN(sizeof(numbers)), SOL_SOCKET, SCM_RIGHTS};
		for (size_t i = 0; i < DESCRIPTORS; i++)
			numbers[i] = 1;
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), numbers, sizeof(numbers));
	}
	atomic_fetch_add(&begun, 1);
	(void)sendmsg(pair[0], &m, 0);
	atomic_fetch_add(&ended, 1);
	return arg;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 1, last;
	struct rlimit files;
	pthread_attr_t attr;
	pthread_t t;
	char c;
	int fd;

	(void)getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	descriptors = argc > 1 && !strcmp(argv[1], "descriptors");
	bytes = calloc(1, BYTES);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 65536);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&t, &attr, sender, NULL))
			return 2;
	do { /* until all wait that will */
		last = atomic_load(&ended);
		(void)usleep(500000);
	} while (atomic_load(&begun) < count || last != atomic_load(&ended));
	fd = open("/waits", O_RDONLY);
	printf("%s; %u of %u wait; supervisor %d\n", fd < 0 ? "not opened" : "opened", count - atomic_load(&ended), count, getppid());
	(void)fflush(stdout);
	(void)!read(0, &c, 1);
	return 0;
}
