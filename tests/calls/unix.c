/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that have names in the tree. */
#include "guest.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t address(struct sockaddr_un *sun, const char *path)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path, strnlen(path, sizeof(sun->sun_path)));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strnlen(path, sizeof(sun->sun_path)) + 1);
}

static int bound(const char *path, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un *sun = tail_alloc(sizeof(*sun));
	socklen_t len = address(sun, path);

	showf(bind(fd, (struct sockaddr *)sun, len), "bind '%s'", path);
	return fd;
}

static int connected(const char *path, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un *sun = tail_alloc(sizeof(*sun));
	socklen_t len = address(sun, path);

	showf(connect(fd, (struct sockaddr *)sun, len), "connect '%s'", path);
	return fd;
}

static void names_of(const char *label, int fd)
{
	struct sockaddr_un sun = {0};
	socklen_t len = sizeof(sun);

	showf(getsockname(fd, (struct sockaddr *)&sun, &len), "%s: getsockname", label);
	printf("  family %d '%s' length %s\n", sun.sun_family, sun.sun_path,
	       len == 2 ? "2" : len == 3 + strlen(sun.sun_path) ? "of the name" : "another");
	memset(&sun, 0, sizeof(sun));
	len = sizeof(sun);
	showf(getpeername(fd, (struct sockaddr *)&sun, &len), "%s: getpeername", label);
	printf("  family %d '%s'\n", sun.sun_family, sun.sun_path);
}

static void streams(void)
{
	int listener = bound("sock", SOCK_STREAM), client, server;
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	struct sockaddr_un from;
	char buf[16];

	show_lstat("sock");
	connected("sock", SOCK_STREAM);
	CALL(listen(listener, 10));
	client = connected("sock", SOCK_STREAM);
	len = sizeof(from);
	server = FD(accept(listener, (struct sockaddr *)&from, &len));
	printf("peer of accept: length %u\n", len);
	CALL(write(client, "ping", 4));
	CALL(read(server, buf, sizeof(buf)));
	names_of("listener", listener);
	names_of("client", client);
	names_of("server", server);
	len = sizeof(cred);
	CALL(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	printf("partner: pid is mine %d, uid is mine %d, gid is mine %d\n", cred.pid == getpid(), cred.uid == geteuid(), cred.gid == getegid());
	len = 4;
	CALL(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	bound("sock", SOCK_STREAM);
	connected("link", SOCK_STREAM);
	connected("file", SOCK_STREAM);
	connected("nothing", SOCK_STREAM);
	connected("dir", SOCK_STREAM);
	connected("dangling", SOCK_STREAM);
	connected("loop", SOCK_STREAM);
	connected("file/x", SOCK_STREAM);
	connected("sock", SOCK_DGRAM);
	CALL(symlink("sock", "socklink"));
	names_of("through a link", connected("socklink", SOCK_STREAM));
	connected("dir/up/sock", SOCK_STREAM);
	connected("./dir/../sock", SOCK_STREAM);
	FD(open("sock", O_RDWR));
	FD(open("sock", O_PATH));
	CALL(rename("sock", "dir/sock"));
	connected("sock", SOCK_STREAM);
	connected("dir/sock", SOCK_STREAM);
	names_of("moved listener", listener);
	CALL(unlink("dir/sock"));
	connected("dir/sock", SOCK_STREAM);
	CALL(access("dir/sock", F_OK));
}

static void with_a_child(void)
{
	int listener = bound("child", SOCK_SEQPACKET), server;
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	char buf[16] = "";
	pid_t pid;

	CALL(listen(listener, 1));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (chdir("dir") < 0)
			_exit(1);
		_exit(write(connected("../child", SOCK_SEQPACKET), "hello", 6) != 6);
	}
	server = accept(listener, NULL, NULL);
	CALL(read(server, buf, sizeof(buf)));
	printf("got %s\n", buf);
	CALL(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	printf("the partner is the child: %d\n", cred.pid == pid);
	show_wait("client", pid);
}

static void datagrams(void)
{
	int server = bound("dgram", SOCK_DGRAM), client = bound("dir/reply", SOCK_DGRAM);
	struct sockaddr_un to, from = {0};
	socklen_t len = address(&to, "dgram");
	char buf[16] = "";
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "message", .iov_len = 8};
	struct msghdr msg = {.msg_name = &to, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1};

	CALL(sendto(client, "one", 4, 0, (struct sockaddr *)&to, len));
	len = sizeof(from);
	CALL(recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
	printf("from '%s'\n", from.sun_path);
	CALL(sendto(server, "back", 5, 0, (struct sockaddr *)&from, len));
	CALL(recv(client, buf, sizeof(buf), 0));
	printf("got %s\n", buf);
	CALL(sendmsg(client, &msg, 0));
	memset(&from, 0, sizeof(from));
	msg = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &(struct iovec){buf, sizeof(buf)}, .msg_iovlen = 1};
	CALL(recvmsg(server, &msg, 0));
	printf("from '%s': %s\n", from.sun_path, buf);
	len = address(&to, "nothing");
	CALL(sendto(client, "x", 1, 0, (struct sockaddr *)&to, len));
	len = address(&to, "file");
	CALL(sendto(client, "x", 1, 0, (struct sockaddr *)&to, len));
	CALL(unlink("dgram"));
	CALL(unlink("dir/reply"));
}

/* Names as peers are told them: what was given to bind, whatever the form. */
static void told_names(void)
{
	static const char *const forms[] = {"told", "./told", "dir/told", "dir/../told", "dir//./told", "dir/up/told", "@told", "@dir/told"};
	char here[4096], name[4200];

	if (!getcwd(here, sizeof(here)) || strlen(here) > 60)
		return;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		int listener = bound("listener", SOCK_STREAM), receiver = bound("receiver", SOCK_DGRAM), client, sender, server;
		struct sockaddr_un from = {0}, to;
		socklen_t len = sizeof(from);
		char buf[16];

		if (forms[i][0] == '@') /* an absolute one */
			(void)snprintf(name, sizeof(name), "%s/%s", here, forms[i] + 1);
		else
			(void)snprintf(name, sizeof(name), "%s", forms[i]);
		CALL(listen(listener, 1));
		client = socket(AF_UNIX, SOCK_STREAM, 0);
		showf(bind(client, (struct sockaddr *)&to, address(&to, name)), "bind as '%s'", forms[i]);
		showf(connect(client, (struct sockaddr *)&to, address(&to, "listener")), "connect");
		server = accept(listener, (struct sockaddr *)&from, &len);
		printf("accept tells '%s'\n", strcmp(from.sun_path, name) ? from.sun_path : "what was given");
		(void)unlink(name);
		sender = socket(AF_UNIX, SOCK_DGRAM, 0);
		showf(bind(sender, (struct sockaddr *)&to, address(&to, name)), "bind as '%s'", forms[i]);
		CALL(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, address(&to, "receiver")));
		memset(&from, 0, sizeof(from));
		len = sizeof(from);
		CALL(recvfrom(receiver, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
		printf("recvfrom tells '%s'\n", strcmp(from.sun_path, name) ? from.sun_path : "what was given");
		(void)unlink(name);
		(void)unlink("listener");
		(void)unlink("receiver");
		close(listener);
		close(receiver);
		close(client);
		close(sender);
		close(server);
	}
}

/* The socket's own mode counts, and the umask. */
static void modes(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un to;
	mode_t old = umask(027);

	CALL(fchmod(fd, 0666));
	CALL(bind(fd, (struct sockaddr *)&to, address(&to, "moded")));
	show_lstat("moded");
	(void)umask(old);
	CALL(unlink("moded"));
	close(fd);
}

/* Descriptors and credentials go along with a message that names its receiver. */
static void with_control(void)
{
	int server = bound("control", SOCK_DGRAM), client = socket(AF_UNIX, SOCK_DGRAM, 0), on = 1, sent, file = open("file", O_RDONLY);
	union {
		char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control = {0};
	struct sockaddr_un to;
	socklen_t len = address(&to, "control");
	char buf[16] = "";
	struct iovec part = {.iov_base = (void *)(uintptr_t) "with", .iov_len = 5};
	struct msghdr m = {.msg_name = &to, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = CMSG_SPACE(sizeof(int))};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &file, sizeof(file));
	sent = (int)sendmsg(client, &m, 0);
	showf(sent, "sendmsg with a descriptor");
	file = 99;
	memcpy(CMSG_DATA(h), &file, sizeof(file));
	showf((int)sendmsg(client, &m, 0), "sendmsg with a bad one");
	CALL(setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	m = (struct msghdr){.msg_iov = &(struct iovec){buf, sizeof(buf)}, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control)};
	CALL(recvmsg(server, &m, 0));
	for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_type == SCM_RIGHTS) {
			memcpy(&file, CMSG_DATA(h), sizeof(file));
			memset(buf, 0, sizeof(buf));
			CALL(read(file, buf, sizeof(buf) - 1));
			printf("it reads '%.4s'\n", buf);
			close(file);
		}
	CALL(unlink("control"));
	close(server);
	close(client);
}

/* As many as fit into one message, in one part or several, and one more. */
static void many_descriptors(void)
{
	static const int parts[][2] = {{253, 0}, {254, 0}, {200, 53}, {200, 54}, {0, 1}, {16000, 0}};
	int client = socket(AF_UNIX, SOCK_DGRAM, 0), file = open("file", O_RDONLY);
	struct sockaddr_un to;
	socklen_t len = address(&to, "descriptors");
	struct iovec part = {.iov_base = (void *)(uintptr_t) "with", .iov_len = 5};
	char *room = tail_alloc(65536);

	(void)bound("descriptors", SOCK_DGRAM);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct msghdr m = {.msg_name = &to, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1, .msg_control = room};

		for (int k = 0; k < 2; k++) {
			struct cmsghdr *h = (struct cmsghdr *)(void *)(room + m.msg_controllen);

			*h = (struct cmsghdr){CMSG_LEN((size_t)parts[i][k] * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
			for (int j = 0; j < parts[i][k]; j++)
				memcpy(CMSG_DATA(h) + (size_t)j * sizeof(int), &file, sizeof(file));
			m.msg_controllen += CMSG_SPACE((size_t)parts[i][k] * sizeof(int));
		}
		showf((int)sendmsg(client, &m, MSG_DONTWAIT), "sendmsg with %d and %d descriptors", parts[i][0], parts[i][1]);
	}
	CALL(unlink("descriptors"));
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A full queue makes who sends wait, and a signal ends that. */
static void waits(void)
{
	int server = bound("full", SOCK_DGRAM), client = socket(AF_UNIX, SOCK_DGRAM, 0), listener = bound("backlog", SOCK_STREAM), r = 0, n = 0;
	struct sockaddr_un to, queue;
	socklen_t len = address(&to, "full"), queue_len = address(&queue, "backlog");
	struct sigaction act = {.sa_handler = on_alarm};
	pid_t pid;
	char buf[16];

	while (sendto(client, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&to, len) == 1)
		n++;
	showf(-1, "sendto a full queue");
	sigaction(SIGALRM, &act, NULL);
	ualarm(100000, 100000); /* again, where the first one came before the call */
	CALL(sendto(client, "x", 1, 0, (struct sockaddr *)&to, len));
	ualarm(0, 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		usleep(100000);
		_exit(read(server, buf, sizeof(buf)) != 1);
	}
	CALL(sendto(client, "x", 1, 0, (struct sockaddr *)&to, len));
	show_wait("who makes room", pid);
	CALL(listen(listener, 1));
	for (n = 0; n < 8 && !r; n++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		r = connect(fd, (struct sockaddr *)&queue, queue_len);
	}
	showf(r, "connect after %d", n);
	r = socket(AF_UNIX, SOCK_STREAM, 0);
	ualarm(100000, 100000);
	CALL(connect(r, (struct sockaddr *)&queue, queue_len));
	ualarm(0, 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		usleep(100000);
		_exit(accept(listener, NULL, NULL) < 0);
	}
	CALL(connect(r, (struct sockaddr *)&queue, queue_len));
	show_wait("who accepts", pid);
	alarm(200);
	CALL(unlink("full"));
	CALL(unlink("backlog"));
	close(server);
	close(client);
	close(listener);
}

/* How many one call takes is the kernel's affair; in the end all are sent that can be. */
static void many_messages(void)
{
	int server = bound("many", SOCK_DGRAM), client = socket(AF_UNIX, SOCK_DGRAM, 0), done = 0, r;
	struct sockaddr_un to, none;
	struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t) "me", .iov_len = 2}, {.iov_base = (void *)(uintptr_t) "ssage", .iov_len = 6}};
	struct msghdr good = {.msg_name = &to, .msg_namelen = address(&to, "many"), .msg_iov = iov, .msg_iovlen = 2};
	struct msghdr bad = {.msg_name = &none, .msg_namelen = address(&none, "nothing"), .msg_iov = iov, .msg_iovlen = 1};
	struct mmsghdr m[5] = {{good, 0}, {good, 0}, {good, 0}, {bad, 77}, {good, 78}};
	char buf[16];

	m[1].msg_hdr.msg_iovlen = 1;
	while (done < 5 && (r = sendmmsg(client, m + done, (unsigned)(5 - done), 0)) > 0)
		done += r;
	printf("sent %d: %s; lengths %u %u %u\n", done, strerror(errno), m[0].msg_len, m[1].msg_len, m[2].msg_len);
	for (int i = 0; i < 3; i++)
		CALL(recv(server, buf, sizeof(buf), MSG_DONTWAIT));
	CALL(recv(server, buf, sizeof(buf), MSG_DONTWAIT));
	CALL(sendmmsg(client, m, 0, 0));
	CALL(sendmmsg(99, m, 0, 0));
	CALL(sendmmsg(99, NULL, 1, 0));
	CALL(sendmmsg(open("file", O_RDONLY), m, 0, 0));
	CALL(sendmmsg(client, NULL, 1, 0));
	m[0].msg_hdr.msg_iovlen = 2000;
	CALL(sendmmsg(client, m, 1, 0));
	CALL(unlink("many"));
}

static void refusals(void)
{
	struct sockaddr_un *sun = tail_alloc(sizeof(*sun));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char name[200];

	bound("", SOCK_STREAM);
	bound("nothing/sock", SOCK_STREAM);
	bound("file/sock", SOCK_STREAM);
	bound("file", SOCK_STREAM);
	bound("dangling", SOCK_STREAM);
	bound("dir/", SOCK_STREAM);
	bound("locked/sock", SOCK_STREAM);
	memset(name, 'n', sizeof(name));
	name[107] = 0;
	bound(name, SOCK_STREAM);
	CALL(unlink(name));
	/* 108 bytes without an end: the kernel takes them. */
	memset(sun->sun_path, 'm', sizeof(sun->sun_path));
	sun->sun_family = AF_UNIX;
	CALL(bind(fd, (struct sockaddr *)sun, sizeof(*sun)));
	name[107] = 'm';
	memset(name, 'm', 108);
	name[108] = 0;
	CALL(unlink(name));
	CALL(bind(fd, (struct sockaddr *)sun, sizeof(*sun) + 1));
	CALL(bind(fd, (struct sockaddr *)sun, 1));
	CALL(connect(fd, (struct sockaddr *)((char *)sun + 8), sizeof(*sun)));
	CALL(connect(fd, NULL, sizeof(*sun)));
	CALL(connect(999, (struct sockaddr *)sun, sizeof(*sun)));
	CALL(connect(open("file", O_RDONLY), (struct sockaddr *)sun, sizeof(*sun)));
	umask(077);
	bound("private", SOCK_STREAM);
	show_lstat("private");
	umask(022);
	CALL(chmod("private", 0));
	connected("private", SOCK_STREAM);
}

/* A bind that fails makes nothing, and brings nothing back. */
static void where_a_file_was(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = "ro"}, first = {.sun_family = AF_UNIX, .sun_path = "bound"};
	int named = FD(socket(AF_UNIX, SOCK_STREAM, 0)), tcp = FD(socket(AF_INET, SOCK_STREAM, 0)), fresh = FD(socket(AF_UNIX, SOCK_STREAM, 0));

	CALL(bind(named, (struct sockaddr *)&first, sizeof(first)));
	CALL(unlink("ro"));
	CALL(bind(named, (struct sockaddr *)&sun, sizeof(sun)));
	show_lstat("ro");
	CALL(bind(tcp, (struct sockaddr *)&sun, sizeof(sun)));
	show_lstat("ro");
	CALL(bind(fresh, (struct sockaddr *)&sun, sizeof(sun)));
	show_lstat("ro");
	CALL(listen(fresh, 1));
	CALL(connect(FD(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&sun, sizeof(sun)));
	CALL(unlink("ro"));
	CALL(unlink("bound"));
}

int main(void)
{
	guest_start();
	signal(SIGPIPE, SIG_IGN);
	streams();
	with_a_child();
	datagrams();
	told_names();
	modes();
	with_control();
	many_descriptors();
	waits();
	many_messages();
	refusals();
	where_a_file_was();
	return 0;
}
