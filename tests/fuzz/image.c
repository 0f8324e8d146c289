/* SPDX-License-Identifier: Apache-2.0 */
/* An image from arbitrary bytes: opened, walked, looked up, unpacked, verified. */
#include <sodium.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "image/image.h"
#include "kapsel/image.h"

#define UNPACK_LIMIT (4U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(uint64_t off, uint64_t len, size_t size)
{
	return off <= size && len <= size - off;
}

/* Makes the digests right, so that what lies behind them is reached. */
static void reseal(uint8_t *data, size_t size)
{
	struct kp_disk_trailer t;

	if (size < sizeof(t))
		return;
	memcpy(&t, data + size - sizeof(t), sizeof(t));
	memcpy(t.magic, KP_TRAILER_MAGIC, KP_MAGIC_LEN);
	t.version = KP_IMAGE_VERSION;
	t.trailer_size = sizeof(t);
	t.total_size = size;
	t.chunk_count = (uint32_t)((t.index_len + KP_INDEX_CHUNK - 1) / KP_INDEX_CHUNK);
	if (within(t.index_off, t.index_len, size) &&
	    within(t.chunks_off, (uint64_t)t.chunk_count * KP_FORMAT_DIGEST, size) &&
	    t.chunks_off >= t.index_off && t.chunks_off - t.index_off == t.index_len) {
		uint8_t *digests = data + t.chunks_off;

		for (uint32_t c = 0; c < t.chunk_count; c++) {
			uint64_t at = (uint64_t)c * KP_INDEX_CHUNK;

			crypto_generichash(digests + (size_t)c * KP_FORMAT_DIGEST, KP_FORMAT_DIGEST,
					   data + t.index_off + at,
					   KP_MIN((uint64_t)KP_INDEX_CHUNK, t.index_len - at), NULL,
					   0);
		}
		crypto_generichash(t.index_digest, KP_FORMAT_DIGEST, digests,
				   (size_t)t.chunk_count * KP_FORMAT_DIGEST, NULL, 0);
	}
	if (within(t.manifest_off, t.manifest_len, size))
		crypto_generichash(t.manifest_digest, KP_FORMAT_DIGEST, data + t.manifest_off,
				   t.manifest_len, NULL, 0);
	if (within(0, t.index_off, size))
		crypto_generichash(t.payload_digest, KP_FORMAT_DIGEST, data, t.index_off, NULL, 0);
	crypto_generichash(t.self_digest, KP_FORMAT_DIGEST, (const uint8_t *)&t,
			   offsetof(struct kp_disk_trailer, self_digest), NULL, 0);
	memcpy(data + size - sizeof(t), &t, sizeof(t));
}

static void use(const struct kp_image *image, bool *ret_bombs)
{
	int out = memfd_create("out", MFD_CLOEXEC);
	uint32_t count = KP_MIN(kp_image_count(image), 4096U);

	for (uint32_t id = 0; id < count; id++) {
		char path[KP_PATH_LIMIT + 1];
		struct kp_err err = {0};
		struct kp_entry e;
		struct stat st;

		if (kp_image_entry(image, id, &e) < 0)
			continue;
		if (kp_image_path(image, id, path, sizeof(path)) == 0)
			(void)kp_image_find(image, path);
		if (e.parent != id)
			(void)kp_image_child(image, e.parent, e.name, strlen(e.name));
		if (!S_ISREG(e.mode))
			continue;
		if (e.size > UNPACK_LIMIT) {
			*ret_bombs = true;
			continue;
		}
		(void)!ftruncate(out, 0);
		(void)lseek(out, 0, SEEK_SET);
		if (kp_image_extract(image, id, out, &err) < 0 && !err.text[0])
			abort();
		if (fstat(out, &st) < 0 || (uint64_t)st.st_size > e.size)
			abort();
	}
	kp_close(out);
}

static void open_bytes(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct kp_image *image = NULL;
	struct kp_err err = {0};
	bool bombs = false;

	if (fd < 0 || kp_write_full(fd, data, size) < 0)
		abort();
	(void)kp_image_present(fd);
	if (kp_image_open(fd, "fuzz", &image, &err) == 0) {
		use(image, &bombs);
		if (!bombs)
			(void)kp_image_verify(image, NULL, NULL, &err);
	} else if (!err.text[0]) {
		abort();
	}
	kp_image_free(image);
	kp_close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kp_autofree uint8_t *copy = kp_calloc(1, size);

	if (sodium_init() < 0)
		abort();
	if (size)
		memcpy(copy, data, size);
	open_bytes(copy, size);
	reseal(copy, size);
	open_bytes(copy, size);
	return 0;
}
