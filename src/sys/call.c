/* SPDX-License-Identifier: Apache-2.0 */
/* Argument snapshot, identity of the caller, and names and descriptors to nodes. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sys/call.h"
#include "vfs/internal.h"

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
	c->str = NULL;
	c->rewrite = NULL;
}

const struct kp_cred *kp_call_cred(struct kp_call *c)
{
	if (c->cred_known)
		return &c->cred;
	/* Without root nobody can become anybody else. */
	if (c->vfs->uid != 0) {
		static struct kp_cred own;
		static bool known;

		if (!known) {
			int n = getgroups((int)KP_ARRAY_LEN(own.groups), own.groups);

			own.uid = geteuid();
			own.gid = getegid();
			own.group_count = n > 0 ? (size_t)n : 0;
			known = true;
		}
		c->cred = own;
	} else if (kp_task_is_root(c->tid)) {
		c->cred = (struct kp_cred){0}; /* the common case, without reading /proc/TID/status */
	} else if (kp_task_ids(c->tid, &c->cred.uid, &c->cred.gid, c->cred.groups, KP_ARRAY_LEN(c->cred.groups),
			       &c->cred.group_count)) {
		c->cred = (struct kp_cred){.uid = (uid_t)-2, .gid = (gid_t)-2};
	}
	c->cred_known = true;
	return &c->cred;
}

mode_t kp_call_mode(struct kp_call *c, uint64_t mode)
{
	return (mode_t)mode & 07777 & ~kp_task_umask(c->tid);
}

int kp_call_start(struct kp_call *c, int dirfd, struct kp_gpath *ret_start)
{
	char host[PATH_MAX];
	struct kp_mapped m;
	int rc = dirfd == AT_FDCWD ? kp_task_cwd(c->tid, host, sizeof(host)) : kp_task_fd(c->tid, dirfd, host, sizeof(host));

	if (rc)
		return rc;
	kp_map_host(c->vfs, host, &m);
	if (m.kind == KP_MAP_FOREIGN)
		return host[0] == '/' ? -EACCES : -ENOTDIR;
	if (m.kind != KP_MAP_GUEST)
		return -ENOTDIR;
	*ret_start = m.guest;
	return m.deleted ? -ENOENT : 0;
}

/* From a directory that was removed "." and ".." still lead somewhere, and nothing else does. */
static int walk_from_removed(struct kp_call *c, size_t i, struct kp_walk *w, struct kp_gpath *start, struct kp_node *ret_node)
{
	const char *p = c->path[i];
	size_t len;

	while (p[0] == '.' && (p[1] == '/' || !p[1]))
		p += 1 + strspn(p + 1, "/");
	if (!*p) {
		int rc = kp_call_fd_node(c, c->dirfd[i], ret_node);

		ret_node->last = KP_LAST_DOT;
		return rc;
	}
	len = strcspn(p, "/");
	if (len != 2 || p[0] != '.' || p[1] != '.')
		return -ENOENT;
	kp_gpath_parent(start, start);
	p += 2 + strspn(p + 2, "/");
	w->path = *p ? p : ".";
	return kp_resolve(c->vfs, w, ret_node);
}

int kp_call_walk(struct kp_call *c, size_t i, const struct kp_walk *how, struct kp_node *ret_node)
{
	struct kp_gpath start = {"/"};
	struct kp_walk here = *how, *w = &here;
	int rc;

	w->path = c->path[i];
	w->start = start.s;
	if (!c->path[i][0])
		return -ENOENT;
	if (c->path[i][0] != '/' || w->resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH)) {
		rc = kp_call_start(c, c->dirfd[i], &start);
		if (rc == -ENOENT && start.s[1] && !w->resolve)
			return walk_from_removed(c, i, w, &start, ret_node);
		if (rc)
			return rc;
	}
	return kp_resolve(c->vfs, w, ret_node);
}

static int resolve_path(struct kp_call *c, size_t i, bool follow, bool name_only, struct kp_node *ret_node)
{
	struct kp_walk w = {
		.cred = kp_call_cred(c),
		.tid = c->tid,
		.follow = follow,
		.name_only = name_only,
	};
	int rc;

	rc = kp_call_walk(c, i, &w, ret_node);
	if (c->trap && !rc)
		KP_DEBUG(VFS, "%s -> %s origin %d", c->path[i], ret_node->guest.s, ret_node->origin);
	return rc;
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

/* An open file of the upper, reached through the descriptor: it may have lost its name, or have got another. */
static int upper_fd_node(const struct kp_vfs *v, struct kp_node *n)
{
	struct kp_record rec = {0};

	n->ino = KP_INO_UPPER | n->st.st_ino;
	if (getxattr(n->host.s, KP_RECORD_XATTR, &rec, sizeof(rec)) != (ssize_t)sizeof(rec))
		return 0;
	if (rec.flags & KP_REC_MODE)
		n->mode = (n->mode & S_IFMT) | (rec.mode & 07777);
	if (rec.flags & KP_REC_INO)
		n->ino = rec.ino;
	(void)v;
	return 0;
}

int kp_call_fd_node(struct kp_call *c, int fd, struct kp_node *n)
{
	char host[PATH_MAX];
	struct kp_mapped m;
	struct kp_entry e;
	int rc = fd == AT_FDCWD ? kp_task_cwd(c->tid, host, sizeof(host)) : kp_task_fd(c->tid, fd, host, sizeof(host));

	if (rc)
		return rc;
	kp_map_host(c->vfs, host, &m);
	if (m.kind == KP_MAP_GUEST && !m.deleted) {
		rc = kp_resolve_exact(c->vfs, m.guest.s, c->tid, n);
		if (!rc && n->origin != KP_ABSENT && n->origin != KP_MAGIC)
			return 0;
	}
	n->last = KP_LAST_NORM;
	n->trailing_slash = n->lower = n->whiteout = false;
	n->entry = KP_NO_ENTRY;
	n->ino = 0;
	n->guest = m.kind == KP_MAP_FOREIGN ? (struct kp_gpath){"/"} : m.guest;
	n->self = (struct kp_dir){0};
	n->parent = n->self;
	if (fd == AT_FDCWD)
		(void)snprintf(n->host.s, sizeof(n->host.s), "/proc/%d/cwd", c->tid);
	else
		(void)snprintf(n->host.s, sizeof(n->host.s), "/proc/%d/fd/%d", c->tid, fd);
	if (m.kind == KP_MAP_IMAGE && !kp_image_entry(c->vfs->layers[m.layer].image, m.entry, &e)) {
		/* Copied up since: what is true of the file now is in the upper. */
		if (!kp_resolve_exact(c->vfs, m.guest.s, c->tid, n) && n->origin == KP_UPPER &&
		    n->ino == kp_ino_image(m.layer, e.ino))
			return 0;
		n->guest = m.guest;
		n->lower = n->whiteout = false;
		n->origin = KP_IMAGE;
		n->layer = m.layer;
		n->entry = m.entry;
		n->mode = e.mode;
		n->ino = kp_ino_image(m.layer, e.ino);
		return 0;
	}
	if (stat(n->host.s, &n->st) < 0)
		return errno == ENOENT ? -EBADF : -errno;
	n->origin = KP_MAGIC;
	n->mode = n->st.st_mode;
	n->self.mode = n->mode;
	return m.kind == KP_MAP_UPPER ? upper_fd_node(c->vfs, n) : 0;
}

int kp_call_fd_node_for_change(struct kp_call *c, int fd, struct kp_node *n)
{
	int rc = kp_call_fd_node(c, fd, n);

	if (rc || n->origin != KP_IMAGE || S_ISDIR(n->mode))
		return rc;
	struct kp_gpath at = n->guest;
	size_t layer = n->layer;
	uint32_t entry = n->entry;
	uint64_t ino = n->ino;

	rc = kp_resolve_exact(c->vfs, at.s, c->tid, n);
	if (rc)
		return rc;
	/* Copied up meanwhile: the same file still. Replaced or removed: the descriptor's file takes no changes. */
	if (n->origin == KP_UPPER ? n->ino == ino : n->origin == KP_IMAGE && n->layer == layer && n->entry == entry)
		return 0;
	return -EROFS;
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
