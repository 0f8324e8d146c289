/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads at once over names of their own and names they share; directories of threads that share none; processes that
 * share one. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "guest.h"

static int bad;
static int winners;

#define MUST(expr)                                                                                                      \
	do {                                                                                                            \
		if ((expr) < 0 && !__atomic_fetch_add(&bad, 1, __ATOMIC_SEQ_CST))                                       \
			(void)printf("%s: %s\n", #expr, ename(errno));                                                  \
	} while (0)

static void *work(void *arg)
{
	int id = (int)(intptr_t)arg, fd;
	char dir[32], a[64], b[64], buf[PATH_MAX];

	(void)snprintf(dir, sizeof(dir), "thread%d", id);
	MUST(mkdir(dir, 0700));
	for (int i = 0; i < 4; i++) {
		(void)snprintf(a, sizeof(a), "%s/a%d", dir, i);
		(void)snprintf(b, sizeof(b), "%s/b%d", dir, i);
		fd = open(a, O_WRONLY | O_CREAT | O_EXCL, 0600);
		MUST(fd);
		(void)close(fd);
		MUST(rename(a, b));
		fd = open(b, O_RDONLY);
		MUST(fd);
		(void)close(fd);
	}
	fd = open("shared", O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd >= 0) {
		__atomic_add_fetch(&winners, 1, __ATOMIC_SEQ_CST);
		(void)close(fd);
	}
	fd = open("cu", O_WRONLY | O_APPEND);
	MUST(fd);
	MUST(write(fd, "x", 1) == 1 ? 0 : -1);
	(void)close(fd);
	if (unshare(CLONE_FS) < 0 && errno == EPERM)
		return NULL; /* a container's filter: all threads have one directory */
	MUST(chdir(dir));
	MUST(access("b0", F_OK));
	MUST(getcwd(buf, sizeof(buf)) && strcmp(strrchr(buf, '/') + 1, dir) == 0 ? 0 : -1);
	MUST(unlink("b3"));
	return NULL;
}

static void crowd(int count)
{
	pthread_t t[256];
	pthread_attr_t attr;

	(void)printf("== %d threads\n", count);
	next_set();
	bad = winners = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (int i = 0; i < count; i++)
		if (pthread_create(&t[i], &attr, work, (void *)(intptr_t)i))
			die("pthread_create");
	for (int i = 0; i < count; i++)
		pthread_join(t[i], NULL);
	(void)printf("%d wrong, %d made the shared file\n", bad, winners);
	show("cu");
	list("thread7");
	CALL(access("thread0", F_OK));
}

static int in_child(void *arg)
{
	(void)arg;
	return chdir("dir") < 0;
}

static void where(const char *what)
{
	char buf[PATH_MAX];

	(void)printf("%s: %s\n", what, getcwd(buf, sizeof(buf)) ? shorten(buf) : ename(errno));
}

static void *changes(void *arg)
{
	(void)!chdir(arg);
	return NULL;
}

static void directories(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pthread_t t;
	pid_t pid;

	(void)printf("== directories\n");
	next_set();
	pid = clone(in_child, stack + sizeof(stack), CLONE_FS | SIGCHLD, NULL);
	waitpid(pid, NULL, 0);
	where("a process that shares the directory moved us");
	CALL(chdir(".."));
	pid = clone(in_child, stack + sizeof(stack), SIGCHLD, NULL);
	waitpid(pid, NULL, 0);
	where("one that does not");
	pid = clone(in_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	waitpid(pid, NULL, 0);
	where("one that shares memory only");
	pthread_create(&t, NULL, changes, "mdir");
	pthread_join(t, NULL);
	where("a thread");
	CALL(mkdir("gone", 0700));
	CALL(chdir("gone"));
	CALL(rmdir("../gone"));
	where("removed");
	OPENS(open("x", O_WRONLY | O_CREAT, 0600));
	CALL(chdir(".."));
	where("its parent");
	CALL(mkdir("old", 0700));
	CALL(chdir("old"));
	CALL(rename("../old", "../renamed"));
	where("renamed");
	OPENS(open("x", O_WRONLY | O_CREAT, 0600));
	CALL(access("../renamed/x", F_OK));
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	directories();
	CALL(chdir(guest_root));
	crowd(64);
	CALL(chdir(guest_root));
	crowd(256);
	return 0;
}
