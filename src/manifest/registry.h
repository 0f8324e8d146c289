/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the registry in manifests and profiles. */
#ifndef KAPSEL_MANIFEST_REGISTRY_H
#define KAPSEL_MANIFEST_REGISTRY_H

#include "manifest/yaml.h"

struct kp_hive_tree;

/* One value, {key, name, type, data}; ctx: a struct kp_registry_value of zeros. */
int kp_read_registry_value(struct kp_yaml *y, const struct kp_at *at, void *ctx);
void kp_registry_value_free(struct kp_registry_value *v);
/* Is that a key's name? */
int kp_check_key(struct kp_yaml *y, const struct kp_at *at, const char *key);
/* The manifest's `registry`. */
int kp_read_registry(struct kp_yaml *y, const struct kp_at *at, void *ctx);
void kp_registry_free(struct kp_registry *r);

/* A value that was read is good: this adds it. */
void kp_registry_value_add(const struct kp_registry_value *v, struct kp_hive_tree *tree);

#endif
