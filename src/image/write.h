/* SPDX-License-Identifier: Apache-2.0 */
/* The image being written: entries in index order, squashfs objects, sections as they get their
 * place. */
#ifndef KAPSEL_IMAGE_WRITE_H
#define KAPSEL_IMAGE_WRITE_H

#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>

#include "image/internal.h"
#include "image/tree.h"

struct kp_witem {
	const struct kp_tnode *node;
	uint32_t parent, first, count;
	uint32_t ino; /* id of the file's first name; own id for all else */
	uint32_t subdirs;
	uint32_t inode_number;
	uint32_t same_as; /* id of an earlier file of equal content, or KP_NO_ENTRY */
	uint64_t ref;
	sqfs_inode_generic_t *inode;
	uint8_t digest[KP_DIGEST_LEN];
};

struct kp_write {
	const struct kp_write_options *o;
	int fd;
	struct kp_witem *items; /* by id */
	uint32_t count, inodes;
	uint64_t done, total; /* progress */
	struct kp_disk_trailer t;

	sqfs_file_t *file;
	sqfs_super_t super;
	sqfs_compressor_t *cmp, *uncmp;
	sqfs_block_writer_t *blocks;
	sqfs_frag_table_t *frags;
	sqfs_block_processor_t *proc;
	sqfs_id_table_t *ids;
	struct kp_err *err;
};

int64_t kp_write_mtime(const struct kp_write *w, const struct kp_tnode *node);
mode_t kp_write_mode(const struct kp_tnode *node);
/* The squashfs from w->t.squashfs_off on; sets squashfs_len, references and digests. */
int kp_write_squashfs(struct kp_write *w);
/* Inodes and directories of it, once all data blocks have their place. */
int kp_write_inodes(struct kp_write *w);
/* Records, strings and chunk digests from w->t.index_off on. */
int kp_write_index(struct kp_write *w);
int kp_write_sq_fail(struct kp_write *w, int sqfs_error);

#endif
