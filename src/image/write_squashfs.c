/* SPDX-License-Identifier: Apache-2.0 */
/* The squashfs section: file data through libsquashfs's block processor, read and digested once. */
#include <fcntl.h>
#include <sched.h>
#include <sodium.h>
#include <sqfs/error.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/write.h"

#define BLOCK_SIZE (256U * 1024) /* against 128 KiB: the same time, and pays for the index */
#define PIECE                                                                                      \
	(1U << 20) /* read at a time; files up to this size are compared whole before they are     \
		      packed */

struct seen {
	UT_hash_handle hh;
	uint32_t id;
	uint8_t digest[KP_DIGEST_LEN];
};

struct long_size { /* a file of more than one piece has it */
	UT_hash_handle hh;
	uint64_t size;
};

/* What was packed already. */
struct packed {
	struct seen *files;
	struct long_size *sizes;
};

int kp_write_sq_fail(struct kp_write *w, int sqfs_error)
{
	int code = kp_sq_file_errno(w->file);

	if (sqfs_error == SQFS_ERROR_IO && code)
		return kp_fail_errno(w->err, code, "writing the image");
	return kp_fail(w->err, EIO, "writing the image: %s", kp_sq_reason(sqfs_error));
}

static unsigned jobs(const struct kp_write *w)
{
	cpu_set_t set;

	if (w->o->jobs)
		return KP_MIN(w->o->jobs, 256U);
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static int make_compressors(struct kp_write *w)
{
	sqfs_compressor_config_t cfg;
	int rc = sqfs_compressor_config_init(&cfg, SQFS_COMP_ZSTD, BLOCK_SIZE, 0);

	cfg.level = w->o->level ? (sqfs_u32)w->o->level : SQFS_ZSTD_DEFAULT_LEVEL;
	if (!rc)
		rc = sqfs_compressor_create(&cfg, &w->cmp);
	cfg.flags |= SQFS_COMP_FLAG_UNCOMPRESS;
	if (!rc)
		rc = sqfs_compressor_create(&cfg, &w->uncmp);
	return rc;
}

static int open_writers(struct kp_write *w)
{
	sqfs_block_processor_desc_t desc = {.size = sizeof(desc), .max_block_size = BLOCK_SIZE};
	uint32_t mtime =
	    (uint32_t)KP_MIN((int64_t)UINT32_MAX, KP_MAX((int64_t)0, w->o->mtime_clamp));
	int rc;

	w->file = kp_sq_file_new(w->fd, w->t.squashfs_off, 0, true);
	rc = make_compressors(w);
	if (!rc)
		rc = sqfs_super_init(&w->super, BLOCK_SIZE,
				     w->o->mtime_clamp == INT64_MAX ? 0 : mtime, SQFS_COMP_ZSTD);
	if (!rc)
		rc = sqfs_super_write(&w->super, w->file);
	if (!rc)
		rc = w->cmp->write_options(w->cmp, w->file);
	if (rc < 0)
		return rc;
	if (rc > 0)
		w->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
	w->ids = sqfs_id_table_create(0);
	w->frags = sqfs_frag_table_create(0);
	w->blocks = sqfs_block_writer_create(w->file, SQFS_DEVBLK_SIZE, 0);
	if (!w->ids || !w->frags || !w->blocks)
		return SQFS_ERROR_ALLOC;
	desc.num_workers = jobs(w);
	desc.max_backlog = 16 * desc.num_workers;
	desc.cmp = w->cmp;
	desc.uncmp = w->uncmp;
	desc.wr = w->blocks;
	desc.tbl = w->frags;
	desc.file = w->file;
	return sqfs_block_processor_create_ex(&desc, &w->proc);
}

static void close_writers(struct kp_write *w)
{
	sqfs_destroy(w->proc); /* first: its threads use the rest */
	sqfs_destroy(w->blocks);
	sqfs_destroy(w->frags);
	sqfs_destroy(w->ids);
	sqfs_destroy(w->cmp);
	sqfs_destroy(w->uncmp);
	sqfs_destroy(w->file);
}

static int fail_changed(struct kp_write *w, const struct kp_tfile *f)
{
	return kp_fail(w->err, EBUSY, "%s: cannot be packed: it changed while the image was made",
		       f->host_path);
}

/* The next len bytes of the file. */
static int read_piece(struct kp_write *w, const struct kp_tfile *f, int fd, uint64_t at, void *buf,
		      size_t len)
{
	int rc;

	if (f->data || len == 0) {
		if (len)
			memcpy(buf, (const char *)f->data + at, len);
		return 0;
	}
	rc = kp_read_full(fd, buf, len);
	if (rc == -ENODATA)
		return fail_changed(w, f);
	return rc ? kp_fail_errno(w->err, -rc, "%s", f->host_path) : 0;
}

static int open_content(struct kp_write *w, const struct kp_tfile *f, int *ret_fd)
{
	struct stat st;

	if (!f->host_path)
		return 0;
	*ret_fd = open(f->host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*ret_fd < 0 || fstat(*ret_fd, &st) < 0)
		return kp_fail_errno(w->err, errno, "%s", f->host_path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
		return fail_changed(w, f);
	return 0;
}

static int report(struct kp_write *w, uint64_t len)
{
	w->done += len;
	if (w->o->progress)
		w->o->progress(w->done, w->total, w->o->progress_ctx);
	if (w->o->cancel && *w->o->cancel)
		return kp_fail(w->err, ECANCELED, "writing the image: cancelled");
	return 0;
}

/* True when a file of that content was packed already. */
static bool same_seen(struct kp_write *w, uint32_t id, const struct packed *packed)
{
	struct kp_witem *it = &w->items[id];
	struct seen *s;

	HASH_FIND(hh, packed->files, it->digest, KP_DIGEST_LEN, s);
	if (s)
		it->same_as = s->id;
	return s;
}

static bool size_seen(uint64_t size, const struct packed *packed)
{
	struct long_size *l;

	HASH_FIND(hh, packed->sizes, &size, sizeof(size), l);
	return l;
}

static void remember(struct kp_write *w, uint32_t id, struct packed *packed)
{
	struct seen *s = kp_calloc(1, sizeof(*s));
	uint64_t size = w->items[id].node->file->size;

	s->id = id;
	memcpy(s->digest, w->items[id].digest, KP_DIGEST_LEN);
	HASH_ADD(hh, packed->files, digest, KP_DIGEST_LEN, s);
	if (size > PIECE && !size_seen(size, packed)) {
		struct long_size *l = kp_calloc(1, sizeof(*l));

		l->size = size;
		HASH_ADD(hh, packed->sizes, size, sizeof(l->size), l);
	}
}

static void forget(struct packed *packed)
{
	struct long_size *l, *next_size;
	struct seen *s, *next;

	HASH_ITER (hh, packed->files, s, next) {
		HASH_DEL(packed->files, s);
		free(s);
	}
	HASH_ITER (hh, packed->sizes, l, next_size) {
		HASH_DEL(packed->sizes, l);
		free(l);
	}
}

static int digest_ahead(struct kp_write *w, const struct kp_tfile *f, int fd, uint8_t *buf, uint8_t *ret_digest)
{
	crypto_generichash_state hash;
	int rc = 0;

	crypto_generichash_init(&hash, NULL, 0, KP_DIGEST_LEN);
	for (uint64_t at = 0; !rc && at < f->size; at += PIECE) {
		size_t len = (size_t)KP_MIN((uint64_t)PIECE, f->size - at);

		rc = read_piece(w, f, fd, at, buf, len);
		crypto_generichash_update(&hash, buf, len);
	}
	crypto_generichash_final(&hash, ret_digest, KP_DIGEST_LEN);
	if (!rc && fd >= 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = kp_fail_errno(w->err, errno, "%s", f->host_path);
	return rc;
}

static int pack_pieces(struct kp_write *w, uint32_t id, int fd, uint8_t *buf, struct packed *packed)
{
	struct kp_witem *it = &w->items[id];
	const struct kp_tfile *f = it->node->file;
	crypto_generichash_state hash;
	uint64_t at = 0;
	int rc = 0, sq = 0;

	/* Reading a long file twice costs a fraction of compressing it twice. */
	if (f->size > PIECE && size_seen(f->size, packed)) {
		rc = digest_ahead(w, f, fd, buf, it->digest);
		if (!rc && same_seen(w, id, packed))
			return report(w, f->size);
	}
	crypto_generichash_init(&hash, NULL, 0, KP_DIGEST_LEN);
	while (!rc) {
		size_t len = (size_t)KP_MIN((uint64_t)PIECE, f->size - at);

		rc = read_piece(w, f, fd, at, buf, len);
		if (rc)
			return rc;
		crypto_generichash_update(&hash, buf, len);
		if (at + len == f->size)
			crypto_generichash_final(&hash, it->digest, KP_DIGEST_LEN);
		if (f->size <= PIECE && same_seen(w, id, packed))
			return report(w, len);
		if (at == 0)
			sq = sqfs_block_processor_begin_file(w->proc, &it->inode, NULL, 0);
		if (!sq && len)
			sq = sqfs_block_processor_append(w->proc, buf, len);
		if (sq)
			return kp_write_sq_fail(w, sq);
		rc = report(w, len);
		at += len;
		if (at >= f->size)
			break;
	}
	if (rc)
		return rc;
	if (f->host_path && read(fd, buf, 1) != 0)
		return fail_changed(w, f);
	remember(w, id, packed);
	sq = sqfs_block_processor_end_file(w->proc);
	return sq ? kp_write_sq_fail(w, sq) : 0;
}

static int pack_content(struct kp_write *w)
{
	kp_autofree uint8_t *buf = kp_calloc(1, PIECE);
	struct packed packed = {0};
	int rc = 0;

	for (uint32_t id = 0; !rc && id < w->count; id++) {
		const struct kp_witem *it = &w->items[id];
		kp_autoclose int fd = -1;

		if (!it->node->file || it->ino != id)
			continue;
		rc = open_content(w, it->node->file, &fd);
		if (!rc)
			rc = pack_pieces(w, id, fd, buf, &packed);
	}
	forget(&packed);
	return rc;
}

/* Files of equal content: an inode each, over the same blocks. */
static void copy_inodes(struct kp_write *w)
{
	for (uint32_t id = 0; id < w->count; id++) {
		struct kp_witem *it = &w->items[id];
		const sqfs_inode_generic_t *from;
		size_t len;

		if (it->same_as == KP_NO_ENTRY)
			continue;
		from = w->items[it->same_as].inode;
		len = sizeof(*from) + from->payload_bytes_used;
		it->inode = kp_calloc(1, len);
		memcpy(it->inode, from, len);
		it->inode->payload_bytes_available = from->payload_bytes_used;
	}
}

static int finish(struct kp_write *w)
{
	int rc = sqfs_frag_table_write(w->frags, w->file, &w->super, w->cmp);

	if (!rc)
		rc = sqfs_id_table_write(w->ids, w->file, &w->super, w->cmp);
	w->super.flags |= SQFS_FLAG_NO_XATTRS;
	w->super.inode_count = w->inodes;
	w->super.root_inode_ref = w->items[KP_ROOT_ENTRY].ref;
	w->super.bytes_used = w->file->get_size(w->file);
	if (!rc)
		rc = sqfs_super_write(&w->super, w->file);
	if (rc)
		return kp_write_sq_fail(w, rc);
	w->t.squashfs_len =
	    (w->super.bytes_used + KP_IMAGE_ALIGN - 1) / KP_IMAGE_ALIGN * KP_IMAGE_ALIGN;
	if (ftruncate(w->fd, (off_t)(w->t.squashfs_off + w->t.squashfs_len)) < 0)
		return kp_fail_errno(w->err, errno, "writing the image");
	return 0;
}

int kp_write_squashfs(struct kp_write *w)
{
	int rc, sq = open_writers(w);

	if (sq) {
		rc = kp_write_sq_fail(w, sq);
	} else {
		rc = pack_content(w);
		/* After a failure too: the library forgets what is under way when it is not let
		 * finish. */
		if (rc)
			(void)sqfs_block_processor_end_file(w->proc);
		sq = sqfs_block_processor_finish(w->proc);
		if (!rc && sq)
			rc = kp_write_sq_fail(w, sq);
		if (!rc) {
			copy_inodes(w);
			rc = kp_write_inodes(w);
		}
		if (!rc)
			rc = finish(w);
	}
	close_writers(w);
	return rc;
}
