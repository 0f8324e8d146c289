/* SPDX-License-Identifier: Apache-2.0 */
/* Compares two trees of an instance, name by name. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "instance/settle.h"
#include "snapshot/compare.h"
#include "vfs/record.h"

#define PIECE (1U << 16)

struct side {
	int fd;
	struct dirent **names;
	int count, at;
};

struct compare {
	int fds[2];
	void (*fn)(const struct kp_state_change *c, void *ctx);
	void *ctx;
	struct kp_strings todo; /* directories that both have */
	struct kp_err *err;
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static bool same_bytes(const struct side *s, const char *name)
{
	kp_autoclose int a = openat(s[0].fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	kp_autoclose int b = openat(s[1].fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	kp_autofree char *one = kp_calloc(2, PIECE);
	char *two = one + PIECE;

	for (;;) {
		ssize_t n = read(a, one, PIECE), m = read(b, two, PIECE);

		if (n < 0 || n != m || memcmp(one, two, (size_t)n) != 0)
			return false;
		if (!n)
			return true;
	}
}

static bool same_link(const struct side *s, const char *name)
{
	char one[PATH_MAX], two[PATH_MAX];
	ssize_t n = readlinkat(s[0].fd, name, one, sizeof(one)), m = readlinkat(s[1].fd, name, two, sizeof(two));

	return n >= 0 && n == m && !memcmp(one, two, (size_t)n);
}

static bool same(const struct side *s, const char *name, const struct stat *old, const struct stat *now)
{
	if (old->st_ino == now->st_ino && old->st_dev == now->st_dev)
		return true;
	if (old->st_mode != now->st_mode || old->st_uid != now->st_uid || old->st_gid != now->st_gid)
		return false;
	if (S_ISREG(old->st_mode))
		return old->st_size == now->st_size && same_bytes(s, name);
	return !S_ISLNK(old->st_mode) || same_link(s, name);
}

static void compare_one(struct compare *c, const struct side *s, const char *dir, const char *name, bool has_old, bool has_now)
{
	kp_autofree char *path = *dir ? kp_asprintf("%s/%s", dir, name) : kp_strdup(name);
	struct stat old, now;
	struct kp_state_change change = {.path = path};

	if (has_old && fstatat(s[0].fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0)
		change.old = &old;
	if (has_now && fstatat(s[1].fd, name, &now, AT_SYMLINK_NOFOLLOW) == 0)
		change.now = &now;
	if (change.old && change.now && S_ISDIR(old.st_mode) && S_ISDIR(now.st_mode))
		kp_strings_add(&c->todo, path);
	if ((change.old || change.now) && (!change.old || !change.now || !same(s, name, &old, &now)))
		c->fn(&change, c->ctx);
}

static int compare_dir(struct compare *c, const char *dir)
{
	struct side s[2] = {{.fd = -1}, {.fd = -1}};
	int r = 0;

	for (int i = 0; i < 2; i++) {
		s[i].fd = kp_open_beneath(c->fds[i], *dir ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
		s[i].count = s[i].fd < 0 ? -1 : scandirat(s[i].fd, ".", &s[i].names, not_dots, by_name);
		if (s[i].count < 0 && !r)
			r = kp_fail_errno(c->err, errno, "%s: cannot be read", dir);
	}
	while (!r && (s[0].at < s[0].count || s[1].at < s[1].count)) {
		const char *old = s[0].at < s[0].count ? s[0].names[s[0].at]->d_name : NULL;
		const char *now = s[1].at < s[1].count ? s[1].names[s[1].at]->d_name : NULL;
		int order = !old ? 1 : !now ? -1 : strcmp(old, now);
		const char *name = order <= 0 ? old : now;

		if (*dir || !kp_settle_is_local(name))
			compare_one(c, s, dir, name, order <= 0, order >= 0);
		s[0].at += order <= 0;
		s[1].at += order >= 0;
	}
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < s[i].count; k++)
			free(s[i].names[k]);
		free(s[i].names);
		(void)kp_close(s[i].fd);
	}
	return r;
}

int kp_states_compare(int old_fd, int now_fd, void (*fn)(const struct kp_state_change *, void *), void *ctx, struct kp_err *err)
{
	struct compare c = {.fds = {old_fd, now_fd}, .fn = fn, .ctx = ctx, .err = err};
	int r = compare_dir(&c, "");

	while (c.todo.count) {
		kp_autofree char *dir = kp_strings_pop(&c.todo);

		if (!r)
			r = compare_dir(&c, dir);
	}
	kp_strings_free(&c.todo);
	return r;
}
