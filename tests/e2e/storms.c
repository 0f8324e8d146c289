/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storms WAY COUNT: inside only. COUNT rounds of calls that change the tree, while their process is
 *   signals  signalled often, without SA_RESTART       restarts  the same, with it
 *   stops    stopped and continued                     attached  attached to, and let go, as a debugger does
 *   watched  left alone: others do something to it from outside, until its input ends; its number is said first
 *   killed   killed at any moment and begun anew
 * or  forks  COUNT processes, each with calls of its own;  full  calls without a descriptor to spare;  many  256 threads that open.
 * Each call takes effect once or, where it says EINTR, not at all. Says what was wrong, or how many were interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long calls, interrupted, wrong;

/* Made again where it was interrupted: its first making had no effect then, or this one fails. */
#define MAKE(what, call)                                                                                    \
	do {                                                                                                \
		long r_;                                                                                    \
		while (calls++, (r_ = (long)(call)) < 0 && errno == EINTR)                                  \
			interrupted++;                                                                      \
		if (r_ < 0 && wrong++ < 5)                                                                  \
			printf("%s: %s\n", what, strerrorname_np(errno));                                   \
	} while (0)

static void round_of(const char *top, unsigned long i)
{
	char dir[64], a[96], b[96], text[32] = "";
	int fd;

	(void)snprintf(dir, sizeof(dir), "%s/d%lu", top, i % 50);
	(void)snprintf(a, sizeof(a), "%s/a%lu", dir, i);
	(void)snprintf(b, sizeof(b), "%s/b%lu", dir, i);
	MAKE("mkdir", mkdir(dir, 0755));
	MAKE("create", fd = open(a, O_RDWR | O_CREAT | O_EXCL, 0644));
	if (write(fd, &i, sizeof(i)) != sizeof(i) && wrong++ < 5)
		printf("write: %s\n", strerrorname_np(errno));
	(void)close(fd);
	MAKE("link", link(a, b));
	MAKE("unlink", unlink(a));
	MAKE("rename", rename(b, a));
	MAKE("open", fd = open(a, O_RDONLY));
	if ((read(fd, text, sizeof(text)) != sizeof(i) || memcmp(text, &i, sizeof(i)) != 0) && wrong++ < 5)
		printf("read: other contents\n");
	(void)close(fd);
	MAKE("unlink", unlink(a));
	MAKE("rmdir", rmdir(dir));
}

/* --- what is done to it --- */

static atomic_ulong *ticks; /* shared with who torments */

static void on_tick(int sig)
{
	(void)sig;
	atomic_fetch_add(ticks, 1);
}

static void torment(pid_t pid, const char *way)
{
	for (;; (void)usleep(500 + (useconds_t)(rand() % 1000))) {
		if (!strcmp(way, "stops")) {
			(void)kill(pid, SIGSTOP);
			(void)usleep((useconds_t)(rand() % 500));
			(void)kill(pid, SIGCONT);
			on_tick(SIGCONT);
		} else if (!strcmp(way, "attached")) {
			int status;

			if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
				continue;
			(void)ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
			if (waitpid(pid, &status, __WALL) == pid)
				on_tick(0);
			(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
		} else if (kill(pid, SIGUSR1) < 0) {
			return;
		}
	}
}

static void rounds(const char *way, unsigned long count)
{
	struct sigaction sa = {.sa_handler = on_tick, .sa_flags = strcmp(way, "restarts") ? 0 : SA_RESTART};
	pid_t me = getpid(), other = -1;
	char end;

	ticks = mmap(NULL, sizeof(*ticks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	(void)sigaction(SIGUSR1, &sa, NULL);
	(void)mkdir("/s", 0755);
	if (strcmp(way, "watched") != 0 && !(other = fork())) {
		torment(me, way);
		_exit(0);
	}
	for (unsigned long i = 0; i < count || (other < 0 && read(0, &end, 1) < 0); i++)
		round_of("/s", i);
	if (other > 0) {
		(void)kill(other, SIGKILL);
		while (waitpid(other, NULL, 0) < 0 && errno == EINTR)
			;
	}
	printf("calls %lu, interrupted %lu (%.2f%%), %lu times\n", calls, interrupted, 100. * (double)interrupted / (double)calls, atomic_load(ticks));
}

/* What a killed one leaves is one round's at most, and whole. */
static void killed(unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		char top[32];
		pid_t pid;

		(void)snprintf(top, sizeof(top), "/k%lu", i);
		(void)mkdir(top, 0755);
		pid = fork();
		if (!pid)
			for (unsigned long k = 0;; k++)
				round_of(top, k);
		(void)usleep((useconds_t)(rand() % 3000));
		(void)kill(pid, SIGKILL);
		if (waitpid(pid, NULL, 0) != pid)
			wrong++;
	}
	printf("killed %lu\n", count);
}

static void forks(unsigned long count)
{
	char *argv[] = {(char *)"/storms", (char *)"nothing", NULL};
	unsigned long good = 0;
	int status;

	(void)mkdir("/f", 0755);
	for (unsigned long i = 0; i < count; i++) {
		bool runs = i % 10 == 0; /* a program now and then */
		pid_t pid = -1;

		if (runs && posix_spawn(&pid, "/storms", NULL, NULL, argv, NULL))
			wrong++;
		else if (!runs && !(pid = fork())) {
			char name[32];

			(void)snprintf(name, sizeof(name), "/f/%lu", i);
			_exit(mkdir(name, 0755) || chdir(name) || rmdir(name));
		}
		if (i % 16 == 15 || i == count - 1)
			while (wait(&status) > 0)
				good += status == 0;
	}
	wrong += good != count;
	printf("processes %lu, well ended %lu\n", count, good);
}

static void full(unsigned long count)
{
	struct rlimit limit = {24, 24};
	unsigned long refused = 0;
	int fd, last = -1;

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	while ((fd = open("/storms", O_RDONLY)) >= 0)
		last = fd;
	for (unsigned long i = 0; i < count; i++) {
		refused += open(i % 2 ? "/storms" : "/", O_RDONLY) < 0 && errno == EMFILE;
		refused += open("/new", O_WRONLY | O_CREAT, 0644) < 0 && errno == EMFILE;
		wrong += access("/new", F_OK) == 0;
		(void)close(last);
		fd = open("/storms", O_RDONLY);
		wrong += fd != last;
	}
	wrong += refused != count * 2;
	printf("refused %lu of %lu\n", refused, count * 2);
}

static atomic_ulong opened;

static void *opens(void *arg)
{
	unsigned long count = *(unsigned long *)arg;

	for (unsigned long i = 0; i < count; i++) {
		int fd = open(i % 2 ? "/storms" : "/here", O_RDWR | O_CREAT, 0755);

		if (fd >= 0)
			atomic_fetch_add(&opened, 1);
		(void)close(fd);
	}
	return NULL;
}

static void *waits_for_ever(void *arg)
{
	(void)open("/fifo", O_RDONLY);
	return arg;
}

static void many(unsigned long count)
{
	pthread_attr_t attr;
	pthread_t t[256], blocked;

	(void)mkfifo("/fifo", 0600);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 65536);
	(void)pthread_create(&blocked, &attr, waits_for_ever, NULL);
	for (int i = 0; i < 256; i++)
		if (pthread_create(&t[i], &attr, opens, &count))
			exit(2);
	for (int i = 0; i < 256; i++)
		(void)pthread_join(t[i], NULL);
	wrong += atomic_load(&opened) != count * 256;
	printf("opened %lu of %lu\n", atomic_load(&opened), count * 256);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;

	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc != 3)
		return 2;
	srand(1);
	if (!strcmp(argv[1], "killed"))
		killed(count);
	else if (!strcmp(argv[1], "forks"))
		forks(count);
	else if (!strcmp(argv[1], "full"))
		full(count);
	else if (!strcmp(argv[1], "many"))
		many(count);
	else {
		if (!strcmp(argv[1], "watched")) {
			printf("%d\n", getpid());
			(void)fflush(stdout);
			(void)fcntl(0, F_SETFL, O_NONBLOCK);
		}
		rounds(argv[1], count);
	}
	printf("wrong %lu\n", wrong);
	return wrong != 0;
}
