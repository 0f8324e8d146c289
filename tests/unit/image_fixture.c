/* SPDX-License-Identifier: Apache-2.0 */
/* The image that the tests of image/ and store/ use. */
#include <check.h>
#include <sys/mman.h>

#include "base/base.h"
#include "tests/unit/image_fixture.h"

uint8_t fixture_byte(size_t i)
{
	return (uint8_t)((i * 2654435761U) >> 13);
}

struct kp_tree *fixture_tree(void)
{
	kp_autofree uint8_t *big = kp_calloc(1, FIXTURE_BIG_SIZE),
			    *sparse = kp_calloc(1, FIXTURE_SPARSE_SIZE);
	struct kp_tree *t = kp_tree_new();
	struct kp_err err = {0};
	int rc = 0;

	for (size_t i = 0; i < FIXTURE_BIG_SIZE; i++)
		big[i] = fixture_byte(i);
	sparse[FIXTURE_SPARSE_SIZE / 2] = 'x';
	rc |= kp_tree_add_dir(t, "/usr/lib", 0755, 1000, &err);
	rc |= kp_tree_add_symlink(t, "/lib", "usr/lib", 1000, &err);
	rc |= kp_tree_add_bytes(t, "/lib/libx.so", "\177ELFx", 5, 04755, 2000, &err);
	rc |= kp_tree_add_bytes(t, "/data/big", big, FIXTURE_BIG_SIZE, 0644, 3000, &err);
	rc |= kp_tree_add_bytes(t, "/data/sparse", sparse, FIXTURE_SPARSE_SIZE, 0600, 3000, &err);
	rc |= kp_tree_add_bytes(t, "/data/empty1", "", 0, 0644, 3000, &err);
	rc |= kp_tree_add_bytes(t, "/data/empty2", "", 0, 0644, 3000, &err);
	rc |= kp_tree_add_bytes(t, "/data/same1", "same", 4, 0644, 3000, &err);
	rc |= kp_tree_add_bytes(t, "/data/same2", "same", 4, 0755, 3000, &err);
	rc |= kp_tree_add_link(t, "/usr/hard", "/data/same1", &err);
	for (int i = 0; i < 300 && !rc; i++) {
		char path[64], text[64];

		(void)snprintf(path, sizeof(path), "/many/%d.txt", i);
		(void)snprintf(text, sizeof(text), "this is file number %d\n", i);
		rc |= kp_tree_add_bytes(t, path, text, strlen(text), 0644, 4000 + i, &err);
	}
	ck_assert_msg(rc == 0, "%s", err.text);
	return t;
}

int fixture_write(const struct kp_tree *tree, unsigned jobs)
{
	struct kp_write_options o = {.manifest = "kapsel: 1\n",
				     .manifest_len = 10,
				     .level = 3,
				     .jobs = jobs,
				     .mtime_clamp = 4100};
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct kp_err err = {0};

	ck_assert_msg(kp_tree_write(tree, fd, &o, &err) == 0, "%s", err.text);
	return fd;
}

struct kp_image *fixture_open(int fd)
{
	struct kp_image *image = NULL;
	struct kp_err err = {0};

	ck_assert_msg(kp_image_open(fd, "test.kapsel", &image, &err) == 0, "%s", err.text);
	return image;
}
