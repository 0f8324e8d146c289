/* SPDX-License-Identifier: Apache-2.0 */
/* The fast path's answers, voided: by the counters that their entries hold by. Who changes something moves them first, under the write lock. */
#include <fcntl.h>
#include <unistd.h>

#include "vfs/fast.h"
#include "vfs/fastcache.h"
#include "vfs/makes.h"

/* A look at an entry is 3 ns; what is void costs 10 us and more when it is asked for again. Who renames directories all the time is to be held up by a
 * sixth of it at most. */
#define LOOKS_EACH_US 50
#define LOOKS_SAVED (16U << 20)

void kp_fast_void(struct kp_vfs *v)
{
	if (v->fast)
		__atomic_fetch_add(&v->fast->mem->all, 1, __ATOMIC_SEQ_CST);
}

static void move_counter(struct kp_vfs *v, uint32_t slot)
{
	__atomic_fetch_add(&v->fast->mem->names[slot], 1, __ATOMIC_SEQ_CST);
}

void kp_fast_dir_goes(struct kp_vfs *v)
{
	if (v->fast)
		__atomic_fetch_add(&v->fast->mem->dirs, 2, __ATOMIC_SEQ_CST);
}

unsigned kp_fast_way_of(const char *guest, struct kp_fast_way *ret)
{
	uint64_t h = KP_FAST_SEED;
	unsigned depth = 0;

	*ret = (struct kp_fast_way){{0}};
	for (const char *p = guest; *p && p[1] && depth < KP_FAST_DEPTH; p++) {
		h = kp_fast_mix(h, (uint8_t)p[1]);
		if (!p[2] || p[2] == '/') {
			ret->hash[depth++] = (uint32_t)(h ^ h >> 32) | 1;
			p++;
		}
	}
	return depth;
}

static bool may_look(struct kp_fast_cache *c, uint32_t entries)
{
	int64_t now = kp_clock_us(CLOCK_MONOTONIC);

	c->looks = KP_MIN(c->looks + (now - c->looked) * LOOKS_EACH_US, LOOKS_SAVED);
	c->looked = now;
	if (c->looks < entries)
		return false;
	c->looks -= entries;
	return true;
}

/* Of that directory, and of all names that are looked up through it. Every entry is looked at; where that would be too often, all is void instead. */
static void void_below(struct kp_vfs *v, const char *guest)
{
	struct kp_fast_cache *c = v->fast;
	struct kp_fast_way way;
	unsigned depth = kp_fast_way_of(guest, &way);
	uint32_t used = KP_MIN(c->next, KP_FAST_ENTRIES - 1);

	if (!depth || !may_look(c, used)) {
		kp_fast_void(v);
		return;
	}
	kp_fast_dir_goes(v);
	for (uint32_t i = 1; i <= used; i++)
		if (c->ways[i].hash[depth - 1] == way.hash[depth - 1])
			move_counter(v, c->mem->entries[i].name_slot);
}

/* What is known of that name, and of names that it has a part in without being their beginning: of links and dots. */
static void changes_itself(struct kp_vfs *v, const struct kp_node *n)
{
	if (!v->fast)
		return;
	move_counter(v, kp_fast_name_slot(n->guest.s));
	if (n->origin == KP_UPPER)
		move_counter(v, kp_fast_inode_slot(n->st.st_dev, n->st.st_ino));
	if (S_ISDIR(n->mode) || S_ISLNK(n->mode))
		kp_fast_dir_goes(v);
}

/* An open file of the instance, which nobody but us gives names, has one at most. */
static bool changes_open_file(struct kp_vfs *v, const struct kp_node *n)
{
	size_t len = strlen(v->upper.s);
	char text[PATH_MAX];
	struct stat st;
	ssize_t got;

	if (!S_ISREG(n->mode) || !n->ino || n->st.st_nlink > 1)
		return false;
	if (n->st.st_nlink == 1) {
		got = readlink(n->host.s, text, sizeof(text) - 1);
		text[got > 0 ? got : 0] = '\0';
		if (strncmp(text, v->upper.s, len) != 0 || text[len] != '/' || fstatat(v->upper_fd, text + len + 1, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_ino != n->st.st_ino || st.st_dev != n->st.st_dev)
			return false;
		move_counter(v, kp_fast_name_slot(text + len));
	}
	move_counter(v, kp_fast_inode_slot(n->st.st_dev, n->st.st_ino));
	return true;
}

static void note_gone(struct kp_fast_gone *g, uint32_t slot)
{
	g->slots[slot / 64] |= 1ULL << slot % 64;
	g->any = true;
}

static bool is_gone(const struct kp_fast_gone *g, uint32_t slot)
{
	return g->any && g->slots[slot / 64] >> slot % 64 & 1;
}

/* Names that differ in their last byte alone differ in the lower bits of their hashes. */
static uint64_t *set_of(struct kp_fast_went *w, uint64_t hash)
{
	return w->hash[(hash ^ hash >> 32) / 2 % KP_FAST_WENT_SETS];
}

/* Where that hash is, or 0: where there is room for one. */
static uint64_t *find_went(uint64_t *set, uint64_t hash)
{
	for (size_t i = 0; i < KP_FAST_WENT_WAYS; i++)
		if (set[i] == hash)
			return &set[i];
	return NULL;
}

void kp_fast_dir_went(struct kp_vfs *v, const char *guest)
{
	uint64_t h = kp_hash_string(guest) | 1, *set = v->fast ? set_of(&v->fast->names, h) : NULL, *at;

	if (!set || find_went(set, h))
		return;
	at = find_went(set, 0);
	if (!at) {
		memset(&v->fast->names, 0, sizeof(v->fast->names));
		kp_fast_void(v);
		at = set;
	}
	*at = h;
}

/* What comes where a directory went, and is none, makes void what was told of names in that. */
static void comes_after_dir(struct kp_vfs *v, const char *guest)
{
	uint64_t h = kp_hash_string(guest) | 1, *at = v->fast ? find_went(set_of(&v->fast->names, h), h) : NULL;

	if (at) {
		void_below(v, guest);
		*at = 0;
	}
}

/* Before the change: who sees the kernel's answer of after it finds the entry void. Nothing is filled until the lock is let go. */
void kp_fast_changes(struct kp_vfs *v, const struct kp_node *n)
{
	if (n->origin == KP_ABSENT)
		comes_after_dir(v, n->guest.s);
	if (v->fast && n->origin == KP_MAGIC && !changes_open_file(v, n))
		kp_fast_void(v);
	if (v->fast && n->origin != KP_MAGIC && S_ISDIR(n->mode))
		void_below(v, n->guest.s);
	if (n->origin != KP_MAGIC)
		changes_itself(v, n);
	v->declared = true;
}

void kp_fast_makes_dir(struct kp_vfs *v, const struct kp_node *n, mode_t mode)
{
	if (!(mode & S_IXUSR)) {
		kp_fast_changes(v, n);
		return;
	}
	changes_itself(v, n);
	v->declared = true;
}

/* Where the host is shown, what the instance had hidden of it there is gone, too. And where a directory in which guests make files can take the place of
 * one that had more, what was told of names in that would hold no longer than until one of them is made. */
void kp_fast_removes(struct kp_vfs *v, const struct kp_node *n)
{
	if (n->origin == KP_MAGIC || !S_ISDIR(n->mode) || (n->self.rule && n->self.rule->mode != KP_MODE_FULL) ||
	    (kp_makes_are_open(v) && !kp_makes_alone(v, &n->self, n->guest.s))) {
		kp_fast_changes(v, n);
		return;
	}
	changes_itself(v, n);
	v->declared = true;
}

void kp_fast_copies_dir(struct kp_vfs *v, const struct kp_node *n)
{
	if (v->fast)
		move_counter(v, kp_fast_name_slot(n->guest.s));
}

bool kp_fast_keeps_ways(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, mode_t mode)
{
	uid_t uid;
	gid_t gid;

	kp_node_owner(v, n, &uid, &gid);
	return n->origin == KP_UPPER && S_ISDIR(n->mode) && !kp_permit(cred, n->mode, uid, gid, X_OK) == !kp_permit(cred, mode, uid, gid, X_OK);
}

void kp_fast_changes_mode(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, mode_t mode)
{
	if (kp_fast_keeps_ways(v, n, cred, mode))
		kp_fast_removes(v, n); /* what goes changes no way either */
	else
		kp_fast_changes_file(v, n);
}

void kp_fast_standin_goes(struct kp_vfs *v, const struct stat *st)
{
	if (v->fast && v->fast->reused)
		kp_fast_void(v);
	else if (v->fast)
		note_gone(&v->fast->standins, kp_fast_inode_slot(st->st_dev, st->st_ino));
}

void kp_fast_standins_lock(struct kp_vfs *v)
{
	if (v->fast)
		pthread_mutex_lock(&v->fast->lock);
}

void kp_fast_standins_unlock(struct kp_vfs *v)
{
	if (v->fast)
		pthread_mutex_unlock(&v->fast->lock);
}

void kp_fast_standin_comes(struct kp_vfs *v, const struct stat *st)
{
	struct kp_fast_gone *g = v->fast ? &v->fast->standins : NULL;

	if (!g || !(st ? is_gone(g, kp_fast_inode_slot(st->st_dev, st->st_ino)) : g->any))
		return;
	memset(g, 0, sizeof(*g));
	kp_fast_void(v);
}

void kp_fast_changes_file(struct kp_vfs *v, const struct kp_node *n)
{
	if (n->origin == KP_UPPER && !S_ISDIR(n->mode) && n->st.st_nlink > 1)
		kp_fast_void(v);
	kp_fast_changes(v, n);
}

void kp_fast_changes_data(struct kp_vfs *v, const struct kp_node *n)
{
	if (n->origin == KP_UPPER)
		kp_fast_unchanged(v);
	else
		kp_fast_changes(v, n);
}

void kp_fast_unchanged(struct kp_vfs *v)
{
	v->declared = true;
}
