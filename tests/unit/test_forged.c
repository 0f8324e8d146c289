/* SPDX-License-Identifier: Apache-2.0 */
/* Images whose maker lies in the index, with digests that fit: each entry is refused, and nothing of it is unpacked. */
#include <sodium.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "kapsel/image.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/suites.h"

/* The fixture's image with value in one field of an entry's record, signed as a packer would. */
static int forge(uint32_t id, size_t offset, size_t size, uint64_t value)
{
	kp_autoclose int from = -1;
	struct kp_tree *tree = fixture_tree();
	struct kp_disk_trailer t;
	struct stat st;
	uint8_t *bytes, *end;
	int fd;

	from = fixture_write(tree, 1);
	kp_tree_free(tree);
	ck_assert_int_eq(fstat(from, &st), 0);
	bytes = kp_calloc(1, (size_t)st.st_size);
	ck_assert_int_eq(kp_pread_full(from, bytes, (size_t)st.st_size, 0), 0);
	end = bytes + st.st_size - sizeof(t);
	memcpy(&t, end, sizeof(t));
	memcpy(bytes + t.index_off + id * sizeof(struct kp_disk_record) + offset, &value, size);
	for (uint32_t i = 0; i < t.chunk_count; i++) {
		uint64_t at = (uint64_t)i * t.chunk_size;

		crypto_generichash(bytes + t.chunks_off + i * KP_FORMAT_DIGEST, KP_FORMAT_DIGEST, bytes + t.index_off + at,
				   KP_MIN(t.index_len - at, t.chunk_size), NULL, 0);
	}
	crypto_generichash(t.index_digest, sizeof(t.index_digest), bytes + t.chunks_off, (size_t)t.chunk_count * KP_FORMAT_DIGEST, NULL, 0);
	crypto_generichash(t.self_digest, sizeof(t.self_digest), (const uint8_t *)&t, offsetof(struct kp_disk_trailer, self_digest), NULL, 0);
	memcpy(end, &t, sizeof(t));
	fd = memfd_create("forged", MFD_CLOEXEC);
	ck_assert_int_eq(kp_write_full(fd, bytes, (size_t)st.st_size), 0);
	free(bytes);
	return fd;
}

/* A regular file of the fixture, by its path. */
static uint32_t entry_of(const char *path)
{
	kp_autoclose int fd = -1;
	struct kp_tree *tree = fixture_tree();
	struct kp_image *image;
	uint32_t id;

	fd = fixture_write(tree, 1);
	kp_tree_free(tree);
	image = fixture_open(dup(fd));
	id = kp_image_find(image, path);
	(void)kp_image_free(image);
	return id;
}

#define FIELD(name) offsetof(struct kp_disk_record, name), sizeof(((struct kp_disk_record *)0)->name)
static const struct {
	const char *what;
	size_t offset, size;
	uint64_t value;
} lies[] = {
	{"set-user-id", FIELD(mode), S_IFREG | 04755},	 {"set-group-id", FIELD(mode), S_IFREG | 02755},
	{"a device", FIELD(mode), S_IFCHR | 0666},	 {"a block device", FIELD(mode), S_IFBLK | 0666},
	{"a FIFO", FIELD(mode), S_IFIFO | 0666},	 {"a socket", FIELD(mode), S_IFSOCK | 0666},
	{"no type", FIELD(mode), 0644},			 {"a directory of all", FIELD(mode), S_IFDIR | 0755},
	{"its own parent", FIELD(parent), UINT32_MAX},	 {"a name elsewhere", FIELD(name_off), UINT32_MAX},
	{"no links", FIELD(nlink), 0},			 {"the number of another", FIELD(ino), UINT32_MAX},
	{"before all time", FIELD(mtime), UINT64_MAX},	 {"larger than all", FIELD(size), UINT64_MAX},
};

START_TEST(lies_are_refused)
{
	uint32_t id = entry_of("/data/big");
	struct kp_image *image = fixture_open(forge(id, lies[_i].offset, lies[_i].size, lies[_i].value));
	struct kp_entry e;

	ck_assert_msg(kp_image_entry(image, id, &e) == -EIO, "%s", lies[_i].what);
	(void)kp_image_free(image);
}
END_TEST

START_TEST(the_truth_is_not)
{
	uint32_t id = entry_of("/data/big");
	struct kp_image *image = fixture_open(forge(id, FIELD(size), FIXTURE_BIG_SIZE));
	kp_autoclose int out = memfd_create("out", MFD_CLOEXEC);
	struct kp_err err = {0};

	ck_assert_msg(!kp_image_extract(image, id, out, &err), "%s", err.text);
	(void)kp_image_free(image);
}
END_TEST

/* What decompresses to more, or to less, than the index says: an error, and never more written than was said. */
START_TEST(sizes_bound_what_is_unpacked)
{
	static const uint64_t sizes[] = {1, 4096, FIXTURE_BIG_SIZE - 1, FIXTURE_BIG_SIZE + 1, 1ULL << 30, 1ULL << 40};
	uint32_t id = entry_of("/data/big");
	struct kp_image *image = fixture_open(forge(id, FIELD(size), sizes[_i]));
	kp_autoclose int out = memfd_create("out", MFD_CLOEXEC);
	struct kp_err err = {0};
	struct stat st;

	ck_assert_int_lt(kp_image_extract(image, id, out, &err), 0);
	ck_assert_int_eq(fstat(out, &st), 0);
	ck_assert_int_le((uint64_t)st.st_blocks * 512, KP_MIN(sizes[_i], (uint64_t)FIXTURE_BIG_SIZE) + (256 << 10));
	(void)kp_image_free(image);
}
END_TEST

Suite *test_forged(void)
{
	Suite *s = suite_create("forged");
	TCase *tc = tcase_create("index");

	tcase_add_loop_test(tc, lies_are_refused, 0, (int)KP_ARRAY_LEN(lies));
	tcase_add_test(tc, the_truth_is_not);
	tcase_add_loop_test(tc, sizes_bound_what_is_unpacked, 0, 6);
	suite_add_tcase(s, tc);
	return s;
}
