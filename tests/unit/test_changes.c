/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and texts of `kapsel diff`; opening below a directory through no way out of it. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "changes/changes.h"
#include "tests/unit/suites.h"

static const struct {
	const char *path, *shown;
} quoted[] = {
	{"/a b", "/a b"},
	{"/\xc3\xa4", "/\xc3\xa4"},
	{"/a\nb\tc", "\"/a\\nb\\tc\""},
	{"/\033[2J", "\"/\\033[2J\""},
	{"/\xff", "\"/\\377\""},
	{"/\xc2\x9b", "\"/\\302\\233\""},
	{"/a\"b\\c", "\"/a\\\"b\\\\c\""},
};

START_TEST(paths_are_quoted)
{
	kp_autofree char *text = kp_path_quoted(quoted[_i].path);

	ck_assert_str_eq(text, quoted[_i].shown);
}
END_TEST

static const struct {
	const char *old, *new, *out;
} texts[] = {
	{"", "", ""},
	{"a\n", "a\n", ""},
	{"", "a\n", "@@ -0,0 +1,1 @@\n+a\n"},
	{"a\n", "", "@@ -1,1 +0,0 @@\n-a\n"},
	{"a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
	{"a\nb", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
	{"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nX\n5\n6\n7\n8\n9\n", "@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+X\n 5\n 6\n 7\n"},
	{"a\n1\n2\n3\n4\n5\n6\n7\n8\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\n8\nB\n",
	 "@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -7,4 +7,4 @@\n 6\n 7\n 8\n-b\n+B\n"},
	{"\033]0;x\a\tz\n", "y\n", "@@ -1,1 +1,1 @@\n-?]0;x?\tz\n+y\n"},
};

START_TEST(texts_differ)
{
	char *out = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&out, &len);

	ck_assert(kp_unified(f, texts[_i].old, strlen(texts[_i].old), texts[_i].new, strlen(texts[_i].new)));
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_str_eq(out, texts[_i].out);
	free(out);
}
END_TEST

/* Two long texts without a common line are more edits than are searched for: still every line is told. */
START_TEST(long_texts_differ)
{
	struct kp_buf kp_autobuf a = {0}, b = {0};
	size_t len = 0, lines = 0;
	char *out = NULL;
	FILE *f = open_memstream(&out, &len);

	for (int i = 0; i < 3000; i++) {
		kp_buf_printf(&a, "a%d\n", i);
		kp_buf_printf(&b, "b%d\n", i);
	}
	ck_assert(kp_unified(f, a.data, a.len, b.data, b.len));
	ck_assert_int_eq(fclose(f), 0);
	for (const char *p = out; (p = strchr(p, '\n')); p++)
		lines++;
	ck_assert_uint_eq(lines, 6001);
	ck_assert(!kp_unified(stdout, "a\0b", 3, "c", 1));
	free(out);
}
END_TEST

START_TEST(no_way_out)
{
	char dir[] = "/tmp/kapsel-test-XXXXXX";
	int root;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root, 0);
	ck_assert_int_eq(mkdirat(root, "in", 0700), 0);
	ck_assert_int_eq(symlinkat("/etc", root, "out"), 0);
	ck_assert_int_eq(symlinkat("../out", root, "in/link"), 0);
	ck_assert_int_eq(kp_open_beneath(root, "out/passwd", O_RDONLY, 0), -1);
	ck_assert_int_eq(kp_open_beneath(root, "in/link", O_RDONLY, 0), -1);
	ck_assert_int_eq(kp_open_beneath(root, "in/../../x", O_RDONLY | O_CREAT, 0600), -1);
	ck_assert_int_eq(kp_open_beneath(root, "/etc/passwd", O_RDONLY, 0), -1);
	ck_assert_int_eq(kp_close(kp_open_beneath(root, "in", O_RDONLY | O_DIRECTORY, 0)), -1);
	ck_assert_int_eq(kp_close(root), -1);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
}
END_TEST

Suite *test_changes(void)
{
	Suite *s = suite_create("changes");
	TCase *tc = tcase_create("changes");

	tcase_add_loop_test(tc, paths_are_quoted, 0, KP_ARRAY_LEN(quoted));
	tcase_add_loop_test(tc, texts_differ, 0, KP_ARRAY_LEN(texts));
	tcase_add_test(tc, long_texts_differ);
	tcase_add_test(tc, no_way_out);
	suite_add_tcase(s, tc);
	return s;
}
