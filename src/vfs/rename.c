/* SPDX-License-Identifier: Apache-2.0 */
/* rename(2) across layers: what moves comes into the upper first, of a directory only itself (vfs/moved.c), so nothing is ever EXDEV inside the tree. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/live.h"
#include "vfs/makes.h"
#include "vfs/regtree.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

/* One directory on the way down. Trees are deeper than a worker's stack: these stand on the heap. */
struct level {
	struct kp_gpath guest;
	uint64_t ino;
	struct kp_strings names; /* those still to come */
	struct level *up;
};

static struct level *leave(struct level *l)
{
	struct level *up = l->up;

	kp_strings_free(&l->names);
	free(l);
	return up;
}

/* Brings one thing up; a directory with more of it below becomes the level to go on with. */
static int enter(struct kp_vfs *v, struct kp_node *n, struct level **l)
{
	int rc = kp_copy_up(v, n, KP_COPY_DATA);
	struct level *down;

	if (rc || !S_ISDIR(n->mode) || !kp_has_lower(&n->self))
		return rc;
	down = kp_calloc(1, sizeof(*down));
	down->guest = n->guest;
	down->ino = n->ino;
	down->up = *l;
	*l = down;
	return kp_list(v, n, 0, kp_take_name, &down->names);
}

/* All of a directory is in the upper now. */
static int hide_lower(struct kp_vfs *v, const struct level *l)
{
	const char *rel = l->guest.s + 1;
	struct kp_record rec;
	int rc = kp_record_read(v, rel, &rec);

	rec.flags |= KP_REC_OPAQUE | KP_REC_INO;
	rec.flags &= (uint8_t)~KP_REC_MOVED;
	rec.ino = l->ino;
	if (!rc)
		rc = kp_record_write(v, rel, &rec);
	kp_dircache_void(v);
	return rc;
}

/* Everything below a directory comes into the upper, then it hides what lies below: it can be moved. */
int kp_copy_up_tree(struct kp_vfs *v, struct kp_node *n)
{
	struct kp_node *child = kp_calloc(1, sizeof(*child));
	struct level *l = NULL;
	int rc = enter(v, n, &l);

	while (l) {
		kp_autofree char *name = rc ? NULL : kp_strings_pop(&l->names);
		char path[PATH_MAX];

		if (!rc && !name)
			rc = hide_lower(v, l);
		if (rc || !name) {
			l = leave(l);
			continue;
		}
		rc = kp_path_join(path, sizeof(path), l->guest.s, name);
		if (!rc)
			rc = kp_resolve_exact(v, path, 0, child);
		if (!rc && child->origin != KP_ABSENT)
			rc = enter(v, child, &l);
	}
	free(child);
	return rc ? rc : kp_refresh(v, n);
}

/* A whiteout in mode merged has hidden something of the host's. */
static bool hides_host(const struct kp_node *n)
{
	struct stat st;

	return n->whiteout && n->self.rule && n->self.rule->mode == KP_MODE_MERGED && lstat(n->host.s, &st) == 0;
}

/* Brings what is to be renamed into the upper, in a state in which it can have any name. */
static int make_movable(struct kp_vfs *v, struct kp_node *n, const struct kp_node *to)
{
	int rc = kp_copy_up(v, n, KP_COPY_DATA);

	if (rc || !S_ISDIR(n->mode))
		return rc;
	if (kp_has_lower(&n->self)) {
		rc = kp_moved_set(v, n);
		if (rc == -E2BIG || rc == -ENOSPC || rc == -ERANGE) /* attributes have little room: a path may be too long */
			return kp_copy_up_tree(v, n);
	}
	/* What the host has there is hidden, or is not it. */
	if (!rc && (kp_has_lower(&n->self) ? hides_host(to) : n->lower || to->lower || to->origin == KP_HOST))
		rc = kp_upper_add_flags(v, n->guest.s + 1, KP_REC_OPAQUE);
	return rc;
}

/* What the upper's directory holds is going to be at to: the directories above that know. */
static int note_place(struct kp_vfs *v, const struct kp_node *n, const struct kp_gpath *to)
{
	struct kp_record rec;
	int rc;

	if (!S_ISDIR(n->mode))
		return kp_may_have_record(n->st.st_mode) ? kp_upper_note_number(v, to) : 0;
	rc = kp_record_read(v, n->guest.s + 1, &rec);
	return !rc && rec.flags & (KP_REC_MOVED | KP_REC_HOLDS) ? kp_moved_mark(v, to) : rc;
}

/* More than the host's own part of a directory is there. */
static bool has_more(const struct kp_node *n)
{
	bool more = n->self.upper;

	for (size_t i = 0; i < KP_MAX_LAYERS; i++)
		more |= n->self.entry[i] != KP_NO_ENTRY;
	return S_ISDIR(n->mode) && more;
}

bool kp_crosses_zones(const struct kp_node *from, const struct kp_node *to)
{
	if (from->through && to->through)
		return has_more(from) || has_more(to);
	if (from->through == to->through)
		return false;
	return from->self.rule != to->self.rule || S_ISDIR(from->mode) || (to->through && to->origin == KP_HOST);
}

/* How a rename is made. In mode merged some of the names are the host's. */
enum way { IN_UPPER, ON_HOST, INTO_INSTANCE, INTO_HOST, HALVES, ELSEWHERE };

static bool is_alone(const struct kp_node *n)
{
	return n->origin == KP_UPPER && !S_ISDIR(n->mode) ? n->st.st_nlink < 2 : n->origin == KP_UPPER || n->origin == KP_IMAGE;
}

static enum way way_of_dir(const struct kp_node *from, const struct kp_node *to)
{
	bool merged = from->self.rule && from->self.rule->mode == KP_MODE_MERGED;

	if (from->through && to->through && !has_more(from))
		return has_more(to) ? ELSEWHERE : ON_HOST;
	if (merged && from->self.host) /* the host's part goes along */
		return from->self.rule == to->self.rule && to->host.s[0] && to->parent.host_open &&
		       (to->origin == KP_ABSENT || (to->through && !has_more(to))) ? HALVES : ELSEWHERE;
	if (from->through == to->through || from->self.rule == to->self.rule)
		return IN_UPPER;
	return ELSEWHERE;
}

static enum way way_of(const struct kp_node *from, const struct kp_node *to, bool exchange)
{
	bool dirs = S_ISDIR(from->mode) || S_ISDIR(to->mode);

	if (from->parent.bind)
		return ON_HOST;
	if (exchange && dirs && ((has_more(from) && from->self.host && from->self.rule->mode == KP_MODE_MERGED) ||
				 (has_more(to) && to->self.host && to->self.rule->mode == KP_MODE_MERGED)))
		return ELSEWHERE;
	if (exchange)
		return from->through != to->through ? ELSEWHERE : from->through ? ON_HOST : IN_UPPER;
	if (S_ISDIR(from->mode))
		return way_of_dir(from, to);
	if (from->through == to->through)
		return from->through ? ON_HOST : IN_UPPER;
	if (from->self.rule != to->self.rule)
		return ELSEWHERE;
	if (from->through)
		return INTO_INSTANCE;
	if (to->origin != KP_HOST || S_ISDIR(to->mode))
		return IN_UPPER;
	return (S_ISREG(from->mode) || S_ISLNK(from->mode)) && is_alone(from) ? INTO_HOST : ELSEWHERE;
}

/* The kernel's order: what the names are, then slashes, then who lies in whom. */
static int check_names(const struct kp_node *from, const struct kp_node *to, unsigned flags)
{
	bool from_dir = S_ISDIR(from->mode), exchange = flags & RENAME_EXCHANGE;

	if (from->parent.bind != to->parent.bind || from->parent.proc != to->parent.proc)
		return -EXDEV;
	if (from->last != KP_LAST_NORM)
		return -EBUSY;
	if (to->last != KP_LAST_NORM)
		return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (from->origin == KP_ABSENT)
		return from->last_error ? from->last_error : -ENOENT;
	if (to->last_error)
		return to->last_error;
	if (flags & RENAME_NOREPLACE && to->origin != KP_ABSENT)
		return -EEXIST;
	if (exchange && to->origin == KP_ABSENT)
		return -ENOENT;
	if (exchange && to->trailing_slash && !S_ISDIR(to->mode))
		return -ENOTDIR;
	if (!from_dir && (from->trailing_slash || (to->trailing_slash && !exchange)))
		return -ENOTDIR;
	if (way_of(from, to, exchange) == ELSEWHERE)
		return -EXDEV;
	if (!strcmp(from->guest.s, to->guest.s))
		return 0;
	if (kp_path_below(to->guest.s, from->guest.s))
		return -EINVAL;
	if (kp_path_below(from->guest.s, to->guest.s))
		return exchange ? -EINVAL : -ENOTEMPTY;
	return 0;
}

static int check_permissions(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to,
			     const struct kp_cred *cred, unsigned flags)
{
	bool from_dir = S_ISDIR(from->mode), to_dir = S_ISDIR(to->mode), exchange = flags & RENAME_EXCHANGE;
	struct kp_gpath from_parent, to_parent;
	int rc = kp_node_permit_parent(v, from, cred, true);

	if (!rc)
		rc = kp_node_permit_parent(v, to, cred, to->origin != KP_ABSENT);
	if (rc)
		return rc;
	if (to->origin != KP_ABSENT && !exchange && from_dir != to_dir)
		return from_dir ? -ENOTDIR : -EISDIR;
	/* Moving a directory elsewhere changes its "..". */
	kp_gpath_parent(&from->guest, &from_parent);
	kp_gpath_parent(&to->guest, &to_parent);
	if (strcmp(from_parent.s, to_parent.s) != 0) {
		if (from_dir)
			rc = kp_node_permit(v, from, cred, W_OK);
		if (!rc && exchange && to_dir)
			rc = kp_node_permit(v, to, cred, W_OK);
	}
	if (!rc && (kp_is_mount_point(from) || kp_is_mount_point(to) || kp_shown_is_held(v, from) || kp_shown_is_held(v, to)))
		rc = -EBUSY;
	/* What is the host's alone the kernel judges, which can where the user may not list it. */
	if (!rc && to_dir && !exchange && !to->self.bind && !(from->self.host && to->through && !has_more(to)))
		rc = kp_list_is_empty(v, to);
	return rc;
}

static bool same_file(const struct kp_node *a, const struct kp_node *b)
{
	return !strcmp(a->guest.s, b->guest.s) ||
	       (a->origin == KP_IMAGE && b->origin == KP_IMAGE && !S_ISDIR(a->mode) && a->ino == b->ino) ||
	       (a->origin == KP_HOST && b->origin == KP_HOST && !S_ISDIR(a->mode) && a->ino && a->ino == b->ino) ||
	       (a->origin == KP_UPPER && b->origin == KP_UPPER && !S_ISDIR(a->mode) && a->st.st_ino == b->st.st_ino);
}

static void exchange_standins(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to)
{
	struct kp_gpath aside = {"/.kapsel-exchange"};

	if (!S_ISDIR(from->mode) && !S_ISDIR(to->mode))
		return;
	kp_standin_rename(v, &from->guest, &aside);
	kp_standin_rename(v, &to->guest, &from->guest);
	kp_standin_rename(v, &aside, &to->guest);
}

static int exchange(struct kp_vfs *v, struct kp_node *from, struct kp_node *to)
{
	int rc = make_movable(v, from, to);

	if (!rc)
		rc = make_movable(v, to, from);
	if (!rc)
		rc = note_place(v, from, &to->guest);
	if (!rc)
		rc = note_place(v, to, &from->guest);
	if (rc)
		return rc;
	if (renameat2(v->upper_fd, from->guest.s + 1, v->upper_fd, to->guest.s + 1, RENAME_EXCHANGE) < 0)
		return -errno;
	exchange_standins(v, from, to);
	kp_dircache_renew(v);
	return 0;
}

/* An empty directory of the upper may still hold whiteouts, and the kernel would not replace it: one that holds nothing takes its place. */
static int clear_directory(struct kp_vfs *v, const struct kp_node *n)
{
	const char *rel = n->guest.s + 1;
	struct kp_temp t = kp_temp_name(v);
	struct timespec ts[2] = {n->st.st_atim, n->st.st_mtim};
	struct kp_times_kept kept;
	struct kp_record rec;
	int rc = kp_record_read(v, rel, &rec);

	if (!rc && mkdirat(v->work_fd, t.name, 0700) < 0)
		rc = -errno;
	if (rc)
		return rc;
	kp_autoclose int fd = openat(v->work_fd, t.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	rec.flags = (uint8_t)((rec.flags | KP_REC_OPAQUE) & ~(KP_REC_MOVED | KP_REC_HOLDS));
	if (fd < 0 || fchmod(fd, kp_real_mode(n->mode)) < 0)
		rc = -errno;
	if (!rc)
		rc = kp_record_write_fd(fd, &rec);
	if (!rc)
		(void)futimens(fd, ts);
	kp_times_keep(v, &n->guest, &kept);
	if (!rc)
		rc = kp_makes_replace(v, t.name, n);
	kp_times_restore(v, &kept);
	if (rc)
		(void)kp_remove_tree(v->work_fd, t.name);
	return rc;
}

/* In one step: who is killed leaves it done or not done. */
static int change_name(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to, unsigned flags)
{
	const char *old = from->guest.s + 1, *new = to->guest.s + 1;
	bool dir = S_ISDIR(from->mode);
	int rc;

	if (dir && to->whiteout) { /* no directory replaces one, but they can change places */
		rc = renameat2(v->upper_fd, old, v->upper_fd, new, RENAME_EXCHANGE) < 0 ? -errno : 0;
		if (!rc && !from->lower && unlinkat(v->upper_fd, old, 0) < 0)
			rc = -errno;
		return rc;
	}
	if (to->self.upper && S_ISDIR(to->mode)) {
		rc = clear_directory(v, to);
		if (rc)
			return rc;
	}
	return kp_makes_rename(v, v->upper_fd, old, to, flags | (from->lower ? RENAME_WHITEOUT : 0));
}

static int move(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, unsigned flags)
{
	bool dir = S_ISDIR(from->mode);
	int rc = make_movable(v, from, to);

	if (!rc)
		rc = kp_upper_parents(v, &to->guest);
	if (!rc && to->origin == KP_IMAGE)
		rc = kp_keep_other_names(v, to);
	if (!rc)
		rc = note_place(v, from, &to->guest);
	if (!rc)
		rc = change_name(v, from, to, flags);
	if (!rc && dir && S_ISDIR(to->mode))
		kp_standin_remove(v, to);
	if (!rc && dir)
		kp_standin_rename(v, &from->guest, &to->guest);
	if (dir)
		kp_dircache_renew(v);
	return rc;
}

static int on_host(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, unsigned flags)
{
	int rc = kp_shown_parents(v, to);

	if (!rc && renameat2(AT_FDCWD, from->host.s, AT_FDCWD, to->host.s, flags) < 0)
		rc = -errno;
	/* Where the host's path does not tell what a directory is here, it has a stand-in. */
	if (!rc && flags & RENAME_EXCHANGE)
		exchange_standins(v, from, to);
	else if (!rc && S_ISDIR(from->mode))
		kp_standin_rename(v, &from->guest, &to->guest);
	return rc;
}

/* A file of the host over one that the instance has, in one merged directory (a program saves to a new file and renames it): it
 * becomes the instance's. A kill in between leaves both names, never none. */
static int into_instance(struct kp_vfs *v, struct kp_node *from, struct kp_node *to)
{
	int rc = to->origin == KP_IMAGE ? kp_keep_other_names(v, to) : 0;

	if (!rc)
		rc = kp_copy_up_as(v, from, to);
	return rc ? rc : unlink(from->host.s) < 0 ? -errno : 0;
}

int kp_rename(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, const struct kp_cred *cred, unsigned flags)
{
	int rc;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	rc = check_names(from, to, flags);
	if (rc)
		return rc;
	if (same_file(from, to))
		return 0;
	rc = check_permissions(v, from, to, cred, flags);
	if (!rc)
		rc = kp_config_touch(v, from, true);
	if (!rc)
		rc = kp_config_touch(v, to, true);
	if (rc)
		return rc;
	if (from->parent.reg || to->parent.reg)
		return kp_regtree_rename(v, from, to, flags);
	if (from->parent.proc)
		return -EPERM;
	rc = kp_live_accepts(v, to->guest.s, from);
	if (rc)
		return rc;
	switch (way_of(from, to, flags & RENAME_EXCHANGE)) {
	case ON_HOST:
		return on_host(v, from, to, flags);
	case INTO_INSTANCE:
		return into_instance(v, from, to);
	case INTO_HOST:
		return kp_rename_into_host(v, from, to);
	case HALVES:
		return kp_rename_halves(v, from, to);
	case IN_UPPER:
		return flags & RENAME_EXCHANGE ? exchange(v, from, to) : move(v, from, to, flags);
	case ELSEWHERE:
	default:
		return -EXDEV;
	}
}
