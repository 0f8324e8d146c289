/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tree.h"

static const char *type_name(mode_t mode)
{
	return S_ISDIR(mode) ? "dir" : S_ISREG(mode) ? "file" : S_ISLNK(mode) ? "link" : S_ISFIFO(mode) ? "fifo"
	       : S_ISSOCK(mode) ? "sock" : "other";
}

void print_stat(FILE *to, const struct stat *st)
{
	fprintf(to, "%s", type_name(st->st_mode));
	if (!S_ISLNK(st->st_mode))
		fprintf(to, " %04o", st->st_mode & 07777);
	if (!S_ISDIR(st->st_mode)) /* a directory's size and links are the file system's own business */
		fprintf(to, " size %lld links %lu", (long long)st->st_size, (unsigned long)st->st_nlink);
	fprintf(to, "%s%s", st->st_uid == geteuid() ? "" : " OWNER", st->st_gid == getegid() ? "" : " GROUP");
	if (st->st_mtim.tv_sec < RUN_BEGAN)
		fprintf(to, " time %lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

unsigned long hash_fd(int fd)
{
	unsigned long h = 5381;
	unsigned char buf[16384];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			h = h * 33 + buf[i];
		at += n;
	}
	return n < 0 ? (unsigned long)errno : h;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void print_names(int dirfd)
{
	struct dirent **names;
	int count = scandirat(dirfd, ".", &names, NULL, by_name);

	if (count < 0) {
		printf(" unreadable: %d", errno);
		return;
	}
	for (int i = 0; i < count; i++) {
		struct stat st;

		printf(" %s/%d", names[i]->d_name, names[i]->d_type);
		if (strcmp(names[i]->d_name, "..") != 0 && fstatat(dirfd, names[i]->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_ino != names[i]->d_ino)
			printf(" NUMBER");
		free(names[i]);
	}
	free(names);
}

/* The first name of each file, so that links to one file are seen to be that. */
#define MAX_FILES 4096
static struct {
	dev_t dev;
	ino_t ino;
	char *path;
} files[MAX_FILES];
static size_t file_count;

static const char *first_name(const struct stat *st, const char *path)
{
	for (size_t i = 0; i < file_count; i++)
		if (files[i].dev == st->st_dev && files[i].ino == st->st_ino)
			return files[i].path;
	if (file_count < MAX_FILES) {
		files[file_count].dev = st->st_dev;
		files[file_count].ino = st->st_ino;
		files[file_count++].path = strdup(path);
	}
	return path;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_xattrs(FILE *to, const char *path)
{
	char names[4096], value[256], *sorted[64];
	ssize_t len = llistxattr(path, names, sizeof(names));
	size_t count = 0;

	for (ssize_t at = 0; at < len && count < 64; at += (ssize_t)strlen(names + at) + 1)
		if (!strncmp(names + at, "user.", 5))
			sorted[count++] = names + at;
	qsort(sorted, count, sizeof(*sorted), by_text);
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, sorted[i], value, sizeof(value));

		fprintf(to, " %s=%.*s", sorted[i], n < 0 ? 0 : (int)n, value);
	}
}

static void walk(FILE *to, const char *path)
{
	struct dirent **names;
	char text[PATH_MAX];
	struct stat st;
	int count, fd;
	ssize_t n;

	if (lstat(path, &st) < 0) {
		fprintf(to, "  %s: errno %d\n", path, errno);
		return;
	}
	fprintf(to, "  %s: ", path);
	print_stat(to, &st);
	if (S_ISLNK(st.st_mode) && (n = readlink(path, text, sizeof(text))) >= 0)
		fprintf(to, " -> %.*s", (int)n, text);
	if (S_ISREG(st.st_mode) && (fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) >= 0) {
		fprintf(to, " holds %lx", hash_fd(fd));
		(void)close(fd);
	}
	if (!S_ISLNK(st.st_mode))
		print_xattrs(to, path);
	if (!S_ISDIR(st.st_mode) && strcmp(first_name(&st, path), path) != 0)
		fprintf(to, " is %s", first_name(&st, path));
	fprintf(to, "\n");
	if (!S_ISDIR(st.st_mode))
		return;
	count = scandir(path, &names, NULL, by_name);
	for (int i = 0; i < count; i++) {
		if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0 &&
		    snprintf(text, sizeof(text), "%s/%s", path, names[i]->d_name) < (int)sizeof(text))
			walk(to, text);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

void print_tree(FILE *to, const char *path)
{
	walk(to, path);
	while (file_count)
		free(files[--file_count].path);
}

unsigned long hash_tree(const char *path)
{
	unsigned long h = 5381;
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	print_tree(to, path);
	(void)fclose(to);
	for (size_t i = 0; i < len; i++)
		h = h * 33 + (unsigned char)text[i];
	free(text);
	return h;
}
