/* SPDX-License-Identifier: Apache-2.0 */
/*
 * makes COUNT [UMASK]: makes COUNT files in a directory of its own, /var/made, looks at each, and for as many that are not there, then says so and waits
 * for a line, then makes COUNT more. Exit status: 0; 1 when one could not be made, its errno goes to standard output; 2 when it is not what was made.
 * makes settle UPPER: makes files below /var at the gate, by their host paths, where the directory has more than is seen there, and asks whether
 * they stand.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jump.h"

static void make(char set, long count)
{
	char path[64];

	for (long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/var/made/%c%ld", set, i);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

		if (fd < 0 || write(fd, "made\n", 5) != 5) {
			puts(strerrorname_np(errno));
			exit(1);
		}
		close(fd);
	}
}

static void look(long count)
{
	for (long i = 0; i < count; i++) {
		char path[64], text[8];
		struct stat st, held;

		snprintf(path, sizeof(path), "/var/made/none%ld", i);
		if (stat(path, &st) == 0 || errno != ENOENT || open(path, O_RDONLY) >= 0 || errno != ENOENT)
			exit(2);
		snprintf(path, sizeof(path), "/var/made/a%ld", i);
		int fd = stat(path, &st) || !(st.st_mode & S_IRUSR) ? -2 : open(path, O_RDONLY);

		if (fd == -1 || (fd >= 0 && (fstat(fd, &held) || st.st_ino != held.st_ino || st.st_dev != held.st_dev || held.st_size != 5 ||
					     read(fd, text, sizeof(text)) != 5 || strncmp(text, "made\n", 5) != 0)))
			exit(2);
		close(fd);
	}
}

/* 1 when the file stands. */
static int stands(const char *host)
{
	long fd = jump((long)KP_GATE, SYS_openat, AT_FDCWD, (long)host, O_CREAT | O_EXCL | O_RDWR, 0600), rc;

	if (fd < 0)
		return -1;
	rc = jump((long)KP_ASK, SYS_openat, fd, (long)host, 0, 0);
	close((int)fd);
	return rc == -EAGAIN ? 0 : rc ? -1 : 1;
}

static int settle(const char *upper)
{
	char hides[4096], more[4096], text[32] = "";
	int fd, seen = 0, first, second;

	snprintf(hides, sizeof(hides), "%s/var/text", upper);
	snprintf(more, sizeof(more), "%s/var/more", upper);
	for (int i = 0; i < 6; i++)
		seen += access("/var/more", F_OK) == 0;
	first = stands(hides);
	second = stands(more);
	printf("%d %d %d %d ", first, second, seen, access("/var/more", F_OK));
	fd = open("/var/text", O_RDONLY);
	printf("%zd %s", read(fd, text, sizeof(text) - 1), text);
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	if (mkdir("/var/made", 0755) < 0 || chmod("/var/made", 0755) < 0)
		return 1;
	if (argc > 2 && !strcmp(argv[1], "settle"))
		return settle(argv[2]);
	if (argc > 2)
		umask((mode_t)strtol(argv[2], NULL, 8));
	make('a', count);
	look(count);
	printf("%d\n", getpid());
	fflush(stdout);
	if (getchar() == EOF)
		return 0;
	make('b', count);
	return 0;
}
