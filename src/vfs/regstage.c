/* SPDX-License-Identifier: Apache-2.0 */
/* Values as real files while they are written or watched. A file whose time is CLEAN holds what the registry does. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/regtree_internal.h"
#include "vfs/tell.h"
#include "vfs/upper.h"

#define CLEAN 1 /* seconds since the epoch: nothing that is written has it */
#define VALUES_WATCHED 4096
#define WATCHES_KEPT 256
#define NOT_TAKEN "what was written is not taken into the registry: %s" /* the value stays as it was */

static const struct timespec clean_times[2] = {{.tv_sec = CLEAN}, {.tv_sec = CLEAN}};

static void notice(enum kp_reg_event what, const char *key, const char *name, void *ctx)
{
	struct kp_regtree *t = ctx;

	(void)what, (void)key, (void)name;
	kp_dircache_void(t->vfs);
	atomic_store(&t->changed, true);
}

struct kp_regtree *kp_regtree_new(struct kp_vfs *v, struct kp_reg *reg, const char *instance_dir)
{
	struct kp_regtree *t = kp_calloc(1, sizeof(*t));
	pthread_mutexattr_t recursive;

	(void)pthread_mutexattr_init(&recursive);
	(void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	(void)pthread_mutex_init(&t->lock, &recursive);
	(void)pthread_mutexattr_destroy(&recursive);
	t->reg = reg;
	t->vfs = v;
	t->dirs_fd = v->dirs_fd;
	t->fds_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	t->instance_dir = kp_strdup(instance_dir);
	kp_reg_on_change(reg, notice, t);
	return t;
}

int kp_regtree_fd(const struct kp_regtree *t)
{
	return t->inotify_fd;
}

/* --- one file --- */

bool kp_regtree_is_staged(struct kp_regtree *t, const char *guest, struct stat *ret_st)
{
	return atomic_load(&t->staged) && fstatat(t->dirs_fd, guest + 1, ret_st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret_st->st_mode) &&
	       ret_st->st_mtim.tv_sec != CLEAN;
}

static int render(struct kp_regtree *t, const struct kp_node *n, struct kp_buf *out)
{
	kp_autofree char *key = NULL, *name = NULL;
	struct kp_reg_value value;
	int rc = kp_regtree_value(t->reg, n, &key, &name);

	if (!rc)
		rc = kp_reg_get(t->reg, key, name, &value);
	if (rc)
		return rc == -ENODATA ? -ENOENT : rc;
	kp_reg_data_to_file(&value.d, out);
	kp_reg_value_free(&value);
	return 0;
}

/* The time of a clean file tells its content, so that looking after it is no more than a stat: opening it would be told to watchers. */
static struct timespec stamp_of(const struct kp_buf *text)
{
	uint64_t h = text->len;

	for (size_t i = 0; i < text->len; i++)
		h = kp_hash_add(h, (unsigned char)text->data[i]);
	return (struct timespec){CLEAN, (long)((h ^ h >> 29) % 999999999) + 1};
}

static bool holds(int dirs_fd, const char *rel, const struct kp_buf *text)
{
	kp_autoclose int fd = openat(dirs_fd, rel, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	kp_autofree char *old = kp_calloc(1, text->len + 1);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)text->len && !kp_pread_full(fd, old, text->len, 0) &&
	       !memcmp(old, text->data, text->len);
}

/* The file holds text from now on; nothing is written where it does already. sure: a stamp is not enough. */
static int fill(int dirs_fd, const char *rel, const struct kp_buf *text, bool sure)
{
	const struct timespec stamp = stamp_of(text), times[2] = {stamp, stamp};
	kp_autoclose int fd = -1;
	struct stat st;

	if (!sure && fstatat(dirs_fd, rel, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtim.tv_sec == CLEAN && st.st_mtim.tv_nsec == stamp.tv_nsec &&
	    st.st_size == (off_t)text->len)
		return 0;
	if (!holds(dirs_fd, rel, text)) {
		fd = openat(dirs_fd, rel, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)text->len) < 0 || pwrite(fd, text->data, text->len, 0) != (ssize_t)text->len)
			return -errno;
		return futimens(fd, times) < 0 ? -errno : 0;
	}
	return utimensat(dirs_fd, rel, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* The directory of a guest path, watched for files that are closed. */
static int watch_dir(struct kp_regtree *t, const char *guest, size_t len, bool all, struct kp_regwatch **ret)
{
	kp_autofree char *dir = kp_strndup(guest, len), *path = kp_asprintf("/proc/self/fd/%d%s", t->dirs_fd, dir);
	int rc = kp_mkdir_all(t->dirs_fd, dir + 1, 0700), wd;
	struct kp_regwatch *w;

	if (rc)
		return rc;
	wd = inotify_add_watch(t->inotify_fd, path, IN_CLOSE_WRITE | IN_ONLYDIR);
	if (wd < 0)
		return -errno;
	HASH_FIND_INT(t->watches, &wd, w);
	if (!w) {
		w = kp_calloc(1, sizeof(*w));
		*w = (struct kp_regwatch){.wd = wd, .guest = kp_take_ptr(dir)};
		HASH_ADD_INT(t->watches, wd, w);
	}
	w->all |= all;
	if (!atomic_exchange(&t->watching, true)) /* from now on, changes that others make are of interest at once */
		t->file_wd = inotify_add_watch(t->inotify_fd, t->instance_dir, IN_MODIFY | IN_ONLYDIR);
	*ret = w;
	return 0;
}

static void forget(struct kp_regtree *t, struct kp_regwatch *w)
{
	HASH_DEL(t->watches, w);
	free(w->guest);
	free(w);
}

/* What has become a value, and nobody writes or watches, goes again; so do watches of directories that hold none. */
static void tidy(struct kp_regtree *t, struct kp_regwatch *w, const char *guest)
{
	kp_autoclose int fd = openat(t->dirs_fd, guest + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct kp_regkept *kept;
	struct stat st;

	HASH_FIND_STR(t->kept, guest, kept);
	if (w->all || kept || (t->opening && !strcmp(t->opening, guest)) || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_mtim.tv_sec != CLEAN || kp_has_writer(fd) ||
	    unlinkat(t->dirs_fd, guest + 1, 0) < 0)
		return;
	if (w->files && !--w->files && HASH_COUNT(t->watches) > WATCHES_KEPT) {
		(void)inotify_rm_watch(t->inotify_fd, w->wd); /* its last event is of no watch that is known */
		forget(t, w);
	}
}

static int stage(struct kp_regtree *t, const struct kp_node *n)
{
	struct kp_buf kp_autobuf text = {0};
	struct kp_regwatch *w;
	struct stat st;
	bool there;
	int rc;

	if (kp_regtree_is_staged(t, n->guest.s, &st))
		return 0;
	rc = render(t, n, &text);
	if (!rc)
		rc = watch_dir(t, n->guest.s, (size_t)(strrchr(n->guest.s, '/') - n->guest.s), false, &w);
	if (rc)
		return rc;
	there = fstatat(t->dirs_fd, n->guest.s + 1, &st, AT_SYMLINK_NOFOLLOW) == 0;
	rc = fill(t->dirs_fd, n->guest.s + 1, &text, true);
	w->files += !rc && !there;
	if (!rc)
		atomic_store(&t->staged, 1);
	return rc;
}

static void keep(struct kp_regtree *t, const char *guest)
{
	struct kp_regkept *k;

	HASH_FIND_STR(t->kept, guest, k);
	if (k)
		return;
	k = kp_calloc(1, sizeof(*k));
	k->guest = kp_strdup(guest);
	HASH_ADD_KEYPTR(hh, t->kept, k->guest, strlen(k->guest), k);
}

int kp_regtree_real(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret)
{
	struct kp_regtree *t = v->registry;
	int rc;

	if (S_ISDIR(n->mode))
		return kp_standin(v, n, ret);
	pthread_mutex_lock(&t->lock);
	rc = stage(t, n);
	if (!rc)
		keep(t, n->guest.s);
	pthread_mutex_unlock(&t->lock);
	return rc ? rc : kp_path_join(ret->s, sizeof(ret->s), v->dirs.s, n->guest.s);
}

int kp_regtree_snapshot(const struct kp_regtree *t, const struct kp_node *n, const struct kp_buf *text)
{
	char name[64 + PATH_MAX], number[16];
	kp_autoclose int fd = -1;
	int ret;

	(void)snprintf(name, sizeof(name), "%s%s", KP_MEMFD_UPPER, n->guest.s);
	name[KP_MIN(strlen(name), (size_t)240)] = '\0';
	fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0 || (text->len && pwrite(fd, text->data, text->len, 0) != (ssize_t)text->len))
		return fd < 0 ? -errno : -ENOSPC;
	(void)snprintf(number, sizeof(number), "%d", fd);
	ret = openat(t->fds_fd, number, O_RDONLY | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

static int snapshot(struct kp_vfs *v, const struct kp_node *n, int *ret_fd)
{
	struct kp_buf kp_autobuf text = {0};
	int rc = kp_regtree_take_seen(n->guest.s, &text) ? 0 : render(v->registry, n, &text);
	int fd = rc ? rc : kp_regtree_snapshot(v->registry, n, &text);

	if (fd >= 0)
		*ret_fd = fd;
	return KP_MIN(fd, 0);
}

int kp_regtree_open(struct kp_vfs *v, const struct kp_node *n, int flags, int *ret_fd)
{
	struct kp_regtree *t = v->registry;
	struct stat st;
	int rc = 0, fd;

	if (S_ISDIR(n->mode)) {
		struct kp_hpath host;

		rc = kp_standin(v, n, &host);
		fd = rc ? -1 : kp_open_exact(AT_FDCWD, host.s, flags | O_CLOEXEC, 0);
		if (!rc && fd < 0)
			rc = -errno;
		if (!rc)
			*ret_fd = fd;
		return rc;
	}
	if (!(flags & (O_WRONLY | O_RDWR | O_TRUNC | O_PATH)) && !kp_regtree_is_staged(t, n->guest.s, &st))
		return snapshot(v, n, ret_fd);
	if ((n->mode & 0222) == 0 && flags & (O_WRONLY | O_RDWR | O_TRUNC))
		return -EACCES; /* policy, also for root */
	pthread_mutex_lock(&t->lock);
	t->opening = n->guest.s;
	rc = stage(t, n);
	if (!rc)
		kp_regtree_drain(t); /* of our own writing; the guest's is to be heard of when it closes the file */
	fd = rc ? -1 : kp_open_exact(v->dirs_fd, n->guest.s + 1, (flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC, 0);
	if (!rc && fd < 0)
		rc = -errno;
	t->opening = NULL;
	pthread_mutex_unlock(&t->lock);
	if (!rc)
		*ret_fd = fd;
	return rc;
}

void kp_regtree_unstage(struct kp_regtree *t, const char *guest)
{
	if (atomic_load(&t->staged))
		(void)unlinkat(t->dirs_fd, guest + 1, 0);
}

void kp_regtree_restage(struct kp_regtree *t, const char *from, const char *to)
{
	if (atomic_load(&t->staged) && renameat(t->dirs_fd, from + 1, t->dirs_fd, to + 1) < 0)
		(void)unlinkat(t->dirs_fd, from + 1, 0);
}

/* --- files become values --- */

static int commit(struct kp_reg *reg, int dirs_fd, const char *guest)
{
	kp_autoclose int fd = -1;
	kp_autofree char *key = NULL, *bytes = NULL, *name = NULL;
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_data d = {.type = KP_REG_SZ};
	struct kp_reg_value old;
	struct kp_reg_txn *txn;
	char proc[32];
	const char *last = strrchr(guest, '/');
	struct stat st;
	bool value;
	size_t len;
	int rc;

	if (fstatat(dirs_fd, guest + 1, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_mtim.tv_sec == CLEAN)
		return 0;
	fd = openat(dirs_fd, guest + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* The mark first: who writes on from here is heard of again. */
	(void)futimens(fd, clean_times);
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	rc = kp_read_file(AT_FDCWD, proc, 2 * (size_t)KP_REG_DATA, &bytes, &len);
	if (!rc)
		rc = kp_regtree_key(reg, guest, (size_t)(last - guest), &key);
	if (!rc)
		rc = kp_regtree_name(reg, key, last + 1, strlen(last + 1), &name, &value);
	if (rc)
		return rc;
	if (!kp_reg_get(reg, key, name, &old)) {
		d.type = old.d.type;
		kp_reg_value_free(&old);
	}
	kp_reg_data_from_file(d.type, bytes, len, &d.type, &data);
	d.data = data.data;
	d.len = data.len;
	rc = kp_reg_begin(reg, &txn);
	if (rc)
		return rc;
	rc = kp_reg_set(txn, key, name, &d);
	if (!rc)
		return kp_reg_commit(txn);
	kp_reg_abort(txn);
	return rc;
}

static const char *why(int rc)
{
	return rc == -EFBIG ? "it is longer than 16 MiB" : rc == -EACCES ? "policy sets it" : rc == -EAGAIN ? "another program keeps it locked" : strerror(-rc);
}

/* --- what is watched follows the registry --- */

struct looking {
	struct kp_regtree *t;
	const char *guest;
	struct kp_strings names; /* of values */
	size_t count;
};

static int follow_value(const struct kp_reg_value *value, void *ctx)
{
	struct looking *l = ctx;
	struct kp_buf kp_autobuf text = {0};
	char out[NAME_MAX + 1];
	kp_autofree char *path = NULL;
	struct stat st;

	if (l->count++ >= VALUES_WATCHED)
		return 0;
	kp_regtree_encode(value->name, true, false, out);
	kp_strings_add(&l->names, out);
	path = kp_asprintf("%s/%s", l->guest, out);
	if (kp_regtree_is_staged(l->t, path, &st))
		return 0;
	kp_reg_data_to_file(&value->d, &text);
	if (!fill(l->t->dirs_fd, path + 1, &text, false))
		atomic_store(&l->t->staged, 1);
	return 0;
}

static int follow_key(const char *name, void *ctx)
{
	struct looking *l = ctx;
	char out[NAME_MAX + 1];
	kp_autofree char *path = NULL;

	kp_regtree_encode(name, false, false, out);
	path = kp_asprintf("%s/%s", l->guest, out);
	kp_strings_add(&l->names, out);
	(void)mkdirat(l->t->dirs_fd, path + 1, 0700);
	return 0;
}

static void drop_gone(struct looking *l)
{
	kp_autoclose int fd = openat(l->t->dirs_fd, l->guest + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	int count = fd < 0 ? 0 : scandirat(fd, ".", &names, NULL, NULL);

	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		bool dots = !strcmp(name, ".") || !strcmp(name, "..");

		if (!dots && !kp_strings_have(&l->names, name) && unlinkat(fd, name, 0) < 0)
			(void)unlinkat(fd, name, AT_REMOVEDIR);
		free(names[i]);
	}
	free(names);
}

static void follow(struct kp_regtree *t, const char *guest)
{
	struct looking l = {.t = t, .guest = guest};
	kp_autofree char *key = NULL;

	if (kp_regtree_key(t->reg, guest, strlen(guest), &key))
		return;
	if (!kp_reg_each_value(t->reg, key, follow_value, &l) && !kp_reg_each_subkey(t->reg, key, follow_key, &l) && l.count < VALUES_WATCHED)
		drop_gone(&l);
	kp_strings_free(&l.names);
}

int kp_regtree_watch(struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_regtree *t = v->registry;
	struct kp_regwatch *w;
	int rc = 0;

	if (!S_ISDIR(n->mode))
		return 0;
	pthread_mutex_lock(&t->lock);
	rc = watch_dir(t, n->guest.s, strlen(n->guest.s), true, &w);
	if (!rc)
		follow(t, n->guest.s);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* --- the queue --- */

static void take_event(struct kp_regtree *t, const struct inotify_event *e)
{
	kp_autofree char *guest = NULL;
	struct kp_regwatch *w;
	int rc;

	if (e->wd == t->file_wd)
		return; /* the look at the registry that follows tells what it was */
	HASH_FIND_INT(t->watches, &e->wd, w);
	if (w && e->mask & IN_IGNORED) { /* its directory is gone */
		forget(t, w);
	} else if (w && e->mask & IN_CLOSE_WRITE && e->len) {
		guest = kp_asprintf("%s/%s", w->guest, e->name);
		rc = commit(t->reg, t->dirs_fd, guest);
		if (rc)
			kp_vfs_tell(t->vfs, "%s: " NOT_TAKEN, guest, why(rc));
		tidy(t, w, guest);
	}
}

void kp_regtree_drain(struct kp_regtree *t)
{
	char buf[16384] __attribute__((aligned(8)));
	ssize_t n;

	if (!t || !atomic_load(&t->watching)) /* no file is written or watched */
		return;
	pthread_mutex_lock(&t->lock);
	while ((n = read(t->inotify_fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			take_event(t, e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	(void)kp_reg_generation(t->reg); /* says so where others have changed it */
	if (atomic_exchange(&t->changed, false))
		for (struct kp_regwatch *w = t->watches; w; w = w->hh.next)
			if (w->all)
				follow(t, w->guest);
	pthread_mutex_unlock(&t->lock);
}

/* All files below that have been written. */
static void commit_all(struct kp_reg *reg, int dirs_fd, const char *guest, int depth, struct kp_strings *failed)
{
	kp_autoclose int fd = openat(dirs_fd, guest + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent **names = NULL;
	int count = fd < 0 || depth > (int)KP_REG_DEPTH ? 0 : scandirat(fd, ".", &names, NULL, NULL);

	for (int i = 0; i < count; i++) {
		kp_autofree char *path = kp_asprintf("%s/%s", guest, names[i]->d_name);

		if (names[i]->d_type == DT_REG) {
			int rc = commit(reg, dirs_fd, path);
			kp_autofree char *line = rc ? kp_asprintf("%s: " NOT_TAKEN, path, why(rc)) : NULL;

			if (line)
				kp_strings_add(failed, line);
		} else if (names[i]->d_type == DT_DIR && strcmp(names[i]->d_name, ".") && strcmp(names[i]->d_name, "..")) {
			commit_all(reg, dirs_fd, path, depth + 1, failed);
		}
		free(names[i]);
	}
	free(names);
}

void kp_regtree_recover(const char *dirs, struct kp_reg *reg, struct kp_strings *failed)
{
	kp_autoclose int fd = open(dirs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		commit_all(reg, fd, KP_REGTREE, 0, failed);
}

struct kp_regtree *kp_regtree_free(struct kp_regtree *t)
{
	struct kp_strings kp_autostrings failed = {0};
	struct kp_regwatch *w, *next_watch;
	struct kp_regkept *k, *next_kept;

	if (!t)
		return NULL;
	if (atomic_load(&t->staged))
		commit_all(t->reg, t->dirs_fd, KP_REGTREE, 0, &failed);
	for (size_t i = 0; i < failed.count; i++)
		kp_vfs_tell(t->vfs, "%s", failed.items[i]);
	HASH_ITER (hh, t->watches, w, next_watch)
		forget(t, w);
	HASH_ITER (hh, t->kept, k, next_kept) {
		HASH_DEL(t->kept, k);
		free(k->guest);
		free(k);
	}
	free(t->instance_dir);
	kp_close(t->inotify_fd);
	kp_close(t->fds_fd);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}
