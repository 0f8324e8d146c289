/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an image: trailer, manifest, and the plain error when the file is not whole. */
#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

/* Where the ELF at the start of fd ends, by its section headers; 0 when there is none. */
static uint64_t elf_end(int fd, uint64_t size)
{
	Elf64_Ehdr eh;
	uint64_t end;

	if (size < sizeof(eh) || kp_pread_full(fd, &eh, sizeof(eh), 0) < 0 ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return 0;
	end = eh.e_shoff + (uint64_t)eh.e_shnum * eh.e_shentsize;
	return end < eh.e_shoff || end > size ? 0 : end;
}

/* The head stands in the last bytes of the page after which the squashfs starts. */
static bool read_head(int fd, uint64_t size, struct kp_disk_head *ret_head)
{
	uint64_t at = elf_end(fd, size) + sizeof(*ret_head);

	at = (at + KP_IMAGE_ALIGN - 1) / KP_IMAGE_ALIGN * KP_IMAGE_ALIGN;
	if (at > size || kp_pread_full(fd, ret_head, sizeof(*ret_head), at - sizeof(*ret_head)) < 0)
		return false;
	return !memcmp(ret_head->magic, KP_HEAD_MAGIC, KP_MAGIC_LEN) &&
	       ret_head->squashfs_off == at;
}

static bool read_trailer(int fd, uint64_t end, struct kp_disk_trailer *ret_t)
{
	return end >= sizeof(*ret_t) &&
	       kp_pread_full(fd, ret_t, sizeof(*ret_t), end - sizeof(*ret_t)) == 0 &&
	       !memcmp(ret_t->magic, KP_TRAILER_MAGIC, KP_MAGIC_LEN);
}

bool kp_image_present(int fd)
{
	struct kp_disk_trailer t;
	struct kp_disk_head h;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		return false;
	return read_trailer(fd, (uint64_t)st.st_size, &t) ||
	       read_head(fd, (uint64_t)st.st_size, &h);
}

uint64_t kp_image_launcher_len(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		return 0;
	return kp_image_present(fd) ? elf_end(fd, (uint64_t)st.st_size) : (uint64_t)st.st_size;
}

/* There is no trailer at the end of the file: says why as exactly as the rest of it allows. */
static int fail_no_trailer(int fd, const char *name, uint64_t size, struct kp_err *err)
{
	struct kp_disk_trailer t;
	struct kp_disk_head h;

	if (!read_head(fd, size, &h))
		return kp_fail(err, EINVAL, "%s: not a kapsel image", name);
	if (size < h.total_size)
		return kp_fail(err, EINVAL,
			       "%s: cut short: %" PRIu64 " of %" PRIu64 " bytes are missing", name,
			       h.total_size - size, h.total_size);
	if (size > h.total_size && read_trailer(fd, h.total_size, &t)) {
		(void)kp_fail(err, EINVAL, "%s: %" PRIu64 " bytes were appended to the image", name,
			      size - h.total_size);
		return kp_hint(err, "truncate -s %" PRIu64 " restores it", h.total_size);
	}
	return kp_fail(err, EINVAL, "%s: damaged: the end of the image was overwritten", name);
}

static int check_regions(const struct kp_disk_trailer *t, const char *name, struct kp_err *err)
{
	const uint64_t total = t->total_size;
	const uint64_t all[] = {t->launcher_len, t->squashfs_off, t->squashfs_len, t->index_off,
				t->index_len,	 t->chunks_off,	  t->manifest_off, t->manifest_len};

	for (size_t i = 0; i < KP_ARRAY_LEN(all); i++)
		if (all[i] > total)
			return kp_fail(err, EINVAL, "%s: damaged: a part lies outside the file",
				       name);
	/* Each value is at most the size of a file: no sum of two wraps. */
	if (t->squashfs_off % KP_IMAGE_ALIGN || t->index_off % KP_IMAGE_ALIGN ||
	    t->launcher_len > t->squashfs_off || t->squashfs_off + t->squashfs_len > t->index_off ||
	    t->index_off + t->index_len != t->chunks_off ||
	    t->chunks_off + (uint64_t)t->chunk_count * KP_FORMAT_DIGEST != t->manifest_off ||
	    t->manifest_off + t->manifest_len != total - sizeof(*t))
		return kp_fail(err, EINVAL, "%s: damaged: its parts do not fit together", name);
	if (t->record_size != sizeof(struct kp_disk_record) || t->chunk_size != KP_INDEX_CHUNK ||
	    t->chunk_count != (t->index_len + KP_INDEX_CHUNK - 1) / KP_INDEX_CHUNK ||
	    t->count == 0 || t->count >= KP_DAMAGED_ENTRY ||
	    (uint64_t)t->count * sizeof(struct kp_disk_record) > t->index_len)
		return kp_fail(err, EINVAL, "%s: damaged: the index does not fit its size", name);
	if ((t->hive_off || t->hive_len) &&
	    (t->hive_off % 8 || t->hive_off < t->index_off + (uint64_t)t->count * sizeof(struct kp_disk_record) ||
	     t->hive_off > t->chunks_off || t->hive_len != t->chunks_off - t->hive_off))
		return kp_fail(err, EINVAL, "%s: damaged: the hive does not fit the index", name);
	if (t->manifest_len > KP_MANIFEST_LIMIT)
		return kp_fail(err, EINVAL, "%s: damaged: the manifest is too large", name);
	return 0;
}

static int check_trailer(const struct kp_disk_trailer *t, const char *name, uint64_t size,
			 struct kp_err *err)
{
	uint8_t digest[KP_FORMAT_DIGEST];

	if (t->version > KP_IMAGE_VERSION) {
		(void)kp_fail(err, EINVAL, "%s: image format %u: this kapsel reads %u", name,
			      t->version, KP_IMAGE_VERSION);
		return kp_hint(err, "a newer kapsel is needed");
	}
	crypto_generichash(digest, sizeof(digest), (const uint8_t *)t,
			   offsetof(struct kp_disk_trailer, self_digest), NULL, 0);
	if (t->version != KP_IMAGE_VERSION || t->trailer_size != sizeof(*t) ||
	    memcmp(digest, t->self_digest, sizeof(digest)) != 0)
		return kp_fail(err, EINVAL, "%s: damaged: the trailer does not match its digest",
			       name);
	if (size < t->total_size)
		return kp_fail(err, EINVAL,
			       "%s: cut short: %" PRIu64 " of %" PRIu64
			       " bytes are missing before the end",
			       name, t->total_size - size, t->total_size);
	if (size > t->total_size)
		return kp_fail(err, EINVAL, "%s: %" PRIu64 " bytes were inserted into the image",
			       name, size - t->total_size);
	return check_regions(t, name, err);
}

static int read_manifest(struct kp_image *image, struct kp_err *err)
{
	uint8_t digest[KP_FORMAT_DIGEST];
	size_t len = (size_t)image->t.manifest_len;
	int rc;

	image->manifest = kp_calloc(1, len + 1);
	rc = kp_pread_full(image->fd, image->manifest, len, image->t.manifest_off);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: reading the manifest", image->name);
	crypto_generichash(digest, sizeof(digest), (const uint8_t *)image->manifest, len, NULL, 0);
	if (memcmp(digest, image->t.manifest_digest, sizeof(digest)) != 0 ||
	    memchr(image->manifest, 0, len))
		return kp_fail(err, EINVAL, "%s: damaged: the manifest does not match its digest",
			       image->name);
	return 0;
}

static int map_index(struct kp_image *image, struct kp_err *err)
{
	size_t len = (size_t)image->t.chunk_count * KP_FORMAT_DIGEST;
	uint8_t digest[KP_FORMAT_DIGEST];
	void *area;
	int rc;

	image->chunk_digests = kp_calloc(1, len);
	rc = kp_pread_full(image->fd, image->chunk_digests, len, image->t.chunks_off);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: reading the index", image->name);
	crypto_generichash(digest, sizeof(digest), image->chunk_digests, len, NULL, 0);
	if (memcmp(digest, image->t.index_digest, sizeof(digest)) != 0)
		return kp_fail(err, EINVAL, "%s: damaged: the index does not match its digest",
			       image->name);
	area = mmap(NULL, image->t.index_len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return kp_fail_errno(err, errno, "%s: mapping the index", image->name);
	image->index = area;
	image->loaded = kp_calloc(image->t.chunk_count, 1);
	return 0;
}

int kp_image_open(int fd, const char *name, struct kp_image **ret_image, struct kp_err *err)
{
	struct kp_image *image;
	struct stat st;
	int rc;

	if (sodium_init() < 0)
		return kp_fail(err, EIO, "%s: libsodium does not start", name);
	if (fstat(fd, &st) < 0)
		return kp_fail_errno(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return kp_fail(err, EINVAL, "%s: not a kapsel image: not a regular file", name);
	image = kp_calloc(1, sizeof(*image));
	image->name = kp_strdup(name);
	pthread_mutex_init(&image->load_lock, NULL);
	pthread_mutex_init(&image->sq_lock, NULL);
	image->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (image->fd < 0)
		rc = kp_fail_errno(err, errno, "%s", name);
	else if (!read_trailer(fd, (uint64_t)st.st_size, &image->t))
		rc = fail_no_trailer(fd, name, (uint64_t)st.st_size, err);
	else
		rc = check_trailer(&image->t, name, (uint64_t)st.st_size, err);
	if (!rc)
		rc = read_manifest(image, err);
	if (!rc)
		rc = map_index(image, err);
	if (rc) {
		kp_image_free(image);
		return rc;
	}
	static_assert(offsetof(struct kp_disk_trailer, manifest_digest) ==
			  offsetof(struct kp_disk_trailer, index_digest) + KP_FORMAT_DIGEST,
		      "digested together");
	crypto_generichash(image->digest, sizeof(image->digest), image->t.index_digest,
			   2 * KP_FORMAT_DIGEST, NULL, 0);
	KP_DEBUG(IMAGE, "%s: %u entries", name, image->t.count);
	*ret_image = image;
	return 0;
}

struct kp_image *kp_image_free(struct kp_image *image)
{
	if (!image)
		return NULL;
	kp_sq_close(image);
	if (image->index)
		(void)munmap(image->index, image->t.index_len);
	pthread_mutex_destroy(&image->load_lock);
	pthread_mutex_destroy(&image->sq_lock);
	free((void *)image->loaded);
	free(image->chunk_digests);
	free(image->manifest);
	free(image->name);
	kp_close(image->fd);
	free(image);
	return NULL;
}

int kp_image_stat(const struct kp_image *image, struct stat *ret_st)
{
	return fstat(image->fd, ret_st) < 0 ? -errno : 0;
}

const char *kp_image_name(const struct kp_image *image)
{
	return image->name;
}

const uint8_t *kp_image_digest(const struct kp_image *image)
{
	return image->digest;
}

uint32_t kp_image_count(const struct kp_image *image)
{
	return image->t.count;
}

const char *kp_image_manifest(const struct kp_image *image, size_t *ret_len)
{
	if (ret_len)
		*ret_len = (size_t)image->t.manifest_len;
	return image->manifest;
}

void kp_image_squashfs(const struct kp_image *image, uint64_t *ret_offset, uint64_t *ret_len)
{
	*ret_offset = image->t.squashfs_off;
	*ret_len = image->t.squashfs_len;
}
