/* SPDX-License-Identifier: Apache-2.0 */
/* Instances on disk, and the control protocol against hostile peers. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instance/config.h"
#include "instance/control.h"
#include "tests/unit/suites.h"

static char root[] = "/tmp/kapsel-test-XXXXXX";
#define SIXTEEN "0123456789abcdef"
static const char digest_a[] = "a" SIXTEEN SIXTEEN SIXTEEN "0123456789abcde", digest_b[] = "b" SIXTEEN SIXTEEN SIXTEEN "0123456789abcde",
		  digest_ab[] = "a" SIXTEEN SIXTEEN SIXTEEN "0123456789abcde, b" SIXTEEN SIXTEEN SIXTEEN "0123456789abcde";

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_int_eq(setenv("XDG_DATA_HOME", root, 1), 0);
}

static void tear_down(void)
{
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, root), 0);
	memcpy(strrchr(root, '-'), "-XXXXXX", 7);
}

static const struct {
	const char *name;
	bool ok;
} names[] = {
	{"a", true},   {"python-3.11.2", true}, {"A_b.c-1", true}, {"", false},	   {".", false},  {"..", false},
	{".a", false}, {"-a", false},		{"a/b", false},	   {"a b", false}, {"a\n", false}, {"\xc3\xa4", false},
};

START_TEST(instance_names)
{
	ck_assert_int_eq(kp_instance_name_ok(names[_i].name), names[_i].ok);
}
END_TEST

START_TEST(instance_name_length)
{
	char name[KP_INSTANCE_NAME_MAX + 2];

	memset(name, 'a', sizeof(name));
	name[KP_INSTANCE_NAME_MAX] = '\0';
	ck_assert(kp_instance_name_ok(name));
	name[KP_INSTANCE_NAME_MAX] = 'a';
	name[KP_INSTANCE_NAME_MAX + 1] = '\0';
	ck_assert(!kp_instance_name_ok(name));
}
END_TEST

START_TEST(another_digest_is_refused)
{
	struct kp_instance *i, *other;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_instance_create("x", "/a \"b\"\n\\.kapsel", digest_a, &i, &err), 0);
	i = kp_instance_free(i);
	ck_assert_int_eq(kp_instance_create("x", "/b", digest_a, &i, &err), 0);
	ck_assert_str_eq(i->image, "/a \"b\"\n\\.kapsel"); /* what is on disk counts */
	i = kp_instance_free(i);
	ck_assert_int_eq(kp_instance_create("x", "/a", digest_b, &other, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.text, "another image"));
	ck_assert_int_eq(kp_instance_create("x", "/a", digest_ab, &other, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.text, "other layers"));
	ck_assert_int_eq(kp_instance_create("layered", "/a", digest_ab, &other, &err), 0);
	other = kp_instance_free(other);
	ck_assert_int_eq(kp_instance_create("layered", "/a", digest_ab, &other, &err), 0);
	ck_assert_str_eq(other->digest, digest_ab);
	(void)kp_instance_free(other);
	ck_assert_str_ne(err.hint, "");
}
END_TEST

static const struct {
	const char *text;
	int want;
} configs[] = {
	{"kapsel-instance: 2\nimage: /a\ndigests: []\n", -EPROTO},
	{"kapsel-instance: 1\n", -EINVAL},
	{"kapsel-instance: 1\nimage: [\n", -EINVAL},
	{"kapsel-instance: 1\nimage: /a\ndigests: [zz]\n", -EINVAL},
	{"", -EINVAL},
	{"- a\n", -EINVAL},
	{"kapsel-instance: {a: b}\nimage: /a\n", -EINVAL},
};

START_TEST(bad_configurations_are_refused)
{
	kp_autofree char *path = kp_asprintf("%s/kapsel/instances/x/config.yaml", root);
	struct kp_instance *i;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_instance_create("x", "/a", digest_a, &i, &err), 0);
	i = kp_instance_free(i);
	ck_assert_int_eq(kp_write_file_atomic(AT_FDCWD, path, configs[_i].text, strlen(configs[_i].text), 0600), 0);
	ck_assert_int_eq(kp_instance_open("x", &i, &err), configs[_i].want);
	ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(writable_by_others_is_refused)
{
	kp_autofree char *path = kp_asprintf("%s/kapsel/instances/x", root);
	struct kp_instance *i;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_instance_create("x", "/a", digest_a, &i, &err), 0);
	i = kp_instance_free(i);
	ck_assert_int_eq(chmod(path, 0770), 0);
	ck_assert_int_eq(kp_instance_open("x", &i, &err), -EPERM);
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, path), 0);
	ck_assert_int_eq(symlink("/tmp", path), 0);
	ck_assert_int_lt(kp_instance_open("x", &i, &err), 0);
}
END_TEST

START_TEST(one_lock_one_holder)
{
	struct kp_instance *a, *b;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_instance_create("x", "/a", digest_a, &a, &err), 0);
	ck_assert_int_eq(kp_instance_create("x", "/a", digest_a, &b, &err), 0);
	ck_assert_int_eq(kp_instance_lock(a), 0);
	ck_assert_int_eq(kp_instance_lock(b), -EWOULDBLOCK);
	a = kp_instance_free(a);
	ck_assert_int_eq(kp_instance_lock(b), 0);
	b = kp_instance_free(b);
}
END_TEST

START_TEST(throw_away_is_swept_when_unlocked)
{
	struct kp_instance *i;
	struct kp_err err = {0};
	kp_autofree char *dir = NULL;

	ck_assert_int_eq(kp_instance_create_throw_away("x", "/a", digest_a, &i, &err), 0);
	dir = kp_strdup(i->dir);
	kp_instance_sweep();
	ck_assert_int_eq(access(dir, F_OK), 0);
	i = kp_instance_free(i);
	kp_instance_sweep();
	ck_assert_int_lt(access(dir, F_OK), 0);
}
END_TEST

static void encode(struct kp_buf *out)
{
	static const char *argv[] = {"a", "", "c c"}, *envp[] = {"A=b"};
	struct kp_ctl_run run = {.flags = 1, .umask = 022, .cwd = "/", .settled = "--bind=/a:/b\n", .argv = argv, .argc = 3, .envp = envp, .envc = 1,
				 .pass = {7, 3}, .pass_count = 2};

	kp_ctl_run_encode(&run, out);
}

START_TEST(run_survives_the_way)
{
	struct kp_buf kp_autobuf b = {0};
	struct kp_ctl_run run;

	encode(&b);
	ck_assert_int_eq(kp_ctl_run_decode(b.data, b.len, &run), 0);
	ck_assert_uint_eq(run.umask, 022);
	ck_assert_str_eq(run.cwd, "/");
	ck_assert_uint_eq(run.argc, 3);
	ck_assert_str_eq(run.argv[2], "c c");
	ck_assert_ptr_null(run.argv[3]);
	ck_assert_str_eq(run.envp[0], "A=b");
	ck_assert_uint_eq(run.pass[1], 3);
	kp_ctl_run_free(&run);
}
END_TEST

/* Every cut and every changed word: refused or understood, never a read out of bounds (ASan watches). */
START_TEST(damaged_runs_are_harmless)
{
	static const uint32_t values[] = {0, 1, 4, 64, 65, 0x7fffffff, 0xfffffff0, 0xffffffff};
	struct kp_buf kp_autobuf b = {0};
	struct kp_ctl_run run;

	encode(&b);
	for (size_t len = 0; len < b.len; len++) {
		kp_autofree char *cut = kp_calloc(1, len + !len);

		memcpy(cut, b.data, len);
		ck_assert_int_eq(kp_ctl_run_decode(cut, len, &run), -EPROTO);
	}
	for (size_t at = 0; at + 4 <= b.len; at++) {
		for (size_t v = 0; v < KP_ARRAY_LEN(values); v++) {
			kp_autofree char *bad = kp_calloc(1, b.len);

			memcpy(bad, b.data, b.len);
			memcpy(bad + at, &values[v], 4);
			if (!kp_ctl_run_decode(bad, b.len, &run)) {
				ck_assert_uint_ge(run.argc, 1);
				ck_assert_uint_le(run.pass_count, KP_CTL_FDS_MAX);
				kp_ctl_run_free(&run);
			}
		}
	}
}
END_TEST

START_TEST(messages_arrive_whole_with_descriptors)
{
	struct kp_buf kp_autobuf b = {0};
	struct kp_ctl_conn conn;
	const char *payload;
	int pair[2], fds[] = {0, 0}, r;
	unsigned type;
	size_t len;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	kp_buf_puts(&b, "payload");
	kp_ctl_conn_init(&conn, pair[0]);
	ck_assert_int_eq(kp_ctl_fill(&conn), -EAGAIN);
	ck_assert_int_eq(kp_ctl_send(pair[1], KP_CTL_RUN, &b, fds, 2, 0), 0);
	ck_assert_int_eq(kp_ctl_send(pair[1], KP_CTL_INFO, NULL, NULL, 0, 0), 0);
	while (!(r = kp_ctl_fill(&conn)))
		;
	ck_assert_int_eq(r, -EAGAIN);
	ck_assert_uint_eq(conn.fd_count, 2);
	ck_assert_int_ne(fcntl(conn.fds[0], F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(kp_ctl_next(&conn, &type, &payload, &len), 1);
	ck_assert_uint_eq(type, KP_CTL_RUN);
	ck_assert_uint_eq(len, 7);
	ck_assert_mem_eq(payload, "payload", 7);
	ck_assert_int_eq(kp_ctl_next(&conn, &type, &payload, &len), 1);
	ck_assert_uint_eq(type, KP_CTL_INFO);
	ck_assert_int_eq(kp_ctl_next(&conn, &type, &payload, &len), 0);
	(void)close(pair[1]);
	ck_assert_int_eq(kp_ctl_fill(&conn), -ENODATA);
	kp_ctl_conn_close(&conn);
}
END_TEST

START_TEST(foreign_heads_are_refused)
{
	static const struct kp_ctl_head heads[] = {
		{0x12345678, KP_CTL_VERSION, 1, 0},
		{KP_CTL_MAGIC, KP_CTL_VERSION + 1, 1, 0},
		{KP_CTL_MAGIC, KP_CTL_VERSION, 1, KP_CTL_MAX + 1},
	};
	struct kp_ctl_conn conn;
	const char *payload;
	unsigned type;
	size_t len;
	int pair[2];

	for (size_t i = 0; i < KP_ARRAY_LEN(heads); i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		kp_ctl_conn_init(&conn, pair[0]);
		ck_assert_int_eq(kp_write_full(pair[1], &heads[i], sizeof(heads[i])), 0);
		ck_assert_int_eq(kp_ctl_fill(&conn), 0);
		ck_assert_int_eq(kp_ctl_next(&conn, &type, &payload, &len), -EPROTO);
		kp_ctl_conn_close(&conn);
		(void)close(pair[1]);
	}
}
END_TEST

START_TEST(quoted_text)
{
	struct kp_buf kp_autobuf b = {0};

	kp_buf_quoted(&b, "a\"\\\n\x1b\xff\xc3\xa4\xe2\x82\xac\xc2\x9b");
	ck_assert_str_eq(b.data, "\"a\\\"\\\\\\u000a\\u001b\\ufffd\xc3\xa4\xe2\x82\xac\\u009b\"");
}
END_TEST

Suite *test_instance(void)
{
	Suite *s = suite_create("instance");
	TCase *disk = tcase_create("disk"), *control = tcase_create("control");

	tcase_add_checked_fixture(disk, set_up, tear_down);
	tcase_add_test(disk, another_digest_is_refused);
	tcase_add_loop_test(disk, bad_configurations_are_refused, 0, KP_ARRAY_LEN(configs));
	tcase_add_test(disk, writable_by_others_is_refused);
	tcase_add_test(disk, one_lock_one_holder);
	tcase_add_test(disk, throw_away_is_swept_when_unlocked);
	suite_add_tcase(s, disk);
	tcase_add_loop_test(control, instance_names, 0, KP_ARRAY_LEN(names));
	tcase_add_test(control, instance_name_length);
	tcase_add_test(control, run_survives_the_way);
	tcase_add_test(control, damaged_runs_are_harmless);
	tcase_add_test(control, messages_arrive_whole_with_descriptors);
	tcase_add_test(control, foreign_heads_are_refused);
	tcase_add_test(control, quoted_text);
	suite_add_tcase(s, control);
	return s;
}
