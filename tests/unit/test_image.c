/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "image/internal.h"
#include "kapsel/image.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/suites.h"

static struct kp_tree *tree;
static struct kp_image *image;
static int fd = -1;
static struct kp_err err;

static void setup(void)
{
	tree = fixture_tree();
	fd = fixture_write(tree, 2);
	image = fixture_open(fd);
}

static void teardown(void)
{
	image = kp_image_free(image);
	tree = kp_tree_free(tree);
	fd = kp_close(fd);
}

static uint64_t size_of(int f)
{
	struct stat st;

	ck_assert_int_eq(fstat(f, &st), 0);
	return (uint64_t)st.st_size;
}

static char *bytes_of(int f)
{
	char *data = kp_calloc(1, size_of(f));

	ck_assert_int_eq(kp_pread_full(f, data, size_of(f), 0), 0);
	return data;
}

START_TEST(entries_are_what_was_added)
{
	struct kp_entry e, other;

	ck_assert_int_eq(kp_image_entry(image, KP_ROOT_ENTRY, &e), 0);
	ck_assert(S_ISDIR(e.mode) && e.parent == 0 && e.nlink == 2 + 3 && e.name[0] == '\0');
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/usr/lib/libx.so"), &e), 0);
	ck_assert_uint_eq(e.mode, S_IFREG | 0755); /* the set-id bit is gone */
	ck_assert(e.size == 5 && e.mtime == 2000 && e.digest);
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/lib"), &e), 0);
	ck_assert_str_eq(e.target, "usr/lib");
	ck_assert_uint_eq(kp_image_find(image, "/lib/libx.so"),
			  KP_NO_ENTRY); /* links are not followed */
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/usr/hard"), &e), 0);
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/data/same1"), &other), 0);
	ck_assert(e.ino == other.ino && e.nlink == 2 && e.id != other.id);
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/data/same2"), &other), 0);
	ck_assert(e.ino != other.ino && other.nlink == 1 &&
		  !memcmp(e.digest, other.digest, KP_DIGEST_LEN));
	ck_assert_int_eq(kp_image_entry(image, kp_image_find(image, "/many/299.txt"), &e), 0);
	ck_assert_int_eq(e.mtime, 4100); /* clamped */
	ck_assert_int_eq(kp_image_entry(image, kp_image_count(image), &e), -EIO);
	ck_assert_str_eq(kp_image_manifest(image, NULL), "kapsel: 1\n");
}
END_TEST

START_TEST(every_path_is_found_and_no_other)
{
	char path[4096];

	for (uint32_t id = 0; id < kp_image_count(image); id++) {
		ck_assert_int_eq(kp_image_path(image, id, path, sizeof(path)), 0);
		ck_assert_uint_eq(kp_image_find(image, path), id);
		ck_assert_int_eq(kp_image_path(image, id, path, strlen(path)), -ENAMETOOLONG);
	}
	ck_assert_uint_eq(kp_image_find(image, "/many/300.txt"), KP_NO_ENTRY);
	ck_assert_uint_eq(kp_image_find(image, "/many/1.tx"), KP_NO_ENTRY);
	ck_assert_uint_eq(kp_image_find(image, "/many/1.txtt"), KP_NO_ENTRY);
	ck_assert_uint_eq(kp_image_find(image, "/data/big/x"), KP_NO_ENTRY);
	ck_assert_uint_eq(kp_image_find(image, "many"), KP_NO_ENTRY);
	ck_assert_uint_eq(kp_image_child(image, 0, "", 0), KP_NO_ENTRY);
}
END_TEST

static int extracted(const char *path)
{
	int out = memfd_create("out", MFD_CLOEXEC);

	ck_assert_msg(kp_image_extract(image, kp_image_find(image, path), out, &err) == 0, "%s",
		      err.text);
	return out;
}

START_TEST(contents_come_back)
{
	kp_autoclose int out = extracted("/data/big"), empty = extracted("/data/empty2");
	kp_autofree char *data = bytes_of(out);

	ck_assert_uint_eq(size_of(out), FIXTURE_BIG_SIZE);
	ck_assert_uint_eq(size_of(empty), 0);
	for (size_t i = 0; i < FIXTURE_BIG_SIZE; i++)
		ck_assert_uint_eq((uint8_t)data[i], fixture_byte(i));
	ck_assert_int_eq(kp_image_extract(image, kp_image_find(image, "/usr"), out, &err), -EINVAL);
	ck_assert_str_eq(err.text, "test.kapsel: /usr: not a regular file");
}
END_TEST

START_TEST(zero_blocks_become_holes)
{
	kp_autoclose int out = extracted("/data/sparse");
	kp_autofree char *data = bytes_of(out);
	struct stat st;

	ck_assert_int_eq(fstat(out, &st), 0);
	ck_assert_uint_eq(size_of(out), FIXTURE_SPARSE_SIZE);
	ck_assert(st.st_blocks * 512 <= 256 * 1024);
	ck_assert(data[FIXTURE_SPARSE_SIZE / 2] == 'x' && data[FIXTURE_SPARSE_SIZE - 1] == 0);
}
END_TEST

/* A byte of the last index chunk, behind the digests that open checks: names lie there. */
START_TEST(damage_is_not_absence)
{
	const off_t at = (off_t)(image->t.index_off + image->t.index_len - 1);
	const uint8_t byte = 'x';
	struct kp_image *hurt;
	uint32_t id;

	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	hurt = fixture_open(fd);
	for (id = 0; id < 300; id++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "/many/%u.txt", id);
		ck_assert_uint_ne(kp_image_find(hurt, path), KP_NO_ENTRY);
	}
	id = kp_image_find(hurt, "/usr/nothing");
	ck_assert_uint_eq(id, KP_DAMAGED_ENTRY);
	ck_assert_int_eq(kp_image_entry(hurt, id, &(struct kp_entry){0}), -EIO);
	(void)kp_image_free(hurt);
}
END_TEST

static int hang_up(int out)
{
	kp_autofree char *buf = kp_calloc(1, 1 << 16);
	uint64_t sum = 0;
	ssize_t n;

	while ((n = read(out, buf, 1 << 16)) > 0)
		sum += (uint64_t)n;
	return sum == FIXTURE_SPARSE_SIZE ? 0 : 1;
}

static void *drain(void *arg)
{
	return (void *)(intptr_t)hang_up(*(int *)arg);
}

START_TEST(pipes_get_the_zeros)
{
	int p[2];
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, drain, &p[0]), 0);
	ck_assert_int_eq(kp_image_extract(image, kp_image_find(image, "/data/sparse"), p[1], &err),
			 0);
	close(p[1]);
	pthread_join(thread, &result);
	close(p[0]);
	ck_assert_ptr_null(result);
}
END_TEST

static void *extract_all(void *arg)
{
	int out = memfd_create("out", MFD_CLOEXEC);
	intptr_t bad = 0;

	(void)arg;
	for (uint32_t id = 0; id < kp_image_count(image); id++) {
		struct kp_entry e;

		bad += kp_image_entry(image, id, &e) < 0;
		(void)lseek(out, 0, SEEK_SET);
		if (S_ISREG(e.mode))
			bad += kp_image_extract(image, id, out, NULL) < 0;
	}
	close(out);
	return (void *)bad;
}

START_TEST(threads_extract_at_once)
{
	pthread_t threads[4];

	for (size_t i = 0; i < KP_ARRAY_LEN(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, extract_all, NULL), 0);
	for (size_t i = 0; i < KP_ARRAY_LEN(threads); i++) {
		void *bad;

		pthread_join(threads[i], &bad);
		ck_assert_ptr_null(bad);
	}
}
END_TEST

START_TEST(same_input_same_bytes)
{
	struct kp_tree *again = fixture_tree();
	kp_autoclose int one = fixture_write(again, 1), three = fixture_write(tree, 3);
	kp_autofree char *a = bytes_of(fd), *b = bytes_of(one), *c = bytes_of(three);

	ck_assert_uint_eq(size_of(fd), size_of(one));
	ck_assert_uint_eq(size_of(fd), size_of(three));
	ck_assert_int_eq(memcmp(a, b, size_of(fd)), 0);
	ck_assert_int_eq(memcmp(a, c, size_of(fd)), 0);
	kp_tree_free(again);
}
END_TEST

START_TEST(verify_passes)
{
	ck_assert_msg(kp_image_verify(image, NULL, NULL, &err) == 0, "%s", err.text);
}
END_TEST

START_TEST(unsquashfs_reads_it)
{
	uint64_t off, len;
	kp_autofree char *cmd = NULL;
	int rc;

	if (system("command -v unsquashfs >/dev/null") != 0)
		return;
	kp_image_squashfs(image, &off, &len);
	cmd = kp_asprintf(
	    "unsquashfs -o %llu -ll /proc/%d/fd/%d | grep -q ' squashfs-root/many/299.txt$'",
	    (unsigned long long)off, getpid(), fd);
	rc = system(cmd);
	ck_assert_int_eq(rc, 0);
}
END_TEST

static int open_damaged(const char *data, size_t len, bool deep)
{
	int f = memfd_create("damaged", MFD_CLOEXEC), rc;
	struct kp_image *im = NULL;

	err = (struct kp_err){0};
	ck_assert_int_eq(kp_write_full(f, data, len), 0);
	rc = kp_image_open(f, "test.kapsel", &im, &err);
	if (!rc && deep)
		rc = kp_image_verify(im, NULL, NULL, &err);
	ck_assert(!rc || err.text[0]);
	kp_image_free(im);
	close(f);
	return rc;
}

START_TEST(truncation_is_an_error_that_counts)
{
	kp_autofree char *data = bytes_of(fd), *want = NULL;
	uint64_t size = size_of(fd);

	for (uint64_t len = 0; len<size; len += len + 600> size ? 1 : len / 7 + 1)
		ck_assert_int_lt(open_damaged(data, len, false), 0);
	ck_assert_int_eq(open_damaged(data, size - 1000, false), -EINVAL);
	want = kp_asprintf("test.kapsel: cut short: 1000 of %llu bytes are missing",
			   (unsigned long long)size);
	ck_assert_str_eq(err.text, want);
	ck_assert_int_eq(open_damaged(data + 4096, size - 4096, false), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "cut short: 4096"));
	ck_assert_int_eq(open_damaged("hello", 5, false), -EINVAL);
	ck_assert_str_eq(err.text, "test.kapsel: not a kapsel image");
}
END_TEST

START_TEST(appended_bytes_are_named)
{
	uint64_t size = size_of(fd);
	kp_autofree char *data = kp_calloc(1, size + 77);

	ck_assert_int_eq(kp_pread_full(fd, data, size, 0), 0);
	ck_assert_int_eq(open_damaged(data, size + 77, false), -EINVAL);
	ck_assert_str_eq(err.text, "test.kapsel: 77 bytes were appended to the image");
	ck_assert_ptr_nonnull(strstr(err.hint, "truncate -s"));
}
END_TEST

START_TEST(flipped_bits_are_found)
{
	kp_autofree char *data = bytes_of(fd);
	uint64_t size = size_of(fd), off, len;

	kp_image_squashfs(image, &off, &len);
	/* The squashfs's own head and tables, then all that stands behind it. */
	for (uint64_t at = off; at < size; at += at < off + 96 ? 1 : at < off + len ? 997 : 61) {
		int bit = 1 << (at % 8);

		data[at] = (char)(data[at] ^ bit);
		ck_assert_msg(open_damaged(data, size, true) < 0, "flip at %llu",
			      (unsigned long long)at);
		data[at] = (char)(data[at] ^ bit);
	}
	ck_assert_int_eq(open_damaged(data, size, true), 0);
}
END_TEST

START_TEST(truncated_under_us_is_an_error_not_a_signal)
{
	struct kp_entry e;
	uint32_t bad = 0;

	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	for (uint32_t id = 0; id < kp_image_count(image); id++)
		bad += kp_image_entry(image, id, &e) < 0;
	ck_assert_uint_gt(bad, 0);
	ck_assert_int_eq(kp_image_extract(image, 1, fd, &err), -EIO);
}
END_TEST

static int write_host_file(const char *host)
{
	struct kp_write_options o = {
	    .manifest = "", .level = 1, .jobs = 1, .mtime_clamp = INT64_MAX};
	struct kp_tree *t = kp_tree_new();
	int out = memfd_create("image", MFD_CLOEXEC), rc;

	ck_assert_int_eq(kp_tree_add_host_file(t, "/x", host, 0644, 0, &err), 0);
	ck_assert_int_eq(truncate(host, 10), 0);
	rc = kp_tree_write(t, out, &o, &err);
	kp_tree_free(t);
	close(out);
	return rc;
}

START_TEST(files_that_change_while_packed_are_an_error)
{
	char host[] = "/tmp/kp-unit-XXXXXX";
	int f = mkstemp(host);

	ck_assert_int_eq(kp_write_full(f, "twenty bytes of text", 20), 0);
	ck_assert_int_eq(write_host_file(host), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "changed while"));
	close(f);
	(void)unlink(host);
}
END_TEST

/* Random bytes: what is stored twice takes twice the room. */
START_TEST(long_equal_files_are_stored_once)
{
	enum { LEN = (3 << 20) + 77 };
	struct kp_write_options o = {.manifest = "", .level = 1, .jobs = 2, .mtime_clamp = INT64_MAX};
	kp_autofree char *bytes = kp_calloc(1, LEN), *back = NULL;
	int out = memfd_create("image", MFD_CLOEXEC), copy = memfd_create("copy", MFD_CLOEXEC);
	struct kp_tree *t = kp_tree_new();
	struct kp_image *im;

	for (size_t i = 0, x = 1; i < LEN; i++, x = x * 6364136223846793005ULL + 1442695040888963407ULL)
		bytes[i] = (char)(x >> 56);
	ck_assert_int_eq(kp_tree_add_bytes(t, "/a", bytes, LEN, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(t, "/b", bytes, LEN, 0644, 0, &err), 0);
	bytes[0] ^= 1;
	ck_assert_int_eq(kp_tree_add_bytes(t, "/c", bytes, LEN, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_write(t, out, &o, &err), 0);
	ck_assert_uint_gt(size_of(out), 2 * LEN);
	ck_assert_uint_lt(size_of(out), 2 * LEN + LEN / 2);
	im = fixture_open(out);
	ck_assert_int_eq(kp_image_extract(im, kp_image_find(im, "/b"), copy, &err), 0);
	back = bytes_of(copy);
	bytes[0] ^= 1;
	ck_assert_int_eq(memcmp(back, bytes, LEN), 0);
	kp_image_free(im);
	kp_tree_free(t);
	close(copy);
	close(out);
}
END_TEST

START_TEST(cancel_stops)
{
	volatile int cancel = 1;
	struct kp_write_options o = {.manifest = "", .mtime_clamp = INT64_MAX, .cancel = &cancel};
	int out = memfd_create("image", MFD_CLOEXEC);

	ck_assert_int_eq(kp_tree_write(tree, out, &o, &err), -ECANCELED);
	close(out);
}
END_TEST

Suite *test_image(void)
{
	Suite *s = suite_create("image");
	TCase *t = tcase_create("image");

	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, entries_are_what_was_added);
	tcase_add_test(t, every_path_is_found_and_no_other);
	tcase_add_test(t, damage_is_not_absence);
	tcase_add_test(t, contents_come_back);
	tcase_add_test(t, zero_blocks_become_holes);
	tcase_add_test(t, pipes_get_the_zeros);
	tcase_add_test(t, threads_extract_at_once);
	tcase_add_test(t, same_input_same_bytes);
	tcase_add_test(t, verify_passes);
	tcase_add_test(t, unsquashfs_reads_it);
	tcase_add_test(t, truncation_is_an_error_that_counts);
	tcase_add_test(t, appended_bytes_are_named);
	tcase_add_test(t, flipped_bits_are_found);
	tcase_add_test(t, truncated_under_us_is_an_error_not_a_signal);
	tcase_add_test(t, files_that_change_while_packed_are_an_error);
	tcase_add_test(t, long_equal_files_are_stored_once);
	tcase_add_test(t, cancel_stops);
	suite_add_tcase(s, t);
	return s;
}
