/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance changed in the registry. */
#ifndef KAPSEL_CHANGES_REGISTRY_H
#define KAPSEL_CHANGES_REGISTRY_H

#include "changes/changes.h"
#include "registry/registry.h"

struct kp_registry_change {
	enum kp_change_kind kind; /* a key that was deleted and made anew is DELETED, and what is in it ADDED */
	const char *key, *name;   /* name NULL: the key */
	const struct kp_reg_data *was, *now; /* NULL: none */
};

/* own: the instance's file; lower: the registry of the layers without it. fn is called for each, for the call's time. */
int kp_changes_registry(const char *own, struct kp_reg *lower, int (*fn)(const struct kp_registry_change *c, void *ctx), void *ctx, struct kp_err *err);
int kp_changes_registry_count(const char *own, struct kp_reg *lower, size_t *ret, struct kp_err *err);
/* All of them go, in one step. */
int kp_changes_registry_discard(const char *own, struct kp_err *err);
/* All that a registry has, as the hive of an image; nothing in out: it is empty. */
int kp_changes_registry_bake(struct kp_reg *whole, struct kp_buf *out, struct kp_err *err);

#endif
