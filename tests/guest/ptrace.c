/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that traces its child: the child's execve, chdir and openings go on working. */
#include <signal.h>
#include <sys/ptrace.h>

#include "guest.h"

/* Runs the traced child to its end, from system call to system call if steps. */
static void drive(pid_t pid, int request)
{
	int status, stops = 0, execs = 0;

	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);

		stops++;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
			execs++;
		if (sig == SIGSTOP && stops == 1)
			(void)ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC);
		if (sig == (SIGTRAP | 0x80) || sig == SIGTRAP || sig == SIGSTOP)
			sig = 0;
		(void)ptrace(request, pid, NULL, (void *)(long)sig);
	}
	(void)printf("execs %d, stopped %s, status %d\n", execs, stops > 2 ? "often" : "a little",
		     WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
}

static void traced(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		die("traceme");
	raise(SIGSTOP);
}

static void all(const char *what, int request)
{
	bool steps = request == PTRACE_SYSCALL;
	char path[64] = "dir/sub";
	pid_t pid;

	(void)printf("== %s\n", what);
	pid = fork();
	if (!pid) {
		traced();
		CALL(chdir(path));
		(void)usleep(20000);
		(void)printf("path is still %s\n", path);
		CALL(access("c", F_OK));
		CALL(chdir("/"));
		CALL(chdir("."));
		CALL(chdir("nothere"));
		CALL(chdir(guest_root));
		CALL(access("chain/l0", F_OK));
		CALL(mkdir("made", 0700));
		CALL(rmdir("made"));
		_exit(3);
	}
	drive(pid, request);
	pid = fork();
	if (!pid) {
		char shell[32] = "/bin/sh";

		traced();
		execl("/nothere", "x", NULL);
		execl(shell, "sh", "-c", "cd /; cd /bin; exec /bin/echo done", NULL);
		die("exec");
	}
	drive(pid, request);
	pid = fork();
	if (!pid) { /* the path is the name too; and its shell computes with the path of each chdir right after it */
		char shell[32] = "/bin/sh", *args[] = {shell, "-c", steps ? "cd dir/sub && cd .. && cd sub && pwd; echo $0" : "echo $0", NULL};

		traced();
		execv(args[0], args);
		die("exec");
	}
	drive(pid, request);
	pid = fork();
	if (!pid) {
		char shell[32] = "/bin/sh", *args[] = {shell + 5, "-c", "echo $0", NULL};

		traced();
		execv(shell, args);
		die("exec");
	}
	drive(pid, request);
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	next_set();
	all("continued", PTRACE_CONT);
	all("each system call", PTRACE_SYSCALL);
	return 0;
}
