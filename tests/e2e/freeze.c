/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of the freeze test.
 *   freeze blocked  threads that wait in every way there is, timers, queued signals, forks; says "ready", and at the end of its standard
 *                   input wakes each by what it waits for: who came back otherwise is told
 *   freeze quiet    ends at once
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOUR 3600
#define PATIENCE 3000 /* times 10 ms */
#define QUEUED (SIGRTMIN + 5)

static atomic_bool over;
static int pair_of[64][2]; /* socket pairs: the second end wakes */
static int sem_id, msg_id;
static int words[2];
static char *self;

static const struct timespec hour = {.tv_sec = HOUR};

static void wake(int i)
{
	(void)!write(pair_of[i][1], "x", 1);
}

static void no_wake(int i)
{
	(void)i;
}

static long on_read(int i)
{
	char c;

	return read(pair_of[i][0], &c, 1);
}

static long on_poll(int i)
{
	struct pollfd p = {.fd = pair_of[i][0], .events = POLLIN};

	return poll(&p, 1, -1);
}

static long on_poll_timeout(int i)
{
	struct pollfd p = {.fd = pair_of[i][0], .events = POLLIN};

	return poll(&p, 1, HOUR * 1000);
}

static long on_ppoll(int i)
{
	struct pollfd p = {.fd = pair_of[i][0], .events = POLLIN};
	sigset_t mask;

	sigfillset(&mask);
	return ppoll(&p, 1, &hour, &mask);
}

static long on_select(int i)
{
	struct timeval t = {.tv_sec = HOUR};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pair_of[i][0], &set);
	return select(pair_of[i][0] + 1, &set, NULL, NULL, &t);
}

static int epoll_of(int i)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int fd = epoll_create1(0);

	epoll_ctl(fd, EPOLL_CTL_ADD, pair_of[i][0], &ev);
	return fd;
}

static struct epoll_event event;

static long on_epoll(int i)
{
	return epoll_wait(epoll_of(i), &event, 1, -1);
}

static long on_epoll_timeout(int i)
{
	return epoll_wait(epoll_of(i), &event, 1, HOUR * 1000);
}

static long on_epoll_pwait(int i)
{
	sigset_t mask;

	sigfillset(&mask);
	return epoll_pwait(epoll_of(i), &event, 1, HOUR * 1000, &mask);
}

static long on_futex(int i)
{
	(void)i;
	return syscall(SYS_futex, &words[0], FUTEX_WAIT, 0, NULL, NULL, 0) + 1;
}

static long on_futex_timeout(int i)
{
	(void)i;
	return syscall(SYS_futex, &words[1], FUTEX_WAIT, 0, &hour, NULL, 0) + 1;
}

static void wake_futex(int i)
{
	(void)i;
	for (int w = 0; w < 2; w++) {
		words[w] = 1;
		syscall(SYS_futex, &words[w], FUTEX_WAKE, 10, NULL, NULL, 0);
	}
}

static long on_sigtimedwait(int i)
{
	sigset_t set;

	(void)i, sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	return sigtimedwait(&set, NULL, &hour);
}

static long on_signalfd(int i)
{
	struct signalfd_siginfo info;
	sigset_t set;

	(void)i, sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	return read(signalfd(-1, &set, 0), &info, sizeof(info));
}

static void wake_by_signal(int i)
{
	(void)i;
	kill(getpid(), SIGRTMIN + 1);
	kill(getpid(), SIGRTMIN + 2);
}

static long on_semop(int i)
{
	struct sembuf op = {.sem_num = 0, .sem_op = -1};

	(void)i;
	return semop(sem_id, &op, 1) + 1;
}

static long on_semtimedop(int i)
{
	struct sembuf op = {.sem_num = 1, .sem_op = -1};

	(void)i;
	return semtimedop(sem_id, &op, 1, &hour) + 1;
}

static void wake_sem(int i)
{
	struct sembuf up[2] = {{.sem_num = 0, .sem_op = 1}, {.sem_num = 1, .sem_op = 1}};

	(void)i;
	semop(sem_id, up, 2);
}

struct message {
	long type;
	char text[4];
};

static long on_msgrcv(int i)
{
	struct message m;

	(void)i;
	return msgrcv(msg_id, &m, sizeof(m.text), 7, 0);
}

static void wake_msgrcv(int i)
{
	struct message m = {.type = 7};

	(void)i;
	msgsnd(msg_id, &m, 1, 0);
}

static long on_recv(int i)
{
	struct timeval t = {.tv_sec = HOUR};
	char c;

	setsockopt(pair_of[i][0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	return recv(pair_of[i][0], &c, 1, 0);
}

static long on_recvmsg(int i)
{
	struct timeval t = {.tv_sec = HOUR};
	char c;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	setsockopt(pair_of[i][0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	return recvmsg(pair_of[i][0], &m, 0);
}

static struct sockaddr_un listeners[64];

static int listen_at(int i)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	listeners[i] = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(listeners[i].sun_path, sizeof(listeners[i].sun_path), "freeze-%d-%d", (int)getpid(), i);
	unlink(listeners[i].sun_path);
	bind(fd, (struct sockaddr *)&listeners[i], sizeof(listeners[i]));
	listen(fd, 1);
	return fd;
}

static long on_accept(int i)
{
	return accept(listen_at(i), NULL, NULL);
}

static long on_accept_timeout(int i)
{
	struct timeval t = {.tv_sec = HOUR};
	int fd = listen_at(i);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	return accept(fd, NULL, NULL);
}

/* Who is woken may not have come so far as to wait. */
static void wake_accept(int i)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	for (int tries = 0; tries < PATIENCE && connect(fd, (struct sockaddr *)&listeners[i], sizeof(listeners[i])) < 0; tries++)
		usleep(10000);
	unlink(listeners[i].sun_path);
}

static long on_flock(int i)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "freeze-%d-lock", (int)getpid());
	fd = open(name, O_RDWR | O_CREAT, 0600);
	(void)i;
	return flock(fd, LOCK_EX) + 1;
}

static int lock_fd;

static void wake_flock(int i)
{
	(void)i;
	flock(lock_fd, LOCK_UN);
}

static long on_wait(int i)
{
	pid_t pid = fork();
	char c;

	if (!pid) {
		close(pair_of[i][1]);
		_exit(read(pair_of[i][0], &c, 1) == 1 ? 0 : 1);
	}
	return waitpid(pid, NULL, 0);
}

static long on_fifo(int i)
{
	char name[64];

	(void)i;
	snprintf(name, sizeof(name), "freeze-%d-fifo", (int)getpid());
	mkfifo(name, 0600);
	return open(name, O_RDONLY);
}

static void wake_fifo(int i)
{
	char name[64];

	(void)i;
	snprintf(name, sizeof(name), "freeze-%d-fifo", (int)getpid());
	for (int tries = 0; tries < PATIENCE && open(name, O_WRONLY | O_NONBLOCK) < 0; tries++) /* without a reader it fails */
		usleep(10000);
	unlink(name);
}

/* Again and again until the end: each time as it should be. */
static long on_sleeps(int i)
{
	const struct timespec t = {.tv_nsec = 7000000};

	(void)i;
	while (!over)
		if (nanosleep(&t, NULL) < 0)
			return -1;
	return 1;
}

static long on_short_epolls(int i)
{
	int fd = epoll_create1(0);

	(void)i;
	while (!over)
		if (epoll_wait(fd, &event, 1, 5) < 0)
			return -1;
	return 1;
}

static long on_timerfd(int i)
{
	struct itimerspec t = {.it_value.tv_nsec = 3000000, .it_interval.tv_nsec = 3000000};
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t n;

	(void)i;
	timerfd_settime(fd, 0, &t, NULL);
	while (!over)
		if (read(fd, &n, sizeof(n)) != sizeof(n))
			return -1;
	return 1;
}

static long on_forks(int i)
{
	(void)i;
	while (!over) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			return -1;
		if (!pid)
			_exit(7);
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
			return -1;
	}
	return 1;
}

static long on_spawns(int i)
{
	char *argv[] = {self, (char *)"quiet", NULL}, *envp[] = {NULL};

	(void)i;
	while (!over) {
		int status, r;
		pid_t pid;

		r = posix_spawn(&pid, self, NULL, NULL, argv, envp);
		if (r) {
			errno = r;
			return -1;
		}
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
			return -1;
	}
	return 1;
}

static void *nothing(void *arg)
{
	return arg;
}

static long on_threads(int i)
{
	(void)i;
	while (!over) {
		pthread_t t;

		errno = pthread_create(&t, NULL, nothing, NULL);
		if (errno || pthread_join(t, NULL))
			return -1;
	}
	return 1;
}

static long on_files(int i)
{
	char name[64], other[64];

	(void)i;
	snprintf(name, sizeof(name), "freeze-%d-file", (int)getpid());
	snprintf(other, sizeof(other), "freeze-%d-file2", (int)getpid());
	while (!over) {
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		struct stat st;

		if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &st) < 0 || close(fd) < 0 || rename(name, other) < 0 || stat(other, &st) < 0 ||
		    chdir(".") < 0 || unlink(other) < 0)
			return -1;
	}
	return 1;
}

/* Signals that queue: each sent is handled once, and a restartable read goes on under them. */
static atomic_long handled;
static pthread_t target;
static atomic_bool target_known;

static void on_queued(int sig)
{
	(void)sig;
	handled++;
}

static long on_storm(int i)
{
	char c;

	target = pthread_self();
	target_known = true;
	return read(pair_of[i][0], &c, 1);
}

static long on_sender(int i)
{
	long sent = 0;

	(void)i;
	while (!target_known)
		usleep(1000);
	while (!over) {
		union sigval v = {0};

		if (!pthread_sigqueue(target, QUEUED, v))
			sent++;
		usleep(300);
	}
	for (int tries = 0; tries < PATIENCE && handled != sent; tries++)
		usleep(10000);
	errno = 0;
	return handled == sent ? 1 : -1;
}

static long ticks;
static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static const struct kind {
	const char *name;
	long (*fn)(int i);
	void (*wake)(int i);
} kinds[] = {
	{"read", on_read, wake}, {"poll", on_poll, wake}, {"poll, timeout", on_poll_timeout, wake}, {"ppoll", on_ppoll, wake},
	{"select", on_select, wake}, {"epoll_wait", on_epoll, wake}, {"epoll_wait, timeout", on_epoll_timeout, wake},
	{"epoll_pwait", on_epoll_pwait, wake}, {"futex", on_futex, wake_futex}, {"futex, timeout", on_futex_timeout, no_wake},
	{"sigtimedwait", on_sigtimedwait, wake_by_signal}, {"signalfd", on_signalfd, no_wake}, {"semop", on_semop, wake_sem},
	{"semtimedop", on_semtimedop, no_wake}, {"msgrcv", on_msgrcv, wake_msgrcv}, {"recv, timeout", on_recv, wake},
	{"recvmsg, timeout", on_recvmsg, wake}, {"accept", on_accept, wake_accept}, {"accept, timeout", on_accept_timeout, wake_accept},
	{"flock", on_flock, wake_flock}, {"waitpid", on_wait, wake}, {"open of a FIFO", on_fifo, wake_fifo},
	{"nanosleep", on_sleeps, no_wake}, {"epoll_wait that ends", on_short_epolls, no_wake}, {"timerfd", on_timerfd, no_wake},
	{"fork", on_forks, no_wake}, {"posix_spawn", on_spawns, no_wake}, {"pthread_create", on_threads, no_wake},
	{"files", on_files, no_wake}, {"read under signals", on_storm, wake}, {"queued signals", on_sender, no_wake},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct {
	pthread_t thread;
	long result;
	int error;
	atomic_bool done;
} threads[KINDS];

static void *run(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	errno = 0;
	threads[i].result = kinds[i].fn((int)i);
	threads[i].error = errno;
	threads[i].done = true;
	return NULL;
}

static void set_up(void)
{
	struct sigaction queued = {.sa_handler = on_queued, .sa_flags = SA_RESTART};
	char name[64];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGCHLD); /* a child of posix_spawn that ends early wakes others by it, though nobody handles it */
	sigprocmask(SIG_BLOCK, &set, NULL); /* of all threads */
	sigaction(QUEUED, &queued, NULL);
	for (size_t i = 0; i < KINDS; i++)
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_of[i]);
	sem_id = semget(IPC_PRIVATE, 2, 0600);
	msg_id = msgget(IPC_PRIVATE, 0600);
	snprintf(name, sizeof(name), "freeze-%d-lock", (int)getpid());
	lock_fd = open(name, O_RDWR | O_CREAT, 0600);
	flock(lock_fd, LOCK_EX);
}

static int blocked(void)
{
	struct itimerval every = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000};
	struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
	sigset_t alarm;
	int bad = 0;
	char c, name[64];

	set_up();
	for (size_t i = 0; i < KINDS; i++)
		pthread_create(&threads[i].thread, NULL, run, (void *)(uintptr_t)i);
	usleep(200000);
	/* The timer's signals come to this thread alone, which waits in a read that goes on. */
	sigaction(SIGALRM, &tick, NULL);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	for (size_t i = 0; i < KINDS; i++)
		if (threads[i].done) {
			printf("%s: came back early: %ld, %s\n", kinds[i].name, threads[i].result, strerror(threads[i].error));
			bad = 1;
		}
	over = true;
	for (size_t i = 0; i < KINDS; i++)
		kinds[i].wake((int)i);
	for (size_t i = 0; i < KINDS; i++) {
		struct timespec until;
		int late;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 60;
		late = pthread_timedjoin_np(threads[i].thread, NULL, &until);
		if (late || threads[i].result <= 0) {
			printf("%s: %s %ld, %s\n", kinds[i].name, late ? "does not come back" : "came back", threads[i].result, strerror(threads[i].error));
			bad = 1;
		}
	}
	semctl(sem_id, 0, IPC_RMID);
	msgctl(msg_id, IPC_RMID, NULL);
	snprintf(name, sizeof(name), "freeze-%d-lock", (int)getpid());
	unlink(name);
	printf("%s, %ld signals handled, %s ticks\n", bad ? "bad" : "good", (long)handled, ticks > 10 ? "many" : "few");
	return bad;
}

int main(int argc, char **argv)
{
	self = argv[0];
	return argc < 2 ? 2 : !strcmp(argv[1], "blocked") ? blocked() : !strcmp(argv[1], "quiet") ? 0 : 2;
}
