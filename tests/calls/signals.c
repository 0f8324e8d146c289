/* SPDX-License-Identifier: Apache-2.0 */
/* A timer at 1 kHz over calls that change the tree: none may take effect twice, none may fail for it. */
#include "guest.h"
#include <sys/time.h>

static volatile sig_atomic_t ticks;
static int top;

static void tick(int sig unused)
{
	ticks++;
}

static void storm(int flags)
{
	struct sigaction sa = {.sa_handler = tick, .sa_flags = flags};
	struct itimerval every = {{0, 1000}, {0, 1000}};

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void calm(void)
{
	struct itimerval never = {0};

	setitimer(ITIMER_REAL, &never, NULL);
}

/* A local file's mkdir, open and rename never end with EINTR, whatever the handler's flags. */
static unsigned wrong(const char *what, bool right)
{
	if (!right)
		printf("%s: %s\n", what, errno_name(errno));
	return !right;
}

static void changes(const char *label)
{
	static int phase; /* names of its own: what one phase could not remove is no mistake of the next */
	unsigned mistakes = 0;
	char a[32], b[32];
	int fd;

	phase++;
	for (int i = 0; i < 400 && mistakes < 10; i++) {
		snprintf(a, sizeof(a), "a%d-%d", phase, i);
		snprintf(b, sizeof(b), "b%d-%d", phase, i);
		mistakes += wrong("mkdir", mkdir(a, 0755) == 0);
		mistakes += wrong("rename", rename(a, b) == 0);
		mistakes += wrong("rmdir", rmdir(b) == 0);
		fd = open(a, O_CREAT | O_EXCL | O_WRONLY, 0644);
		mistakes += wrong("create", fd >= 0);
		mistakes += wrong("close", close(fd) == 0);
		mistakes += wrong("link", link(a, b) == 0);
		mistakes += wrong("unlink", unlink(a) == 0);
		mistakes += wrong("symlink", symlink(b, a) == 0);
		mistakes += wrong("unlink", unlink(a) == 0);
		mistakes += wrong("unlink", unlink(b) == 0);
		mistakes += wrong("access", access("file", F_OK) == 0);
		mistakes += wrong("chdir", chdir("dir/sub") == 0);
		mistakes += wrong("chdir", chdir("../..") == 0);
		while (fchdir(top) < 0)
			if (errno != EINTR)
				exit(EXIT_FAILURE);
	}
	calm();
	printf("%s: mistakes %u\n", label, mistakes);
}

static void descriptors(const char *label)
{
	int first = open("file", O_RDONLY), last;
	unsigned mistakes = 0;

	for (int i = 0; i < 2000 && mistakes < 10; i++) {
		int fd = open("dir/a", O_RDONLY);

		mistakes += wrong("open", fd >= 0);
		close(fd);
	}
	calm();
	last = open("file", O_RDONLY);
	printf("%s: mistakes %u, descriptors lost %d\n", label, mistakes, last - first - 1);
	close(first);
	close(last);
}

static void children(const char *label)
{
	unsigned mistakes = 0;

	fflush(stdout);
	for (int i = 0; i < 30 && mistakes < 10; i++) {
		int status;
		pid_t pid = fork(), rc;

		if (!pid) {
			execl("/bin/true", "true", NULL);
			_exit(1);
		}
		mistakes += wrong("fork", pid > 0);
		while ((rc = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
			;
		mistakes += wrong("exec", rc == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	calm();
	printf("%s: mistakes %u\n", label, mistakes);
}

/* A handler that itself opens files, and one that jumps away, are the program's own business. */
static void busy_handler(int sig unused)
{
	int saved = errno, fd = openat(top, "dir/b", O_RDONLY);

	if (fd >= 0)
		close(fd);
	ticks += fd < 0 ? 1000000 : 1;
	errno = saved;
}

int main(void)
{
	struct sigaction sa = {.sa_handler = busy_handler, .sa_flags = SA_RESTART};
	struct itimerval every = {{0, 2000}, {0, 2000}};
	sigset_t set;

	guest_start();
	top = open(".", O_RDONLY | O_DIRECTORY);
	storm(0);
	changes("changes without SA_RESTART");
	storm(SA_RESTART);
	changes("changes with SA_RESTART");
	storm(0);
	descriptors("opens without SA_RESTART");
	storm(SA_RESTART);
	descriptors("opens with SA_RESTART");
	storm(SA_RESTART);
	children("children");
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	changes("handler that opens");
	printf("handler went well: %d\n", ticks < 1000000);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CALL(kill(getpid(), SIGUSR1));
	CALL(access("file", F_OK));
	CALL(sigpending(&set));
	printf("still pending: %d\n", sigismember(&set, SIGUSR1));
	return 0;
}
