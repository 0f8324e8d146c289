/* SPDX-License-Identifier: Apache-2.0 */
/* Projected files in the upper: made anew, taken back, in the ways that programs write files. The guest is the test: it uses the upper's files. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/registry_fixture.h"
#include "tests/unit/suites.h"
#include "vfs/internal.h"
#include "vfs/live.h"
#include "vfs/resolve.h"
#include "vfs/tell.h"

#define FILE_NAME "/etc/app/app.ini"
#define KEY "HKCU\\Software\\App"

static struct kp_vfs *vfs;
static struct kp_reg *reg;
static char *host; /* path of the upper's file */

static void begin(void)
{
	const struct kp_live_file files[] = {{FILE_NAME, kp_format_by_name("ini"), KEY}};
	struct kp_vfs_options o = {.instance_dir = regdir_path("instance"), .run_dir = regdir_path("run"), .home = "/root", .user = "root"};
	static unsigned starts;
	struct kp_err err = {0};

	(void)mkdir(o.instance_dir, 0700);
	(void)kp_remove_tree(AT_FDCWD, o.run_dir);
	(void)mkdir(o.run_dir, 0700);
	ck_assert_msg(kp_vfs_open(&o, &vfs, &err) == 0, "%s", err.text);
	/* What this thread remembers of directories is another vfs'; a process has but one. */
	atomic_fetch_add(&vfs->generation, ++starts << 16);
	atomic_fetch_add(&vfs->changes, starts << 16);
	reg = reg_open(&(struct kp_reg_options){.instance = regdir_path("registry"), .writable = true});
	ck_assert_msg(kp_live_open(vfs, reg, o.instance_dir, files, 1, &err) == 0, "%s", err.text);
	free(host);
	host = kp_asprintf("%s" FILE_NAME, vfs->upper.s);
}

/* Not orderly: as if it had been killed. */
static void end(bool orderly)
{
	static void *volatile killed; /* whose memory nobody frees */

	if (orderly)
		kp_live_close(vfs);
	else
		killed = vfs->live;
	(void)killed;
	vfs = kp_vfs_free(vfs);
	reg = kp_reg_free(reg);
}

static void setup(void)
{
	regdir_make();
	begin();
}

static void teardown(void)
{
	end(true);
	free(host);
	host = NULL;
	regdir_remove();
}

/* A guest's look at the name: what the engine does. Whether it had to be looked after. */
static bool look(void)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	bool stale, missing;

	kp_vfs_read_lock(vfs);
	missing = kp_resolve_exact(vfs, FILE_NAME, 0, n) != 0;
	stale = kp_live_stale(vfs, missing ? NULL : n);
	kp_vfs_unlock(vfs);
	free(n);
	if (stale)
		kp_live_refresh(vfs, missing ? "" : FILE_NAME);
	return stale;
}

/* What it reads. */
static const char *text(void)
{
	static char *kept;

	look();
	free(kept);
	kept = NULL;
	return kp_read_file(AT_FDCWD, host, 65536, &kept, NULL) ? "(none)" : kept;
}

static void put(const char *path, const char *content, int flags)
{
	kp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(kp_write_full(fd, content, strlen(content)), 0);
}

static const char *value(const char *name)
{
	kp_live_drain(vfs);
	return reg_text(reg, KEY "\\a", name);
}

static bool told(const char *part)
{
	char line[1024];
	bool any = false;

	while (kp_vfs_notice(vfs, line, sizeof(line)))
		any |= strstr(line, part) != NULL;
	return any;
}

START_TEST(is_made_when_looked_at)
{
	ck_assert_str_eq(text(), "(none)");
	ck_assert(!look());
	reg_set(reg, KEY "\\a", "x", "1");
	ck_assert(look());
	ck_assert(!look());
	ck_assert_str_eq(text(), "[a]\nx = 1\n");
	reg_set(reg, KEY "\\a", "y", "2");
	reg_delete_value(reg, KEY "\\a", "x");
	ck_assert_str_eq(text(), "[a]\ny = 2\n");
	reg_set(reg, "HKCU\\Software\\Other", "z", "2");
	ck_assert_str_eq(text(), "[a]\ny = 2\n");
}
END_TEST

START_TEST(is_taken_back_as_it_was_written)
{
	kp_autofree char *other = NULL;
	char *map;
	int fd;

	reg_set(reg, KEY "\\a", "x", "1");
	text();
	put(host, "# mine\n[a]\nx = 2\n", O_TRUNC);
	ck_assert_str_eq(value("x"), "2");
	ck_assert_str_eq(text(), "# mine\n[a]\nx = 2\n");
	/* As long, within the same tick. */
	reg_set(reg, KEY "\\a", "x", "3");
	text();
	put(host, "# mine\n[a]\nx = 4\n", 0);
	ck_assert_str_eq(value("x"), "4");
	/* Another file takes its name. */
	other = kp_asprintf("%s.new", host);
	put(other, "[a]\nx = 5\n", O_TRUNC);
	ck_assert_int_eq(rename(other, host), 0);
	ck_assert_str_eq(value("x"), "5");
	/* Through a mapping. */
	fd = open(host, O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	map[8] = '6';
	(void)munmap(map, 10);
	ck_assert_str_eq(value("x"), "6");
	ck_assert_int_eq(truncate(host, 4), 0);
	ck_assert_str_eq(value("x"), "(none)");
	ck_assert_str_eq(text(), "[a]\n");
}
END_TEST

START_TEST(waits_for_who_writes)
{
	int fd;

	reg_set(reg, KEY "\\a", "x", "1");
	text();
	fd = open(host, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(kp_write_full(fd, "[a]\n", 4), 0);
	ck_assert_str_eq(value("x"), "1");
	reg_set(reg, KEY "\\a", "y", "7");
	look();
	ck_assert_int_eq(kp_write_full(fd, "x = 2\n", 6), 0);
	(void)close(fd);
	ck_assert_str_eq(value("x"), "2");
	ck_assert_str_eq(text(), "[a]\nx = 2\ny = 7\n");
}
END_TEST

START_TEST(removing_deletes)
{
	reg_set(reg, KEY "\\a", "x", "1");
	text();
	ck_assert_int_eq(unlink(host), 0);
	/* Not yet: programs write a file so that they remove it first. */
	look();
	ck_assert_str_eq(reg_text(reg, KEY "\\a", "x"), "1");
	put(host, "[a]\nx = 2\n", 0);
	ck_assert_str_eq(value("x"), "2");
	text();
	ck_assert_int_eq(unlink(host), 0);
	ck_assert_str_eq(value("x"), "(none)");
	ck_assert_str_eq(text(), "(none)");
	reg_set(reg, KEY "\\a", "y", "3");
	ck_assert_str_eq(text(), "[a]\ny = 3\n");
	/* What came since is not lost with it. */
	ck_assert_int_eq(unlink(host), 0);
	reg_set(reg, KEY "\\a", "z", "4");
	ck_assert_str_eq(text(), "[a]\nz = 4\n");
}
END_TEST

START_TEST(both_sides_are_told)
{
	reg_set(reg, KEY "\\a", "x", "1");
	reg_set(reg, KEY "\\a", "y", "1");
	text();
	put(host, "[a]\nx = 2\ny = 1\n", O_TRUNC);
	reg_set(reg, KEY "\\a", "x", "3");
	reg_set(reg, KEY "\\a", "y", "4");
	ck_assert_str_eq(value("x"), "2");
	ck_assert_str_eq(value("y"), "4");
	ck_assert_str_eq(text(), "[a]\nx = 2\ny = 4\n");
	ck_assert(told("'2' of the file replaces '3' of the registry"));
	ck_assert(!told(""));
}
END_TEST

START_TEST(what_is_no_text_of_the_format_stays)
{
	kp_autofree char *big = kp_calloc(1, 100);

	reg_set(reg, KEY "\\a", "x", "1");
	text();
	memset(big, 'x', 99);
	put(host, "[a]\nx = \xff\n", O_TRUNC);
	look();
	ck_assert_str_eq(value("x"), "(none)"); /* to the registry, it is gone */
	ck_assert_str_eq(text(), "[a]\nx = \xff\n");
}
END_TEST

/* A start after a crash finds what was written; one without a crash changes nothing. */
START_TEST(next_start_takes_back)
{
	struct stat before, after;

	reg_set(reg, KEY "\\a", "x", "1");
	text();
	put(host, "[a]\nx = 2\n", O_TRUNC);
	end(false);
	begin();
	ck_assert_str_eq(value("x"), "2");
	ck_assert_int_eq(stat(host, &before), 0);
	end(true);
	begin();
	ck_assert_str_eq(text(), "[a]\nx = 2\n");
	ck_assert_int_eq(stat(host, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert(!told(""));
	/* In between, from outside. */
	end(true);
	reg = reg_open(&(struct kp_reg_options){.instance = regdir_path("registry"), .writable = true});
	reg_set(reg, KEY "\\a", "x", "9");
	reg = kp_reg_free(reg);
	begin();
	ck_assert_str_eq(text(), "[a]\nx = 9\n");
	ck_assert(!told(""));
}
END_TEST

START_TEST(mode_stays)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));

	reg_set(reg, KEY "\\a", "x", "1");
	text();
	ck_assert_int_eq(chmod(host, 0640), 0);
	look();
	reg_set(reg, KEY "\\a", "x", "2");
	ck_assert_str_eq(text(), "[a]\nx = 2\n");
	kp_vfs_read_lock(vfs);
	ck_assert_int_eq(kp_resolve_exact(vfs, FILE_NAME, 0, n), 0);
	kp_vfs_unlock(vfs);
	ck_assert_uint_eq(n->mode & 07777, 0640);
	free(n);
}
END_TEST

Suite *test_live(void)
{
	Suite *s = suite_create("live");
	TCase *c = tcase_create("live");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, is_made_when_looked_at);
	tcase_add_test(c, is_taken_back_as_it_was_written);
	tcase_add_test(c, waits_for_who_writes);
	tcase_add_test(c, removing_deletes);
	tcase_add_test(c, both_sides_are_told);
	tcase_add_test(c, what_is_no_text_of_the_format_stays);
	tcase_add_test(c, next_start_takes_back);
	tcase_add_test(c, mode_stays);
	suite_add_tcase(s, c);
	return s;
}
