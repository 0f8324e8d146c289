/* SPDX-License-Identifier: Apache-2.0 */
/* A timer of 1 kHz over calls that change things: nothing happens twice, nothing is lost. */
#include <signal.h>
#include <sys/time.h>

#include "guest.h"

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void timer(bool on, bool restart)
{
	struct sigaction sa = {.sa_handler = on_tick, .sa_flags = restart ? SA_RESTART : 0};
	struct itimerval t = {{0, on ? 1000 : 0}, {0, on ? 1000 : 0}};

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

/* With SA_RESTART no EINTR may be seen; without it a try that ended so is made again, and must not have done anything. */
#define LOOP(what, count, again, ...)                                                                                   \
	do {                                                                                                            \
		int bad_ = 0, interrupted_ = 0;                                                                         \
		for (int i = 0; i < (count); i++) {                                                                     \
			char name[32], other[32];                                                                       \
			(void)snprintf(name, sizeof(name), "t%d", i);                                                   \
			(void)snprintf(other, sizeof(other), "u%d", i);                                                 \
			for (;;) {                                                                                      \
				int rc_ = (__VA_ARGS__);                                                                \
				if (rc_ < 0 && errno == EINTR && ++interrupted_ < 100000)                               \
					continue;                                                                       \
				if (rc_ < 0 && !bad_++)                                                                 \
					(void)printf("%s %d: %s\n", what, i, ename(errno));                             \
				break;                                                                                  \
			}                                                                                               \
		}                                                                                                       \
		(void)printf("%s: %d wrong%s\n", what, bad_, again && interrupted_ ? ", EINTR in spite of SA_RESTART" : "");\
		if (getenv("GUEST_COUNTS"))                                                                             \
			(void)fprintf(stderr, "%s: %d EINTR, %d ticks\n", what, interrupted_, (int)ticks);              \
	} while (0)

static int open_close(const char *name, int flags)
{
	int fd = open(name, flags, 0600);

	return fd < 0 ? fd : close(fd);
}

static int there_and_back(const char *name)
{
	if (chdir(name) < 0)
		return -1;
	while (chdir("..") < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

static int run(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(errno == EINTR ? 77 : 78);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		errno = EINTR;
		return -1;
	}
	errno = 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void all(bool restart)
{
	(void)printf("== %s SA_RESTART\n", restart ? "with" : "without");
	timer(true, restart);
	LOOP("mkdir", 300, restart, mkdir(name, 0700));
	LOOP("rename", 300, restart, rename(name, other));
	LOOP("chdir", 300, restart, there_and_back(other));
	LOOP("rmdir", 300, restart, rmdir(other));
	LOOP("create", 300, restart, open_close(name, O_WRONLY | O_CREAT | O_EXCL));
	LOOP("link", 300, restart, link(name, other));
	LOOP("unlink", 300, restart, unlink(name));
	LOOP("open", 300, restart, open_close(other, O_RDONLY));
	LOOP("symlink", 100, restart, symlink(other, name));
	LOOP("unlink", 100, restart, unlink(name));
	LOOP("unlink", 300, restart, unlink(other));
	timer(false, restart);
	(void)printf("ticks came %d\n", ticks > 10);
	ticks = 0;
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	next_set();
	all(true);
	list(".");
	all(false);
	list(".");
	timer(true, true);
	LOOP("fork and exec", 30, true, run());
	timer(false, true);
	return 0;
}
