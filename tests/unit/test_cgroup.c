/* SPDX-License-Identifier: Apache-2.0 */
/* Where a run can have a control group: found in trees as the kernel and systemd make them. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "instance/cgroup.h"
#include "tests/unit/suites.h"

#define MEMORY (1U << KP_LIMIT_MEMORY)
#define PROCESSES (1U << KP_LIMIT_PROCESSES)
#define BOTH (MEMORY | PROCESSES)
#define MOUNT "/sys/fs/cgroup"

static char root[] = "/tmp/kapsel-test-XXXXXX";
static const char *why;

static void put_text(const char *path, const char *text)
{
	kp_autofree char *full = kp_asprintf("%s%s", root, path), *dir = kp_strndup(full, (size_t)(strrchr(full, '/') - full));

	ck_assert_int_eq(kp_mkdir_all(AT_FDCWD, dir, 0755), 0);
	ck_assert_int_eq(kp_write_file_passing(AT_FDCWD, full, text, strlen(text), 0644), 0);
}

/* A group with these controllers, passing on those, with these processes in it; %d is this process. */
static void put_group(const char *dir, const char *has, const char *passes, const char *procs)
{
	static const char *const names[] = {"cgroup.controllers", "cgroup.subtree_control", "cgroup.procs", "cgroup.type"};
	kp_autofree char *self = kp_asprintf("%d\n", (int)getpid()), *all = kp_asprintf("%s%s", self, procs ? procs : "");
	const char *texts[] = {has, passes, procs ? all : "", "domain\n"};

	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++) {
		kp_autofree char *path = kp_asprintf("%s/%s", dir, names[i]);

		put_text(path, texts[i]);
	}
}

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	put_text("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n"
					 "30 23 0:26 / " MOUNT " rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
	put_text("/proc/self/cgroup", "0::/user/shell\n");
}

static void tear_down(void)
{
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, root), 0);
	memcpy(strrchr(root, '-'), "-XXXXXX", 7);
}

/* wanted: the directory below root; NULL: there is none. */
static void expect(const char *dir, unsigned keeps, bool leave)
{
	const pid_t ours[] = {getpid(), 1234567, 0};
	struct kp_cgroup_place place = {0};
	int r = kp_cgroup_find(root, BOTH, ours, &place, &why);

	ck_assert_int_eq(r, dir ? 0 : -ENOENT);
	if (!dir)
		return;
	ck_assert_str_eq(place.dir + strlen(root), dir);
	ck_assert_uint_eq(place.keeps, keeps);
	ck_assert_int_eq(place.leave, leave);
	free(place.dir);
}

START_TEST(below_its_own_group_where_only_the_launcher_is_in_it)
{
	put_group(MOUNT "/user/shell", "cpu memory pids\n", "", "1234567\n");
	expect(MOUNT "/user/shell", BOTH, true);
	put_group(MOUNT "/user/shell", "cpu memory pids\n", "", "1234567\n77\n");
	expect(NULL, 0, false);
	ck_assert_str_eq(why, "other programs are in this control group");
}
END_TEST

START_TEST(beside_its_own_group_where_controllers_are_passed_on)
{
	put_group(MOUNT "/user", "memory pids\n", "memory pids\n", NULL);
	put_group(MOUNT "/user/shell", "memory pids\n", "", "77\n");
	expect(MOUNT "/user", BOTH, false);
	/* The most is kept. */
	put_group(MOUNT "/user", "memory pids\n", "pids\n", NULL);
	expect(MOUNT "/user", PROCESSES, false);
	put_group(MOUNT "/user/shell", "memory pids\n", "", "");
	expect(MOUNT "/user/shell", BOTH, true);
}
END_TEST

START_TEST(only_the_controllers_that_are_there)
{
	put_group(MOUNT "/user/shell", "cpu pids_of memory\n", "", "");
	expect(MOUNT "/user/shell", MEMORY, true);
	put_group(MOUNT "/user/shell", "hugetlb\n", "", "");
	expect(NULL, 0, false);
	ck_assert_str_eq(why, "this control group has no such controllers");
}
END_TEST

START_TEST(where_a_systemd_keeps_house)
{
	kp_autofree char *scope = kp_asprintf("%s" MOUNT "/app.slice/run.scope", root), *slice = kp_asprintf("%s" MOUNT "/app.slice", root);

	put_text("/proc/self/cgroup", "1:name=systemd:/elsewhere\n0::/app.slice/run.scope\n");
	put_group(MOUNT "/app.slice", "memory pids\n", "memory pids\n", NULL);
	put_group(MOUNT "/app.slice/run.scope", "memory pids\n", "", "77\n");
	(void)setxattr(slice, "trusted.delegate", "1", 1, 0);
	expect(NULL, 0, false); /* the slice is systemd's own, whatever it says */
	put_group(MOUNT "/app.slice/run.scope", "memory pids\n", "", "");
	if (geteuid()) {
		expect(MOUNT "/app.slice/run.scope", BOTH, true);
	} else {
		expect(NULL, 0, false);
		if (setxattr(scope, "trusted.delegate", "1", 1, 0) == 0)
			expect(MOUNT "/app.slice/run.scope", BOTH, true);
	}
	put_text("/proc/self/cgroup", "0::/made/run.scope\n");
	put_group(MOUNT "/made", "memory pids\n", "memory pids\n", NULL);
	put_group(MOUNT "/made/run.scope", "memory pids\n", "", "77\n");
	expect(NULL, 0, false); /* who made the unit keeps house above it */
	put_text("/proc/self/cgroup", "0::/app.slice\n");
	put_group(MOUNT "/app.slice", "memory pids\n", "", "");
	expect(NULL, 0, false);
	ck_assert_str_eq(why, "this control group is not delegated");
}
END_TEST

START_TEST(mounts_that_show_a_part_or_something_else)
{
	put_text("/proc/self/cgroup", "0::/box/one/two\n");
	put_text("/proc/self/mountinfo", "29 23 0:26 /other /a rw - cgroup2 cgroup2 rw\n"
					 "30 23 0:26 / /hidden rw - cgroup2 cgroup2 rw\n"
					 "31 23 0:26 /box /with\\040blank rw - cgroup2 cgroup2 rw\n"
					 "32 23 0:27 /box /with rw - tmpfs cgroup2 rw\n"
					 "broken - cgroup2 \n");
	put_group("/hidden/box/one/two", "memory pids\n", "", NULL); /* this process is not in it */
	put_group("/with blank/one/two", "memory pids\n", "", "");
	expect("/with blank/one/two", BOTH, true);
	put_text("/proc/self/cgroup", "0::/../box/one/two\n"); /* of another namespace */
	expect(NULL, 0, false);
	put_text("/proc/self/cgroup", "4:memory:/box/one/two\n");
	expect(NULL, 0, false);
	ck_assert_str_eq(why, "this process is in no control group of version 2 that is mounted");
}
END_TEST

START_TEST(not_in_a_group_of_threads)
{
	put_group(MOUNT "/user/shell", "memory pids\n", "", "");
	put_text(MOUNT "/user/shell/cgroup.type", "domain threaded\n");
	expect(NULL, 0, false);
}
END_TEST

START_TEST(not_where_the_user_cannot_write)
{
	kp_autofree char *file = kp_asprintf("%s" MOUNT "/user/shell/cgroup.subtree_control", root);

	put_group(MOUNT "/user/shell", "memory pids\n", "", "");
	ck_assert_int_eq(chmod(file, 0444), 0);
	if (!geteuid()) /* he can there */
		ck_assert_int_eq(unlink(file), 0);
	expect(NULL, 0, false);
	ck_assert_str_eq(why, "this control group is not delegated");
}
END_TEST

Suite *test_cgroup(void)
{
	Suite *s = suite_create("cgroup");
	TCase *c = tcase_create("where");

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, below_its_own_group_where_only_the_launcher_is_in_it);
	tcase_add_test(c, beside_its_own_group_where_controllers_are_passed_on);
	tcase_add_test(c, only_the_controllers_that_are_there);
	tcase_add_test(c, where_a_systemd_keeps_house);
	tcase_add_test(c, mounts_that_show_a_part_or_something_else);
	tcase_add_test(c, not_in_a_group_of_threads);
	tcase_add_test(c, not_where_the_user_cannot_write);
	suite_add_tcase(s, c);
	return s;
}
