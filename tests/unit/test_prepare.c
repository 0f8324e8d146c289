/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots in two steps: whatever is changed between them, the result is what one copy made after it would be. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapshot/internal.h"
#include "tests/unit/suites.h"
#include "vfs/record.h"

static char root[64];
static int root_fd;

static void set_up(void)
{
	(void)snprintf(root, sizeof(root), "/var/tmp/kapsel-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root_fd, 0);
	ck_assert_int_eq(mkdirat(root_fd, "live", 0700), 0);
	ck_assert_int_eq(mkdirat(root_fd, "live/t", 0700), 0);
}

static void tear_down(void)
{
	ck_assert_int_eq(kp_close(root_fd), -1);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, root), 0);
}

static int dir(const char *name)
{
	int fd;

	(void)mkdirat(root_fd, name, 0700);
	fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void put(int at, const char *path, const char *text, int flags)
{
	kp_autoclose int fd = openat(at, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);

	if (fd >= 0)
		ck_assert_int_eq(kp_write_full(fd, text, strlen(text)), 0);
}

static void get_old(void)
{
	(void)usleep(30000);
}

static bool all(const char *name)
{
	(void)name;
	return true;
}

/* --- all that a tree is, as text --- */
struct told {
	struct kp_buf text;
	struct kp_strings first; /* "inode path" of files with several names */
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tell_attributes(struct told *t, int fd)
{
	char names[4096], value[256];
	ssize_t len = flistxattr(fd, names, sizeof(names));
	struct kp_strings kp_autostrings lines = {0};

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t n = fgetxattr(fd, names + at, value, sizeof(value));
		char hex[513];

		ck_assert_int_ge(n, 0);
		kp_hex(hex, (const uint8_t *)value, (size_t)n);
		if (!strncmp(names + at, "user.", 5) && strcmp(names + at, KP_SOURCE_XATTR) != 0) {
			kp_autofree char *line = kp_asprintf(" %s=%s", names + at, hex);

			kp_strings_add(&lines, line);
		}
	}
	if (lines.count)
		qsort(lines.items, lines.count, sizeof(*lines.items), by_text); /* the kernel tells them as they were set */
	for (size_t i = 0; i < lines.count; i++)
		kp_buf_puts(&t->text, lines.items[i]);
}

static void tell_file(struct told *t, int at, const char *name, const char *path, const struct stat *st)
{
	kp_autoclose int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	kp_autofree char *data = NULL, *key = kp_asprintf("%llu ", (unsigned long long)st->st_ino);

	ck_assert_int_eq(kp_read_open(fd, 1U << 20, &data, NULL), 0);
	kp_buf_printf(&t->text, " '%s'", data ? data : "");
	for (size_t i = 0; i < t->first.count; i++)
		if (!strncmp(t->first.items[i], key, strlen(key)))
			kp_buf_printf(&t->text, " is %s", t->first.items[i] + strlen(key));
	if (st->st_nlink > 1) {
		kp_autofree char *line = kp_asprintf("%s%s", key, path);

		kp_strings_add(&t->first, line);
	}
	tell_attributes(t, fd);
}

static void tell_tree(struct told *t, int at, const char *path)
{
	kp_autoclose int fd = kp_open_beneath(at, path, O_RDONLY | O_DIRECTORY, 0);
	struct dirent **names = NULL;
	int count = scandirat(fd, ".", &names, NULL, alphasort);

	ck_assert_msg(count >= 0, "%s", path);
	tell_attributes(t, fd);
	kp_buf_puts(&t->text, "\n");
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		kp_autofree char *below = kp_asprintf("%s/%s", path, name);
		char target[64] = "";
		struct stat st;

		if (strcmp(name, ".") && strcmp(name, "..")) {
			ck_assert_int_eq(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
			(void)!readlinkat(fd, name, target, sizeof(target) - 1);
			kp_buf_printf(&t->text, "%s %o %u %lld.%09ld %s", below, st.st_mode, st.st_uid, (long long)st.st_mtim.tv_sec,
				      st.st_mtim.tv_nsec, target);
			if (S_ISREG(st.st_mode))
				tell_file(t, fd, name, below, &st);
			if (S_ISDIR(st.st_mode))
				tell_tree(t, at, below);
			else
				kp_buf_puts(&t->text, "\n");
		}
		free(names[i]);
	}
	free(names);
}

static void check_same(int a, int b, unsigned seed)
{
	struct told one = {0}, two = {0};

	tell_tree(&one, a, "t");
	tell_tree(&two, b, "t");
	ck_assert_msg(!strcmp(one.text.data, two.text.data), "seed %u: in two steps\n%s\nin one\n%s", seed, one.text.data, two.text.data);
	kp_buf_free(&one.text);
	kp_buf_free(&two.text);
	kp_strings_free(&one.first);
	kp_strings_free(&two.first);
}

/* --- changes --- */
static unsigned seed_now;

static unsigned any(unsigned n)
{
	seed_now = seed_now * 1103515245U + 12345U;
	return (seed_now >> 16) % n;
}

static const char *any_path(void)
{
	static const char *const paths[] = {"t/a",   "t/b",   "t/c",   "t/d",     "t/d/a",   "t/d/b",   "t/d/e",
					    "t/d/e/a", "t/d/e/b", "t/f", "t/f/a", "t/f/b", "t/f/e", "t/f/e/a"};

	return paths[any(KP_ARRAY_LEN(paths))];
}

static void attribute(int live, const char *path, bool set)
{
	kp_autoclose int fd = openat(live, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (set)
		(void)fsetxattr(fd, any(2) ? "user.x" : "user.kapsel", "v", any(2), 0);
	else
		(void)fremovexattr(fd, any(2) ? "user.x" : "user.kapsel");
}

static void change(int live)
{
	const struct timespec when[2] = {{.tv_sec = 1000}, {.tv_sec = any(3)}};
	const char *path = any_path(), *other = any_path();
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", any(1000));
	switch (any(14)) {
	case 0:
	case 1:
		put(live, path, text, O_TRUNC);
		break;
	case 2:
		put(live, path, text, O_APPEND);
		break;
	case 3:
		(void)kp_remove_tree(live, path);
		break;
	case 4:
	case 5:
		(void)mkdirat(live, path, 0700);
		break;
	case 6:
	case 7:
		(void)renameat(live, path, live, other);
		break;
	case 8:
		(void)!linkat(live, path, live, other, 0);
		break;
	case 9:
		(void)!symlinkat(other, live, path);
		break;
	case 10:
		(void)mknodat(live, path, any(2) ? S_IFCHR : S_IFIFO | 0600, makedev(0, 0));
		break;
	case 11:
		(void)!fchmodat(live, path, 0700 | any(077), 0);
		break;
	case 12:
		(void)utimensat(live, path, when, AT_SYMLINK_NOFOLLOW);
		break;
	default:
		attribute(live, path, any(2));
	}
}

/* --- a snapshot, in one step or in two --- */
struct two_steps {
	int live, to, gone, before;
	struct kp_prepared *prepared;
	struct kp_inodes mapped;
	struct kp_tally early, late; /* what was copied in each */
};

static void begin(struct two_steps *s)
{
	struct kp_carry how = {.from_fd = s->live, .to_fd = s->to, .before_fd = s->before, .kind = KP_TREE_PREPARE, .tally = &s->early};

	how.prepared = s->prepared = kp_prepared_new("x");
	ck_assert_int_eq(kp_tree_copy(&how, "t", NULL), 0);
}

static void end(struct two_steps *s)
{
	struct kp_carry how = {.from_fd = s->live, .to_fd = s->to, .before_fd = -1, .gone_fd = s->gone, .kind = KP_TREE_FREEZE, .running = true,
			       .tally = &s->late, .prepared = s->prepared, .mapped = &s->mapped};
	struct kp_err err = {0};

	ck_assert_msg(!kp_prepared_finish(&how, all, &err), "%s", err.text);
	kp_prepared_free(s->prepared);
	kp_inodes_free(&s->mapped);
	(void)kp_close(s->gone);
}

static void copy_once(int live, int to, int before)
{
	struct kp_carry how = {.from_fd = live, .to_fd = to, .before_fd = before, .kind = KP_TREE_FREEZE};

	ck_assert_int_eq(kp_tree_copy(&how, "t", NULL), 0);
}

START_TEST(two_steps_are_one)
{
	for (unsigned seed = 0; seed < 8; seed++) {
		kp_autoclose int live = dir("live"), before = dir("before"), to = dir("to"), once = dir("once");
		struct two_steps s = {.live = live, .to = to, .gone = dir("gone"), .before = before};

		seed_now = seed * 25 + (unsigned)_i;
		for (int i = 0; i < 40; i++)
			change(live);
		get_old();
		copy_once(live, before, -1);
		for (int i = 0; i < 6; i++)
			change(live);
		if (any(4)) /* else all this is too young to be prepared */
			get_old();
		begin(&s);
		for (unsigned i = any(12); i > 0; i--)
			change(live);
		end(&s);
		copy_once(live, once, -1);
		check_same(to, once, seed * 25 + (unsigned)_i);
		for (const char *const *name = (const char *const[]){"before", "to", "once", "gone", NULL}; *name; name++)
			ck_assert_int_eq(kp_remove_tree(root_fd, *name), 0);
	}
}
END_TEST

START_TEST(only_what_must_be_is_left_for_the_end)
{
	kp_autoclose int live = dir("live"), to = dir("to"), writer = -1;
	struct two_steps s = {.live = live, .to = to, .gone = dir("gone"), .before = -1};

	ck_assert_int_eq(mkdirat(live, "t/d", 0700), 0);
	for (int i = 0; i < 500; i++) {
		kp_autofree char *path = kp_asprintf("t/d/%d", i);

		put(live, path, "text", 0);
	}
	put(live, "t/open", "text", 0);
	get_old();
	writer = openat(live, "t/open", O_WRONLY | O_CLOEXEC);
	put(live, "t/young", "text", 0);
	begin(&s);
	/* young, too, where this process was not held up */
	ck_assert_uint_le(s.early.files - 500, 1);
	put(live, "t/d/7", "TEXT", 0);
	end(&s);
	/* open, 7, and young unless it was copied */
	ck_assert_uint_eq(s.early.files + s.late.files, 503);
	ck_assert_uint_eq(s.late.bytes, 4 * s.late.files);
}
END_TEST

/* A write through a mapping leaves no trace in the file's times but the first. */
START_TEST(what_is_mapped_is_copied_at_the_end)
{
	kp_autoclose int live = dir("live"), before = dir("before"), to = dir("to"), fd = -1;
	struct two_steps s = {.live = live, .to = to, .gone = dir("gone"), .before = before};
	kp_autofree char *has = NULL;
	void *map;

	put(live, "t/mapped", "text", 0);
	fd = openat(live, "t/mapped", O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(map != MAP_FAILED);
	memcpy(map, "TEXT", 4);
	get_old();
	copy_once(live, before, -1); /* as one that takes no notice of mappings */
	begin(&s);
	memcpy(map, "MAPS", 4);
	ck_assert(kp_inodes_mapped(&s.mapped, getpid()));
	end(&s);
	ck_assert_int_eq(kp_read_file(to, "t/mapped", 100, &has, NULL), 0);
	ck_assert_str_eq(has, "MAPS");
	(void)munmap(map, 4);
}
END_TEST

/* Its content is what the first name had; the second is of a later time. */
START_TEST(a_file_changes_between_its_names)
{
	kp_autoclose int live = dir("live"), to = dir("to"), from = -1;
	struct kp_carry how = {.from_fd = live, .to_fd = to, .before_fd = -1, .kind = KP_TREE_PREPARE};
	struct kp_place p = {.to = to, .before = -1, .path = ""};
	struct kp_copy c;

	put(live, "t/a", "text", 0);
	ck_assert_int_eq(linkat(live, "t/a", live, "t/b", 0), 0);
	get_old();
	p.from = from = openat(live, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kp_copy_begin(&c, &how, NULL);
	ck_assert_int_eq(kp_copy_entry(&c, &p, "a"), 0);
	put(live, "t/a", "TEXT", 0);
	ck_assert_int_eq(kp_copy_entry(&c, &p, "b"), -EAGAIN);
	kp_copy_end(&c);
}
END_TEST

START_TEST(a_cancelled_one_ends)
{
	kp_autoclose int live = dir("live"), to = dir("to");
	atomic_bool cancel = true;
	struct kp_carry how = {.from_fd = live, .to_fd = to, .before_fd = -1, .kind = KP_TREE_PREPARE, .cancel = &cancel};

	put(live, "t/a", "text", 0);
	how.prepared = kp_prepared_new("x");
	ck_assert_int_eq(kp_tree_copy(&how, "t", NULL), -ECANCELED);
	kp_prepared_free(how.prepared);
}
END_TEST

Suite *test_prepare(void)
{
	Suite *s = suite_create("prepare");
	TCase *tc = tcase_create("prepare");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, two_steps_are_one, 0, 25);
	tcase_add_test(tc, only_what_must_be_is_left_for_the_end);
	tcase_add_test(tc, what_is_mapped_is_copied_at_the_end);
	tcase_add_test(tc, a_file_changes_between_its_names);
	tcase_add_test(tc, a_cancelled_one_ends);
	suite_add_tcase(s, tc);
	return s;
}
