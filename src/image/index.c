/* SPDX-License-Identifier: Apache-2.0 */
/* The index in use: chunks loaded and checked on first touch, records checked at each use. */
#include <sodium.h>
#include <sys/stat.h>

#include "image/internal.h"

static int load_chunk(const struct kp_image *image, uint32_t chunk)
{
	/* Filling in what was not loaded yet is the one change an opened image sees. */
	struct kp_image *writable = (struct kp_image *)(uintptr_t)image;
	uint64_t at = (uint64_t)chunk * KP_INDEX_CHUNK;
	size_t len = (size_t)KP_MIN((uint64_t)KP_INDEX_CHUNK, image->t.index_len - at);
	uint8_t digest[KP_FORMAT_DIGEST];
	int rc = 0;

	pthread_mutex_lock(&writable->load_lock);
	if (!atomic_load_explicit(&image->loaded[chunk], memory_order_relaxed)) {
		rc = kp_pread_full(image->fd, writable->index + at, len, image->t.index_off + at);
		if (!rc) {
			crypto_generichash(digest, sizeof(digest), image->index + at, len, NULL, 0);
			if (memcmp(digest, image->chunk_digests + (size_t)chunk * KP_FORMAT_DIGEST,
				   sizeof(digest)) != 0)
				rc = -EIO;
		}
		if (!rc)
			atomic_store_explicit(&writable->loaded[chunk], 1, memory_order_release);
		else
			KP_DEBUG(IMAGE, "%s: index chunk %u is damaged", image->name, chunk);
	}
	pthread_mutex_unlock(&writable->load_lock);
	return rc ? -EIO : 0;
}

int kp_image_load(const struct kp_image *image, uint64_t offset, uint64_t len)
{
	uint32_t last = (uint32_t)((offset + len - 1) / KP_INDEX_CHUNK);

	for (uint32_t c = (uint32_t)(offset / KP_INDEX_CHUNK); c <= last; c++)
		if (!atomic_load_explicit(&image->loaded[c], memory_order_acquire) &&
		    load_chunk(image, c) < 0)
			return -EIO;
	return 0;
}

const struct kp_disk_record *kp_image_record(const struct kp_image *image, uint32_t id)
{
	uint64_t at = (uint64_t)id * sizeof(struct kp_disk_record);

	if (id >= image->t.count || kp_image_load(image, at, sizeof(struct kp_disk_record)) < 0)
		return NULL;
	return (const void *)(image->index + at);
}

/* A string of len bytes without NUL, NUL-terminated in the index, or NULL. */
static const char *string_at(const struct kp_image *image, uint32_t off, size_t len)
{
	uint64_t base = (uint64_t)image->t.count * sizeof(struct kp_disk_record);
	const char *s;

	if (base + off + len + 1 > image->t.index_len - image->t.hive_len ||
	    kp_image_load(image, base + off, len + 1) < 0)
		return NULL;
	s = (const char *)image->index + base + off;
	return s[len] == '\0' && !memchr(s, '\0', len) ? s : NULL;
}

static const char *name_of(const struct kp_image *image, uint32_t id,
			   const struct kp_disk_record *r)
{
	const char *s;

	if (r->name_len > KP_NAME_LIMIT || (r->name_len == 0) != (id == KP_ROOT_ENTRY))
		return NULL;
	s = string_at(image, r->name_off, r->name_len);
	if (!s || memchr(s, '/', r->name_len) || !strcmp(s, ".") || !strcmp(s, ".."))
		return NULL;
	return s;
}

static bool children_fit(const struct kp_image *image, uint32_t id, const struct kp_disk_record *r)
{
	return r->count == 0 || (r->first > id && r->first < image->t.count &&
				 r->count <= image->t.count - r->first);
}

/* What holds for every type. */
static bool sane(uint32_t id, const struct kp_disk_record *r)
{
	if (id == KP_ROOT_ENTRY ? (r->parent != 0 || !S_ISDIR(r->mode)) : r->parent >= id)
		return false;
	if (r->ino > id || (r->ino != id && !S_ISREG(r->mode)))
		return false;
	return !(r->mode & (S_ISUID | S_ISGID)) && r->nlink >= 1 && r->mtime >= 0 &&
	       r->mtime <= UINT32_MAX;
}

int kp_image_entry(const struct kp_image *image, uint32_t id, struct kp_entry *ret_entry)
{
	const struct kp_disk_record *r = kp_image_record(image, id);
	struct kp_entry e = {.id = id};

	if (!r || !sane(id, r) || !(e.name = name_of(image, id, r)))
		return -EIO;
	e.parent = r->parent;
	e.mode = r->mode;
	e.nlink = r->nlink;
	e.ino = r->ino;
	e.size = r->size;
	e.mtime = r->mtime;
	switch (r->mode & S_IFMT) {
	case S_IFREG:
		if (r->size > KP_FILE_LIMIT)
			return -EIO;
		e.digest = r->digest;
		break;
	case S_IFDIR:
		if (r->size != 0 || !children_fit(image, id, r))
			return -EIO;
		e.first_child = r->count ? r->first : 0;
		e.child_count = r->count;
		break;
	case S_IFLNK:
		if (r->size < 1 || r->size > KP_TARGET_LIMIT ||
		    !(e.target = string_at(image, r->first, (size_t)r->size)))
			return -EIO;
		break;
	default:
		return -EIO;
	}
	*ret_entry = e;
	return 0;
}

uint32_t kp_image_child(const struct kp_image *image, uint32_t dir, const char *name, size_t len)
{
	const struct kp_disk_record *d = kp_image_record(image, dir);
	uint32_t low, high;

	if (!d || (S_ISDIR(d->mode) && !children_fit(image, dir, d)))
		return KP_DAMAGED_ENTRY;
	if (!S_ISDIR(d->mode) || len == 0 || len > KP_NAME_LIMIT)
		return KP_NO_ENTRY;
	low = d->first;
	high = d->first + d->count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct kp_disk_record *r = kp_image_record(image, mid);
		const char *s = r ? name_of(image, mid, r) : NULL;
		int order;

		if (!s)
			return KP_DAMAGED_ENTRY;
		order = memcmp(name, s, KP_MIN(len, (size_t)r->name_len));
		if (order == 0 && len == r->name_len)
			return r->parent == dir ? mid : KP_DAMAGED_ENTRY;
		if (order < 0 || (order == 0 && len < r->name_len))
			high = mid;
		else
			low = mid + 1;
	}
	return KP_NO_ENTRY;
}

uint32_t kp_image_find(const struct kp_image *image, const char *path)
{
	uint32_t id = KP_ROOT_ENTRY;

	if (path[0] != '/')
		return KP_NO_ENTRY;
	for (;;) {
		size_t len;

		path += strspn(path, "/");
		if (!*path)
			return id;
		len = strcspn(path, "/");
		id = kp_image_child(image, id, path, len);
		if (id == KP_NO_ENTRY || id == KP_DAMAGED_ENTRY)
			return id;
		path += len;
	}
}

int kp_image_path(const struct kp_image *image, uint32_t id, char *buf, size_t size)
{
	size_t at = size;

	if (size < 2)
		return -ENAMETOOLONG;
	buf[--at] = '\0';
	if (id == KP_ROOT_ENTRY)
		buf[--at] = '/';
	/* sane() has parent < id, so this ends. */
	while (id != KP_ROOT_ENTRY) {
		const struct kp_disk_record *r = kp_image_record(image, id);
		const char *name = r && sane(id, r) ? name_of(image, id, r) : NULL;

		if (!name)
			return -EIO;
		if (at < (size_t)r->name_len + 1)
			return -ENAMETOOLONG;
		at -= r->name_len;
		memcpy(buf + at, name, r->name_len);
		buf[--at] = '/';
		id = r->parent;
	}
	memmove(buf, buf + at, size - at);
	return 0;
}

int kp_image_hive(const struct kp_image *image, uint64_t offset, uint64_t len, const void **ret)
{
	uint64_t at = image->t.hive_off - image->t.index_off;

	if (!image->t.hive_len)
		return -ENOENT;
	if (offset > image->t.hive_len || len > image->t.hive_len - offset || (len && kp_image_load(image, at + offset, len) < 0))
		return -EIO;
	*ret = image->index + at + offset;
	return 0;
}

uint64_t kp_image_hive_len(const struct kp_image *image)
{
	return image->t.hive_len;
}
