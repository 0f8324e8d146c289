/* SPDX-License-Identifier: Apache-2.0 */
/* Argument snapshot, identity of the caller, and names and descriptors to nodes. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/internal.h"
#include "vfs/live.h"
#include "vfs/regtree.h"

#define LOOKS 2U /* a call names two files at most; one that is being written stays as it is */

int kp_call_snapshot(struct kp_call *c)
{
	int dirfd = AT_FDCWD;

	c->path_count = 0;
	for (int i = 0; i < 6; i++) {
		uint8_t role = c->row->roles[i];

		if (role == KP_ROLE_DIRFD) {
			dirfd = (int)c->raw[i];
		} else if (kp_role_is_path(role)) {
			size_t k = c->path_count++;

			c->dirfd[k] = dirfd;
			dirfd = AT_FDCWD;
			c->path_null[k] = !c->raw[i];
			c->path[k][0] = '\0';
			if (c->raw[i]) {
				ssize_t len = kp_mem_string(c->tid, c->raw[i], c->path[k], PATH_MAX);

				if (len < 0)
					return (int)len;
			}
		} else if (role == KP_ROLE_STR) {
			ssize_t len;

			c->str = kp_calloc(1, PATH_MAX);
			len = kp_mem_string(c->tid, c->raw[i], c->str, PATH_MAX);
			if (len < 0)
				return (int)len;
		}
	}
	if ((c->path_count || c->str) && !kp_trap_valid(c->trap, c->n.id))
		return -ESRCH;
	return 0;
}

void kp_call_release(struct kp_call *c)
{
	free(c->str);
	free(c->rewrite);
	free(c->made);
	free(c->stale);
	c->str = c->made = c->stale = NULL;
	c->rewrite = NULL;
}

const struct kp_cred *kp_call_cred(struct kp_call *c)
{
	return &c->engine->cred;
}

mode_t kp_call_mode(struct kp_call *c, uint64_t mode)
{
	return (mode_t)mode & 07777 & ~kp_task_umask(c->tid);
}

int kp_call_start(struct kp_call *c, int dirfd, struct kp_gpath *ret_start)
{
	struct kp_where_mark mark;
	char host[PATH_MAX];
	struct kp_mapped m;
	bool keep;
	int rc;

	c->from_standin = dirfd == AT_FDCWD && kp_where_get(c, ret_start);
	if (c->from_standin)
		return 0;
	keep = dirfd == AT_FDCWD && kp_where_begin(c, &mark);
	rc = kp_task_start(c->tid, dirfd, host, sizeof(host));
	if (rc)
		return rc;
	kp_map_host(c->vfs, host, &m);
	if (m.kind == KP_MAP_FOREIGN)
		return host[0] == '/' ? -EACCES : -ENOTDIR;
	if (m.kind != KP_MAP_GUEST)
		return -ENOTDIR;
	*ret_start = m.guest;
	if (m.deleted)
		return -ENOENT;
	c->from_standin = kp_path_below(host, c->vfs->dirs.s) != NULL;
	if (keep && c->from_standin)
		kp_where_put(c, &mark, &m.guest);
	return 0;
}

static const char *past(const char *p, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(p, name, len) && (p[len] == '/' || !p[len]) ? p + len + strspn(p + len, "/") : NULL;
}

/* Past what leads nowhere else: ".", and where the walk may not leave it, "..". */
static const char *past_itself(const char *p, bool up_too)
{
	const char *next;

	while (*p && ((next = past(p, ".")) || (up_too && (next = past(p, "..")))))
		p = next;
	return p;
}

/* From a directory that was removed "." and ".." still lead somewhere, and nothing else does. */
static int walk_from_removed(struct kp_call *c, size_t i, struct kp_walk *w, struct kp_node *n)
{
	const char *p = c->path[i];
	struct kp_gpath up;
	int rc;

	(void)snprintf(up.s, sizeof(up.s), "%s", w->start);
	kp_gpath_parent(&up, &up);
	rc = kp_call_fd_node(c, c->dirfd[i], n);
	if (!rc)
		rc = kp_permit(w->cred, n->st.st_mode, n->st.st_uid, n->st.st_gid, X_OK);
	if (rc)
		return rc;
	p = past_itself(p, w->resolve & RESOLVE_IN_ROOT);
	n->last = KP_LAST_DOT;
	if (!*p)
		return 0;
	if (w->resolve & RESOLVE_BENEATH && past(p, ".."))
		return -EXDEV;
	if (!past(p, "..")) {
		n->origin = KP_ABSENT;
		n->mode = 0;
		n->last = KP_LAST_NORM;
		n->last_error = -ENOENT;
		p += strcspn(p, "/");
		n->trailing_slash = *p == '/';
		if (p[strspn(p, "/")]) /* there is more: it would lie in something that is not there */
			return -ENOENT;
		return w->create && n->trailing_slash ? -EISDIR : w->name_only ? 0 : -ENOENT;
	}
	p = past(p, "..");
	if (!*p) {
		rc = kp_resolve_exact(c->vfs, up.s, c->tid, n);
		n->last = KP_LAST_DOTDOT;
		return rc;
	}
	w->start = up.s;
	w->path = p;
	rc = kp_resolve(c->vfs, w, n);
	w->start = NULL;
	return rc;
}

/* The walk gave rc; is something to be done about projected files before that is used? */
static int look_after(struct kp_call *c, int rc, const char *path, const struct kp_node *n)
{
	const char *stale = NULL;

	if (kp_path_below(rc ? path : n->guest.s, KP_REGTREE))
		stale = kp_live_pending(c->vfs) ? KP_REGTREE : NULL;
	else if ((!rc || rc == -ENOENT) && kp_live_stale(c->vfs, rc ? NULL : n))
		stale = rc ? "" : n->guest.s;
	if (!stale)
		return rc;
	free(c->stale);
	c->stale = kp_strdup(stale);
	return -ERESTART;
}

int kp_call_walk(struct kp_call *c, size_t i, struct kp_walk *w, struct kp_node *ret_node)
{
	int rc;

	memcpy(c->start.s, "/", 2);
	w->cred = kp_call_cred(c);
	w->tid = c->tid;
	w->start = c->start.s;
	w->path = c->path[i];
	if (!c->path[i][0])
		return -ENOENT;
	if (c->path[i][0] != '/' || w->resolve & RESOLVE_IN_ROOT) {
		rc = kp_call_start(c, c->dirfd[i], &c->start);
		if (rc == -ENOENT && c->start.s[1])
			return walk_from_removed(c, i, w, ret_node);
		if (rc)
			return rc;
	}
	rc = kp_resolve(c->vfs, w, ret_node);
	return c->vfs->live && c->looked < LOOKS ? look_after(c, rc, c->path[i], ret_node) : rc;
}

static int resolve_path(struct kp_call *c, size_t i, bool follow, bool name_only, struct kp_node *ret_node)
{
	struct kp_walk w = {.follow = follow, .name_only = name_only};

	return kp_call_walk(c, i, &w, ret_node);
}

int kp_call_resolve(struct kp_call *c, size_t i, bool follow, struct kp_node *ret_node)
{
	if (c->path_null[i])
		return -EFAULT;
	return resolve_path(c, i, follow, false, ret_node);
}

int kp_call_resolve_name(struct kp_call *c, size_t i, struct kp_node *ret_node)
{
	if (c->path_null[i])
		return -EFAULT;
	return resolve_path(c, i, false, true, ret_node);
}

int kp_call_resolve_at(struct kp_call *c, size_t i, bool follow, int flags, struct kp_node *ret_node)
{
	if (c->path_null[i] && !(flags & AT_EMPTY_PATH))
		return -EFAULT;
	if (!c->path[i][0] && flags & AT_EMPTY_PATH)
		return kp_call_fd_node(c, c->dirfd[i], ret_node);
	return resolve_path(c, i, follow, false, ret_node);
}

/* A file of the upper by the name that it has there: with the vfs lock held nobody else puts another in its place. */
static bool has_upper_name(struct kp_call *c, const struct kp_mapped *m, const struct kp_hpath *link, struct kp_node *n)
{
	struct stat held;

	return m->kind == KP_MAP_UPPER && !m->deleted && !kp_resolve_exact(c->vfs, m->guest.s, c->tid, n) && n->origin == KP_UPPER &&
	       !S_ISDIR(n->mode) && stat(link->s, &held) == 0 && kp_same_object(c->vfs, n, m, &held);
}

/* change: it is told by its name where it has one. */
static int fd_node(struct kp_call *c, int fd, bool change, struct kp_node *n)
{
	char host[PATH_MAX];
	struct kp_hpath link;
	struct kp_mapped m;
	struct stat held;
	int rc = kp_task_start(c->tid, fd, host, sizeof(host));

	if (rc)
		return rc;
	if (fd == AT_FDCWD)
		(void)snprintf(link.s, sizeof(link.s), "/proc/%d/cwd", c->tid);
	else
		(void)snprintf(link.s, sizeof(link.s), "/proc/%d/fd/%d", c->tid, fd);
	kp_map_host(c->vfs, host, &m);
	if (change && has_upper_name(c, &m, &link, n))
		return 0;
	if (m.kind == KP_MAP_GUEST && !m.deleted) {
		rc = kp_resolve_exact(c->vfs, m.guest.s, c->tid, n);
		if (!rc && n->origin != KP_ABSENT && n->origin != KP_MAGIC &&
		    (!m.rule || (stat(link.s, &held) == 0 && kp_same_object(c->vfs, n, &m, &held)))) {
			kp_node_keep(n, &m, &link);
			return 0;
		}
	}
	/* Copied up since: what is true of the file now is in the upper. */
	if (m.kind == KP_MAP_IMAGE && !kp_resolve_exact(c->vfs, m.guest.s, c->tid, n) && n->origin == KP_UPPER &&
	    kp_same_object(c->vfs, n, &m, NULL))
		return 0;
	n->trailing_slash = false;
	rc = kp_node_from_link(c->vfs, &link, &m, n);
	return rc == -ENOENT ? -EBADF : rc;
}

int kp_call_fd_node(struct kp_call *c, int fd, struct kp_node *n)
{
	return fd_node(c, fd, false, n);
}

int kp_call_fd_node_for_change(struct kp_call *c, int fd, struct kp_node *n)
{
	int rc = fd_node(c, fd, true, n);

	if (rc || n->origin != KP_IMAGE || S_ISDIR(n->mode))
		return rc;
	struct kp_gpath at = n->guest;
	size_t layer = n->layer;
	uint32_t entry = n->entry;

	rc = kp_resolve_exact(c->vfs, at.s, c->tid, n);
	if (rc)
		return rc;
	/* Replaced or removed: the descriptor's file takes no changes. */
	return n->origin == KP_IMAGE && n->layer == layer && n->entry == entry ? 0 : -EROFS;
}

struct kp_rewrite *kp_call_rewrite(struct kp_call *c, int nr)
{
	free(c->rewrite);
	c->rewrite = kp_calloc(1, sizeof(*c->rewrite));
	c->rewrite->nr = nr;
	memcpy(c->rewrite->args, c->raw, sizeof(c->rewrite->args));
	c->reply = KP_REPLY_REWRITE;
	return c->rewrite;
}

int kp_rewrite_add(struct kp_rewrite *rw, const void *data, size_t len)
{
	size_t at = (rw->blob_len + 7) & ~(size_t)7;

	if (at + len > sizeof(rw->blob))
		return -1;
	memcpy(rw->blob + at, data, len);
	rw->blob_len = at + len;
	return (int)at;
}

int kp_rewrite_string(struct kp_rewrite *rw, int arg, const char *text)
{
	int at = kp_rewrite_add(rw, text, strlen(text) + 1);

	if (at < 0)
		return -ENAMETOOLONG;
	rw->args[arg] = (uint64_t)at;
	rw->points |= (uint8_t)(1U << arg);
	return 0;
}
