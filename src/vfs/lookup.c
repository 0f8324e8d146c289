/* SPDX-License-Identifier: Apache-2.0 */
/* One name in one directory: upper, images top down, what is shown of the host, the generated layer. */
#include <fcntl.h>
#include <sys/xattr.h>

#include "vfs/internal.h"
#include "vfs/makes.h"
#include "vfs/pts.h"
#include "vfs/proc.h"
#include "vfs/regtree.h"

int kp_record_read(const struct kp_vfs *v, const char *rel, struct kp_record *ret)
{
	char path[PATH_MAX + 32];
	ssize_t n;

	*ret = (struct kp_record){0};
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", v->upper_fd, rel);
	n = lgetxattr(path, KP_RECORD_XATTR, ret, sizeof(*ret));
	if (kp_record_check(ret, n))
		return 0;
	return n < 0 && errno != ENODATA && errno != EOPNOTSUPP && errno != ERANGE ? -errno : 0;
}

bool kp_record_check(struct kp_record *r, ssize_t len)
{
	bool good = len >= (ssize_t)KP_RECORD_SHORT && r->version == 1 &&
		    (len == (ssize_t)sizeof(*r) || !(r->flags & KP_REC_OWNER));

	if (!good)
		*r = (struct kp_record){0};
	return good;
}

static void dir_clear(struct kp_dir *d)
{
	*d = (struct kp_dir){0};
	for (size_t i = 0; i < KP_MAX_LAYERS; i++)
		d->entry[i] = KP_NO_ENTRY;
}

static void take_owner(struct kp_node *n, uid_t uid, gid_t gid)
{
	n->self.mode = n->mode;
	n->self.uid = uid;
	n->self.gid = gid;
}

/* Host names come from the kernel as they are. */
static int lookup_host(const struct kp_bind *bind, struct kp_node *child)
{
	const char *below = kp_path_below(child->guest.s, bind->guest);

	child->self.bind = bind;
	if (!below || kp_path_join(child->host.s, sizeof(child->host.s), bind->host, below))
		return -ENAMETOOLONG;
	if (fstatat(AT_FDCWD, child->host.s, &child->st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	child->origin = KP_HOST;
	child->mode = child->st.st_mode;
	take_owner(child, child->st.st_uid, child->st.st_gid);
	return 0;
}

/* *ret_done: the search is over, the upper decides alone. *ret_moved: a directory whose lower parts lie elsewhere. */
static int lookup_upper(struct kp_vfs *v, const struct kp_dir *dir, struct kp_node *child, bool *ret_done, bool *ret_moved)
{
	struct kp_record rec = {0};
	int rc;

	*ret_done = *ret_moved = false;
	if (!dir->upper || kp_upper_lacks(v, child->guest.s))
		return 0;
	if (fstatat(v->upper_fd, child->guest.s + 1, &child->st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return -errno;
		/* Where guests make files themselves, one may be there the next moment. */
		if (!v->fast || !kp_makes_alone_above(v, child))
			kp_upper_note_lack(v, child->guest.s);
		return 0;
	}
	*ret_done = true;
	if (kp_is_whiteout(&child->st)) {
		child->whiteout = true;
		return 0;
	}
	if (kp_may_have_record(child->st.st_mode)) {
		rc = kp_record_read(v, child->guest.s + 1, &rec);
		if (rc)
			return rc;
	}
	child->origin = KP_UPPER;
	child->mode = kp_guest_mode(child->st.st_mode, &rec);
	child->ino = rec.flags & KP_REC_INO ? rec.ino
		     : S_ISLNK(child->st.st_mode) ? kp_number_of_link(v, child->guest.s + 1, child->st.st_ino) : 0;
	kp_record_owner(&rec, &child->st);
	take_owner(child, child->st.st_uid, child->st.st_gid);
	if (S_ISDIR(child->mode)) {
		child->self.upper = true;
		child->opaque = rec.flags & KP_REC_OPAQUE;
		*ret_done = child->opaque;
		*ret_moved = rec.flags & KP_REC_MOVED;
	}
	return 0;
}

/* A lower entry counts for the node itself, as one more part of a merged directory, or only as "there is something
 * below" (a whiteout will be needed). Returns false when the search below must end. */
static bool take_lower(struct kp_node *child, mode_t mode, bool hidden)
{
	child->lower = true;
	if (hidden || (child->origin != KP_ABSENT && (!S_ISDIR(child->mode) || !S_ISDIR(mode))))
		return false;
	return true;
}

static int lookup_images(struct kp_vfs *v, const struct kp_dir *dir, const char *name, size_t len, bool hidden,
			 struct kp_node *child, bool *ret_done)
{
	struct kp_entry e;

	*ret_done = false;
	for (size_t i = 0; i < v->layer_count && !*ret_done; i++) {
		uint32_t id = dir->entry[i] == KP_NO_ENTRY ? KP_NO_ENTRY
							   : kp_image_child(v->layers[i].image, dir->entry[i], name, len);
		if (id == KP_NO_ENTRY)
			continue;
		if (kp_image_entry(v->layers[i].image, id, &e))
			return -EIO;
		if (!take_lower(child, e.mode, hidden)) {
			*ret_done = true;
			break;
		}
		if (child->origin == KP_ABSENT) {
			child->origin = KP_IMAGE;
			child->mode = e.mode;
			child->layer = i;
			child->entry = id;
			take_owner(child, v->uid, v->gid);
		}
		if (S_ISDIR(e.mode)) {
			if (child->entry == KP_NO_ENTRY) {
				child->layer = i;
				child->entry = id;
			}
			child->self.entry[i] = id;
		} else {
			*ret_done = true;
		}
	}
	return 0;
}

static int lookup_base(struct kp_vfs *v, const struct kp_dir *dir, bool hidden, struct kp_node *child)
{
	struct kp_gpath buf;
	struct stat st;

	if (!dir->base)
		return 0;
	if (kp_base_stat(v, kp_lower_path(dir, child->guest.s, &buf), &st))
		return 0;
	if (!take_lower(child, st.st_mode, hidden))
		return 0;
	if (child->origin == KP_ABSENT) {
		child->origin = KP_BASE;
		child->mode = st.st_mode;
		child->st = st;
		child->ino = KP_INO_BASE | st.st_ino;
		child->through = false;
		take_owner(child, v->uid, v->gid);
	}
	child->self.base = S_ISDIR(st.st_mode);
	return 0;
}

/* The layers of the tree, top down. hidden: what lies below still tells whether a whiteout is needed. */
static int lookup_layers(struct kp_vfs *v, const struct kp_dir *dir, const char *name, size_t len, pid_t tid, struct kp_node *child)
{
	kp_autofree struct kp_node *low = NULL;
	bool done, hidden, moved, host_hidden;
	int rc = lookup_upper(v, dir, child, &done, &moved);

	child->host.s[0] = '\0';
	if (rc)
		return rc;
	if (moved)
		low = kp_moved_lower(v, child, tid);
	hidden = done || moved;
	host_hidden = done || (moved && child->self.rule && child->self.rule->mode != KP_MODE_MERGED);
	rc = lookup_images(v, dir, name, len, hidden, child, &done);
	if (!rc && (!done || moved || child->whiteout)) /* of a whiteout: where the host would have it */
		rc = kp_shown_lookup(v, dir, host_hidden, child);
	if (!rc && !done)
		rc = lookup_base(v, dir, hidden, child);
	if (!rc && low)
		kp_moved_take(child, low);
	return rc;
}

int kp_lookup_child(struct kp_vfs *v, const struct kp_dir *dir, const char *name, size_t len, pid_t tid,
		    struct kp_node *child)
{
	int rc;

	child->origin = KP_ABSENT;
	child->mode = 0;
	child->ino = 0;
	child->entry = KP_NO_ENTRY;
	child->lower = child->through = child->whiteout = child->opaque = child->nameless = false;
	child->parent = *dir;
	dir_clear(&child->self);
	child->self.rule = kp_rule_at(v, child->guest.s, dir->rule);
	child->self.moved = dir->moved;
	child->self.moved_len = dir->moved_len;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	if (v->registry && (dir->reg || !strcmp(child->guest.s, KP_REGTREE)))
		return kp_regtree_lookup(v, name, len, child);
	if (dir->proc)
		return kp_proc_lookup(v, name, len, tid, child);
	for (size_t i = v->bind_count; i-- > 0;)
		if (!strcmp(v->binds[i].guest, child->guest.s))
			return lookup_host(&v->binds[i], child);
	if (dir->bind && !strcmp(dir->bind->guest, "/dev/pts") && !kp_pts_has_name(v, name, len))
		return 0;
	if (dir->bind)
		return lookup_host(dir->bind, child);
	rc = lookup_layers(v, dir, name, len, tid, child);
	if (rc)
		return rc;
	/* A merged directory keeps the number of its topmost lower part: copy-up does not change it. */
	if (child->entry != KP_NO_ENTRY && !child->ino) {
		struct kp_entry e;

		if (kp_image_entry(v->layers[child->layer].image, child->entry, &e))
			return -EIO;
		child->ino = kp_ino_image(child->layer, e.ino);
	}
	if (child->origin == KP_UPPER && !child->ino)
		child->ino = KP_INO_UPPER | child->st.st_ino;
	if (!strcmp(child->guest.s, "/proc") && S_ISDIR(child->mode)) {
		child->self.proc = true;
		child->origin = KP_PROC;
		memcpy(child->host.s, "/proc", sizeof("/proc"));
	}
	return 0;
}

static void read_root(struct kp_vfs *v, struct kp_node *node)
{
	struct kp_record rec = {0};
	struct kp_entry e;

	memcpy(node->guest.s, "/", 2);
	node->origin = KP_UPPER;
	node->mode = S_IFDIR | 0755;
	node->ino = 1;
	node->entry = KP_NO_ENTRY;
	node->lower = true;
	node->through = node->whiteout = node->opaque = node->nameless = false;
	dir_clear(&node->self);
	node->self.rule = kp_rule_at(v, "/", NULL);
	node->self.host = node->self.host_open = node->self.rule && node->self.rule->mode != KP_MODE_FULL;
	node->self.upper = node->self.base = true;
	for (size_t i = 0; i < v->layer_count; i++) {
		node->self.entry[i] = KP_ROOT_ENTRY;
		if (!i && !kp_image_entry(v->layers[0].image, KP_ROOT_ENTRY, &e))
			node->mode = e.mode;
	}
	(void)fstat(v->upper_fd, &node->st);
	if (!kp_record_read(v, ".", &rec) && rec.flags & KP_REC_MODE)
		node->mode = S_IFDIR | (rec.mode & 07777);
	take_owner(node, v->uid, v->gid);
	node->parent = node->self;
}

void kp_lookup_root(struct kp_vfs *v, struct kp_node *node)
{
	static _Thread_local struct kp_node *known;
	static _Thread_local unsigned generation;
	static _Thread_local struct kp_vfs *whose;
	unsigned now = atomic_load(&v->generation);
	enum kp_last last = node->last;
	bool slash = node->trailing_slash;
	int last_error = node->last_error;

	if (!known || whose != v || generation != now) {
		if (!known)
			known = kp_calloc(1, sizeof(*known));
		read_root(v, known);
		whose = v;
		generation = now;
	}
	memcpy(node->guest.s, "/", 2);
	memcpy(&node->origin, &known->origin, offsetof(struct kp_node, host) - offsetof(struct kp_node, origin));
	memcpy(&node->lower, &known->lower, sizeof(*node) - offsetof(struct kp_node, lower));
	node->last = last;
	node->trailing_slash = slash;
	node->last_error = last_error;
}
