/* SPDX-License-Identifier: Apache-2.0 */
/* File contents out of the squashfs, straight from the inode reference in the index. */
#include <inttypes.h>
#include <sodium.h>
#include <sqfs/block.h>
#include <sqfs/dir.h>
#include <sqfs/error.h>
#include <sqfs/inode.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

#define NO_FRAGMENT UINT32_MAX

static void free_reader(struct kp_sq_reader *r)
{
	sqfs_destroy(r->inodes);
	sqfs_destroy(r->dirs);
	sqfs_destroy(r->cmp);
	free(r->packed);
	free(r->block);
	free(r->frag);
	free(r);
}

static int new_compressor(const struct kp_image *image, sqfs_compressor_t **ret_cmp)
{
	sqfs_compressor_config_t cfg;
	int rc = sqfs_compressor_config_init(&cfg, SQFS_COMP_ZSTD, image->sq_super.block_size,
					     SQFS_COMP_FLAG_UNCOMPRESS);

	return rc ? rc : sqfs_compressor_create(&cfg, ret_cmp);
}

/* The tables of a squashfs of n bytes cannot describe more than this many bytes unpacked: each
 * block of metadata takes three bytes at least. It bounds what is allocated on a hostile image's
 * word. */
static uint64_t metadata_limit(uint64_t n)
{
	return (n / 3 + 1) * SQFS_META_BLOCK_SIZE;
}

static int open_squashfs(struct kp_image *image)
{
	sqfs_super_t *s = &image->sq_super;
	sqfs_compressor_t *cmp = NULL;
	int rc;

	image->sq_file =
	    kp_sq_file_new(image->fd, image->t.squashfs_off, image->t.squashfs_len, false);
	rc = sqfs_super_read(s, image->sq_file);
	if (!rc && (s->compression_id != SQFS_COMP_ZSTD || s->block_size < SQFS_MIN_BLOCK_SIZE ||
		    s->block_size > SQFS_MAX_BLOCK_SIZE))
		rc = SQFS_ERROR_UNSUPPORTED;
	if (!rc && (s->bytes_used > image->t.squashfs_len ||
		    s->fragment_entry_count > image->t.squashfs_len ||
		    s->inode_table_start >= s->directory_table_start ||
		    s->directory_table_start > s->bytes_used || s->id_table_start > s->bytes_used))
		rc = SQFS_ERROR_CORRUPTED;
	if (!rc)
		rc = new_compressor(image, &cmp);
	if (!rc && !(image->sq_frags = sqfs_frag_table_create(0)))
		rc = SQFS_ERROR_ALLOC;
	if (!rc)
		rc = sqfs_frag_table_read(image->sq_frags, image->sq_file, s, cmp);
	sqfs_destroy(cmp);
	if (rc) {
		sqfs_destroy(image->sq_frags);
		sqfs_destroy(image->sq_file);
		image->sq_frags = NULL;
		image->sq_file = NULL;
		return rc;
	}
	image->sq_ready = true;
	return 0;
}

static int new_reader(struct kp_image *image, struct kp_sq_reader **ret_reader)
{
	const sqfs_super_t *s = &image->sq_super;
	struct kp_sq_reader *r = kp_calloc(1, sizeof(*r));
	int rc = new_compressor(image, &r->cmp);

	r->frag_index = NO_FRAGMENT;
	if (!rc)
		r->inodes = sqfs_meta_reader_create(image->sq_file, r->cmp, s->inode_table_start,
						    s->directory_table_start);
	if (!rc)
		r->dirs = sqfs_meta_reader_create(image->sq_file, r->cmp, s->directory_table_start,
						  KP_MIN(s->id_table_start, s->bytes_used));
	if (!rc && (!r->inodes || !r->dirs))
		rc = SQFS_ERROR_ALLOC;
	if (rc) {
		free_reader(r);
		return rc;
	}
	r->packed = kp_calloc(1, s->block_size);
	r->block = kp_calloc(1, s->block_size);
	*ret_reader = r;
	return 0;
}

int kp_sq_reader_get(const struct kp_image *image, struct kp_sq_reader **ret_reader,
		     struct kp_err *err)
{
	struct kp_image *w = (struct kp_image *)(uintptr_t)image;
	struct kp_sq_reader *r;
	int rc = 0;

	pthread_mutex_lock(&w->sq_lock);
	if (!w->sq_ready)
		rc = open_squashfs(w);
	r = w->sq_idle;
	if (!rc && r)
		w->sq_idle = r->next;
	pthread_mutex_unlock(&w->sq_lock);
	if (!rc && !r)
		rc = new_reader(w, &r);
	if (rc)
		return kp_fail(err, EIO, "%s: damaged: %s", image->name, kp_sq_reason(rc));
	*ret_reader = r;
	return 0;
}

void kp_sq_reader_put(const struct kp_image *image, struct kp_sq_reader *reader)
{
	struct kp_image *w = (struct kp_image *)(uintptr_t)image;

	pthread_mutex_lock(&w->sq_lock);
	reader->next = w->sq_idle;
	w->sq_idle = reader;
	pthread_mutex_unlock(&w->sq_lock);
}

void kp_sq_close(struct kp_image *image)
{
	while (image->sq_idle) {
		struct kp_sq_reader *r = image->sq_idle;

		image->sq_idle = r->next;
		free_reader(r);
	}
	sqfs_destroy(image->sq_frags);
	sqfs_destroy(image->sq_file);
}

/* Names and targets are as long as an inode says, up to 4 GiB. */
static int check_dir_index(struct kp_sq_reader *r, uint16_t count)
{
	char name[KP_NAME_LIMIT];
	sqfs_dir_index_t at;
	int rc = 0;

	for (; !rc && count > 0; count--) {
		rc = sqfs_meta_reader_read(r->inodes, &at, offsetof(sqfs_dir_index_t, name));
		if (!rc && at.size >= sizeof(name))
			rc = SQFS_ERROR_OVERFLOW;
		if (!rc)
			rc = sqfs_meta_reader_read(r->inodes, name, at.size + 1);
	}
	return rc;
}

/* What an inode claims to be followed by, before libsquashfs allocates as much. */
static int check_claims(const struct kp_image *image, struct kp_sq_reader *r, uint64_t block,
			size_t offset)
{
	const sqfs_super_t *s = &image->sq_super;
	union {
		sqfs_inode_file_t file;
		sqfs_inode_file_ext_t file_ext;
		sqfs_inode_slink_t slink; /* the extended one begins like it */
		sqfs_inode_dir_ext_t dir;
	} u;
	sqfs_inode_t base;
	uint64_t size = 0;
	int rc = sqfs_meta_reader_seek(r->inodes, s->inode_table_start + block, offset);

	if (!rc)
		rc = sqfs_meta_reader_read(r->inodes, &base, sizeof(base));
	if (rc)
		return rc;
	switch (base.type) {
	case SQFS_INODE_FILE:
		rc = sqfs_meta_reader_read(r->inodes, &u.file, sizeof(u.file));
		size = rc ? 0 : u.file.file_size;
		break;
	case SQFS_INODE_EXT_FILE:
		rc = sqfs_meta_reader_read(r->inodes, &u.file_ext, sizeof(u.file_ext));
		size = rc ? 0 : u.file_ext.file_size;
		break;
	case SQFS_INODE_SLINK:
	case SQFS_INODE_EXT_SLINK:
		rc = sqfs_meta_reader_read(r->inodes, &u.slink, sizeof(u.slink));
		return !rc && u.slink.target_size > KP_PATH_LIMIT ? SQFS_ERROR_OVERFLOW : rc;
	case SQFS_INODE_EXT_DIR:
		rc = sqfs_meta_reader_read(r->inodes, &u.dir, sizeof(u.dir));
		return rc ? rc : check_dir_index(r, u.dir.inodex_count);
	default:
		return 0;
	}
	if (!rc && (size > KP_FILE_LIMIT ||
		    size / s->block_size * sizeof(uint32_t) >
			metadata_limit(s->directory_table_start - s->inode_table_start)))
		rc = SQFS_ERROR_OVERFLOW;
	return rc;
}

int kp_sq_inode(const struct kp_image *image, struct kp_sq_reader *reader, uint64_t ref,
		sqfs_inode_generic_t **ret_inode)
{
	const sqfs_super_t *s = &image->sq_super;
	uint64_t block = ref >> 16;
	size_t offset = ref & 0xffff;
	int rc;

	if (block >= s->directory_table_start - s->inode_table_start ||
	    offset >= SQFS_META_BLOCK_SIZE)
		return SQFS_ERROR_OUT_OF_BOUNDS;
	rc = check_claims(image, reader, block, offset);
	if (rc)
		return rc;
	/* Unlike seek, this one counts from the start of the inode table. */
	return sqfs_meta_reader_read_inode(reader->inodes, s, block, offset, ret_inode);
}

/* One block of packed data into out; *ret_len is what it unpacks to. */
static int read_block(const struct kp_image *image, struct kp_sq_reader *r, uint64_t at,
		      uint32_t word, uint8_t *out, uint32_t *ret_len)
{
	uint32_t len = SQFS_ON_DISK_BLOCK_SIZE(word);
	sqfs_s32 n;
	int rc;

	if (len > image->sq_super.block_size)
		return SQFS_ERROR_OVERFLOW;
	rc = image->sq_file->read_at(image->sq_file, at,
				     SQFS_IS_BLOCK_COMPRESSED(word) ? r->packed : out, len);
	if (rc)
		return rc;
	if (!SQFS_IS_BLOCK_COMPRESSED(word)) {
		*ret_len = len;
		return 0;
	}
	n = r->cmp->do_block(r->cmp, r->packed, len, out, image->sq_super.block_size);
	if (n <= 0)
		return n ? n : SQFS_ERROR_CORRUPTED;
	*ret_len = (uint32_t)n;
	return 0;
}

static int read_fragment(const struct kp_image *image, struct kp_sq_reader *r, uint32_t index)
{
	sqfs_fragment_t f;
	int rc;

	if (r->frag_index == index)
		return 0;
	r->frag_index = NO_FRAGMENT;
	if (!r->frag)
		r->frag = kp_calloc(1, image->sq_super.block_size);
	rc = sqfs_frag_table_lookup(image->sq_frags, index, &f);
	if (!rc)
		rc = read_block(image, r, f.start_offset, f.size, r->frag, &r->frag_len);
	if (!rc)
		r->frag_index = index;
	return rc;
}

struct feed {
	kp_sq_sink sink;
	void *ctx;
	crypto_generichash_state hash;
	int sink_rc;
};

static const uint8_t zeros[65536];

static int feed(struct feed *f, const void *data, size_t len)
{
	if (data)
		crypto_generichash_update(&f->hash, data, len);
	else
		for (size_t done = 0; done < len; done += KP_MIN(len - done, sizeof(zeros)))
			crypto_generichash_update(&f->hash, zeros,
						  KP_MIN(len - done, sizeof(zeros)));
	f->sink_rc = f->sink(f->ctx, data, len);
	return f->sink_rc ? SQFS_ERROR_INTERNAL : 0;
}

/* All of the content, never more than size bytes. A libsquashfs error, or 0. */
static int feed_inode(const struct kp_image *image, struct kp_sq_reader *r,
		      const sqfs_inode_generic_t *inode, uint64_t size, struct feed *f)
{
	uint32_t bs = image->sq_super.block_size, index = NO_FRAGMENT, offset = 0, got;
	uint64_t at, claimed, blocks = sqfs_inode_get_file_block_count(inode);
	int rc = sqfs_inode_get_file_size(inode, &claimed);

	if (!rc)
		rc = sqfs_inode_get_file_block_start(inode, &at);
	if (!rc)
		rc = sqfs_inode_get_frag_location(inode, &index, &offset);
	if (!rc && (claimed != size || blocks != size / bs + (index == NO_FRAGMENT && size % bs)))
		rc = SQFS_ERROR_CORRUPTED;
	for (uint64_t i = 0; !rc && i < blocks; i++) {
		uint32_t want = (uint32_t)KP_MIN((uint64_t)bs, size), word = inode->extra[i];

		if (SQFS_IS_SPARSE_BLOCK(word)) {
			rc = feed(f, NULL, want);
		} else {
			rc = read_block(image, r, at, word, r->block, &got);
			if (!rc)
				rc = got == want ? feed(f, r->block, want) : SQFS_ERROR_CORRUPTED;
		}
		at += SQFS_ON_DISK_BLOCK_SIZE(word);
		size -= want;
	}
	if (rc || size == 0)
		return rc;
	rc = read_fragment(image, r, index);
	if (!rc && (offset > r->frag_len || size > r->frag_len - offset))
		rc = SQFS_ERROR_OUT_OF_BOUNDS;
	return rc ? rc : feed(f, r->frag + offset, (size_t)size);
}

int kp_sq_content(const struct kp_image *image, struct kp_sq_reader *reader, uint32_t id,
		  kp_sq_sink sink, void *ctx, struct kp_err *err)
{
	const struct kp_disk_record *rec = kp_image_record(image, id);
	sqfs_inode_generic_t *inode = NULL;
	uint8_t digest[KP_DIGEST_LEN];
	struct feed f = {.sink = sink, .ctx = ctx};
	char path[KP_PATH_LIMIT + 1];
	struct kp_entry e;
	int rc;

	if (!rec || kp_image_entry(image, id, &e) < 0 ||
	    kp_image_path(image, id, path, sizeof(path)) < 0)
		return kp_fail(err, EIO, "%s: damaged: entry %u does not hold together",
			       image->name, id);
	if (!S_ISREG(e.mode))
		return kp_fail(err, EINVAL, "%s: %s: not a regular file", image->name, path);
	crypto_generichash_init(&f.hash, NULL, 0, sizeof(digest));
	rc = kp_sq_inode(image, reader, rec->inode_ref, &inode);
	if (!rc)
		rc = feed_inode(image, reader, inode, e.size, &f);
	sqfs_free(inode);
	if (f.sink_rc)
		return kp_fail_errno(err, -f.sink_rc, "%s: unpacking %s", image->name, path);
	if (rc)
		return kp_fail(err, EIO, "%s: %s: damaged: %s", image->name, path,
			       kp_sq_reason(rc));
	crypto_generichash_final(&f.hash, digest, sizeof(digest));
	if (memcmp(digest, e.digest, sizeof(digest)) != 0)
		return kp_fail(err, EIO, "%s: %s: damaged: the content does not match its digest",
			       image->name, path);
	return 0;
}

struct out {
	int fd;
	bool seekable, hole; /* hole: the end still has to be set */
};

static int write_out(void *ctx, const void *data, size_t len)
{
	struct out *o = ctx;
	int rc = 0;

	if (!data && o->seekable) {
		o->hole = true;
		return lseek(o->fd, (off_t)len, SEEK_CUR) < 0 ? -errno : 0;
	}
	o->hole = false;
	if (data)
		return kp_write_full(o->fd, data, len);
	for (size_t done = 0; !rc && done < len; done += KP_MIN(len - done, sizeof(zeros)))
		rc = kp_write_full(o->fd, zeros, KP_MIN(len - done, sizeof(zeros)));
	return rc;
}

int kp_image_extract(const struct kp_image *image, uint32_t id, int out_fd, struct kp_err *err)
{
	struct out o = {.fd = out_fd, .seekable = lseek(out_fd, 0, SEEK_CUR) >= 0};
	struct kp_sq_reader *r;
	int rc = kp_sq_reader_get(image, &r, err);

	if (rc)
		return rc;
	rc = kp_sq_content(image, r, id, write_out, &o, err);
	kp_sq_reader_put(image, r);
	if (!rc && o.hole && ftruncate(out_fd, lseek(out_fd, 0, SEEK_CUR)) < 0)
		rc = kp_fail_errno(err, errno, "%s: unpacking", image->name);
	return rc;
}
