/* SPDX-License-Identifier: Apache-2.0 */
/* Projected files: when they are made anew and taken back. How: vfs/live_sync.c. */
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "vfs/live_internal.h"
#include "vfs/regtree.h"
#include "vfs/resolve.h"

struct kp_live_state *kp_live_find(const struct kp_live *l, const char *guest)
{
	for (size_t i = 0; i < l->count; i++)
		if (!strcmp(l->files[i].guest, guest))
			return &l->files[i];
	return NULL;
}

struct kp_live_mark kp_live_mark(const struct stat *st)
{
	return (struct kp_live_mark){true, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

bool kp_live_same(const struct kp_live_mark *a, const struct kp_live_mark *b)
{
	return a->there == b->there && (!a->there || (a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
						       a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec &&
						       a->ctime.tv_nsec == b->ctime.tv_nsec));
}

/* Of the upper's file as it is now. */
static struct kp_live_mark look(const struct kp_vfs *v, const struct kp_live_state *f)
{
	struct stat st;

	return fstatat(v->upper_fd, f->guest + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) ? kp_live_mark(&st)
													: (struct kp_live_mark){0};
}

/* To be taken back: since it was left, or since a run that did not get to it. */
static bool is_changed(const struct kp_vfs *v, const struct kp_live_state *f, bool all)
{
	struct kp_live_mark now = look(v, f);

	return !f->held_back && (f->known ? !kp_live_same(&now, &f->seen) : all && now.there);
}

/* Others that were written: what they say must be in the registry before this one shows it. One that is gone may come again. */
static bool is_written(const struct kp_vfs *v, const struct kp_live_state *f)
{
	return look(v, f).there && is_changed(v, f, true);
}

static bool others_written(const struct kp_vfs *v, const struct kp_live_state *but)
{
	for (size_t i = 0; i < v->live->count; i++)
		if (&v->live->files[i] != but && is_written(v, &v->live->files[i]))
			return true;
	return false;
}

static bool waits(const struct kp_live *l, const struct kp_live_state *f)
{
	return f->homeless && !f->held_back && (!f->known || kp_reg_generation(l->reg) != f->generation);
}

bool kp_live_stale(const struct kp_vfs *v, const struct kp_node *n)
{
	const struct kp_live_state *f = v->live && n ? kp_live_find(v->live, n->guest.s) : NULL;
	struct kp_live_mark now = {0};

	if (v->live && (f || !n)) /* what was just written in the tree is in the registry, whoever hears of it first */
		kp_regtree_drain(v->registry);
	for (size_t i = 0; v->live && !n && i < v->live->count; i++)
		if (waits(v->live, &v->live->files[i]))
			return true;
	if (!f || f->held_back)
		return false;
	if (!f->known || kp_reg_generation(v->live->reg) != f->generation || others_written(v, f))
		return true;
	if (n->origin != KP_UPPER)
		return false; /* removed, perhaps to be made anew: that is taken back with the next call to the registry */
	now = kp_live_mark(&n->st);
	return !kp_live_same(&now, &f->seen);
}

bool kp_live_is(const struct kp_vfs *v, const char *guest)
{
	return v->live && kp_live_find(v->live, guest);
}

bool kp_live_below(const struct kp_vfs *v, const char *guest)
{
	for (size_t i = 0; v->live && i < v->live->count; i++)
		if (kp_path_below(v->live->files[i].guest, guest))
			return true;
	return false;
}

void kp_live_refresh(struct kp_vfs *v, const char *guest)
{
	struct kp_live_state *f;

	if (kp_path_below(guest, KP_REGTREE)) {
		kp_live_drain(v);
		return;
	}
	kp_vfs_write_lock(v);
	f = v->live ? kp_live_find(v->live, guest) : NULL;
	for (size_t i = 0; v->live && i < v->live->count; i++)
		if (&v->live->files[i] != f && is_written(v, &v->live->files[i]))
			kp_live_sync(v, &v->live->files[i], false);
	if (f)
		kp_live_sync(v, f, false);
	for (size_t i = 0; v->live && !*guest && i < v->live->count; i++)
		if (waits(v->live, &v->live->files[i]))
			kp_live_sync(v, &v->live->files[i], false);
	kp_vfs_unlock(v);
}

bool kp_live_pending(const struct kp_vfs *v)
{
	for (size_t i = 0; v->live && i < v->live->count; i++)
		if (is_changed(v, &v->live->files[i], true))
			return true;
	return false;
}

static void take_events(struct kp_live *l)
{
	char events[4096];

	while (read(l->watch_fd, events, sizeof(events)) > 0)
		;
}

static void drain(struct kp_vfs *v, bool all)
{
	for (size_t i = 0; i < v->live->count; i++) {
		struct kp_live_state *f = &v->live->files[i];

		if (is_changed(v, f, all))
			kp_live_sync(v, f, true);
	}
}

void kp_live_drain(struct kp_vfs *v)
{
	if (!v->live)
		return;
	kp_vfs_write_lock(v);
	take_events(v->live);
	drain(v, true);
	kp_vfs_unlock(v);
}

int kp_live_fd(const struct kp_vfs *v)
{
	return v->live ? v->live->watch_fd : -1;
}

/* --- begin and end --- */

static void add(struct kp_live *l, const struct kp_live_file *file)
{
	struct kp_live_state *f = &l->files[l->count];

	f->format = file->format;
	f->guest = kp_strdup(file->guest);
	f->key = kp_strdup(file->key);
	kp_live_record_name(file->guest, f->record);
	l->count++;
}

/* Where links lead: the file itself is what is made anew. */
static void follow_links(struct kp_vfs *v, struct kp_live_state *f)
{
	const struct kp_cred root = {.privileged = true};
	const struct kp_walk w = {.cred = &root, .start = "/", .path = f->guest, .follow = true};
	struct kp_node *n = kp_calloc(1, sizeof(*n));

	kp_vfs_read_lock(v);
	f->homeless = kp_resolve(v, &w, n) != 0;
	if (!f->homeless && strcmp(n->guest.s, f->guest) != 0) {
		free(f->guest);
		f->guest = kp_strdup(n->guest.s);
	}
	kp_vfs_unlock(v);
	free(n);
}

static struct kp_live *free_live(struct kp_live *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->files[i].guest);
		free(l->files[i].key);
	}
	free(l->files);
	(void)kp_close(l->instance_fd);
	(void)kp_close(l->record_fd);
	(void)kp_close(l->watch_fd);
	free(l);
	return NULL;
}

static int open_dirs(struct kp_live *l, const char *instance_dir, struct kp_err *err)
{
	l->instance_fd = open(instance_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->instance_fd >= 0 && mkdirat(l->instance_fd, KP_LIVE_RECORDS, 0700) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s/" KP_LIVE_RECORDS ": cannot make directory", instance_dir);
	if (l->instance_fd >= 0)
		l->record_fd = openat(l->instance_fd, KP_LIVE_RECORDS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->record_fd < 0)
		return kp_fail_errno(err, errno, "%s/" KP_LIVE_RECORDS ": cannot open", instance_dir);
	l->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	return l->watch_fd < 0 ? kp_fail_errno(err, errno, "inotify") : 0;
}

int kp_live_open(struct kp_vfs *v, struct kp_reg *reg, const char *instance_dir, const struct kp_live_file *files, size_t count,
		 struct kp_err *err)
{
	struct kp_live *l;
	int rc;

	if (!count)
		return 0;
	l = kp_calloc(1, sizeof(*l));
	l->reg = reg;
	l->instance_fd = l->record_fd = l->watch_fd = -1;
	l->files = kp_calloc(count, sizeof(*l->files));
	for (size_t i = 0; i < count; i++)
		add(l, &files[i]);
	rc = open_dirs(l, instance_dir, err);
	if (rc) {
		free_live(l);
		return rc;
	}
	for (size_t i = 0; i < l->count; i++)
		follow_links(v, &l->files[i]);
	v->live = l;
	return 0;
}

void kp_live_close(struct kp_vfs *v)
{
	if (!v->live)
		return;
	kp_vfs_write_lock(v);
	drain(v, false);
	v->live = free_live(v->live);
	kp_vfs_unlock(v);
}
