/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap-socket WAY OWN CANARY SECONDS SCRATCH SIZE: connects or sends to OWN, a socket of its own, for SECONDS, while other threads write the path of
 * CANARY, a socket of the host, over the address (WAY address), over each host path in the memory at SCRATCH, where a rewritten call
 * has its strings (scratch), or exchange the descriptor and the family behind a call to 127.0.0.1 (family). Prints how often each was seen.
 * swap-socket serve NAME: is such a canary, a listener at NAME and a receiver at NAME.d; tells of each who comes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SLOT 8192 /* one rewritten call's */
#define CALLED 60 /* the descriptor that calls are made on */

static struct sockaddr_un own, canary;
static struct sockaddr_un shared; /* what calls are made with */
static struct sockaddr_in inet;
static char *scratch;
static size_t size;
static int of_unix, of_inet;
static atomic_bool over;
static atomic_ulong swaps;

static void name(struct sockaddr_un *sun, const char *path, const char *more)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	(void)snprintf(sun->sun_path, sizeof(sun->sun_path), "%s%s", path, more);
}

static int serve(const char *path)
{
	struct sockaddr_un listens, receives;
	struct pollfd p[2] = {{.fd = socket(AF_UNIX, SOCK_STREAM, 0), .events = POLLIN}, {.fd = socket(AF_UNIX, SOCK_DGRAM, 0), .events = POLLIN}};
	char buf[64];

	name(&listens, path, "");
	name(&receives, path, ".d");
	if (bind(p[0].fd, (struct sockaddr *)&listens, sizeof(listens)) < 0 || listen(p[0].fd, 100) < 0 ||
	    bind(p[1].fd, (struct sockaddr *)&receives, sizeof(receives)) < 0)
		return 1;
	printf("ready\n");
	(void)fflush(stdout);
	while (poll(p, 2, -1) > 0) {
		if (p[0].revents)
			printf("connected %d\n", close(accept(p[0].fd, NULL, NULL)));
		if (p[1].revents)
			printf("received %zd\n", recv(p[1].fd, buf, sizeof(buf), 0));
		(void)fflush(stdout);
	}
	return 1;
}

static void set_shared(const void *address, size_t len)
{
	memcpy(&shared, address, len);
	__asm__ volatile("" ::: "memory"); /* each of them is to be seen */
}

static void *swap_address(void *arg)
{
	while (!atomic_load(&over)) {
		set_shared(&canary, sizeof(canary));
		for (volatile int i = 0; i < 20; i++)
			;
		set_shared(&own, sizeof(own));
		for (volatile int i = 0; i < 20; i++)
			;
		atomic_fetch_add(&swaps, 1);
	}
	return arg;
}

static void *swap_family(void *arg)
{
	while (!atomic_load(&over)) {
		set_shared(&canary, sizeof(canary));
		(void)dup2(of_unix, CALLED);
		set_shared(&inet, sizeof(inet));
		(void)dup2(of_inet, CALLED);
		atomic_fetch_add(&swaps, 1);
	}
	return arg;
}

static sigjmp_buf out_of;

static void on_fault(int sig)
{
	siglongjmp(out_of, sig);
}

/* From Linux 6.10 on that memory is nobody's to write: then there is nothing to exchange. */
static void *swap_scratch(void *arg)
{
	size_t len = strlen(canary.sun_path) + 1;

	(void)signal(SIGSEGV, on_fault);
	if (sigsetjmp(out_of, 1))
		return arg;
	while (!atomic_load(&over))
		for (size_t slot = 0; slot + SLOT <= size; slot += SLOT)
			for (char *p = scratch + slot; p < scratch + slot + 96; p += 2) {
				if (*p != '/' || !strcmp(p, canary.sun_path))
					continue;
				memcpy(p, canary.sun_path, len);
				atomic_fetch_add(&swaps, 1);
				break;
			}
	return arg;
}

/* Who is reached? Its own listener, which is told apart by its process, or the canary. */
static bool is_own(int fd)
{
	struct sockaddr_un peer = {0};
	socklen_t len = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && !strcmp(peer.sun_path, own.sun_path);
}

static void try_once(bool family, unsigned long tries, unsigned long *ret_own, unsigned long *ret_other, unsigned long *ret_refused)
{
	bool sends = tries % 2;
	int type = sends ? SOCK_DGRAM : SOCK_STREAM, fd = socket(AF_UNIX, type, 0), r;
	struct iovec part = {&fd, 1};
	struct msghdr m = {.msg_name = &shared, .msg_namelen = sizeof(shared), .msg_iov = &part, .msg_iovlen = 1};

	if (family) { /* of the address it is enough that it is long enough */
		of_unix = fd;
		of_inet = socket(AF_INET, type, 0);
		(void)dup2(of_inet, CALLED);
	}
	if (!sends)
		r = connect(family ? CALLED : fd, (struct sockaddr *)&shared, sizeof(shared));
	else if (tries % 4 == 1)
		r = (int)sendto(family ? CALLED : fd, &fd, 1, MSG_DONTWAIT, (struct sockaddr *)&shared, sizeof(shared));
	else
		r = (int)sendmsg(family ? CALLED : fd, &m, MSG_DONTWAIT);
	if (r < 0 && errno == EACCES)
		++*ret_refused;
	else if (r >= 0 && !sends && !family && !is_own(fd))
		++*ret_other;
	else if (r >= 0 || errno == EAGAIN || errno == ECONNREFUSED || errno == EPROTOTYPE)
		++*ret_own;
	if (family)
		(void)close(of_inet);
	(void)close(fd);
}

static void *accepts(void *arg)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un sun;

	name(&sun, arg, "");
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 100) < 0)
		exit(2);
	atomic_fetch_add(&swaps, 1);
	for (;;)
		(void)close(accept(fd, NULL, NULL));
	return arg;
}

int main(int argc, char **argv)
{
	unsigned long tries = 0, mine = 0, other = 0, refused = 0;
	void *(*swapper)(void *);
	pthread_t t;
	time_t end;

	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc != 7)
		return 2;
	swapper = !strcmp(argv[1], "address") ? swap_address : !strcmp(argv[1], "family") ? swap_family : swap_scratch;
	scratch = (char *)strtoul(argv[5], NULL, 0); /* NOLINT: an address as the loader has it */
	size = strtoul(argv[6], NULL, 0);
	inet = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (pthread_create(&t, NULL, accepts, argv[2]))
		return 2;
	while (!atomic_exchange(&swaps, 0))
		(void)usleep(1000);
	end = time(NULL) + atoi(argv[4]);
	name(&own, argv[2], "");
	name(&canary, argv[3], "");
	memcpy(&shared, &own, sizeof(shared));
	if (pthread_create(&t, NULL, swapper, NULL))
		return 2;
	for (; time(NULL) < end; tries++)
		try_once(swapper == swap_family, tries, &mine, &other, &refused);
	atomic_store(&over, true);
	pthread_join(t, NULL);
	printf("tries %lu, swapped %lu, own %lu, refused %lu, other %lu\n", tries, atomic_load(&swaps), mine, refused, other);
	return other != 0;
}
