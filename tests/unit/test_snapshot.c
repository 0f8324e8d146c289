/* SPDX-License-Identifier: Apache-2.0 */
/* Restoring, stopped after each of its steps; commits that were killed; what copies carry. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "instance/settle.h"
#include "snapshot/copy.h"
#include "tests/unit/suites.h"
#include "vfs/record.h"

static char root[] = "/var/tmp/kapsel-test-XXXXXX";
static int root_fd;

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root_fd, 0);
}

static void tear_down(void)
{
	ck_assert_int_eq(kp_close(root_fd), -1);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, root), 0);
	memcpy(strrchr(root, '-'), "-XXXXXX", 7);
}

static void put(const char *path, const char *text)
{
	kp_autoclose int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(kp_write_full(fd, text, strlen(text)), 0);
}

static void make_dirs(const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(mkdirat(root_fd, names[i], 0700), 0);
}

static void has(const char *path, const char *text)
{
	kp_autofree char *got = NULL;

	ck_assert_msg(!kp_read_file(root_fd, path, 100, &got, NULL), "%s is not there", path);
	ck_assert_str_eq(got, text);
}

static bool is_there(const char *path)
{
	return faccessat(root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The steps of putting a restored state in place, in their order: a crash may come after any. */
static const char *const steps[][2] = {
	{"extra", "restoring/old/extra"},	      {"config.yaml", NULL}, /* replaced by the next, in one step */
	{"restoring/files/config.yaml", "config.yaml"}, {"upper", "restoring/old/upper"},
	{"restoring/files/upper", "upper"},	      {"restoring", "restored"},
};

static int copy(int from, int to, enum kp_copy_kind kind, int before)
{
	struct kp_carry how = {.from_fd = from, .to_fd = to, .before_fd = before, .kind = kind};

	return kp_tree_copy(&how, "t", NULL);
}

START_TEST(restore_from_any_step)
{
	static const char *const dirs[] = {"upper", "restoring", "restoring/files", "restoring/files/upper", "restoring/old", "snapshots"};

	make_dirs(dirs, KP_ARRAY_LEN(dirs));
	put("upper/f", "old");
	put("extra", "old");
	put("config.yaml", "old");
	put("lock", "");
	put("snapshots/kept", "kept");
	put("restoring/files/upper/f", "new");
	put("restoring/files/config.yaml", "new");
	{
		kp_autoclose int fd = openat(root_fd, "restoring/items", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		ck_assert_int_eq(kp_write_full(fd, "config.yaml\0upper", 18), 0);
	}
	for (int i = 0; i < _i; i++)
		if (steps[i][1])
			ck_assert_int_eq(renameat(root_fd, steps[i][0], root_fd, steps[i][1]), 0);
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(kp_settle(root), 0);
		has("upper/f", "new");
		has("config.yaml", "new");
		has("snapshots/kept", "kept");
		ck_assert(!is_there("extra") && !is_there("restoring") && !is_there("restored") && is_there("lock"));
	}
}
END_TEST

START_TEST(unfinished_is_taken_away)
{
	static const char *const dirs[] = {"snapshots", "snapshots/.new-x", "snapshots/.gone-y", "snapshots/z", "restore.new", "upper"};

	make_dirs(dirs, KP_ARRAY_LEN(dirs));
	put("restore.new/f", "half");
	put("upper/f", "whole");
	ck_assert_int_eq(kp_settle(root), 0);
	ck_assert(!is_there("snapshots/.new-x") && !is_there("snapshots/.gone-y") && !is_there("restore.new"));
	ck_assert(is_there("snapshots/z"));
	has("upper/f", "whole");
}
END_TEST

START_TEST(killed_commit_is_tidied)
{
	static const char *const dirs[] = {"host", "host/sub", "host/.kapsel-commit-1", "host/.kapsel-commit-1/in"};
	struct kp_settle_commit s = {.temp = ".kapsel-commit-1"};
	kp_autofree char *one = kp_asprintf("%s/host", root), *two = kp_asprintf("%s/host/sub", root);

	make_dirs(dirs, KP_ARRAY_LEN(dirs));
	put("host/sub/.kapsel-commit-1", "half");
	put("host/sub/.kapsel-commit-2", "another's");
	kp_strings_add(&s.dirs, one);
	kp_strings_add(&s.dirs, two);
	kp_strings_add(&s.dirs, "/nowhere");
	ck_assert_int_eq(kp_settle_note_commit(root, &s, NULL), 0);
	ck_assert_int_eq(kp_settle(root), 0);
	ck_assert(!is_there("host/.kapsel-commit-1") && !is_there("host/sub/.kapsel-commit-1") && is_there("host/sub/.kapsel-commit-2"));
	ck_assert(!is_there("committing"));
	/* A note that names anything else removes nothing. */
	s.temp = "sub";
	ck_assert_int_eq(kp_settle_note_commit(root, &s, NULL), 0);
	ck_assert_int_eq(kp_settle(root), 0);
	ck_assert(is_there("host/sub"));
	kp_strings_free(&s.dirs);
}
END_TEST

START_TEST(copies_keep_what_tells)
{
	static const char *const dirs[] = {"from", "from/t", "from/t/d", "to", "first", "second"};
	const struct timespec when[2] = {{.tv_sec = 1000}, {.tv_sec = 2000, .tv_nsec = 5}};
	kp_autoclose int from = -1, to = -1, first = -1, second = -1;
	struct stat a, b, w;
	struct kp_since since;
	char proc[64];

	make_dirs(dirs, KP_ARRAY_LEN(dirs));
	put("from/t/d/f", "text");
	ck_assert_int_eq(linkat(root_fd, "from/t/d/f", root_fd, "from/t/g", 0), 0);
	ck_assert_int_eq(mknodat(root_fd, "from/t/white", S_IFCHR, makedev(0, 0)), 0);
	ck_assert_int_eq(utimensat(root_fd, "from/t/white", when, AT_SYMLINK_NOFOLLOW), 0);
	from = openat(root_fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to = openat(root_fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	first = openat(root_fd, "first", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	second = openat(root_fd, "second", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(copy(from, to, KP_TREE_CLONE, -1), 0);
	ck_assert_int_eq(fstatat(to, "t/g", &a, 0), 0);
	ck_assert_int_eq(fstatat(to, "t/d/f", &b, 0), 0);
	ck_assert_uint_eq(a.st_ino, b.st_ino);
	ck_assert_int_eq(fstatat(to, "t/white", &w, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert(kp_is_whiteout(&w) && w.st_mtim.tv_sec == 2000 && w.st_mtim.tv_nsec == 5);
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/t/g", to);
	ck_assert_int_eq(getxattr(proc, KP_SINCE_XATTR, &since, sizeof(since)), sizeof(since));
	/* Snapshots: the second shares what did not change with the first, nothing with the live files. */
	ck_assert_int_eq(copy(from, first, KP_TREE_FREEZE, -1), 0);
	(void)usleep(20000);
	put("from/t/new", "new");
	ck_assert_int_eq(copy(from, second, KP_TREE_FREEZE, first), 0);
	ck_assert_int_eq(fstatat(first, "t/g", &a, 0), 0);
	ck_assert_int_eq(fstatat(second, "t/d/f", &b, 0), 0);
	ck_assert_uint_eq(a.st_ino, b.st_ino);
	ck_assert_uint_eq(a.st_nlink, 4);
	ck_assert_int_eq(fstatat(from, "t/g", &w, 0), 0);
	ck_assert_uint_ne(w.st_ino, a.st_ino);
	/* Changed without a trace in size and mtime: the time of change tells. */
	a = w;
	put("from/t/g", "TEXT");
	{
		const struct timespec back[2] = {a.st_atim, a.st_mtim};

		ck_assert_int_eq(utimensat(root_fd, "from/t/g", back, 0), 0);
	}
	ck_assert_int_eq(kp_remove_tree(second, "t"), 0);
	ck_assert_int_eq(copy(from, second, KP_TREE_FREEZE, first), 0);
	has("second/t/g", "TEXT");
	has("first/t/g", "text");
}
END_TEST

Suite *test_snapshot(void)
{
	Suite *s = suite_create("snapshot");
	TCase *tc = tcase_create("snapshot");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, restore_from_any_step, 0, KP_ARRAY_LEN(steps) + 1);
	tcase_add_test(tc, unfinished_is_taken_away);
	tcase_add_test(tc, killed_commit_is_tidied);
	tcase_add_test(tc, copies_keep_what_tells);
	suite_add_tcase(s, tc);
	return s;
}
