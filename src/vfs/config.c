/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image calls configuration: paths and keys of which the instance is copied before the first change in a run. The change is put off
 * as in ahead.c: nothing is locked while the copy is made, and the call is tried again after it.
 */
#include "kapsel/registry.h"
#include "vfs/change.h"
#include "vfs/regtree_internal.h"
#include "vfs/upper.h"

/* The tag that this thread's call is about to change. */
static _Thread_local const char *about;

static const char *tag_of_path(const struct kp_config *c, const char *guest, bool whole)
{
	for (size_t i = 0; i < c->tags->count; i++) {
		const char *tag = c->tags->items[i];

		if (tag[0] == '/' && (kp_path_below(guest, tag) || (whole && kp_path_below(tag, guest))))
			return tag;
	}
	return NULL;
}

static const char *tag_of_key(const struct kp_config *c, const struct kp_node *n)
{
	kp_autofree char *key = NULL;
	const char *last = strrchr(n->guest.s, '/');
	size_t len = n->origin != KP_ABSENT && S_ISDIR(n->mode) ? strlen(n->guest.s) : (size_t)(last - n->guest.s);

	if (kp_regtree_key(n->guest.s, len, &key))
		return NULL;
	for (size_t i = 0; i < c->tags->count; i++)
		if (c->tags->items[i][0] != '/' && kp_reg_key_within(key, c->tags->items[i]))
			return c->tags->items[i];
	return NULL;
}

int kp_config_touch(struct kp_vfs *v, const struct kp_node *n, bool whole)
{
	if (!atomic_load(&v->config.armed) || !kp_ahead_may())
		return 0;
	if (n->origin == KP_REG || n->parent.reg)
		about = tag_of_key(&v->config, n);
	else if (n->origin != KP_PROC && n->origin != KP_MAGIC && !n->self.bind && !n->through && !kp_node_on_host(n))
		about = tag_of_path(&v->config, n->guest.s, whole);
	return about ? -KP_EDEFER : 0;
}

bool kp_config_settle(struct kp_vfs *v)
{
	struct kp_config *c = &v->config;

	if (!about)
		return false;
	kp_going_slow();
	pthread_mutex_lock(&c->lock); /* one makes it, others that are about to change something wait */
	if (atomic_load(&c->armed))
		c->first(c->ctx, about);
	atomic_store(&c->armed, false);
	pthread_mutex_unlock(&c->lock);
	about = NULL;
	return true;
}

void kp_vfs_watch_config(struct kp_vfs *v, const struct kp_strings *tags, kp_config_fn *first, void *ctx)
{
	v->config.tags = tags;
	v->config.first = first;
	v->config.ctx = ctx;
	atomic_store(&v->config.armed, tags->count > 0);
}
