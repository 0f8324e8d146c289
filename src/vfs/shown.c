/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's part of the tree: what the isolation modes writecopy and merged show of it. It lies below the images; in merged,
 * changes of what only the host has, and everything new, go to the host itself. The host changes while we run, so nothing here
 * is remembered.
 */
#include <fcntl.h>
#include <unistd.h>

#include "vfs/explain.h"
#include "vfs/internal.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

const struct kp_rule *kp_rule_at(const struct kp_vfs *v, const char *guest, const struct kp_rule *inherited)
{
	const struct kp_rule *found = inherited;

	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];

		if (!r->dots && !strcmp(r->guest, guest))
			return r; /* its own goes before that of all dot entries */
		if (r->dots && kp_rule_dots(r, guest))
			found = r;
	}
	return found;
}

bool kp_rule_dots(const struct kp_rule *r, const char *guest)
{
	const char *below = kp_path_below(guest, r->guest);

	return below && below[0] == '/' && below[1] == '.' && !strchr(below + 1, '/');
}

int kp_shown_path(const struct kp_rule *r, const char *guest, struct kp_hpath *ret)
{
	const char *below = kp_path_below(guest, r->guest);

	return below ? kp_path_join(ret->s, sizeof(ret->s), r->host, below) : -EIO;
}

int kp_shown_of(const struct kp_dir *d, const char *guest, struct kp_hpath *ret)
{
	struct kp_gpath buf;

	return kp_shown_path(d->rule, d->rule->mode == KP_MODE_MERGED ? guest : kp_lower_path(d, guest, &buf), ret);
}

/* Kapsel's own directories, and what is in them, are not there for a guest, whatever shows them. */
static bool is_private_path(const struct kp_vfs *v, const char *host)
{
	for (size_t i = 0; i < v->private_count; i++)
		if (kp_path_below(host, v->private[i].path))
			return true;
	return false;
}

static bool is_private(const struct kp_vfs *v, const struct stat *st)
{
	for (size_t i = 0; i < v->private_count; i++)
		if (v->private[i].ino == st->st_ino && v->private[i].dev == st->st_dev)
			return true;
	return false;
}

bool kp_shown_is_private(const struct kp_vfs *v, const char *host_dir, int dirfd, const char *name)
{
	struct kp_hpath host;
	struct stat st;

	if (!v->private_count)
		return false;
	if (!kp_path_join(host.s, sizeof(host.s), host_dir, name) && is_private_path(v, host.s))
		return true;
	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) && is_private(v, &st);
}

bool kp_shown_is_held(const struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_hpath host;

	if (!S_ISDIR(n->mode))
		return false;
	for (size_t i = 0; i < v->rule_count; i++)
		if (kp_path_below(v->rules[i].guest, n->guest.s))
			return true;
	for (size_t i = 0; i < v->bind_count; i++)
		if (kp_path_below(v->binds[i].guest, n->guest.s))
			return true;
	if (!n->self.host || kp_shown_of(&n->self, n->guest.s, &host))
		return false;
	for (size_t i = 0; i < v->private_count; i++)
		if (kp_path_below(v->private[i].path, host.s))
			return true;
	return false;
}

int kp_vfs_shown_at(const struct kp_vfs *v, const char *guest, struct kp_hpath *ret)
{
	const struct kp_rule *best = NULL;
	struct kp_hpath part;
	struct stat st;

	for (size_t i = 0; i < v->rule_count; i++)
		if (kp_path_below(guest, v->rules[i].guest) && (!best || strlen(v->rules[i].guest) > strlen(best->guest)))
			best = &v->rules[i];
	if (!best || best->mode == KP_MODE_FULL)
		return -ENOENT;
	if (kp_shown_path(best, guest, ret))
		return -ENAMETOOLONG;
	if (is_private_path(v, ret->s))
		return -ENOENT;
	part = *ret;
	for (char *slash; (slash = strrchr(part.s, '/')) && slash > part.s; *slash = '\0')
		if (lstat(part.s, &st) == 0 && S_ISDIR(st.st_mode) && is_private(v, &st))
			return -ENOENT;
	return 0;
}

static void become_host(const struct kp_vfs *v, struct kp_node *child, const struct stat *st, bool merged)
{
	child->origin = KP_HOST;
	child->mode = st->st_mode;
	child->st = *st;
	child->ino = kp_number_of_host(v, st->st_dev, st->st_ino);
	child->through = merged;
	child->self.mode = st->st_mode;
	child->self.uid = st->st_uid;
	child->self.gid = st->st_gid;
}

/* What is there on the host goes below what child already is. */
static void take_host(const struct kp_vfs *v, struct kp_node *child, const struct stat *st, bool merged, bool hidden)
{
	bool dirs = S_ISDIR(child->mode) && S_ISDIR(st->st_mode);

	if (hidden || (child->origin != KP_ABSENT && !dirs)) {
		child->lower = true;
		return;
	}
	child->self.host = S_ISDIR(st->st_mode);
	/* In merged a directory of the upper that no image has only carries what lies below it: the host's is the directory. */
	if (child->origin == KP_ABSENT || (merged && child->origin == KP_UPPER && child->entry == KP_NO_ENTRY))
		become_host(v, child, st, merged);
	else if (child->entry == KP_NO_ENTRY && !child->ino)
		child->ino = kp_number_of_host(v, st->st_dev, st->st_ino);
	if (!merged)
		child->lower = true;
}

int kp_shown_lookup(struct kp_vfs *v, const struct kp_dir *dir, bool hidden, struct kp_node *child)
{
	const struct kp_rule *r = child->self.rule;
	bool begins = r != dir->rule, merged;
	struct kp_hpath host;
	struct stat st;

	if (!r || r->mode == KP_MODE_FULL)
		return 0;
	merged = r->mode == KP_MODE_MERGED;
	child->self.host_open = (begins || dir->host_open) && !hidden;
	if (!begins && !dir->host_open)
		return 0;
	if (begins)
		child->self.moved = NULL;
	if (kp_shown_of(&child->self, child->guest.s, &host))
		return -ENAMETOOLONG;
	if (is_private_path(v, host.s)) {
		child->self.host_open = false;
		return 0;
	}
	if ((begins || dir->host) && fstatat(AT_FDCWD, host.s, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode) && is_private(v, &st))
			child->self.host_open = false;
		else
			take_host(v, child, &st, merged, hidden);
		/* A file or a symlink of the host below a directory: nothing is made through it. */
		if (!S_ISDIR(st.st_mode))
			child->self.host_open = false;
	} else if ((begins || dir->host) && errno != ENOENT && errno != ENOTDIR && child->origin == KP_ABSENT && !hidden) {
		return -errno;
	}
	if (child->origin == KP_HOST || child->origin == KP_ABSENT)
		child->host = host;
	if (child->origin == KP_ABSENT)
		child->through = merged && !child->whiteout && child->self.host_open;
	return 0;
}

/* One directory that the host lacks, with the mode that a guest sees. */
static int make_shown(struct kp_vfs *v, const char *guest, struct kp_node *at)
{
	struct kp_hpath host;
	int rc = kp_resolve_exact(v, guest, 0, at);

	if (rc || at->self.host)
		return rc;
	if (!S_ISDIR(at->mode))
		return -ENOTDIR;
	rc = kp_shown_path(at->self.rule, guest, &host);
	return !rc && mkdirat(AT_FDCWD, host.s, at->mode & 01777) < 0 && errno != EEXIST ? -errno : rc;
}

int kp_shown_parents(struct kp_vfs *v, const struct kp_node *n)
{
	const struct kp_rule *r = n->self.rule;
	struct kp_gpath up, part;
	struct kp_node *at;
	struct kp_hpath top;
	size_t len;
	int rc = 0;

	if (n->parent.host || n->parent.bind)
		return 0;
	(void)snprintf(top.s, sizeof(top.s), "%s", r->host);
	*strrchr(top.s, '/') = '\0';
	if (top.s[0])
		rc = kp_mkdir_all(AT_FDCWD, top.s, 0755);
	kp_gpath_parent(&n->guest, &up);
	if (rc || !kp_path_below(up.s, r->guest))
		return rc;
	at = kp_calloc(1, sizeof(*at));
	part = up;
	for (len = r->guest[1] ? strlen(r->guest) : 0; !rc; len += 1 + strcspn(up.s + len + 1, "/")) {
		part.s[len] = '\0';
		rc = len ? make_shown(v, part.s, at) : 0;
		part.s[len] = up.s[len];
		if (!up.s[len])
			break;
	}
	free(at);
	return rc;
}
