/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's side of the cache that guests read themselves. */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/fast.h"
#include "vfs/fastcache.h"
#include "vfs/live.h"
#include "vfs/makes.h"

#define OBJECTS 1024U /* room for, to begin with */

void kp_fast_make(struct kp_vfs *v, struct kp_fast *mem)
{
	struct kp_fast_cache *c = kp_pages(sizeof(*c));
	struct statfs fs;
	struct stat st;
	int pair[2];

	pthread_mutex_init(&c->lock, NULL);
	c->mem = mem;
	c->ways = kp_calloc(KP_FAST_ENTRIES, sizeof(*c->ways));
	c->object_room = OBJECTS;
	c->objects = kp_pages(c->object_room * sizeof(*c->objects));
	c->mem->magic = KP_FAST_MAGIC;
	c->mem->st_dev = v->dev;
	c->mem->all = 1;
	c->mem->dirs = 1;
	if (strlen(v->dirs.s) < sizeof(c->mem->dirs_path))
		memcpy(c->mem->dirs_path, v->dirs.s, strlen(v->dirs.s));
	if (pipe2(pair, O_CLOEXEC) == 0) {
		c->mem->pipe_dev = fstat(pair[0], &st) < 0 ? 0 : st.st_dev;
		(void)kp_close(pair[0]);
		(void)kp_close(pair[1]);
	}
	c->mem->on = 1;
	(void)mkdir(v->code.s, 0700); /* without it nothing is prepared */
	c->reused = fstatfs(v->dirs_fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC;
	v->fast = c;
}

struct kp_fast_cache *kp_fast_free(struct kp_fast_cache *c)
{
	if (c) {
		kp_makes_end(c->mem);
		free(c->ways);
		(void)kp_pages_free(c->objects, c->object_room * sizeof(*c->objects));
		for (size_t i = 0; i < KP_MAX_LAYERS; i++)
			free(c->opened[i]);
		pthread_mutex_destroy(&c->lock);
	}
	return kp_pages_free(c, sizeof(*c));
}

/* The real directory of a stand-in. Remembered: most callers ask again from where they were. */
static bool start_of(const struct kp_vfs *v, const char *start, struct kp_fast_entry *e)
{
	static _Thread_local struct {
		const struct kp_vfs *vfs;
		unsigned generation;
		dev_t dev;
		ino_t ino;
		char guest[256];
	} known;
	unsigned generation = atomic_load(&v->generation);
	size_t size = strlen(start) + 1;
	struct stat st;

	if (known.vfs != v || known.generation != generation || strcmp(known.guest, start) != 0) {
		if (size > sizeof(known.guest) || fstatat(v->dirs_fd, start[1] ? start + 1 : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
			return false;
		known.vfs = v;
		known.generation = generation;
		known.dev = st.st_dev;
		known.ino = st.st_ino;
		memcpy(known.guest, start, size);
	}
	e->dev = known.dev;
	e->ino = known.ino;
	return true;
}

static bool add_text(struct kp_fast_entry *e, size_t at, const char *prefix, const char *text)
{
	int n = snprintf(e->text + at, sizeof(e->text) - at, "%s%s", prefix, text);

	e->second = (uint16_t)at;
	return n >= 0 && (size_t)n < sizeof(e->text) - at;
}

static uint64_t *opened_bits(struct kp_fast_cache *c, const struct kp_node *n, uint64_t *ret_bit)
{
	*ret_bit = 1ULL << n->entry % 64;
	return c->opened[n->layer] ? &c->opened[n->layer][n->entry / 64] : NULL;
}

/* Then it is in the store, whole, and known to be no other entry's inode, or to be several's. */
static bool was_opened(struct kp_fast_cache *c, const struct kp_node *n)
{
	uint64_t bit, *bits = opened_bits(c, n, &bit);

	return bits && __atomic_load_n(bits, __ATOMIC_ACQUIRE) & bit;
}

static bool from_image(struct kp_vfs *v, const struct kp_node *n, struct kp_fast_entry *e)
{
	struct statx x;
	char target[PATH_MAX];

	if (kp_node_statx(v, n, &x))
		return false;
	e->kind = KP_FAST_RECORD;
	e->nlink = x.stx_nlink;
	e->uid = x.stx_uid;
	e->gid = x.stx_gid;
	e->size = x.stx_size;
	e->mtime = x.stx_mtime.tv_sec;
	if (S_ISLNK(n->mode) && !kp_node_readlink(v, n, target, sizeof(target)))
		e->has_target = add_text(e, e->path_len + 1U, "", target);
	if (S_ISREG(n->mode) && was_opened(v->fast, n)) {
		(void)snprintf(target, sizeof(target), "/%u", n->entry);
		if (add_text(e, e->path_len + 1U, v->store_dir[n->layer].s, target))
			e->perm |= KP_FAST_OPEN;
	}
	return true;
}

/* Size and times of the instance's files change by writes that nobody sees: the kernel is asked each time. */
static bool from_upper(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, struct kp_fast_entry *e)
{
	if (!S_ISREG(n->mode) && !S_ISDIR(n->mode))
		return false;
	e->uid = n->st.st_uid;
	e->gid = n->st.st_gid;
	if (S_ISDIR(n->mode)) {
		e->kind = KP_FAST_DIR;
		e->nlink = kp_has_lower(&n->self) ? 1 : 0;
	} else if (kp_may_have_record(n->st.st_mode)) {
		e->kind = KP_FAST_NOTED;
	} else {
		e->kind = KP_FAST_PLAIN;
		e->st_ino = KP_INO_UPPER;
	}
	if (S_ISREG(n->mode) && !v->upper_noexec)
		e->perm |= KP_FAST_OPEN;
	if (S_ISDIR(n->mode))
		e->perm |= kp_makes_bits(v, n, cred);
	return add_text(e, e->path_len + 1U, v->upper.s, n->guest.s[1] ? n->guest.s : "");
}

/* A name that is not there may come into being on the host, or by a guest's own hand, without us. */
static bool is_known_absent(const struct kp_vfs *v, const struct kp_node *n)
{
	return !n->self.bind && !n->parent.bind && !n->parent.proc && !n->parent.reg && !n->last_error && !atomic_load(&v->guest_makes_names) &&
	       (n->whiteout || !n->self.rule || n->self.rule->mode == KP_MODE_FULL);
}

static bool from_nothing(const struct kp_vfs *v, const struct kp_node *n, struct kp_fast_entry *e)
{
	e->kind = KP_FAST_ABSENT;
	if (!is_known_absent(v, n))
		return false;
	return !kp_makes_are_open(v) || !kp_makes_alone_above(v, n) || add_text(e, e->path_len + 1U, v->upper.s, n->guest.s);
}

/* Nothing but the directory's name, a slash and what follows is where it leads: removed directories on the way have no part in it. */
static bool leads_straight(const char *path, const char *start, const struct kp_node *n)
{
	size_t skip = start && start[1] ? strlen(start) : 0, len;
	const char *to = n->guest.s;

	if (start && (strncmp(to, start, skip) != 0 || to[skip] != '/'))
		return false;
	to += start ? skip + 1 : 0;
	len = strlen(to);
	return !strncmp(path, to, len) && path[len] == (n->cut_short ? '/' : '\0');
}

static bool fill(struct kp_vfs *v, const char *path, const char *start, const struct kp_cred *cred, const struct kp_node *n,
		 struct kp_fast_entry *e)
{
	size_t len = strlen(path);

	/* A directory that the host has, too, may tell times of the host's. */
	if (!len || len >= KP_FAST_TEXT - 2 || n->hosted || n->self.host || (start && !start_of(v, start, e)))
		return false;
	/* These change by themselves. */
	if (kp_path_below(n->guest.s, "/proc") || (n->cut_short ? kp_live_below(v, n->guest.s) : kp_live_is(v, n->guest.s)))
		return false;
	memcpy(e->text, path, len + 1);
	e->path_len = (uint16_t)len;
	e->mode = n->mode;
	e->st_ino = n->ino;
	e->name_slot = kp_fast_name_slot(n->guest.s);
	e->dirs = !leads_straight(path, start, n); /* add() tells which */
	for (int bit = 1; n->origin != KP_ABSENT && bit < 8; bit <<= 1)
		if (!kp_node_permit(v, n, cred, bit))
			e->perm |= (uint8_t)bit;
	switch (n->origin) {
	case KP_ABSENT:
		return from_nothing(v, n, e);
	case KP_IMAGE:
		return from_image(v, n, e);
	case KP_UPPER:
		return from_upper(v, n, cred, e);
	case KP_BASE:
	case KP_HOST:
	case KP_PROC:
	case KP_MAGIC:
	case KP_REG:
	default:
		return false;
	}
}

static bool is_current(const struct kp_fast *f, const struct kp_fast_entry *e)
{
	return e->kind && e->all == f->all && (!e->dirs || e->dirs == f->dirs) && e->name == f->names[e->name_slot];
}

static bool is_same(const struct kp_fast_entry *a, const struct kp_fast_entry *b)
{
	return a->hash == b->hash && a->ino == b->ino && a->dev == b->dev && a->path_len == b->path_len && !strcmp(a->text, b->text);
}

/* An entry or a place, which begins with its seq, over another one. */
static void store(void *to, const void *from, size_t size)
{
	uint32_t *at = to, seq = *at;

	__atomic_store_n(at, seq + 1, __ATOMIC_SEQ_CST);
	memcpy((char *)to + sizeof(seq), (const char *)from + sizeof(seq), size - sizeof(seq));
	__atomic_store_n(at, seq + 2, __ATOMIC_SEQ_CST);
}

void kp_fast_state(const struct kp_vfs *v, const char *guest, uint32_t ret[2])
{
	ret[0] = v->fast->mem->all;
	ret[1] = v->fast->mem->names[kp_fast_name_slot(guest)];
}

/* In the entry of that way, or in the next one: whoever had that, if it was taken long ago, finds another's path there. */
static struct kp_fast_ref put_entry(struct kp_fast_cache *c, uint32_t *way, struct kp_fast_entry *e, const char *guest)
{
	struct kp_fast_entry *to;
	uint32_t at = *way;

	if (!at)
		at = 1 + c->next++ % (KP_FAST_ENTRIES - 1);
	(void)kp_fast_way_of(guest, &c->ways[at]);
	to = &c->mem->entries[at];
	e->seq = to->seq;
	if (memcmp(to, e, sizeof(*e)) != 0)
		store(to, e, sizeof(*e));
	__atomic_store_n(way, at, __ATOMIC_RELEASE);
	return (struct kp_fast_ref){at, to->seq};
}

/* With the lock of the entries held: where that one is, or would be. */
static struct kp_fast_object *object_of(const struct kp_fast_cache *c, dev_t dev, ino_t ino)
{
	uint64_t key = kp_fast_key(KP_FAST_SEED, dev, ino);

	for (;; key++) {
		struct kp_fast_object *o = &c->objects[key % c->object_room];

		if (!o->ino || (o->ino == ino && o->dev == dev))
			return o;
	}
}

static bool is_alone(const struct kp_fast_object *o, const struct kp_node *n)
{
	return o->ino && !o->several && o->layer == n->layer && o->entry == n->entry;
}

/* With the lock of the entries held. */
static struct kp_fast_object *add_object(struct kp_fast_cache *c, const struct kp_fast_object *what)
{
	struct kp_fast_object *old = c->objects, *to;
	size_t room = c->object_room;

	if (++c->object_count * 2 > room) {
		c->object_room *= 2;
		c->objects = kp_pages(c->object_room * sizeof(*c->objects));
		for (size_t i = 0; i < room; i++)
			if (old[i].ino)
				*object_of(c, old[i].dev, old[i].ino) = old[i];
		(void)kp_pages_free(old, room * sizeof(*old));
	}
	to = object_of(c, what->dev, what->ino);
	*to = *what;
	return to;
}

/* guest: the canonical path that it holds by; "": an inode. object: what descriptors of that inode of the store are of, or NULL. That it was opened as that
 * one alone is looked at under the lock that the entry is written with: who opens it as another voids what is written before, not after. */
static struct kp_fast_ref add_of(struct kp_vfs *v, struct kp_fast_entry *e, const char *guest, const struct kp_node *object)
{
	struct kp_fast_cache *c = v->fast;
	struct kp_fast_ref ref = {0};
	uint32_t *set, *way = NULL;
	uint64_t h = KP_FAST_SEED, key;

	if (!kp_vfs_is_reading(v))
		return ref;
	for (const char *p = e->text; e->path_len && *p; p++)
		h = kp_fast_mix(h, (uint8_t)*p);
	key = kp_fast_key(h, e->dev, e->ino);
	e->hash = (uint32_t)(key >> 16);
	set = c->mem->index[key % KP_FAST_SETS];
	pthread_mutex_lock(&c->lock);
	if (object && !is_alone(object_of(c, e->dev, e->ino), object)) {
		pthread_mutex_unlock(&c->lock);
		return ref;
	}
	e->all = c->mem->all;
	e->dirs = e->dirs ? c->mem->dirs : 0;
	e->name = c->mem->names[e->name_slot];
	for (size_t i = 0; i < KP_FAST_WAYS; i++) {
		struct kp_fast_entry *old = &c->mem->entries[set[i]];

		if (!set[i] || !is_same(old, e))
			continue;
		if (old->calls & e->calls || !is_current(c->mem, old))
			way = &set[i];
		/* Asked for otherwise: it is still that program. */
		if (!e->program.number && is_current(c->mem, old) && old->calls & e->calls & KP_FAST_FOLLOW)
			e->program = old->program;
	}
	for (size_t i = 0; i < KP_FAST_WAYS && !way; i++)
		if (!set[i] || !is_current(c->mem, &c->mem->entries[set[i]]))
			way = &set[i];
	ref = put_entry(c, way ? way : &set[c->next % KP_FAST_WAYS], e, guest);
	pthread_mutex_unlock(&c->lock);
	return ref;
}

static struct kp_fast_ref add(struct kp_vfs *v, struct kp_fast_entry *e, const char *guest)
{
	return add_of(v, e, guest, NULL);
}

/* Of an open file of an image, which the supervisor has seen opened before, while it is what has its name (n has none: a descriptor's). */
static bool put_image_fd(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_fast_entry e = {.calls = KP_FAST_FOLLOW, .mode = n->mode, .st_ino = n->ino, .name_slot = kp_fast_name_slot(n->guest.s)};
	struct kp_node *named = kp_calloc(1, sizeof(*named));
	char path[PATH_MAX];
	struct stat st;
	bool good;

	(void)snprintf(path, sizeof(path), "%s/%u", v->store_dir[n->layer].s, n->entry);
	good = lstat(path, &st) == 0 && !kp_resolve_exact(v, n->guest.s, 0, named) && named->origin == KP_IMAGE && named->layer == n->layer &&
	       named->entry == n->entry;
	if (good) {
		e.dev = st.st_dev;
		e.ino = st.st_ino;
		good = from_image(v, named, &e) && add_of(v, &e, n->guest.s, named).at;
	}
	free(named);
	return good;
}

bool kp_fast_put_fd(struct kp_vfs *v, const struct kp_cred *cred, const struct kp_node *n)
{
	struct kp_fast_entry e = {.calls = KP_FAST_FOLLOW, .mode = n->mode, .st_ino = n->ino};
	bool dir = S_ISDIR(n->mode);

	if (!v->fast)
		return false;
	if (dir && (n->origin == KP_IMAGE || n->origin == KP_UPPER)) {
		e.name_slot = kp_fast_name_slot(n->guest.s);
		return start_of(v, n->guest.s, &e) && (n->origin == KP_IMAGE ? from_image(v, n, &e) : from_upper(v, n, cred, &e)) && add(v, &e, n->guest.s).at;
	}
	if (n->origin == KP_IMAGE && S_ISREG(n->mode))
		return put_image_fd(v, n);
	/* Open files of the upper are known by the descriptor alone (kp_node_from_link). */
	if (n->origin != KP_MAGIC || !n->ino || n->self.rule || !S_ISREG(n->mode) || !n->st.st_nlink)
		return false;
	e.dev = n->st.st_dev;
	e.ino = n->st.st_ino;
	e.name_slot = kp_fast_inode_slot(e.dev, e.ino);
	if (!kp_may_have_record(n->st.st_mode))
		e.st_ino = KP_INO_UPPER;
	e.kind = kp_may_have_record(n->st.st_mode) ? KP_FAST_NOTED : KP_FAST_PLAIN;
	e.uid = n->st.st_uid;
	e.gid = n->st.st_gid;
	return add(v, &e, "").at;
}

bool kp_fast_put_cwd(struct kp_vfs *v, const char *standin)
{
	struct kp_fast_entry e = {.kind = KP_FAST_CWD, .calls = KP_FAST_GETCWD, .name_slot = kp_fast_name_slot(standin)};

	return v->fast && start_of(v, standin, &e) && add_text(&e, 1, "", standin) && add(v, &e, standin).at;
}

/* With the lock of the entries held. */
static void note_opened(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_fast_cache *c = v->fast;
	uint64_t bit, *bits;

	if (!c->opened[n->layer])
		__atomic_store_n(&c->opened[n->layer], kp_calloc(kp_image_count(v->layers[n->layer].image) / 64 + 1, sizeof(uint64_t)), __ATOMIC_RELEASE);
	bits = opened_bits(c, n, &bit);
	__atomic_fetch_or(bits, bit, __ATOMIC_SEQ_CST);
}

/* With the lock of the entries held: a prepared copy has one file's name. */
static void withdraw(struct kp_fast_cache *c, ino_t ino)
{
	uint32_t count = __atomic_load_n(&c->mem->site_files, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++)
		if (c->mem->sites[i].ino == ino)
			__atomic_store_n(&c->mem->sites[i].prepared, 0, __ATOMIC_RELEASE);
}

bool kp_fast_put_prepared(struct kp_vfs *v, const struct stat *st, struct kp_sites_file *f, uint32_t prepared)
{
	const struct kp_fast_object *o;
	bool alone;

	pthread_mutex_lock(&v->fast->lock);
	o = object_of(v->fast, st->st_dev, st->st_ino);
	alone = o->ino && !o->several;
	if (alone)
		__atomic_store_n(&f->prepared, prepared, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&v->fast->lock);
	return alone;
}

void kp_fast_opened(struct kp_vfs *v, const struct kp_node *n, int fd)
{
	struct kp_fast_entry e = {.calls = KP_FAST_FOLLOW, .mode = n->mode, .st_ino = n->ino, .name_slot = kp_fast_name_slot(n->guest.s)};
	struct kp_fast_object *o;
	struct stat st;

	/* Without a name: a copy, for a store that does not allow exec. */
	if (!v->fast || !S_ISREG(n->mode) || fstat(fd, &st) < 0 || !st.st_nlink)
		return;
	pthread_mutex_lock(&v->fast->lock);
	o = object_of(v->fast, st.st_dev, st.st_ino);
	if (!o->ino)
		o = add_object(v->fast, &(struct kp_fast_object){st.st_dev, st.st_ino, (uint32_t)n->layer, n->entry, false});
	if (!o->several && (o->layer != n->layer || o->entry != n->entry)) {
		o->several = true;
		withdraw(v->fast, st.st_ino);
		kp_fast_void(v);
	}
	note_opened(v, n);
	pthread_mutex_unlock(&v->fast->lock);
	e.dev = st.st_dev;
	e.ino = st.st_ino;
	/* Under the write lock it is about to change; without a name it may have been copied up. */
	if (kp_vfs_is_reading(v) && !n->nameless && from_image(v, n, &e))
		(void)add_of(v, &e, n->guest.s, n);
}

struct kp_fast_ref kp_fast_put(struct kp_vfs *v, const char *path, const char *start, bool follow, const struct kp_cred *cred, const struct kp_node *n,
			       struct kp_fast_program program)
{
	struct kp_fast_entry e = {.program = program};

	if (!v->fast || !fill(v, path, start, cred, n, &e))
		return (struct kp_fast_ref){0};
	/* Where the last name is no link it does not matter whether links are followed. */
	e.calls = follow ? KP_FAST_FOLLOW : KP_FAST_NOFOLLOW;
	if (follow ? !n->through_link : !S_ISLNK(n->mode))
		e.calls = KP_FAST_FOLLOW | KP_FAST_NOFOLLOW;
	return add(v, &e, n->guest.s);
}

void kp_fast_settle_all(struct kp_vfs *v)
{
	if (v->fast)
		__atomic_store_n(&v->fast->mem->settles, 1, __ATOMIC_SEQ_CST);
}

static struct kp_fast_place *place_of(const struct kp_vfs *v, pid_t tid)
{
	return &v->fast->mem->places[(uint32_t)tid % KP_FAST_PLACES];
}

void kp_fast_place_begin(struct kp_vfs *v, pid_t tid, struct kp_fast_mark *ret)
{
	*ret = (struct kp_fast_mark){0};
	if (!v->fast)
		return;
	ret->moved = __atomic_load_n(&v->fast->mem->moved, __ATOMIC_SEQ_CST);
	ret->seq = __atomic_load_n(&place_of(v, tid)->seq, __ATOMIC_SEQ_CST);
}

bool kp_fast_place_put(struct kp_vfs *v, pid_t tid, const struct kp_fast_mark *mark, const char *standin)
{
	struct kp_fast_place p = {.tid = (uint32_t)tid, .moved = mark->moved};
	struct kp_fast_entry start;
	bool good;

	if (!v->fast || !start_of(v, standin, &start))
		return false;
	p.dev = start.dev;
	p.ino = start.ino;
	pthread_mutex_lock(&v->fast->lock);
	good = place_of(v, tid)->seq == mark->seq;
	if (good) {
		store(place_of(v, tid), &p, sizeof(p));
		__atomic_store_n(&v->fast->mem->placed, mark->moved, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&v->fast->lock);
	return good;
}

void kp_fast_place_moves(struct kp_vfs *v)
{
	if (v->fast)
		__atomic_fetch_add(&v->fast->mem->moved, 1, __ATOMIC_SEQ_CST);
}

void kp_fast_place_ended(struct kp_vfs *v, pid_t tid)
{
	static const struct kp_fast_place nobody;

	if (!v->fast)
		return;
	pthread_mutex_lock(&v->fast->lock);
	store(place_of(v, tid), &nobody, sizeof(nobody));
	pthread_mutex_unlock(&v->fast->lock);
}
