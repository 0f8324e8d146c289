/* SPDX-License-Identifier: Apache-2.0 */
/* Reaches for the network in each way that there is, and serves what is reached for. One line a try: the way, and how it went. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_vm vm;
	struct sockaddr_nl nl;
};

static socklen_t inet_address(union address *a, const char *host, const char *port)
{
	memset(a, 0, sizeof(*a));
	if (strchr(host, ':')) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons((uint16_t)atoi(port));
		return inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1 ? sizeof(a->in6) : 0;
	}
	a->in.sin_family = AF_INET;
	a->in.sin_port = htons((uint16_t)atoi(port));
	return inet_pton(AF_INET, host, &a->in.sin_addr) == 1 ? sizeof(a->in) : 0;
}

/* A name that begins with @ has no file. */
static socklen_t unix_address(union address *a, const char *name)
{
	memset(a, 0, sizeof(*a));
	a->un.sun_family = AF_UNIX;
	memcpy(a->un.sun_path, name, strnlen(name, sizeof(a->un.sun_path) - 1));
	if (name[0] == '@')
		a->un.sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] != '@'));
}

static void say(const char *way, int fd, int rc)
{
	char text[64] = "";
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (rc < 0) {
		printf("%s %s\n", way, strerrorname_np(errno));
		return;
	}
	if (fd >= 0 && poll(&p, 1, 20000) > 0 && read(fd, text, sizeof(text) - 1) < 0)
		(void)snprintf(text, sizeof(text), "%s", strerrorname_np(errno));
	printf("%s 0 %s\n", way, text);
}

static void try_connect(const char *way, const union address *a, socklen_t len, int flags)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | flags, 0), rc = fd, error = 0;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(error);

	if (fd >= 0)
		rc = connect(fd, &a->sa, len);
	if (rc < 0 && errno == EINPROGRESS && poll(&p, 1, 20000) > 0 && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) {
		errno = error;
		rc = error ? -1 : 0;
	}
	say(way, fd, rc);
	if (fd >= 0)
		(void)close(fd);
}

/* One datagram and its answer, by sendto, sendmsg, sendmmsg and connect. */
static void try_datagrams(const union address *a, socklen_t len, int type)
{
	static const char *const ways[] = {"sendto", "sendmsg", "sendmmsg", "connected"};
	char data[] = "ask";

	for (int way = 0; way < 4; way++) {
		struct iovec part = {data, 3};
		struct mmsghdr m[2] = {{.msg_hdr = {.msg_name = (void *)(uintptr_t)a, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1}}};
		int fd = socket(a->sa.sa_family, type, 0), rc = fd;

		m[1] = m[0];
		if (fd >= 0)
			rc = way == 0 ? (int)sendto(fd, data, 3, 0, &a->sa, len) : way == 1 ? (int)sendmsg(fd, &m[0].msg_hdr, 0)
			     : way == 2 ? sendmmsg(fd, m, 2, 0) : connect(fd, &a->sa, len) < 0 ? -1 : (int)send(fd, data, 3, 0);
		say(ways[way], a->sa.sa_family == AF_UNIX ? -1 : fd, rc);
		if (fd >= 0)
			(void)close(fd);
	}
}

static void try_fastopen(const union address *a, socklen_t len)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
	int rc = fd < 0 ? -1 : (int)sendto(fd, "ask", 3, MSG_FASTOPEN, &a->sa, len);

	if (rc < 0 && errno == EOPNOTSUPP)
		rc = connect(fd, &a->sa, len);
	say("fastopen", fd, rc);
	if (fd >= 0)
		(void)close(fd);
}

static void try_kinds(void)
{
	static const struct {
		const char *name;
		int family, type, protocol;
	} kinds[] = {
		{"raw", AF_INET, SOCK_RAW, IPPROTO_ICMP}, {"packet", AF_PACKET, SOCK_DGRAM, 0}, {"netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE},
		{"vsock", AF_VSOCK, SOCK_STREAM, 0}, {"sctp", AF_INET, SOCK_STREAM, 132}, {"unix", AF_UNIX, SOCK_STREAM, 0},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int fd = socket(kinds[i].family, kinds[i].type, kinds[i].protocol);

		say(kinds[i].name, -1, fd);
		if (fd >= 0)
			(void)close(fd);
	}
}

static void say_own_name(const char *way, int fd, int rc)
{
	union address a;
	socklen_t len = sizeof(a);
	char text[64] = "";

	if (rc >= 0 && !getsockname(fd, &a.sa, &len))
		(void)inet_ntop(a.sa.sa_family, a.sa.sa_family == AF_INET ? (void *)&a.in.sin_addr : (void *)&a.in6.sin6_addr, text, sizeof(text));
	if (rc < 0)
		printf("%s %s\n", way, strerrorname_np(errno));
	else
		printf("%s 0 %s\n", way, text);
}

/* Listening: without a bind, on everything, on the address given. */
static void try_listen(const char *host)
{
	const char *const where[] = {NULL, "0.0.0.0", host};
	static const char *const ways[] = {"listen-unbound", "listen-any", "listen-there"};

	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0), rc = fd;
		union address a;

		if (fd >= 0 && where[i])
			rc = bind(fd, &a.sa, inet_address(&a, where[i], "0"));
		if (rc >= 0)
			rc = listen(fd, 4);
		say_own_name(ways[i], fd, rc);
		if (fd >= 0)
			(void)close(fd);
	}
}

/* Who guests: a server and a client of the same instance. */
static void try_own(const char *name)
{
	union address a;
	socklen_t len = unix_address(&a, name);
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)unlink(name);
	if (bind(server, &a.sa, len) < 0 || listen(server, 1) < 0) {
		say("own", -1, -1);
		return;
	}
	say("own", -1, connect(client, &a.sa, len));
	(void)unlink(name);
}

/* Is a blocking connect to where nothing answers ended by a signal? */
static void on_alarm(int sig)
{
	(void)sig;
}

static void try_interrupt(const union address *a, socklen_t len)
{
	struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval in = {.it_value = {.tv_usec = 300000}, .it_interval = {.tv_usec = 300000}}; /* one may come too early */
	int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);

	(void)sigaction(SIGALRM, &act, NULL);
	(void)setitimer(ITIMER_REAL, &in, NULL);
	say("interrupted", -1, connect(fd, &a->sa, len));
}

/* Listens with a queue that is full: who connects waits. */
static int serve_nobody(const union address *a, socklen_t len)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
	union address own;
	socklen_t size = sizeof(own);

	if (bind(fd, &a->sa, len) < 0 || listen(fd, 0) < 0 || getsockname(fd, &own.sa, &size) < 0) {
		perror("serve-nobody");
		return 1;
	}
	for (int i = 0; i < 4; i++)
		(void)connect(socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), &own.sa, size);
	printf("%d\n", ntohs(own.in.sin_port));
	(void)fflush(stdout);
	(void)pause();
	return 0;
}

static int serve(int type, const union address *a, socklen_t len)
{
	int fd = socket(a->sa.sa_family, type, 0);
	union address own;
	socklen_t size = sizeof(own);

	if (fd < 0 || bind(fd, &a->sa, len) < 0 || (type == SOCK_STREAM && listen(fd, 16) < 0) || getsockname(fd, &own.sa, &size) < 0) {
		perror("serve");
		return 1;
	}
	printf("%d\n", a->sa.sa_family == AF_UNIX ? 0 : ntohs(own.in.sin_port));
	(void)fflush(stdout);
	for (;;) {
		if (type == SOCK_STREAM) {
			int c = accept(fd, NULL, NULL);

			(void)!write(c, "canary", 6);
			(void)close(c);
		} else {
			union address from;
			char data[16];

			size = sizeof(from);
			if (recvfrom(fd, data, sizeof(data), 0, &from.sa, &size) >= 0)
				(void)sendto(fd, "canary", 6, 0, &from.sa, size);
		}
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	union address a;
	socklen_t len = argc > 3 ? inet_address(&a, argv[2], argv[3]) : argc > 2 ? unix_address(&a, argv[2]) : 0;

	if (!strcmp(what, "serve-tcp") || !strcmp(what, "serve-unix"))
		return serve(SOCK_STREAM, &a, len);
	if (!strcmp(what, "serve-nobody"))
		return serve_nobody(&a, len);
	if (!strcmp(what, "serve-udp") || !strcmp(what, "serve-dgram"))
		return serve(SOCK_DGRAM, &a, len);
	if (!strcmp(what, "tcp")) {
		try_connect("connect", &a, len, 0);
		try_connect("connect-nonblock", &a, len, SOCK_NONBLOCK);
		try_fastopen(&a, len);
	} else if (!strcmp(what, "udp")) {
		try_datagrams(&a, len, SOCK_DGRAM);
	} else if (!strcmp(what, "unix")) {
		try_connect("connect", &a, len, 0);
	} else if (!strcmp(what, "dgram")) {
		try_datagrams(&a, len, SOCK_DGRAM);
	} else if (!strcmp(what, "own")) {
		try_own(argv[2]);
	} else if (!strcmp(what, "kinds")) {
		try_kinds();
	} else if (!strcmp(what, "listen")) {
		try_listen(argc > 2 ? argv[2] : "127.0.0.1");
	} else if (!strcmp(what, "interrupt")) {
		try_interrupt(&a, len);
	} else {
		fprintf(stderr, "net WHAT [ADDRESS PORT | NAME]\n");
		return 2;
	}
	return 0;
}
