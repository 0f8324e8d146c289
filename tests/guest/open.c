/* SPDX-License-Identifier: Apache-2.0 */
/* open with every useful combination of flags on every kind of name, and what it leaves behind. */
#include "guest.h"

static void try_open(const char *name, int flags, const char *write_text)
{
	char text[64];
	int fd = open(name, flags, 0640);
	ssize_t n;

	outcome(fd, "open %s", name);
	if (fd < 0)
		return;
	if (write_text)
		result(write(fd, write_text, strlen(write_text)), "   write");
	n = read(fd, text, 20);
	if (n < 0)
		printf("   read -%s\n", ename(errno));
	else
		printf("   read %zd '%.*s'\n", n, (int)strcspn(text, "\n") < n ? (int)strcspn(text, "\n") : (int)n, text);
	result(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_PATH | O_DIRECTORY | O_DSYNC |
					  (flags & O_PATH ? 0 : O_NOFOLLOW)),
	       "   flags");
	result(fcntl(fd, F_GETFD), "   fd flags");
	close(fd);
}

#define OPEN_EACH(flags, text)                                                                                          \
	EACH(#flags, {                                                                                                  \
		try_open(name, (flags) | O_NONBLOCK, text);                                                                     \
		if (((flags) & O_ACCMODE) || ((flags) & (O_CREAT | O_TRUNC)))                                                   \
			show(name);                                                                                     \
	})

static void reopen(const char *name, int flags)
{
	int fd = open(name, O_RDONLY);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	printf("reopen %s %x\n", name, flags);
	try_open(path, flags, "X");
	show(name);
	close(fd);
}

static void flags(void)
{
	OPEN_EACH(O_RDONLY, NULL);
	OPEN_EACH(O_WRONLY, "w");
	OPEN_EACH(O_RDWR | O_CLOEXEC, "w");
	OPEN_EACH(O_RDONLY | O_NOFOLLOW, NULL);
	OPEN_EACH(O_RDONLY | O_DIRECTORY, NULL);
	OPEN_EACH(O_RDONLY | O_DIRECTORY | O_NOFOLLOW, NULL);
	OPEN_EACH(O_RDWR | O_DIRECTORY, NULL);
	OPEN_EACH(O_PATH, NULL);
	OPEN_EACH(O_PATH | O_NOFOLLOW, NULL);
	OPEN_EACH(O_PATH | O_DIRECTORY, NULL);
	OPEN_EACH(O_PATH | O_DIRECTORY | O_NOFOLLOW, NULL);
	OPEN_EACH(O_PATH | O_CREAT | O_EXCL, NULL);
	OPEN_EACH(O_RDONLY | O_CREAT, NULL);
	OPEN_EACH(O_WRONLY | O_CREAT, "c");
	OPEN_EACH(O_WRONLY | O_CREAT | O_EXCL, "c");
	OPEN_EACH(O_WRONLY | O_CREAT | O_NOFOLLOW, "c");
	OPEN_EACH(O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, "c");
	OPEN_EACH(O_WRONLY | O_CREAT | O_TRUNC, "c");
	OPEN_EACH(O_RDWR | O_CREAT | O_APPEND, "c");
	OPEN_EACH(O_RDONLY | O_CREAT | O_DIRECTORY, NULL);
	OPEN_EACH(O_RDONLY | O_TRUNC, NULL);
	OPEN_EACH(O_WRONLY | O_TRUNC, "t");
	OPEN_EACH(O_WRONLY | O_APPEND, "a");
	OPEN_EACH(O_WRONLY | O_APPEND | O_NOFOLLOW, "a");
	OPEN_EACH(O_ACCMODE, NULL);
}

static void creat_each(void)
{
	EACH("creat", {
		if (strstr(name, "fifo"))
			continue; /* waits for a reader: fifo.c */
		OPENS(creat(name, 0600));
		show(name);
	});
}

static void reopened(void)
{
	next_set();
	reopen("file", O_RDONLY);
	reopen("file", O_WRONLY);
	reopen("file", O_RDWR);
	reopen("ro", O_WRONLY);
	reopen("cu", O_RDWR | O_APPEND);
	reopen("new", O_RDWR | O_TRUNC);
	reopen("hard1", O_WRONLY | O_TRUNC);
	show("hard1");
	show("hard2");
	reopen("dir", O_RDONLY);
	reopen("dir", O_RDONLY | O_DIRECTORY);
	reopen("dir", O_WRONLY);
}

static void reader_and_writer(void)
{
	char buf[8] = "";
	int fd, again;

	/* A reader follows a later writer of the same file. */
	next_set();
	fd = open("new", O_RDONLY);
	again = open("new", O_WRONLY | O_TRUNC);
	CALL(write(again, "abc", 3));
	CALL(read(fd, buf, 8));
	puts(buf);
	close(again);
	close(fd);
}

static void modes_and_arguments(void)
{
	int fd;

	/* Modes of what is made. */
	umask(077);
	OPENS(open("m1", O_CREAT | O_WRONLY, 0777));
	show("m1");
	umask(0);
	OPENS(open("m2", O_CREAT | O_WRONLY, 07777));
	show("m2");
	fd = OPENS(open("m3", O_CREAT | O_RDWR, 0));
	CALL(write(fd, "x", 1));
	show("m3");
	OPENS(open("m4", O_CREAT | O_WRONLY, 0444));
	show("m4");
	CALL(syscall(SYS_open, NULL, O_RDONLY));
	CALL(syscall(SYS_open, memcpy(tail_alloc(4), "file", 4), O_RDONLY));
	CALL(openat(99, "file", O_RDONLY));
	CALL(openat(-1, "file", O_RDONLY));
	CALL(openat(0, "file", O_RDONLY));
	CALL(openat(fd, "file", O_RDONLY));
	CALL(openat(fd, "", O_RDONLY));
}

static void at_directories(void)
{
	/* Through a descriptor of a directory, of each kind. */
	static const char *const dirs[] = {"dir", "mdir", "wdir", "odir", "ndir", "edir"};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		int d = open(dirs[i], i & 1 ? O_PATH : O_RDONLY | O_DIRECTORY);

		printf("-- at %s\n", dirs[i]);
		OPENS(openat(d, "a", O_RDONLY));
		OPENS(openat(d, "a", O_WRONLY));
		OPENS(openat(d, "made", O_WRONLY | O_CREAT | O_EXCL, 0644));
		OPENS(openat(d, "../file", O_RDONLY));
		OPENS(openat(d, ".", O_RDONLY));
		list(dirs[i]);
		close(d);
	}
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	flags();
	creat_each();
	reopened();
	reader_and_writer();
	modes_and_arguments();
	at_directories();
	return 0;
}
