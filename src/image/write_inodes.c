/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes and directories of the squashfs: files and links in index order, then directories from the
 * leaves up. */
#include <sqfs/dir_writer.h>
#include <sqfs/error.h>
#include <sqfs/meta_writer.h>
#include <sys/stat.h>

#include "image/write.h"

struct tables {
	sqfs_meta_writer_t *inodes, *dirs;
	sqfs_dir_writer_t *listing;
};

/* Writes the item's inode (taken, with type-specific parts filled) and notes its reference. */
static int put_inode(struct kp_write *w, struct tables *t, struct kp_witem *it,
		     sqfs_inode_generic_t *inode)
{
	sqfs_u64 block;
	sqfs_u32 offset;
	sqfs_u16 index;
	int rc = sqfs_id_table_id_to_index(w->ids, 0, &index);

	if (rc)
		return rc;
	inode->base.mode = (sqfs_u16)kp_write_mode(it->node);
	inode->base.uid_idx = index;
	inode->base.gid_idx = index;
	inode->base.mod_time = (sqfs_u32)kp_write_mtime(w, it->node);
	inode->base.inode_number = it->inode_number;
	sqfs_meta_writer_get_position(t->inodes, &block, &offset);
	it->ref = block << 16 | offset;
	return sqfs_meta_writer_write_inode(t->inodes, inode);
}

static int put_file(struct kp_write *w, struct tables *t, struct kp_witem *it)
{
	int rc = 0;

	if (it->node->file->names > 1)
		rc = sqfs_inode_make_extended(it->inode);
	if (!rc && it->inode->base.type == SQFS_INODE_EXT_FILE)
		it->inode->data.file_ext.nlink = it->node->file->names;
	return rc ? rc : put_inode(w, t, it, it->inode);
}

static int put_link(struct kp_write *w, struct tables *t, struct kp_witem *it)
{
	size_t len = strlen(it->node->target);
	kp_autofree sqfs_inode_generic_t *inode = kp_calloc(1, sizeof(*inode) + len + 1);

	inode->base.type = SQFS_INODE_SLINK;
	inode->data.slink.nlink = 1;
	inode->data.slink.target_size = (sqfs_u32)len;
	inode->payload_bytes_available = inode->payload_bytes_used = (sqfs_u32)len;
	memcpy(inode->extra, it->node->target, len);
	return put_inode(w, t, it, inode);
}

static int put_dir(struct kp_write *w, struct tables *t, struct kp_witem *it)
{
	sqfs_inode_generic_t *inode;
	int rc = sqfs_dir_writer_begin(t->listing, 0);

	for (uint32_t i = 0; !rc && i < it->count; i++) {
		const struct kp_witem *kid = &w->items[it->first + i],
				      *target = &w->items[kid->ino];

		rc = sqfs_dir_writer_add_entry(t->listing, kid->node->name, target->inode_number,
					       target->ref, (sqfs_u16)kp_write_mode(kid->node));
	}
	if (!rc)
		rc = sqfs_dir_writer_end(t->listing);
	if (rc)
		return rc;
	/* The root's parent is, by custom, the number after the last. */
	inode = sqfs_dir_writer_create_inode(t->listing, 2 + it->subdirs, UINT32_MAX,
					     it->node->parent ? w->items[it->parent].inode_number
							      : w->inodes + 1);
	if (!inode)
		return SQFS_ERROR_ALLOC;
	/* The library counts all entries; the kernel and the index count subdirectories. */
	if (inode->base.type == SQFS_INODE_DIR)
		inode->data.dir.nlink = 2 + it->subdirs;
	else
		inode->data.dir_ext.nlink = 2 + it->subdirs;
	rc = put_inode(w, t, it, inode);
	sqfs_free(inode);
	return rc;
}

static int put_all(struct kp_write *w, struct tables *t)
{
	int rc = 0;

	for (uint32_t id = 0; !rc && id < w->count; id++) {
		struct kp_witem *it = &w->items[id];

		if (it->node->file && it->ino == id)
			rc = put_file(w, t, it);
		else if (it->node->target)
			rc = put_link(w, t, it);
	}
	for (uint32_t id = w->count; !rc && id-- > 0;)
		if (kp_tnode_is_dir(w->items[id].node))
			rc = put_dir(w, t, &w->items[id]);
	return rc;
}

int kp_write_inodes(struct kp_write *w)
{
	struct tables t = {0};
	int rc = 0;

	t.inodes = sqfs_meta_writer_create(w->file, w->cmp, 0);
	t.dirs = sqfs_meta_writer_create(w->file, w->cmp, SQFS_META_WRITER_KEEP_IN_MEMORY);
	if (t.dirs)
		t.listing = sqfs_dir_writer_create(t.dirs, 0);
	if (!t.inodes || !t.dirs || !t.listing)
		rc = SQFS_ERROR_ALLOC;
	w->super.inode_table_start = w->file->get_size(w->file);
	if (!rc)
		rc = put_all(w, &t);
	if (!rc)
		rc = sqfs_meta_writer_flush(t.inodes);
	w->super.directory_table_start = w->file->get_size(w->file);
	if (!rc)
		rc = sqfs_meta_writer_flush(t.dirs);
	if (!rc)
		rc = sqfs_meta_write_write_to_file(t.dirs);
	sqfs_destroy(t.listing);
	sqfs_destroy(t.dirs);
	sqfs_destroy(t.inodes);
	return rc ? kp_write_sq_fail(w, rc) : 0;
}
