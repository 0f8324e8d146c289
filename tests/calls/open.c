/* SPDX-License-Identifier: Apache-2.0 */
/* open, openat, openat2 and creat: flags against kinds of files. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "guest.h"
#include <linux/openat2.h>

static const char *const names[] = {
	"file", "empty", "ro", "dir", "dir/", "file/", "new", "new/", "nothing/new", "file/new", "link", "dirlink", "dangling",
	"loop", "dir/up/file", "chain41", "through", "", ".", "abslink", "locked/inside", "locked/new",
};

static const struct {
	const char *label;
	int flags;
} combos[] = {
	{"RDONLY", O_RDONLY}, {"WRONLY", O_WRONLY}, {"RDWR", O_RDWR}, {"ACCMODE 3", 3},
	{"RDONLY|CREAT", O_RDONLY | O_CREAT}, {"RDWR|CREAT", O_RDWR | O_CREAT},
	{"RDWR|CREAT|EXCL", O_RDWR | O_CREAT | O_EXCL}, {"RDONLY|TRUNC", O_RDONLY | O_TRUNC},
	{"WRONLY|TRUNC", O_WRONLY | O_TRUNC}, {"WRONLY|CREAT|TRUNC", O_WRONLY | O_CREAT | O_TRUNC},
	{"WRONLY|APPEND", O_WRONLY | O_APPEND}, {"RDONLY|DIRECTORY", O_RDONLY | O_DIRECTORY},
	{"RDWR|DIRECTORY", O_RDWR | O_DIRECTORY}, {"RDONLY|NOFOLLOW", O_RDONLY | O_NOFOLLOW},
	{"RDWR|CREAT|NOFOLLOW", O_RDWR | O_CREAT | O_NOFOLLOW}, {"DIRECTORY|NOFOLLOW", O_DIRECTORY | O_NOFOLLOW},
	{"PATH", O_PATH}, {"PATH|NOFOLLOW", O_PATH | O_NOFOLLOW}, {"PATH|DIRECTORY", O_PATH | O_DIRECTORY},
	{"PATH|CREAT|TRUNC", O_PATH | O_CREAT | O_TRUNC}, {"TMPFILE|RDWR", O_TMPFILE | O_RDWR},
	{"TMPFILE|RDONLY", O_TMPFILE | O_RDONLY}, {"TMPFILE|EXCL|WRONLY", O_TMPFILE | O_EXCL | O_WRONLY},
	{"NONBLOCK|NOCTTY|CLOEXEC", O_NONBLOCK | O_NOCTTY | O_CLOEXEC},
};

/* Back to what the fixture made, in the names that a flag could change. */
static void restore(void)
{
	unlink("new");
	unlink("nowhere");
	put_file("file", "hello\n");
	put_file("empty", "");
}

static void every_combination(void)
{
	for (size_t c = 0; c < ARRAY_LEN(combos); c++)
		for (size_t n = 0; n < ARRAY_LEN(names); n++) {
			int fd = open(tail_str(names[n]), combos[c].flags, 0640);
			int error = errno;
			struct stat st;

			printf("open '%s' %s: ", names[n], combos[c].label);
			if (fd < 0) {
				printf("%s\n", errno_name(error));
			} else {
				fstat(fd, &st);
				printf("%s %04o flags %#x cloexec %d\n", type_name(st.st_mode), st.st_mode & 07777,
				       fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
				close(fd);
			}
			if (access("new", F_OK) == 0 || access("nowhere", F_OK) == 0)
				printf("  made %s\n", access("new", F_OK) ? "nowhere" : "new");
			if (stat("file", &st) == 0 && st.st_size != 6)
				printf("  truncated file\n");
			if (combos[c].flags & (O_CREAT | O_TRUNC))
				restore();
		}
}

static void modes(void)
{
	static const mode_t wanted[] = {0, 0400, 0644, 0666, 0777, 04755, 01777};

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		showf(open("mode", O_CREAT | O_WRONLY | O_EXCL, wanted[i]) < 0 ? -1 : 0, "create %04o", wanted[i]);
		show_lstat("mode");
		showf(open("mode", O_RDONLY) < 0 ? -1 : 0, "read it");
		unlink("mode");
	}
	umask(077);
	FD(creat("mode", 0666));
	show_lstat("mode");
	unlink("mode");
	umask(0);
	FD(creat("mode", 0666));
	show_lstat("mode");
	unlink("mode");
	umask(022);
}

/* A umask counts from when it was set, for who shares it and for who inherits it. */
static void *makes_files(void *arg)
{
	int *pipes = arg, fd;
	mode_t mask;

	while (read(pipes[0], &mask, sizeof(mask)) == (ssize_t)sizeof(mask)) {
		struct stat st;

		fd = open("masked", O_CREAT | O_EXCL | O_WRONLY, 0777);
		mask = fd < 0 || fstat(fd, &st) < 0 ? 0xffff : st.st_mode & 07777;
		close(fd);
		unlink("masked");
		(void)!write(pipes[3], &mask, sizeof(mask));
	}
	return NULL;
}

static int mode_made(int pipes[4], mode_t mask)
{
	mode_t made = 0xffff;

	(void)!write(pipes[1], &mask, sizeof(mask));
	(void)!read(pipes[2], &made, sizeof(made));
	return (int)made;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* It always succeeds: also when a signal comes whose handler restarts nothing. */
static int umasks_among_signals(void)
{
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_alarm}, before;
	mode_t last = umask(0);
	int wrong = last != 022;

	last = 0;
	sigaction(SIGALRM, &sa, &before);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 20000; i++) {
		mode_t mask = (mode_t)(i % 01000);

		wrong += umask(mask) != last;
		last = mask;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	alarm(200); /* guest_start's, which was the same timer */
	return wrong;
}

static void umasks(void)
{
	int pipes[4], wrong = 0, status;
	pthread_t thread;
	pid_t pid;

	if (pipe(pipes) || pipe(pipes + 2) || pthread_create(&thread, NULL, makes_files, pipes))
		exit(EXIT_FAILURE);
	for (int i = 0; i < 1500; i++) {
		mode_t mask = (mode_t)(i * 73 % 01000);

		wrong += (i && umask(mask) != (mode_t)((i - 1) * 73 % 01000)) || (!i && umask(mask) != 022);
		wrong += mode_made(pipes, mask) != (int)(0777 & ~mask);
		wrong += mode_made(pipes, mask) != (int)(0777 & ~mask);
	}
	close(pipes[1]);
	pthread_join(thread, NULL);
	for (int i = 0; i < 50; i++) {
		struct stat st;
		mode_t mask = (mode_t)(i * 73 % 01000);

		umask(mask);
		pid = fork();
		if (!pid) {
			close(open("masked", O_CREAT | O_EXCL | O_WRONLY, 0777));
			umask(~mask & 0777);
			_exit(mkdir("masked-dir", 0777) != 0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			wrong++;
		wrong += lstat("masked", &st) < 0 || (st.st_mode & 0777) != (0777 & ~mask);
		wrong += lstat("masked-dir", &st) < 0 || (st.st_mode & 0777) != mask;
		unlink("masked");
		rmdir("masked-dir");
		close(open("masked", O_CREAT | O_EXCL | O_WRONLY, 0777));
		wrong += lstat("masked", &st) < 0 || (st.st_mode & 0777) != (0777 & ~mask);
		unlink("masked");
	}
	printf("modes that are not as the umask says: %d\n", wrong);
	umask(022);
	printf("umasks that signals kept from being set: %d\n", umasks_among_signals());
	umask(022);
	printf("umask %04o\n", umask(022));
	CALL(umask(070707022));
	CALL(umask(022));
}

static void writing(void)
{
	int a = FD(open("file", O_WRONLY | O_APPEND)), b = FD(open("file", O_RDWR));

	CALL(write(a, "one\n", 4));
	CALL(write(b, "HE", 2));
	CALL(write(a, "two\n", 4));
	show_content("file");
	CALL(lseek(b, 0, SEEK_END));
	CALL(write(FD(open("file", O_RDONLY)), "x", 1));
	CALL(read(FD(open("file", O_WRONLY)), (char[1]){0}, 1));
	CALL(read(FD(open("file", O_PATH)), (char[1]){0}, 1));
	CALL(read(FD(open("dir", O_RDONLY)), (char[1]){0}, 1));
}

static void tmpfile_published(void)
{
	int fd = FD(open("dir", O_TMPFILE | O_RDWR, 0644));
	char proc[64];

	CALL(write(fd, "published\n", 10));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	show("linkat tmpfile", linkat(AT_FDCWD, proc, AT_FDCWD, "dir/tmp", AT_SYMLINK_FOLLOW));
	show_lstat("dir/tmp");
	show_content("dir/tmp");
	static const mode_t modes[] = {0400, 0, 0444, 0755, 01644};

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		struct stat st;
		char name[32];

		fd = FD(open("dir", O_TMPFILE | O_RDWR, modes[i]));
		CALL(fstat(fd, &st));
		printf("tmpfile %04o: %04o\n", (unsigned)modes[i], (unsigned)st.st_mode & 07777);
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		snprintf(name, sizeof(name), "dir/tmp%zu", i);
		CALL(linkat(AT_FDCWD, proc, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
		show_lstat(name);
		CALL(close(fd));
	}
	fd = FD(open(".", O_TMPFILE | O_EXCL | O_RDWR, 0644));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	show("linkat exclusive tmpfile", linkat(AT_FDCWD, proc, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
}

static const struct {
	const char *label;
	uint64_t resolve;
} resolves[] = {
	{"none", 0}, {"NO_XDEV", RESOLVE_NO_XDEV}, {"NO_MAGICLINKS", RESOLVE_NO_MAGICLINKS},
	{"NO_SYMLINKS", RESOLVE_NO_SYMLINKS}, {"BENEATH", RESOLVE_BENEATH}, {"IN_ROOT", RESOLVE_IN_ROOT},
	{"BENEATH|IN_ROOT", RESOLVE_BENEATH | RESOLVE_IN_ROOT}, {"unknown", 0x100000},
};
static const char *const resolved[] = {
	"a", "sub/deep/leaf", "../file", "up/file", "upfile", "/file", "sub/../a", "..", "/proc/self/exe", "/proc/self/fd/0", "nothing",
};

static void with_openat2(void)
{
	int dir = FD(open("dir", O_RDONLY | O_DIRECTORY));
	struct open_how *how = tail_alloc(sizeof(*how));

	for (size_t r = 0; r < ARRAY_LEN(resolves); r++)
		for (size_t n = 0; n < ARRAY_LEN(resolved); n++) {
			int fd;

			*how = (struct open_how){.flags = O_RDONLY, .resolve = resolves[r].resolve};
			fd = (int)syscall(SYS_openat2, dir, tail_str(resolved[n]), how, sizeof(*how));
			printf("openat2 '%s' %s: %s\n", resolved[n], resolves[r].label, fd < 0 ? errno_name(errno) : "fd");
			if (fd >= 0)
				close(fd);
		}
	*how = (struct open_how){.flags = O_RDONLY};
	CALL(syscall(SYS_openat2, dir, "a", how, sizeof(*how) - 8));
	CALL(syscall(SYS_openat2, dir, "a", (char *)how + 8, sizeof(*how)));
	*how = (struct open_how){.flags = O_RDONLY, .mode = 0644};
	CALL(syscall(SYS_openat2, dir, "a", how, sizeof(*how)));
	*how = (struct open_how){.flags = 1ULL << 40};
	CALL(syscall(SYS_openat2, dir, "a", how, sizeof(*how)));
	*how = (struct open_how){.flags = O_RDWR | O_CREAT, .mode = 0600};
	FD((int)syscall(SYS_openat2, dir, "made2", how, sizeof(*how)));
	show_lstat("dir/made2");
	uint64_t larger[4] = {O_RDONLY, 0, 0, 0};
	FD((int)syscall(SYS_openat2, dir, "a", larger, sizeof(larger)));
	larger[3] = 1;
	FD((int)syscall(SYS_openat2, dir, "a", larger, sizeof(larger)));
}

static void bad_arguments(void)
{
	FD(open(tail_unterminated("file"), O_RDONLY));
	FD(open((char *)1, O_RDONLY));
	FD(openat(999, "file", O_RDONLY));
	FD(openat(0, "file", O_RDONLY));
	FD(openat(999, "/", O_RDONLY));
	FD(openat(open("file", O_RDONLY), "x", O_RDONLY));
	FD(openat(open("dir", O_PATH), "a", O_RDONLY));
}

/* A change below three hundred directories of the image that nothing has changed before. */
static void far_down(void)
{
	char path[1024] = "down";

	for (int i = 0; i < 300; i++)
		strcat(path, "/d");
	strcat(path, "/leaf");
	showf(open(path, O_WRONLY | O_APPEND) >= 0, "open to change, far down");
	showf(unlink(path), "unlink far down");
	showf(access(path, F_OK), "what is gone");
}

int main(void)
{
	guest_start();
	far_down();
	every_combination();
	modes();
	umasks();
	writing();
	tmpfile_published();
	with_openat2();
	bad_arguments();
	return 0;
}
