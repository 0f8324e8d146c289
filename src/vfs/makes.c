/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories in which guests make files themselves (docs/FAST.md): those of the instance in which no layer below has a name, so that nothing has to be
 * looked up, hidden or brought up. Nobody is told of such a file: what is absent there is asked of the kernel each time, by us and by the stub.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/fast.h"
#include "vfs/fastcache.h"
#include "vfs/live.h"
#include "vfs/makes.h"

/* A tree that a kill has left is that of before a guest's call or behind it: nothing is made once calls are answered by nobody. */
static bool hold_alive(struct kp_fast *mem)
{
	pthread_mutex_t *alive = (void *)mem->alive;
	pthread_mutexattr_t attr;
	bool held;

	_Static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0 && offsetof(pthread_mutex_t, __data.__list) == sizeof(mem->alive),
		       "the stub looks at the first word, and nobody sees addresses of ours");
	pthread_mutexattr_init(&attr);
	held = !pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) && !pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) &&
	       !pthread_mutex_init(alive, &attr) && !pthread_mutex_lock(alive);
	pthread_mutexattr_destroy(&attr);
	return held;
}

/* All below inherits it, and the kernel then asks no umask: what is made has another mode than the guest's, and may be anybody's to read. */
static bool has_default_acl(const struct kp_vfs *v)
{
	return getxattr(v->upper.s, "system.posix_acl_default", NULL, 0) >= 0 || (errno != ENODATA && errno != EOPNOTSUPP);
}

void kp_makes_open(struct kp_vfs *v)
{
	if (v->fast && !has_default_acl(v) && hold_alive(v->fast->mem))
		__atomic_store_n(&v->fast->mem->makes, 1, __ATOMIC_SEQ_CST);
}

void kp_makes_end(struct kp_fast *mem)
{
	if (!mem->alive[0])
		return;
	mem->makes = 0;
	(void)pthread_mutex_unlock((void *)mem->alive); /* else this thread's list of such would lead to memory that is gone */
}

static void close_makes(struct kp_vfs *v)
{
	if (v->fast)
		__atomic_store_n(&v->fast->mem->makes, 0, __ATOMIC_SEQ_CST);
}

bool kp_makes_are_open(const struct kp_vfs *v)
{
	return v->fast && __atomic_load_n(&v->fast->mem->makes, __ATOMIC_SEQ_CST);
}

void kp_makes_for_umask(struct kp_vfs *v, mode_t mask)
{
	if (mask & KP_GATE_MAKE_OWNER)
		close_makes(v);
}

int kp_makes_adopt(struct kp_vfs *v, const struct kp_node *n)
{
	if (!kp_makes_are_open(v) || !S_ISREG(n->st.st_mode) || (n->st.st_mode & KP_GATE_MAKE_OWNER) == KP_GATE_MAKE_OWNER)
		return 0;
	close_makes(v);
	return fchmodat(v->upper_fd, n->guest.s + 1, (n->st.st_mode & 07777) | KP_GATE_MAKE_OWNER, 0) < 0 ? -errno : 0;
}

static void count_name(const char *name, mode_t mode, ino_t ino, void *ctx)
{
	(void)name;
	(void)mode;
	(void)ino;
	(*(size_t *)ctx)++;
}

bool kp_makes_alone(const struct kp_vfs *v, const struct kp_dir *d, const char *guest)
{
	struct kp_gpath buf;
	struct kp_entry e;
	size_t names = 0;

	if (d->proc || d->reg || d->bind || d->host || (d->rule && d->rule->mode != KP_MODE_FULL))
		return false;
	for (size_t i = 0; i < v->layer_count && !names; i++)
		if (d->entry[i] != KP_NO_ENTRY)
			names += kp_image_entry(v->layers[i].image, d->entry[i], &e) ? 1 : e.child_count;
	if (!names && d->base)
		kp_base_each(v, kp_lower_path(d, guest, &buf), count_name, &names);
	return !names;
}

bool kp_makes_alone_above(const struct kp_vfs *v, const struct kp_node *n)
{
	struct kp_gpath up;

	kp_gpath_parent(&n->guest, &up);
	return kp_makes_alone(v, &n->parent, up.s);
}

/* A name in it, or below it, that means something else: a bind, where another mode begins, a projected file. */
static bool has_other_below(const struct kp_vfs *v, const char *guest)
{
	for (size_t i = 0; i < v->bind_count; i++)
		if (kp_path_below(v->binds[i].guest, guest))
			return true;
	for (size_t i = 0; i < v->rule_count; i++)
		if (kp_path_below(v->rules[i].guest, guest) && (v->rules[i].dots || strcmp(v->rules[i].guest, guest) != 0))
			return true;
	return kp_live_below(v, guest);
}

/* May guests make files there, whom the kernel and what a mode or an owner needs a record for would not hinder? */
static bool may_make(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred)
{
	return kp_makes_are_open(v) && !((n->mode | n->st.st_mode) & S_ISGID) && cred->uid == v->uid && cred->gid == v->gid &&
	       !atomic_load(&v->config.armed) && !kp_node_permit(v, n, cred, W_OK);
}

uint8_t kp_makes_bits(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred)
{
	if (n->origin != KP_UPPER || !n->self.upper || v->upper_noexec || !kp_makes_alone(v, &n->self, n->guest.s) || has_other_below(v, n->guest.s) ||
	    kp_node_permit(v, n, cred, X_OK))
		return 0;
	return KP_FAST_ALONE | (may_make(v, n, cred) ? KP_FAST_MAKE : 0);
}

int kp_makes_settle(struct kp_vfs *v, const struct kp_node *n, const char *host)
{
	size_t len = strlen(v->upper.s);

	if (n->origin != KP_UPPER) {
		kp_fast_unchanged(v);
		return 0;
	}
	kp_fast_changes_file(v, n);
	if (!n->lower || !S_ISREG(n->mode) || kp_may_have_record(n->st.st_mode) || n->st.st_size || n->st.st_nlink != 1 ||
	    strncmp(host, v->upper.s, len) != 0 || strcmp(host + len, n->guest.s) != 0)
		return 0;
	return unlinkat(v->upper_fd, n->guest.s + 1, 0) < 0 ? 0 : -EAGAIN;
}

int kp_makes_rename(struct kp_vfs *v, int from_fd, const char *from, const struct kp_node *to, unsigned flags)
{
	/* Not every file system knows it: where it does not matter it is not asked for. */
	if (!kp_makes_are_open(v) || to->origin != KP_ABSENT || to->whiteout)
		flags &= ~(unsigned)RENAME_NOREPLACE;
	return renameat2(from_fd, from, v->upper_fd, to->guest.s + 1, flags) < 0 ? -errno : 0;
}

/* Whiteouts lie only where a layer below has names, so in no directory that guests make files in. */
bool kp_makes_hold(const struct kp_vfs *v, int dirfd, const char *dir)
{
	int fd = kp_makes_are_open(v) ? openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	bool any = false;
	struct stat st;

	while (d && !any && (e = readdir(d)))
		any = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		      (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !kp_is_whiteout(&st));
	if (d)
		(void)closedir(d);
	else
		(void)kp_close(fd);
	return any;
}

static int exchange(struct kp_vfs *v, const char *work, const struct kp_node *n)
{
	return renameat2(v->work_fd, work, v->upper_fd, n->guest.s + 1, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

int kp_makes_replace(struct kp_vfs *v, const char *work, const struct kp_node *n)
{
	int rc = exchange(v, work, n);

	/* Not seen to be empty and removed then: who was on his way into it makes his file in between. */
	if (rc || unlinkat(v->work_fd, work, AT_REMOVEDIR) == 0)
		return rc;
	if (!kp_makes_hold(v, v->work_fd, work)) {
		(void)kp_remove_tree(v->work_fd, work);
		return 0;
	}
	rc = exchange(v, work, n);
	return rc ? rc : -ENOTEMPTY;
}
