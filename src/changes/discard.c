/* SPDX-License-Identifier: Apache-2.0 */
/* Dropping changes: entries leave the upper in one step each, then what they held is removed. */
#include <fcntl.h>
#include <limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "changes/internal.h"

int kp_changing_open(struct kp_changing *g, const char *instance, const char *dir, struct kp_err *err)
{
	kp_autofree char *upper = kp_asprintf("%s/upper", dir), *work = kp_asprintf("%s/work", dir);

	*g = (struct kp_changing){.instance = instance, .dir = dir, .upper_fd = -1, .work_fd = -1};
	/* What a killed command or run left there was no longer, or not yet, part of the instance. */
	(void)kp_remove_tree(AT_FDCWD, work);
	if (mkdir(work, 0700) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", work);
	if (mkdir(upper, 0755) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", upper);
	g->work_fd = open(work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	g->upper_fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (g->work_fd < 0 || g->upper_fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot be opened", g->work_fd < 0 ? work : upper);
	return 0;
}

void kp_changing_close(struct kp_changing *g)
{
	g->upper_fd = kp_close(g->upper_fd);
	g->work_fd = kp_close(g->work_fd);
}

int kp_upper_parent(int upper_fd, const char *guest, const char **ret_name)
{
	const char *slash = strrchr(guest, '/');
	kp_autofree char *dir = slash == guest ? kp_strdup(".") : kp_strndup(guest + 1, (size_t)(slash - guest) - 1);
	int fd = kp_open_beneath(upper_fd, dir, O_RDONLY | O_DIRECTORY, 0);

	*ret_name = slash + 1;
	return fd < 0 ? -errno : fd;
}

size_t kp_below_opaque(int upper_fd, const char *guest)
{
	kp_autofree char *path = kp_strdup(guest);

	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		struct kp_record rec = {0};
		kp_autoclose int fd = -1;

		*slash = '\0';
		fd = kp_open_beneath(upper_fd, path + 1, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0)
			return 0;
		if (kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec))) &&
		    rec.flags & (KP_REC_OPAQUE | KP_REC_MOVED))
			return strlen(path);
		*slash = '/';
	}
	return 0;
}

int kp_changing_drop(struct kp_changing *g, const char *guest)
{
	const char *name;
	char temp[32];
	kp_autoclose int fd = kp_upper_parent(g->upper_fd, guest, &name);

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	(void)snprintf(temp, sizeof(temp), "drop%u", g->temps++);
	if (renameat(fd, name, g->work_fd, temp) < 0)
		return errno == ENOENT ? 0 : -errno;
	return kp_remove_tree(g->work_fd, temp);
}

static int drop_all(struct kp_changing *g, struct kp_err *err)
{
	kp_autofree char *upper = kp_asprintf("%s/upper", g->dir);

	/* Gone is as good as empty: the next run makes it. */
	if (renameat(AT_FDCWD, upper, g->work_fd, "all") < 0)
		return kp_fail_errno(err, errno, "%s: cannot be moved away", upper);
	if (kp_remove_tree(g->work_fd, "all") < 0 || mkdir(upper, 0755) < 0)
		return kp_fail_errno(err, errno, "%s: what was dropped cannot be removed", g->dir);
	return 0;
}

/* Its own entry alone would uncover nothing: that needs the directory above, which is in the place of an old one. */
static int check_covered(const struct kp_changing *g, const struct kp_change *c, char *const *roots, size_t count, struct kp_err *err)
{
	size_t len;

	if (!c->hidden || c->below == KP_ABSENT)
		return 0;
	len = kp_below_opaque(g->upper_fd, c->path);
	for (size_t i = 0; i < count; i++)
		if (strlen(roots[i]) <= len && kp_path_below(c->path, roots[i]))
			return 0;
	(void)kp_fail(err, EINVAL, "%s: cannot be discarded by itself: the directory above was made anew", c->path);
	return kp_hint(err, "kapsel discard %s %.*s", g->instance, (int)len, c->path);
}

int kp_changes_discard(struct kp_changing *g, const struct kp_changes *c, const char *const *paths, size_t count, struct kp_err *err)
{
	kp_autofree char **roots = kp_calloc(count, sizeof(*roots));
	bool all = !count;
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		roots[i] = kp_change_path(paths[i]);
		if (!roots[i])
			r = kp_fail(err, EINVAL, "%s: not a path without ..", paths[i]);
		else
			all |= !roots[i][1];
	}
	for (size_t i = 0; i < c->count && !r && !all; i++)
		r = c->items[i].chosen ? check_covered(g, &c->items[i], roots, count, err) : 0;
	if (!r && g->before)
		r = g->before(g->ctx, err);
	if (!r && all)
		r = drop_all(g, err);
	for (size_t i = 0; i < count && !r && !all; i++) {
		r = kp_changing_drop(g, roots[i]);
		if (r < 0)
			(void)kp_fail_errno(err, -r, "%s: cannot be discarded", roots[i]);
	}
	for (size_t i = 0; i < c->count && !r && !all; i++) {
		r = c->items[i].chosen ? kp_changing_drop(g, c->items[i].path) : 0;
		if (r < 0)
			(void)kp_fail_errno(err, -r, "%s: cannot be discarded", c->items[i].path);
	}
	for (size_t i = 0; i < count; i++)
		free(roots[i]);
	return r;
}
