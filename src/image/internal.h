/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of image/ share: the opened image, squashfs access, the tree's nodes. */
#ifndef KAPSEL_IMAGE_INTERNAL_H
#define KAPSEL_IMAGE_INTERNAL_H

#include <pthread.h>
#include <sqfs/compressor.h>
#include <sqfs/frag_table.h>
#include <sqfs/io.h>
#include <sqfs/meta_reader.h>
#include <sqfs/super.h>
#include <stdatomic.h>

#include "base/base.h"
#include "image/image.h"
#include "kapsel/image.h"

/* One thread's way into the squashfs. libsquashfs objects are not thread-safe, so each is used by
 * one caller at a time; idle ones wait in the image's pool. */
struct kp_sq_reader {
	struct kp_sq_reader *next;
	sqfs_compressor_t *cmp;
	sqfs_meta_reader_t *inodes, *dirs;
	uint8_t *packed, *block;
	uint8_t *frag; /* the fragment block unpacked last: small neighbours share it */
	uint32_t frag_index, frag_len;
};

struct kp_image {
	int fd;
	char *name;
	struct kp_disk_trailer t;
	uint8_t digest[KP_DIGEST_LEN];
	char *manifest;
	uint8_t *chunk_digests;

	/* The index: private memory of its full size, filled chunk by chunk on first use. */
	uint8_t *index;
	_Atomic uint8_t *loaded;
	pthread_mutex_t load_lock;

	/* The squashfs, opened by the first reader. */
	pthread_mutex_t sq_lock;
	bool sq_ready;
	sqfs_file_t *sq_file;
	sqfs_super_t sq_super;
	sqfs_frag_table_t *sq_frags;
	struct kp_sq_reader *sq_idle;
};

/* Record id with its memory loaded and checked against its digest, or NULL. */
const struct kp_disk_record *kp_image_record(const struct kp_image *image, uint32_t id);
/* Loads and checks the chunks that hold these bytes of the index. 0 or -EIO. */
int kp_image_load(const struct kp_image *image, uint64_t offset, uint64_t len);

/* A libsquashfs file over [offset, offset + size) of fd (borrowed). Writable ones grow. */
sqfs_file_t *kp_sq_file_new(int fd, uint64_t offset, uint64_t size, bool writable);
/* errno of the last transfer that failed, 0 if none did. */
int kp_sq_file_errno(const sqfs_file_t *file);
const char *kp_sq_reason(int sqfs_error);

int kp_sq_reader_get(const struct kp_image *image, struct kp_sq_reader **ret_reader,
		     struct kp_err *err);
void kp_sq_reader_put(const struct kp_image *image, struct kp_sq_reader *reader);
void kp_sq_close(struct kp_image *image);
/* Inode at a reference; the caller frees it with sqfs_free(). */
int kp_sq_inode(const struct kp_image *image, struct kp_sq_reader *reader, uint64_t ref,
		sqfs_inode_generic_t **ret_inode);
/* Feeds the content of regular file id to sink (data NULL: len zero bytes) and checks its digest.
 */
typedef int (*kp_sq_sink)(void *ctx, const void *data, size_t len);
int kp_sq_content(const struct kp_image *image, struct kp_sq_reader *reader, uint32_t id,
		  kp_sq_sink sink, void *ctx, struct kp_err *err);

#endif
