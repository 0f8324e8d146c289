/* SPDX-License-Identifier: Apache-2.0 */
/* The walk: components, "..", symlinks, magic links, openat2's restrictions. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/proc.h"
#include "vfs/resolve.h"

static _Thread_local const struct kp_vfs *reading;

void kp_vfs_read_lock(struct kp_vfs *v)
{
	pthread_rwlock_rdlock(&v->lock);
	reading = v;
}

void kp_vfs_write_lock(struct kp_vfs *v)
{
	pthread_rwlock_wrlock(&v->lock);
	atomic_fetch_add(&v->changes, 1);
	v->declared = false;
}

void kp_vfs_unlock(struct kp_vfs *v)
{
	if (reading != v && !v->declared)
		kp_fast_void(v);
	reading = NULL;
	pthread_rwlock_unlock(&v->lock);
}

bool kp_vfs_is_reading(const struct kp_vfs *v)
{
	return reading == v;
}

int kp_permit(const struct kp_cred *cred, mode_t mode, uid_t uid, gid_t gid, int want)
{
	mode_t bits = mode & 7;
	bool in_group = cred->gid == gid;

	if (cred->privileged) {
		if (want & X_OK && !S_ISDIR(mode) && !(mode & 0111))
			return -EACCES;
		return 0;
	}
	for (size_t i = 0; i < cred->group_count && !in_group; i++)
		in_group = cred->groups[i] == gid;
	if (cred->uid == uid)
		bits = mode >> 6 & 7;
	else if (in_group)
		bits = mode >> 3 & 7;
	return (bits & (mode_t)want) == (mode_t)want ? 0 : -EACCES;
}

void kp_node_owner(const struct kp_vfs *v, const struct kp_node *n, uid_t *ret_uid, gid_t *ret_gid)
{
	bool own = n->origin == KP_UPPER || n->origin == KP_HOST || n->origin == KP_PROC || (n->origin == KP_MAGIC && n->self.rule);

	*ret_uid = own ? n->st.st_uid : v->uid;
	*ret_gid = own ? n->st.st_gid : v->gid;
}

int kp_node_permit(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, int want)
{
	uid_t uid;
	gid_t gid;

	/* What a guest runs from is busy to it, as a program that runs is. */
	if (want & W_OK && n->origin == KP_HOST && S_ISREG(n->mode) && (n->through || n->self.bind))
		for (size_t i = 0; i < v->layer_count; i++)
			if (v->image_file[i].ino == n->st.st_ino && v->image_file[i].dev == n->st.st_dev)
				return -ETXTBSY;
	kp_node_owner(v, n, &uid, &gid);
	return kp_permit(cred, n->mode, uid, gid, want);
}

int kp_node_permit_parent(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, bool remove)
{
	const struct kp_dir *d = &n->parent;
	uid_t uid;
	gid_t gid;
	int rc;

	if (d->proc && !d->reg)
		return remove ? -EPERM : -ENOENT;
	if (d->bind && d->bind->read_only)
		return -EROFS;
	rc = kp_permit(cred, d->mode, d->uid, d->gid, W_OK | X_OK);
	if (rc || !remove || !(d->mode & S_ISVTX) || cred->privileged)
		return rc;
	kp_node_owner(v, n, &uid, &gid);
	return cred->uid == uid || cred->uid == d->uid ? 0 : -EPERM;
}

/* State of one walk: where we are, and the text still to come. */
struct walk {
	struct kp_vfs *v;
	const struct kp_walk *in;
	struct kp_node *node;
	char *rest;      /* what is left */
	char buf[2 * PATH_MAX + 2];
	int links;
	bool hosted;     /* something on the way is the host's */
	bool partial;    /* the node came from the cache: enough to go on from, not to end at */
	size_t root_len; /* RESOLVE_BENEATH, RESOLVE_IN_ROOT: ".." stops here */
	bool has_root;   /* an absolute path or link, or "..", was on the way */
};

/* From the cache: enough to go on from; node->parent is not set. */
static void take_hit(struct kp_node *n, const struct kp_dir *dir, uint64_t ino)
{
	n->self = *dir;
	n->mode = dir->mode;
	n->ino = ino;
	n->origin = dir->reg ? KP_REG : dir->upper ? KP_UPPER : KP_IMAGE;
}

/* With ret_partial a directory at the end may come from the cache (then *ret_partial is true): enough to go on from. */
static int walk_exact(struct kp_vfs *v, const char *guest, pid_t tid, struct kp_node *node, bool *ret_partial)
{
	const char *p = guest;

	kp_lookup_root(v, node);
	while (*p == '/')
		p++;
	while (*p) {
		size_t len = strcspn(p, "/");
		const char *next = p + len + strspn(p + len, "/");
		const struct kp_dir *hit;
		uint64_t ino;
		struct kp_dir dir;
		int rc;

		if (!S_ISDIR(node->mode))
			return node->mode ? -ENOTDIR : -ENOENT;
		dir = node->self;
		rc = kp_gpath_push(&node->guest, p, len);
		if (rc)
			return rc;
		hit = *next || ret_partial ? kp_dircache_get(v, node->guest.s, &ino) : NULL;
		if (ret_partial)
			*ret_partial = hit != NULL;
		if (hit) {
			take_hit(node, hit, ino);
			node->parent = dir;
		} else {
			rc = kp_lookup_child(v, &dir, p, len, tid, node);
			if (rc)
				return rc;
			if (S_ISDIR(node->mode))
				kp_dircache_put(v, node->guest.s, &node->self, node->ino);
		}
		p = next;
	}
	return 0;
}

int kp_resolve_exact(struct kp_vfs *v, const char *guest, pid_t tid, struct kp_node *ret_node)
{
	struct kp_gpath at; /* guest may be the node's own */

	(void)snprintf(at.s, sizeof(at.s), "%s", guest);
	ret_node->last = KP_LAST_NORM;
	ret_node->trailing_slash = false;
	ret_node->last_error = 0;
	ret_node->hosted = true; /* not looked at */
	ret_node->cut_short = false;
	return walk_exact(v, at.s, tid, ret_node, NULL);
}

/* Puts text (a link's target) before what is left. */
static int prepend(struct walk *w, const char *text)
{
	size_t len = strlen(text);
	bool slash = *w->rest && *w->rest != '/';

	if (len + slash > (size_t)(w->rest - w->buf))
		return -ENAMETOOLONG;
	if (slash)
		*--w->rest = '/';
	w->rest -= len;
	memcpy(w->rest, text, len);
	return 0;
}

static void note_host(struct walk *w)
{
	enum kp_origin origin = w->node->origin;

	w->hosted |= origin == KP_HOST || origin == KP_PROC || origin == KP_MAGIC;
}

static int go_to(struct walk *w, const char *guest)
{
	const struct kp_dir *hit;
	struct kp_gpath at;
	uint64_t ino;
	int rc;

	w->partial = false;
	if (guest[1] == '\0') {
		kp_lookup_root(w->v, w->node);
		return 0;
	}
	hit = kp_dircache_get(w->v, guest, &ino);
	if (hit) {
		memmove(w->node->guest.s, guest, strlen(guest) + 1);
		take_hit(w->node, hit, ino);
		w->partial = true;
		return 0;
	}
	(void)snprintf(at.s, sizeof(at.s), "%s", guest);
	rc = walk_exact(w->v, at.s, w->in->tid, w->node, &w->partial);
	note_host(w);
	return rc;
}

static int go_up(struct walk *w)
{
	struct kp_gpath up;

	if (w->root_len && strlen(w->node->guest.s) <= w->root_len) {
		if (w->in->resolve & RESOLVE_BENEATH)
			return -EXDEV;
		return 0;
	}
	kp_gpath_parent(&w->node->guest, &up);
	return go_to(w, up.s);
}

static int go_root(struct walk *w)
{
	if (w->in->resolve & RESOLVE_BENEATH)
		return -EXDEV;
	w->has_root = true;
	return go_to(w, w->in->resolve & RESOLVE_IN_ROOT ? w->in->start : "/");
}

/* The record of an open file of the upper, reached through its descriptor: it may have lost its name, or have got another. */
static void take_record(struct kp_node *n)
{
	struct kp_record rec = {0};

	n->ino = KP_INO_UPPER | n->st.st_ino;
	if (!kp_may_have_record(n->st.st_mode) ||
	    !kp_record_check(&rec, getxattr(n->host.s, KP_RECORD_XATTR, &rec, sizeof(rec))))
		return;
	kp_record_owner(&rec, &n->st);
	n->mode = kp_guest_mode(n->st.st_mode, &rec);
	if (rec.flags & KP_REC_INO)
		n->ino = rec.ino;
}

/* Links of descriptors say in their mode how those were opened; cwd and exe are 0777. */
static bool writes(const struct kp_hpath *link)
{
	struct stat st;

	return lstat(link->s, &st) == 0 && (st.st_mode & (S_IWUSR | S_IWOTH)) == S_IWUSR;
}

/* Of a file that is the host's a guest gets descriptors for reading only, where it may not change it: one that writes came from who
 * started the guest. */
bool kp_link_is_given(const struct kp_hpath *link, const struct kp_mapped *m, const struct stat *st)
{
	return m->rule && m->rule->mode != KP_MODE_MERGED && S_ISREG(st->st_mode) && writes(link);
}

void kp_node_keep(struct kp_node *n, const struct kp_mapped *m, const struct kp_hpath *link)
{
	if (m->kept && !S_ISDIR(n->mode) && !writes(link))
		n->nameless = true;
}

/* One that only reads may be of a file that a mode showed until the host moved it elsewhere; and exe leads to our own loader. */
static bool may_not_change(const struct kp_vfs *v, const struct kp_hpath *link, const struct kp_mapped *m, const struct stat *st)
{
	if (m->loader)
		return true;
	if (m->rule)
		return m->rule->mode != KP_MODE_MERGED && !kp_link_is_given(link, m, st);
	if (m->read_only)
		return !writes(link);
	return m->kind == KP_MAP_FOREIGN && (v->rule_count || v->bind_count || kp_proc_link_by_name(link)) && st->st_nlink &&
	       (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) && !writes(link);
}

/* Neither is ever the host's own but where a guest's thread wrote over the path of a call that the guest was made to make: Landlock
 * knows no chdir and no O_PATH. To open what they lead to would give it the rest. What a user passes on was opened for something. */
static bool is_stolen(const struct kp_hpath *link, const struct stat *st)
{
	struct stat self;
	size_t len = strlen(link->s);

	if (S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode))
		return false;
	if (len > 4 && !strcmp(link->s + len - 4, "/cwd"))
		return true;
	return lstat(link->s, &self) == 0 && !(self.st_mode & 0777);
}

int kp_node_from_link(struct kp_vfs *v, const struct kp_hpath *link, const struct kp_mapped *m, struct kp_node *n)
{
	struct kp_entry e;

	n->last = KP_LAST_NORM;
	n->lower = n->through = n->whiteout = n->opaque = n->nameless = false;
	n->last_error = 0;
	n->entry = KP_NO_ENTRY;
	n->ino = 0;
	n->host = *link;
	n->guest = m->kind == KP_MAP_FOREIGN ? (struct kp_gpath){"/"} : m->guest;
	n->self = (struct kp_dir){0};
	n->parent = n->self;
	if (m->kind == KP_MAP_IMAGE && !kp_image_entry(v->layers[m->layer].image, m->entry, &e)) {
		n->origin = KP_IMAGE;
		n->nameless = true;
		n->layer = m->layer;
		n->entry = m->entry;
		n->mode = e.mode;
		n->ino = kp_ino_image(m->layer, e.ino);
		return 0;
	}
	if (stat(link->s, &n->st) < 0)
		return -errno;
	if (m->kind == KP_MAP_FOREIGN && is_stolen(link, &n->st))
		return -EACCES;
	n->origin = KP_MAGIC;
	n->mode = n->st.st_mode;
	n->self.mode = n->mode;
	n->self.rule = m->rule;
	if (m->kind == KP_MAP_UPPER)
		take_record(n);
	if (m->rule) /* a file of the host that has no name here any more */
		n->ino = kp_ino_host(n->st.st_dev, n->st.st_ino);
	n->nameless = may_not_change(v, link, m, &n->st);
	kp_node_keep(n, m, link);
	return 0;
}

bool kp_same_object(const struct kp_vfs *v, const struct kp_node *n, const struct kp_mapped *m, const struct stat *held)
{
	struct kp_entry e;

	if (m->kind == KP_MAP_IMAGE && n->origin == KP_UPPER)
		return !kp_image_entry(v->layers[m->layer].image, m->entry, &e) &&
		       n->ino == kp_ino_image(m->layer, e.ino); /* copied up since */
	if (m->kind == KP_MAP_IMAGE)
		return n->origin == KP_IMAGE && n->layer == m->layer && n->entry == m->entry;
	if (m->rule && n->origin == KP_UPPER && !S_ISDIR(n->mode))
		return n->ino == kp_ino_host(held->st_dev, held->st_ino); /* copied up since */
	if (S_ISDIR(n->mode) || n->origin == KP_PROC || n->origin == KP_REG || m->copy)
		return n->origin != KP_ABSENT;
	return n->st.st_ino == held->st_ino && n->st.st_dev == held->st_dev;
}

/* /proc/PID/{exe,cwd,root,fd/N}: the target as a guest path, or the object itself where it has none. */
static int follow_magic(struct walk *w)
{
	struct kp_node *n = w->node;
	struct kp_hpath link = n->host;
	char target[PATH_MAX], host[PATH_MAX];
	struct kp_mapped m;
	struct stat held;
	ssize_t len;
	int rc;

	if (w->in->resolve & RESOLVE_NO_MAGICLINKS)
		return -ELOOP;
	if (w->in->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		return -EXDEV;
	rc = kp_node_readlink(w->v, n, target, sizeof(target));
	len = readlink(link.s, host, sizeof(host) - 1);
	if (rc || len < 0)
		return rc ? rc : -errno;
	host[len] = '\0';
	if (stat(link.s, &held) < 0)
		return -errno;
	kp_map_host(w->v, host, &m);
	if (target[0] == '/' && !m.deleted && !kp_link_is_given(&link, &m, &held)) {
		bool by_name = kp_proc_link_by_name(&link);

		rc = go_to(w, target);
		if (!rc && n->origin != KP_ABSENT && (by_name || kp_same_object(w->v, n, &m, &held))) {
			kp_node_keep(n, &m, &link);
			return 0;
		}
	}
	w->partial = false;
	w->hosted = true;
	return kp_node_from_link(w->v, &link, &m, n);
}

static int follow_link(struct walk *w)
{
	char target[PATH_MAX];
	int rc;

	if (w->in->resolve & RESOLVE_NO_SYMLINKS || ++w->links > KP_MAX_LINKS)
		return -ELOOP;
	if (w->node->origin == KP_MAGIC) /* set by kp_proc_lookup on magic links */
		return follow_magic(w);
	rc = kp_node_readlink(w->v, w->node, target, sizeof(target));
	if (rc)
		return rc;
	if (!target[0])
		return -ENOENT;
	rc = prepend(w, target);
	if (rc)
		return rc;
	if (target[0] != '/')
		return go_up(w);
	/* The kernel (fs/namei.c, nd_jump_root) compares the link's mount with that of a root that it looks up only when it needs it. */
	if (w->in->resolve & RESOLVE_NO_XDEV && !w->has_root && !(w->in->resolve & RESOLVE_IN_ROOT))
		return -EXDEV;
	return go_root(w);
}

/* One component; *last when nothing but slashes follows it. */
static int step(struct walk *w, const char *name, size_t len, bool last)
{
	struct kp_node *n = w->node;
	const struct kp_dir *hit;
	struct kp_dir dir;
	uint64_t ino;
	int rc;

	if (n->origin == KP_ABSENT)
		return -ENOENT;
	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	rc = kp_permit(w->in->cred, n->self.mode, n->self.uid, n->self.gid, X_OK);
	if (rc)
		return rc;
	n->last = len == 1 && name[0] == '.' ? KP_LAST_DOT
		  : len == 2 && name[0] == '.' && name[1] == '.' ? KP_LAST_DOTDOT : KP_LAST_NORM;
	if (n->last == KP_LAST_DOT)
		return 0;
	if (n->last == KP_LAST_DOTDOT) {
		w->has_root = true;
		return go_up(w);
	}
	if (last && w->in->create && n->trailing_slash)
		return -EISDIR;
	dir = n->self;
	n->last_error = last && w->in->name_only && len > NAME_MAX ? -ENAMETOOLONG : 0;
	len = n->last_error ? NAME_MAX : len;
	rc = kp_gpath_push(&n->guest, name, len);
	if (rc)
		return rc;
	hit = last ? NULL : kp_dircache_get(w->v, n->guest.s, &ino);
	if (hit) {
		take_hit(n, hit, ino);
		n->parent = dir;
		w->partial = true;
		return 0;
	}
	w->partial = false;
	rc = kp_lookup_child(w->v, &dir, name, len, w->in->tid, n);
	if (n->last_error) {
		n->origin = KP_ABSENT;
		n->mode = 0;
		return 0;
	}
	note_host(w);
	if (rc)
		return rc;
	if (w->in->resolve & RESOLVE_NO_XDEV && n->origin != KP_ABSENT &&
	    (n->self.bind != dir.bind || n->self.proc != dir.proc))
		return -EXDEV;
	if (S_ISDIR(n->mode))
		kp_dircache_put(w->v, n->guest.s, &n->self, n->ino);
	if (S_ISLNK(n->mode) && (!last || w->in->follow || (n->trailing_slash && !w->in->name_only))) {
		n->last = KP_LAST_NORM;
		return follow_link(w);
	}
	return 0;
}

static int begin(struct walk *w)
{
	const char *path = w->in->path;
	size_t len = strlen(path);
	int rc;

	if (!len)
		return -ENOENT;
	w->rest = w->buf + sizeof(w->buf) - 1;
	*w->rest = '\0';
	rc = prepend(w, path);
	if (rc)
		return rc;
	w->node->trailing_slash = path[len - 1] == '/';
	w->node->last = KP_LAST_ROOT;
	w->node->last_error = 0;
	if (w->in->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		w->root_len = strlen(w->in->start);
	if (path[0] == '/')
		return go_root(w);
	rc = go_to(w, w->in->start);
	if (!rc && w->node->origin == KP_ABSENT)
		return -ENOENT;
	return rc;
}

/* After a followed last symlink the name sits in another directory: node->parent is that one, as set by the look-up. */
int kp_resolve(struct kp_vfs *v, const struct kp_walk *in, struct kp_node *ret_node)
{
	struct walk w;
	int rc;

	w.v = v;
	w.in = in;
	w.node = ret_node;
	w.links = 0;
	w.hosted = w.has_root = false;
	w.root_len = 0;
	w.partial = false;
	ret_node->cut_short = false;
	rc = begin(&w);
	while (!rc) {
		size_t len, slashes;
		char *name;
		bool last;

		w.rest += strspn(w.rest, "/");
		if (!*w.rest)
			break;
		name = w.rest;
		len = strcspn(name, "/");
		slashes = strspn(name + len, "/");
		last = !name[len + slashes];
		if (last && slashes)
			ret_node->trailing_slash = true;
		w.rest += len + slashes;
		rc = step(&w, name, len, last);
		ret_node->cut_short = !rc && !last && ret_node->origin == KP_ABSENT;
		if (ret_node->cut_short)
			rc = -ENOENT;
	}
	if (!rc && w.partial) {
		struct kp_gpath at = ret_node->guest;

		rc = walk_exact(v, at.s, in->tid, ret_node, NULL);
	}
	ret_node->hosted = w.hosted;
	ret_node->through_link = w.links > 0;
	if (rc)
		return rc;
	if (ret_node->trailing_slash && !in->name_only && ret_node->origin != KP_ABSENT && !S_ISDIR(ret_node->mode) &&
	    !S_ISLNK(ret_node->mode))
		return -ENOTDIR;
	return 0;
}

int kp_node_readlink(struct kp_vfs *v, const struct kp_node *n, char *buf, size_t size)
{
	struct kp_gpath lower;
	struct kp_entry e;
	ssize_t len;

	if (!S_ISLNK(n->mode))
		return -EINVAL;
	switch (n->origin) {
	case KP_UPPER:
		len = readlinkat(v->upper_fd, n->guest.s + 1, buf, size - 1);
		break;
	case KP_BASE:
		len = snprintf(buf, size, "%s", kp_base_link(v, kp_lower_path(&n->self, n->guest.s, &lower)));
		break;
	case KP_HOST:
		len = readlink(n->host.s, buf, size - 1);
		break;
	case KP_IMAGE:
		if (kp_image_entry(v->layers[n->layer].image, n->entry, &e))
			return -EIO;
		len = snprintf(buf, size, "%s", e.target);
		break;
	case KP_PROC:
	case KP_MAGIC:
		return kp_proc_readlink(v, n, buf, size);
	case KP_REG:
	case KP_ABSENT:
	default:
		return -ENOENT;
	}
	if (len < 0)
		return -errno;
	buf[(size_t)len < size ? (size_t)len : size - 1] = '\0';
	return 0;
}
