/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registry hive as an image holds it, behind the strings of its index (docs/FORMAT.md). All numbers are little-endian, all offsets count
 * from the hive's start, which is aligned to 8.
 *
 *   [head][keys][values][strings][data]
 */
#ifndef KAPSEL_HIVE_FORMAT_H
#define KAPSEL_HIVE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define KP_HIVE_MAGIC 0x6576696862706bULL /* "kpbhive" */
#define KP_HIVE_VERSION 2U

struct kp_disk_hive {
	uint64_t magic;
	uint32_t version, reserved;
	uint32_t key_count, value_count;
	uint64_t strings_off, strings_len;
	uint64_t data_off, data_len; /* to the hive's end */
	uint8_t reserved2[8];
};

enum kp_disk_hive_flags {
	KP_HIVE_DELETED = 1 << 0, /* a key that hides the one below; it has nothing in it */
	KP_HIVE_OPAQUE = 1 << 1,  /* a key that hides what lower images and layers have in theirs */
	KP_HIVE_FAINT = 1 << 2,   /* a key that is here for what it hides further down only: it does not exist by this */
};

/* Keys are numbered breadth-first: 0 is the root, whose keys are the hives. Those of one key are consecutive and in order. */
struct kp_disk_hkey {
	uint32_t name_off, fold_off; /* in the strings, NUL-terminated there */
	uint16_t name_len, fold_len;
	uint32_t parent;
	uint32_t first_key, key_count;
	uint32_t first_value, value_count;
	uint32_t flags;
	uint32_t reserved;
};

struct kp_disk_hvalue {
	uint32_t name_off, fold_off;
	uint16_t name_len, fold_len;
	uint32_t type;
	uint32_t data_off; /* in the data */
	uint32_t data_len; /* or KP_HIVE_VALUE_DELETED */
};
#define KP_HIVE_VALUE_DELETED UINT32_MAX /* hides the value below; it has no data */

static_assert(sizeof(struct kp_disk_hive) == 64, "hive layout");
static_assert(offsetof(struct kp_disk_hive, strings_off) == 24, "hive layout");
static_assert(sizeof(struct kp_disk_hkey) == 40, "hive layout");
static_assert(offsetof(struct kp_disk_hkey, first_key) == 16, "hive layout");
static_assert(sizeof(struct kp_disk_hvalue) == 24, "hive layout");
static_assert(offsetof(struct kp_disk_hvalue, data_off) == 16, "hive layout");

#endif
