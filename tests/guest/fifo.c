/* SPDX-License-Identifier: Apache-2.0 */
/* FIFOs: opens that wait for each other, signals that end the wait, and many waiting while others work. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "guest.h"

static void on_alarm(int sig)
{
	(void)sig;
}

static void wait_child(pid_t pid)
{
	int status = 0;

	(void)waitpid(pid, &status, 0);
	(void)printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
}

static void order(const char *what, int first, int second)
{
	char b = 0;
	pid_t pid;
	int fd;

	(void)printf("%s\n", what);
	pid = fork();
	if (!pid) {
		fd = open("f", first);
		if ((first & O_ACCMODE) == O_WRONLY)
			_exit(write(fd, "w", 1) == 1 ? 3 : 4);
		_exit(read(fd, &b, 1) == 1 && b == 'w' ? 5 : 6);
	}
	(void)usleep(30000);
	fd = OPENS(open("f", second));
	if ((second & O_ACCMODE) == O_WRONLY)
		CALL(write(fd, "w", 1));
	else
		CALL(read(fd, &b, 1));
	wait_child(pid);
	(void)close(fd);
}

static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct itimerval t = {{0, 50000}, {0, 50000}}, never = {0}; /* again and again: the first one may come before the call */

	(void)printf("== interrupted\n");
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	OPENS(open("f", O_RDONLY));
	setitimer(ITIMER_REAL, &t, NULL);
	OPENS(open("f", O_WRONLY));
	setitimer(ITIMER_REAL, &never, NULL);
	/* With SA_RESTART it goes on waiting: a child comes along. */
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	if (!fork()) {
		(void)usleep(150000);
		_exit(open("f", O_WRONLY) < 0);
	}
	setitimer(ITIMER_REAL, &t, NULL);
	OPENS(open("f", O_RDONLY));
	setitimer(ITIMER_REAL, &never, NULL);
	wait_child(-1);
	{
		pid_t pid = fork();

		if (!pid) {
			(void)open("f", O_RDONLY);
			_exit(0);
		}
		(void)usleep(30000);
		kill(pid, SIGKILL);
		wait_child(pid);
	}
}

static void *blocks(void *arg)
{
	int fd = open(arg, O_RDONLY);

	(void)close(fd);
	return NULL;
}

static void crowd(void)
{
	static char names[8][16];
	struct timespec begin, end;
	pthread_t t[8];

	(void)printf("== eight wait\n");
	for (int i = 0; i < 8; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "crowd%d", i);
		CALL(mkfifo(names[i], 0600));
		pthread_create(&t[i], NULL, blocks, names[i]);
	}
	(void)usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < 200; i++) {
		int fd = open("cu", O_RDONLY);

		if (fd < 0)
			die("open");
		(void)close(fd);
	}
	CALL(mkdir("meanwhile", 0700));
	clock_gettime(CLOCK_MONOTONIC, &end);
	(void)printf("others go on: %d\n", end.tv_sec - begin.tv_sec < 30);
	for (int i = 0; i < 8; i++)
		(void)close(open(names[i], O_WRONLY));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	(void)printf("all came\n");
}

int main(int argc, char **argv)
{
	struct stat st;
	int fd, w;

	guest_begin(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	next_set();
	CALL(mkfifo("f", 0600));
	show("f");
	OPENS(open("f", O_WRONLY | O_NONBLOCK));
	fd = OPENS(open("f", O_RDONLY | O_NONBLOCK));
	w = OPENS(open("f", O_WRONLY | O_NONBLOCK));
	CALL(write(w, "abc", 3));
	CALL(read(fd, &(char[8]){0}, 8));
	CALL(fstat(fd, &st));
	(void)printf("a fifo %d\n", S_ISFIFO(st.st_mode));
	CALL(lseek(fd, 0, SEEK_SET));
	(void)close(w);
	CALL(read(fd, &(char[8]){0}, 8));
	(void)close(fd);
	fd = OPENS(open("f", O_RDWR));
	(void)close(fd);
	OPENS(open("f", O_RDONLY | O_DIRECTORY));
	OPENS(open("f", O_RDONLY | O_CREAT | O_EXCL, 0600));
	fd = OPENS(open("f", O_PATH));
	(void)close(fd);
	CALL(chmod("f", 0));
	if (geteuid())
		OPENS(open("f", O_RDONLY | O_NONBLOCK));
	CALL(chmod("f", 0600));
	order("reader first", O_RDONLY, O_WRONLY);
	order("writer first", O_WRONLY, O_RDONLY);
	order("creating opener", O_RDONLY | O_CREAT, O_WRONLY | O_CREAT);
	interrupted();
	crowd();
	return 0;
}
