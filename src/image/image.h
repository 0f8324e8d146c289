/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packed image, opened for reading. The index is used in place and comes in by pieces of 16 KiB on
 * first touch, each checked against its digest: opening costs the same for ten files and for a million, and
 * what was read once does not change. The file itself is never mapped, so truncating it under us is -EIO,
 * not SIGBUS. Everything is checked before use (see docs/FORMAT.md).
 */
#ifndef KAPSEL_IMAGE_IMAGE_H
#define KAPSEL_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "kapsel/error.h"

#define KP_DIGEST_LEN 32      /* BLAKE2b-256 */
#define KP_NO_ENTRY UINT32_MAX
#define KP_DAMAGED_ENTRY (UINT32_MAX - 1) /* never an id: kp_image_entry() of it is -EIO */
#define KP_ROOT_ENTRY 0U      /* the root directory is entry 0 */

struct kp_image; /* immutable after open; all readers below are thread-safe */

/* One entry, decoded. Pointers point into the index and live as long as the image. Names and
 * targets are NUL-terminated there. */
struct kp_entry {
	uint32_t id;        /* position in the index */
	uint32_t parent;    /* id of the directory (the root is its own parent) */
	uint32_t mode;      /* S_IFREG, S_IFDIR or S_IFLNK with permission bits (no set-id bits) */
	uint32_t nlink;     /* names of this file in the image; directories: 2 + subdirectories */
	uint32_t ino;       /* id of the first name of the same file: equal only for hard links */
	uint64_t size;      /* bytes of a file, length of a link's target, 0 for directories */
	int64_t mtime;      /* seconds since the epoch, 0..UINT32_MAX */
	const char *name;   /* "" for the root */
	const char *target; /* symlinks only, else NULL */
	uint32_t first_child, child_count; /* directories: children are consecutive ids, in strcmp order */
	const uint8_t *digest;             /* regular files: KP_DIGEST_LEN bytes of content digest, else NULL */
};

/* Opens the image in fd (borrowed: duplicated inside) and checks trailer, manifest and index bounds. An image
 * that was cut, appended to or overwritten is an error that says so. name is used in error texts only. */
int kp_image_open(int fd, const char *name, struct kp_image **ret_image, struct kp_err *err);
struct kp_image *kp_image_free(struct kp_image *image); /* NULL is fine; returns NULL */

/* True when fd is a kapsel image, whole or not (the launcher's test for "am I an image?"): it ends in a
 * trailer, or the head stands where the launcher ends, so that an image cut short is told from a plain launcher. */
bool kp_image_present(int fd);
/* Bytes of the program that a file begins with, without the image that it may carry; 0: it is no file. */
uint64_t kp_image_launcher_len(int fd);

/* BLAKE2b-256 over the digests of index and manifest: names the image by content. It holds for
 * all that is read later, since each piece of the index is checked against it. */
const uint8_t *kp_image_digest(const struct kp_image *image);
int kp_image_stat(const struct kp_image *image, struct stat *ret_st); /* of its file: 0 or -errno */
const char *kp_image_name(const struct kp_image *image); /* as given to kp_image_open() */
uint32_t kp_image_count(const struct kp_image *image);
/* Manifest text as packed (normalised YAML), NUL-terminated. */
const char *kp_image_manifest(const struct kp_image *image, size_t *ret_len);
/* Offset and length in bytes of the squashfs inside the file (what `unsquashfs -o` takes). */
void kp_image_squashfs(const struct kp_image *image, uint64_t *ret_offset, uint64_t *ret_len);

/* 0, or -EIO when the record does not hold together. */
int kp_image_entry(const struct kp_image *image, uint32_t id, struct kp_entry *ret_entry);
/* Child of directory dir by name (len bytes, no NUL needed): its id, KP_NO_ENTRY, or
 * KP_DAMAGED_ENTRY where what would tell is damaged. Binary search. */
uint32_t kp_image_child(const struct kp_image *image, uint32_t dir, const char *name, size_t len);
/* Absolute path without following symlinks ("/usr/bin/x"): its id, KP_NO_ENTRY or KP_DAMAGED_ENTRY. */
uint32_t kp_image_find(const struct kp_image *image, const char *path);
/* Absolute path of an entry into buf. 0, -ENAMETOOLONG or -EIO. */
int kp_image_path(const struct kp_image *image, uint32_t id, char *buf, size_t size);

/* The registry hive of the image (kapsel/hive.h): these bytes of it, checked against their digests, and where they stand in memory
 * as long as the image. 0, -ENOENT: it has none; -EIO. */
int kp_image_hive(const struct kp_image *image, uint64_t offset, uint64_t len, const void **ret);
uint64_t kp_image_hive_len(const struct kp_image *image); /* 0: none */

/* Writes the content of a regular file to out_fd (from its current position; zero blocks become
 * holes, or zeros on a pipe) and compares the digest. 0 or -errno with err set; -EIO when it does not match
 * (what was written must be dropped then). Never writes more than the entry's size. Calls from several threads
 * run in parallel. */
int kp_image_extract(const struct kp_image *image, uint32_t id, int out_fd, struct kp_err *err);

/* Checks every digest, and that index and squashfs agree, both ways. progress may be NULL. */
int kp_image_verify(const struct kp_image *image, void (*progress)(uint64_t done, uint64_t total, void *ctx),
		    void *ctx, struct kp_err *err);

#endif
