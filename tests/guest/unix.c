/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets with names in the tree: who finds whom, what names are told, and descriptors passed through them. */
#include <poll.h>
#include <stddef.h>

#include "guest.h"

static socklen_t address(struct sockaddr_un *a, const char *name)
{
	size_t len = strlen(name);

	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path, name, len < sizeof(a->sun_path) ? len : sizeof(a->sun_path));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (len < sizeof(a->sun_path) ? len + 1 : len));
}

static int binds(int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t len = address(&a, name);
	int s = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	result(bind(s, (struct sockaddr *)&a, len), "bind %s", name);
	return s;
}

static int connects(int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t len = address(&a, name);
	int s = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	result(connect(s, (struct sockaddr *)&a, len), "connect %s", name);
	return s;
}

static void print_name(const char *what, struct sockaddr_un *a, socklen_t len)
{
	size_t n = len > 2 ? len - 2 : 0;

	(void)printf("   %s length %u family %d ", what, len, len >= 2 ? a->sun_family : -1);
	for (size_t i = 0; i < n && i < sizeof(a->sun_path); i++)
		(void)putchar(a->sun_path[i] ? a->sun_path[i] : '~');
	(void)printf("\n");
}

static void names(int s)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	if (result(getsockname(s, (struct sockaddr *)&a, &len), "getsockname") == 0)
		print_name("own", &a, len);
	memset(&a, 0, sizeof(a));
	len = sizeof(a);
	if (result(getpeername(s, (struct sockaddr *)&a, &len), "getpeername") == 0)
		print_name("peer", &a, len);
}

static void short_names(int s)
{
	struct sockaddr_un a;
	socklen_t len = 5;

	memset(&a, '#', sizeof(a));
	result(getsockname(s, (struct sockaddr *)&a, &len), "getsockname short");
	(void)printf("   told %u, written %.3s, behind %c\n", len, a.sun_path, a.sun_path[3]);
	len = 0;
	result(getsockname(s, (struct sockaddr *)&a, &len), "getsockname none");
	(void)printf("   told %u\n", len);
	result(getsockname(s, NULL, &len), "getsockname NULL");
	result(getsockname(s, (struct sockaddr *)&a, NULL), "getsockname NULL length");
	result(getsockname(99, (struct sockaddr *)&a, &len), "getsockname bad fd");
	result(getsockname(0, (struct sockaddr *)&a, &len), "getsockname no socket");
}

static void streams(void)
{
	struct sockaddr_un a;
	struct ucred cred;
	socklen_t len;
	int s, c, p;
	pid_t pid;
	char b;

	(void)printf("== streams\n");
	s = binds(SOCK_STREAM, "stream");
	CALL(listen(s, 5));
	names(s);
	show("stream");
	c = connects(SOCK_STREAM, "stream");
	memset(&a, 0, sizeof(a));
	len = sizeof(a);
	p = accept4(s, (struct sockaddr *)&a, &len, SOCK_CLOEXEC);
	print_name("accepted", &a, len);
	names(c);
	names(p);
	close(c);
	close(p);
	/* A client with a name of its own. */
	c = binds(SOCK_STREAM, "./client");
	len = address(&a, "dir/../stream");
	CALL(connect(c, (struct sockaddr *)&a, len));
	memset(&a, 0, sizeof(a));
	len = sizeof(a);
	p = accept(s, (struct sockaddr *)&a, &len);
	print_name("accepted", &a, len);
	names(c);
	names(p);
	close(c);
	close(p);
	pid = fork();
	if (!pid) {
		c = connects(SOCK_STREAM, "stream");
		(void)!write(c, "c", 1);
		(void)!read(c, &b, 1);
		_exit(0);
	}
	p = accept(s, NULL, NULL);
	(void)!read(p, &b, 1); /* the child prints first */
	len = sizeof(cred);
	CALL(getsockopt(p, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	(void)printf("peer is the child %d, my user %d\n", cred.pid == pid, cred.uid == geteuid());
	close(p);
	waitpid(pid, NULL, 0);
	short_names(s);
	binds(SOCK_STREAM, "stream");
	CALL(unlink("stream"));
	connects(SOCK_STREAM, "stream");
	p = binds(SOCK_STREAM, "stream");
	connects(SOCK_STREAM, "stream"); /* not listening */
	CALL(listen(p, 5));
	connects(SOCK_STREAM, "stream");
	CALL(rename("stream", "moved"));
	connects(SOCK_STREAM, "stream");
	connects(SOCK_STREAM, "moved");
	names(p);
	close(s);
	close(p);
	connects(SOCK_STREAM, "moved");
	connects(SOCK_DGRAM, "moved");
}

static void datagrams(void)
{
	struct sockaddr_un a, from;
	char buf[64], control[256];
	struct iovec v = {buf, sizeof(buf)};
	struct msghdr m;
	socklen_t len, flen;
	int s, c;

	(void)printf("== datagrams\n");
	s = binds(SOCK_DGRAM, "dgram");
	c = socket(AF_UNIX, SOCK_DGRAM, 0);
	len = address(&a, "dgram");
	CALL(sendto(c, "one", 3, 0, (struct sockaddr *)&a, len));
	flen = sizeof(from);
	memset(&from, 0, sizeof(from));
	CALL(recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &flen));
	print_name("from", &from, flen);
	close(c);
	c = binds(SOCK_DGRAM, "sender");
	CALL(sendto(c, "two", 3, 0, (struct sockaddr *)&a, len));
	flen = sizeof(from);
	memset(&from, 0, sizeof(from));
	CALL(recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &flen));
	print_name("from", &from, flen);
	memset(&m, 0, sizeof(m));
	v.iov_len = 5;
	m = (struct msghdr){.msg_name = &a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1};
	CALL(sendmsg(c, &m, 0));
	memset(&from, 0, sizeof(from));
	v.iov_len = sizeof(buf);
	m = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1,
			    .msg_control = control, .msg_controllen = sizeof(control)};
	CALL(recvmsg(s, &m, 0));
	print_name("from", &from, m.msg_namelen);
	(void)printf("answer goes back: ");
	CALL(sendto(s, "back", 4, 0, (struct sockaddr *)&from, m.msg_namelen));
	CALL(recv(c, buf, sizeof(buf), MSG_DONTWAIT));
	CALL(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	len = address(&a, "nothere");
	CALL(sendto(c, "x", 1, 0, (struct sockaddr *)&a, len));
	len = address(&a, "file");
	CALL(sendto(c, "x", 1, 0, (struct sockaddr *)&a, len));
	len = address(&a, "dir");
	CALL(sendto(c, "x", 1, 0, (struct sockaddr *)&a, len));
	CALL(sendto(c, "x", 1, 0, NULL, 0));
	CALL(connect(c, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)));
	close(s);
	close(c);
	connects(SOCK_DGRAM, "dgram");
	connects(SOCK_STREAM, "dgram");
}

static void long_names(void)
{
	char name[200];
	struct sockaddr_un a;
	socklen_t len;
	int s;

	(void)printf("== long names\n");
	for (int n = 100; n <= 108; n++) {
		memset(name, 'a' + n - 100, sizeof(name));
		name[n] = '\0';
		s = binds(SOCK_STREAM, name);
		CALL(listen(s, 1));
		len = sizeof(a);
		memset(&a, 0, sizeof(a));
		getsockname(s, (struct sockaddr *)&a, &len);
		(void)printf("   %d: told %u\n", n, len);
		connects(SOCK_STREAM, name);
		close(s);
	}
	/* A name of 108 bytes without its NUL. */
	memset(name, 'z', 108);
	name[108] = '\0';
	len = address(&a, name);
	s = socket(AF_UNIX, SOCK_DGRAM, 0);
	result(bind(s, (struct sockaddr *)&a, len), "bind of 108");
	close(s);
	address(&a, "part-of-it");
	s = socket(AF_UNIX, SOCK_DGRAM, 0);
	result(bind(s, (struct sockaddr *)&a, 2 + 4), "bind of 4 bytes");
	show("part");
	len = sizeof(a);
	getsockname(s, (struct sockaddr *)&a, &len);
	print_name("own", &a, len);
	result(bind(s, (struct sockaddr *)&a, len), "bind twice");
	close(s);
	s = socket(AF_UNIX, SOCK_DGRAM, 0);
	result(bind(s, (struct sockaddr *)&a, 1), "bind of 1 byte");
	result(bind(s, (struct sockaddr *)&a, 500), "bind of 500 bytes");
	result(bind(s, (struct sockaddr *)8, 20), "bind bad pointer");
	result(bind(99, (struct sockaddr *)&a, 20), "bind bad fd");
	result(bind(0, (struct sockaddr *)&a, 20), "bind no socket");
	result(bind(s, (struct sockaddr *)&a, 2), "autobind");
	close(s);
}

static void abstract(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char name[64];
	socklen_t len;
	int s, c;

	(void)printf("== abstract\n");
	(void)snprintf(name, sizeof(name), "kapsel-guest-%d", getpid());
	memcpy(a.sun_path + 1, name, strlen(name));
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	CALL(bind(s, (struct sockaddr *)&a, len));
	CALL(listen(s, 1));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	CALL(connect(c, (struct sockaddr *)&a, len));
	len = sizeof(a);
	CALL(getpeername(c, (struct sockaddr *)&a, &len));
	(void)printf("   same length %d\n", len == 3 + strlen(name));
	close(s);
	close(c);
}

static void pass(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, b = 'x';
	struct iovec v = {&b, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	if (sendmsg(sock, &m, 0) != 1)
		die("sendmsg");
	close(fd);
}

static int take(int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, b;
	struct iovec v = {&b, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int fd = -1;

	if (recvmsg(sock, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void rights(void)
{
	char buf[64] = "";
	int p[2], fd, in;
	pid_t pid;

	(void)printf("== rights\n");
	CALL(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	pid = fork();
	if (!pid) {
		close(p[0]);
		CALL(chdir("/"));
		fd = take(p[1]);
		(void)!read(fd, buf, 20);
		(void)printf("file: %s", buf);
		fd = take(p[1]);
		in = OPENS(openat(fd, "a", O_RDONLY));
		memset(buf, 0, sizeof(buf));
		(void)!read(in, buf, 20);
		(void)printf("through the directory: %s", buf);
		OPENS(openat(fd, "made", O_WRONLY | O_CREAT | O_EXCL, 0600));
		OPENS(openat(fd, "../file", O_RDONLY));
		CALL(mkdirat(fd, "madedir", 0700));
		CALL(unlinkat(fd, "a", 0));
		CALL(fchdir(fd));
		(void)printf("now in %s\n", getcwd(buf, sizeof(buf)) ? strrchr(buf, '/') : "?");
		list(".");
		fd = take(p[1]);
		result(write(fd, "written\n", 8), "write");
		_exit(0);
	}
	close(p[1]);
	pass(p[0], open("cu", O_RDONLY));
	pass(p[0], open("mdir", O_RDONLY | O_DIRECTORY));
	pass(p[0], open("passed", O_WRONLY | O_CREAT, 0600));
	waitpid(pid, NULL, 0);
	show("passed");
	list("mdir");
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	next_set();
	streams();
	datagrams();
	long_names();
	abstract();
	rights();
	EACH("bind", { close(binds(SOCK_STREAM, name)); });
	EACH("connect", { close(connects(SOCK_STREAM, name)); });
	return 0;
}
