/* SPDX-License-Identifier: Apache-2.0 */
/* What the upper lacks is asked for once, and again after a change. */
#include <check.h>
#include <fcntl.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/resolve.h"

static struct kp_vfs v;
static char dir[64];

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/var/tmp/kapsel-lookup-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	v = (struct kp_vfs){0};
	v.upper_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(v.upper_fd, 0);
	ck_assert_int_eq(pthread_rwlock_init(&v.lock, NULL), 0);
}

static void teardown(void)
{
	pthread_rwlock_destroy(&v.lock);
	v.upper_fd = kp_close(v.upper_fd);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
}

static enum kp_origin look(const char *name)
{
	struct kp_dir root = {.upper = true, .mode = S_IFDIR | 0755};
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	enum kp_origin found;

	(void)snprintf(n->guest.s, sizeof(n->guest.s), "/%s", name);
	ck_assert_int_eq(kp_lookup_child(&v, &root, name, strlen(name), 0, n), 0);
	found = n->origin;
	free(n);
	return found;
}

static enum kp_origin look_reading(const char *name)
{
	enum kp_origin found;

	kp_vfs_read_lock(&v);
	found = look(name);
	kp_vfs_unlock(&v);
	return found;
}

static void make(const char *name)
{
	kp_autoclose int fd = openat(v.upper_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
}

START_TEST(until_a_change)
{
	ck_assert_int_eq(look_reading("name"), KP_ABSENT);
	make("name"); /* as nobody does: without the lock */
	ck_assert_int_eq(look_reading("name"), KP_ABSENT);
	ck_assert_int_eq(look_reading("other"), KP_ABSENT);
	kp_vfs_write_lock(&v);
	ck_assert_int_eq(look("other"), KP_ABSENT);
	make("other");
	ck_assert_int_eq(look("other"), KP_UPPER); /* a writer sees its own changes */
	kp_vfs_unlock(&v);
	ck_assert_int_eq(look_reading("name"), KP_UPPER);
	ck_assert_int_eq(look_reading("other"), KP_UPPER);
}
END_TEST

START_TEST(without_a_lock)
{
	ck_assert_int_eq(look("name"), KP_ABSENT);
	make("name");
	ck_assert_int_eq(look("name"), KP_UPPER);
}
END_TEST

START_TEST(long_names)
{
	char name[NAME_MAX + 1];

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	ck_assert_int_eq(look_reading(name), KP_ABSENT);
	make(name);
	ck_assert_int_eq(look_reading(name), KP_UPPER); /* too long to be remembered */
}
END_TEST

Suite *test_lookup(void);
Suite *test_lookup(void)
{
	Suite *s = suite_create("lookup");
	TCase *t = tcase_create("upper");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, until_a_change);
	tcase_add_test(t, without_a_lock);
	tcase_add_test(t, long_names);
	suite_add_tcase(s, t);
	return s;
}
