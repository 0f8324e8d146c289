/* SPDX-License-Identifier: Apache-2.0 */
/* What each layer says of one path, and which of them the guest sees. */
#include <fcntl.h>
#include <unistd.h>

#include "vfs/explain.h"
#include "vfs/internal.h"
#include "vfs/resolve.h"

static struct kp_said *next(struct kp_explained *x, enum kp_origin layer)
{
	struct kp_said *s = &x->said[x->count++];

	*s = (struct kp_said){.layer = layer};
	return s;
}

static void ask_upper(struct kp_vfs *v, struct kp_explained *x)
{
	struct kp_said *s = next(x, KP_UPPER);
	const char *rel = kp_gpath_rel(&x->node.guest);
	struct kp_record rec;
	struct stat st;

	if (!x->node.parent.upper || fstatat(v->upper_fd, rel, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	(void)kp_path_join(s->host.s, sizeof(s->host.s), v->upper.s, x->node.guest.s);
	s->whiteout = kp_is_whiteout(&st);
	if (s->whiteout)
		return;
	s->mode = st.st_mode;
	s->opaque = S_ISDIR(st.st_mode) && !kp_record_read(v, rel, &rec) && rec.flags & KP_REC_OPAQUE;
}

static void tell_from(struct kp_said *s, const struct kp_explained *x)
{
	struct kp_gpath buf;
	const char *lower = kp_lower_path(&x->node.self, x->node.guest.s, &buf);

	if (strcmp(lower, x->node.guest.s) != 0)
		(void)snprintf(s->from.s, sizeof(s->from.s), "%s", lower);
}

static void ask_image(struct kp_vfs *v, struct kp_explained *x, size_t i)
{
	const char *name = kp_gpath_name(&x->node.guest);
	uint32_t dir = x->node.parent.entry[i], id = dir;
	struct kp_said *s = next(x, KP_IMAGE);
	struct kp_entry e;

	s->image = i;
	if (x->node.self.entry[i] != KP_NO_ENTRY)
		id = x->node.self.entry[i]; /* one that was renamed is not below its parent's */
	else if (dir != KP_NO_ENTRY && *name)
		id = kp_image_child(v->layers[i].image, dir, name, strlen(name));
	if (id == KP_NO_ENTRY || kp_image_entry(v->layers[i].image, id, &e))
		return;
	s->entry = id;
	s->mode = e.mode;
	tell_from(s, x);
}

static void ask_host(struct kp_explained *x)
{
	const struct kp_rule *r = x->rule;
	struct kp_said *s;
	struct stat st;

	if (!r || r->mode == KP_MODE_FULL)
		return;
	s = next(x, KP_HOST);
	if (kp_shown_of(&x->node.self, x->node.guest.s, &s->host) || fstatat(AT_FDCWD, s->host.s, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	s->mode = st.st_mode;
	if (r->mode != KP_MODE_MERGED)
		tell_from(s, x);
}

static void ask_base(struct kp_vfs *v, struct kp_explained *x)
{
	struct kp_gpath buf;
	const char *lower = kp_lower_path(&x->node.self, x->node.guest.s, &buf);
	struct kp_said *s = next(x, KP_BASE);
	struct stat st;

	if (!x->node.parent.base || kp_base_stat(v, lower, &st))
		return;
	s->mode = st.st_mode;
}

static void judge(struct kp_explained *x)
{
	const struct kp_node *n = &x->node;
	bool above = false; /* the one that answers has been met */

	for (size_t i = 0; i < x->count; i++) {
		struct kp_said *s = &x->said[i];
		bool part = s->layer == KP_UPPER ? n->self.upper : s->layer == KP_IMAGE ? n->self.entry[s->image] != KP_NO_ENTRY
			    : s->layer == KP_HOST ? n->self.host : n->self.base;

		s->answers = !above && s->mode && s->layer == n->origin && (s->layer != KP_IMAGE || s->image == n->layer);
		s->merges = !s->answers && s->mode && S_ISDIR(n->mode) && part;
		above |= s->answers;
	}
}

int kp_vfs_explain(struct kp_vfs *v, const char *path, bool follow, struct kp_explained *x)
{
	struct kp_cred cred = {.uid = v->uid, .gid = v->gid, .privileged = true};
	struct kp_walk w = {.cred = &cred, .tid = getpid(), .start = "/", .path = path, .follow = follow};
	int rc;

	x->count = 0;
	kp_vfs_read_lock(v);
	rc = kp_resolve(v, &w, &x->node);
	x->rule = x->node.self.rule;
	if (!rc && x->node.origin != KP_PROC && x->node.origin != KP_MAGIC && !x->node.self.bind) {
		ask_upper(v, x);
		for (size_t i = 0; i < v->layer_count; i++)
			ask_image(v, x, i);
		ask_host(x);
		ask_base(v, x);
		judge(x);
	}
	kp_vfs_unlock(v);
	return rc;
}

const struct kp_image *kp_vfs_image(const struct kp_vfs *v, size_t layer)
{
	return v->layers[layer].image;
}

int kp_vfs_numbered(const struct kp_vfs *v, uint64_t ino, struct kp_gpath *ret)
{
	uint64_t layer = ino >> 33, id = ino & ((1ULL << 33) - 1);

	if (ino >= KP_INO_BASE || !layer || layer > v->layer_count || !id || id > kp_image_count(v->layers[layer - 1].image))
		return -ENOENT;
	return kp_image_path(v->layers[layer - 1].image, (uint32_t)(id - 1), ret->s, sizeof(ret->s));
}

bool kp_vfs_is_host_number(uint64_t ino)
{
	return ino >> 62 == 1;
}

bool kp_vfs_is_held(const struct kp_vfs *v, const struct kp_node *n)
{
	return kp_shown_is_held(v, n);
}
