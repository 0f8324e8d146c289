/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races WAY COUNT FORBIDDEN: inside only, but for `path`. COUNT calls while another thread exchanges what they are made with, or the directories that they walk:
 *   path how exec argv stream datagram symlink directory lease reopen pids
 * One value is the guest's own, the other leads to FORBIDDEN on the host (its last character F; for one's own, O). Prints how often each was seen,
 * and how often something of the host was got, and ends with 0 when that is never.
 * races run TEXT: what `argv` executes. races victim FILE: processes of the host that come and go and tell FILE of each signal they get.
 * races stream|datagram serve PATH FILE: a socket of the host that tells FILE of each who comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct {
	unsigned long own, other, refused, forbidden;
} seen;
static char path[200]; /* what calls are made with; its last character changes */
static char *last;
static struct open_how how;
static struct sockaddr_un to;
static char *volatile *swapped; /* words of an argv */
static int type = SOCK_STREAM;
static atomic_bool over;
static atomic_ulong swaps;
static volatile char secret[32] = "own";

static void pause_a_little(void)
{
	for (volatile unsigned i = 0; i < 50 + swaps % 97; i++)
		;
	atomic_fetch_add(&swaps, 1);
}

static void *swap_last(void *arg)
{
	while (!atomic_load(&over)) {
		*(volatile char *)last ^= 'F' ^ 'O';
		pause_a_little();
	}
	return arg;
}

static void *swap_how(void *arg)
{
	while (!atomic_load(&over)) {
		*(volatile __u64 *)&how.flags ^= O_RDWR;
		pause_a_little();
	}
	return arg;
}

static void *swap_words(void *arg)
{
	while (!atomic_load(&over)) {
		char *was = swapped[1];

		swapped[1] = swapped[0];
		swapped[0] = was;
		pause_a_little();
	}
	return arg;
}

static void *swap_symlink(void *arg)
{
	while (!atomic_load(&over)) {
		if (syscall(SYS_renameat2, AT_FDCWD, "/w/d", AT_FDCWD, "/w/l", 2 /* RENAME_EXCHANGE */) < 0)
			exit(3);
		atomic_fetch_add(&swaps, 1);
	}
	return arg;
}

static void *swap_directory(void *arg)
{
	while (!atomic_load(&over)) {
		(void)rename("/w/a/b/c", "/w/c");
		(void)rename("/w/c", "/w/a/b/c");
		atomic_fetch_add(&swaps, 1);
	}
	return arg;
}

/* What a descriptor holds: the guest's own, or the host's. */
static void judge(int fd)
{
	char text[32] = "";

	if (fd < 0) {
		++*(errno == ENOENT ? &seen.other : &seen.refused);
		return;
	}
	if (read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "canary"))
		seen.forbidden++;
	else
		seen.own++;
	(void)close(fd);
}

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0) {
		perror(name);
		exit(2);
	}
}

static void make_above(const char *name)
{
	char part[200];

	for (const char *p = name + 1; (p = strchr(p, '/')); p++) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(p - name), name);
		(void)mkdir(part, 0755);
	}
}

/* --- one call each --- */

static void try_path(unsigned long i)
{
	struct stat st;

	if (i % 3)
		judge(i % 3 == 1 ? open(path, O_RDONLY) : (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
	else if (stat(path, &st) == 0)
		++*(st.st_size == 3 ? &seen.own : &seen.forbidden);
	else
		judge(-1);
}

/* /readonly is nobody's to write. */
static void try_how(unsigned long i)
{
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/readonly", &how, sizeof(how));

	(void)i;
	if (fd < 0)
		++*(errno == EACCES ? &seen.other : &seen.refused);
	else
		++*((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY ? &seen.own : &seen.forbidden);
	(void)close(fd);
}

/* A write lease: of one's own file it is had, of the image's it is not. */
static int lease_own = -1, lease_image = -1, lease_number = -1;

static void *swap_descriptor(void *arg)
{
	while (!atomic_load(&over)) {
		(void)dup2(lease_image, lease_number);
		pause_a_little();
		(void)dup2(lease_own, lease_number);
		pause_a_little();
	}
	return arg;
}

static void try_lease(unsigned long i)
{
	int rc = fcntl(lease_number, F_SETLEASE, F_WRLCK);

	(void)i;
	if (fcntl(lease_image, F_GETLEASE) == F_WRLCK)
		seen.forbidden++;
	else
		++*(rc == 0 ? &seen.own : errno == EAGAIN ? &seen.other : &seen.refused);
	(void)fcntl(lease_image, F_SETLEASE, F_UNLCK);
	(void)fcntl(lease_own, F_SETLEASE, F_UNLCK);
}

/*
 * A descriptor's file, opened anew for writing and changed by number: one's own may be, the other's must not be reached by that: it is an image's
 * (/readonly), or the host's that a mode shows. Which one a descriptor is of its number tells; what is done to the other is looked at by who reads
 * it on the host.
 */
static void try_reopen(unsigned long i)
{
	char name[40], now[8] = "";
	struct stat st, other, mine;
	int fd;

	(void)fchmod(lease_number, 0666);
	(void)futimens(lease_number, NULL);
	(void)fsetxattr(lease_number, "user.race", "1", 1, 0);
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", lease_number);
	fd = open(name, O_RDWR);
	if (fd < 0) {
		seen.refused++;
		return;
	}
	if (fstat(fd, &st) || fstat(lease_image, &other) || fstat(lease_own, &mine))
		_exit(3);
	if (st.st_ino == mine.st_ino && st.st_dev == mine.st_dev) {
		seen.own++;
	} else {
		seen.other++; /* its copy, if all is well */
		if (pwrite(fd, "forbidden", 9, 0) == 9 && pread(lease_image, now, 3, 0) == 3 && !strncmp(now, "for", 3))
			seen.forbidden++;
		if (!(i % 64)) /* the copy goes, so that there is something to be got again */
			(void)unlink(path);
	}
	(void)close(fd);
}

/* One's own is no program (EACCES), the other does not exist (ENOENT); the host's would end this one. */
static void try_exec(unsigned long i)
{
	char *argv[] = {(char *)"escaped", NULL};

	(void)(i % 2 ? execve(path, argv, NULL) : syscall(SYS_execveat, AT_FDCWD, path, argv, NULL, 0));
	++*(errno == EACCES ? &seen.own : errno == ENOENT ? &seen.other : &seen.refused);
}

/* A script: its interpreter and its own name are put before the words, which may change as they like. */
static void try_argv(unsigned long i)
{
	char *argv[] = {(char *)"script", (char *)"one", (char *)"two", NULL}, text[64] = "";
	int pipes[2];
	ssize_t n;
	pid_t pid;

	(void)i;
	if (pipe(pipes) < 0)
		exit(2);
	swapped = argv + 1;
	pid = fork();
	if (!pid) {
		pthread_t t;

		(void)pthread_create(&t, NULL, swap_words, NULL);
		(void)dup2(pipes[1], 1);
		execve("/script", argv, NULL);
		_exit(4);
	}
	(void)close(pipes[1]);
	n = read(pipes[0], text, sizeof(text) - 1);
	(void)close(pipes[0]);
	(void)waitpid(pid, NULL, 0);
	if (n > 0 && !strncmp(text, "/script one", 11))
		seen.own++;
	else if (n > 0 && !strncmp(text, "/script two", 11))
		seen.other++;
	else
		seen.forbidden++;
}

static void try_socket(unsigned long i)
{
	struct sockaddr_un peer = {0};
	socklen_t len = sizeof(peer);
	int fd = socket(AF_UNIX, type, 0), r;

	(void)i;
	r = type == SOCK_DGRAM ? (int)sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to)) : connect(fd, (struct sockaddr *)&to, sizeof(to));
	if (r < 0)
		++*(errno == EACCES ? &seen.other : errno == EAGAIN ? &seen.own : &seen.refused);
	else if (type == SOCK_STREAM && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_path[strlen(peer.sun_path) - 1] == 'F')
		seen.forbidden++; /* and datagrams are counted where they come */
	else
		seen.own++;
	(void)close(fd);
}

static void try_symlink(unsigned long i)
{
	switch (i % 5) {
	case 0:
		judge(open("/w/d/canary", O_RDONLY));
		break;
	case 1:
		judge(open("/w/d/new", O_RDWR | O_CREAT, 0666));
		break;
	case 2:
		(void)rename("/w/d/new", "/w/d/moved");
		judge(open("/w/d/./canary", O_RDONLY));
		break;
	case 3:
		(void)mkdir("/w/d/victim", 0777);
		(void)unlink("/w/d/moved");
		(void)chmod("/w/d/canary", 0600 + (unsigned)i % 64);
		break;
	default:
		(void)rmdir("/w/d/victim");
		judge(open("/w/d/../d/canary", O_RDWR));
	}
}

static void try_directory(unsigned long i)
{
	int dir = open("/w/a/b/c", O_RDONLY | O_DIRECTORY);
	char up[256];

	if (dir < 0)
		dir = open("/w/c", O_RDONLY | O_DIRECTORY);
	(void)snprintf(up, sizeof(up), "../../../../../../../../..%s", path);
	if (i % 2) {
		judge(openat(dir, up, O_RDONLY));
	} else {
		int fd = openat(dir, "../where", O_RDONLY);
		char text[8] = "";

		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
			++*(text[0] == 'b' ? &seen.own : text[0] == 'w' ? &seen.other : &seen.forbidden);
		else
			seen.refused++;
		(void)close(fd);
	}
	(void)close(dir);
}

/* A number that was a process of the guest's some time, and is another's by now: the host's, or the guest's. */
static void try_pids(unsigned long i)
{
	static pid_t gone[256];
	struct iovec local, remote = {(void *)(uintptr_t)secret, sizeof(secret)};
	char name[64], text[sizeof(secret)] = "", wanted[16];
	pid_t pid = gone[(i * 97 + i / 7) % 256];
	int fd;

	if (pid > 1) {
		(void)kill(pid, SIGUSR1);
		local = (struct iovec){text, sizeof(text)};
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) > 0)
			++*(!strcmp(text, "own") ? &seen.own : &seen.forbidden);
		else
			seen.other++;
		(void)snprintf(name, sizeof(name), "/proc/%d/cmdline", pid);
		fd = open(name, O_RDONLY);
		memset(text, 0, sizeof(text));
		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strncmp(text, "/races", 6) != 0)
			seen.forbidden++;
		(void)close(fd);
	}
	pid = fork();
	if (!pid) { /* what is remembered of a number is not this process's */
		(void)snprintf(name, sizeof(name), "/w/%lu", i % 10);
		(void)snprintf(wanted, sizeof(wanted), "%lu", i % 10);
		fd = chdir(name) < 0 ? -1 : open("me", O_RDONLY);
		(void)usleep((useconds_t)(i % 8 * 200));
		_exit(fd < 0 || read(fd, text, sizeof(text)) < 1 || text[0] != wanted[0]);
	}
	gone[i % 256] = pid;
	if (i % 8 == 7) {
		int status;

		while ((pid = waitpid(-1, &status, 0)) > 0)
			seen.forbidden += status != 0;
	}
}

/* --- --- */

static int server, tells = -1;

static void *comes(void *arg)
{
	char byte;

	for (;;) {
		(void)!(type == SOCK_STREAM ? close(accept(server, NULL, NULL)) : (int)recv(server, &byte, 1, 0));
		if (tells >= 0)
			(void)!write(tells, "reached\n", 8);
	}
	return arg;
}

static void serve(const char *name)
{
	(void)unlink(name);
	server = socket(AF_UNIX, type, 0);
	to.sun_family = AF_UNIX;
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", name);
	if (bind(server, (struct sockaddr *)&to, sizeof(to)) < 0 || (type == SOCK_STREAM && listen(server, 100) < 0)) {
		perror(name);
		exit(2);
	}
}

static void set_up(const char *way)
{
	char name[16];
	pthread_t t;

	last = path + strlen(path) - 1;
	*last = 'O';
	how.flags = O_RDONLY;
	if (!strcmp(way, "stream") || !strcmp(way, "datagram")) {
		serve(path);
		last = to.sun_path + strlen(to.sun_path) - 1;
		if (pthread_create(&t, NULL, comes, NULL))
			exit(2);
		return;
	}
	if (!strcmp(way, "reopen")) {
		*last = 'F';
		lease_image = open(path, O_RDONLY);
		lease_own = memfd_create("own", 0);
		lease_number = dup(lease_own);
		if (lease_image < 0 || lease_own < 0 || lease_number < 0)
			exit(2);
		return;
	}
	make_above(path);
	put(path, "own");
	if (!strcmp(way, "lease")) {
		lease_image = open("/readonly", O_RDONLY);
		lease_own = open(path, O_RDONLY);
		lease_number = dup(lease_own);
		return;
	}
	if (!strcmp(way, "path")) /* natively too: to see that the forbidden can be seen */
		return;
	(void)mkdir("/w", 0755);
	(void)mkdir("/w/d", 0755);
	(void)mkdir("/w/a", 0755);
	(void)mkdir("/w/a/b", 0755);
	(void)mkdir("/w/a/b/c", 0755);
	put("/w/d/canary", "own");
	put("/w/a/b/where", "b");
	put("/w/where", "w");
	for (int i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "/w/%d", i);
		(void)mkdir(name, 0755);
		(void)snprintf(name, sizeof(name), "/w/%d/me", i);
		put(name, (char[]){(char)('0' + i), '\0'});
	}
	*last = 'F';
	if (symlink(path, "/w/l") < 0)
		exit(2);
}

static void on_signal(int sig)
{
	(void)sig;
	(void)!write(tells, "signalled\n", 10);
}

static int victim(const char *file)
{
	(void)signal(SIGUSR1, on_signal);
	strcpy((char *)(uintptr_t)secret, "canary");
	tells = open(file, O_WRONLY | O_APPEND | O_CREAT, 0644);
	for (unsigned i = 0;; i++) {
		if (!fork()) {
			(void)usleep(i % 8 * 500);
			_exit(0);
		}
		while (waitpid(-1, NULL, i % 8 ? WNOHANG : 0) > 0)
			;
	}
}

static const struct {
	const char *name;
	void (*try)(unsigned long i);
	void *(*swap)(void *);
} ways[] = {
	{"path", try_path, swap_last},	       {"how", try_how, swap_how},
	{"exec", try_exec, swap_last},	       {"argv", try_argv, NULL},
	{"stream", try_socket, swap_last},     {"datagram", try_socket, swap_last},
	{"symlink", try_symlink, swap_symlink},
	{"directory", try_directory, swap_directory}, {"pids", try_pids, NULL},
	{"lease", try_lease, swap_descriptor}, {"reopen", try_reopen, swap_descriptor},
};

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	pthread_t t;

	if (argc > 2 && !strcmp(argv[1], "run"))
		return printf("%s %s\n", argv[2], argc > 3 ? argv[3] : "") < 0;
	if (argc == 3 && !strcmp(argv[1], "victim"))
		return victim(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "datagram"))
		type = SOCK_DGRAM;
	if (argc == 5 && !strcmp(argv[2], "serve")) {
		serve(argv[3]);
		tells = open(argv[4], O_WRONLY | O_APPEND | O_CREAT, 0644);
		(void)comes(NULL);
	}
	if (argc != 4 || strlen(argv[3]) >= sizeof(path))
		return 2;
	(void)signal(SIGUSR1, SIG_IGN);
	strcpy(path, argv[3]);
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		if (strcmp(argv[1], ways[w].name) != 0)
			continue;
		set_up(argv[1]);
		if (ways[w].swap && pthread_create(&t, NULL, ways[w].swap, NULL))
			return 2;
		while (ways[w].swap && atomic_load(&swaps) < 10)
			(void)usleep(1000);
		for (unsigned long i = 0; i < count; i++)
			ways[w].try(i);
		atomic_store(&over, true);
		printf("tries %lu, swapped %lu, own %lu, other %lu, refused %lu, forbidden %lu\n", count, atomic_load(&swaps), seen.own, seen.other,
		       seen.refused, seen.forbidden);
		return seen.forbidden != 0;
	}
	return 2;
}
