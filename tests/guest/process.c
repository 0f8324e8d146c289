/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: orphans, groups, stops, terminals, limits, names, filters, and death at any moment. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <termios.h>

#include "guest.h"

static int status_of(pid_t pid, int options)
{
	int status = 0;

	if (waitpid(pid, &status, options) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSTOPPED(status) ? 2000 + WSTOPSIG(status)
	       : WIFCONTINUED(status) ? 3000 : 1000 + WTERMSIG(status);
}

static void jobs(void)
{
	int p[2];
	char b;
	pid_t pid;

	(void)printf("== jobs\n");
	CALL(pipe(p));
	pid = fork();
	if (!pid) {
		pid_t parent = getpid();

		close(p[0]);
		if (!fork()) {
			setsid();
			while (getppid() == parent)
				(void)usleep(1000);
			put_text("orphan", O_WRONLY | O_CREAT, "made by an orphan\n");
			_exit(0);
		}
		_exit(9);
	}
	close(p[1]);
	(void)printf("child %d\n", status_of(pid, 0));
	CALL(read(p[0], &b, 1));
	show("orphan");
	CALL(waitpid(-1, NULL, 0));
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		for (int i = 0;; i++) {
			(void)mkdir("m", 0700);
			(void)rmdir("m");
		}
	}
	(void)usleep(20000);
	for (int i = 0; i < 5; i++) {
		kill(pid, SIGSTOP);
		(void)printf("%d ", status_of(pid, WUNTRACED));
		kill(pid, SIGCONT);
		(void)printf("%d ", status_of(pid, WCONTINUED));
		(void)usleep(3000);
	}
	CALL(getpgid(pid) == pid ? 0 : -1);
	CALL(kill(-pid, SIGTERM));
	(void)printf("ended %d\n", status_of(pid, 0));
}

static void terminal(void)
{
	char buf[4096], name[64] = "";
	int master, status;
	size_t used = 0;
	ssize_t n;
	pid_t pid = forkpty(&master, name, NULL, NULL);

	(void)printf("== terminal\n");
	if (!pid) {
		struct termios t;
		int tty;

		tcgetattr(0, &t);
		t.c_oflag &= ~(tcflag_t)OPOST;
		tcsetattr(0, TCSANOW, &t);
		tty = open("/dev/tty", O_RDWR);
		(void)printf("/dev/tty %d, isatty %d, leader %d, foreground %d\n", tty >= 0, isatty(0), getsid(0) == getpid(),
			     tcgetpgrp(0) == getpgrp());
		(void)printf("ttyname %.9s\n", ttyname(0) ? ttyname(0) : ename(errno));
		execl("/bin/sh", "sh", "-c", "set -m; exec 2>/dev/null; sleep 0.05 & wait %1; echo waited $?; sleep 30 & kill %2; wait %2; echo ended $?; (cd dir; echo *)", NULL);
		_exit(1);
	}
	while (used < sizeof(buf) - 1 && (n = read(master, buf + used, sizeof(buf) - 1 - used)) > 0)
		used += (size_t)n;
	buf[used] = '\0';
	for (char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n"))
		if (line[0] != '[') /* the shell's own words on jobs */
			(void)printf("   %s\n", line);
	waitpid(pid, &status, 0);
	(void)printf("status %d\n", WEXITSTATUS(status));
	CALL(strncmp(name, "/dev/pts/", 9));
}

static void limits(void)
{
	struct rlimit old, few = {8, 8};
	int fds[8], n = 0;

	(void)printf("== limits\n");
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	CALL(setrlimit(RLIMIT_NOFILE, &few));
	while (n < 8 && (fds[n] = open("file", O_RDONLY)) >= 0)
		n++;
	CALL(open("file", O_RDONLY));
	CALL(open("newfile", O_WRONLY | O_CREAT, 0600));
	CALL(access("newfile", F_OK));
	CALL(mkdir("made", 0700));
	while (n)
		close(fds[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	{
		struct rlimit size = {100, old.rlim_max};
		int fd = open("limited", O_WRONLY | O_CREAT, 0600);

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &size);
		CALL(ftruncate(fd, 1000));
		CALL(truncate("limited", 1000));
		CALL(pwrite(fd, "x", 1, 200));
	}
}

static void control(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTBLK),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {4, code};
	char name[32];
	pid_t pid;

	(void)printf("== control\n");
	CALL(prctl(PR_SET_NAME, "a-name"));
	CALL(prctl(PR_GET_NAME, name));
	(void)printf("%s\n", name);
	pid = fork();
	if (!pid) {
		CALL(prctl(PR_SET_DUMPABLE, 0));
		CALL(mkdir("undumpable", 0700));
		OPENS(open("cu", O_RDONLY));
		CALL(chdir("dir"));
		CALL(access("a", F_OK));
		execl("/bin/echo", "echo", "executed", NULL);
		_exit(1);
	}
	(void)printf("%d\n", status_of(pid, 0));
	pid = fork();
	if (!pid) {
		CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		CALL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
		CALL(mkdir("filtered", 0700));
		CALL(mkdirat(AT_FDCWD, "filtered", 0700));
		CALL(chdir("filtered"));
		execl("/bin/echo", "echo", "executed", NULL);
		_exit(1);
	}
	(void)printf("%d\n", status_of(pid, 0));
}

static void death(void)
{
	int killed = 0;

	(void)printf("== death\n");
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (!pid) {
			for (;;) {
				(void)mkdir("d", 0700);
				(void)!chdir("d");
				(void)!chdir("..");
				(void)rename("d", "e");
				(void)close(open("cu", O_RDWR));
				(void)rmdir("e");
				if (!vfork()) {
					execl("/bin/true", "true", NULL);
					_exit(1);
				}
				(void)wait(NULL);
			}
		}
		(void)usleep((useconds_t)(i * 97 % 5000));
		kill(pid, SIGKILL);
		killed += status_of(pid, 0) == 1000 + SIGKILL;
	}
	(void)rmdir("d");
	(void)rmdir("e");
	(void)printf("killed %d\n", killed);
	CALL(mkdir("after", 0700));
	OPENS(open("cu", O_RDWR));
}

static void try_to_trace(pid_t pid)
{
	long r = ptrace(PTRACE_SEIZE, pid, NULL, NULL);

	(void)printf("seize = %s\n", r < 0 ? strerrorname_np(errno) : "0");
	if (!r && !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) && waitpid(pid, NULL, __WALL) == pid)
		(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

/* A child that sets it as told, then waits; and is it to be traced? */
static void attached(unsigned long value)
{
	int pipes[2];
	pid_t pid;
	char c;

	if (pipe(pipes) < 0)
		die("pipe");
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_DUMPABLE, value);
		(void)!write(pipes[1], "", 1);
		(void)pause();
	}
	(void)!read(pipes[0], &c, 1);
	(void)printf("dumpable %lu: ", value);
	try_to_trace(pid);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}

/* Goes on to children, not to the next program; one that nobody may read begins without it. */
static void dumpable(void)
{
	static char buf[1 << 16];
	int from = open("/proc/self/exe", O_RDONLY), to = open("unreadable", O_WRONLY | O_CREAT, 0700);
	pid_t pid;
	ssize_t n;

	(void)printf("== dumpable\n");
	while ((n = read(from, buf, sizeof(buf))) > 0)
		(void)!write(to, buf, (size_t)n);
	(void)close(from);
	(void)close(to);
	pid = fork();
	if (!pid) {
		CALL(prctl(PR_GET_DUMPABLE));
		CALL(prctl(PR_SET_DUMPABLE, 2));
		CALL(prctl(PR_SET_DUMPABLE, 1UL << 32));
		CALL(prctl(PR_SET_DUMPABLE, 0));
		CALL(prctl(PR_GET_DUMPABLE));
		if (!fork())
			_exit((int)CALL(prctl(PR_GET_DUMPABLE)));
		(void)wait(NULL);
		execl("/proc/self/exe", "process", "dumpable", NULL);
		_exit(1);
	}
	(void)printf("%d\n", status_of(pid, 0));
	attached(1);
	attached(0);
	CALL(chmod("unreadable", 0111));
	pid = fork();
	if (!pid) {
		execl("unreadable", "process", "dumpable", NULL);
		_exit(1);
	}
	(void)printf("%d\n", status_of(pid, 0));
	CALL(unlink("unreadable"));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "dumpable"))
		return printf("the next program: %d\n", prctl(PR_GET_DUMPABLE)) < 0;
	guest_begin(argc, argv);
	next_set();
	(void)close_range(3, ~0U, 0);
	jobs();
	terminal();
	control();
	dumpable();
	death();
	limits();
	return 0;
}
