/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts at what has neither a file nor a process: sockets, queues, shared memory, keys, terminals. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile.h"

static int answer(long rc)
{
	return rc < 0 ? refused() : GOT;
}

/* --- sockets on names --- */

static socklen_t name(struct sockaddr_un *sa, const char *path, bool abstract)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	(void)snprintf(sa->sun_path + abstract, sizeof(sa->sun_path) - abstract, "%s", path);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract);
}

static int says_token(const struct hostile *h, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 10000) == 1 ? holds_token(h, fd) : ETIMEDOUT;
}

static int connect_to(const struct hostile *h, const char *path, bool abstract)
{
	struct sockaddr_un sa;
	socklen_t len = name(&sa, path, abstract);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&sa, len) < 0 ? refused() : says_token(h, fd);
}

static int connect_path(const struct hostile *h)
{
	return connect_to(h, h->path, false);
}

static int connect_abstract(const struct hostile *h)
{
	return connect_to(h, h->abstract, true);
}

static int connect_link(const struct hostile *h)
{
	char link[100];

	(void)snprintf(link, sizeof(link), "%s/sock-%d", strcmp(h->inside, "/") ? h->inside : "", getpid());
	return symlink(h->path, link) < 0 ? refused() : connect_to(h, link, false);
}

static int connect_by_root(const struct hostile *h)
{
	char path[100];

	(void)snprintf(path, sizeof(path), "/proc/self/root%s", h->path);
	return connect_to(h, path, false);
}

static int datagram_path(const struct hostile *h)
{
	struct sockaddr_un sa;
	char path[108];
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)snprintf(path, sizeof(path), "%s.dgram", h->path);
	len = name(&sa, path, false);
	return answer(sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, len));
}

static int datagram_many(const struct hostile *h)
{
	struct sockaddr_un sa;
	char path[108];
	char x = 'x';
	struct iovec iov = {&x, 1};
	struct mmsghdr m = {.msg_hdr = {.msg_name = &sa, .msg_iov = &iov, .msg_iovlen = 1}};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)snprintf(path, sizeof(path), "%s.dgram", h->path);
	m.msg_hdr.msg_namelen = name(&sa, path, false);
	return answer(sendmmsg(fd, &m, 1, 0));
}

/* --- the network --- */

static int internet(const struct hostile *h, int type, bool v6)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
	int fd = socket(v6 ? AF_INET6 : AF_INET, type, 0);

	if (fd < 0)
		return refused();
	(void)inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr);
	if (connect(fd, v6 ? (void *)&in6 : (void *)&in, v6 ? sizeof(in6) : sizeof(in)) < 0)
		return refused();
	if (type == SOCK_DGRAM)
		(void)!send(fd, "x", 1, 0);
	return says_token(h, fd);
}

static int tcp(const struct hostile *h)
{
	return internet(h, SOCK_STREAM, false);
}

static int tcp6(const struct hostile *h)
{
	return internet(h, SOCK_STREAM, true);
}

static int udp(const struct hostile *h)
{
	return internet(h, SOCK_DGRAM, false);
}

static int fast_open(const struct hostile *h)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return refused();
	if (sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&in, sizeof(in)) < 0)
		return errno == EOPNOTSUPP ? NOT_HERE : refused();
	return says_token(h, fd);
}

static int listen_unbound(const struct hostile *h)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)h;
	return fd < 0 ? refused() : answer(listen(fd, 1));
}

static int netlink(const struct hostile *h)
{
	(void)h;
	return answer(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
}

static int vsock(const struct hostile *h)
{
	(void)h;
	return answer(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int raw(const struct hostile *h)
{
	(void)h;
	return answer(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int packet(const struct hostile *h)
{
	(void)h;
	return answer(socket(AF_PACKET, SOCK_RAW, 0));
}

/* --- System V and POSIX objects --- */

static int shm_reads(const struct hostile *h, int id)
{
	const char *text = id < 0 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);

	if (text == (void *)-1)
		return refused();
	return !strncmp(text, h->token, strlen(h->token)) ? GOT : EIO;
}

static int shm_by_key(const struct hostile *h)
{
	return shm_reads(h, shmget(h->shm_key, 0, 0));
}

static int shm_by_number(const struct hostile *h)
{
	return shm_reads(h, h->shm);
}

static int shm_look(const struct hostile *h)
{
	struct shmid_ds ds;

	return answer(shmctl(h->shm, IPC_STAT, &ds));
}

static int shm_list(const struct hostile *h)
{
	struct shmid_ds ds;

	for (int i = 0; i < 4096; i++)
		if (shmctl(i, 15 /* SHM_STAT_ANY */, &ds) == h->shm)
			return GOT;
	return refused();
}

static int shm_remove(const struct hostile *h)
{
	struct shmid_ds ds;

	if (shmctl(h->shm, IPC_STAT, &ds) < 0)
		return refused();
	return answer(shmctl(h->shm, IPC_SET, &ds));
}

static int sem_by_number(const struct hostile *h)
{
	struct sembuf op = {0, 1, 0};

	return answer(semop(h->sem, &op, 1));
}

static int sem_look(const struct hostile *h)
{
	return answer(semctl(h->sem, 0, GETVAL));
}

static int msg_by_number(const struct hostile *h)
{
	struct {
		long type;
		char text[128];
	} m = {0};

	if (msgrcv(h->msg, &m, sizeof(m.text) - 1, 0, IPC_NOWAIT | MSG_NOERROR) < 0)
		return refused();
	(void)msgsnd(h->msg, &m, strlen(m.text) + 1, IPC_NOWAIT); /* for the next attempt */
	return strstr(m.text, h->token) ? GOT : EIO;
}

static int queue(const struct hostile *h)
{
	char text[128] = "";
	mqd_t q = mq_open(h->queue, O_RDWR | O_NONBLOCK);

	if (q < 0)
		return refused();
	if (mq_receive(q, text, sizeof(text), NULL) < 0)
		return refused();
	(void)mq_send(q, text, strlen(text) + 1, 0);
	return strstr(text, h->token) ? GOT : EIO;
}

static int shared_file(const struct hostile *h)
{
	return reads_token(h, h->dev_shm);
}

/* --- keys, terminals --- */

static int key_of_session(const struct hostile *h)
{
	char text[128] = "";
	long id = syscall(SYS_request_key, "user", "hostile-canary", NULL, 0);

	if (id < 0)
		return refused();
	if (syscall(SYS_keyctl, KEYCTL_READ, id, text, sizeof(text) - 1) < 0)
		return refused();
	return strstr(text, h->token) ? GOT : EIO;
}

static int key_of_user(const struct hostile *h)
{
	long id = syscall(SYS_add_key, "user", "hostile-made", "x", 1, KEY_SPEC_USER_KEYRING);

	(void)h;
	if (id < 0)
		return refused();
	(void)syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_USER_KEYRING);
	return GOT;
}

static int terminal_of_other(const struct hostile *h)
{
	int fd = open(h->pts, O_RDWR | O_NOCTTY | O_NONBLOCK);

	return fd < 0 ? refused() : answer(write(fd, "x", 1));
}

static int terminals_named(const struct hostile *h)
{
	return answer(access(h->pts, F_OK));
}

static int terminals_listed(const struct hostile *h)
{
	DIR *d = opendir("/dev/pts");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (!strcmp(e->d_name, strrchr(h->pts, '/') + 1))
			return GOT;
	return refused();
}

const struct attempt ipc_attempts[] = {
	{"connect-path", "29", "", connect_path},
	{"connect-link", "29", "", connect_link},
	{"connect-self-root", "29", "", connect_by_root},
	{"connect-abstract", "30", "", connect_abstract},
	{"sendto-path", "29", "", datagram_path},
	{"sendmmsg-path", "29", "", datagram_many},
	{"tcp", "30", "", tcp},
	{"tcp-mapped", "30", "", tcp6},
	{"udp", "30", "", udp},
	{"fast-open", "30", "", fast_open},
	{"listen-unbound", "30", "", listen_unbound},
	{"netlink", "30", "", netlink},
	{"vsock", "30", "", vsock},
	{"raw", "30", "", raw},
	{"packet", "30", "", packet},
	{"shm-key", "31", "", shm_by_key},
	{"shm-number", "31", "", shm_by_number},
	{"shm-stat", "31", "", shm_look},
	{"shm-list", "31", "", shm_list},
	{"shm-set", "31", "", shm_remove},
	{"sem-number", "31", "", sem_by_number},
	{"sem-value", "31", "", sem_look},
	{"msg-number", "31", "", msg_by_number},
	{"mqueue", "31", "", queue},
	{"dev-shm", "31", "", shared_file},
	{"session-key", "3,31", "", key_of_session},
	{"user-key", "3,31", "", key_of_user},
	{"terminal", "5", "", terminal_of_other},
	{"terminal-name", "5", "", terminals_named},
	{"terminal-list", "5", "", terminals_listed},
	{NULL, NULL, NULL, NULL},
};
