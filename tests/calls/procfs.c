/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc tells a program of itself must be in terms of the tree that it sees. */
#include "guest.h"
#include <dirent.h>
#include <pthread.h>

static char top[PATH_MAX];

/* A link's text, with T for the tree's top. */
static void show_link(const char *path)
{
	char buf[PATH_MAX], *text = buf;
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);
	size_t len = strlen(top);

	if (n < 0) {
		printf("%s -> %s\n", path, errno_name(errno));
		return;
	}
	buf[n] = 0;
	if (!strncmp(buf, top, len)) {
		text = buf + len - 1;
		*text = 'T';
	} else if (!strncmp(buf, "/var/tmp/", 9)) {
		text = strrchr(buf, '/');
	}
	printf("%s -> %s\n", path, text);
}

static void show_fd_link(const char *label, int fd)
{
	char path[64];

	printf("%s: ", label);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd > 2 && dup2(fd, 50) == 50)
		show_link("/proc/self/fd/50");
	else
		puts(errno_name(errno));
	close(50);
}

static void links(void)
{
	int gone;

	show_link("/proc/self/exe");
	show_link("/proc/self/cwd");
	show_link("/proc/self/root");
	show_link("/proc/thread-self/cwd");
	show_link("/proc/self/cwd/link");
	show_link("/proc/self/root/proc/self/cwd");
	show_fd_link("file", open("file", O_RDONLY));
	show_fd_link("through a link", open("link", O_RDONLY));
	show_fd_link("directory", open("dirlink/sub", O_RDONLY));
	show_fd_link("O_PATH of a link", open("link", O_PATH | O_NOFOLLOW));
	show_fd_link("written", open("ro", O_RDONLY));
	show_fd_link("new", open("new", O_CREAT | O_RDWR, 0644));
	show_fd_link("/dev/null", open("/dev/null", O_RDWR));
	gone = open("empty", O_RDWR);
	unlink("empty");
	show_fd_link("unlinked", gone);
	gone = open("new", O_RDONLY);
	rename("new", "dir/newer");
	show_fd_link("renamed", gone);
	show_link("/proc/self/fd/999");
	show_link("/proc/self/nothing");
	show_link("/proc/nothing");
	chdir("dir");
	show_link("/proc/self/cwd");
	chdir("..");
}

static void through_links(void)
{
	struct stat a, b;
	char path[PATH_MAX + 32];
	int fd = open("file", O_RDONLY), dir = open("dir", O_RDONLY);

	show_content("/proc/self/cwd/file");
	snprintf(path, sizeof(path), "/proc/self/root%s/file", top);
	printf("by root: %d\n", access(path, F_OK));
	dup2(fd, 60);
	dup2(dir, 61);
	show_content("/proc/self/fd/60");
	show_content("/dev/fd/60");
	show_content("/proc/self/fd/61/a");
	show_content("/proc/self/fd/61/../file");
	show_content("/proc/self/fd/60/x");
	CALL(stat("/proc/self/fd/60", &a));
	fstat(60, &b);
	printf("the same file: %d\n", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	CALL(lstat("/proc/self/fd/60", &a));
	printf("itself: %s\n", type_name(a.st_mode));
	FD(open("/proc/self/fd/60", O_RDWR));
	FD(open("/proc/self/fd/60", O_RDONLY | O_NOFOLLOW));
	FD(open("/proc/self/fd/61", O_RDONLY | O_DIRECTORY));
	FD(open("/proc/self/exe", O_RDONLY));
	FD(open("/proc/self/exe", O_RDWR));
	CALL(access("/proc/self/fd/60", W_OK));
	CALL(chmod("/proc/self/fd/60", 0600));
	show_lstat("file");
	CALL(chdir("/proc/self/fd/61"));
	show_link("/proc/self/cwd");
	CALL(chdir("/proc/self/cwd/.."));
	show_link("/proc/self/cwd");
	CALL(unlink("/proc/self/fd/60"));
	show_content("/dev/stdin");
	show_link("/dev/fd");
	show_link("/dev/stdout");
}

/* Lines of maps that name files: none may name a place that this tree does not have. */
static void maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 100], exe[PATH_MAX] = "";
	unsigned mine = 0, missing = 0, files = 0;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	while (f && n > 0 && fgets(line, sizeof(line), f)) {
		char *path = strchr(line, '/');

		if (!path)
			continue;
		path[strcspn(path, "\n")] = 0;
		files++;
		if (!strcmp(path, exe))
			mine++;
		if (access(path, F_OK) < 0)
			missing++;
	}
	printf("maps: files %d, my own %d, missing ones %u\n", files > 0, mine > 0, missing);
	if (f)
		fclose(f);
}

static void field(const char *file, const char *name)
{
	FILE *f = fopen(file, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			printf("%s: %s", file, line);
	if (f)
		fclose(f);
}

static void texts(void)
{
	char buf[256], path[64];
	FILE *f = fopen("/proc/self/comm", "re");

	printf("comm: %s", f && fgets(buf, sizeof(buf), f) ? buf : "?\n");
	if (f)
		fclose(f);
	field("/proc/self/status", "Name:");
	field("/proc/thread-self/status", "Name:");
	field("/proc/self/status", "Threads:");
	field("/proc/self/status", "Umask:");
	snprintf(path, sizeof(path), "/proc/%d/comm", getpid());
	printf("by number: %d\n", access(path, F_OK));
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", getpid());
	printf("by thread: %d\n", access(path, F_OK));
	FD(open("/proc/self/environ", O_RDONLY));
	FD(open("/proc/self/mem", O_RDWR));
	FD(open("/proc/meminfo", O_RDONLY));
	FD(open("/proc/cpuinfo", O_RDONLY));
	FD(open("/proc/self/mounts", O_RDONLY));
	FD(open("/proc/self/mountinfo", O_RDONLY));
	FD(open("/proc/sys/kernel/ostype", O_RDONLY));
	FD(open("/proc/newfile", O_CREAT | O_WRONLY, 0644));
	CALL(mkdir("/proc/newdir", 0755));
}

static void descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	int low = 0, high = 0;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.') {
			if (atoi(e->d_name) <= 2)
				low++;
			if (atoi(e->d_name) > 900)
				high++;
		}
	printf("descriptors: of the first three %d, strangers high up %d\n", low, high);
	if (d)
		closedir(d);
	d = opendir("/proc/self/task");
	int tasks = 0;
	while (d && (e = readdir(d)))
		tasks += e->d_name[0] != '.';
	printf("tasks: %d\n", tasks);
}

int main(void)
{
	guest_start();
	if (!getcwd(top, sizeof(top)))
		return 1;
	descriptors();
	links();
	through_links();
	maps();
	texts();
	return 0;
}
