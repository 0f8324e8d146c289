/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "store/store.h"
#include "store/internal.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/suites.h"

static char dir[64];
static struct kp_image *image;
static struct kp_store *store;
static struct kp_store_image *si;
static struct kp_err err;

static void attach(void)
{
	ck_assert_msg(kp_store_open(&store, &err) == 0, "%s", err.text);
	ck_assert_msg(kp_store_attach(store, image, &si, &err) == 0, "%s", err.text);
}

static void detach(void)
{
	si = kp_store_detach(si);
	store = kp_store_free(store);
}

static void setup(void)
{
	struct kp_tree *tree = fixture_tree();
	kp_autoclose int fd = fixture_write(tree, 2);

	kp_tree_free(tree);
	(void)snprintf(dir, sizeof(dir), "/tmp/kp-store-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	setenv("KAPSEL_STORE", dir, 1);
	image = fixture_open(fd);
	attach();
}

static void teardown(void)
{
	detach();
	image = kp_image_free(image);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
}

static int count_names(int dirfd)
{
	DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int count = 0;

	while ((e = readdir(d)))
		count += e->d_name[0] != '.';
	closedir(d);
	return count;
}

static uint32_t id_of(const char *path)
{
	uint32_t id = kp_image_find(image, path);

	ck_assert_uint_ne(id, KP_NO_ENTRY);
	return id;
}

static ino_t inode_of(const char *path)
{
	kp_autoclose int fd = kp_store_open_entry(si, id_of(path), O_RDONLY);
	struct stat st;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(-fd));
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0222, 0);
	return st.st_ino;
}

START_TEST(equal_content_is_one_object_under_two_names)
{
	char link[64], path[256];
	kp_autoclose int fd = -1;
	ssize_t n;

	ck_assert_uint_eq(inode_of("/data/same1"), inode_of("/data/same2"));
	ck_assert_uint_ne(inode_of("/data/same1"), inode_of("/data/big"));
	fd = kp_store_open_entry(si, id_of("/data/same2"), O_RDONLY);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	ck_assert_int_gt(n, 0);
	path[n] = '\0';
	ck_assert(!strncmp(path, kp_store_image_dir(si), strlen(kp_store_image_dir(si))));
	ck_assert_uint_eq((uint32_t)atoi(strrchr(path, '/') + 1), id_of("/data/same2"));
	ck_assert_int_eq(count_names(store->tmp_fd), 0);
}
END_TEST

START_TEST(types_and_flags)
{
	char target[16] = "";
	int fd = kp_store_open_entry(si, id_of("/lib"), O_PATH | O_NOFOLLOW);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(readlinkat(fd, "", target, sizeof(target)), 7);
	ck_assert_str_eq(target, "usr/lib");
	close(fd);
	ck_assert_int_eq(kp_store_open_entry(si, id_of("/lib"), O_RDONLY), -ELOOP);
	ck_assert_int_eq(kp_store_open_entry(si, id_of("/usr"), O_RDONLY), -EISDIR);
	ck_assert_int_eq(kp_store_open_entry(si, id_of("/data/big"), O_RDWR), -EINVAL);
	ck_assert_int_eq(kp_store_open_entry(si, kp_image_count(image), O_RDONLY), -EIO);
	fd = kp_store_open_entry(si, id_of("/data/big"), O_PATH);
	ck_assert_int_ge(fd, 0);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}
END_TEST

static void damage(const char *path, bool shorter)
{
	char name[16];
	kp_autoclose int fd = -1;

	(void)inode_of(path);
	(void)snprintf(name, sizeof(name), "%u", id_of(path));
	ck_assert_int_eq(fchmodat(si->dir_fd, name, 0600, 0), 0);
	fd = openat(si->dir_fd, name, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(shorter ? ftruncate(fd, 3) : (int)write(fd, "EVIL", 4) - 4, 0);
	if (!shorter)
		ck_assert_int_eq(fchmodat(si->dir_fd, name, 0444, 0), 0);
}

static void check_same(const char *path)
{
	kp_autoclose int fd = kp_store_open_entry(si, id_of(path), O_RDONLY);
	char text[8] = "";

	ck_assert_int_eq(read(fd, text, sizeof(text)), 4);
	ck_assert_str_eq(text, "same");
}

START_TEST(short_or_writable_files_are_made_anew)
{
	char name[16];

	damage("/data/same1", true);
	check_same("/data/same1");
	check_same("/data/same2");
	(void)snprintf(name, sizeof(name), "%u", id_of("/data/same1"));
	ck_assert_int_eq(fchmodat(si->dir_fd, name, 0666, 0), 0);
	check_same("/data/same1");
	/* A link planted in a file's place is not followed. */
	ck_assert_int_eq(unlinkat(si->dir_fd, name, 0), 0);
	ck_assert_int_eq(symlinkat("/etc/hostname", si->dir_fd, name), 0);
	check_same("/data/same1");
}
END_TEST

START_TEST(verify_finds_and_repairs_what_size_cannot_tell)
{
	uint64_t checked, bad;

	(void)inode_of("/data/big");
	damage("/data/same1", false);
	ck_assert_int_eq(kp_store_verify(store, false, &checked, &bad, &err), 0);
	ck_assert(checked == 2 && bad == 1);
	ck_assert_int_eq(kp_store_verify(store, true, &checked, &bad, &err), 0);
	ck_assert(checked == 2 && bad == 1);
	check_same("/data/same1");
	ck_assert_int_eq(kp_store_verify(store, true, &checked, &bad, &err), 0);
	ck_assert(checked == 2 && bad == 0);
}
END_TEST

START_TEST(trim_keeps_what_is_held)
{
	struct kp_store_usage u;
	struct kp_store *other;
	uint64_t freed;

	(void)inode_of("/data/big");
	ck_assert_int_eq(kp_store_open(&other, &err), 0);
	ck_assert_int_eq(kp_store_trim(other, 0, &freed, &err), 0);
	ck_assert_uint_eq(freed, 0);
	ck_assert_int_eq(kp_store_usage(other, &u, &err), 0);
	ck_assert(u.objects == 1 && u.images == 1 && u.unused_objects == 0 &&
		  u.bytes >= FIXTURE_BIG_SIZE);
	si = kp_store_detach(si);
	ck_assert_int_eq(kp_store_trim(other, 3600, &freed, &err), 0);
	ck_assert_uint_eq(freed, 0);
	ck_assert_int_eq(kp_store_trim(other, 0, &freed, &err), 0);
	ck_assert_uint_ge(freed, FIXTURE_BIG_SIZE);
	ck_assert_int_eq(kp_store_usage(other, &u, &err), 0);
	ck_assert(u.objects == 0 && u.images == 0 && u.bytes == 0);
	kp_store_free(other);
}
END_TEST

START_TEST(unsafe_directories_are_refused)
{
	struct kp_store *s;

	ck_assert_int_eq(chmod(dir, 0770), 0);
	ck_assert_int_eq(kp_store_open(&s, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.text, "others may write"));
	ck_assert_int_eq(chmod(dir, 0700), 0);
	ck_assert_int_eq(kp_write_file_atomic(store->root_fd, "format", "2\n", 2, 0600), 0);
	ck_assert_int_eq(kp_store_open(&s, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.hint, "newer"));
}
END_TEST

START_TEST(noexec_stores_hand_out_sealed_elf_files)
{
	struct stat st, again;
	int fd, second;

	store->noexec = true;
	fd = kp_store_open_entry(si, id_of("/usr/lib/libx.so"), O_RDONLY);
	second = kp_store_open_entry(si, id_of("/usr/lib/libx.so"), O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	ck_assert(fstat(fd, &st) == 0 && fstat(second, &again) == 0 && st.st_ino == again.st_ino &&
		  st.st_size == 5);
	close(fd);
	close(second);
	fd = kp_store_open_entry(si, id_of("/data/same1"), O_RDONLY);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS), -1);
	close(fd);
}
END_TEST

/* Opens every file; exit status 1 when one fails. */
static void open_all(unsigned order)
{
	uint32_t count = kp_image_count(image);

	detach();
	attach();
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = order % 2 ? count - 1 - i : i;
		struct kp_entry e;
		int fd;

		if (kp_image_entry(image, id, &e) < 0)
			_exit(1);
		if (!S_ISREG(e.mode))
			continue;
		fd = kp_store_open_entry(si, id, O_RDONLY);
		if (fd < 0)
			_exit(1);
		close(fd);
	}
	_exit(0);
}

static void check_store(void)
{
	uint64_t checked, bad;

	ck_assert_int_eq(kp_store_verify(store, false, &checked, &bad, &err), 0);
	ck_assert_uint_eq(bad, 0);
}

START_TEST(many_processes_open_the_same_entries)
{
	pid_t pids[6];

	for (unsigned i = 0; i < KP_ARRAY_LEN(pids); i++)
		if ((pids[i] = fork()) == 0)
			open_all(i / 2);
	for (unsigned i = 0; i < KP_ARRAY_LEN(pids); i++) {
		int status;

		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	check_store();
	ck_assert_int_eq(count_names(store->tmp_fd), 0);
	/* One inode each: object, and the names of its entries (same1, same2, usr/hard). */
	{
		kp_autoclose int fd = kp_store_open_entry(si, id_of("/data/same1"), O_RDONLY);
		struct stat st;

		ck_assert_int_eq(fstat(fd, &st), 0);
		ck_assert_uint_eq(st.st_nlink, 4);
	}
}
END_TEST

START_TEST(killed_at_any_instant_leaves_a_sound_store)
{
	unsigned seed = 12345;
	int leftovers = 0, killed = 0;

	/* On a fast machine many are done before they are killed. */
	for (int i = 0; killed < 60 || i % 10; i++) {
		pid_t pid = fork();
		int status;

		ck_assert_int_lt(i, 2000);
		if (pid == 0)
			open_all((unsigned)i);
		seed = seed * 1103515245 + 12345;
		usleep((seed >> 8) % 12000);
		(void)kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		killed += WIFSIGNALED(status);
		leftovers += count_names(store->tmp_fd);
		if (i % 10 == 9) {
			uint64_t freed;

			check_store();
			detach();
			attach();
			ck_assert_int_eq(count_names(store->tmp_fd), 0);
			si = kp_store_detach(si);
			ck_assert_int_eq(kp_store_trim(store, 0, &freed, &err), 0);
			detach();
			attach();
		}
	}
	ck_assert_int_gt(leftovers, 0);
	check_same("/data/same1");
}
END_TEST

Suite *test_store(void)
{
	Suite *s = suite_create("store");
	TCase *t = tcase_create("store");

	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, equal_content_is_one_object_under_two_names);
	tcase_add_test(t, types_and_flags);
	tcase_add_test(t, short_or_writable_files_are_made_anew);
	tcase_add_test(t, verify_finds_and_repairs_what_size_cannot_tell);
	tcase_add_test(t, trim_keeps_what_is_held);
	tcase_add_test(t, unsafe_directories_are_refused);
	tcase_add_test(t, noexec_stores_hand_out_sealed_elf_files);
	tcase_add_test(t, many_processes_open_the_same_entries);
	tcase_add_test(t, killed_at_any_instant_leaves_a_sound_store);
	suite_add_tcase(s, t);
	return s;
}
