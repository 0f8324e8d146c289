/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "image/writer.h"
#include "tests/unit/suites.h"

static struct kp_tree *tree;
static struct kp_err err;

static void setup(void)
{
	tree = kp_tree_new();
}

static void teardown(void)
{
	tree = kp_tree_free(tree);
}

static mode_t mode_at(const char *path)
{
	struct kp_tree_info info;

	return kp_tree_stat(tree, path, &info) == 0 ? info.mode : 0;
}

static const char *const bad_paths[] = {"", "a", "/a/", "/a//b", "/./a", "/a/..", "/..", "//"};

START_TEST(paths_must_be_normal)
{
	ck_assert_int_eq(kp_tree_add_bytes(tree, bad_paths[_i], "x", 1, 0644, 0, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "normalised"));
}
END_TEST

START_TEST(parents_are_made_and_links_followed)
{
	ck_assert_int_eq(kp_tree_add_symlink(tree, "/lib", "usr/lib", 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/lib/x", "x", 1, 0644, 0, &err), 0);
	ck_assert_uint_eq(mode_at("/usr/lib"), S_IFDIR | 0755);
	ck_assert_uint_eq(mode_at("/usr/lib/x"), S_IFREG | 0644);
	/* A package that brings /lib as a directory does not undo the link. */
	ck_assert_int_eq(kp_tree_add_dir(tree, "/lib", 0700, 0, &err), 0);
	ck_assert_uint_eq(mode_at("/lib/x"), S_IFREG | 0644);
	ck_assert_int_eq(kp_tree_add_symlink(tree, "/up/a", "../../../usr", 0, &err), 0);
	ck_assert_uint_eq(mode_at("/up/a/lib/x"), S_IFREG | 0644);
}
END_TEST

START_TEST(loops_and_files_as_parents_are_refused)
{
	struct kp_tree_info info;

	ck_assert_int_eq(kp_tree_add_symlink(tree, "/a", "b", 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_symlink(tree, "/b", "a", 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/a/x", "", 0, 0644, 0, &err), -ELOOP);
	ck_assert_int_eq(kp_tree_stat(tree, "/a", &info), -ELOOP);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/f", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/f/x", "", 0, 0644, 0, &err), -ENOTDIR);
	ck_assert_int_eq(kp_tree_stat(tree, "/f/x", &info), -ENOTDIR);
	ck_assert_int_eq(kp_tree_stat(tree, "/none/x", &info), -ENOENT);
}
END_TEST

START_TEST(later_replaces_earlier)
{
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/d/x", "x", 1, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_dir(tree, "/d", 06711, 0, &err), 0);
	ck_assert_uint_eq(mode_at("/d"), S_IFDIR | 0711);
	ck_assert_uint_eq(mode_at("/d/x"), S_IFREG | 0644);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/d", "x", 1, 04755, 0, &err), 0);
	ck_assert_uint_eq(mode_at("/d"), S_IFREG | 0755);
	ck_assert_uint_eq(mode_at("/d/x"), 0);
	ck_assert(kp_tree_remove(tree, "/d"));
	ck_assert(!kp_tree_remove(tree, "/d"));
}
END_TEST

START_TEST(a_link_outlives_what_it_replaces)
{
	struct kp_tree_info info;

	ck_assert_int_eq(kp_tree_add_bytes(tree, "/d/x", "x", 1, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_link(tree, "/d", "/d/x", &err), 0);
	ck_assert_int_eq(kp_tree_stat(tree, "/d", &info), 0);
	ck_assert(info.size == 1 && *(const char *)info.data == 'x');
	ck_assert_int_eq(kp_tree_add_link(tree, "/d", "/d", &err), 0);
	ck_assert_int_eq(kp_tree_add_link(tree, "/e", "/none", &err), -ENOENT);
	ck_assert_int_eq(kp_tree_add_link(tree, "/e", "/", &err), -EINVAL);
}
END_TEST

static int collect(const char *path, const struct kp_tree_info *info, void *ctx)
{
	(void)info;
	kp_buf_printf(ctx, "%s ", path);
	return !strcmp(path, "/stop") ? 7 : 0;
}

START_TEST(walk_is_in_name_order_parents_first)
{
	kp_autobuf struct kp_buf b = {0};

	ck_assert_int_eq(kp_tree_add_bytes(tree, "/b/z", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/b/a", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/a", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/stop", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/t", "", 0, 0644, 0, &err), 0);
	ck_assert_int_eq(kp_tree_walk(tree, collect, &b), 7);
	ck_assert_str_eq(b.data, "/ /a /b /b/a /b/z /stop ");
}
END_TEST

START_TEST(names_and_paths_have_limits)
{
	char name[300] = "/";
	kp_autobuf struct kp_buf path = {0};

	memset(name + 1, 'n', 256);
	ck_assert_int_eq(kp_tree_add_dir(tree, name, 0755, 0, &err), -ENAMETOOLONG);
	name[256] = '\0';
	ck_assert_int_eq(kp_tree_add_dir(tree, name, 0755, 0, &err), 0);
	for (int i = 0; i < 1500; i++)
		kp_buf_puts(&path, "/d");
	ck_assert_int_eq(kp_tree_add_dir(tree, path.data, 0755, 0, &err), 0);
	/* Links cannot be used to go deeper than a path can say. */
	ck_assert_int_eq(kp_tree_add_symlink(tree, "/l", path.data, 0, &err), 0);
	kp_buf_puts(&path, "/d");
	path.data[0] = '/';
	path.data[1] = 'l';
	ck_assert_int_eq(kp_tree_add_dir(tree, path.data, 0755, 0, &err), -ENAMETOOLONG);
}
END_TEST

START_TEST(host_files_must_be_regular)
{
	ck_assert_int_eq(kp_tree_add_host_file(tree, "/x", "/dev/null", 0644, 0, &err), -EINVAL);
	ck_assert_int_eq(kp_tree_add_host_file(tree, "/x", "/nonexistent", 0644, 0, &err), -ENOENT);
	ck_assert_uint_eq(mode_at("/x"), 0);
}
END_TEST

Suite *test_tree(void)
{
	Suite *s = suite_create("tree");
	TCase *t = tcase_create("tree");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, paths_must_be_normal, 0, KP_ARRAY_LEN(bad_paths));
	tcase_add_test(t, parents_are_made_and_links_followed);
	tcase_add_test(t, loops_and_files_as_parents_are_refused);
	tcase_add_test(t, later_replaces_earlier);
	tcase_add_test(t, a_link_outlives_what_it_replaces);
	tcase_add_test(t, walk_is_in_name_order_parents_first);
	tcase_add_test(t, names_and_paths_have_limits);
	tcase_add_test(t, host_files_must_be_regular);
	suite_add_tcase(s, t);
	return s;
}
