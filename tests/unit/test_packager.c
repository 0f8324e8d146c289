/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/elf.h"
#include "packager/pack.h"
#include "tests/unit/suites.h"

static const struct {
	const char *pattern, *path;
	bool want;
} globs[] = {
	{"/usr/share/doc/**", "/usr/share/doc/a/b", true},
	{"/usr/share/doc/**", "/usr/share/doc/a", true},
	{"/usr/share/doc/**", "/usr/share/doc", false},
	{"/usr/share/doc", "/usr/share/doc", true},
	{"/usr/share/doc", "/usr/share/doc/a", false},
	{"/usr/*/doc", "/usr/share/doc", true},
	{"/usr/*/doc", "/usr/a/b/doc", false},
	{"/**/doc", "/usr/a/b/doc", true},
	{"/**/doc", "/doc", true},
	{"/usr/**/*.pyc", "/usr/x.pyc", true},
	{"/usr/**/*.pyc", "/usr/a/b/x.pyc", true},
	{"/usr/**/*.pyc", "/usr/a/b/x.py", false},
	{"/**/a/**/b", "/a/x/a/y/b", true},
	{"/**/a/**/b", "/x/b", false},
	{"/usr/[ab]?", "/usr/bz", true},
	{"/usr/[ab]?", "/usr/cz", false},
	{"/*", "/.hidden", true},
	{"/**", "/x", true},
};

START_TEST(patterns)
{
	ck_assert_int_eq(glob_match(globs[_i].pattern, globs[_i].path), globs[_i].want);
}
END_TEST

static const char script[] =
	"#!/bin/sh\n"
	"set -e\n"
	"prio=30 # comment\n"
	"dir=/usr/lib/x\n"
	"case \"$1\" in\n"
	"configure)\n"
	"    for i in vi view; do\n"
	"        update-alternatives --quiet \\\n"
	"            --install /usr/bin/$i \"$i\" $dir/${i}.basic $prio \\\n"
	"            --slave /usr/share/man/$i.1 $i.1 $dir/man/$i.1 $(unknown)\n"
	"    done\n"
	"    if [ \"$2\" = x ]; then update-alternatives --install /usr/bin/e e /usr/bin/ed 5; fi\n"
	"    update-alternatives --install /usr/bin/$other other /x 1\n"
	"    update-alternatives --remove vi /x\n"
	";;\n"
	"esac\n";

START_TEST(alternatives_are_read_out_of_scripts)
{
	struct pack p = {0};

	alternatives_scan(&p, script);
	ck_assert_str_eq(p.scripts.data, "/usr/bin/vi\tvi\t/usr/lib/x/vi.basic\t30\n"
					 "\t/usr/share/man/vi.1\tvi.1\t/usr/lib/x/man/vi.1\n"
					 "/usr/bin/view\tview\t/usr/lib/x/view.basic\t30\n"
					 "\t/usr/share/man/view.1\tview.1\t/usr/lib/x/man/view.1\n"
					 "/usr/bin/e\te\t/usr/bin/ed\t5\n");
	kp_buf_free(&p.scripts);
}
END_TEST

START_TEST(highest_priority_that_is_there_wins)
{
	struct pack p = {.tree = kp_tree_new()};
	struct kp_tree_info info;
	struct kp_err err = {0};

	kp_buf_puts(&p.scripts, "/usr/bin/e\te\t/a\t10\n/usr/bin/e\te\t/b\t20\n\t/usr/bin/f\tf\t/c\n"
				"/usr/bin/e\te\t/gone\t30\n");
	ck_assert_int_eq(kp_tree_add_bytes(p.tree, "/a", "a", 1, 0755, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(p.tree, "/b", "bb", 2, 0755, 0, &err), 0);
	ck_assert_int_eq(kp_tree_add_bytes(p.tree, "/c", "ccc", 3, 0755, 0, &err), 0);
	ck_assert_int_eq(alternatives_make(&p, &err), 0);
	ck_assert_int_eq(kp_tree_stat(p.tree, "/usr/bin/e", &info), 0);
	ck_assert_uint_eq(info.size, 2);
	ck_assert_int_eq(kp_tree_stat(p.tree, "/usr/bin/f", &info), 0);
	ck_assert_uint_eq(info.size, 3);
	kp_tree_free(p.tree);
	kp_buf_free(&p.scripts);
	kp_strings_free(&p.links);
}
END_TEST

START_TEST(headers_of_this_program)
{
	struct elf_facts f;
	struct kp_err err = {0};

	ck_assert_int_eq(elf_read("/proc/self/exe", &f, &err), 0);
	ck_assert(f.is_elf);
	ck_assert_ptr_nonnull(f.interp);
	ck_assert(kp_strings_have(&f.needed, "libc.so.6"));
	elf_facts_free(&f);
}
END_TEST

START_TEST(damaged_programs_are_refused)
{
	static const char *const heads[] = {"\177ELF", "\177ELF\2\1\1", "#!", "#! \n", ""};
	char path[] = "/tmp/kapsel-test.XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	for (size_t i = 0; i < KP_ARRAY_LEN(heads); i++) {
		struct elf_facts f;
		struct kp_err err = {0};

		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(pwrite(fd, heads[i], strlen(heads[i]), 0), (ssize_t)strlen(heads[i]));
		if (i < 2)
			ck_assert_int_eq(ftruncate(fd, 40), 0);
		ck_assert_int_eq(elf_read(path, &f, &err), i < 2 ? -ENOEXEC : 0);
		ck_assert(!f.is_elf && !f.interp);
		elf_facts_free(&f);
	}
	(void)close(fd);
	(void)unlink(path);
}
END_TEST

/* A header of an x86-64 shared object, as much as the cache writer looks at. */
static const char elf_head[] = "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\x3e\0";

START_TEST(loader_cache_reads_back)
{
	static const char *const names[] = {"libz.so.1", "libz.so.1.2.13", "libc.so.6", "ld-linux-x86-64.so.2",
					    "liba.so.10", "liba.so.9"};
	struct pack p = {.tree = kp_tree_new()};
	char dir[] = "/tmp/kapsel-test.XXXXXX", path[64];
	struct kp_tree_info info;
	struct ld_cache cache;
	struct kp_err err = {0};

	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "/usr/lib64/%s", names[i]);
		ck_assert_int_eq(kp_tree_add_bytes(p.tree, path, elf_head, 20, 0755, 0, &err), 0);
	}
	ck_assert_int_eq(ldcache_make(&p, &err), 0);
	ck_assert_int_eq(kp_tree_stat(p.tree, "/etc/ld.so.cache", &info), 0);
	(void)snprintf(path, sizeof(path), "%s/cache", dir);
	ck_assert_int_eq(kp_write_file_atomic(AT_FDCWD, path, info.data, info.size, 0600), 0);
	ld_cache_open(&cache, path);
	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++) {
		char want[64];

		(void)snprintf(want, sizeof(want), "/usr/lib64/%s", names[i]);
		ck_assert_str_eq(ld_cache_find(&cache, names[i], 0), want);
		ck_assert_ptr_null(ld_cache_find(&cache, names[i], 1));
	}
	/* Highest first, numbers as numbers. */
	ck_assert_str_eq(cache.data + *(uint32_t *)(void *)(cache.data + 48 + 4), "libz.so.1.2.13");
	free(cache.data);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
	kp_tree_free(p.tree);
}
END_TEST

Suite *test_packager(void)
{
	Suite *s = suite_create("packager");
	TCase *t = tcase_create("packager");

	tcase_add_loop_test(t, patterns, 0, KP_ARRAY_LEN(globs));
	tcase_add_test(t, alternatives_are_read_out_of_scripts);
	tcase_add_test(t, highest_priority_that_is_there_wins);
	tcase_add_test(t, headers_of_this_program);
	tcase_add_test(t, damaged_programs_are_refused);
	tcase_add_test(t, loader_cache_reads_back);
	suite_add_tcase(s, t);
	return s;
}
