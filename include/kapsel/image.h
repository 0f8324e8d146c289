/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image on disk: what stands around and behind the squashfs. docs/FORMAT.md is the description;
 * these structs are what both programs compile. All numbers are little-endian.
 *
 *   [launcher][zeros][head][squashfs][zeros][records][strings][hive][chunk digests][manifest][trailer]
 */
#ifndef KAPSEL_IMAGE_FORMAT_H
#define KAPSEL_IMAGE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are read in place: a big-endian host needs conversions in src/image"
#endif

#define KP_IMAGE_VERSION 1U
#define KP_IMAGE_ALIGN 4096U         /* squashfs and index start on such a boundary */
#define KP_TRAILER_MAGIC "kapsel image\r\n\x1a\n"
#define KP_HEAD_MAGIC "kapsel head \r\n\x1a\n"
#define KP_MAGIC_LEN 16U
#define KP_INDEX_CHUNK 16384U        /* the index is checked in pieces of this size */
#define KP_NAME_LIMIT 255U
#define KP_TARGET_LIMIT 4095U
#define KP_PATH_LIMIT 4095U
#define KP_MANIFEST_LIMIT (16U << 20)
#define KP_FILE_LIMIT (1ULL << 40)   /* bytes in one file */
#define KP_FORMAT_DIGEST 32U         /* BLAKE2b-256 */

/* The last bytes before the squashfs: says how long the file should be when its end is lost. */
struct kp_disk_head {
	uint8_t magic[KP_MAGIC_LEN];
	uint32_t version;
	uint32_t reserved0;
	uint64_t total_size;
	uint64_t squashfs_off;
	uint8_t reserved[24];
};

/* The last bytes of the file. */
struct kp_disk_trailer {
	uint8_t magic[KP_MAGIC_LEN];
	uint32_t version;
	uint32_t trailer_size;
	uint64_t total_size;
	uint64_t launcher_len;
	uint64_t squashfs_off, squashfs_len;
	uint64_t index_off, index_len; /* records, strings, hive */
	uint32_t count, record_size;
	uint32_t chunk_size, chunk_count;
	uint64_t chunks_off; /* chunk_count digests, one a chunk of the index */
	uint64_t manifest_off, manifest_len;
	uint64_t hive_off, hive_len; /* the registry's part of the index (kapsel/hive.h), up to its end; 0, 0: none */
	uint8_t payload_digest[KP_FORMAT_DIGEST];  /* of all bytes before index_off */
	uint8_t index_digest[KP_FORMAT_DIGEST];    /* of the chunk digests */
	uint8_t manifest_digest[KP_FORMAT_DIGEST];
	uint8_t self_digest[KP_FORMAT_DIGEST];     /* of the trailer up to here */
};

/* One entry. Ids are breadth-first: the root is 0, the children of a directory are consecutive. */
struct kp_disk_record {
	uint32_t name_off; /* in the strings; NUL-terminated there */
	uint16_t name_len;
	uint16_t mode;
	uint32_t parent;
	uint32_t nlink;
	uint32_t ino;
	uint32_t first; /* directories: first child; symlinks: offset of the target in the strings */
	uint32_t count; /* directories: children; else 0 */
	uint32_t reserved;
	uint64_t size;
	int64_t mtime;
	uint64_t inode_ref; /* of the squashfs inode, relative to the inode table, as squashfs writes it */
	uint8_t digest[KP_FORMAT_DIGEST];
};

static_assert(sizeof(struct kp_disk_head) == 64, "head layout");
static_assert(offsetof(struct kp_disk_head, total_size) == 24, "head layout");
static_assert(sizeof(struct kp_disk_trailer) == 256, "trailer layout");
static_assert(offsetof(struct kp_disk_trailer, index_off) == 56, "trailer layout");
static_assert(offsetof(struct kp_disk_trailer, manifest_off) == 96, "trailer layout");
static_assert(offsetof(struct kp_disk_trailer, hive_off) == 112, "trailer layout");
static_assert(offsetof(struct kp_disk_trailer, payload_digest) == 128, "trailer layout");
static_assert(offsetof(struct kp_disk_trailer, self_digest) == 224, "trailer layout");
static_assert(sizeof(struct kp_disk_record) == 88, "record layout");
static_assert(offsetof(struct kp_disk_record, size) == 32, "record layout");
static_assert(offsetof(struct kp_disk_record, digest) == 56, "record layout");

#endif
