/* SPDX-License-Identifier: Apache-2.0 */
/* execve and its relatives: programs, scripts, refusals, and what the new program finds. */
#include "guest.h"
#include <libgen.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

extern char **environ;
static char self[PATH_MAX];

/* The program's own path ends in the day's directory: print what follows the last slash. */
static const char *tail_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What the started program sees of itself. */
static int as_child(int argc, char **argv)
{
	char buf[PATH_MAX], comm[17] = "";
	FILE *f = fopen("/proc/self/cmdline", "re");
	ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
	size_t len;

	printf("  argc %d:", argc);
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i][0] == '/' ? tail_of(argv[i]) : argv[i]);
	printf("\n  environment:");
	for (char **e = environ; *e; e++)
		printf(" %s", *e);
	buf[n < 0 ? 0 : n] = 0;
	printf("\n  exe %s %s\n", tail_of(buf), buf[0] == '/' && !strcmp(dirname(strdup(buf)), dirname(strdup(self))) ? "in its place" : buf);
	len = f ? fread(buf, 1, sizeof(buf), f) : 0;
	printf("  cmdline has %s\n", len && !memcmp(buf, argv[0], strlen(argv[0]) + 1) ? "argv[0]" : "something else");
	prctl(PR_GET_NAME, comm);
	printf("  comm %s\n", comm);
	const char *execfn = (const char *)getauxval(AT_EXECFN);
	printf("  execfn %s, secure %lu, page size right %d\n", tail_of(execfn), getauxval(AT_SECURE),
	       getauxval(AT_PAGESZ) == (unsigned long)sysconf(_SC_PAGESIZE));
	printf("  descriptor 100 is %s\n", fcntl(100, F_GETFD) < 0 ? "closed" : "open");
	printf("  in %s\n", getcwd(buf, sizeof(buf)) ? tail_of(buf) : errno_name(errno));
	printf("  descriptor 101 is %s\n", fcntl(101, F_GETFD) < 0 ? "closed" : "open");
	return 7;
}

/* In a child: exec, and if that fails its errno. */
#define EXEC(expr)                                                                                      \
	do {                                                                                            \
		fflush(stdout);                                                                         \
		pid_t pid_ = fork();                                                                    \
		if (!pid_) {                                                                            \
			(void)(expr);                                                                   \
			printf("  refused: %s\n", errno_name(errno));                                   \
			exit(1);                                                                        \
		}                                                                                       \
		show_wait(#expr, pid_);                                                                 \
	} while (0)

static char *const env[] = {(char *)"A=1", (char *)"B=two words", NULL};

static void programs(void)
{
	char *child[] = {(char *)"name", (char *)"--child", (char *)"", (char *)"an arg", NULL};
	char *none[] = {NULL};
	char link_name[] = "selflink";

	EXEC(execve(self, child, env));
	EXEC(execve(self, child, NULL));
	CALL(symlink(self, link_name));
	EXEC(execve(link_name, child, env));
	EXEC(execve("./selflink", child, env));
	EXEC(execve("/proc/self/exe", child, env));
	EXEC(execl("/bin/echo", "echo", "from", "echo", NULL));
	EXEC(execl("/bin/sh", "sh", "-c", "exit 3", NULL));
	EXEC(execve("/bin/true", none, env));
}

static void scripts(void)
{
	char *args[] = {(char *)"zero", (char *)"one", (char *)"two words", NULL};
	char *no_args[] = {(char *)"zero", NULL};
	char name[16], text[64];

	EXEC(execve("script", args, env));
	EXEC(execve("./script", no_args, env));
	EXEC(execve("dir/up/script", args, env));
	put_file("env", "#!/usr/bin/env sh\necho by env $#\n");
	chmod("env", 0755);
	EXEC(execve("env", args, (char *[]){(char *)"PATH=/usr/bin:/bin", NULL}));
	put_file("spaces", "#!  /bin/echo   one  word\t \n");
	chmod("spaces", 0755);
	EXEC(execve("spaces", args, env));
	put_file("nonewline", "#!/bin/echo");
	chmod("nonewline", 0755);
	EXEC(execve("nonewline", args, env));
	put_file("empty", "");
	chmod("empty", 0755);
	EXEC(execve("empty", args, env));
	put_file("noname", "#!\n");
	chmod("noname", 0755);
	EXEC(execve("noname", args, env));
	put_file("relative", "#!script\n");
	chmod("relative", 0755);
	EXEC(execve("relative", args, env));
	/* A chain of interpreters, deeper than the kernel follows. */
	put_file("i0", "#!/bin/echo bottom\n");
	chmod("i0", 0755);
	for (int i = 1; i <= 6; i++) {
		snprintf(text, sizeof(text), "#!i%d\n", i - 1);
		snprintf(name, sizeof(name), "i%d", i);
		put_file(name, text);
		chmod(name, 0755);
		EXEC(execve(name, args, env));
	}
}

static void refusals(void)
{
	char *args[] = {(char *)"zero", NULL};
	char *huge = malloc(200000);

	EXEC(execve("badinterp", args, env));
	EXEC(execve("nomagic", args, env));
	EXEC(execve("file", args, env));
	EXEC(execve("dir", args, env));
	EXEC(execve("nothing", args, env));
	EXEC(execve("file/x", args, env));
	EXEC(execve("dangling", args, env));
	EXEC(execve("loop", args, env));
	EXEC(execve("", args, env));
	EXEC(execve(tail_unterminated("script"), args, env));
	EXEC(execve("/dev/null", args, env));
	put_file("cut", "\177ELF");
	chmod("cut", 0755);
	EXEC(execve("cut", args, env));
	memset(huge, 'h', 199999);
	huge[199999] = 0;
	EXEC(execve("/bin/true", (char *[]){(char *)"true", huge, NULL}, env));
	huge[100000] = 0;
	EXEC(execve("/bin/true", (char *[]){(char *)"true", huge, huge, huge, NULL}, env));
	EXEC(execve("/bin/true", (char *[]){(char *)1, NULL}, env));
	EXEC(execlp("nomagic", "nomagic", NULL));
	free(huge);
}

static void by_descriptor(void)
{
	char *child[] = {(char *)"by fd", (char *)"--child", NULL};
	char *args[] = {(char *)"zero", (char *)"one", NULL};
	int dir = open("dir/..", O_RDONLY | O_DIRECTORY), prog = open(self, O_RDONLY | O_CLOEXEC), path = open(self, O_PATH);
	int script = open("script", O_RDONLY), closing = open("script", O_RDONLY | O_CLOEXEC);

	dup2(script, 100);
	fcntl(100, F_SETFD, FD_CLOEXEC);
	dup2(script, 101);
	EXEC(fexecve(prog, child, env));
	EXEC(syscall(SYS_execveat, path, "", child, env, AT_EMPTY_PATH));
	EXEC(syscall(SYS_execveat, dir, "script", args, env, 0));
	EXEC(syscall(SYS_execveat, closing, "", args, env, AT_EMPTY_PATH));
	EXEC(syscall(SYS_execveat, dir, "selflink", child, env, AT_SYMLINK_NOFOLLOW));
	EXEC(syscall(SYS_execveat, dir, "", args, env, 0));
	EXEC(syscall(SYS_execveat, dir, "", args, env, AT_EMPTY_PATH));
	EXEC(syscall(SYS_execveat, 999, "script", args, env, 0));
	EXEC(syscall(SYS_execveat, dir, "script", args, env, 0x40000));
	close(100);
	close(101);
}

static void spawned(void)
{
	char *args[] = {(char *)"sh", (char *)"-c", (char *)"read line; echo got $line; exit 4", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int spawned_now;
	sigset_t all;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "file", O_RDONLY, 0);
	posix_spawnattr_init(&attr);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	fflush(stdout);
	spawned_now = posix_spawn(&pid, "/bin/sh", &actions, &attr, args, env);
	show_wait("posix_spawn", pid); /* it writes to the same file */
	showf(spawned_now, "posix_spawn");
	printf("posix_spawn of nothing: %s\n", errno_name(posix_spawn(&pid, "nothing", NULL, NULL, args, env)));
	pid = vfork();
	if (!pid) {
		execve("nothing", args, env);
		execl("/bin/sh", "sh", "-c", "exit 5", NULL);
		_exit(1);
	}
	show_wait("vfork and exec", pid);
	printf("system: %d\n", WEXITSTATUS(system("exit 6")));
	FILE *f = popen("echo from a pipe", "r");
	char line[32] = "";
	printf("popen: %s", fgets(line, sizeof(line), f));
	printf("pclose: %d\n", pclose(f));
}

static int install(struct sock_filter *code, size_t count, bool by_prctl)
{
	struct sock_fprog prog = {(unsigned short)count, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) : (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

/* Whoever refuses himself all opens can still become another program, as long as it needs none. */
static int refuse_opens(bool by_prctl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return install(code, sizeof(code) / sizeof(*code), by_prctl);
}

/* Whoever lets himself have a few calls and dies of all others is let have these; and of memory that is written and executed nobody has need. */
static int stay_with_stat(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_newfstatat, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_stat, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	return install(code, sizeof(code) / sizeof(*code), true);
}

static int refuse_written_code(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, PROT_WRITE | PROT_EXEC),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_WRITE | PROT_EXEC, 3, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	return install(code, sizeof(code) / sizeof(*code), true);
}

static int ask(void)
{
	struct stat st;
	int wrong = 0;

	for (int i = 0; i < 5; i++)
		wrong += !stat("none-such", &st) + !stat("/none-such", &st) + stat(self, &st);
	return wrong;
}

static void filtered(void)
{
	char *argv[] = {self, (char *)"--filtered", NULL};

	for (int i = 0; i < 5; i++) /* known by then */
		EXEC(execve(self, argv, environ));
	EXEC(refuse_opens(true) || execve(self, argv, environ));
	EXEC(refuse_opens(false) || execve(self, argv, environ));
	EXEC(refuse_written_code() || execve(self, argv, environ));
	printf("asks: %d\n", ask());
	EXEC(stay_with_stat() || (_exit(ask()), 0));
}

/* How often a child that is traced from its start is seen to ask for that name. */
static int seen(char **argv)
{
	struct user_regs_struct r;
	pid_t pid = fork();
	int status, times = 0;
	bool in = false;

	if (!pid) {
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execve(self, argv, environ);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD) < 0)
		return -1;
	while (!ptrace(PTRACE_SYSCALL, pid, NULL, NULL) && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		in = !in;
		if (in && !ptrace(PTRACE_GETREGS, pid, NULL, &r) && r.orig_rax == SYS_newfstatat &&
		    (int32_t)ptrace(PTRACE_PEEKDATA, pid, (void *)r.rsi, NULL) == *(const int32_t *)"/non")
			times++;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? times : -1;
}

static void traced(void)
{
	char *argv[] = {self, (char *)"--asks", NULL};

	for (int i = 0; i < 5; i++)
		EXEC(execve(self, argv, environ));
	printf("seen to ask: %d\n", seen(argv));
}

/* --- the same again: who has executed a name before may know what it is, until something changes --- */

static char *const child[] = {(char *)"name", (char *)"--child", NULL};

static void times(int count, const char *name)
{
	for (int i = 0; i < count; i++)
		EXEC(execve(name, child, env));
}

static void *exec_elsewhere(void *arg)
{
	if (!unshare(CLONE_FS) && !chdir("dir"))
		execve(self, child, env);
	return arg;
}

static int exec_by_thread(void)
{
	struct stat st;
	pthread_t t;

	for (int i = 0; i < 50; i++) /* where the process is may be known */
		(void)stat("none-such", &st);
	return pthread_create(&t, NULL, exec_elsewhere, NULL) ? -1 : pthread_join(t, NULL);
}

static int exec_by_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		if (!chdir("dir"))
			execve("../again", child, env);
		_exit(99);
	}
	show_wait("vfork, chdir, execve", pid);
	_exit(access("again", F_OK));
}

static void by_links(void)
{
	CALL(symlink(self, "again"));
	times(4, "again");
	times(3, "./again");
	EXEC(exec_by_vfork());
	EXEC(exec_by_vfork());
	CALL(unlink("again"));
	times(1, "again");
	CALL(symlink("/bin/true", "again"));
	times(2, "again");
	CALL(rename("again", "again-2"));
	times(1, "again");
	CALL(mkdir("again-d", 0755));
	CALL(symlink(self, "again-d/p"));
	times(4, "again-d/p");
	CALL(chmod("again-d", 0));
	CALL(chmod("again-d", 0755));
	times(2, "again-d/p");
	CALL(rename("again-d", "again-e"));
	times(1, "again-d/p");
	times(3, "again-e/p");
	CALL(mkdir("again-d", 0755));
	CALL(symlink("/bin/true", "again-d/p"));
	times(2, "again-d/p");
	CALL(unlink("again-e/p"));
	CALL(mkdir("again-e/p", 0755));
	times(1, "again-e/p");
}

static void again(void)
{
	char moved[PATH_MAX], *many[100002];
	struct stat st;

	times(4, self);
	by_links();
	snprintf(moved, sizeof(moved), "%s-moved", self);
	CALL(rename(self, moved));
	times(1, self);
	times(4, moved);
	put_file(self, "#!/bin/echo a script\n");
	CALL(chmod(self, 0755));
	times(2, self);
	CALL(unlink(self));
	CALL(rename(moved, self));
	times(3, self);
	CALL(stat(self, &st));
	CALL(chmod(self, 0644));
	times(1, self);
	CALL(chmod(self, st.st_mode & 07777));
	times(3, self);
	EXEC(exec_by_thread());
	for (int i = 0; i < 100000; i++)
		many[i] = (char *)"a string of forty bytes, and one of these";
	many[100000] = many[100001] = NULL;
	EXEC(prctl(PR_SET_NAME, "x") || execve(self, many, env));
	EXEC(execve(self, child, (char *const *)8));
	times(1, self);
}

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	guest_start();
	if (n < 0)
		return 1;
	if (argc > 1000) /* too many for everybody, but who has a stack without limit */
		return 11;
	if (argc > 1 && !strcmp(argv[1], "--child"))
		return as_child(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "--filtered"))
		return 9;
	if (argc > 1 && !strcmp(argv[1], "--asks"))
		return ask();
	programs();
	scripts();
	refusals();
	by_descriptor();
	spawned();
	filtered();
	again();
	traced();
	return 0;
}
