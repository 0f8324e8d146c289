/* SPDX-License-Identifier: Apache-2.0 */
/* execve in all its forms: what is found, what is refused, what the new program sees of itself. */
#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>

#pragma GCC diagnostic ignored "-Wnonnull" /* bad pointers are the test */
#pragma GCC diagnostic ignored "-Wstringop-overread"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#include "guest.h"

static char self[1000];
static const char *const child_env[] = {"GUEST=1", "EMPTY=", NULL};

static void print_cmdline(void)
{
	char buf[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)printf("   cmdline");
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(buf + i) + 1)
		(void)printf(" <%.80s>", shorten(buf + i));
	(void)printf("\n");
	(void)close(fd);
}

static void print_file(const char *path)
{
	char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	buf[n < 0 ? 0 : n] = '\0';
	(void)printf("   %s %s\n", path, n < 0 ? ename(errno) : buf);
	(void)close(fd);
}

/* What a program sees after its exec. */
static int report(int argc, char **argv, char **envp)
{
	char buf[PATH_MAX];
	Elf64_Phdr *ph = (Elf64_Phdr *)getauxval(AT_PHDR);
	int fds = 0;
	ssize_t n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	guest_root = getenv("TREE") ? getenv("TREE") : "/none";
	(void)printf("   argc %d", argc);
	for (int i = 0; i < argc; i++)
		(void)printf(" <%.300s>", shorten(argv[i]));
	(void)printf("\n   env");
	for (; *envp; envp++)
		if (strncmp(*envp, "TREE=", 5) != 0)
			(void)printf(" <%.40s>", *envp);
	(void)printf("\n");
	n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
	buf[n < 0 ? 0 : n] = '\0';
	if (!strstr(buf, "memfd:"))
		(void)printf("   exe %s\n", shorten(buf));
	if (strstr((char *)getauxval(AT_EXECFN), "/dev/fd/"))
		(void)printf("   execfn of a descriptor\n");
	else
		(void)printf("   execfn %s\n", shorten((char *)getauxval(AT_EXECFN)));
	print_cmdline();
	print_file("/proc/self/comm");
	(void)printf("   aux pagesz %lu secure %lu uid %d entry %d phent %lu random %d phdr %d base %d\n",
		     getauxval(AT_PAGESZ), getauxval(AT_SECURE), getauxval(AT_UID) == getuid(), getauxval(AT_ENTRY) != 0,
		     getauxval(AT_PHENT), getauxval(AT_RANDOM) != 0, ph && ph->p_type == PT_PHDR, getauxval(AT_BASE) != 0);
	for (int fd = 3; fd < 64; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	(void)printf("   more descriptors %d\n", fds);
	return 7;
}

static int wait_for(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* In a child: what follows makes the exec; it returns on failure only. */
#define TRY(what, ...)                                                                                                  \
	do {                                                                                                            \
		pid_t pid_ = fork();                                                                                    \
		if (!pid_) {                                                                                            \
			__VA_ARGS__;                                                                                        \
			(void)printf("%s: -%s\n", what, ename(errno));                                                  \
			_exit(42);                                                                                      \
		}                                                                                                       \
		(void)printf("%s: status %d\n", what, wait_for(pid_));                                                  \
	} while (0)

static char *env[8];

static void try_path(const char *path)
{
	char *argv[] = {"name", "one", "two words", "", NULL};
	char label[400];

	(void)snprintf(label, sizeof(label), "exec %.200s", shorten(path));
	TRY(label, execve(tail(path), argv, env));
}

static void script(const char *name, const char *line, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || write(fd, line, strlen(line)) < 0 || close(fd) < 0)
		die("script %s", name);
}

static void scripts(void)
{
	char line[1200], name[32];

	(void)printf("== scripts\n");
#define SCRIPT(n, fmt, ...)                                                                                             \
	do {                                                                                                            \
		(void)snprintf(line, sizeof(line), fmt, ##__VA_ARGS__);                                                 \
		script(n, line, 0755);                                                                                  \
		try_path("./" n);                                                                                       \
	} while (0)
	SCRIPT("plain", "#!%s\n", self);
	SCRIPT("arg", "#!%s one-arg\n", self);
	SCRIPT("args", "#! \t %s  a b  c \t \nrest\n", self);
	SCRIPT("noline", "#!%s", self);
	SCRIPT("nolinearg", "#!%s x y ", self);
	SCRIPT("crlf", "#!%s\r\n", self);
	SCRIPT("empty", "#!\n");
	SCRIPT("blank", "#!   \n");
	SCRIPT("only", "#!");
	SCRIPT("hash", "#");
	SCRIPT("nothing", "%s", "");
	SCRIPT("relative", "#!./plain q\n");
	SCRIPT("missing", "#!/no/such/interpreter\n");
	SCRIPT("directory", "#!/tmp\n");
	SCRIPT("long", "#!%s %0200d%0100d\nx\n", self, 1, 2);
	SCRIPT("longpath", "#!/%0300d\n", 1);
	SCRIPT("nul", "#!%s a%cb\n", self, 0);
	SCRIPT("text", "echo hello\n");
	SCRIPT("binary", "\x7f" "ELF garbage");
	SCRIPT("elfonly", "\x7f" "ELF");
	SCRIPT("noxinterp", "#!./text2\n");
	script("text2", "#!/bin/sh\n", 0644);
	SCRIPT("noxinterp", "#!./text2\n");
	script("c0", "#!/bin/echo end\n", 0755);
	for (int i = 1; i < 8; i++) {
		(void)snprintf(line, sizeof(line), "#!./c%d a%d\n", i - 1, i);
		(void)snprintf(name, sizeof(name), "./c%d", i);
		script(name, line, 0755);
		try_path(name);
	}
	script("loop", "#!./loop\n", 0755);
	try_path("./loop");
	script("env", "#!/usr/bin/env sh\necho \"$0 $1\"\n", 0755);
	try_path("./env");
	script("shx", "echo from sh \"$0\" \"$#\"\n", 0755);
	TRY("execvp ENOEXEC falls back", execvp("./shx", (char *[]){"shx", "a", NULL}));
}

static void refused(void)
{
	char longname[5000];

	(void)printf("== refused\n");
	EACH("execve", { try_path(name); });
	memset(longname, 'x', sizeof(longname) - 1);
	longname[sizeof(longname) - 1] = '\0';
	TRY("name too long", execve(longname, (char *[]){"x", NULL}, env));
	longname[300] = '\0';
	TRY("component too long", execve(longname, (char *[]){"x", NULL}, env));
	TRY("NULL path", execve(NULL, (char *[]){"x", NULL}, env));
	TRY("bad path", execve((char *)1, (char *[]){"x", NULL}, env));
	TRY("bad argv", execve(self, (char **)8, env));
	TRY("bad argv entry", execve(self, (char *[]){(char *)8, NULL}, env));
	TRY("bad envp", execve(self, (char *[]){"--report", NULL}, (char **)8));
	(void)symlink("plain", "slink");
	(void)symlink(self, "sself");
	try_path("./slink");
	try_path("slink");
	try_path("sself");
	try_path("s2/../slink");
	script("x1", "#!/bin/true\n", 0111);
	script("x6", "#!/bin/true\n", 0666);
	script("x0", "#!/bin/true\n", 0);
	TRY("mode 6", execve("x6", (char *[]){"x", NULL}, env));
}

static void arguments(void)
{
	(void)printf("== arguments\n");
	TRY("no argv", execve(self, NULL, env));
	TRY("empty argv", execve(self, (char *[]){NULL}, env));
	TRY("no envp", execve(self, (char *[]){"x", NULL}, NULL));
	TRY("empty first", execve(self, (char *[]){"", NULL}, env));
	TRY("script, no argv", execve("./plain", NULL, env));
	TRY("script, empty argv", execve("./arg", (char *[]){NULL}, env));
	{
		static char big[128 * 1024 + 10];
		char *argv[4] = {"x", big, NULL};

		memset(big, 'a', sizeof(big) - 1);
		TRY("one argument too big", execve(self, argv, env));
		big[128 * 1024 - 1] = '\0';
		TRY("one argument just fits", execve(self, argv, env));
	}
}

static int exec_at(int fd, const char *path, int flags)
{
	return (int)syscall(SYS_execveat, fd, path, (char *[]){"at", "1", NULL}, env, flags);
}

static void by_descriptor(void)
{
	int fd, dir = open(".", O_RDONLY | O_DIRECTORY);

	(void)printf("== by descriptor\n");
	fd = open(self, O_RDONLY);
	TRY("fexecve", fexecve(fd, (char *[]){"f", NULL}, env));
	TRY("execveat empty path", exec_at(fd, "", AT_EMPTY_PATH));
	TRY("execveat empty path without the flag", exec_at(fd, "", 0));
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	TRY("fexecve cloexec", fexecve(fd, (char *[]){"f", NULL}, env));
	(void)close(fd);
	fd = open(self, O_PATH);
	TRY("execveat O_PATH", exec_at(fd, "", AT_EMPTY_PATH));
	(void)close(fd);
	fd = open("plain", O_RDONLY);
	TRY("fexecve script cloexec", { (void)fcntl(fd, F_SETFD, FD_CLOEXEC); fexecve(fd, (char *[]){"f", NULL}, env); });
	TRY("execveat relative", exec_at(dir, "plain", 0));
	TRY("execveat relative missing", exec_at(dir, "nothere", 0));
	TRY("execveat absolute", exec_at(dir, self, 0));
	TRY("execveat bad fd", exec_at(77, "plain", 0));
	TRY("execveat file as dir", exec_at(fd, "plain", 0));
	TRY("execveat flags", exec_at(dir, "plain", 0x4));
	TRY("execveat link", exec_at(dir, "slink", 0));
	TRY("execveat nofollow link", exec_at(dir, "slink", AT_SYMLINK_NOFOLLOW));
	TRY("execveat directory", exec_at(dir, "", AT_EMPTY_PATH));
	(void)close(fd);
	(void)close(dir);
	{
		int in = open(self, O_RDONLY), out = memfd_create("prog", 0);
		char buf[65536];
		ssize_t n;

		while ((n = read(in, buf, sizeof(buf))) > 0)
			if (write(out, buf, (size_t)n) != n)
				die("copy");
		(void)close(in);
		TRY("memfd", fexecve(out, (char *[]){"m", NULL}, env));
		(void)close(out);
		out = memfd_create("script", 0);
		(void)!write(out, "#!/bin/cat\nfrom memfd\n", 22);
		TRY("memfd script", fexecve(out, (char *[]){"m", NULL}, env));
		(void)close(out);
	}
	{
		char path[64];

		fd = open(self, O_RDONLY | O_CLOEXEC);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		TRY("/proc/self/fd/N", execve(path, (char *[]){"p", NULL}, env));
		(void)close(fd);
		TRY("/proc/self/exe", execve("/proc/self/exe", (char *[]){"p", NULL}, env));
	}
}

static void spawned(void)
{
	posix_spawn_file_actions_t a;
	posix_spawnattr_t attr;
	sigset_t set;
	pid_t pid;
	char *argv[] = {"spawned", NULL}, *sh[] = {"sh", "-c", "cat; pwd >/dev/null; echo err >&2", NULL};
	int rc;

	(void)printf("== posix_spawn\n");
	rc = posix_spawn(&pid, self, NULL, NULL, argv, env);
	(void)printf("plain %s status %d\n", rc ? ename(rc) : "ok", rc ? 0 : wait_for(pid));
	rc = posix_spawn(&pid, "nothere", NULL, NULL, argv, env);
	(void)printf("missing %s\n", ename(rc));
	rc = posix_spawn(&pid, ".", NULL, NULL, argv, env);
	(void)printf("directory %s\n", ename(rc));
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_addopen(&a, 0, "cu", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&a, 1, "spawn.out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&a, 1, 2);
	posix_spawn_file_actions_addchdir_np(&a, "dir");
	posix_spawnattr_init(&attr);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	rc = posix_spawn(&pid, "/bin/sh", &a, &attr, sh, env);
	(void)printf("actions %s status %d\n", rc ? ename(rc) : "ok", rc ? 0 : wait_for(pid));
	show("spawn.out");
	posix_spawn_file_actions_addopen(&a, 0, "nothere", O_RDONLY, 0);
	rc = posix_spawn(&pid, "/bin/sh", &a, &attr, sh, env);
	(void)printf("failing action %s\n", ename(rc));
	(void)printf("still here: %d\n", access("cu", F_OK));
	pid = vfork();
	if (!pid) {
		if (chdir("dir") == 0)
			execve(self, argv, env);
		_exit(9);
	}
	(void)printf("vfork %d\n", wait_for(pid));
	pid = vfork();
	if (!pid) {
		execve("nothere", argv, env);
		execve(".", argv, env);
		_exit(errno == EACCES ? 5 : 6);
	}
	(void)printf("vfork failing %d, cwd kept %d\n", wait_for(pid), access("cu", F_OK));
}

static void *exec_thread(void *arg)
{
	execve(arg, (char *[]){"from-thread", NULL}, env);
	(void)printf("thread exec: %s\n", ename(errno));
	return NULL;
}

static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void threads(void)
{
	(void)printf("== threads\n");
	TRY("from a thread", {
		pthread_t t;
		pthread_create(&t, NULL, idle, NULL);
		pthread_create(&t, NULL, exec_thread, self);
		pthread_join(t, NULL);
	});
	TRY("a script from a thread", {
		pthread_t t;
		pthread_create(&t, NULL, idle, NULL);
		pthread_create(&t, NULL, exec_thread, "./arg");
		pthread_join(t, NULL);
	});
	TRY("fails in a thread, then goes on", {
		pthread_t t;
		pthread_create(&t, NULL, exec_thread, "./missing");
		pthread_join(t, NULL);
		pthread_create(&t, NULL, exec_thread, "./nothing");
		pthread_join(t, NULL);
		execve(self, (char *[]){"after", NULL}, env);
	});
	TRY("fails many times", {
		int bad = 0;
		for (int i = 0; i < 50; i++)
			bad += execve(i & 1 ? "nothere" : "dir", env, env) == -1 && errno == (i & 1 ? ENOENT : EACCES);
		(void)printf("   failed %d\n", bad);
		execve(self, (char *[]){"after", NULL}, env);
	});
}

int main(int argc, char **argv, char **envp)
{
	static char tree[PATH_MAX + 8];
	ssize_t n;

	if (getenv("GUEST") || argc < 2 || argv[1][0] != '/' || getenv("TREE"))
		return report(argc, argv, envp);
	guest_begin(argc, argv);
	(void)close_range(3, ~0U, 0);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		die("exe");
	(void)snprintf(tree, sizeof(tree), "TREE=%s", guest_root);
	env[0] = (char *)child_env[0];
	env[1] = (char *)child_env[1];
	env[2] = tree;
	setenv("TREE", guest_root, 1);
	next_set();
	scripts();
	next_set();
	script("plain", "", 0755);
	{
		char line[PATH_MAX + 8];

		(void)snprintf(line, sizeof(line), "#!%s\n", self);
		script("plain", line, 0755);
		script("arg", line, 0755);
		script("missing", "#!/no/such\n", 0755);
		script("nothing", "", 0755);
	}
	(void)mkdir("s2", 0755);
	arguments();
	(void)symlink("plain", "slink");
	by_descriptor();
	spawned();
	threads();
	refused();
	return 0;
}
