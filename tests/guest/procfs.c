/* SPDX-License-Identifier: Apache-2.0 */
/* /proc of oneself and of one's children: links, texts, and descriptors opened again. */
#include <signal.h>

#include "guest.h"

static void link_of(const char *path)
{
	char buf[PATH_MAX];
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);
	struct stat st;

	buf[n < 0 ? 0 : n] = '\0';
	for (char *p = buf; *p; p++) /* numbers of pipes and sockets */
		if (*p == '[')
			*p = '\0';
	(void)printf("%s -> %s", path, n < 0 ? ename(errno) : shorten(buf));
	(void)printf(", lstat %s", lstat(path, &st) ? ename(errno) : kind_name(st.st_mode));
	(void)printf(", stat %s\n", stat(path, &st) ? ename(errno) : kind_name(st.st_mode));
}

static void fd_link(const char *what, int fd)
{
	char path[64], buf[64] = "";
	int again;

	(void)printf("%s: ", what);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	link_of(path);
	again = open(path, O_RDONLY | O_NONBLOCK);
	(void)printf("   again %s", again < 0 ? ename(errno) : "ok");
	if (again >= 0) {
		ssize_t n = read(again, buf, 20);

		(void)printf(", read %s\n", n < 0 ? ename(errno) : n ? "text" : "nothing");
		(void)close(again);
	} else {
		(void)printf("\n");
	}
}

static void own_links(void)
{
	char path[64];

	link_of("/proc/self/exe");
	link_of("/proc/self/cwd");
	link_of("/proc/thread-self/cwd");
	link_of("/dev/fd");
	link_of("/dev/stdin");
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", getpid());
	(void)printf("by number the same: %d\n", access(path, X_OK));
	CALL(access("/proc/self/cwd/cu", F_OK));
	CALL(access("/proc/self/cwd/../big/n0001", F_OK));
	CALL(unlink("/proc/self/exe"));
	OPENS(open("/proc/self/nothere", O_RDONLY));
	OPENS(open("/proc/self/fd/99", O_RDONLY));
	OPENS(open("/proc/4194305/exe", O_RDONLY));
	OPENS(open("/proc/self/status", O_RDONLY));
	OPENS(open("/proc/self/mounts", O_RDONLY));
	OPENS(open("/proc/self/mountinfo", O_RDONLY));
	OPENS(open("/proc/mounts", O_RDONLY));
}

static void descriptors(void)
{
	int p[2], s[2], fd;

	CALL(pipe(p));
	CALL(write(p[1], "in the pipe", 11));
	fd_link("pipe", p[0]);
	CALL(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	fd_link("socket", s[0]);
	fd_link("file", open("file", O_RDONLY));
	fd_link("copied up", open("cu", O_RDONLY));
	fd_link("directory", open("dir", O_RDONLY | O_DIRECTORY));
	fd = open("new", O_RDWR);
	CALL(unlink("new"));
	fd_link("removed", fd);
	fd = open("file", O_RDONLY);
	CALL(rename("file", "moved"));
	fd_link("renamed", fd);
	fd = open("ro", O_RDONLY);
	CALL(unlink("ro"));
	fd_link("removed image file", fd);
	fd_link("null", open("/dev/null", O_RDWR));
	fd_link("memfd", memfd_create("name", 0));
}

/* Does the text of maps name this program, and no path that is not there? */
static void maps(void)
{
	char line[PATH_MAX + 200], exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	FILE *f = fopen("/proc/self/maps", "r");
	int own = 0, missing = 0;

	exe[n < 0 ? 0 : n] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, '/');

		if (!at)
			continue;
		at[strcspn(at, "\n")] = '\0';
		own += !strcmp(at, exe);
		missing += access(at, F_OK) < 0;
	}
	if (f)
		(void)fclose(f);
	(void)printf("maps: own %d, not there %d\n", own > 2, missing);
}

static void child(void)
{
	char path[64], buf[PATH_MAX];
	pid_t pid = fork();
	ssize_t n;

	if (!pid) {
		if (chdir("dir") < 0)
			_exit(1);
		execl("/bin/sleep", "sleep", "300", NULL);
		_exit(1);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	for (int i = 0; i < 1500; i++) { /* until it is that program, or for half a minute */
		(void)usleep(20000);
		n = readlink(path, buf, sizeof(buf) - 1);
		buf[n < 0 ? 0 : n] = '\0';
		if (n > 5 && !strcmp(buf + n - 5, "sleep"))
			break;
	}
	(void)printf("child's exe ends in sleep %d\n", n > 5 && !strcmp(buf + n - 5, "sleep"));
	(void)snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	n = readlink(path, buf, sizeof(buf) - 1);
	buf[n < 0 ? 0 : n] = '\0';
	(void)printf("child's cwd %s\n", shorten(buf));
	(void)snprintf(path, sizeof(path), "/proc/%d/cwd/sub/c", pid);
	OPENS(open(path, O_RDONLY) < 0 ? -1 : 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	OPENS(open(path, O_RDONLY) < 0 ? -1 : 0);
}

int main(int argc, char **argv)
{
	guest_begin(argc, argv);
	(void)close_range(3, ~0U, 0);
	next_set();
	own_links();
	descriptors();
	maps();
	child();
	return 0;
}
