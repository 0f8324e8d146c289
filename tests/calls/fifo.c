/* SPDX-License-Identifier: Apache-2.0 */
/* Named pipes: opens that wait for a partner, that do not, and that a signal ends. */
#include "guest.h"
#include <pthread.h>
#include <sys/time.h>

static void made(void)
{
	static const char *const names[] = {"p", "p", "file", "dir/p", "nothing/p", "dangling", "dirlink/p2", "locked/p", ""};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		showf(mkfifo(tail_str(names[i]), 0666), "mkfifo '%s'", names[i]);
	show_lstat("p");
	CALL(mknod("m", S_IFIFO | 0600, 0));
	show_lstat("m");
	CALL(mknod("plain", S_IFREG | 0600, 0));
	show_lstat("plain");
	CALL(mknod("nobits", 0640, 0));
	show_lstat("nobits");
	CALL(mknod("device", S_IFCHR | 0600, 0x103));
	CALL(mknod("asdir", S_IFDIR | 0700, 0));
	CALL(mknod("sock", S_IFSOCK | 0700, 0));
	show_lstat("sock");
	CALL(mknodat(open("dir", O_RDONLY), "at", S_IFIFO | 0644, 0));
	show_lstat("dir/at");
}

static void without_waiting(void)
{
	int r, w;
	char buf[8];

	FD(open("p", O_WRONLY | O_NONBLOCK));
	r = FD(open("p", O_RDONLY | O_NONBLOCK));
	CALL(read(r, buf, sizeof(buf)));
	w = FD(open("p", O_WRONLY | O_NONBLOCK));
	CALL(read(r, buf, sizeof(buf)));
	CALL(write(w, "abc", 3));
	CALL(read(r, buf, sizeof(buf)));
	close(w);
	CALL(read(r, buf, sizeof(buf)));
	close(r);
	r = FD(open("p", O_RDWR));
	CALL(write(r, "xy", 2));
	CALL(read(r, buf, sizeof(buf)));
	CALL(lseek(r, 0, SEEK_SET));
	CALL(ftruncate(r, 0));
	CALL(truncate("p", 0));
	FD(open("p", O_RDONLY | O_DIRECTORY));
	close(r);
}

static void *reader(void *arg)
{
	char *buf = arg;
	int fd = open("p", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, 15);

	buf[n < 0 ? 0 : n] = 0;
	close(fd);
	return NULL;
}

static void *opener(void *arg)
{
	int fd = open(arg, O_RDONLY | O_NONBLOCK);

	usleep(20000);
	return (void *)(intptr_t)(fd < 0 ? -1 : close(fd));
}

static void two_threads(void)
{
	char buf[16] = "";
	pthread_t thread, other[8];
	int fd;

	pthread_create(&thread, NULL, reader, buf);
	usleep(50000);
	/* While that one waits, everybody else's calls go on. */
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		pthread_create(&other[i], NULL, opener, (char *)(uintptr_t) "file");
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		pthread_join(other[i], NULL);
	CALL(access("file", F_OK));
	fd = FD(open("p", O_WRONLY));
	CALL(write(fd, "through", 7));
	pthread_join(thread, NULL);
	printf("reader got %s\n", buf);
	close(fd);
}

static void two_processes(void)
{
	char buf[16] = "";
	pid_t pid;
	int fd;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		usleep(30000);
		fd = open("dir/p", O_WRONLY);
		_exit(write(fd, "child", 6) != 6);
	}
	fd = FD(open("dir/p", O_RDONLY));
	CALL(read(fd, buf, sizeof(buf)));
	printf("got %s\n", buf);
	show_wait("writer", pid);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		open("dir/p", O_RDONLY);
		_exit(0);
	}
	usleep(30000);
	CALL(kill(pid, SIGKILL));
	show_wait("killed while it waits", pid);
}

static volatile sig_atomic_t rings;

static int rung[2];

static void ring(int sig unused)
{
	rings++;
	(void)!write(rung[1], "x", 1);
}

static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = ring};
	struct itimerval soon = {.it_value = {.tv_usec = 50000}, .it_interval = {.tv_usec = 50000}}, never = {0};
	char byte;
	int fd;
	pid_t pid;

	sigaction(SIGALRM, &sa, NULL);
	if (pipe(rung) < 0)
		exit(EXIT_FAILURE);
	setitimer(ITIMER_REAL, &soon, NULL); /* again and again: the first one may come before the call */
	FD(open("p", O_RDONLY));
	setitimer(ITIMER_REAL, &never, NULL);
	printf("it rang: %d\n", rings > 0);
	while (rings--)
		(void)!read(rung[0], &byte, 1);
	rings = 0;
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(rung[1]);
		(void)!read(rung[0], &byte, 1);
		usleep(50000);
		_exit(open("p", O_WRONLY) < 0);
	}
	soon.it_interval.tv_usec = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	fd = FD(open("p", O_RDONLY));
	printf("rings %d\n", rings);
	show_wait("writer", pid);
	close(fd);
	signal(SIGALRM, SIG_DFL);
	alarm(100);
}

int main(void)
{
	guest_start();
	made();
	without_waiting();
	two_threads();
	two_processes();
	interrupted();
	CALL(unlink("p"));
	FD(open("p", O_RDONLY));
	return 0;
}
