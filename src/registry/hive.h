/* SPDX-License-Identifier: Apache-2.0 */
/* Reading one hive in place: nothing of it is trusted, everything is checked where it is used. */
#ifndef KAPSEL_REGISTRY_HIVE_H
#define KAPSEL_REGISTRY_HIVE_H

#include "registry/registry.h"

struct kp_hive {
	const struct kp_image *image; /* or: */
	const char *mem;              /* aligned to 8 */
	uint64_t len;
	struct kp_disk_hive head;
};

struct kp_hive_key {
	const char *name, *fold; /* NUL-terminated; live as long as the hive */
	size_t name_len, fold_len;
	unsigned flags;
	uint32_t first_key, key_count, first_value, value_count;
};

struct kp_hive_value {
	const char *name, *fold;
	size_t name_len, fold_len;
	unsigned flags;
	struct kp_reg_data d;
};

/* -ENOENT: the image has no hive; -EIO: damaged. */
int kp_hive_open(const struct kp_image *image, struct kp_hive *ret);
int kp_hive_open_memory(const void *mem, size_t len, struct kp_hive *ret);
/* 0 or -EIO. The root is key 0. */
int kp_hive_key(const struct kp_hive *h, uint32_t id, struct kp_hive_key *ret);
int kp_hive_value(const struct kp_hive *h, uint32_t at, struct kp_hive_value *ret); /* the data is loaded, too */
/* Among the keys, or values, of k: *ret_id, -ENOENT, -EIO. Binary search. */
int kp_hive_find_key(const struct kp_hive *h, uint32_t id, const char *fold, size_t fold_len, uint32_t *ret_id);
int kp_hive_find_value(const struct kp_hive *h, uint32_t id, const char *fold, size_t fold_len, uint32_t *ret_at);

#endif
