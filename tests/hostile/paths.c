/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts by name: files outside read, written, run, or only told to be there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hostile.h"

static int answer(long rc)
{
	return rc < 0 ? refused() : GOT;
}

/* --- reading --- */

static int read_plain(const struct hostile *h)
{
	return reads_token(h, outside(h, "canary"));
}

static int read_dotdot(const struct hostile *h)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/../../../../../..//.%s/empty/../canary", h->dir);
	return reads_token(h, path);
}

static int read_by_root(const struct hostile *h)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "/proc/self/root%s/canary", h->dir);
	return reads_token(h, path);
}

static int read_by_victims_root(const struct hostile *h)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "/proc/%d/root%s/canary", h->victim, h->dir);
	return reads_token(h, path);
}

static int read_by_parents_root(const struct hostile *h)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "/proc/%d/root%s/canary", h->parent, h->dir);
	return reads_token(h, path);
}

static int read_by_victims_cwd(const struct hostile *h)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/cwd/canary", h->victim);
	return reads_token(h, path);
}

static int read_by_victims_fd(const struct hostile *h)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", h->victim, h->victim_fd);
	return reads_token(h, path);
}

static int read_by_link(const struct hostile *h)
{
	char link[512];

	(void)snprintf(link, sizeof(link), "%s", inner(h, "to-canary"));
	if (symlink(outside(h, "canary"), link) < 0)
		return refused();
	return reads_token(h, link);
}

static int read_by_hard_link(const struct hostile *h)
{
	char link[512];

	(void)snprintf(link, sizeof(link), "%s", inner(h, "hard"));
	if (linkat(AT_FDCWD, outside(h, "canary"), AT_FDCWD, link, AT_SYMLINK_FOLLOW) < 0)
		return refused();
	return reads_token(h, link);
}

static int read_by_rename(const struct hostile *h)
{
	char to[512];

	(void)snprintf(to, sizeof(to), "%s", inner(h, "moved"));
	return rename(outside(h, "canary"), to) < 0 ? refused() : reads_token(h, to);
}

static int read_by_openat2(const struct hostile *h)
{
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_NO_MAGICLINKS};

	return holds_token(h, (int)syscall(SYS_openat2, AT_FDCWD, outside(h, "canary"), &how, sizeof(how)));
}

static int read_by_path_descriptor(const struct hostile *h)
{
	char link[64];
	int fd = open(outside(h, "canary"), O_PATH);

	if (fd < 0)
		return refused();
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return reads_token(h, link);
}

static int read_by_chdir(const struct hostile *h)
{
	return chdir(h->dir) < 0 ? refused() : reads_token(h, "canary");
}

static int read_attribute(const struct hostile *h)
{
	char value[128] = "";

	if (getxattr(outside(h, "canary"), "user.canary", value, sizeof(value) - 1) < 0)
		return errno == EOPNOTSUPP ? NOT_HERE : refused();
	return strstr(value, h->token) ? GOT : EIO;
}

static int read_mapped_files(const struct hostile *h)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files", h->victim);
	d = opendir(path);
	e = d ? readdir(d) : NULL;
	return e ? GOT : refused();
}

/* --- names --- */

static int name_stat(const struct hostile *h)
{
	struct stat st;

	return answer(stat(outside(h, "canary"), &st));
}

static int name_access(const struct hostile *h)
{
	return answer(access(outside(h, "canary"), F_OK));
}

static int name_readlink(const struct hostile *h)
{
	char buf[512];

	return answer(readlink(outside(h, "link"), buf, sizeof(buf)));
}

static int name_chdir(const struct hostile *h)
{
	return answer(chdir(h->dir));
}

static int name_path_descriptor(const struct hostile *h)
{
	struct stat st;
	int fd = open(h->dir, O_PATH | O_DIRECTORY);

	return fd < 0 ? refused() : answer(fstatat(fd, "canary", &st, 0));
}

static int name_list(const struct hostile *h)
{
	DIR *d = opendir(h->dir);
	struct dirent *e = NULL;

	while (d && (e = readdir(d)))
		if (!strcmp(e->d_name, "canary"))
			return GOT;
	return refused();
}

static int name_statfs(const struct hostile *h)
{
	struct statfs fs;

	return answer(statfs(h->dir, &fs));
}

static int name_inotify(const struct hostile *h)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return answer(inotify_add_watch(fd, h->dir, IN_ALL_EVENTS));
}

/* Not what a path leads to, but whether something is there: errors tell that too. */
static int name_by_error(const struct hostile *h)
{
	char path[600];
	int there, missing;

	(void)snprintf(path, sizeof(path), "%s/canary/x", h->dir);
	there = access(path, F_OK) < 0 ? errno : 0;
	(void)snprintf(path, sizeof(path), "%s/missing/x", h->dir);
	missing = access(path, F_OK) < 0 ? errno : 0;
	return there != missing ? GOT : ENOENT;
}

/* What /proc says of ourselves: all that lies outside is below directories whose names begin alike. */
static bool tells(const char *file, const char *secret)
{
	static char text[1 << 20];
	char path[64];
	ssize_t n;
	size_t all = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/%s", file);
	n = readlink(path, text, sizeof(text));
	if (n > 0)
		return memmem(text, (size_t)n, secret, strlen(secret));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && all < sizeof(text) && (n = read(fd, text + all, sizeof(text) - all)) > 0)
		all += (size_t)n;
	(void)close(fd);
	return memmem(text, all, secret, strlen(secret));
}

static int names_in_proc(const struct hostile *h)
{
	static const char *const files[] = {"maps", "mounts", "mountinfo", "mountstats", "smaps", "numa_maps", "exe", "root", "net/unix", "auxv", "stat"};
	char first[64];

	(void)snprintf(first, sizeof(first), "%s", h->out);
	first[strcspn(first, ".")] = '\0';
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (tells(files[i], first))
			return GOT;
	return ENOENT;
}

/* --- writing: the stage sees whether its directory has changed --- */

static int write_creat(const struct hostile *h)
{
	return answer(creat(outside(h, "made"), 0644));
}

static int write_open(const struct hostile *h)
{
	int fd = open(outside(h, "canary"), O_WRONLY | O_APPEND);

	return fd < 0 ? refused() : answer(write(fd, "x", 1));
}

static int write_trunc(const struct hostile *h)
{
	return answer(open(outside(h, "canary"), O_RDONLY | O_TRUNC));
}

static int write_truncate(const struct hostile *h)
{
	return answer(truncate(outside(h, "canary"), 1));
}

static int write_mkdir(const struct hostile *h)
{
	return answer(mkdir(outside(h, "made"), 0755));
}

static int write_rmdir(const struct hostile *h)
{
	return answer(rmdir(outside(h, "empty")));
}

static int write_unlink(const struct hostile *h)
{
	return answer(unlink(outside(h, "canary")));
}

static int write_rename(const struct hostile *h)
{
	return answer(rename(outside(h, "canary"), outside(h, "renamed")));
}

static int write_exchange(const struct hostile *h)
{
	return answer(syscall(SYS_renameat2, AT_FDCWD, outside(h, "canary"), AT_FDCWD, outside(h, "program"), 2));
}

static int write_link(const struct hostile *h)
{
	return answer(link(outside(h, "canary"), outside(h, "linked")));
}

static int write_symlink(const struct hostile *h)
{
	return answer(symlink("/x", outside(h, "linked")));
}

static int write_through_dangling(const struct hostile *h)
{
	char link[512];

	(void)snprintf(link, sizeof(link), "%s", inner(h, "dangling"));
	if (symlink(outside(h, "made"), link) < 0)
		return refused();
	return answer(open(link, O_WRONLY | O_CREAT, 0644));
}

static int write_fifo(const struct hostile *h)
{
	return answer(mkfifo(outside(h, "made"), 0644));
}

static int write_socket(const struct hostile *h)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", outside(h, "sock"));
	return answer(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
}

static int write_tmpfile(const struct hostile *h)
{
	char link[64];
	int fd = open(h->dir, O_TMPFILE | O_RDWR, 0644);

	if (fd < 0)
		return refused();
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return answer(linkat(AT_FDCWD, link, AT_FDCWD, outside(h, "made"), AT_SYMLINK_FOLLOW));
}

static int write_chmod(const struct hostile *h)
{
	return answer(chmod(outside(h, "canary"), 0600));
}

static int write_fchmodat2(const struct hostile *h)
{
	return answer(syscall(452, AT_FDCWD, outside(h, "canary"), 0600, 0));
}

static int write_chown(const struct hostile *h)
{
	return answer(chown(outside(h, "canary"), getuid(), getgid()));
}

static int write_times(const struct hostile *h)
{
	struct timeval old[2] = {{1, 0}, {1, 0}};

	return answer(utimes(outside(h, "canary"), old));
}

static int write_attribute(const struct hostile *h)
{
	return answer(setxattr(outside(h, "canary"), "user.made", "x", 1, 0));
}

static int write_attribute_at(const struct hostile *h)
{
	struct {
		uint64_t value;
		uint32_t size, flags;
	} args = {(uintptr_t)"x", 1, 0};

	return answer(syscall(463, AT_FDCWD, outside(h, "canary"), 0, "user.made", &args, sizeof(args)));
}

static int make_device(const struct hostile *h)
{
	const char *path = inner(h, "device");
	char zero = 1;
	int fd;

	if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) < 0)
		return refused();
	fd = open(path, O_RDONLY);
	(void)unlink(path);
	return fd >= 0 && read(fd, &zero, 1) == 1 && !zero ? GOT : refused();
}

static int write_sysctl(const struct hostile *h)
{
	(void)h;
	return answer(open("/proc/sys/kernel/core_pattern", O_WRONLY));
}

/* What is changed stays as it was, for it is the host's. */
static int same_mode(const char *path, bool by_descriptor)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0)
		return refused();
	if (getuid())
		return NOT_HERE;
	return answer(by_descriptor ? fchmod(fd, st.st_mode & 07777) : chmod(path, st.st_mode & 07777));
}

static int chmod_device(const struct hostile *h)
{
	(void)h;
	return same_mode("/dev/null", false);
}

static int fchmod_device(const struct hostile *h)
{
	(void)h;
	return same_mode("/dev/null", true);
}

static int chown_device(const struct hostile *h)
{
	(void)h;
	return getuid() ? NOT_HERE : answer(chown("/dev/zero", 0, 0));
}

static int chmod_terminals(const struct hostile *h)
{
	(void)h;
	return same_mode("/dev/pts", false);
}

static int chmod_proc(const struct hostile *h)
{
	(void)h;
	return same_mode("/proc/cpuinfo", false);
}

static int use_kernel_memory(const struct hostile *h)
{
	(void)h;
	return answer(open("/dev/kmsg", O_RDONLY | O_NONBLOCK));
}

static int read_sys(const struct hostile *h)
{
	(void)h;
	return answer(open("/sys/kernel/uevent_seqnum", O_RDONLY));
}

const struct attempt path_attempts[] = {
	{"open", "8,11", "", read_plain},
	{"open-dotdot", "11", "", read_dotdot},
	{"open-self-root", "11", "", read_by_root},
	{"open-victim-root", "11", "", read_by_victims_root},
	{"open-parent-root", "11,23", "", read_by_parents_root},
	{"open-victim-cwd", "11", "", read_by_victims_cwd},
	{"open-victim-fd", "11", "", read_by_victims_fd},
	{"open-symlink", "13", "", read_by_link},
	{"open-hard-link", "13,14", "", read_by_hard_link},
	{"open-renamed", "14", "W", read_by_rename},
	{"openat2", "9", "", read_by_openat2},
	{"open-o_path", "13", "", read_by_path_descriptor},
	{"open-chdir", "16,17", "", read_by_chdir},
	{"getxattr", "16", "", read_attribute},
	{"map_files", "11", "", read_mapped_files},
	{"stat", "16", "S", name_stat},
	{"access", "16", "S", name_access},
	{"readlink", "15,16", "S", name_readlink},
	{"chdir", "16", "S", name_chdir},
	{"o_path-stat", "13,16", "S", name_path_descriptor},
	{"getdents", "16", "", name_list},
	{"statfs", "16,18", "S", name_statfs},
	{"inotify", "18", "S", name_inotify},
	{"errors-tell", "16", "S", name_by_error},
	{"proc-names", "18", "", names_in_proc},
	{"creat", "13", "W", write_creat},
	{"open-append", "13", "W", write_open},
	{"open-o_trunc", "13", "W", write_trunc},
	{"truncate", "13", "W", write_truncate},
	{"mkdir", "10,16", "W", write_mkdir},
	{"rmdir", "10,16", "W", write_rmdir},
	{"unlink", "15,16", "W", write_unlink},
	{"rename", "14,15", "W", write_rename},
	{"exchange", "13", "W", write_exchange},
	{"link", "14", "W", write_link},
	{"symlink", "13", "W", write_symlink},
	{"dangling", "13", "W", write_through_dangling},
	{"mkfifo", "13", "W", write_fifo},
	{"bind-path", "29", "W", write_socket},
	{"o_tmpfile", "13", "W", write_tmpfile},
	{"chmod", "16", "W", write_chmod},
	{"fchmodat2", "16", "W", write_fchmodat2},
	{"chown", "16", "W", write_chown},
	{"utimes", "16", "W", write_times},
	{"setxattr", "16", "W", write_attribute},
	{"setxattrat", "2,16", "W", write_attribute_at},
	{"mknod-device", "14", "", make_device},
	{"sysctl", "11", "", write_sysctl},
	{"chmod-device", "16", "", chmod_device},
	{"fchmod-device", "16", "", fchmod_device},
	{"chown-device", "16", "", chown_device},
	{"chmod-dev-pts", "16", "", chmod_terminals},
	{"chmod-proc", "16", "", chmod_proc},
	{"kmsg", "11", "", use_kernel_memory},
	{"sys", "11", "S", read_sys},
	{NULL, NULL, NULL, NULL},
};
