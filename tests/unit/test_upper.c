/* SPDX-License-Identifier: Apache-2.0 */
/* The check of an upper layer finds each kind of damage. */
#include <check.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/check.h"
#include "vfs/fastcache.h"
#include "vfs/internal.h"
#include "vfs/makes.h"

static char dir[64], last[128];

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/var/tmp/kapsel-upper-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	last[0] = '\0';
}

static void teardown(void)
{
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
}

static void said(const char *path, const char *what, void *ctx)
{
	(void)ctx;
	(void)snprintf(last, sizeof(last), "%s: %s", path, what);
}

static const char *at(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void file(const char *name, mode_t mode, const struct kp_record *rec, size_t len)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	if (rec)
		ck_assert_int_eq(fsetxattr(fd, KP_RECORD_XATTR, rec, len, 0), 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	(void)close(fd);
}

static struct kp_upper_counts check(void)
{
	struct kp_upper_counts n;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_upper_check(dir, said, NULL, &n, &err), 0);
	return n;
}

START_TEST(what_is_right)
{
	struct kp_record rec = {.version = 1, .flags = KP_REC_INO | KP_REC_MODE, .mode = 0444, .ino = 7};
	struct kp_record numbered = {.version = 1, .flags = KP_REC_NUMBERED};
	struct kp_upper_counts n;

	file("plain", 0644, NULL, 0);
	file("short", 01600, &rec, KP_RECORD_SHORT);
	rec.ino = 8;
	file("long", 01600, &rec, sizeof(rec));
	ck_assert_int_eq(setxattr(dir, KP_RECORD_XATTR, &numbered, sizeof(numbered), 0), 0);
	ck_assert_int_eq(symlink("x", at("link")), 0);
	ck_assert_int_eq(mknod(at("gone"), S_IFCHR, makedev(0, 0)), 0);
	n = check();
	ck_assert_str_eq(last, "");
	ck_assert_uint_eq(n.files, 3);
	ck_assert_uint_eq(n.directories, 1);
	ck_assert_uint_eq(n.others, 1);
	ck_assert_uint_eq(n.whiteouts, 1);
	ck_assert_uint_eq(n.wrong, 0);
}
END_TEST

static const struct {
	mode_t mode;
	struct kp_record rec;
	size_t len;
	const char *says;
} bad[] = {
	{0400, {0}, 0, "/f: its owner may not read and write it"},
	{0600, {.version = 1, .flags = KP_REC_MODE}, KP_RECORD_SHORT, "/f: has a record that nothing points to"},
	{01600, {.version = 2, .flags = KP_REC_MODE}, KP_RECORD_SHORT, "/f: its record is not understood"},
	{01600, {.version = 1, .flags = 128}, KP_RECORD_SHORT, "/f: its record is not understood"},
	{01600, {.version = 1, .flags = KP_REC_OWNER}, KP_RECORD_SHORT, "/f: its record is not understood"},
	{01600, {.version = 1}, 3, "/f: its record is not understood"},
	{01600, {.version = 1, .flags = KP_REC_INO, .ino = 9}, sizeof(struct kp_record), "/f: its directory does not know that it has a number"},
};

START_TEST(what_is_wrong)
{
	file("f", bad[_i].mode, bad[_i].len ? &bad[_i].rec : NULL, bad[_i].len);
	ck_assert_uint_eq(check().wrong, 1);
	ck_assert_str_eq(last, bad[_i].says);
}
END_TEST

START_TEST(one_number_twice)
{
	struct kp_record rec = {.version = 1, .flags = KP_REC_INO, .ino = 9}, numbered = {.version = 1, .flags = KP_REC_NUMBERED};
	char other[128];

	ck_assert_int_eq(setxattr(dir, KP_RECORD_XATTR, &numbered, sizeof(numbered), 0), 0);
	file("a", 01600, &rec, sizeof(rec));
	(void)snprintf(other, sizeof(other), "%s/b", dir);
	ck_assert_int_eq(link(at("a"), other), 0);
	ck_assert_uint_eq(check().wrong, 0);
	file("c", 01600, &rec, sizeof(rec));
	ck_assert_uint_eq(check().wrong, 1);
	ck_assert_ptr_nonnull(strstr(last, "has the number of another file"));
}
END_TEST

static const char *const no_origins[] = {"", "/", "a", "a/b", "/a/", "/a//b", "/a/../b", "/./a", "/a/.", "/.."};

/* An instance comes from elsewhere: what its directories say is looked at. */
START_TEST(renamed_from_nowhere)
{
	struct kp_record moved = {.version = 1, .flags = KP_REC_MOVED}, holds = {.version = 1, .flags = KP_REC_HOLDS};
	const char *from = no_origins[_i];

	ck_assert_int_eq(mkdir(at("d"), 0700), 0);
	ck_assert_int_eq(setxattr(at("d"), KP_MOVED_XATTR, "/a b/.c", 7, 0), 0);
	ck_assert_int_eq(setxattr(at("d"), KP_RECORD_XATTR, &moved, sizeof(moved), 0), 0);
	ck_assert_uint_eq(check().wrong, 1);
	ck_assert_str_eq(last, "/d: its directory does not know that it holds a renamed one");
	ck_assert_int_eq(setxattr(dir, KP_RECORD_XATTR, &holds, sizeof(holds), 0), 0);
	ck_assert_uint_eq(check().wrong, 0);
	ck_assert_int_eq(setxattr(at("d"), KP_MOVED_XATTR, from, strlen(from), 0), 0);
	ck_assert_uint_eq(check().wrong, 1);
	ck_assert_str_eq(last, "/d: was renamed and does not say from where");
}
END_TEST

/* What was empty a moment ago, in a run in which guests make files themselves. */
static struct kp_fast *mem;
static struct kp_fast_cache cache;

static struct kp_vfs v_of_guests;

static struct kp_vfs *open_to_guests(void)
{
	struct kp_vfs *v = &v_of_guests;

	mem = mmap(NULL, sizeof(*mem) + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	cache = (struct kp_fast_cache){.mem = mem};
	*v = (struct kp_vfs){.upper_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), .fast = &cache};
	v->work_fd = v->upper_fd;
	(void)snprintf(v->upper.s, sizeof(v->upper.s), "%s", dir);
	kp_makes_open(v);
	return v;
}

static void close_to_guests(struct kp_vfs *v)
{
	kp_makes_end(mem);
	ck_assert(!kp_makes_are_open(v));
	(void)munmap(mem, sizeof(*mem) + 4096);
	(void)close(v->upper_fd);
}

/* By a file, if it was empty: then that has its name, and nothing is left beside. */
static int replace(const char *name)
{
	struct kp_node n;
	struct stat st;
	int rc;

	(void)snprintf(n.guest.s, sizeof(n.guest.s), "/%s", name);
	file("new", 0644, NULL, 0);
	rc = kp_makes_replace(&v_of_guests, "new", &n);
	ck_assert_int_eq(stat(at(name), &st), 0);
	ck_assert(S_ISDIR(st.st_mode) == (rc != 0));
	ck_assert_int_eq(access(at("new"), F_OK), rc ? 0 : -1);
	return rc;
}

START_TEST(removed_when_empty)
{
	struct kp_vfs *v = open_to_guests();

	ck_assert(kp_makes_are_open(v));
	ck_assert_int_eq(mkdir(at("empty"), 0755), 0);
	ck_assert_int_eq(replace("empty"), 0);
	ck_assert_int_eq(mkdir(at("whiteout"), 0755), 0);
	ck_assert_int_eq(mknod(at("whiteout/x"), S_IFCHR, makedev(0, 0)), 0);
	ck_assert_int_eq(replace("whiteout"), 0);
	ck_assert_int_eq(mkdir(at("made"), 0755), 0);
	file("made/x", 0644, NULL, 0);
	ck_assert_int_eq(replace("made"), -ENOTEMPTY);
	ck_assert_int_eq(access(at("made/x"), F_OK), 0);
	kp_makes_for_umask(v, 0177);
	ck_assert(kp_makes_are_open(v));
	kp_makes_for_umask(v, 0277);
	ck_assert(!kp_makes_are_open(v)); /* nobody made it behind our back */
	ck_assert_int_eq(replace("made"), 0);
	close_to_guests(v);
}
END_TEST

START_TEST(renamed_over_what_was_made)
{
	struct kp_vfs *v = open_to_guests();
	struct kp_node to = {.guest = {"/to"}, .origin = KP_ABSENT};

	file("from", 0644, NULL, 0);
	file("to", 0644, NULL, 0);
	ck_assert_int_eq(kp_makes_rename(v, v->work_fd, "from", &to, RENAME_NOREPLACE), -EEXIST);
	ck_assert_int_eq(kp_makes_rename(v, v->work_fd, "from", &to, 0), 0);
	file("from", 0644, NULL, 0);
	to.whiteout = true; /* that is what it replaces */
	ck_assert_int_eq(kp_makes_rename(v, v->work_fd, "from", &to, RENAME_NOREPLACE), 0);
	close_to_guests(v);
}
END_TEST

/* With a default ACL the kernel gives what is made another mode than the guest's umask would. */
START_TEST(acl_for_what_is_made)
{
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entry[3];
	} acl = {2, {{1, 7, UINT32_MAX}, {4, 7, UINT32_MAX}, {32, 5, UINT32_MAX}}};
	struct kp_vfs *v;

	if (setxattr(dir, "system.posix_acl_default", &acl, sizeof(acl), 0) < 0 && errno == EOPNOTSUPP)
		return;
	v = open_to_guests();
	ck_assert(!kp_makes_are_open(v));
	close_to_guests(v);
}
END_TEST

Suite *test_upper(void);
Suite *test_upper(void)
{
	Suite *s = suite_create("upper");
	TCase *t = tcase_create("check");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_right);
	tcase_add_loop_test(t, what_is_wrong, 0, KP_ARRAY_LEN(bad));
	tcase_add_test(t, one_number_twice);
	tcase_add_test(t, acl_for_what_is_made);
	tcase_add_test(t, removed_when_empty);
	tcase_add_test(t, renamed_over_what_was_made);
	tcase_add_loop_test(t, renamed_from_nowhere, 0, KP_ARRAY_LEN(no_origins));
	suite_add_tcase(s, t);
	return s;
}
