/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/unit/suites.h"

START_TEST(failure_writes_text_and_returns_minus_errno)
{
	struct kp_err err = {0};

	ck_assert_int_eq(kp_fail(&err, ENOENT, "a: %s", "b\x1b[31m"), -ENOENT);
	ck_assert_str_eq(err.text, "a: b?[31m");
	ck_assert_int_eq(kp_hint(&err, "try %d", 1), -ENOENT);
	ck_assert_str_eq(err.hint, "try 1");
	ck_assert_int_eq(kp_fail_errno(&err, ENOENT, "x"), -ENOENT);
	ck_assert_str_eq(err.text, "x: No such file or directory");
	ck_assert_str_eq(err.hint, "");
}
END_TEST

static const struct {
	const char *path, *dir, *want;
} below[] = {
	{"/a/b", "/a", "/b"}, {"/a", "/a", ""}, {"/ab", "/a", NULL}, {"/a", "/", "/a"}, {"/a", "", "/a"}, {"/b", "/a", NULL},
};

START_TEST(path_below)
{
	const char *got = kp_path_below(below[_i].path, below[_i].dir);

	if (below[_i].want)
		ck_assert_str_eq(got, below[_i].want);
	else
		ck_assert_ptr_null(got);
}
END_TEST

START_TEST(path_join)
{
	char buf[8];

	ck_assert_int_eq(kp_path_join(buf, sizeof(buf), "/", "/a"), 0);
	ck_assert_str_eq(buf, "/a");
	ck_assert_int_eq(kp_path_join(buf, sizeof(buf), "/a/", "b"), 0);
	ck_assert_str_eq(buf, "/a/b");
	ck_assert_int_eq(kp_path_join(buf, sizeof(buf), "/abcd", "efg"), -ENAMETOOLONG);
}
END_TEST

/* Deeper than there are descriptors, and longer than a path may be. */
START_TEST(remove_tree_of_any_depth)
{
	char top[] = "/tmp/kapsel-test.XXXXXX";
	int fd, next;

	ck_assert_ptr_nonnull(mkdtemp(top));
	fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) {
		ck_assert_int_eq(mkdirat(fd, "directory", 0700), 0);
		ck_assert_int_eq(symlinkat("/", fd, "link"), 0);
		next = openat(fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
		ck_assert_int_ge(fd, 0);
	}
	ck_assert_int_eq(fchmod(fd, 0), 0);
	close(fd);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, top), 0);
	ck_assert_int_eq(access(top, F_OK), -1);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, top), 0);
}
END_TEST

Suite *test_base(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");

	tcase_add_test(t, failure_writes_text_and_returns_minus_errno);
	tcase_add_loop_test(t, path_below, 0, KP_ARRAY_LEN(below));
	tcase_add_test(t, path_join);
	tcase_set_timeout(t, 300); /* 6,000 files */
	tcase_add_test(t, remove_tree_of_any_depth);
	suite_add_tcase(s, t);
	return s;
}
