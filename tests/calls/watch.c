/* SPDX-License-Identifier: Apache-2.0 */
/* inotify: what who watches a directory is told of changes made in it. Who else opens and reads it is not looked at. */
#include <sys/inotify.h>

#include "guest.h"

#define CHANGES (IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB)

static const struct {
	uint32_t bit;
	const char *name;
} kinds[] = {
	{IN_CREATE, "create"}, {IN_DELETE, "delete"}, {IN_DELETE_SELF, "delete self"}, {IN_MOVED_FROM, "moved from"},
	{IN_MOVED_TO, "moved to"}, {IN_MOVE_SELF, "move self"}, {IN_MODIFY, "modify"}, {IN_CLOSE_WRITE, "close write"},
	{IN_ATTRIB, "attributes"}, {IN_IGNORED, "ignored"}, {IN_ISDIR, "(directory)"},
};

/* The same twice in a row is one event, if nobody has read the first yet. */
static void told(int fd, const char *what)
{
	char buf[8192], last[300] = "", line[300];
	ssize_t size = read(fd, buf, sizeof(buf));

	printf("%s:\n", what);
	for (ssize_t at = 0; at < size;) {
		const struct inotify_event *e = (const void *)(buf + at);
		size_t used = (size_t)snprintf(line, sizeof(line), "  %d %s", e->wd, e->len ? e->name : ".");

		for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
			if (e->mask & kinds[i].bit)
				used += (size_t)snprintf(line + used, sizeof(line) - used, " %s", kinds[i].name);
		if (strcmp(line, last) != 0)
			puts(line);
		strcpy(last, line);
		at += (ssize_t)(sizeof(*e) + e->len);
	}
}

static void in_a_new_directory(int fd)
{
	mkdir("watched", 0755);
	show("watch", inotify_add_watch(fd, "watched", CHANGES));
	put_file("watched/f", "text");
	told(fd, "a file");
	put_file("watched/f", "another");
	told(fd, "written again");
	mkdir("watched/d", 0755);
	told(fd, "a directory");
	show("watch", inotify_add_watch(fd, "watched/d", CHANGES));
	put_file("watched/d/g", "");
	rename("watched/d/g", "watched/d/h");
	told(fd, "a name in it");
	rename("watched/d", "watched/e");
	told(fd, "a directory renamed");
	put_file("watched/e/i", "");
	unlink("watched/e/i");
	unlink("watched/e/h");
	told(fd, "under its new name");
	rmdir("watched/e");
	told(fd, "a directory removed");
	chmod("watched/f", 0600);
	link("watched/f", "watched/l");
	symlink("f", "watched/s");
	mkfifo("watched/p", 0600);
	told(fd, "mode, link, symlink, pipe");
	rename("watched/l", "watched/m");
	unlink("watched/m");
	rename("watched/s", "watched/p");
	told(fd, "names");
	unlink("watched/f");
	unlink("watched/p");
	rmdir("watched");
	told(fd, "all gone");
}

/* Who closes a file is told of it when close returns, whoever opened it for him; and of none that was closed before he watched. */
static void closed_in_time(int fd)
{
	int late = 0, early = 0;

	put_file("closed", "");
	for (int i = 0; i < 700; i++) {
		char buf[1024];
		int wd;

		close(open("closed", O_WRONLY));
		wd = inotify_add_watch(fd, "closed", IN_CLOSE_WRITE);
		early += read(fd, buf, sizeof(buf)) > 0;
		close(open("closed", O_WRONLY));
		late += read(fd, buf, sizeof(buf)) <= 0;
		(void)inotify_rm_watch(fd, wd);
		(void)!read(fd, buf, sizeof(buf));
	}
	printf("closed before: %d, not yet: %d\n", early, late);
	unlink("closed");
}

int main(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	guest_start();
	closed_in_time(fd);
	in_a_new_directory(fd);
	return 0;
}
