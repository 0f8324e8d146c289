/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renamed directories. What the layers below the upper have of one stays where it is: the upper's directory says at which path of
 * theirs (its record has KP_REC_MOVED, an attribute the path), so a rename costs the same whatever lies below. Each directory above
 * one says so, too (KP_REC_HOLDS): at a start all are found without reading the whole upper.
 *
 * What is open was opened by a path of a lower layer; where the guest sees that now tells a table of all that are moved.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#include "vfs/change.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

struct moved {
	char *lower; /* never freed before the vfs: directories point to it */
	char *guest; /* where it is; NULL: nowhere any more */
	UT_hash_handle hh;
};

struct kp_moves {
	pthread_mutex_t lock;
	struct moved *all; /* by lower */
	atomic_uint count;
};

struct kp_moves *kp_moves_new(void)
{
	struct kp_moves *t = kp_calloc(1, sizeof(*t));

	pthread_mutex_init(&t->lock, NULL);
	return t;
}

struct kp_moves *kp_moves_free(struct kp_moves *t)
{
	struct moved *m, *next;

	if (!t)
		return NULL;
	HASH_ITER (hh, t->all, m, next) {
		HASH_DEL(t->all, m);
		free(m->lower);
		free(m->guest);
		free(m);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}

/* The path as it is kept for good. */
static const char *note(struct kp_vfs *v, const char *lower, const char *guest)
{
	struct kp_moves *t = v->moves;
	struct moved *m;

	pthread_mutex_lock(&t->lock);
	HASH_FIND_STR(t->all, lower, m);
	if (!m) {
		m = kp_calloc(1, sizeof(*m));
		m->lower = kp_strdup(lower);
		HASH_ADD_KEYPTR(hh, t->all, m->lower, strlen(m->lower), m);
		atomic_fetch_add(&t->count, 1);
	}
	if (!m->guest || strcmp(m->guest, guest) != 0) {
		free(m->guest);
		m->guest = kp_strdup(guest);
	}
	pthread_mutex_unlock(&t->lock);
	return m->lower;
}

void kp_moves_rename(struct kp_vfs *v, const char *from, const char *to)
{
	struct kp_moves *t = v->moves;

	if (!atomic_load(&t->count))
		return;
	pthread_mutex_lock(&t->lock);
	for (struct moved *m = t->all; m; m = m->hh.next) {
		const char *below = m->guest ? kp_path_below(m->guest, from) : NULL;

		if (below) {
			char *now = to ? kp_asprintf("%s%s", to, below) : NULL;

			free(m->guest);
			m->guest = now;
		}
	}
	pthread_mutex_unlock(&t->lock);
}

void kp_moves_find(const struct kp_vfs *v, struct kp_gpath *path)
{
	struct kp_moves *t = v->moves;
	char lower[PATH_MAX];
	struct moved *m = NULL;
	size_t len;

	if (!atomic_load(&t->count))
		return;
	memcpy(lower, path->s, strlen(path->s) + 1);
	pthread_mutex_lock(&t->lock);
	for (len = strlen(lower); len > 1 && !m; len = m ? len : (size_t)(strrchr(lower, '/') - lower)) {
		lower[len] = '\0';
		HASH_FIND_STR(t->all, lower, m);
		if (m && !m->guest)
			m = NULL;
		if (m)
			break;
	}
	if (m) {
		const char *rest = path->s + len;
		struct kp_gpath now;

		if ((size_t)snprintf(now.s, sizeof(now.s), "%s%s", m->guest, rest) < sizeof(now.s))
			*path = now;
	}
	pthread_mutex_unlock(&t->lock);
}

bool kp_has_lower(const struct kp_dir *d)
{
	bool any = d->base || d->host;

	for (size_t i = 0; i < KP_MAX_LAYERS && !any; i++)
		any = d->entry[i] != KP_NO_ENTRY;
	return any;
}

const char *kp_lower_path(const struct kp_dir *d, const char *guest, struct kp_gpath *buf)
{
	if (!d->moved)
		return guest;
	/* A path that is too long there is one that nothing has. */
	if ((size_t)snprintf(buf->s, sizeof(buf->s), "%s%s", d->moved, guest + d->moved_len) >= sizeof(buf->s))
		(void)snprintf(buf->s, sizeof(buf->s), "/");
	return buf->s;
}

int kp_moved_check(const char *path, ssize_t len)
{
	kp_autofree char *normal = NULL;

	if (len < 2 || len >= PATH_MAX || path[len] || strlen(path) != (size_t)len || path[0] != '/' || kp_path_normalise(path, &normal))
		return -EINVAL;
	return strcmp(normal, path) != 0 ? -EINVAL : 0;
}

static int read_from(const struct kp_vfs *v, const char *rel, char from[PATH_MAX])
{
	char path[PATH_MAX + 32];
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", v->upper_fd, rel);
	len = lgetxattr(path, KP_MOVED_XATTR, from, PATH_MAX - 1);
	if (len < 0)
		return -errno;
	from[len] = '\0';
	return kp_moved_check(from, len);
}

/* What the layers below the upper have at a path of theirs. */
static int look_lower(struct kp_vfs *v, const char *path, pid_t tid, struct kp_node *n)
{
	kp_lookup_root(v, n);
	n->self.upper = false;
	for (const char *p = path; *p;) {
		struct kp_dir dir = n->self;
		size_t len = strcspn(++p, "/");
		int rc;

		if (!S_ISDIR(n->mode) || dir.bind || dir.proc)
			return -ENOENT;
		rc = kp_gpath_push(&n->guest, p, len);
		if (!rc)
			rc = kp_lookup_child(v, &dir, p, len, tid, n);
		if (rc)
			return rc;
		p += len;
	}
	return S_ISDIR(n->mode) && !n->self.bind && !n->self.proc ? 0 : -ENOENT;
}

struct kp_node *kp_moved_lower(struct kp_vfs *v, struct kp_node *child, pid_t tid)
{
	kp_autofree struct kp_node *low = kp_calloc(1, sizeof(*low));
	char from[PATH_MAX];

	if (read_from(v, child->guest.s + 1, from)) {
		KP_DEBUG(VFS, "%s: was renamed, and does not say from where", child->guest.s);
		return NULL;
	}
	if (look_lower(v, from, tid, low)) { /* the host has it no longer */
		*low = (struct kp_node){.origin = KP_ABSENT, .entry = KP_NO_ENTRY};
		for (size_t i = 0; i < KP_MAX_LAYERS; i++)
			low->self.entry[i] = KP_NO_ENTRY;
	}
	low->self.moved = note(v, from, child->guest.s);
	child->entry = low->entry;
	child->layer = low->layer;
	memcpy(child->self.entry, low->self.entry, sizeof(child->self.entry));
	child->self.base = low->self.base;
	return kp_take_ptr(low);
}

void kp_moved_take(struct kp_node *child, const struct kp_node *low)
{
	bool merged = child->self.rule && child->self.rule->mode == KP_MODE_MERGED;
	bool shown = low->self.rule && low->self.rule->mode == KP_MODE_WRITECOPY;

	child->self.moved = low->self.moved;
	child->self.moved_len = strlen(child->guest.s);
	if (low->origin == KP_HOST && !child->ino)
		child->ino = low->ino;
	if (merged) /* the host's own directory of that name was renamed, too */
		return;
	child->self.host = shown && low->self.host;
	child->self.host_open = shown && low->self.host_open;
	if (shown)
		child->self.rule = low->self.rule;
}

int kp_moved_mark(struct kp_vfs *v, const struct kp_gpath *guest)
{
	struct kp_gpath up = *guest;
	int rc = kp_upper_add_flags(v, ".", KP_REC_HOLDS);

	for (char *slash = up.s; !rc && (slash = strchr(slash + 1, '/')); *slash = '/') {
		*slash = '\0';
		rc = kp_upper_add_flags(v, up.s + 1, KP_REC_HOLDS);
	}
	return rc;
}

int kp_moved_set(struct kp_vfs *v, const struct kp_node *n)
{
	char path[PATH_MAX + 32];
	struct kp_record rec;
	struct kp_gpath buf;
	const char *lower = kp_lower_path(&n->self, n->guest.s, &buf);
	int rc = kp_record_read(v, n->guest.s + 1, &rec);

	if (rc || rec.flags & KP_REC_MOVED)
		return rc;
	/* Nobody need look at it between its rename and the question where what was below it is. */
	(void)note(v, lower, n->guest.s);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", v->upper_fd, n->guest.s + 1);
	/* Either is without meaning before the other is there, and both say what is so already. */
	if (lsetxattr(path, KP_MOVED_XATTR, lower, strlen(lower), 0) < 0)
		return -errno;
	return kp_upper_add_flags(v, n->guest.s + 1, KP_REC_MOVED);
}

/* One directory that holds moved ones: they are noted, and those that hold more are to come. */
static void load_dir(struct kp_vfs *v, const char *dir, struct kp_strings *todo)
{
	int fd = openat(v->upper_fd, dir[1] ? dir + 1 : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d && fd >= 0)
		(void)kp_close(fd);
	while (d && (e = readdir(d))) {
		char guest[PATH_MAX], from[PATH_MAX];
		struct kp_record rec;

		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    kp_path_join(guest, sizeof(guest), dir, e->d_name) || kp_record_read(v, guest + 1, &rec))
			continue;
		if (rec.flags & KP_REC_MOVED && !read_from(v, guest + 1, from))
			(void)note(v, from, guest);
		if (rec.flags & KP_REC_HOLDS)
			kp_strings_add(todo, guest);
	}
	if (d)
		(void)closedir(d);
}

void kp_moves_load(struct kp_vfs *v)
{
	struct kp_strings kp_autostrings todo = {0};
	struct kp_record rec;

	if (kp_record_read(v, ".", &rec) || !(rec.flags & KP_REC_HOLDS))
		return;
	kp_strings_add(&todo, "/");
	while (todo.count) {
		kp_autofree char *dir = kp_strings_pop(&todo);

		load_dir(v, dir, &todo);
	}
}
