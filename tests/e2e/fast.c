/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path from inside, after its call sites were patched: what one process changes another sees at once, bad pointers are
 * errors, handlers and longjmp may come at any instant.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* --- what another process changes --- */

static void act(int step)
{
	char text[8];

	switch (step) {
	case 0: write_file("new", "12345", O_EXCL); break;
	case 1: write_file("new", "678", O_APPEND); break;
	case 2: CHECK(!rename("new", "newer")); break;
	case 3: CHECK(!unlink("newer")); break;
	case 4: CHECK(!mkdir("sub", 0755)); break;
	case 5: write_file("sub/f", "1", 0); break;
	case 6: CHECK(!rename("sub", "bus")); break;
	case 7: CHECK(!symlink("bus", "sub")); break;
	case 8: CHECK(!unlink("sub")); break;
	case 9: CHECK(!unlink("bus/f") && !rmdir("bus")); break;
	case 10: CHECK(!chmod("of-image", 0400)); break;
	case 11: write_file("of-image", "more", O_TRUNC); break; /* mode 0400: see below */
	case 12: CHECK(!unlink("of-image")); break;
	case 13: CHECK(!link("kept", "of-image")); break;
	case 14: CHECK(!unlink("to-image") && !symlink("kept", "to-image")); break;
	case 15: CHECK(readlink("to-image", text, sizeof(text)) == 4); break;
	default: break;
	}
}

static void look(int step)
{
	long absent = -ENOENT;
	char text[16] = "";
	struct stat st;

	switch (step) {
	case 0: CHECK(size_of("new") == 5); break;
	case 1: CHECK(size_of("new") == 8); break;
	case 2: CHECK(size_of("new") == absent && size_of("newer") == 8); break;
	case 3: CHECK(size_of("newer") == absent); break;
	case 4: CHECK(size_of("sub") > 0 && size_of("sub/f") == absent); break;
	case 5: CHECK(size_of("sub/f") == 1); break;
	case 6: CHECK(size_of("sub/f") == absent && size_of("bus/f") == 1); break;
	case 7: CHECK(size_of("sub/f") == 1); break;
	case 8: CHECK(size_of("sub/f") == absent && size_of("bus/f") == 1); break;
	case 9: CHECK(size_of("bus/f") == absent && size_of("bus") == absent); break;
	case 10: CHECK(!stat("of-image", &st) && st.st_mode == (S_IFREG | 0400) && size_of("of-image") == 9); break;
	case 11: CHECK(size_of("of-image") == 4); break;
	case 12: CHECK(size_of("of-image") == absent && access("of-image", F_OK) == -1); break;
	case 13: CHECK(size_of("of-image") == size_of("kept")); break;
	case 14: CHECK(readlink("to-image", text, sizeof(text)) == 4 && !strcmp(text, "kept")); break;
	default: break;
	}
}

static void changes(void)
{
	int ask[2], answer[2];
	char c = 0;
	pid_t pid;

	CHECK(!pipe(ask) && !pipe(answer));
	pid = fork();
	if (!pid) {
		close(ask[1]);
		for (int step = 0; read(ask[0], &c, 1) == 1; step++) {
			if (step == 11) /* what may not be written is made writable first */
				CHECK(!chmod("of-image", 0600));
			act(step);
			CHECK(write(answer[1], &c, 1) == 1);
		}
		_exit(failures);
	}
	for (int step = 0; step < 16; step++) {
		struct stat st;
		char text[16];

		for (int i = 0; i < 6; i++) { /* all that will change is known before */
			(void)!stat("new", &st), (void)!stat("newer", &st), (void)!stat("sub", &st), (void)!stat("sub/f", &st);
			(void)!stat("bus/f", &st), (void)!stat("bus", &st), (void)!stat("of-image", &st), (void)!lstat("to-image", &st);
			(void)!access("of-image", F_OK), (void)!readlink("to-image", text, sizeof(text));
		}
		CHECK(write(ask[1], &c, 1) == 1 && read(answer[0], &c, 1) == 1);
		look(step);
	}
	close(ask[1]);
	CHECK(waitpid(pid, &(int){0}, 0) == pid);
}

/* --- pointers --- */

static void pointers(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *two = mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end = two + page - 5;
	struct stat st, *heap = malloc(sizeof(*heap));

	CHECK(!mprotect(two + page, (size_t)page, PROT_NONE));
	for (int i = 0; i < 5; i++) {
		char *volatile bad[] = {NULL, (char *)1, (char *)-1, (char *)0x7ffffffff000, (char *)1ULL + (1ULL << 60), two + page, two + page - 8};

		memcpy(end, "kept", 5); /* the kernel may have written a part of a stat there */
		CHECK(size_of(end) == 4 && !access(end, R_OK) && !stat(end, heap));
		memcpy(two + page - 4, "kept", 4); /* goes on in the page that cannot be read */
		CHECK(stat(two + page - 4, &st) == -1 && errno == EFAULT);
		CHECK(access(two + page - 4, F_OK) == -1 && errno == EFAULT);
		memcpy(end, "kept", 5);
		for (size_t b = 0; b < 6; b++)
			CHECK(stat(bad[b], &st) == -1 && errno == EFAULT);
		for (size_t b = 0; b < 7; b++) {
			CHECK(stat("kept", (struct stat *)(void *)bad[b]) == -1 && errno == EFAULT);
			CHECK(stat("made", (struct stat *)(void *)bad[b]) == -1 && errno == EFAULT);
		}
		CHECK(stat("nothing", NULL) == -1 && errno == ENOENT);
		CHECK(stat("", &st) == -1 && errno == ENOENT);
		CHECK(stat("kept/", &st) == -1 && errno == ENOTDIR);
		CHECK(readlink("kept", two, 10) == -1 && errno == EINVAL);
		CHECK(readlink("to-kept", two, 0) == -1 && errno == EINVAL);
		CHECK(readlink("to-kept", two, 2) == 2 && !memcmp(two, "ke", 2));
		CHECK(readlink("to-kept", NULL, 4) == -1 && errno == EFAULT);
		CHECK(fstatat(-5, "kept", &st, 0) == -1 && errno == EBADF);
		CHECK(fstatat(0, "kept", &st, 0) == -1 && errno == ENOTDIR);
	}
	free(heap);
}

static void read_file(const char *path, const char *want)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) == (ssize_t)strlen(want) && !strcmp(text, want));
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	CHECK(write(fd, "x", 1) == -1 && errno == EBADF);
	close(fd);
}

static void opens(void)
{
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 6; i++) {
			read_file("kept", "kept");
			read_file("made", "123");
			read_file("to-kept", "kept");
			CHECK(open("nothing", O_RDONLY) == -1 && errno == ENOENT);
			CHECK(open("to-kept", O_RDONLY | O_NOFOLLOW) == -1 && errno == ELOOP);
			CHECK(open("kept", O_RDONLY | O_DIRECTORY) == -1 && errno == ENOTDIR);
			CHECK(open("kept/", O_RDONLY) == -1 && errno == ENOTDIR);
			CHECK(open((char *)1, O_RDONLY) == -1 && errno == EFAULT);
		}
		write_file("nothing", "there", O_EXCL);
		read_file("nothing", "there");
		CHECK(!unlink("nothing") && !chmod("made", 0200));
		CHECK(!geteuid() || (open("made", O_RDONLY) == -1 && errno == EACCES));
		CHECK(!chmod("made", 0644));
		write_file("made2", "456", O_EXCL);
		CHECK(!rename("made2", "made"));
		read_file("made", "456");
		write_file("made", "123", O_TRUNC);
	}
	write_file("name", "new", O_TRUNC); /* of the image until now */
	read_file("name", "new");
	write_file("name", "12345", O_TRUNC);
}

/* --- descriptors --- */

static void descriptors(void)
{
	char page[1] = "";

	for (int round = 0; round < 3; round++) {
		int image = open("kept", O_RDONLY), twin = open("twin", O_RDONLY), mine = open("desc", O_RDWR | O_CREAT | O_TRUNC, 0640), dir = open("dir", O_RDONLY);
		struct stat by_name, by_fd;

		for (int i = 1; i < 6; i++) {
			CHECK(!stat("kept", &by_name) && !fstat(image, &by_fd) && !memcmp(&by_name, &by_fd, sizeof(by_fd)));
			CHECK(!stat("twin", &by_name) && !fstat(twin, &by_fd) && !memcmp(&by_name, &by_fd, sizeof(by_fd)));
			CHECK(!stat("dir", &by_name) && !fstat(dir, &by_fd) && !memcmp(&by_name, &by_fd, sizeof(by_fd)));
			CHECK(write(mine, "x", 1) == 1 && !fstat(mine, &by_fd) && by_fd.st_size == i);
			CHECK(!stat("desc", &by_name) && !memcmp(&by_name, &by_fd, sizeof(by_fd)));
			CHECK(fstat(-1, &by_fd) == -1 && errno == EBADF);
			CHECK(fstat(mine, NULL) == -1 && errno == EFAULT);
			CHECK(!fstatat(mine, page, &by_fd, AT_EMPTY_PATH) && by_fd.st_size == i);
			CHECK(fstatat(mine, "", &by_fd, 0) == -1 && errno == ENOENT);
		}
		CHECK(!chmod("desc", 0600) && !fstat(mine, &by_fd) && by_fd.st_mode == (S_IFREG | 0600));
		CHECK(!fchmod(mine, 0400) && !fstat(mine, &by_fd) && by_fd.st_mode == (S_IFREG | 0400));
		CHECK(!fstat(mine, &by_fd) && !link("desc", "desc2") && !fstat(mine, &by_name) && by_name.st_nlink == 2);
		CHECK(!unlink("desc2") && !unlink("desc") && !fstat(mine, &by_fd) && by_fd.st_nlink == 0 && by_fd.st_size == 5);
		CHECK(!chmod("dir", 0700) && !fstat(dir, &by_fd) && by_fd.st_mode == (S_IFDIR | 0700) && !chmod("dir", 0755));
		CHECK(!chmod("twin", 0600) && !fstat(twin, &by_fd) && by_fd.st_mode == (S_IFREG | 0600) && !chmod("twin", 0644));
		close(image), close(twin), close(mine), close(dir);
	}
}

/* --- directories, each the caller's own --- */

/* What has no name is the kernel's to tell of. */
static void nameless(void)
{
	struct statx x;
	struct stat st;
	int fd[2];

	for (int i = 0; i < 8; i++) {
		CHECK(i % 2 ? !pipe(fd) : !socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
		CHECK(!fstat(fd[0], &st) && (i % 2 ? S_ISFIFO(st.st_mode) : S_ISSOCK(st.st_mode)) && st.st_nlink == 1);
		CHECK(!statx(fd[0], "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x) && x.stx_ino == st.st_ino && makedev(x.stx_dev_major, x.stx_dev_minor) == st.st_dev);
		close(fd[0]);
		close(fd[1]);
	}
	CHECK(!mkfifo("fifo", 0640));
	for (int i = 0; i < 4; i++) {
		fd[0] = open("fifo", O_RDONLY | O_NONBLOCK);
		CHECK(fd[0] >= 0 && !fstat(fd[0], &st) && st.st_mode == (S_IFIFO | 0640));
		CHECK(!lstat("fifo", &st) && st.st_mode == (S_IFIFO | 0640));
		close(fd[0]);
	}
	CHECK(!unlink("fifo"));
}

/* By libc's syscall(), which makes any call: what is answered, and what is not, to the sixth argument. */
static void indirect(void)
{
	int fd = open("pages", O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct statx x;
	int status = 0;
	char *page;
	pid_t pid;

	CHECK(fd >= 0 && !ftruncate(fd, 8192) && pwrite(fd, "second", 6, 4096) == 6);
	for (int i = 0; i < 8; i++) {
		CHECK(!syscall(SYS_statx, AT_FDCWD, "kept", 0, STATX_BASIC_STATS, &x) && x.stx_size == 4);
		CHECK(syscall(SYS_statx, AT_FDCWD, "none", 0, STATX_BASIC_STATS, &x) == -1 && errno == ENOENT);
		page = (char *)syscall(SYS_mmap, NULL, 4096UL, PROT_READ, MAP_PRIVATE, fd, 4096L);
		CHECK(page != MAP_FAILED && !memcmp(page, "second", 6) && !syscall(SYS_munmap, page, 4096UL));
		CHECK(syscall(SYS_gettid) == getpid());
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
		if (!pid)
			_exit(syscall(SYS_getppid) == 1 ? 1 : 9);
		CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 9);
	}
	CHECK(!close(fd) && !unlink("pages"));
}

/* Told how often the supervisor is asked for a name, while others' directories and links come, go and change. */
static void quietly(void)
{
	int fd = open("changed", O_RDWR | O_CREAT, 0600);
	struct statx x;
	struct stat st;
	char dir[16];

	for (int i = 0; i < 300; i++) {
		mode_t mode = i % 2 ? 0600 : 0644;

		int open_dir = open("dir", O_RDONLY | O_DIRECTORY);

		CHECK(open_dir >= 0 && !close(open_dir) && size_of("/nowhere/at/all") == -ENOENT && open("/nowhere/else", O_RDONLY) < 0);
		CHECK(size_of("/tree/kept") == 4 && size_of("kept") == 4);
		CHECK(!syscall(SYS_statx, AT_FDCWD, "/tree/kept", 0, STATX_BASIC_STATS, &x));
		CHECK(!access("changed", R_OK) && !fchmod(fd, mode) && !stat("changed", &st) && (st.st_mode & 07777) == mode && !futimens(fd, NULL));
		(void)snprintf(dir, sizeof(dir), "quiet%d", i);
		CHECK(!mkdir(dir, 0700) && !chmod(dir, 0755) && !symlink("elsewhere", "link") && !unlink("link") && !rmdir(dir));
		CHECK(!mkdir(dir, 0700) && !chmod(dir, 0) && !chmod(dir, 0700) && !rename(dir, "moved") && !rmdir("moved"));
		CHECK(!mkdir("/tmp/shown", 0700) && !rmdir("/tmp/shown"));
	}
}

/* Told how often the supervisor is asked what a descriptor is of, of which it has told before what is void by now: to change a file that has two names
 * by its descriptor voids all. */
static void again(void)
{
	int kept = open("kept", O_RDONLY), two = open("two", O_RDWR | O_CREAT, 0600);
	struct stat st;

	CHECK(kept >= 0 && two >= 0 && !link("two", "names"));
	for (int i = 0; i < 50; i++) {
		CHECK(!fchmod(two, i % 2 ? 0600 : 0644));
		for (int k = 0; k < 6; k++)
			CHECK(!fstat(kept, &st) && st.st_size == 4);
	}
	CHECK(!unlink("two") && !unlink("names"));
}

/* --- handlers --- */

static sigjmp_buf out;
static volatile sig_atomic_t handled, leave;

static void on_alarm(int sig)
{
	int saved = errno;

	handled++;
	if (size_of("kept") != 4)
		_exit(70 + sig);
	errno = saved;
	if (leave && handled % 3 == 0)
		siglongjmp(out, 1);
}

static void handlers(void)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}; /* without it: tests/calls/exceptions */
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0}, {0}};

	CHECK(!sigaction(SIGALRM, &sa, NULL) && !setitimer(ITIMER_REAL, &often, NULL));
	for (int round = 0; round < 2; round++) {
		leave = round;
		for (volatile int i = 0; handled < 300 * (round + 1) && i < 3000000; i++) {
			if (sigsetjmp(out, 1))
				continue;
			CHECK(size_of("kept") == 4);
			CHECK(size_of("nothing") == -ENOENT);
			CHECK(size_of("made") == 3);
		}
	}
	CHECK(!setitimer(ITIMER_REAL, &never, NULL) && handled >= 600);
}

static void *looker(void *arg)
{
	for (int i = 0; i < 20000; i++)
		if (size_of("kept") != 4 || size_of("nothing") != -ENOENT || size_of("made") != 3)
			return arg;
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];
	void *wrong;

	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, looker, &failures));
	for (int i = 0; i < 200; i++) {
		write_file("other", "1", 0);
		CHECK(!unlink("other") && !mkdir("other-dir", 0700) && !rmdir("other-dir"));
	}
	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], &wrong) && !wrong);
}

/* --- where one is --- */

static void work_directory(void)
{
	char base[4096], buf[4200], wanted[4200];

	CHECK(getcwd(base, sizeof(base)) && !mkdir("wd", 0755) && !chdir("wd"));
	snprintf(wanted, sizeof(wanted), "%s/wd", base);
	for (int i = 0; i < 5; i++)
		CHECK(getcwd(buf, sizeof(buf)) && !strcmp(buf, wanted));
	CHECK(!getcwd(buf, 3) && errno == ERANGE);
	CHECK(syscall(SYS_getcwd, buf, strlen(wanted)) == -1 && errno == ERANGE);
	CHECK(syscall(SYS_getcwd, 8L, 4096L) == -1 && errno == EFAULT);
	CHECK(!rename("../wd", "../dw"));
	snprintf(wanted, sizeof(wanted), "%s/dw", base);
	for (int i = 0; i < 5; i++)
		CHECK(getcwd(buf, sizeof(buf)) && !strcmp(buf, wanted));
	CHECK(!rmdir("../dw") && !getcwd(buf, sizeof(buf)) && errno == ENOENT);
	CHECK(!mkdir(wanted, 0755) && !getcwd(buf, sizeof(buf)) && errno == ENOENT);
	CHECK(!chdir(base) && !rmdir("dw"));
}

/* --- programs --- */

static int run(const char *path, char *word)
{
	char *argv[] = {(char *)"fast", (char *)"say", word, NULL}, *env[] = {(char *)"A=1", NULL};
	int status = -1;
	pid_t pid;

	errno = posix_spawn(&pid, path, NULL, NULL, argv, env);
	return errno || waitpid(pid, &status, 0) != pid ? -errno : WEXITSTATUS(status);
}

/* Less than the cache takes: the program runs without it. */
static void narrow(void)
{
	struct rlimit limit = {24 << 20, 24 << 20};
	int status = -1;
	pid_t pid = fork();

	if (!pid && !setrlimit(RLIMIT_AS, &limit))
		execle("/fast", "fast", "say", "two words", NULL, (char *[]){(char *)"A=1", NULL});
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void *spawner(void *arg)
{
	for (int i = 0; i < 20; i++)
		if (run("/fast", (char *)"two words") != 7)
			return arg;
	return NULL;
}

static void programs(void)
{
	static char big[200000];
	pthread_t t[4];
	void *wrong;

	memset(big, 'x', sizeof(big) - 1);
	for (int i = 0; i < 8; i++) {
		CHECK(run("/fast", (char *)"two words") == 7);
		CHECK(run("/nothing", (char *)"two words") == -ENOENT);
		CHECK(run("/tree", (char *)"two words") == -EACCES);
		CHECK(run("/fast", big) == -E2BIG);
		narrow();
	}
	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, spawner, &failures));
	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], &wrong) && !wrong);
}

/* Asks from one directory for names that it has asked for, and for others, until it is killed. */
static void ask(unsigned i)
{
	struct stat st;
	char name[24];

	(void)snprintf(name, sizeof(name), "none-%u", i % 1000);
	(void)stat(name, &st);
}

/* heir: another process has asked for every name before. */
static void stay(int heir)
{
	if (heir && fork() == 0) {
		for (unsigned i = 0; i < 4000; i++)
			ask(i);
		_exit(0);
	}
	(void)wait(NULL);
	printf("%d\n", getpid());
	(void)fflush(stdout);
	for (unsigned i = 0;; i++) {
		ask(i);
		usleep(500);
	}
}

static void *ask_kept(void *arg)
{
	for (int i = 0; i < 200; i++)
		CHECK(size_of("/tree/kept") == 4);
	return arg;
}

/* crowd: after it has proven the places in libc it becomes a program that asks for nothing before it has threads. */
static int crowd(bool first)
{
	pthread_t t[4];

	if (first) {
		for (int i = 0; i < 10; i++)
			CHECK(size_of("/tree/kept") == 4);
		execl("/fast", "fast", "crowded", NULL);
	}
	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, ask_kept, NULL));
	for (size_t i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], NULL));
	return failures != 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strncmp(argv[1], "crowd", 5))
		return crowd(!argv[1][5]);
	if (argc == 2 && (!strcmp(argv[1], "stay") || !strcmp(argv[1], "heir")))
		stay(!strcmp(argv[1], "heir"));
	if (argc == 2 && (!strcmp(argv[1], "quietly") || !strcmp(argv[1], "again"))) {
		if (argv[1][0] == 'q')
			quietly();
		else
			again();
		return failures != 0;
	}
	if (argc == 2 && !strcmp(argv[1], "execs")) {
		for (int i = 0; i < 60; i++)
			CHECK(run("/fast", (char *)"two words") == 7);
		return failures != 0;
	}
	if (argc == 3 && !strcmp(argv[1], "say"))
		return !strcmp(argv[2], "two words") && !strcmp(argv[0], "fast") && getenv("A") && !getenv("HOME") ? 7 : 8;
	setvbuf(stdout, NULL, _IOLBF, 0);
	write_file("made", "123", O_TRUNC);
	changes();
	pointers();
	opens();
	descriptors();
	nameless();
	indirect();
	handlers();
	work_directory();
	programs();
	threads();
	printf("%d wrong\n", failures);
	return failures != 0;
}
