/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the upper layer and compares each entry with what lies below it. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#include "changes/internal.h"
#include "projection/projection.h"
#include "vfs/change.h"
#include "vfs/live.h"
#include "vfs/resolve.h"

struct gone { /* a path that was deleted, or the host's number of a file that was */
	char *path;
	uint64_t ino;
	size_t item;
	bool named; /* in numbers */
	UT_hash_handle hh, by_ino;
};

struct walk {
	int upper_fd;
	struct kp_vfs *lower;
	struct kp_node *node; /* what lies below */
	struct kp_changes *out;
	size_t room, todo_room, todo_count;
	struct todo {
		char *path;
		char *lower;   /* what it has of the layers below lies there: it, or one above it, was renamed. NULL: at path */
		bool hides;    /* it, or one above it, is in the place of an old one */
		bool no_upper; /* all of it still lies below */
	} *todo; /* directories still to read */
	struct gone *gone, *numbers;
	struct {
		size_t item;
		uint64_t ino;
	} *numbered; /* added files that carry a lower number: perhaps renamed */
	size_t numbered_count;
	struct kp_sames *same; /* or NULL */
	struct replaced {
		uint64_t ino;
		UT_hash_handle hh;
	} *replaced; /* what lies below at a path where the instance has another file: its old one may be elsewhere */
	struct kp_err *err;
};

static struct kp_change *put(struct walk *w, const char *path, enum kp_change_kind kind)
{
	struct kp_change *c;

	if (w->out->count == w->room) {
		w->room = w->room ? 2 * w->room : 64;
		w->out->items = kp_realloc(w->out->items, w->room * sizeof(*w->out->items));
	}
	c = &w->out->items[w->out->count++];
	*c = (struct kp_change){.path = kp_strdup(path), .kind = kind, .below = KP_ABSENT};
	return c;
}

static void todo(struct walk *w, const char *path, const char *lower, bool hides, bool no_upper)
{
	if (w->todo_count == w->todo_room) {
		w->todo_room = w->todo_room ? 2 * w->todo_room : 64;
		w->todo = kp_realloc(w->todo, w->todo_room * sizeof(*w->todo));
	}
	w->todo[w->todo_count++] = (struct todo){kp_strdup(path), lower ? kp_strdup(lower) : NULL, hides, no_upper};
}

/* What the layers below have at path, in w->node; KP_ABSENT where they have nothing. */
static int look_below(struct walk *w, const char *path)
{
	int r;

	kp_vfs_read_lock(w->lower);
	r = kp_resolve_exact(w->lower, path, getpid(), w->node);
	kp_vfs_unlock(w->lower);
	if (r == -ENOENT || r == -ENOTDIR || r == -EACCES) {
		*w->node = (struct kp_node){.origin = KP_ABSENT, .self.rule = NULL};
		r = 0;
	}
	return r < 0 ? kp_fail_errno(w->err, -r, "%s: the layers below cannot be asked", path) : 0;
}

static void take_old(struct walk *w, struct kp_change *c)
{
	struct kp_node *n = w->node;
	struct kp_hpath host;
	struct statx x;

	if (!kp_vfs_shown_at(w->lower, c->path, &host))
		c->host = kp_strdup(host.s);
	if (n->origin == KP_ABSENT)
		return;
	c->below = n->origin;
	c->old_mode = n->mode;
	if (!kp_node_statx(w->lower, n, &x) && !S_ISDIR(n->mode))
		c->old_size = x.stx_size;
}

static void remember_gone(struct walk *w, const char *path, uint64_t ino)
{
	struct gone *g, *other = NULL;

	HASH_FIND(hh, w->gone, path, strlen(path), g);
	if (g)
		return;
	g = kp_calloc(1, sizeof(*g));
	g->path = kp_strdup(path);
	g->ino = ino;
	g->item = w->out->count - 1;
	HASH_ADD_KEYPTR(hh, w->gone, g->path, strlen(g->path), g);
	HASH_FIND(by_ino, w->numbers, &ino, sizeof(ino), other);
	g->named = ino && !other; /* a file with several names is found again by the first */
	if (g->named)
		HASH_ADD(by_ino, w->numbers, ino, sizeof(g->ino), g);
}

/* What was in a directory of the host that is gone may be found again elsewhere in the instance: by its number. */
static void remember_tree(struct walk *w, const char *top)
{
	struct kp_strings kp_autostrings todo = {0};

	kp_strings_add(&todo, top);
	while (todo.count) {
		kp_autofree char *dir = kp_strings_pop(&todo);
		struct kp_strings kp_autostrings in = {0};

		if (!look_below(w, dir) && w->node->origin == KP_HOST && S_ISDIR(w->node->mode)) {
			kp_vfs_read_lock(w->lower);
			(void)kp_list(w->lower, w->node, 0, kp_take_name, &in);
			kp_vfs_unlock(w->lower);
		}
		for (size_t i = 0; i < in.count; i++) {
			char path[PATH_MAX];

			if (kp_path_join(path, sizeof(path), dir, in.items[i]) || look_below(w, path) || w->node->origin != KP_HOST ||
			    w->out->count == 0)
				continue;
			remember_gone(w, path, w->node->ino);
			if (S_ISDIR(w->node->mode))
				kp_strings_add(&todo, path);
		}
	}
}

static void put_deleted(struct walk *w, const char *path, bool hidden)
{
	struct kp_change *c = put(w, path, KP_CHANGE_DELETED);

	take_old(w, c);
	c->hidden = hidden;
	remember_gone(w, path, w->node->ino);
	if (w->node->origin == KP_HOST && S_ISDIR(w->node->mode))
		remember_tree(w, path);
}

/* The names that the layers below have in a directory of theirs; none where it is not one. */
static int names_below(struct walk *w, const char *dir, struct kp_strings *ret)
{
	int r = look_below(w, dir);

	if (r < 0 || w->node->origin == KP_ABSENT || !S_ISDIR(w->node->mode))
		return r;
	kp_vfs_read_lock(w->lower);
	r = kp_list(w->lower, w->node, 0, kp_take_name, ret);
	kp_vfs_unlock(w->lower);
	return r < 0 ? kp_fail_errno(w->err, -r, "%s: the layers below cannot be listed", dir) : 0;
}

static bool upper_has(int upper_dir, const char *name)
{
	return upper_dir >= 0 && faccessat(upper_dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A new directory in the place of an old one: what the old one had, and the new one has not, is deleted. */
static int hidden_by(struct walk *w, int upper_dir, const char *dir, const char *lower)
{
	struct kp_strings kp_autostrings names = {0};
	char path[PATH_MAX];
	int r = names_below(w, dir, &names);

	for (size_t i = 0; i < names.count && r >= 0; i++) {
		if (upper_has(upper_dir, names.items[i]))
			continue;
		if (lower && !kp_path_join(path, sizeof(path), lower, names.items[i])) {
			r = look_below(w, path);
			if (r < 0 || w->node->origin != KP_ABSENT)
				continue;
		}
		if (!kp_path_join(path, sizeof(path), dir, names.items[i]))
			r = look_below(w, path);
		if (r >= 0 && w->node->origin != KP_ABSENT)
			put_deleted(w, path, true);
	}
	return r;
}

static void put_numbered(struct walk *w, uint64_t ino)
{
	w->numbered = kp_realloc(w->numbered, (w->numbered_count + 1) * sizeof(*w->numbered));
	w->numbered[w->numbered_count].item = w->out->count - 1;
	w->numbered[w->numbered_count++].ino = ino;
}

/* What a renamed directory shows of the layers below: it is at path, and lies at lower. */
static int put_source(struct walk *w, const char *path, const char *lower)
{
	struct kp_change *c;
	uint64_t number;
	struct statx x;
	mode_t mode;
	int r = look_below(w, lower);

	mode = w->node->mode;
	number = w->node->ino;
	if (r < 0 || w->node->origin == KP_ABSENT || kp_node_statx(w->lower, w->node, &x) < 0)
		return r;
	r = look_below(w, path);
	if (S_ISDIR(mode))
		todo(w, path, lower, true, true);
	if (r < 0 || (S_ISDIR(mode) && w->node->mode == mode))
		return r;
	c = put(w, path, w->node->origin == KP_ABSENT ? KP_CHANGE_ADDED : KP_CHANGE_CHANGED);
	if (w->node->origin != KP_ABSENT)
		c->differs = (w->node->mode & S_IFMT) != (mode & S_IFMT) ? KP_DIFFERS_KIND
			     : S_ISDIR(mode) ? KP_DIFFERS_MODE : KP_DIFFERS_CONTENT;
	take_old(w, c);
	c->mode = mode;
	c->size = S_ISDIR(mode) ? 0 : x.stx_size;
	c->number = number;
	c->links = S_ISDIR(mode) ? 1 : x.stx_nlink;
	c->uid = x.stx_uid;
	c->gid = x.stx_gid;
	c->hidden = true;
	c->source = kp_strdup(lower);
	c->times[0] = (struct timespec){x.stx_atime.tv_sec, x.stx_atime.tv_nsec};
	c->times[1] = (struct timespec){x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec};
	if (w->node->origin == KP_ABSENT)
		put_numbered(w, number);
	return 0;
}

/* The rest of a renamed directory: what the upper has not of it. */
static int put_sources(struct walk *w, int upper_dir, const char *dir, const char *lower)
{
	struct kp_strings kp_autostrings names = {0};
	char path[PATH_MAX], from[PATH_MAX];
	int r = names_below(w, lower, &names);

	for (size_t i = 0; i < names.count && r >= 0; i++)
		if (!upper_has(upper_dir, names.items[i]) && !kp_path_join(path, sizeof(path), dir, names.items[i]) &&
		    !kp_path_join(from, sizeof(from), lower, names.items[i]))
			r = put_source(w, path, from);
	return r;
}

struct entry {
	int dirfd;
	const char *name, *path;
	struct stat st; /* as the guest sees mode and owner */
	struct kp_record rec;
	bool hidden; /* what lies below is not seen anyhow */
	char lower[PATH_MAX]; /* a directory's parts in the layers below are there, and not at path; "": they are at path */
};

/* The record, by path below the directory's descriptor: a name of the upper may be a FIFO, which is not opened. */
static void read_record(struct entry *e)
{
	char proc[NAME_MAX + 64];

	e->rec = (struct kp_record){0};
	if (!kp_may_have_record(e->st.st_mode))
		return;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", e->dirfd, e->name);
	(void)kp_record_check(&e->rec, lgetxattr(proc, KP_RECORD_XATTR, &e->rec, sizeof(e->rec)));
	e->st.st_mode = kp_guest_mode(e->st.st_mode, &e->rec);
	kp_record_owner(&e->rec, &e->st);
}

static bool same_link(struct walk *w, const struct entry *e)
{
	char mine[PATH_MAX], below[PATH_MAX];
	ssize_t len = readlinkat(e->dirfd, e->name, mine, sizeof(mine) - 1);

	if (len < 0 || kp_node_readlink(w->lower, w->node, below, sizeof(below)) < 0)
		return false;
	mine[len] = '\0';
	return !strcmp(mine, below);
}

static unsigned differs(struct walk *w, const struct entry *e)
{
	const struct kp_node *n = w->node;
	struct statx x;
	unsigned d = 0;

	if ((n->mode & S_IFMT) != (e->st.st_mode & S_IFMT))
		return KP_DIFFERS_KIND;
	if (kp_node_statx(w->lower, n, &x) < 0)
		return KP_DIFFERS_CONTENT;
	if (S_ISLNK(n->mode))
		return same_link(w, e) ? 0 : KP_DIFFERS_CONTENT;
	if ((n->mode & 07777) != (e->st.st_mode & 07777))
		d |= KP_DIFFERS_MODE;
	/* Directories come up for what is in them; those that Kapsel makes for each run belong to nobody. */
	if (n->origin != KP_BASE && (x.stx_uid != e->st.st_uid || x.stx_gid != e->st.st_gid))
		d |= KP_DIFFERS_OWNER;
	if (!S_ISREG(n->mode))
		return d;
	if (x.stx_mtime.tv_sec != e->st.st_mtim.tv_sec)
		d |= KP_DIFFERS_TIME;
	if (x.stx_size != (uint64_t)e->st.st_size || !kp_same_content(w->upper_fd, w->lower, n, e->path))
		d |= KP_DIFFERS_CONTENT;
	return d;
}

/* A projected file that shows the registry and has nothing of its own is nobody's change. */
static bool is_rendered(struct walk *w, const struct entry *e, bool absent, unsigned d)
{
	const struct kp_live_file *f = S_ISREG(e->st.st_mode) ? kp_live_projected(w->lower, e->path) : NULL;
	kp_autofree char *mine = NULL, *below = NULL;
	kp_autoclose int fd = -1, below_fd = -1;
	size_t len, below_len = 0;

	if (!f || e->hidden || e->lower[0] || d & ~(unsigned)(KP_DIFFERS_CONTENT | KP_DIFFERS_TIME) || (absent && (e->st.st_mode & 07777) != 0644))
		return false;
	if (kp_changes_open_upper(w->upper_fd, e->path, &fd) || kp_read_open(fd, KP_PROJECTION_MAX, &mine, &len))
		return false;
	if (!absent && (kp_changes_open_lower(w->lower, e->path, KP_PROJECTION_MAX, &below_fd) || kp_read_open(below_fd, KP_PROJECTION_MAX, &below, &below_len)))
		return false;
	return kp_live_is_rendered(f, w->upper_fd, mine, len, below ? below : "", below_len);
}

static void put_same(struct walk *w, const struct entry *e)
{
	struct kp_sames *s = w->same;

	if (!s)
		return;
	if (!(s->count & (s->count + 1)))
		s->items = kp_realloc(s->items, 2 * (s->count + 1) * sizeof(*s->items));
	s->items[s->count++] = (struct kp_same){.path = kp_strdup(e->path), .hidden = e->hidden, .dir = S_ISDIR(e->st.st_mode),
						  .base = e->lower[0] ? kp_strdup(e->lower) : NULL};
}

/* A directory that was renamed, or is in one: its number is that of what lies below. */
static int number_dir(struct walk *w, struct entry *e)
{
	int r;

	if (!S_ISDIR(e->st.st_mode))
		return 0;
	if (e->rec.flags & KP_REC_MOVED)
		kp_moved_from(e->dirfd, e->name, e->lower);
	else if (e->rec.flags & KP_REC_OPAQUE)
		e->lower[0] = '\0';
	if (!e->lower[0])
		return 0;
	r = look_below(w, e->lower);
	if (!r && S_ISDIR(w->node->mode) && !(e->rec.flags & KP_REC_INO)) {
		e->rec.flags |= KP_REC_INO;
		e->rec.ino = w->node->ino;
	}
	return r;
}

static void note_replaced(struct walk *w, const struct entry *e)
{
	uint64_t ino = w->node->ino;
	struct replaced *r;

	if (w->node->origin != KP_HOST || (e->rec.flags & KP_REC_INO && e->rec.ino == ino))
		return;
	HASH_FIND(hh, w->replaced, &ino, sizeof(ino), r);
	if (r)
		return;
	r = kp_calloc(1, sizeof(*r));
	r->ino = ino;
	HASH_ADD(hh, w->replaced, ino, sizeof(r->ino), r);
}

static int compare(struct walk *w, const struct entry *e)
{
	bool dir = S_ISDIR(e->st.st_mode), absent;
	struct kp_change *c;
	unsigned d;
	int r = look_below(w, e->path);

	if (r < 0)
		return r;
	absent = w->node->origin == KP_ABSENT;
	if (kp_is_whiteout(&e->st)) {
		if (!absent)
			put_deleted(w, e->path, e->hidden);
		return 0;
	}
	if (dir)
		todo(w, e->path, e->lower[0] ? e->lower : NULL, e->hidden || e->rec.flags & KP_REC_MOVED, false);
	if (!absent && (!dir || e->hidden || e->rec.flags & (KP_REC_OPAQUE | KP_REC_MOVED)))
		note_replaced(w, e);
	d = absent ? 0 : differs(w, e);
	if ((!absent && !d) || is_rendered(w, e, absent, d)) {
		put_same(w, e);
		return 0;
	}
	c = put(w, e->path, absent ? KP_CHANGE_ADDED : KP_CHANGE_CHANGED);
	c->differs = d;
	take_old(w, c);
	c->mode = e->st.st_mode;
	c->size = dir ? 0 : (uint64_t)e->st.st_size;
	c->number = e->st.st_ino;
	c->links = e->st.st_nlink;
	c->uid = e->st.st_uid;
	c->gid = e->st.st_gid;
	c->hidden = e->hidden;
	c->base = e->lower[0] ? kp_strdup(e->lower) : NULL;
	c->copied = e->rec.flags & KP_REC_INO && kp_vfs_is_host_number(e->rec.ino) && (dir || e->st.st_nlink == 1);
	if (absent && e->rec.flags & KP_REC_INO)
		put_numbered(w, e->rec.ino);
	return 0;
}

static int read_dir(struct walk *w, const char *path, const char *lower, bool hides)
{
	kp_autoclose int fd = kp_open_beneath(w->upper_fd, path[1] ? path + 1 : ".", O_RDONLY | O_DIRECTORY, 0);
	struct kp_record rec = {0};
	struct dirent **names = NULL;
	char child[PATH_MAX];
	int count, r = 0;

	if (fd < 0) /* gone, or another by now: it is being worked in */
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? 0 : kp_fail_errno(w->err, errno, "%s: the instance's directory cannot be opened", path);
	hides |= kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec))) && rec.flags & KP_REC_OPAQUE;
	if (hides)
		r = hidden_by(w, fd, path, lower);
	if (lower && r >= 0)
		r = put_sources(w, fd, path, lower);
	count = scandirat(fd, ".", &names, NULL, NULL);
	if (count < 0)
		return r < 0 ? r : kp_fail_errno(w->err, errno, "%s: the instance's directory cannot be read", path);
	for (int i = 0; i < count; i++) {
		struct entry e = {.dirfd = fd, .name = names[i]->d_name, .path = child, .hidden = hides};

		if (r >= 0 && strcmp(e.name, ".") && strcmp(e.name, "..")) {
			if (kp_path_join(child, sizeof(child), path, e.name) ||
			    (lower && kp_path_join(e.lower, sizeof(e.lower), lower, e.name))) {
				r = kp_fail_errno(w->err, ENAMETOOLONG, "%s", path);
			} else if (fstatat(fd, e.name, &e.st, AT_SYMLINK_NOFOLLOW) == 0) {
				read_record(&e);
				r = number_dir(w, &e);
				if (!r)
					r = compare(w, &e);
			}
		}
		free(names[i]);
	}
	free(names);
	return r;
}

/* The deleted entry that path is, or is below. */
static struct gone *find_gone(struct walk *w, const char *path)
{
	struct gone *g = NULL;

	for (size_t len = strlen(path); len && !g; len--)
		if (path[len] == '/' || !path[len])
			HASH_FIND(hh, w->gone, path, len, g);
	return g;
}

static void find_renames(struct walk *w)
{
	struct kp_gpath from;

	for (size_t i = 0; i < w->numbered_count; i++) {
		struct kp_change *c = &w->out->items[w->numbered[i].item], *old;
		struct gone *g;

		if (!kp_vfs_numbered(w->lower, w->numbered[i].ino, &from)) {
			g = find_gone(w, from.s);
		} else {
			HASH_FIND(by_ino, w->numbers, &w->numbered[i].ino, sizeof(w->numbered[i].ino), g);
			if (g)
				(void)snprintf(from.s, sizeof(from.s), "%s", g->path);
		}
		if (!g) {
			struct replaced *r;

			HASH_FIND(hh, w->replaced, &w->numbered[i].ino, sizeof(w->numbered[i].ino), r);
			c->copied &= !r;
			continue;
		}
		old = &w->out->items[g->item];
		if (!strcmp(old->path, from.s)) {
			old->moved = true;
			c->old_mode = old->old_mode;
			c->old_size = old->old_size;
		}
		c->kind = KP_CHANGE_RENAMED;
		c->from = kp_strdup(from.s);
	}
}

int kp_change_by_path(const void *a, const void *b)
{
	return strcmp(((const struct kp_change *)a)->path, ((const struct kp_change *)b)->path);
}

static void drop_walk(struct walk *w)
{
	struct replaced *r, *next_replaced;
	struct gone *g, *next;

	HASH_ITER (by_ino, w->numbers, g, next)
		HASH_DELETE(by_ino, w->numbers, g);
	HASH_ITER (hh, w->gone, g, next) {
		HASH_DEL(w->gone, g);
		free(g->path);
		free(g);
	}
	HASH_ITER (hh, w->replaced, r, next_replaced) {
		HASH_DEL(w->replaced, r);
		free(r);
	}
	while (w->todo_count) {
		free(w->todo[--w->todo_count].path);
		free(w->todo[w->todo_count].lower);
	}
	free(w->todo);
	free(w->numbered);
	free(w->node);
}

int kp_changes_find(int upper_fd, struct kp_vfs *lower, struct kp_changes *ret, struct kp_err *err)
{
	return kp_changes_find_same(upper_fd, lower, ret, NULL, err);
}

int kp_changes_find_same(int upper_fd, struct kp_vfs *lower, struct kp_changes *ret, struct kp_sames *same, struct kp_err *err)
{
	struct walk w = {.upper_fd = upper_fd, .lower = lower, .node = kp_calloc(1, sizeof(*w.node)), .out = ret, .same = same, .err = err};
	int r = 0;

	*ret = (struct kp_changes){0};
	todo(&w, "/", NULL, false, false);
	while (r >= 0 && w.todo_count) {
		const struct todo t = w.todo[--w.todo_count];
		kp_autofree char *path = t.path, *from = t.lower;

		if (!t.no_upper) {
			r = read_dir(&w, path, from, t.hides);
		} else {
			r = hidden_by(&w, -1, path, from);
			if (r >= 0)
				r = put_sources(&w, -1, path, from);
		}
	}
	if (r >= 0) {
		find_renames(&w);
		if (ret->count)
			qsort(ret->items, ret->count, sizeof(*ret->items), kp_change_by_path);
	}
	drop_walk(&w);
	if (r < 0)
		kp_changes_free(ret);
	return r;
}
