/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is where: a process that has asked from one directory for a while goes to another, or another with whom it shares its memory, its
 * directory, both or neither does. `leaf` is another file in each directory: its size tells which one a relative path started from.
 */
#include "guest.h"
#include <pthread.h>
#include <sched.h>

static char top[PATH_MAX];

/* Names that were not asked for before, over some time: then whoever remembers where we are has had reason to. */
static void settle(void)
{
	struct stat st;
	static int number;

	for (int i = 0; i < 6; i++) {
		char name[40];

		(void)snprintf(name, sizeof(name), "none-%d-%d", getpid(), number++);
		(void)stat(name, &st);
		(void)stat("leaf", &st);
		usleep(2500);
	}
}

static void here(const char *label)
{
	struct stat st = {0};
	char buf[PATH_MAX];
	int rc = 0;

	for (int i = 0; i < 4; i++)
		rc = stat("leaf", &st);
	printf("%s: %s, %lld bytes, ", label, rc ? errno_name(errno) : "there", rc ? 0LL : (long long)st.st_size);
	rc = access("only-in-two", F_OK);
	printf("%s, ", rc ? errno_name(errno) : "in two");
	printf("%s\n", getcwd(buf, sizeof(buf)) ? buf + strlen(top) : errno_name(errno));
}

static void to_one(void)
{
	if (chdir(top) || chdir("one"))
		printf("one: %s\n", errno_name(errno));
	settle();
	here("one");
}

static void ended(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (status)
		printf("status %x\n", (unsigned)status);
}

static void *thread_goes(void *arg)
{
	(void)arg;
	settle();
	CALL(chdir("../two"));
	return NULL;
}

static void *thread_parts(void *arg)
{
	(void)arg;
	CALL(unshare(CLONE_FS));
	here("thread, parted");
	CALL(chdir("../two"));
	settle();
	here("thread, gone");
	return NULL;
}

static void in_thread(void *(*fn)(void *))
{
	pthread_t t;

	if (!pthread_create(&t, NULL, fn, NULL))
		(void)pthread_join(t, NULL);
}

static void children(void)
{
	pid_t pid = fork();

	if (!pid) {
		here("forked");
		CALL(chdir("../two"));
		settle();
		here("forked, gone");
		_exit(0);
	}
	ended(pid);
	here("parent");
	pid = vfork();
	if (!pid) {
		(void)!chdir("../two");
		settle();
		_exit(0);
	}
	ended(pid);
	here("vfork's parent");
}

static int goes(void *arg)
{
	(void)arg;
	settle();
	_exit(chdir("../two") != 0);
}

static void shares(int flags, const char *label)
{
	static char stack[65536] __attribute__((aligned(16)));

	to_one();
	ended(clone(goes, stack + sizeof(stack), flags | SIGCHLD, NULL));
	here(label);
}

static void goes_away(void)
{
	to_one();
	CALL(mkdir("../three", 0755));
	CALL(chdir("../three"));
	settle();
	here("three");
	CALL(rename("../three", "../four"));
	here("renamed");
	CALL(rmdir("../four"));
	here("removed");
	CALL(mkdir("../three", 0755));
	here("made anew");
	CALL(chdir(top));
	CALL(rmdir("three"));
}

static void *thread_executes(void *arg)
{
	thread_parts(NULL);
	execl(arg, "place", "executed", top, NULL);
	return NULL;
}

static void fill(const char *dir, const char *text)
{
	char path[64];
	int fd;

	CALL(mkdir(dir, 0755));
	(void)snprintf(path, sizeof(path), "%s/leaf", dir);
	fd = FD(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
	if (write(fd, text, strlen(text)) < 0)
		printf("%s: %s\n", path, errno_name(errno));
	(void)close(fd);
}

int main(int argc, char **argv)
{
	pthread_t t;
	int fd;

	guest_start();
	if (argc == 3) { /* by the thread that had gone to two, as the process's only one now */
		(void)snprintf(top, sizeof(top), "%s", argv[2]);
		here("executed");
		settle();
		here("executed, later");
		return 0;
	}
	if (!getcwd(top, sizeof(top)))
		return 1;
	fill("one", "1");
	fill("two", "two");
	CALL(symlink("leaf", "two/only-in-two"));
	to_one();
	fd = FD(open(".", O_RDONLY | O_DIRECTORY));
	CALL(chdir("../two"));
	here("gone");
	settle();
	here("gone, later");
	CALL(fchdir(fd));
	here("back");
	CALL(chdir("nowhere"));
	here("not gone");
	in_thread(thread_goes);
	here("a thread went");
	to_one();
	in_thread(thread_parts);
	here("a thread parted");
	children();
	shares(0, "a child of its own");
	shares(CLONE_FS, "a child that shares the directory");
	shares(CLONE_VM, "a child that shares the memory");
	shares(CLONE_VM | CLONE_FS, "a child that shares both");
	goes_away();
	to_one();
	if (!pthread_create(&t, NULL, thread_executes, argv[0]))
		(void)pthread_join(t, NULL);
	return 1;
}
