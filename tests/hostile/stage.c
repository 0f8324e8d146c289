/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile stage DIR COMMAND...: a directory for each attempt below DIR/outside; a victim process; sockets, queues, shared memory and keys
 * that hold the token; a session of its own. COMMAND finds it all named in $HOSTILE, and has two descriptors more than it ought to hand on.
 * Its exit status is ours.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hostile.h"

static char token[40], out[256], description[2048];

static void die(const char *what)
{
	fprintf(stderr, "hostile stage: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void describe(const char *key, const char *value)
{
	size_t len = strlen(description);

	(void)snprintf(description + len, sizeof(description) - len, "%s%s=%s", len ? " " : "", key, value);
}

static void describe_number(const char *key, long long value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", value);
	describe(key, text);
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || dprintf(fd, "%s\n", text) < 0 || fchmod(fd, mode) < 0)
		die(path);
	(void)close(fd);
}

/* The least program there is: ends with 42, whatever its arguments and headers. */
static void put_program(const char *path)
{
	const uint64_t base = 0x10000000;
	unsigned char elf[140] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, 0, 62, 0, 1, [32] = 64, [52] = 64, 0, 56, 0, 1};
	const uint64_t load[7] = {1 | 5ULL << 32, 0, base, base, sizeof(elf), sizeof(elf), 4096}, entry = base + 120;
	const unsigned char code[] = {0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}; /* exit(42) */
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	memcpy(elf + 24, &entry, sizeof(entry));
	memcpy(elf + 64, load, sizeof(load));
	memcpy(elf + 120, code, sizeof(code));
	if (fd < 0 || write(fd, elf, sizeof(elf)) != sizeof(elf))
		die(path);
	(void)close(fd);
}

static void lay_out(const struct attempt *a)
{
	char dir[512], path[600];

	for (; a->name; a++) {
		(void)snprintf(dir, sizeof(dir), "%s/%s", out, a->name);
		if (mkdir(dir, 0755) < 0)
			die(dir);
		(void)snprintf(path, sizeof(path), "%s/canary", dir);
		put_file(path, token, 0644);
		(void)setxattr(path, "user.canary", token, strlen(token), 0);
		(void)snprintf(path, sizeof(path), "%s/link", dir);
		(void)!symlink("canary", path);
		(void)snprintf(path, sizeof(path), "%s/empty", dir);
		(void)mkdir(path, 0755);
		(void)snprintf(path, sizeof(path), "%s/program", dir);
		put_program(path);
	}
}

/* --- the victim --- */

static char secret[64]; /* at a fixed address: the program is not relocated */
static volatile sig_atomic_t urgent;

static void on_urgent(int sig)
{
	(void)sig;
	urgent++;
}

static int listen_on(int family, int type, const void *address, socklen_t len)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, address, len) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
		die("listen");
	return fd;
}

static int unix_socket(int type, const char *path, bool abstract)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)snprintf(sa.sun_path + abstract, sizeof(sa.sun_path) - abstract, "%s", path);
	return listen_on(AF_UNIX, type, &sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract));
}

/* Gives the token to all that come. Signals that reach it by way of a descriptor's owner leave a file. */
static _Noreturn void be_victim(struct pollfd *p, nfds_t count)
{
	char mark[512];

	(void)snprintf(mark, sizeof(mark), "%s/sigio/signalled", out);
	for (;;) {
		sig_atomic_t before = urgent;

		if (poll(p, count, -1) < 0 && urgent != before)
			put_file(mark, "x", 0644);
		for (nfds_t i = 0; i < count; i++) {
			struct sockaddr_storage from;
			socklen_t len = sizeof(from);
			char text[64];
			int fd;

			if (!(p[i].revents & POLLIN))
				continue;
			if (p[i].events & POLLPRI) { /* a listener */
				fd = accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC);
				(void)!write(fd, token, strlen(token));
				(void)close(fd);
			} else if (recvfrom(p[i].fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len) >= 0) {
				(void)sendto(p[i].fd, token, strlen(token), 0, (struct sockaddr *)&from, len);
			}
		}
	}
}

static void sockets(struct pollfd p[5])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	char path[300], abstract[64];

	(void)snprintf(path, sizeof(path), "%s/s", out);
	(void)snprintf(abstract, sizeof(abstract), "hostile-%s", token);
	p[0] = (struct pollfd){listen_on(AF_INET, SOCK_STREAM, &in, sizeof(in)), POLLIN | POLLPRI, 0};
	(void)getsockname(p[0].fd, (struct sockaddr *)&in, &len);
	p[1] = (struct pollfd){listen_on(AF_INET, SOCK_DGRAM, &in, sizeof(in)), POLLIN, 0};
	p[2] = (struct pollfd){unix_socket(SOCK_STREAM, path, false), POLLIN | POLLPRI, 0};
	p[3] = (struct pollfd){unix_socket(SOCK_STREAM, abstract, true), POLLIN | POLLPRI, 0};
	describe_number("port", ntohs(in.sin_port));
	describe("path", path);
	describe("abstract", abstract);
	(void)snprintf(path, sizeof(path), "%s/s.dgram", out);
	p[4] = (struct pollfd){unix_socket(SOCK_DGRAM, path, false), POLLIN, 0};
}

static int terminal(void)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[64];

	if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)))
		die("terminal");
	describe("pts", name);
	return fd;
}

static pid_t start_victim(void)
{
	struct pollfd p[5];
	char path[512], name[80];
	int fd, pid;

	(void)snprintf(path, sizeof(path), "%s/open-victim-fd/canary", out);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	sockets(p);
	(void)terminal();
	strcpy(secret, token);
	(void)snprintf(name, sizeof(name), "CANARY=%s", token);
	pid = fork();
	if (!pid) {
		struct sigaction act = {.sa_handler = on_urgent};
		/* The environment that /proc shows is where the kernel put it. */
		char *at = getenv("HOSTILE_ROOM");

		if (at && strlen(at) >= strlen(name))
			strcpy(at, name);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setpgid(0, 0);
		(void)sigaction(SIGURG, &act, NULL);
		(void)snprintf(path, sizeof(path), "%s/open-victim-cwd", out);
		if (chdir(path) < 0)
			_exit(1);
		be_victim(p, 5);
	}
	describe_number("victim", pid);
	describe_number("fd", fd);
	describe_number("address", (long long)(uintptr_t)secret);
	return pid;
}

/* --- what has no file --- */

static char queue_name[64], shm_name[64];
static int shm = -1, sem = -1, msg = -1;

static void objects(void)
{
	struct {
		long type;
		char text[64];
	} m = {1, ""};
	struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 128};
	key_t key = (key_t)strtoul(token + 4, NULL, 16) | 1;
	mqd_t q;
	char *at;

	shm = shmget(key, 4096, IPC_CREAT | 0600);
	at = shm < 0 ? (void *)-1 : shmat(shm, NULL, 0);
	if (at == (void *)-1)
		die("shared memory");
	strcpy(at, token);
	(void)shmdt(at);
	sem = semget(IPC_PRIVATE, 1, 0600);
	msg = msgget(IPC_PRIVATE, 0600);
	strcpy(m.text, token);
	(void)msgsnd(msg, &m, strlen(token) + 1, 0);
	(void)snprintf(queue_name, sizeof(queue_name), "/hostile-%s", token);
	q = mq_open(queue_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attr);
	if (q < 0 || mq_send(q, token, strlen(token) + 1, 0) < 0)
		die("queue");
	(void)snprintf(shm_name, sizeof(shm_name), "/dev/shm/hostile-%s", token);
	put_file(shm_name, token, 0600);
	describe_number("shm", shm);
	describe_number("shm_key", key);
	describe_number("sem", sem);
	describe_number("msg", msg);
	describe("queue", queue_name);
	describe("dev_shm", shm_name);
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "hostile");
	(void)syscall(SYS_add_key, "user", "hostile-canary", token, strlen(token), KEY_SPEC_SESSION_KEYRING);
}

static void remove_objects(void)
{
	(void)shmctl(shm, IPC_RMID, NULL);
	(void)semctl(sem, 0, IPC_RMID);
	(void)msgctl(msg, IPC_RMID, NULL);
	(void)mq_unlink(queue_name);
	(void)unlink(shm_name);
}

static void leave_descriptors(void)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/inherited-file/canary", out);
	fd = open(path, O_RDONLY);
	(void)dup2(fd, 17);
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/inherited-directory", out);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	(void)dup2(fd, 18);
	(void)close(fd);
}

int stage_main(int argc, char **argv)
{
	unsigned long long random;
	int status;
	pid_t victim, pid;

	(void)argc;
	if (!getenv("HOSTILE_ROOM")) { /* once more, with room in the environment */
		(void)setenv("HOSTILE_ROOM", "........................................................................", 1);
		(void)execv("/proc/self/exe", argv - 2);
		die("execv");
	}
	(void)syscall(SYS_getrandom, &random, sizeof(random), 0);
	(void)snprintf(token, sizeof(token), "tok-%016llx", random);
	(void)snprintf(out, sizeof(out), "%s/outside", argv[0]);
	(void)umask(0);
	if (mkdir(out, 0755) < 0)
		die(out);
	lay_out(abi_attempts);
	lay_out(path_attempts);
	lay_out(proc_attempts);
	lay_out(ipc_attempts);
	lay_out(exec_attempts);
	describe("out", out);
	describe("token", token);
	objects();
	victim = start_victim();
	(void)setenv("HOSTILE", description, 1);
	pid = fork();
	if (!pid) {
		leave_descriptors();
		(void)unsetenv("HOSTILE_ROOM");
		(void)execvp(argv[1], argv + 1);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	(void)kill(victim, SIGKILL);
	remove_objects();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
