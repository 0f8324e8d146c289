/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups: where a run may have one, making and removing it. All of it may be refused: then limits are kept without. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "instance/cgroup.h"

#define TEXT_MAX (16U << 20)
#define NOTE "group" /* in the run directory: the paths, a line each */

static const struct {
	enum kp_limit limit;
	const char *controller, *max, *events;
} kept[] = {
	{KP_LIMIT_MEMORY, "memory", "memory.max", "memory.events"},
	{KP_LIMIT_PROCESSES, "pids", "pids.max", "pids.events"},
};

/* --- where --- */

static char *read_in(const char *dir, const char *name)
{
	kp_autofree char *path = kp_asprintf("%s/%s", dir, name);
	char *text = NULL;

	return kp_read_file(AT_FDCWD, path, TEXT_MAX, &text, NULL) < 0 ? NULL : text;
}

/* As mountinfo has them: \040 for a blank. In place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned code;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &code) == 1 && strspn(s + 1, "01234567") >= 3) {
			*to++ = (char)code;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Of the processes in a group: is pid among them, and are all of them ours? */
static void look_at_procs(const char *dir, pid_t pid, const pid_t *ours, bool *ret_there, bool *ret_ours)
{
	kp_autofree char *text = read_in(dir, "cgroup.procs");
	char *at = text, *line;

	*ret_there = false;
	*ret_ours = text;
	while (at && (line = strsep(&at, "\n"))) {
		pid_t one = (pid_t)strtol(line, NULL, 10);
		bool mine = false;

		for (const pid_t *p = ours; *p; p++)
			mine |= *p == one;
		*ret_there |= *line && one == pid;
		*ret_ours &= !*line || mine;
	}
}

/* The directory of this process's group. A mount may show a part of the hierarchy only, or another namespace's: what counts is that this
 * process is in it. */
static char *own_dir(const char *root, bool *ret_all_ours, const pid_t *ours)
{
	kp_autofree char *groups = read_in(root, "proc/self/cgroup"), *mounts = read_in(root, "proc/self/mountinfo");
	char *path = groups && !strncmp(groups, "0::", 3) ? groups : groups ? strstr(groups, "\n0::") : NULL, *at = mounts, *line;

	if (!path || !at)
		return NULL;
	path = strchr(path, ':') + 2;
	path[strcspn(path, "\n")] = '\0';
	while ((line = strsep(&at, "\n"))) {
		char top[PATH_MAX], point[PATH_MAX];
		kp_autofree char *dir = NULL;
		const char *rest;
		bool there;

		if (!strstr(line, " - cgroup2 ") || sscanf(line, "%*s %*s %*s %4095s %4095s", top, point) != 2)
			continue;
		unescape(top);
		unescape(point);
		rest = kp_path_below(path, top[1] ? top : "");
		if (!rest || strstr(rest, "/.."))
			continue;
		dir = kp_asprintf("%s%s%s", root, point, rest[0] && rest[1] ? rest : "");
		look_at_procs(dir, getpid(), ours, &there, ret_all_ours);
		if (there)
			return kp_take_ptr(dir);
	}
	return NULL;
}

static bool ends_in(const char *s, const char *end)
{
	size_t len = strlen(s), part = strlen(end);

	return len >= part && !strcmp(s + len - part, end);
}

static bool is_unit(const char *dir)
{
	return ends_in(dir, ".service") || ends_in(dir, ".scope") || ends_in(dir, ".slice");
}

static bool writable(const char *dir, const char *name)
{
	kp_autofree char *path = kp_asprintf("%s/%s", dir, name);

	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* To this user: he can write where the kernel wants it. Root can everywhere, so systemd's own word counts for its units (a user's
 * manager does not give it); slices are never delegated. */
static bool delegated(const char *dir)
{
	kp_autofree char *type = read_in(dir, "cgroup.type");
	char mark = '0';

	if (!writable(dir, ".") || !writable(dir, "cgroup.procs") || !writable(dir, "cgroup.subtree_control"))
		return false;
	if ((type && strcmp(type, "domain\n") != 0) || ends_in(dir, ".slice"))
		return false;
	if (geteuid() || !is_unit(dir))
		return true;
	return getxattr(dir, "trusted.delegate", &mark, 1) == 1 && mark == '1';
}

static unsigned controllers(const char *dir, const char *name)
{
	kp_autofree char *text = read_in(dir, name);
	char *at = text, *word;
	unsigned found = 0;

	while (at && (word = strsep(&at, " \n")))
		for (size_t i = 0; i < KP_ARRAY_LEN(kept); i++)
			if (!strcmp(word, kept[i].controller))
				found |= 1U << kept[i].limit;
	return found;
}

static void prefer(struct kp_cgroup_place *best, const char *dir, unsigned keeps, bool leave)
{
	if (__builtin_popcount(keeps) <= __builtin_popcount(best->keeps))
		return;
	free(best->dir);
	*best = (struct kp_cgroup_place){kp_strdup(dir), keeps, leave};
}

int kp_cgroup_find(const char *root, unsigned wanted, const pid_t *ours, struct kp_cgroup_place *ret, const char **ret_why)
{
	bool all_ours = false, own;
	kp_autofree char *dir = own_dir(root, &all_ours, ours), *above = dir ? kp_strndup(dir, (size_t)(strrchr(dir, '/') - dir)) : NULL;
	struct kp_cgroup_place best = {0};

	if (!dir) {
		*ret_why = "this process is in no control group of version 2 that is mounted";
		return -ENOENT;
	}
	own = delegated(dir);
	if (own) /* only the hierarchy's root has processes and passes limits on */
		prefer(&best, dir, wanted & controllers(dir, "cgroup.subtree_control"), false);
	if (!is_unit(dir) && delegated(above))
		prefer(&best, above, wanted & controllers(above, "cgroup.subtree_control"), false);
	if (own && all_ours)
		prefer(&best, dir, wanted & controllers(dir, "cgroup.controllers"), true);
	*ret_why = !own				      ? "this control group is not delegated" :
		   controllers(dir, "cgroup.controllers") & wanted ? "other programs are in this control group" :
							"this control group has no such controllers";
	if (best.keeps)
		*ret = best;
	return best.keeps ? 0 : -ENOENT;
}

static unsigned wanted_of(const struct kp_limits *limits)
{
	unsigned wanted = 0;

	for (size_t i = 0; i < KP_ARRAY_LEN(kept); i++)
		if (!limits || limits->max[kept[i].limit] != KP_UNLIMITED)
			wanted |= 1U << kept[i].limit;
	return wanted;
}

unsigned kp_cgroup_would_keep(const struct kp_limits *limits, const char **ret_why)
{
	const pid_t ours[] = {getpid(), 0};
	struct kp_cgroup_place place = {0};

	if (kp_cgroup_find("", wanted_of(limits), ours, &place, ret_why) < 0)
		return 0;
	free(place.dir);
	return place.keeps;
}

/* --- making --- */

static int open_group(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct statfs fs;

	return fd >= 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC) ? kp_close(fd) : fd;
}

static bool put(const char *dir, const char *name, const char *text)
{
	kp_autoclose int group = open_group(dir), fd = group < 0 ? -1 : openat(group, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && !kp_write_full(fd, text, strlen(text));
}

static bool put_pid(const char *dir, pid_t pid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	return put(dir, "cgroup.procs", text);
}

static bool pass_on(const char *dir, unsigned limits, char sign)
{
	bool done = true;

	for (size_t i = 0; i < KP_ARRAY_LEN(kept); i++)
		if (limits & 1U << kept[i].limit) {
			kp_autofree char *word = kp_asprintf("%c%s", sign, kept[i].controller);

			done &= put(dir, "cgroup.subtree_control", word);
		}
	return done;
}

static bool note(const struct kp_cgroup *g, const char *run_dir)
{
	kp_autofree char *path = kp_asprintf("%s/" NOTE, run_dir), *text = kp_asprintf("%s\n%s\n", g->dir, g->leaf ? g->leaf : "");
	kp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd >= 0 && !kp_write_full(fd, text, strlen(text));
}

static bool make(struct kp_cgroup *g, const struct kp_cgroup_place *place, const struct kp_limits *limits, const pid_t *ours)
{
	kp_autofree char *procs = kp_asprintf("%s/cgroup.procs", g->dir), *type = NULL;

	if (g->leaf) {
		if (mkdir(g->leaf, 0755) < 0)
			return false;
		for (; *ours; ours++)
			if (!put_pid(g->leaf, *ours))
				return false;
		if (!pass_on(place->dir, place->keeps, '+'))
			return false;
	}
	if (mkdir(g->dir, 0755) < 0)
		return false;
	/* Not where somebody came into a group that passes on what threads may share only. */
	type = read_in(g->dir, "cgroup.type");
	if (!type || strcmp(type, "domain\n") != 0)
		return false;
	for (size_t i = 0; i < KP_ARRAY_LEN(kept); i++) {
		kp_autofree char *events = kp_asprintf("%s/%s", g->dir, kept[i].events);
		char value[24];

		if (!(place->keeps & 1U << kept[i].limit))
			continue;
		(void)snprintf(value, sizeof(value), "%" PRIu64, limits->max[kept[i].limit]);
		if (!put(g->dir, kept[i].max, value))
			return false;
		g->run.events[kept[i].limit] = open(events, O_RDONLY | O_CLOEXEC);
	}
	(void)put(g->dir, "memory.swap.max", "0"); /* where there is swap */
	g->run.procs_fd = open(procs, O_WRONLY | O_CLOEXEC);
	return g->run.procs_fd >= 0;
}

void kp_cgroup_make(struct kp_cgroup *g, const struct kp_limits *limits, pid_t front, const char *run_dir)
{
	const pid_t ours[] = {front, getpid(), 0};
	struct kp_cgroup_place place = {0};
	unsigned wanted = wanted_of(limits);
	const char *why;

	*g = (struct kp_cgroup){.run = {.procs_fd = -1}};
	for (int i = 0; i < KP_LIMIT_COUNT; i++)
		g->run.events[i] = -1;
	if (!wanted || kp_cgroup_find("", wanted, ours, &place, &why) < 0)
		return;
	g->dir = kp_asprintf("%s/kapsel-%s", place.dir, strrchr(run_dir, '/') + 1);
	g->leaf = place.leave ? kp_asprintf("%s.launcher", g->dir) : NULL;
	if (note(g, run_dir) && make(g, &place, limits, ours))
		g->run.keeps = place.keeps;
	else
		kp_cgroup_end(g);
	free(place.dir);
}

/* --- removing --- */

static void remove_group(const char *dir)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	/* Who was killed is in it for a moment yet. */
	for (int tries = 0; tries < 200 && rmdir(dir) < 0 && errno == EBUSY; tries++)
		(void)nanosleep(&pause, NULL);
}

/* The launcher goes back where it was, as far as nobody else has groups there. */
static void go_back(const char *leaf)
{
	kp_autofree char *above = kp_strndup(leaf, (size_t)(strrchr(leaf, '/') - leaf)), *procs = read_in(leaf, "cgroup.procs");
	char *at = procs, *line;
	struct stat st;

	if (!procs || stat(above, &st) < 0 || st.st_nlink > 3 || !pass_on(above, controllers(above, "cgroup.subtree_control"), '-'))
		return;
	while (at && (line = strsep(&at, "\n")))
		if (*line)
			(void)put(above, "cgroup.procs", line);
	remove_group(leaf);
}

static void take_down(const char *dir, const char *leaf)
{
	kp_autoclose int group = open_group(dir);

	if (group >= 0) {
		(void)put(dir, "cgroup.kill", "1");
		remove_group(dir);
	}
	if (leaf && *leaf)
		go_back(leaf);
}

void kp_cgroup_end(struct kp_cgroup *g)
{
	for (int i = 0; i < KP_LIMIT_COUNT && g->dir; i++)
		g->run.events[i] = kp_close(g->run.events[i]);
	if (g->dir) {
		g->run.procs_fd = kp_close(g->run.procs_fd);
		take_down(g->dir, g->leaf);
	}
	free(g->dir);
	free(g->leaf);
	g->dir = g->leaf = NULL;
	g->run.keeps = 0;
}

void kp_cgroup_clean(const char *run_dir)
{
	kp_autofree char *text = read_in(run_dir, NOTE);
	char *at = text, *dir = strsep(&at, "\n"), *leaf = at ? strsep(&at, "\n") : NULL;

	if (dir && dir[0] == '/' && (!leaf || !*leaf || leaf[0] == '/'))
		take_down(dir, leaf);
}
