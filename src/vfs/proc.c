/* SPDX-License-Identifier: Apache-2.0 */
/* Names and links below /proc. Process numbers are the host's, so a guest path below /proc is its own host path. */
#include <ctype.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kapsel/start.h"
#include "vfs/internal.h"
#include "vfs/proc.h"
#include "vfs/resolve.h"

/* Field of /proc/PID/status by its name with the colon; -1 when gone. */
static long status_field(pid_t pid, const char *field)
{
	char path[64], buf[2048];
	kp_autoclose int fd = -1;
	const char *at;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (n = read(fd, buf, sizeof(buf) - 1)) <= 0)
		return -1;
	buf[n] = '\0';
	at = strstr(buf, field);
	return at ? strtol(at + strlen(field), NULL, 10) : -1;
}

pid_t kp_proc_tgid(pid_t tid)
{
	/* Most are their process's first thread, which is told fast: the text of /proc takes 15 us to be made. */
	if (syscall(SYS_tgkill, tid, tid, 0) == 0)
		return tid;
	return (pid_t)status_field(tid, "\nTgid:");
}

bool kp_proc_is_guest(const struct kp_vfs *v, pid_t pid)
{
	for (int depth = 0; depth < 4096 && pid > 1; depth++) {
		pid = (pid_t)status_field(pid, "\nPPid:");
		if (pid == v->supervisor)
			return true;
	}
	return false;
}

int kp_proc_exe(pid_t pid, char *buf, size_t size)
{
	struct kp_ident ident;
	struct iovec local = {&ident, sizeof(ident)};
	struct iovec remote = {(void *)(uintptr_t)KP_IDENT_BASE, sizeof(ident)};

	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)sizeof(ident))
		return errno == ESRCH ? -ESRCH : -EACCES;
	if (ident.magic != KP_IDENT_MAGIC)
		return -ENOENT;
	ident.exe[sizeof(ident.exe) - 1] = '\0';
	return (size_t)snprintf(buf, size, "%s", ident.exe) >= size ? -ENAMETOOLONG : 0;
}

/* Splits "/proc/PID[/task/TID]/rest": the rest, or NULL. */
static const char *process_part(const char *path, pid_t *ret_pid)
{
	const char *p = path + strlen("/proc/");
	char *end;

	if (!isdigit((unsigned char)*p))
		return NULL;
	*ret_pid = (pid_t)strtol(p, &end, 10);
	if (*end != '/')
		return NULL;
	p = end + 1;
	if (!strncmp(p, "task/", 5) && isdigit((unsigned char)p[5])) {
		(void)strtol(p + 5, &end, 10);
		if (*end != '/')
			return NULL;
		p = end + 1;
	}
	return p;
}

static bool is_magic(const char *path)
{
	pid_t pid;
	const char *rest = process_part(path, &pid);

	return rest && (!strcmp(rest, "exe") || !strcmp(rest, "cwd") || !strcmp(rest, "root") ||
			!strncmp(rest, "fd/", 3) || !strncmp(rest, "map_files/", 10) || !strncmp(rest, "ns/", 3));
}

bool kp_proc_link_by_name(const struct kp_hpath *link)
{
	pid_t pid;
	const char *rest = process_part(link->s, &pid);

	return rest && (!strcmp(rest, "exe") || !strcmp(rest, "root"));
}

bool kp_proc_fd_of(const char *link, pid_t *ret_tid, int *ret_fd)
{
	const char *at = strstr(link, "/fd/"), *task = at;
	char *end;

	while (task && task > link && task[-1] != '/')
		task--;
	if (!task || !isdigit((unsigned char)*task) || !isdigit((unsigned char)at[4]))
		return false;
	*ret_tid = (pid_t)strtol(task, &end, 10);
	if (end != at)
		return false;
	*ret_fd = (int)strtol(at + 4, &end, 10);
	return !*end;
}

/* Beside processes: what tells of the kernel, the processors and memory. Not what tells of the host's files, devices, keys and objects. */
bool kp_proc_shows(const char *name)
{
	static const char *const shown[] = {
		"buddyinfo", "cgroups", "cpuinfo", "crypto", "devices", "filesystems", "interrupts", "loadavg",
		"meminfo", "misc", "mounts", "net", "pressure", "self", "softirqs", "stat", "sys", "thread-self", "uptime", "version",
		"vmstat", "zoneinfo",
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(shown); i++)
		if (!strcmp(name, shown[i]))
			return true;
	return name[0] >= '0' && name[0] <= '9';
}

bool kp_proc_is_of_process(const struct kp_node *n)
{
	const char *rest = kp_path_below(n->host.s, "/proc");

	return rest && isdigit((unsigned char)rest[1]);
}

int kp_proc_lookup(struct kp_vfs *v, const char *name, size_t len, pid_t tid, struct kp_node *child)
{
	bool top = strlen(child->guest.s) == strlen("/proc/") + len;

	child->self.proc = true;
	child->host = *(struct kp_hpath *)&child->guest;
	if (top && isdigit((unsigned char)name[0])) {
		pid_t pid = (pid_t)strtol(name, NULL, 10);

		if (!kp_proc_is_guest(v, pid))
			return 0;
	}
	if (top && !kp_proc_shows(child->guest.s + strlen("/proc/")))
		return 0;
	if (fstatat(AT_FDCWD, child->host.s, &child->st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	child->origin = KP_PROC;
	child->mode = child->st.st_mode;
	if (S_ISLNK(child->mode)) {
		if (is_magic(child->host.s))
			child->origin = KP_MAGIC;
		else if (top && (!strcmp(child->guest.s, "/proc/self") || !strcmp(child->guest.s, "/proc/thread-self")))
			child->entry = (uint32_t)tid; /* whose "self" it is */
	}
	child->self.mode = child->mode;
	child->self.uid = child->st.st_uid;
	child->self.gid = child->st.st_gid;
	return 0;
}

/* An object of the store has one name for ever; the guest may have removed or moved the file of the image that it is. */
static bool has_lost_name(struct kp_vfs *v, const struct kp_mapped *m)
{
	struct kp_node *n;
	bool lost;

	if (m->kind != KP_MAP_IMAGE)
		return m->deleted;
	n = kp_calloc(1, sizeof(*n));
	lost = kp_resolve_exact(v, m->guest.s, 0, n) || !kp_same_object(v, n, m, NULL);
	free(n);
	return lost;
}

int kp_proc_readlink(struct kp_vfs *v, const struct kp_node *n, char *buf, size_t size)
{
	struct kp_mapped m;
	char host[PATH_MAX];
	const char *rest;
	pid_t pid;
	ssize_t len;

	if (!strcmp(n->host.s, "/proc/self"))
		return snprintf(buf, size, "%d", kp_proc_tgid((pid_t)n->entry)) < 0 ? -EIO : 0;
	if (!strcmp(n->host.s, "/proc/thread-self"))
		return snprintf(buf, size, "%d/task/%d", kp_proc_tgid((pid_t)n->entry), (pid_t)n->entry) < 0 ? -EIO : 0;
	rest = process_part(n->host.s, &pid);
	if (rest && !strcmp(rest, "exe"))
		return kp_proc_exe(pid, buf, size);
	if (rest && !strcmp(rest, "root"))
		return snprintf(buf, size, "/") < 0 ? -EIO : 0;
	len = readlink(n->host.s, host, sizeof(host) - 1);
	if (len < 0)
		return -errno;
	host[len] = '\0';
	kp_map_host(v, host, &m);
	if (m.kind == KP_MAP_FOREIGN)
		return (size_t)snprintf(buf, size, "%s", host) >= size ? -ENAMETOOLONG : 0;
	return (size_t)snprintf(buf, size, "%s%s", m.guest.s, has_lost_name(v, &m) ? " (deleted)" : "") >= size ? -ENAMETOOLONG : 0;
}
