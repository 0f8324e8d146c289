/* SPDX-License-Identifier: Apache-2.0 */
/* The index section: a record an entry, strings stored once, a digest a chunk. */
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/write.h"

struct known {
	UT_hash_handle hh;
	uint32_t off;
	char text[];
};

struct strings {
	struct kp_buf buf;
	struct known *known;
};

/* Offset of s in the strings; equal strings are stored once. */
static uint32_t intern(struct strings *st, const char *s)
{
	size_t len = strlen(s);
	struct known *k;

	HASH_FIND(hh, st->known, s, len, k);
	if (!k) {
		k = kp_calloc(1, sizeof(*k) + len + 1);
		memcpy(k->text, s, len);
		k->off = (uint32_t)st->buf.len;
		kp_buf_add(&st->buf, s, len + 1);
		HASH_ADD_KEYPTR(hh, st->known, k->text, len, k);
	}
	return k->off;
}

static void fill(struct kp_write *w, uint32_t id, struct strings *st, struct kp_disk_record *r)
{
	const struct kp_witem *it = &w->items[id], *inode = &w->items[it->ino];
	const struct kp_tnode *n = it->node;

	r->name_off = intern(st, n->name);
	r->name_len = (uint16_t)strlen(n->name);
	r->mode = (uint16_t)kp_write_mode(n);
	r->parent = it->parent;
	r->ino = it->ino;
	r->mtime = kp_write_mtime(w, n);
	r->inode_ref = inode->ref;
	if (n->file) {
		r->nlink = n->file->names;
		r->size = n->file->size;
		memcpy(r->digest, inode->digest, sizeof(r->digest));
	} else if (n->target) {
		r->nlink = 1;
		r->first = intern(st, n->target);
		r->size = strlen(n->target);
	} else {
		r->nlink = 2 + it->subdirs;
		r->first = it->first;
		r->count = it->count;
	}
}

static int write_section(struct kp_write *w, const struct kp_buf *index)
{
	struct kp_disk_trailer *t = &w->t;
	kp_autofree uint8_t *digests = NULL;
	int rc;

	t->index_len = index->len;
	t->record_size = sizeof(struct kp_disk_record);
	t->count = w->count;
	t->chunk_size = KP_INDEX_CHUNK;
	t->chunk_count = (uint32_t)((index->len + KP_INDEX_CHUNK - 1) / KP_INDEX_CHUNK);
	t->chunks_off = t->index_off + t->index_len;
	t->manifest_off = t->chunks_off + (uint64_t)t->chunk_count * KP_FORMAT_DIGEST;
	digests = kp_calloc(t->chunk_count, KP_FORMAT_DIGEST);
	for (uint32_t c = 0; c < t->chunk_count; c++) {
		size_t at = (size_t)c * KP_INDEX_CHUNK;

		crypto_generichash(digests + (size_t)c * KP_FORMAT_DIGEST, KP_FORMAT_DIGEST,
				   (const uint8_t *)index->data + at,
				   KP_MIN((size_t)KP_INDEX_CHUNK, index->len - at), NULL, 0);
	}
	crypto_generichash(t->index_digest, KP_FORMAT_DIGEST, digests,
			   (size_t)t->chunk_count * KP_FORMAT_DIGEST, NULL, 0);
	if (lseek(w->fd, (off_t)t->index_off, SEEK_SET) < 0)
		return kp_fail_errno(w->err, errno, "writing the image");
	rc = kp_write_full(w->fd, index->data, index->len);
	if (!rc)
		rc = kp_write_full(w->fd, digests, (size_t)t->chunk_count * KP_FORMAT_DIGEST);
	return rc ? kp_fail_errno(w->err, -rc, "writing the image") : 0;
}

int kp_write_index(struct kp_write *w)
{
	size_t len = (size_t)w->count * sizeof(struct kp_disk_record);
	kp_autofree struct kp_disk_record *records = kp_calloc(1, len);
	kp_autobuf struct kp_buf index = {0};
	struct strings st = {0};
	struct known *k, *next;
	int rc = 0;

	for (uint32_t id = 0; !rc && id < w->count; id++) {
		fill(w, id, &st, &records[id]);
		if (st.buf.len > UINT32_MAX - KP_PATH_LIMIT)
			rc = kp_fail(w->err, EFBIG, "the image's names take more than 4 GiB");
	}
	if (!rc) {
		kp_buf_add(&index, records, len);
		kp_buf_add(&index, st.buf.data, st.buf.len);
		if (w->o->hive_len) {
			kp_buf_add(&index, "\0\0\0\0\0\0\0", (8 - index.len % 8) % 8);
			w->t.hive_off = w->t.index_off + index.len;
			w->t.hive_len = w->o->hive_len;
			kp_buf_add(&index, w->o->hive, w->o->hive_len);
		}
		rc = write_section(w, &index);
	}
	HASH_ITER (hh, st.known, k, next) {
		HASH_DEL(st.known, k);
		free(k);
	}
	kp_buf_free(&st.buf);
	return rc;
}
