/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot of what runs is copied while it runs; then, while all is held still, each name is looked at once more and only what is
 * not what it was is copied. What it was is told by inode and time of change, as between two snapshots.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapshot/internal.h"

enum made_kind {
	MADE_LATER, /* not copied: open for writing, or just changed */
	MADE_DIR,
	MADE_UNSURE, /* a later change may not tell */
	MADE_SURE,
};

struct made {
	char *name;
	ino_t ino;
	struct timespec changed;
	enum made_kind kind;
	bool seen;
};

struct kp_made_dir {
	char *path; /* "" is the root */
	ino_t ino;
	struct timespec changed;
	bool sure;
	struct made *items;
	size_t count, room;
	UT_hash_handle hh;
};

struct kp_prepared {
	struct kp_made_dir *dirs;
	char *name;
};

struct finish {
	struct kp_copy copy;
	bool (*carried)(const char *name);
	struct kp_strings todo; /* directories that both have */
	unsigned gone;
};

struct kp_prepared *kp_prepared_new(const char *name)
{
	struct kp_prepared *p = kp_calloc(1, sizeof(*p));

	p->name = kp_strdup(name);
	return p;
}

void kp_prepared_free(struct kp_prepared *p)
{
	struct kp_made_dir *d, *next;

	if (!p)
		return;
	HASH_ITER (hh, p->dirs, d, next) {
		HASH_DEL(p->dirs, d);
		for (size_t i = 0; i < d->count; i++)
			free(d->items[i].name);
		free(d->items);
		free(d->path);
		free(d);
	}
	free(p->name);
	free(p);
}

const char *kp_prepared_name(const struct kp_prepared *p)
{
	return p->name;
}

void kp_prepared_taken(struct kp_prepared *p)
{
	free(p->name);
	p->name = NULL;
}

static struct kp_made_dir *find_dir(const struct kp_prepared *p, const char *path)
{
	struct kp_made_dir *d;

	HASH_FIND_STR(p->dirs, path, d);
	return d;
}

struct kp_made_dir *kp_made_dir(struct kp_prepared *p, const char *path, int from)
{
	struct kp_made_dir *d = find_dir(p, path);
	struct stat st;

	if (d)
		return d;
	d = kp_calloc(1, sizeof(*d));
	d->path = kp_strdup(path);
	if (fstat(from, &st) == 0) {
		d->ino = st.st_ino;
		d->changed = st.st_ctim;
		d->sure = kp_old_enough(&st.st_ctim);
	}
	HASH_ADD_KEYPTR(hh, p->dirs, d->path, strlen(d->path), d);
	return d;
}

void kp_made_unsure(struct kp_prepared *p, const char *path)
{
	struct kp_made_dir *d = find_dir(p, path);

	if (d)
		d->sure = false;
}

void kp_made_add(struct kp_made_dir *d, const char *name, const struct stat *st)
{
	struct made m = {.name = kp_strdup(name), .kind = MADE_LATER};

	if (st) {
		m.ino = st->st_ino;
		m.changed = st->st_ctim;
		/* Of a file that was not sure nothing was copied. */
		m.kind = S_ISDIR(st->st_mode) ? MADE_DIR : S_ISREG(st->st_mode) || kp_old_enough(&st->st_ctim) ? MADE_SURE : MADE_UNSURE;
	}
	if (d->count == d->room) {
		d->room = d->room ? 2 * d->room : 16;
		d->items = kp_realloc(d->items, d->room * sizeof(*d->items));
	}
	d->items[d->count++] = m;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct made *)a)->name, ((const struct made *)b)->name);
}

/* Where it disturbs nobody: to remove it takes long. */
static int put_away(struct finish *f, const struct kp_place *p, const char *name)
{
	char as[16];

	(void)snprintf(as, sizeof(as), "%u", f->gone++);
	return renameat(p->to, name, f->copy.how->gone_fd, as) < 0 ? -errno : 0;
}

static int open_to(const struct finish *f, struct kp_place *p)
{
	if (p->to < 0)
		p->to = kp_open_beneath(f->copy.how->to_fd, *p->path ? p->path : ".", O_RDONLY | O_DIRECTORY, 0);
	return p->to < 0 ? -errno : 0;
}

/* 1: it is as it was; 0: it is copied anew. */
static int finish_entry(struct finish *f, struct kp_place *p, const char *name, struct made *m)
{
	struct stat st;
	int r;

	if (fstatat(p->from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (m)
		m->seen = true;
	if (m && m->kind == MADE_DIR && S_ISDIR(st.st_mode)) {
		kp_autofree char *path = *p->path ? kp_asprintf("%s/%s", p->path, name) : kp_strdup(name);

		kp_strings_add(&f->todo, path);
		return 1;
	}
	if (m && m->kind == MADE_SURE && m->ino == st.st_ino && kp_same_time(&m->changed, &st.st_ctim) &&
	    !(S_ISREG(st.st_mode) && kp_inodes_have(f->copy.how->mapped, st.st_ino)))
		return 1; /* with all its names: one more, or less, is a change of each */
	r = open_to(f, p);
	if (!r && m && m->kind != MADE_LATER)
		r = put_away(f, p, name);
	return r ? r : kp_copy_entry(&f->copy, p, name);
}

/* Names have come or gone. */
static int finish_names(struct finish *f, struct kp_place *p, struct kp_made_dir *d, bool *changed)
{
	struct dirent **names = NULL;
	int count = scandirat(p->from, ".", &names, NULL, NULL), r = count < 0 ? -errno : 0;

	if (d->count)
		qsort(d->items, d->count, sizeof(*d->items), by_name);
	for (int i = 0; i < count; i++) {
		const struct made key = {.name = names[i]->d_name};

		if (r >= 0 && strcmp(key.name, ".") && strcmp(key.name, "..") && (*d->path || f->carried(key.name))) {
			r = finish_entry(f, p, key.name, d->count ? bsearch(&key, d->items, d->count, sizeof(*d->items), by_name) : NULL);
			*changed |= !r;
		}
		free(names[i]);
	}
	free(names);
	for (size_t i = 0; i < d->count && r >= 0; i++)
		if (!d->items[i].seen && d->items[i].kind != MADE_LATER) {
			*changed = true;
			r = open_to(f, p);
			if (!r)
				r = put_away(f, p, d->items[i].name);
		}
	return r;
}

/* What the directory had, and has no more, goes. */
static int copy_attributes_anew(struct finish *f, struct kp_place *p)
{
	kp_autofree char *names = kp_calloc(1, XATTR_LIST_MAX);
	ssize_t len = flistxattr(p->to, names, XATTR_LIST_MAX);

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1)
		if (!strncmp(names + at, "user.", 5))
			(void)fremovexattr(p->to, names + at);
	return kp_copy_inode(&f->copy, p->from, p->to);
}

static int finish_dir(struct finish *f, struct kp_made_dir *d)
{
	kp_autoclose int from = kp_open_beneath(f->copy.how->from_fd, *d->path ? d->path : ".", O_RDONLY | O_DIRECTORY, 0);
	struct kp_place p = {from, -1, -1, d->path, NULL};
	bool same, changed = false;
	struct stat st;
	int r = 0;

	if (from < 0 || fstat(from, &st) < 0)
		return -errno;
	same = *d->path && d->sure && d->ino == st.st_ino && kp_same_time(&d->changed, &st.st_ctim);
	for (size_t i = 0; same && i < d->count && r >= 0; i++) {
		r = finish_entry(f, &p, d->items[i].name, &d->items[i]);
		changed |= !r;
	}
	if (!same)
		r = finish_names(f, &p, d, &changed);
	if (r >= 0 && *d->path && (!same || changed)) {
		r = open_to(f, &p);
		if (!r)
			r = copy_attributes_anew(f, &p);
	}
	(void)kp_close(p.to);
	return r < 0 ? r : 0;
}

int kp_prepared_finish(const struct kp_carry *how, bool (*carried)(const char *name), struct kp_err *err)
{
	struct finish f = {.carried = carried};
	int r = 0;

	kp_copy_begin(&f.copy, how, err);
	kp_strings_add(&f.todo, "");
	while (f.todo.count) {
		kp_autofree char *path = kp_strings_pop(&f.todo);
		struct kp_made_dir *d = r < 0 ? NULL : find_dir(how->prepared, path);
		struct kp_made_dir nothing = {.path = path}; /* it was made, but could not be read */

		if (r < 0)
			continue;
		r = finish_dir(&f, d ? d : &nothing);
		if (r < 0)
			(void)kp_fail_errno(err, -r, "%s: cannot be copied", path);
	}
	if (!r)
		r = kp_copy_dirs(&f.copy);
	kp_strings_free(&f.todo);
	kp_copy_end(&f.copy);
	return r;
}
