/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that look from inside whether what they find is right. */
#ifndef KAPSEL_TESTS_CHECK_H
#define KAPSEL_TESTS_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failures;

#define CHECK(what)                                                                      \
	do {                                                                             \
		if (!(what)) {                                                           \
			printf("line %d: %s (errno %d)\n", __LINE__, #what, errno);      \
			failures++;                                                      \
		}                                                                        \
	} while (0)

static inline long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -errno : (long)st.st_size;
}

static inline void write_file(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

#endif
