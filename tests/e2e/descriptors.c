/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors FILE WHAT...: opens FILE for reading, then does one thing after the other with it and the descriptor, and prints the errno
 * of each (0: done). `wait` makes a file "ready" and waits until it is gone again; `lease` takes a write lease before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static int reopen(int fd, int flags)
{
	char link[64];
	int got;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	got = open(link, flags);
	if (got < 0)
		return -1;
	if (write(got, "changed\n", 8) != 8)
		return -1;
	return close(got);
}

static int wait_for_host(void)
{
	int fd = open("ready", O_WRONLY | O_CREAT, 0666);

	if (fd < 0)
		return -1;
	(void)close(fd);
	for (int i = 0; i < 1200; i++, (void)usleep(50000))
		if (access("ready", F_OK) < 0)
			return 0;
	errno = ETIMEDOUT;
	return -1;
}

static int name_it(int fd)
{
	char link[64];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, AT_FDCWD, "named", AT_SYMLINK_FOLLOW);
}

static int bind_it(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&sa, sizeof(sa));
}

/* A second bind of one socket, which cannot but fail, to the name of a removed file. */
static int bind_again(const char *file)
{
	struct sockaddr_un first = {.sun_family = AF_UNIX, .sun_path = "/first"}, again = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(again.sun_path, sizeof(again.sun_path), "%s", file);
	if (fd < 0 || unlink(file) < 0 || bind(fd, (struct sockaddr *)&first, sizeof(first)) < 0)
		return -1;
	return bind(fd, (struct sockaddr *)&again, sizeof(again));
}

static int act(const char *what, const char *file, int fd)
{
	struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	int version = 7;

	if (!strcmp(what, "unlink"))
		return unlink(file);
	if (!strcmp(what, "wait"))
		return wait_for_host();
	if (!strcmp(what, "lease"))
		return signal(SIGIO, SIG_IGN) == SIG_ERR || fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ? -1 : wait_for_host();
	if (!strcmp(what, "chmod-exe"))
		return chmod("/proc/self/exe", 0);
	if (!strcmp(what, "fchmod"))
		return fchmod(fd, 0600);
	if (!strcmp(what, "futimens"))
		return futimens(fd, times);
	if (!strcmp(what, "fsetxattr"))
		return fsetxattr(fd, "user.attribute", "1", 1, 0);
	if (!strcmp(what, "fremovexattr"))
		return fremovexattr(fd, "user.attribute");
	if (!strcmp(what, "reopen"))
		return reopen(fd, O_WRONLY);
	if (!strcmp(what, "empty"))
		return reopen(fd, O_WRONLY | O_TRUNC);
	if (!strcmp(what, "link"))
		return name_it(fd);
	if (!strcmp(what, "bind"))
		return bind_it();
	if (!strcmp(what, "bind-again"))
		return bind_again(file);
	if (!strcmp(what, "setversion"))
		return ioctl(fd, FS_IOC_SETVERSION, &version);
	if (!strcmp(what, "ext4-setversion"))
		return ioctl(fd, _IOW('f', 4, long), &version);
	if (!strcmp(what, "verity"))
		return ioctl(fd, FS_IOC_ENABLE_VERITY, &(struct fsverity_enable_arg){.version = 1, .hash_algorithm = 1, .block_size = 4096});
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;

	if (fd < 0)
		return 2;
	for (int i = 2; i < argc; i++)
		printf("%s %d\n", argv[i], act(argv[i], argv[1], fd) < 0 ? errno : 0);
	return 0;
}
