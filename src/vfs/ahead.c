/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Big files are unpacked and copied before the lock is taken, so that other guests go on meanwhile: a change that meets one under the lock
 * ends with -KP_EDEFER and notes which it was, kp_vfs_again() brings the content into work/, and the change is tried again from its
 * beginning. It takes that copy only if the name still leads to the very same file.
 */
#include <fcntl.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

#define BIG (1 << 20)
#define TRIES 3

struct ahead { /* of one thread's call */
	bool may;     /* the caller tries again */
	bool ready;   /* temp holds the content (or, without copy, the store has it) */
	bool copy;
	unsigned tries;
	enum kp_origin origin;
	size_t layer;
	uint32_t entry;
	struct kp_hpath host;
	struct stat st;
	struct kp_temp temp;
};

static _Thread_local struct ahead *ahead;

static bool same_version(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool is_for(const struct ahead *a, const struct kp_node *n, bool copy)
{
	if (!a->ready || a->copy != copy || a->origin != n->origin)
		return false;
	return n->origin == KP_IMAGE ? a->layer == n->layer && a->entry == n->entry : same_version(&a->st, &n->st);
}

static bool is_big(struct kp_vfs *v, const struct kp_node *n, bool copy)
{
	struct kp_hpath unpacked;
	struct kp_entry e;

	if (n->origin == KP_HOST)
		return n->st.st_size >= BIG;
	if (n->origin != KP_IMAGE || kp_image_entry(v->layers[n->layer].image, n->entry, &e) || e.size < BIG)
		return false;
	/* What is unpacked already only has to be opened. */
	return copy || kp_node_host_path(v, n, &unpacked) || access(unpacked.s, F_OK) < 0;
}

int kp_ahead_take(struct kp_vfs *v, const struct kp_node *n, bool copy, struct kp_temp *ret)
{
	struct ahead *a = ahead;

	if (!a || !a->may || !S_ISREG(n->mode))
		return 0;
	if (is_for(a, n, copy)) {
		a->ready = false;
		if (copy)
			*ret = a->temp;
		return copy;
	}
	if (a->tries >= TRIES || !is_big(v, n, copy))
		return 0;
	if (a->ready && a->copy)
		(void)unlinkat(v->work_fd, a->temp.name, 0);
	a->ready = false;
	a->copy = copy;
	a->origin = n->origin;
	a->layer = n->layer;
	a->entry = n->entry;
	if (n->origin == KP_HOST) {
		a->host = n->host;
		a->st = n->st;
	}
	return -KP_EDEFER;
}

static int open_source(struct kp_vfs *v, const struct ahead *a)
{
	kp_autoclose int fd = -1;
	struct stat st;

	if (a->origin == KP_IMAGE)
		return kp_store_open_entry(v->layers[a->layer].store, a->entry, O_RDONLY | O_CLOEXEC);
	fd = kp_open_exact(AT_FDCWD, a->host.s, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return same_version(&st, &a->st) ? kp_take_fd(&fd) : -ESTALE;
}

static int bring(struct kp_vfs *v, struct ahead *a)
{
	kp_autoclose int in = open_source(v, a), out = -1;
	struct stat st;
	int rc;

	if (in < 0 || !a->copy)
		return in < 0 ? in : 0;
	a->temp = kp_temp_name(v);
	out = openat(v->work_fd, a->temp.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	rc = kp_copy_data(in, out, UINT64_MAX);
	/* Who writes to it meanwhile: then it is copied anew, with what he wrote. */
	if (!rc && a->origin == KP_HOST && (fstat(in, &st) < 0 || !same_version(&st, &a->st)))
		rc = -ESTALE;
	if (rc)
		(void)unlinkat(v->work_fd, a->temp.name, 0);
	return rc;
}

bool kp_ahead_may(void)
{
	return ahead && ahead->may;
}

void kp_vfs_may_defer(void)
{
	if (!ahead)
		ahead = kp_calloc(1, sizeof(*ahead));
	ahead->may = true;
	ahead->ready = false;
	ahead->tries = 0;
}

bool kp_vfs_again(struct kp_vfs *v, int rc)
{
	struct ahead *a = ahead;

	if (rc != -KP_EDEFER) {
		if (a->ready && a->copy) /* it was for nothing: another was faster, or the call failed */
			(void)unlinkat(v->work_fd, a->temp.name, 0);
		a->ready = a->may = false;
		return false;
	}
	if (kp_config_settle(v))
		return true;
	kp_going_slow();
	a->tries++;
	a->ready = !bring(v, a);
	if (!a->ready) /* what is wrong will be said when it is done in its place */
		a->tries = TRIES;
	return true;
}
