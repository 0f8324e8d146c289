/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests may open themselves (landlock(7)). Nearly all opens are the supervisor's, who hands out descriptors; but a path that a
 * guest is made to open or to execute lies in the guest's memory, where another of its threads can write over it after it was
 * checked, and then this domain is what holds. It is the spawner thread's, so that all guests of a run share it and may trace each other.
 *
 * Rules only add: where something below a shown directory is hidden, its children are granted one by one and the directory is not.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/internal.h"
#include "vfs/makes.h"

/* linux/landlock.h of the build host may be older than the kernel that this runs on. */
enum {
	FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3, FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15,
	FS_FIRST = (1 << 13) - 1, /* all that the first ABI knows */
	FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
	SCOPE_SIGNAL = 1 << 1,
	RULE_PATH_BENEATH = 1,
	CREATE_RULESET_VERSION = 1,
};

struct ruleset_attr {
	uint64_t handled_access_fs, handled_access_net, scoped;
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

struct domain {
	const struct kp_vfs *vfs;
	int fd;
	uint64_t handled;
};

int kp_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static void allow(const struct domain *d, const char *host, uint64_t rights)
{
	struct path_beneath_attr a = {.allowed_access = rights & d->handled};
	kp_autoclose int fd = open(host, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	/* What is not there now is not granted: the guest is told EACCES, or the supervisor opens it. */
	if (fd < 0 || fstat(fd, &st) < 0 || S_ISLNK(st.st_mode))
		return;
	if (!S_ISDIR(st.st_mode))
		a.allowed_access &= FS_OF_FILES;
	a.parent_fd = fd;
	if (a.allowed_access && syscall(SYS_landlock_add_rule, d->fd, RULE_PATH_BENEATH, &a, 0) < 0)
		KP_DEBUG(LAUNCH, "landlock: %s: %s", host, strerror(errno));
}

static bool is_below(const char *path, const char *host)
{
	const char *rest = kp_path_below(path, host);

	return rest && *rest;
}

#define PROC "/proc" /* shown as the supervisor makes it, whatever the mode: other processes of the host are in the kernel's own */

/* Does another rule decide for that path itself, or does no rule show it? */
static bool is_anothers(const struct kp_vfs *v, const char *host)
{
	const char *name = strrchr(host, '/');

	if (kp_path_below(host, PROC))
		return true;
	for (size_t i = 0; i < v->private_count; i++)
		if (kp_path_below(host, v->private[i].path))
			return true;
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];
		size_t len = strlen(r->host);

		if (!r->dots && !strcmp(r->host, host))
			return true;
		if (r->dots && name && name[1] == '.' && (size_t)(name - host) == (r->host[1] ? len : 0) && !strncmp(r->host, host, len))
			return true;
	}
	return false;
}

static bool hides_something(const struct kp_vfs *v, const char *host)
{
	if (is_below(PROC, host))
		return true;
	for (size_t i = 0; i < v->private_count; i++)
		if (is_below(v->private[i].path, host))
			return true;
	for (size_t i = 0; i < v->rule_count; i++)
		if (is_below(v->rules[i].host, host) || (v->rules[i].dots && !strcmp(v->rules[i].host, host)))
			return true;
	return false;
}

/* dots: those entries alone whose names begin with one. Recursion goes only along the ways to what is hidden. */
static void allow_shown(const struct domain *d, const char *host, uint64_t rights, bool dots)
{
	struct dirent *e;
	DIR *dir;

	if (!dots && !hides_something(d->vfs, host)) {
		allow(d, host, rights);
		return;
	}
	dir = opendir(host);
	while (dir && (e = readdir(dir))) {
		kp_autofree char *child = NULL;

		/* Files and sockets are opened by the supervisor alone: what guests open themselves is terminals and FIFOs. */
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (dots && e->d_name[0] != '.') || e->d_type == DT_LNK ||
		    e->d_type == DT_REG || e->d_type == DT_SOCK)
			continue;
		child = kp_asprintf("%s/%s", host[1] ? host : "", e->d_name);
		if (dots ? !hides_something(d->vfs, child) : !is_anothers(d->vfs, child))
			allow_shown(d, child, rights, false);
	}
	if (dir)
		(void)closedir(dir);
}

static void allow_host(const struct domain *d, enum kp_level level)
{
	const struct kp_vfs *v = d->vfs;

	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];
		bool merged = r->mode == KP_MODE_MERGED;
		uint64_t rights = level == KP_LEVEL_PORTABLE ? FS_READ_FILE | (merged ? FS_WRITE_FILE | FS_TRUNCATE : 0) : 0;

		if (r->mode == KP_MODE_FULL || kp_path_below(r->host, PROC))
			continue;
		if (rights && (r->dots || hides_something(v, r->host))) {
			allow_shown(d, r->host, rights, r->dots);
			rights = 0;
		}
		/* A socket is bound by the guest itself; to make one in a hidden place opens nothing. */
		if (merged && !r->dots)
			rights |= FS_MAKE_SOCK;
		if (rights)
			allow(d, r->host, rights);
	}
	for (size_t i = 0; i < v->bind_count; i++) {
		const struct kp_bind *b = &v->binds[i];

		allow(d, b->host, (b->read_only ? 0 : FS_MAKE_SOCK) |
		      (level == KP_LEVEL_PORTABLE ? FS_READ_FILE | (b->read_only ? 0 : FS_WRITE_FILE | FS_TRUNCATE) : 0));
	}
}

int kp_landlock_make(const struct kp_vfs *v, const char *loader, enum kp_level level, int *ret_fd, struct kp_err *err)
{
	int abi = kp_landlock_abi(), needed = level == KP_LEVEL_STRICT ? 2 : 1;
	struct domain d = {.vfs = v, .handled = FS_FIRST | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0)};
	struct ruleset_attr attr = {.handled_access_fs = d.handled, .scoped = abi >= 6 ? SCOPE_SIGNAL : 0};
	size_t size = abi >= 6 ? sizeof(attr) : abi >= 4 ? offsetof(struct ruleset_attr, scoped) : offsetof(struct ruleset_attr, handled_access_net);

	if (abi < needed) {
		(void)kp_fail(err, EOPNOTSUPP, "level %s: not on this kernel: Landlock ABI %d is needed, it has %d",
			      level == KP_LEVEL_STRICT ? "strict" : "portable", needed, abi);
		return kp_hint(err, level == KP_LEVEL_STRICT && abi ? "--level portable asks for less" : "'kapsel doctor' tells what this kernel offers; Linux 5.13 with Landlock is needed");
	}
	d.fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (d.fd < 0)
		return kp_fail_errno(err, errno, "Landlock: no rules can be made");
	allow(&d, loader, FS_EXECUTE | FS_READ_FILE);
	allow(&d, v->upper.s, FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_SOCK | (kp_makes_are_open(v) ? FS_MAKE_REG : 0));
	/* Pseudo terminals are opened by the supervisor, and by TIOCGPTPEER, which asks for this alone. */
	allow(&d, "/dev/pts", FS_IOCTL_DEV);
	allow(&d, "/dev/tty", FS_READ_FILE | FS_WRITE_FILE | FS_IOCTL_DEV); /* the caller's own, whichever that is */
	/* The contents of the guest's own images, at the gate (docs/FAST.md): each has a directory of its own, with nothing else in it. */
	for (size_t i = 0; v->fast && i < v->layer_count; i++)
		allow(&d, v->store_dir[i].s, FS_READ_FILE);
	/* Directories' stand-ins: there is nothing in them but each other, and what a descriptor of one lists is asked of us. */
	if (v->fast) {
		allow(&d, v->dirs.s, FS_READ_DIR);
		allow(&d, v->code.s, FS_READ_FILE);
	}
	allow_host(&d, level);
	*ret_fd = d.fd;
	return 0;
}

int kp_landlock_enter(int fd)
{
	return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}
