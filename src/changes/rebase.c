/* SPDX-License-Identifier: Apache-2.0 */
/* Three-way: the layers that an instance was made on, what it changed, and other layers in their place. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "changes/internal.h"
#include "changes/rebase.h"
#include "vfs/change.h"
#include "vfs/resolve.h"

struct rebase {
	int upper_fd;
	struct kp_vfs *old, *new;
	struct kp_node *was, *is; /* at the path that is looked at */
	struct kp_rebase *out;
	struct kp_err *err;
};

static int look_at(struct kp_vfs *v, const char *path, struct kp_node *n)
{
	int r;

	kp_vfs_read_lock(v);
	r = kp_resolve_exact(v, path, getpid(), n);
	kp_vfs_unlock(v);
	if (r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -ELOOP) {
		*n = (struct kp_node){.origin = KP_ABSENT, .self.rule = NULL};
		r = 0;
	}
	return r;
}

static int look(struct rebase *b, const char *path)
{
	int r = look_at(b->old, path, b->was);

	if (!r)
		r = look_at(b->new, path, b->is);
	return r < 0 ? kp_fail_errno(b->err, -r, "%s: the images cannot be asked", path) : 0;
}

static bool same_fd(int a, int b)
{
	kp_autofree char *one = kp_calloc(2, 1U << 16);
	char *two = one + (1U << 16);

	for (;;) {
		ssize_t n = read(a, one, 1U << 16), m = read(b, two, 1U << 16);

		if (n < 0 || n != m || memcmp(one, two, (size_t)n) != 0)
			return false;
		if (!n)
			return true;
	}
}

static bool same_file(struct rebase *b, const char *path)
{
	const struct kp_node *o = b->was, *n = b->is;
	kp_autoclose int one = -1, two = -1;
	struct kp_entry x, y;

	if (o->origin == KP_IMAGE && n->origin == KP_IMAGE)
		return !kp_image_entry(kp_vfs_image(b->old, o->layer), o->entry, &x) && !kp_image_entry(kp_vfs_image(b->new, n->layer), n->entry, &y) &&
		       x.size == y.size && x.digest && y.digest && !memcmp(x.digest, y.digest, KP_DIGEST_LEN);
	if (o->origin == KP_HOST && n->origin == KP_HOST && !strcmp(o->host.s, n->host.s))
		return true;
	return !kp_changes_open_lower(b->old, path, UINT64_MAX, &one) && !kp_changes_open_lower(b->new, path, UINT64_MAX, &two) && same_fd(one, two);
}

static bool same_link(struct rebase *b)
{
	char one[PATH_MAX], two[PATH_MAX];

	return !kp_node_readlink(b->old, b->was, one, sizeof(one)) && !kp_node_readlink(b->new, b->is, two, sizeof(two)) && !strcmp(one, two);
}

/* Have both layers the same there? Times do not count, nor what directories hold. */
static bool same_below(struct rebase *b, const char *path)
{
	const struct kp_node *o = b->was, *n = b->is;
	uid_t uid[2];
	gid_t gid[2];

	if (o->origin == KP_ABSENT || n->origin == KP_ABSENT)
		return o->origin == n->origin;
	if (o->origin == KP_BASE && n->origin == KP_BASE)
		return true; /* made for each run */
	kp_node_owner(b->old, o, &uid[0], &gid[0]);
	kp_node_owner(b->new, n, &uid[1], &gid[1]);
	if (o->mode != n->mode || uid[0] != uid[1] || gid[0] != gid[1])
		return false;
	return S_ISREG(o->mode) ? same_file(b, path) : !S_ISLNK(o->mode) || same_link(b);
}

static void add_names(struct kp_vfs *v, const struct kp_node *n, struct kp_strings *names)
{
	if (n->origin == KP_ABSENT || !S_ISDIR(n->mode))
		return;
	kp_vfs_read_lock(v);
	(void)kp_list(v, n, 0, kp_take_name, names);
	kp_vfs_unlock(v);
}

/* The same of a path and all below it: 1, 0, or -errno. */
static int same_tree(struct rebase *b, const char *top)
{
	struct kp_strings kp_autostrings todo = {0};
	int r = 1;

	kp_strings_add(&todo, top);
	while (todo.count && r > 0) {
		kp_autofree char *path = kp_strings_pop(&todo);
		struct kp_strings kp_autostrings names = {0};

		r = look(b, path);
		if (r < 0)
			break;
		r = same_below(b, path);
		add_names(b->old, b->was, &names);
		add_names(b->new, b->is, &names);
		for (size_t i = 0; i < names.count && r > 0; i++) {
			char child[PATH_MAX];

			if (!kp_path_join(child, sizeof(child), path, names.items[i]) && !kp_strings_have(&todo, child))
				kp_strings_add(&todo, child);
		}
	}
	return r;
}

/* Is the instance's own what those layers have in n? */
static bool equals(struct rebase *b, const struct kp_change *c, struct kp_vfs *v, const struct kp_node *n)
{
	const char *name;
	struct kp_entry e;

	if (n->origin == KP_ABSENT || n->mode != c->mode)
		return false;
	if (S_ISREG(n->mode)) {
		if (n->origin == KP_IMAGE && (kp_image_entry(kp_vfs_image(v, n->layer), n->entry, &e) || e.size != c->size))
			return false;
		return kp_same_content(b->upper_fd, v, n, c->path);
	}
	if (S_ISLNK(n->mode)) {
		kp_autoclose int fd = kp_upper_parent(b->upper_fd, c->path, &name);
		char mine[PATH_MAX], theirs[PATH_MAX];
		ssize_t len = fd < 0 ? -1 : readlinkat(fd, name, mine, sizeof(mine) - 1);

		mine[len < 0 ? 0 : len] = '\0';
		return len > 0 && !kp_node_readlink(v, n, theirs, sizeof(theirs)) && !strcmp(mine, theirs);
	}
	return false;
}

/* A directory that the instance's file needs is something else in the new layers. */
static bool in_the_way(struct rebase *b, const char *path)
{
	kp_autofree char *up = kp_strdup(path);
	bool blocked = false;

	for (char *slash; !blocked && (slash = strrchr(up, '/')) != up;) {
		*slash = '\0';
		if (look_at(b->new, up, b->is) < 0 || b->is->origin == KP_ABSENT)
			continue;
		blocked = !S_ISDIR(b->is->mode);
		break;
	}
	return blocked;
}

struct kp_rebased *kp_rebase_add(struct kp_rebase *r, const char *path, enum kp_rebase_fate fate, const char *why)
{
	if (!(r->count & (r->count + 1)))
		r->items = kp_realloc(r->items, 2 * (r->count + 1) * sizeof(*r->items));
	r->items[r->count] = (struct kp_rebased){.path = kp_strdup(path), .fate = fate, .why = why};
	r->conflicts += fate == KP_REBASE_CONFLICT;
	r->kept += fate == KP_REBASE_KEEP;
	return &r->items[r->count++];
}

static int put(struct rebase *b, const char *path, enum kp_rebase_fate fate, const char *why, bool hidden, bool dir)
{
	struct kp_rebased *x = kp_rebase_add(b->out, path, fate, why);

	x->hidden = hidden;
	x->dir = dir;
	return 0;
}

static int decide_deleted(struct rebase *b, const struct kp_change *c)
{
	int r;

	if (b->is->origin == KP_ABSENT)
		return put(b, c->path, c->hidden ? KP_REBASE_KEEP : KP_REBASE_DROP, "the new image has none either", c->hidden, false);
	r = same_tree(b, c->path);
	if (r < 0)
		return r;
	return r ? put(b, c->path, KP_REBASE_KEEP, NULL, c->hidden, false)
		 : put(b, c->path, KP_REBASE_CONFLICT, "deleted here, changed in the new image", c->hidden, false);
}

static int decide(struct rebase *b, const struct kp_change *c)
{
	bool dir = S_ISDIR(c->mode), hidden = c->hidden && !c->base; /* what is dropped in a renamed directory shows what lies below */
	const char *at = c->base ? c->base : c->path;
	int r;

	if (c->source || (c->kind == KP_CHANGE_DELETED && c->moved && S_ISDIR(c->old_mode))) /* they go with what lies below */
		return put(b, c->path, KP_REBASE_KEEP, NULL, true, dir);
	r = look(b, at);
	if (r < 0)
		return r;
	if (c->kind == KP_CHANGE_DELETED)
		return decide_deleted(b, c);
	if (!hidden && equals(b, c, b->new, b->is))
		return put(b, c->path, KP_REBASE_DROP, "the new image has it so", false, dir);
	if (same_below(b, at))
		return b->is->origin == KP_ABSENT && in_the_way(b, at)
			       ? put(b, c->path, KP_REBASE_CONFLICT, "its directory is none in the new image", hidden, dir)
			       : put(b, c->path, KP_REBASE_KEEP, NULL, hidden, dir);
	if (c->base && !dir && equals(b, c, b->old, b->was))
		return put(b, c->path, KP_REBASE_SAME, NULL, false, false);
	if (b->was->origin == KP_ABSENT)
		return dir && S_ISDIR(b->is->mode) ? put(b, c->path, KP_REBASE_KEEP, NULL, hidden, dir)
						   : put(b, c->path, KP_REBASE_CONFLICT, "the new image has another one", hidden, dir);
	if (b->is->origin == KP_ABSENT)
		return put(b, c->path, KP_REBASE_CONFLICT, "changed here, the new image has none", hidden, dir);
	if (c->differs == KP_DIFFERS_TIME && !hidden)
		return put(b, c->path, KP_REBASE_DROP, "only its time was changed", false, dir);
	return put(b, c->path, KP_REBASE_CONFLICT, "changed here and in the new image", hidden, dir);
}

/* What is in the upper and as the old layers have it would stay as the old layers have it. */
static int decide_same(struct rebase *b, const struct kp_same *s)
{
	const char *at = s->base ? s->base : s->path;
	int r;

	if (s->dir || (!s->hidden && !s->base))
		return put(b, s->path, s->dir ? KP_REBASE_DIR : KP_REBASE_SAME, NULL, s->hidden, s->dir);
	r = look(b, at);
	if (r < 0 || same_below(b, at))
		return r;
	return put(b, s->path, KP_REBASE_CONFLICT, "in a directory that was made anew or renamed here, changed in the new image", !s->base, false);
}

int kp_changes_rebase(int upper_fd, struct kp_vfs *old, struct kp_vfs *new, struct kp_rebase *ret, struct kp_err *err)
{
	struct rebase b = {.upper_fd = upper_fd, .old = old, .new = new, .was = kp_calloc(1, sizeof(*b.was)), .is = kp_calloc(1, sizeof(*b.is)),
			   .out = ret, .err = err};
	kp_autofree void *was = b.was, *is = b.is;
	struct kp_changes kp_autochanges c = {0};
	struct kp_sames same = {0};
	int r;

	*ret = (struct kp_rebase){0};
	r = kp_changes_find_same(upper_fd, old, &c, &same, err);
	for (size_t i = 0; i < c.count && r >= 0; i++)
		r = decide(&b, &c.items[i]);
	for (size_t i = same.count; i-- > 0;) { /* what directories hold before themselves */
		if (r >= 0)
			r = decide_same(&b, &same.items[i]);
		free(same.items[i].path);
		free(same.items[i].base);
	}
	free(same.items);
	return r;
}

void kp_rebase_free(struct kp_rebase *r)
{
	for (size_t i = 0; i < r->count; i++) {
		free(r->items[i].path);
		free(r->items[i].key);
		free(r->items[i].name);
	}
	free(r->items);
	*r = (struct kp_rebase){0};
}

static int remove_at(int upper_fd, const char *path)
{
	const char *name;
	kp_autoclose int fd = kp_upper_parent(upper_fd, path, &name);

	return fd < 0 ? (fd == -ENOENT || fd == -ENOTDIR ? 0 : fd) : kp_remove_tree(fd, name);
}

/* A directory that was only there to hold others' changes: gone when it holds none, else as the new layers have it. */
static int settle_dir(int upper_fd, struct kp_vfs *new, const char *path, struct kp_node *n)
{
	kp_autoclose int up = -1, fd = -1;
	struct kp_record rec = {0};
	const char *name;
	mode_t real;
	int r;

	up = kp_upper_parent(upper_fd, path, &name);
	if (up < 0 || unlinkat(up, name, AT_REMOVEDIR) == 0)
		return 0;
	r = look_at(new, path, n);
	if (r < 0 || n->origin == KP_ABSENT || !S_ISDIR(n->mode))
		return r;
	fd = openat(up, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec)));
	real = kp_real_mode(n->mode);
	if (rec.flags & KP_REC_MODE || real != (n->mode & 07777)) {
		rec.flags |= KP_REC_MODE;
		rec.mode = n->mode & 07777;
		r = kp_record_write_fd(fd, &rec);
	}
	return r < 0 ? r : fchmod(fd, real) < 0 ? -errno : 0;
}

/* Numbers of the old layers' files that were taken along become those of the new layers', or the instance's own. */
static int renumber(int fd, struct kp_vfs *old, struct kp_vfs *new, struct kp_node *n)
{
	struct kp_record rec = {0};
	struct kp_gpath path;

	if (!kp_record_check(&rec, fgetxattr(fd, KP_RECORD_XATTR, &rec, sizeof(rec))) || !(rec.flags & KP_REC_INO) || kp_vfs_is_host_number(rec.ino))
		return 0;
	rec.flags &= (uint8_t)~KP_REC_INO;
	if (old && !kp_vfs_numbered(old, rec.ino, &path) && !look_at(new, path.s, n) && n->origin == KP_IMAGE && n->ino) {
		rec.flags |= KP_REC_INO;
		rec.ino = n->ino;
	}
	return kp_record_write_fd(fd, &rec);
}

static int renumber_all(int upper_fd, struct kp_vfs *old, struct kp_vfs *new, struct kp_node *n)
{
	struct kp_strings kp_autostrings todo = {0};
	int r = 0;

	kp_strings_add(&todo, ".");
	while (todo.count && r >= 0) {
		kp_autofree char *path = kp_strings_pop(&todo);
		kp_autoclose int dir = kp_open_beneath(upper_fd, path, O_RDONLY | O_DIRECTORY, 0);
		struct dirent **names = NULL;
		int count = dir < 0 ? -1 : scandirat(dir, ".", &names, NULL, NULL);

		r = count < 0 ? -errno : renumber(dir, old, new, n);
		for (int i = 0; i < count; i++) {
			const char *name = names[i]->d_name;
			kp_autofree char *below = kp_asprintf("%s/%s", path, name);
			struct stat st;

			if (r >= 0 && strcmp(name, ".") && strcmp(name, "..") && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
				kp_autoclose int fd = S_ISREG(st.st_mode) ? openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;

				if (fd >= 0)
					r = renumber(fd, old, new, n);
				if (S_ISDIR(st.st_mode))
					kp_strings_add(&todo, below);
			}
			free(names[i]);
		}
		free(names);
	}
	return r;
}

int kp_rebase_forget_numbers(int upper_fd, struct kp_err *err)
{
	int r = renumber_all(upper_fd, NULL, NULL, NULL);

	return r < 0 ? kp_fail_errno(err, -r, "numbers of files: cannot be taken away") : 0;
}

int kp_rebase_apply(const struct kp_rebase *b, int upper_fd, struct kp_vfs *old, struct kp_vfs *new, bool take_new, struct kp_err *err)
{
	kp_autofree struct kp_node *n = kp_calloc(1, sizeof(*n));
	int r = 0;

	for (size_t i = 0; i < b->count && !r; i++) {
		const struct kp_rebased *x = &b->items[i];

		if (x->hidden || x->key || x->fate == KP_REBASE_DIR)
			continue;
		if (x->fate == KP_REBASE_DROP || x->fate == KP_REBASE_SAME || (take_new && x->fate == KP_REBASE_CONFLICT && !x->dir))
			r = remove_at(upper_fd, x->path);
		if (r < 0)
			return kp_fail_errno(err, -r, "%s: cannot be removed", x->path);
	}
	for (size_t i = 0; i < b->count && !r; i++) {
		const struct kp_rebased *x = &b->items[i];
		bool conflict = take_new && x->fate == KP_REBASE_CONFLICT && x->dir;

		if (!x->hidden && !x->key && (x->fate == KP_REBASE_DIR || conflict))
			r = settle_dir(upper_fd, new, x->path, n);
		if (r < 0)
			return kp_fail_errno(err, -r, "%s: cannot be made as the new image has it", x->path);
	}
	r = renumber_all(upper_fd, old, new, n);
	return r < 0 ? kp_fail_errno(err, -r, "numbers of files: cannot be carried over") : 0;
}
