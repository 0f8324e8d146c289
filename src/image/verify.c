/* SPDX-License-Identifier: Apache-2.0 */
/* Checking an image whole: every digest, and index against squashfs in both directions. */
#include <inttypes.h>
#include <sodium.h>
#include <sqfs/dir.h>
#include <sqfs/error.h>
#include <sqfs/inode.h>
#include <sys/stat.h>

#include "image/internal.h"

struct verify {
	const struct kp_image *image;
	struct kp_sq_reader *r;
	void (*progress)(uint64_t done, uint64_t total, void *ctx);
	void *ctx;
	uint64_t done, total;
	struct kp_err *err;
};

static int fail_entry(struct verify *v, uint32_t id, const char *what)
{
	char path[KP_PATH_LIMIT + 1];

	if (kp_image_path(v->image, id, path, sizeof(path)) < 0)
		return kp_fail(v->err, EIO, "%s: damaged: entry %u: %s", v->image->name, id, what);
	return kp_fail(v->err, EIO, "%s: %s: damaged: %s", v->image->name, path, what);
}

static void report(struct verify *v, uint64_t len)
{
	v->done += len;
	if (v->progress)
		v->progress(v->done, v->total, v->ctx);
}

static int check_payload(struct verify *v)
{
	const struct kp_disk_trailer *t = &v->image->t;
	kp_autofree uint8_t *buf = kp_calloc(1, 1 << 20);
	uint8_t digest[KP_FORMAT_DIGEST];
	crypto_generichash_state hash;

	crypto_generichash_init(&hash, NULL, 0, sizeof(digest));
	for (uint64_t at = 0; at < t->index_off;) {
		size_t len = (size_t)KP_MIN((uint64_t)1 << 20, t->index_off - at);
		int rc = kp_pread_full(v->image->fd, buf, len, at);

		if (rc)
			return kp_fail_errno(v->err, -rc, "%s: reading", v->image->name);
		crypto_generichash_update(&hash, buf, len);
		at += len;
		report(v, len);
	}
	crypto_generichash_final(&hash, digest, sizeof(digest));
	if (memcmp(digest, t->payload_digest, sizeof(digest)) != 0)
		return kp_fail(v->err, EIO,
			       "%s: damaged: launcher or squashfs do not match their digest",
			       v->image->name);
	return 0;
}

/* The record alone, and its place among parent and siblings. */
static int check_record(struct verify *v, uint32_t id)
{
	struct kp_entry e, parent, other;

	if (kp_image_entry(v->image, id, &e) < 0 || kp_image_entry(v->image, e.parent, &parent) < 0)
		return fail_entry(v, id, "the record does not hold together");
	if (id != KP_ROOT_ENTRY && (!S_ISDIR(parent.mode) || id < parent.first_child ||
				    id - parent.first_child >= parent.child_count))
		return fail_entry(v, id, "its directory does not list it");
	if (id != KP_ROOT_ENTRY && id > parent.first_child &&
	    (kp_image_entry(v->image, id - 1, &other) < 0 || strcmp(other.name, e.name) >= 0))
		return fail_entry(v, id, "names are out of order");
	for (uint32_t i = 0; i < e.child_count; i++) {
		const struct kp_disk_record *kid = kp_image_record(v->image, e.first_child + i);

		if (!kid || kid->parent != id)
			return fail_entry(v, id, "it lists an entry of another directory");
	}
	if (e.ino != id &&
	    (kp_image_entry(v->image, e.ino, &other) < 0 || other.ino != e.ino ||
	     other.mode != e.mode || other.size != e.size || other.mtime != e.mtime ||
	     other.nlink != e.nlink || memcmp(other.digest, e.digest, KP_DIGEST_LEN) != 0 ||
	     kp_image_record(v->image, id)->inode_ref !=
		 kp_image_record(v->image, e.ino)->inode_ref))
		return fail_entry(v, id, "the names of one file differ in more than their name");
	return 0;
}

static uint32_t link_count(const sqfs_inode_generic_t *inode)
{
	switch (inode->base.type) {
	case SQFS_INODE_DIR:
		return inode->data.dir.nlink;
	case SQFS_INODE_EXT_DIR:
		return inode->data.dir_ext.nlink;
	case SQFS_INODE_EXT_FILE:
		return inode->data.file_ext.nlink;
	case SQFS_INODE_SLINK:
		return inode->data.slink.nlink;
	case SQFS_INODE_EXT_SLINK:
		return inode->data.slink_ext.nlink;
	default:
		return 1;
	}
}

/* The squashfs directory has exactly the index's children, in the same order. */
static int check_listing(struct verify *v, const struct kp_entry *e,
			 const sqfs_inode_generic_t *inode)
{
	sqfs_readdir_state_t state;
	sqfs_dir_entry_t *ent = NULL;
	uint32_t i = 0;
	sqfs_u64 ref;
	int rc = sqfs_readdir_state_init(&state, &v->image->sq_super, inode);

	while (!rc && (rc = sqfs_meta_reader_readdir(v->r->dirs, &state, &ent, NULL, &ref)) == 0) {
		const struct kp_disk_record *rec = kp_image_record(v->image, e->first_child + i);
		struct kp_entry kid;
		bool same = i < e->child_count && rec &&
			    !kp_image_entry(v->image, e->first_child + i, &kid) &&
			    strlen(kid.name) == (size_t)ent->size + 1 &&
			    !memcmp(kid.name, ent->name, (size_t)ent->size + 1) &&
			    rec->inode_ref == ref;

		sqfs_free(ent);
		ent = NULL;
		i++;
		if (!same)
			return fail_entry(v, e->id, "index and squashfs list different names");
	}
	if (rc < 0)
		return fail_entry(v, e->id, kp_sq_reason(rc));
	return i == e->child_count
		   ? 0
		   : fail_entry(v, e->id, "index and squashfs list different names");
}

static int check_inode(struct verify *v, const struct kp_entry *e)
{
	const struct kp_disk_record *rec = kp_image_record(v->image, e->id);
	sqfs_inode_generic_t *inode = NULL;
	int rc = rec ? kp_sq_inode(v->image, v->r, rec->inode_ref, &inode) : SQFS_ERROR_CORRUPTED;

	if (rc)
		return fail_entry(v, e->id, kp_sq_reason(rc));
	if (inode->base.mode != (e->mode & 0xffff) || inode->base.mod_time != (uint64_t)e->mtime ||
	    link_count(inode) != e->nlink)
		rc = fail_entry(v, e->id, "index and squashfs differ in mode, time or links");
	else if (S_ISLNK(e->mode) && (inode->data.slink.target_size != e->size ||
				      memcmp(inode->extra, e->target, e->size) != 0))
		rc = fail_entry(v, e->id, "index and squashfs differ in the link's target");
	else if (S_ISDIR(e->mode))
		rc = check_listing(v, e, inode);
	sqfs_free(inode);
	return rc;
}

static int ignore(void *ctx, const void *data, size_t len)
{
	(void)data;
	report(ctx, len);
	return 0;
}

static int check_all(struct verify *v)
{
	int rc =
	    v->image->sq_super.root_inode_ref == kp_image_record(v->image, KP_ROOT_ENTRY)->inode_ref
		? 0
		: fail_entry(v, KP_ROOT_ENTRY, "index and squashfs have different roots");

	for (uint32_t id = 0; !rc && id < v->image->t.count; id++) {
		struct kp_entry e;

		if (kp_image_entry(v->image, id, &e) < 0)
			return fail_entry(v, id, "the record does not hold together");
		if (e.ino != id)
			continue;
		rc = check_inode(v, &e);
		if (!rc && S_ISREG(e.mode))
			rc = kp_sq_content(v->image, v->r, id, ignore, v, v->err);
	}
	return rc;
}

int kp_image_verify(const struct kp_image *image,
		    void (*progress)(uint64_t done, uint64_t total, void *ctx), void *ctx,
		    struct kp_err *err)
{
	struct verify v = {.image = image, .progress = progress, .ctx = ctx, .err = err};
	int rc = 0;

	v.total = image->t.index_off;
	if (kp_image_load(image, 0, image->t.index_len) < 0)
		return kp_fail(err, EIO, "%s: damaged: the index does not match its digest",
			       image->name);
	for (uint32_t id = 0; !rc && id < image->t.count; id++) {
		const struct kp_disk_record *r = kp_image_record(image, id);

		rc = check_record(&v, id);
		if (!rc && S_ISREG(r->mode) && r->ino == id)
			v.total += r->size;
	}
	if (!rc)
		rc = check_payload(&v);
	if (!rc)
		rc = kp_sq_reader_get(image, &v.r, err);
	if (rc)
		return rc;
	rc = check_all(&v);
	kp_sq_reader_put(image, v.r);
	return rc;
}
