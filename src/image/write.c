/* SPDX-License-Identifier: Apache-2.0 */
/* The image file as a whole: launcher, head, squashfs, index, manifest, trailer. */
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/write.h"

int64_t kp_write_mtime(const struct kp_write *w, const struct kp_tnode *node)
{
	int64_t t = KP_MIN(node->file ? node->file->mtime : node->mtime, w->o->mtime_clamp);

	/* squashfs keeps 32 bits; the index says the same. */
	return t < 0 ? 0 : KP_MIN(t, (int64_t)UINT32_MAX);
}

mode_t kp_write_mode(const struct kp_tnode *node)
{
	return node->file     ? S_IFREG | node->file->mode
	       : node->target ? S_IFLNK | 0777
			      : S_IFDIR | node->mode;
}

static uint32_t count_nodes(const struct kp_tnode *n)
{
	uint32_t count = 1;

	for (const struct kp_tnode *kid = n->kids; kid; kid = kid->hh.next)
		count += count_nodes(kid);
	return count;
}

static void forget_ids(const struct kp_tnode *n)
{
	if (n->file)
		n->file->write_id = KP_NO_ENTRY;
	for (const struct kp_tnode *kid = n->kids; kid; kid = kid->hh.next)
		forget_ids(kid);
}

static void set_item(struct kp_write *w, uint32_t id, const struct kp_tnode *node, uint32_t parent)
{
	struct kp_witem *it = &w->items[id];

	it->node = node;
	it->parent = parent;
	it->ino = id;
	it->same_as = KP_NO_ENTRY;
	if (node->file && node->file->write_id != KP_NO_ENTRY) {
		it->ino = node->file->write_id;
		return;
	}
	it->inode_number = ++w->inodes;
	if (node->file) {
		node->file->write_id = id;
		w->total += node->file->size;
	}
}

/* Ids breadth-first, so that children are consecutive. */
static void number(struct kp_write *w, const struct kp_tree *t)
{
	uint32_t next = 1;

	forget_ids(t->root);
	w->count = count_nodes(t->root);
	w->items = kp_calloc(w->count, sizeof(*w->items));
	set_item(w, 0, t->root, 0);
	for (uint32_t id = 0; id < w->count; id++) {
		struct kp_witem *it = &w->items[id];
		kp_autofree struct kp_tnode **kids = NULL;
		size_t n;

		if (!it->node->kids)
			continue;
		kids = kp_tnode_sorted(it->node, &n);
		it->first = next;
		it->count = (uint32_t)n;
		for (size_t i = 0; i < n; i++) {
			it->subdirs += kp_tnode_is_dir(kids[i]);
			set_item(w, next++, kids[i], id);
		}
	}
}

static int put(struct kp_write *w, uint64_t at, const void *data, size_t len)
{
	int rc = lseek(w->fd, (off_t)at, SEEK_SET) < 0 ? -errno : kp_write_full(w->fd, data, len);

	return rc ? kp_fail_errno(w->err, -rc, "writing the image") : 0;
}

static uint64_t aligned(uint64_t at)
{
	return (at + KP_IMAGE_ALIGN - 1) / KP_IMAGE_ALIGN * KP_IMAGE_ALIGN;
}

static int write_launcher(struct kp_write *w)
{
	kp_autoclose int in = -1;
	struct stat st;
	int rc;

	if (w->o->launcher) {
		in = open(w->o->launcher, O_RDONLY | O_CLOEXEC);
		if (in < 0 || fstat(in, &st) < 0)
			return kp_fail_errno(w->err, errno, "%s: launcher", w->o->launcher);
		rc = kp_copy_data(in, w->fd, (uint64_t)st.st_size);
		if (rc)
			return kp_fail_errno(w->err, -rc, "%s: copying the launcher",
					     w->o->launcher);
		w->t.launcher_len = (uint64_t)st.st_size;
	}
	w->t.squashfs_off = aligned(w->t.launcher_len + sizeof(struct kp_disk_head));
	return 0;
}

/* Reads back all that stands before the index: the squashfs is not written front to back. */
static int digest_payload(struct kp_write *w)
{
	kp_autofree uint8_t *buf = kp_calloc(1, 1 << 20);
	crypto_generichash_state hash;

	crypto_generichash_init(&hash, NULL, 0, KP_FORMAT_DIGEST);
	for (uint64_t at = 0; at < w->t.index_off;) {
		size_t len = (size_t)KP_MIN((uint64_t)1 << 20, w->t.index_off - at);
		int rc = kp_pread_full(w->fd, buf, len, at);

		if (rc)
			return kp_fail_errno(w->err, -rc, "reading the image back");
		crypto_generichash_update(&hash, buf, len);
		at += len;
	}
	crypto_generichash_final(&hash, w->t.payload_digest, KP_FORMAT_DIGEST);
	return 0;
}

static int write_ends(struct kp_write *w)
{
	struct kp_disk_head head = {.version = KP_IMAGE_VERSION};
	struct kp_disk_trailer *t = &w->t;
	int rc = put(w, t->manifest_off, w->o->manifest, t->manifest_len);

	t->total_size = t->manifest_off + t->manifest_len + sizeof(*t);
	memcpy(head.magic, KP_HEAD_MAGIC, KP_MAGIC_LEN);
	head.total_size = t->total_size;
	head.squashfs_off = t->squashfs_off;
	if (!rc)
		rc = put(w, t->squashfs_off - sizeof(head), &head, sizeof(head));
	if (!rc)
		rc = digest_payload(w);
	if (rc)
		return rc;
	memcpy(t->magic, KP_TRAILER_MAGIC, KP_MAGIC_LEN);
	t->version = KP_IMAGE_VERSION;
	t->trailer_size = sizeof(*t);
	crypto_generichash(t->manifest_digest, KP_FORMAT_DIGEST, (const uint8_t *)w->o->manifest,
			   t->manifest_len, NULL, 0);
	crypto_generichash(t->self_digest, KP_FORMAT_DIGEST, (const uint8_t *)t,
			   offsetof(struct kp_disk_trailer, self_digest), NULL, 0);
	return put(w, t->total_size - sizeof(*t), t, sizeof(*t));
}

static int write_all(struct kp_write *w)
{
	int rc = write_launcher(w);

	if (!rc)
		rc = kp_write_squashfs(w);
	if (rc)
		return rc;
	w->t.index_off = aligned(w->t.squashfs_off + w->t.squashfs_len);
	rc = kp_write_index(w);
	return rc ? rc : write_ends(w);
}

int kp_tree_write(const struct kp_tree *t, int out_fd, const struct kp_write_options *o,
		  struct kp_err *err)
{
	struct kp_write w = {.o = o, .fd = out_fd, .err = err};
	int rc;

	if (sodium_init() < 0)
		return kp_fail(err, EIO, "libsodium does not start");
	if (o->manifest_len > KP_MANIFEST_LIMIT ||
	    (o->manifest_len && memchr(o->manifest, 0, o->manifest_len)))
		return kp_fail(err, EINVAL, "the manifest is too large or holds a zero byte");
	if (o->level < 0 || o->level > 22)
		return kp_fail(err, EINVAL, "compression level %d: not in 1..22", o->level);
	w.t.manifest_len = o->manifest_len;
	number(&w, t);
	rc = write_all(&w);
	for (uint32_t i = 0; i < w.count; i++)
		sqfs_free(w.items[i].inode);
	free(w.items);
	return rc;
}
