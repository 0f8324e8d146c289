/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports serve NAME ADDRESS PORT [OPTION...]: answers NAME to who connects or sends a datagram; says "ready" and its own port. OPTION: reuseport,
 * again (binds twice, the second must be refused), tcp or udp alone.
 * ports ask ADDRESS PORT: who answers, and what it says of the port. ports from PORT ADDRESS PORT: binds to the first, connects to the second.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t address(union address *a, const char *host, const char *port)
{
	memset(a, 0, sizeof(*a));
	a->in.sin_port = htons((uint16_t)atoi(port));
	if (strchr(host, ':')) {
		a->sa.sa_family = AF_INET6;
		return inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1 ? sizeof(a->in6) : 0;
	}
	a->sa.sa_family = AF_INET;
	return inet_pton(AF_INET, host, &a->in.sin_addr) == 1 ? sizeof(a->in) : 0;
}

static int port_of(int fd, bool own)
{
	union address a = {0};
	socklen_t len = sizeof(a);

	if ((own ? getsockname(fd, &a.sa, &len) : getpeername(fd, &a.sa, &len)) < 0)
		return -1;
	return ntohs(a.in.sin_port);
}

static int server(const union address *a, socklen_t len, int type, bool shares)
{
	int fd = socket(a->sa.sa_family, type, 0), on = 1;

	if (type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (shares)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, &a->sa, len) < 0 || (type == SOCK_STREAM && listen(fd, 100) < 0)) {
		printf("%s %s\n", type == SOCK_STREAM ? "tcp" : "udp", strerrorname_np(errno));
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int serve(char **argv)
{
	bool shares = false, again = false, tcp = true, udp = true;
	struct pollfd p[2] = {{.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	union address a, from;
	socklen_t len = address(&a, argv[1], argv[2]), from_len;
	char buf[64];

	for (char **option = argv + 3; *option; option++) {
		shares |= !strcmp(*option, "reuseport");
		again |= !strcmp(*option, "again");
		udp &= !!strcmp(*option, "tcp");
		tcp &= !!strcmp(*option, "udp");
	}
	if (tcp && (p[0].fd = server(&a, len, SOCK_STREAM, shares)) < 0)
		return 1;
	if (udp && (p[1].fd = server(&a, len, SOCK_DGRAM, shares)) < 0)
		return 1;
	if (again)
		(void)server(&a, len, SOCK_STREAM, shares);
	printf("ready %d\n", port_of(p[tcp ? 0 : 1].fd, true));
	(void)fflush(stdout);
	while (poll(p, 2, -1) > 0) {
		if (p[0].revents) {
			int fd = accept(p[0].fd, NULL, NULL);

			(void)dprintf(fd, "%s at %d", argv[0], port_of(fd, true));
			(void)close(fd);
		}
		from_len = sizeof(from);
		if (p[1].revents && recvfrom(p[1].fd, buf, sizeof(buf), 0, &from.sa, &from_len) >= 0)
			(void)sendto(p[1].fd, argv[0], strlen(argv[0]), 0, &from.sa, from_len);
	}
	return 1;
}

static void ask_one(const union address *a, socklen_t len, int type, const char *from)
{
	int fd = socket(a->sa.sa_family, type, 0), on = 1;
	struct timeval limit = {.tv_sec = 20};
	char buf[64] = "";
	union address own;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	printf("%s ", type == SOCK_STREAM ? "tcp" : "udp");
	if (from) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, &own.sa, address(&own, "0.0.0.0", from)) < 0)
			printf("bind %s, ", strerrorname_np(errno));
	}
	if (connect(fd, &a->sa, len) < 0 || (type == SOCK_DGRAM && send(fd, "?", 1, 0) < 0) || recv(fd, buf, sizeof(buf) - 1, 0) < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%s, peer %d\n", buf, port_of(fd, false));
	(void)close(fd);
}

int main(int argc, char **argv)
{
	const char *from = argc == 5 && !strcmp(argv[1], "from") ? argv[2] : NULL;
	union address a;
	socklen_t len;

	if (argc >= 5 && !strcmp(argv[1], "serve"))
		return serve(argv + 2);
	if (!from && (argc != 4 || strcmp(argv[1], "ask") != 0))
		return 2;
	len = address(&a, argv[argc - 2], argv[argc - 1]);
	ask_one(&a, len, SOCK_STREAM, from);
	ask_one(&a, len, SOCK_DGRAM, from);
	return 0;
}
