/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory listings. A directory that lies in several layers is read whole when a reader is at its start; each name gets
 * a number that it keeps while it is there, and that number is the cookie (and the descriptor's file position): seekdir, dup and
 * fork stay right without knowing who reads, and a name is never given twice or skipped because others came or went.
 */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <uthash.h>

#include "vfs/change.h"
#include "vfs/proc.h"
#include "vfs/pts.h"
#include "vfs/regtree.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

#define MAX_LISTS 128 /* directories remembered; the least recently read one goes first */

struct item {
	char *name;
	uint64_t ino;
	uint64_t number; /* from 3; 1 and 2 are "." and ".." */
	unsigned char type;
	bool present; /* at the last reading */
	UT_hash_handle hh;
};

struct list {
	char *guest;
	struct item *items; /* in number order: uthash keeps insertion order */
	uint64_t next_number, used;
	uint64_t ino, parent_ino;
	UT_hash_handle hh;
};

struct kp_dirlists {
	pthread_mutex_t lock;
	struct list *lists;
	uint64_t clock;
};

struct kp_dirlists *kp_dirlists_new(void)
{
	struct kp_dirlists *l = kp_calloc(1, sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	return l;
}

static void list_clear(struct list *l)
{
	struct item *i, *next;

	HASH_ITER (hh, l->items, i, next) {
		HASH_DEL(l->items, i);
		free(i->name);
		free(i);
	}
}

static void list_drop(struct kp_dirlists *ls, struct list *l)
{
	list_clear(l);
	HASH_DEL(ls->lists, l);
	free(l->guest);
	free(l);
}

struct kp_dirlists *kp_dirlists_free(struct kp_dirlists *ls)
{
	struct list *l, *next;

	if (!ls)
		return NULL;
	HASH_ITER (hh, ls->lists, l, next)
		list_drop(ls, l);
	pthread_mutex_destroy(&ls->lock);
	free(ls);
	return NULL;
}

static struct list *list_get(struct kp_dirlists *ls, const char *guest)
{
	struct list *l, *oldest = NULL, *next;

	HASH_FIND_STR(ls->lists, guest, l);
	if (!l) {
		if (HASH_COUNT(ls->lists) >= MAX_LISTS) {
			HASH_ITER (hh, ls->lists, l, next)
				if (!oldest || l->used < oldest->used)
					oldest = l;
			list_drop(ls, oldest);
		}
		l = kp_calloc(1, sizeof(*l));
		l->guest = kp_strdup(guest);
		l->next_number = 3;
		HASH_ADD_KEYPTR(hh, ls->lists, l->guest, strlen(l->guest), l);
	}
	l->used = ++ls->clock;
	return l;
}

static struct item *put(struct list *l, const char *name, unsigned char type, uint64_t ino)
{
	struct item *i;

	HASH_FIND_STR(l->items, name, i);
	if (i && i->present)
		return i; /* a higher layer has it */
	if (!i) {
		i = kp_calloc(1, sizeof(*i));
		i->name = kp_strdup(name);
		i->number = l->next_number++;
		HASH_ADD_KEYPTR(hh, l->items, i->name, strlen(i->name), i);
	}
	i->present = true;
	i->type = type;
	i->ino = ino;
	return i;
}

/* --- the layers of one directory --- */

struct reading {
	struct kp_vfs *v;
	const struct kp_node *n;
	struct list *l;
};

static int read_upper(struct reading *r, struct item **hidden)
{
	const char *rel = kp_gpath_rel(&r->n->guest);
	kp_autoclose int fd = openat(r->v->upper_fd, rel, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kp_autofree struct kp_node *child = kp_calloc(1, sizeof(*child));
	struct kp_record own;
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	if (kp_record_read(r->v, rel, &own))
		return -EIO;
	if (fd < 0 || !(d = fdopendir(fd)))
		return -errno;
	(void)kp_take_fd(&fd);
	while ((e = readdir(d))) {
		struct kp_record rec = {0};
		uint64_t ino = KP_INO_UPPER | e->d_ino, kept = 0;
		bool link = e->d_type == DT_LNK && r->v->symlinks;
		bool look = (e->d_type == DT_REG && own.flags & KP_REC_NUMBERED) || e->d_type == DT_DIR;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (e->d_type == DT_CHR) { /* only whiteouts are: a guest cannot make devices */
			struct item *i = kp_calloc(1, sizeof(*i));

			i->name = kp_strdup(e->d_name);
			HASH_ADD_KEYPTR(hh, *hidden, i->name, strlen(i->name), i);
			continue;
		}
		if (look && kp_path_join(path, sizeof(path), r->n->guest.s, e->d_name))
			look = false;
		if (link && !kp_path_join(path, sizeof(path), r->n->guest.s, e->d_name))
			kept = kp_number_of_link(r->v, path + 1, e->d_ino);
		if (kept)
			ino = kept;
		else if (look && !kp_record_read(r->v, path + 1, &rec) && rec.flags & KP_REC_INO)
			ino = rec.ino;
		else if (look && rec.flags & KP_REC_MOVED && !kp_resolve_exact(r->v, path, 0, child))
			ino = child->ino;
		else if (e->d_type == DT_DIR && !(rec.flags & KP_REC_OPAQUE))
			ino = 0; /* merged: the lower part's number, if there is one */
		(void)put(r->l, e->d_name, e->d_type, ino);
	}
	(void)closedir(d);
	return 0;
}

static int read_images(struct reading *r, struct item *hidden)
{
	const struct kp_vfs *v = r->v;

	for (size_t k = 0; k < v->layer_count; k++) {
		struct kp_entry dir, e;

		if (r->n->self.entry[k] == KP_NO_ENTRY)
			continue;
		if (kp_image_entry(v->layers[k].image, r->n->self.entry[k], &dir))
			return -EIO;
		for (uint32_t c = 0; c < dir.child_count; c++) {
			struct item *i;

			if (kp_image_entry(v->layers[k].image, dir.first_child + c, &e))
				return -EIO;
			HASH_FIND_STR(hidden, e.name, i);
			if (i)
				continue;
			i = put(r->l, e.name, (unsigned char)IFTODT(e.mode), kp_ino_image(k, e.ino));
			if (!i->ino && S_ISDIR(e.mode))
				i->ino = kp_ino_image(k, e.ino);
		}
	}
	return 0;
}

struct generated {
	struct reading *r;
	struct item *hidden;
};

static void put_generated(const char *name, mode_t mode, ino_t number, void *ctx)
{
	struct generated *g = ctx;
	struct item *i;

	HASH_FIND_STR(g->hidden, name, i);
	if (i)
		return;
	i = put(g->r->l, name, (unsigned char)IFTODT(mode), KP_INO_BASE | number);
	if (!i->ino)
		i->ino = KP_INO_BASE | number;
}

enum real { ALONE, SHOWN }; /* a bind or /proc; the host's part of a layered directory */

/* Does another mode begin there that shows nothing of the host? */
static bool is_cut_off(const struct reading *r, const char *name)
{
	const struct kp_rule *rule = r->n->self.rule;
	char path[PATH_MAX];

	if (r->v->rule_count > 1 && !kp_path_join(path, sizeof(path), r->n->guest.s, name))
		rule = kp_rule_at(r->v, path, rule);
	return rule->mode == KP_MODE_FULL;
}

static int read_real(struct reading *r, int dirfd, const char *path, enum real how, struct item *hidden)
{
	kp_autoclose int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool proc = r->n->origin == KP_PROC, shown = how == SHOWN;
	uint64_t ino;
	int fd_of = fd;
	struct dirent *e;
	struct stat st;
	DIR *d;

	if (fd < 0 || fstat(fd, &st) < 0 || !(d = fdopendir(fd)))
		return -errno;
	(void)kp_take_fd(&fd);
	while ((e = readdir(d))) {
		struct item *i;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (proc && e->d_name[0] >= '0' && e->d_name[0] <= '9' &&
		    !kp_proc_is_guest(r->v, (pid_t)strtol(e->d_name, NULL, 10)))
			continue;
		if (r->n->self.bind && !strcmp(r->n->guest.s, "/dev/pts") && !kp_pts_has_name(r->v, e->d_name, strlen(e->d_name)))
			continue;
		if (proc && !strcmp(path, "/proc") && !kp_proc_shows(e->d_name))
			continue;
		HASH_FIND_STR(hidden, e->d_name, i);
		if (i || (shown && (is_cut_off(r, e->d_name) || kp_shown_is_private(r->v, path, fd_of, e->d_name))))
			continue;
		ino = shown ? kp_number_of_host(r->v, st.st_dev, e->d_ino) : e->d_ino;
		i = put(r->l, e->d_name, e->d_type, ino);
		if (!i->ino)
			i->ino = ino;
	}
	(void)closedir(d);
	return 0;
}

static void put_registry(const char *name, bool dir, void *ctx)
{
	struct reading *r = ctx;
	char path[PATH_MAX];

	if (!kp_path_join(path, sizeof(path), r->n->guest.s, name))
		(void)put(r->l, name, dir ? DT_DIR : DT_REG, kp_regtree_ino(path));
}

/* Bind points live in no layer but must be seen in their parent: base has placeholders for all of them. */
static int read_directory(struct reading *r)
{
	struct item *hidden = NULL, *i, *next;
	struct kp_hpath host;
	struct kp_gpath up, buf;
	const char *generated = kp_lower_path(&r->n->self, r->n->guest.s, &buf);
	struct kp_node *parent = kp_calloc(1, sizeof(*parent));
	int rc = 0;

	for (i = r->l->items; i; i = i->hh.next)
		i->present = false;
	kp_gpath_parent(&r->n->guest, &up);
	r->l->ino = r->n->ino;
	r->l->parent_ino = kp_resolve_exact(r->v, up.s, 0, parent) ? r->n->ino : parent->ino;
	free(parent);
	if (r->n->origin == KP_REG) {
		rc = kp_regtree_list(r->v, r->n, put_registry, r);
	} else if (r->n->origin == KP_PROC || r->n->self.bind || r->n->origin == KP_MAGIC) {
		rc = read_real(r, AT_FDCWD, r->n->host.s, ALONE, NULL);
		if (!rc && r->v->registry && !strcmp(r->n->guest.s, "/proc"))
			put_registry("registry", true, r);
	} else {
		if (r->n->self.upper)
			rc = read_upper(r, &hidden);
		if (!rc)
			rc = read_images(r, hidden);
		if (!rc && r->n->self.host)
			rc = kp_shown_of(&r->n->self, r->n->guest.s, &host);
		if (!rc && r->n->self.host)
			rc = read_real(r, AT_FDCWD, host.s, SHOWN, hidden);
		if (!rc && r->n->self.base)
			kp_base_each(r->v, generated, put_generated, &(struct generated){r, hidden});
	}
	HASH_ITER (hh, hidden, i, next) {
		HASH_DEL(hidden, i);
		free(i->name);
		free(i);
	}
	HASH_ITER (hh, r->l->items, i, next) {
		if (!i->present) { /* a reader's place is a number, not a name: it finds on without */
			HASH_DEL(r->l->items, i);
			free(i->name);
			free(i);
		} else if (!i->ino) {
			struct stat st;
			char path[PATH_MAX];

			if (!kp_path_join(path, sizeof(path), r->n->guest.s, i->name) &&
			    fstatat(r->v->upper_fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0)
				i->ino = KP_INO_UPPER | st.st_ino;
		}
	}
	return rc;
}

int kp_list(struct kp_vfs *v, const struct kp_node *n, uint64_t from, bool (*fn)(const struct kp_dirent *, void *),
	    void *ctx)
{
	struct kp_dirlists *ls = v->lists;
	struct reading r = {v, n, NULL};
	struct kp_dirent e;
	bool go = true;
	int rc = 0;

	pthread_mutex_lock(&ls->lock);
	r.l = list_get(ls, n->guest.s);
	if (!from || !r.l->items)
		rc = read_directory(&r);
	if (!rc && from < 1) {
		e = (struct kp_dirent){r.l->ino ? r.l->ino : n->st.st_ino, 1, DT_DIR, "."};
		go = fn(&e, ctx);
	}
	if (!rc && go && from < 2) {
		e = (struct kp_dirent){r.l->parent_ino ? r.l->parent_ino : 1, 2, DT_DIR, ".."};
		go = fn(&e, ctx);
	}
	for (struct item *i = r.l->items; !rc && go && i; i = i->hh.next) {
		if (!i->present || i->number <= from)
			continue;
		e = (struct kp_dirent){i->ino, i->number, i->type, i->name};
		go = fn(&e, ctx);
	}
	pthread_mutex_unlock(&ls->lock);
	return rc;
}

bool kp_take_name(const struct kp_dirent *e, void *strings)
{
	if (e->cookie > 2)
		kp_strings_add(strings, e->name);
	return true;
}

static bool only_dots(const struct kp_dirent *e, void *ctx)
{
	*(bool *)ctx = e->cookie <= 2;
	return e->cookie <= 2;
}

int kp_list_is_empty(struct kp_vfs *v, const struct kp_node *n)
{
	bool empty = true;
	int rc = kp_list(v, n, 0, only_dots, &empty);

	return rc ? rc : empty ? 0 : -ENOTEMPTY;
}
