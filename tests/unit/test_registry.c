/* SPDX-License-Identifier: Apache-2.0 */
/* Layers, modes, marks and transactions of the registry. */
#include <check.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/internal.h"
#include "tests/unit/registry_fixture.h"
#include "tests/unit/suites.h"

#define APP "HKCU\\Software\\App"

static char *long_name(size_t units)
{
	char *s = kp_calloc(1, units + 1);

	memset(s, 'n', units);
	return s;
}

START_TEST(names)
{
	static const struct {
		const char *key, *want; /* the path as taken apart, NULL: refused */
	} rows[] = {
		{"HKCU", "HKCU"}, {"hkey_current_user\\Software\\", "HKCU|Software"}, {"HKLM\\a\\B c", "HKLM|a|B c"},
		{"HKEY_LOCAL_MACHINE\\x/y", "HKLM|x/y"}, {"HKCR\\.txt", "HKLM|Software|Classes|.txt"},
		{"HKCU\\\\a", NULL}, {"HKUS\\a", NULL}, {"", NULL}, {"\\HKCU", NULL}, {"HKCU\\\xff", NULL},
		{"HKCU\\\xed\xa0\x80", "HKCU|\xed\xa0\x80"}, {"HKCU\\\xed\xa0\x80\xed\xb0\x80", NULL},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++) {
		struct kp_regpath kp_autoregpath p = {0};
		struct kp_buf kp_autobuf b = {0};
		int rc = kp_regpath_parse(rows[i].key, &p);

		ck_assert_msg(!rc == (rows[i].want != NULL), "%s", rows[i].key);
		for (size_t n = 0; n < p.depth; n++)
			kp_buf_printf(&b, "%s%s", n ? "|" : "", p.part[n].name);
		if (!rc)
			ck_assert_str_eq(b.data, rows[i].want);
	}
}
END_TEST

START_TEST(within)
{
	static const struct {
		const char *key, *above;
		bool want;
	} rows[] = {
		{"HKCU\\a", "HKCU\\a", true}, {"HKCU\\a\\b", "HKCU\\A", true}, {"hkey_current_user\\A\\b", "HKCU\\a", true},
		{"HKCU\\ab", "HKCU\\a", false}, {"HKCU\\a", "HKCU\\a\\b", false}, {"HKLM\\a", "HKCU\\a", false},
		{"HKCU\\\xc3\x84\\b", "HKCU\\\xc3\xa4", true}, {"HKCU\\a", "nothing", false}, {"", "HKCU", false},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++)
		ck_assert_msg(kp_reg_key_within(rows[i].key, rows[i].above) == rows[i].want, "%s in %s", rows[i].key, rows[i].above);
}
END_TEST

START_TEST(folding)
{
	static const char *const same[][2] = {
		{"Software", "SOFTWARE"}, {"\xc3\x84rger", "\xc3\xa4RGER"}, {"\xce\xa3\xcf\x82", "\xcf\x83\xcf\x83"},
		{"\xd0\x96", "\xd0\xb6"}, {"\xf0\x90\x90\x80", "\xf0\x90\x90\xa8"}, {"\xe1\xba\x9e", "\xc3\x9f"},
	};
	static const char *const differ[][2] = {{"\xc3\x9f", "ss"}, {"\xc4\xb1", "i"}, {"\xc3\xa9", "e\xcc\x81"}, {"a", "b"}};

	for (size_t i = 0; i < KP_ARRAY_LEN(same); i++) {
		kp_autofree char *a = kp_reg_fold(same[i][0]), *b = kp_reg_fold(same[i][1]);

		ck_assert_str_eq(a, b);
	}
	for (size_t i = 0; i < KP_ARRAY_LEN(differ); i++) {
		kp_autofree char *a = kp_reg_fold(differ[i][0]), *b = kp_reg_fold(differ[i][1]);

		ck_assert_str_ne(a, b);
	}
}
END_TEST

START_TEST(limits)
{
	kp_autofree char *part = long_name(255), *key = kp_asprintf("HKCU\\%s", part), *longer = kp_asprintf("%sx", key), *name = long_name(16383),
			 *longer_name = long_name(16384), *big = kp_calloc(1, KP_REG_DATA + 1);
	struct kp_buf kp_autobuf deep = {0};
	struct kp_reg *r = reg_open(&(struct kp_reg_options){.instance = regdir_path("registry"), .writable = true});
	struct kp_reg_data d = {KP_REG_BINARY, KP_REG_DATA, big};
	struct kp_reg_value v;
	struct kp_reg_txn *t;

	kp_buf_puts(&deep, "HKCU");
	for (unsigned i = 1; i < KP_REG_DEPTH; i++)
		kp_buf_puts(&deep, "\\d");
	ck_assert_int_eq(reg_set(r, key, name, "x"), 0);
	ck_assert_str_eq(reg_text(r, key, name), "x");
	ck_assert_int_eq(reg_set(r, longer, "a", "x"), -ENAMETOOLONG);
	ck_assert_int_eq(reg_set(r, key, longer_name, "x"), -ENAMETOOLONG);
	ck_assert_int_eq(reg_set(r, deep.data, "a", "deep"), 0);
	ck_assert_str_eq(reg_text(r, deep.data, "A"), "deep");
	kp_buf_puts(&deep, "\\d");
	ck_assert_int_eq(reg_set(r, deep.data, "a", "x"), -ENAMETOOLONG);
	ck_assert_int_eq(kp_reg_begin(r, &t), 0);
	memset(big, 7, KP_REG_DATA);
	ck_assert_int_eq(kp_reg_set(t, "HKCU\\big", "b", &d), 0);
	d.len++;
	ck_assert_int_eq(kp_reg_set(t, "HKCU\\big", "c", &d), -EFBIG);
	ck_assert_int_eq(kp_reg_commit(t), 0);
	ck_assert_int_eq(kp_reg_get(r, "HKCU\\big", "b", &v), 0);
	ck_assert_uint_eq(v.d.len, KP_REG_DATA);
	ck_assert_mem_eq(v.d.data, big, KP_REG_DATA);
	kp_reg_value_free(&v);
	(void)kp_reg_free(r);
}
END_TEST

START_TEST(layers)
{
	struct kp_image *top = reg_image(REG5 "[HKCU\\Software\\App]\n\"Theme\"=\"top\"\n\"Only\"=\"top\"\n\"Gone\"=-\n[-HKCU\\Software\\Old]\n"),
			*under = reg_image(REG5 "[HKCU\\software\\APP]\n\"THEME\"=\"under\"\n\"Under\"=\"under\"\n\"Gone\"=\"x\"\n[HKCU\\Software\\Old\\a]\n");
	const struct kp_image *images[] = {top, under};
	struct kp_hive_tree *policy = reg_tree(REG5 "[HKLM\\Software\\Policy]\n\"Updates\"=dword:0\n[HKCU\\Software\\app]\n\"Locked\"=\"policy\"\n");
	struct kp_reg *r = reg_open(&(struct kp_reg_options){.policy = policy, .instance = regdir_path("registry"), .images = images,
							     .image_count = 2, .writable = true});
	kp_autofree char *name = NULL;
	struct kp_reg_value v;

	ck_assert_str_eq(reg_text(r, APP, "theme"), "top");
	ck_assert_str_eq(reg_text(r, APP, "Under"), "under");
	ck_assert_str_eq(reg_text(r, APP, "Gone"), "(none)");
	ck_assert_int_eq(kp_reg_key(r, "HKCU\\Software\\Old", NULL), -ENOENT);
	ck_assert_int_eq(kp_reg_key(r, "hkey_current_user\\SOFTWARE\\aPP\\", &name), 0);
	ck_assert_str_eq(name, APP);
	ck_assert_int_eq(access(regdir_path("registry"), F_OK), -1);

	ck_assert_int_eq(reg_set(r, "HKCU\\SOFTWARE\\APP", "tHEME", "mine"), 0);
	ck_assert_str_eq(reg_text(r, APP, "Theme"), "mine");
	ck_assert_int_eq(kp_reg_get(r, APP, "theme", &v), 0);
	ck_assert_int_eq(v.layer, KP_REG_INSTANCE);
	kp_reg_value_free(&v);
	ck_assert_int_eq(reg_delete_value(r, APP, "Theme"), 0);
	ck_assert_str_eq(reg_text(r, APP, "Theme"), "(none)");
	ck_assert_int_eq(reg_delete_value(r, APP, "Theme"), -ENODATA);

	ck_assert_str_eq(reg_text(r, APP, "Locked"), "policy");
	ck_assert_int_eq(reg_set(r, APP, "locked", "x"), -EACCES);
	ck_assert_int_eq(reg_delete_value(r, APP, "locked"), -EACCES);
	ck_assert_int_eq(reg_delete_key(r, APP), -EACCES);
	ck_assert_int_eq(reg_delete_key(r, "HKCU\\Software"), -EACCES);
	ck_assert_int_eq(reg_delete_key(r, "HKCU"), -EBUSY);

	/* A key that comes back is empty. */
	ck_assert_int_eq(reg_set(r, "HKCU\\Software\\Old", "a", "new"), 0);
	ck_assert_int_eq(kp_reg_key(r, "HKCU\\Software\\Old\\a", NULL), -ENOENT);
	(void)kp_reg_free(r);
	(void)kp_hive_tree_free(policy);
	(void)kp_image_free(top);
	(void)kp_image_free(under);
}
END_TEST

START_TEST(modes)
{
	struct kp_image *image = reg_image(REG5 "[HKCU\\m]\n\"both\"=\"image\"\n\"image\"=\"image\"\n[HKCU\\w]\n\"both\"=\"image\"\n[HKCU\\f]\n");
	const struct kp_image *images[] = {image};
	static const struct kp_reg_mode rules[] = {{"HKCU\\m", KP_MODE_MERGED}, {"HKCU\\w", KP_MODE_WRITECOPY}, {"HKCU\\m\\full", KP_MODE_FULL}};
	struct kp_reg_options o = {.instance = regdir_path("shared"), .writable = true};
	struct kp_reg *shared = reg_open(&o), *r;
	kp_autofree char *before = NULL, *after = NULL;

	ck_assert_int_eq(reg_import(shared, REG5 "[HKCU\\m]\n\"both\"=\"user\"\n\"user\"=\"user\"\n[HKCU\\m\\sub]\n\"a\"=\"1\"\n[HKCU\\m\\full\\x]\n"
						 "[HKCU\\w]\n\"both\"=\"user\"\n\"user\"=\"user\"\n[HKCU\\w\\sub\\deep]\n[HKCU\\f]\n\"user\"=\"user\"\n"), 0);
	before = reg_dump(shared);
	o = (struct kp_reg_options){.instance = regdir_path("registry"), .shared = regdir_path("shared"), .images = images, .image_count = 1,
				    .modes = rules, .mode_count = KP_ARRAY_LEN(rules), .writable = true};
	r = reg_open(&o);
	/* Seen or not. */
	ck_assert_str_eq(reg_text(r, "HKCU\\m", "both"), "image");
	ck_assert_str_eq(reg_text(r, "HKCU\\m", "user"), "user");
	ck_assert_str_eq(reg_text(r, "HKCU\\w", "user"), "user");
	ck_assert_str_eq(reg_text(r, "HKCU\\f", "user"), "(none)");
	ck_assert_int_eq(kp_reg_key(r, "HKCU\\m\\full\\x", NULL), -ENOENT);
	/* writecopy: nothing reaches the user's. */
	ck_assert_int_eq(reg_set(r, "HKCU\\w", "user", "mine"), 0);
	ck_assert_int_eq(reg_set(r, "HKCU\\w\\new", "n", "mine"), 0);
	ck_assert_int_eq(reg_delete_key(r, "HKCU\\w\\sub"), 0);
	ck_assert_int_eq(kp_reg_key(r, "HKCU\\w\\sub\\deep", NULL), -ENOENT);
	ck_assert_str_eq(reg_text(r, "HKCU\\w", "user"), "mine");
	ck_assert_int_eq(reg_delete_value(r, "HKCU\\w", "user"), 0);
	ck_assert_str_eq(reg_text(r, "HKCU\\w", "user"), "(none)");
	after = reg_dump(shared);
	ck_assert_str_eq(before, after);
	/* merged: new elements and changes of the user's are his; those of an image are the instance's. */
	ck_assert_int_eq(reg_set(r, "HKCU\\m", "user", "changed"), 0);
	ck_assert_str_eq(reg_text(shared, "HKCU\\m", "user"), "changed");
	ck_assert_int_eq(reg_set(r, "HKCU\\m\\new", "n", "v"), 0);
	ck_assert_str_eq(reg_text(shared, "HKCU\\m\\new", "n"), "v");
	ck_assert_int_eq(reg_set(r, "HKCU\\m", "image", "changed"), 0);
	ck_assert_str_eq(reg_text(r, "HKCU\\m", "image"), "changed");
	ck_assert_str_eq(reg_text(shared, "HKCU\\m", "image"), "(none)");
	ck_assert_int_eq(reg_delete_value(r, "HKCU\\m", "both"), 0);
	ck_assert_str_eq(reg_text(r, "HKCU\\m", "both"), "(none)");
	ck_assert_str_eq(reg_text(shared, "HKCU\\m", "both"), "user");
	ck_assert_int_eq(reg_delete_key(r, "HKCU\\m\\sub"), 0);
	ck_assert_int_eq(kp_reg_key(shared, "HKCU\\m\\sub", NULL), -ENOENT);
	ck_assert_int_eq(reg_delete_key(r, "HKCU\\m"), -EBUSY);
	ck_assert_int_eq(reg_set(r, "HKCU\\m\\full", "n", "v"), 0);
	ck_assert_str_eq(reg_text(shared, "HKCU\\m\\full", "n"), "(none)");
	(void)kp_reg_free(r);
	(void)kp_reg_free(shared);
	(void)kp_image_free(image);
}
END_TEST

/* --- random changes over layers say the same as over one flat registry --- */

static unsigned seed;

static unsigned pick(unsigned n)
{
	seed = seed * 1103515245U + 12345U;
	return (seed >> 16) % n;
}

static void random_key(char *buf, size_t size)
{
	static const char *const parts[] = {"a", "B", "cc"};
	unsigned depth = 1 + pick(3);

	(void)snprintf(buf, size, "HKCU");
	for (unsigned i = 0; i < depth; i++)
		(void)snprintf(buf + strlen(buf), size - strlen(buf), "\\%s", parts[pick(3)]);
}

static void random_reg(struct kp_buf *b)
{
	char key[64];

	kp_buf_puts(b, REG5);
	for (unsigned i = 0; i < 8; i++) {
		random_key(key, sizeof(key));
		kp_buf_printf(b, pick(5) ? "[%s]\n" : "[-%s]\n[HKCU\\a]\n", key);
		kp_buf_printf(b, pick(5) ? "\"v%u\"=\"i%u\"\n" : "\"v%u\"=-\n", pick(3), pick(100));
	}
}

static int one_change(struct kp_reg *r, unsigned kind, const char *key, const char *name, const char *text)
{
	return kind < 4 ? reg_set(r, key, name, text) : kind < 6 ? reg_delete_value(r, key, name) : reg_delete_key(r, key);
}

static void run_random(unsigned n, enum kp_mode mode)
{
	struct kp_buf kp_autobuf lower = {0}, upper = {0}, user = {0};
	const struct kp_reg_mode rule = {"HKCU", mode};
	const struct kp_image *images[2];
	struct kp_image *top, *under;
	struct kp_reg *r, *flat, *shared;
	char name[3][32], key[64];

	seed = n;
	(void)snprintf(name[0], sizeof(name[0]), "i%u-%d", n, mode);
	(void)snprintf(name[1], sizeof(name[1]), "f%u-%d", n, mode);
	(void)snprintf(name[2], sizeof(name[2]), "s%u-%d", n, mode);
	random_reg(&user);
	random_reg(&lower);
	random_reg(&upper);
	images[0] = top = reg_image(upper.data);
	images[1] = under = reg_image(lower.data);
	flat = reg_open(&(struct kp_reg_options){.instance = regdir_path(name[1]), .writable = true});
	shared = reg_open(&(struct kp_reg_options){.instance = regdir_path(name[2]), .writable = true});
	ck_assert_int_eq(reg_import(shared, user.data), 0);
	if (mode != KP_MODE_FULL)
		ck_assert_int_eq(reg_import(flat, user.data), 0);
	ck_assert_int_eq(reg_import(flat, lower.data), 0);
	ck_assert_int_eq(reg_import(flat, upper.data), 0);
	r = reg_open(&(struct kp_reg_options){.instance = regdir_path(name[0]), .shared = regdir_path(name[2]), .images = images, .image_count = 2,
					      .modes = &rule, .mode_count = 1, .writable = true});
	for (unsigned i = 0; i < 40; i++) {
		kp_autofree char *got = reg_dump(r), *want = reg_dump(flat);
		unsigned kind = pick(7);
		char value[8], text[16];
		int rc, flat_rc;

		ck_assert_msg(!strcmp(got, want), "seed %u mode %d step %u:\n%s\nwanted:\n%s", n, mode, i, got, want);
		random_key(key, sizeof(key));
		(void)snprintf(value, sizeof(value), "V%u", pick(3));
		(void)snprintf(text, sizeof(text), "t%u", pick(100));
		rc = one_change(r, kind, key, value, text);
		flat_rc = one_change(flat, kind, key, value, text);
		ck_assert_msg(rc == flat_rc, "seed %u mode %d step %u: kind %u %s: %d, wanted %d", n, mode, i, kind, key, rc, flat_rc);
	}
	(void)kp_reg_free(r);
	(void)kp_reg_free(flat);
	(void)kp_reg_free(shared);
	(void)kp_image_free(top);
	(void)kp_image_free(under);
}

START_TEST(random_changes)
{
	for (unsigned n = 0; n < 6; n++)
		for (int mode = 0; mode < KP_MODE_COUNT; mode++)
			run_random((unsigned)_i * 6 + n, (enum kp_mode)mode);
}
END_TEST

/* --- transactions --- */

START_TEST(transactions)
{
	struct kp_reg_options o = {.instance = regdir_path("registry"), .writable = true};
	struct kp_reg *r = reg_open(&o), *other = reg_open(&o), *reader;
	struct kp_reg_data d = {KP_REG_SZ, 1, "x"};
	uint64_t g, stamp, again;
	struct kp_reg_txn *t;

	ck_assert_int_eq(kp_reg_begin(r, &t), 0);
	ck_assert_int_eq(kp_reg_set(t, APP, "a", &d), 0);
	ck_assert_str_eq(reg_text(r, APP, "a"), "x");
	kp_reg_abort(t);
	ck_assert_str_eq(reg_text(r, APP, "a"), "(none)");
	g = kp_reg_generation(other);
	ck_assert_int_eq(reg_set(r, APP, "a", "1"), 0);
	ck_assert_uint_ne(kp_reg_generation(other), g);
	ck_assert_str_eq(reg_text(other, APP, "a"), "1");
	ck_assert_int_eq(kp_reg_stamp(other, APP, true, &stamp), 0);
	ck_assert_int_eq(reg_set(other, APP, "a", "2"), 0);
	ck_assert_str_eq(reg_text(r, APP, "a"), "2");
	ck_assert_int_eq(kp_reg_stamp(other, APP, true, &again), 0);
	ck_assert_uint_ne(stamp, again);
	ck_assert_int_eq(reg_set(other, APP, "a", "1"), 0);
	ck_assert_int_eq(kp_reg_stamp(r, APP, true, &again), 0);
	ck_assert_uint_eq(stamp, again);
	o.writable = false;
	reader = reg_open(&o);
	ck_assert_int_eq(kp_reg_begin(reader, &t), -EROFS);
	ck_assert_str_eq(reg_text(reader, APP, "a"), "1");
	(void)kp_reg_free(reader);
	(void)kp_reg_free(other);
	(void)kp_reg_free(r);
}
END_TEST

struct seen {
	int mine, elsewhere;
	char last[64];
};

static void notice(enum kp_reg_event what, const char *key, const char *name, void *ctx)
{
	struct seen *s = ctx;

	s->mine += what != KP_REG_ELSEWHERE;
	s->elsewhere += what == KP_REG_ELSEWHERE;
	if (key)
		(void)snprintf(s->last, sizeof(s->last), "%d %s %s", what, key, name ? name : "-");
}

START_TEST(notices)
{
	struct kp_reg_options o = {.instance = regdir_path("registry"), .writable = true};
	struct kp_reg *r = reg_open(&o), *other = reg_open(&o);
	struct seen s = {0};

	kp_reg_on_change(r, notice, &s);
	ck_assert_int_eq(reg_set(r, APP, "a", "1"), 0);
	ck_assert_int_eq(s.mine, 2); /* the key, the value */
	ck_assert_int_eq(reg_set(r, "hkcu\\software\\app", "a", "2"), 0);
	ck_assert_str_eq(s.last, "0 HKCU\\Software\\App a");
	ck_assert_int_eq(reg_delete_value(r, APP, "a"), 0);
	ck_assert_str_eq(s.last, "2 HKCU\\Software\\App a");
	ck_assert_int_eq(s.elsewhere, 0);
	ck_assert_int_eq(reg_set(other, APP, "a", "3"), 0);
	(void)kp_reg_generation(r);
	ck_assert_int_eq(s.elsewhere, 1);
	(void)kp_reg_free(r);
	(void)kp_reg_free(other);
}
END_TEST

/* A process that writes pairs of values, each pair in one transaction, is killed: the pairs are whole. KAPSEL_TEST_KILLS=500 by hand. */
START_TEST(killed)
{
	const char *text = getenv("KAPSEL_TEST_KILLS");
	int kills = text ? atoi(text) : 20;
	struct kp_reg_options o = {.instance = regdir_path("registry"), .shared = regdir_path("shared"), .writable = true,
				   .modes = &(struct kp_reg_mode){"HKCU\\m", KP_MODE_MERGED}, .mode_count = 1};
	struct kp_reg *r;

	seed = (unsigned)getpid();
	for (int i = 0; i < kills; i++) {
		kp_autofree char *one = NULL, *two = NULL;
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (!pid) {
			struct kp_reg *w = reg_open(&o);

			for (unsigned n = 0;; n++) {
				char value[2048];
				struct kp_reg_data d = {KP_REG_SZ, 0, value};
				struct kp_reg_txn *t;

				(void)snprintf(value, sizeof(value), "%d.%u %*s", i, n, (int)(n % 37 * 50), "");
				d.len = strlen(value);
				if (kp_reg_begin(w, &t) || kp_reg_set(t, "HKCU\\i", "v", &d) || kp_reg_set(t, "HKCU\\m", "v", &d) || kp_reg_commit(t))
					_exit(1);
			}
		}
		(void)usleep(500 + pick(20000));
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		r = reg_open(&o);
		one = kp_strdup(reg_text(r, "HKCU\\i", "v"));
		two = kp_strdup(reg_text(r, "HKCU\\m", "v"));
		ck_assert_str_eq(one, two);
		ck_assert_int_eq(reg_set(r, "HKCU\\i", "w", "still"), 0);
		(void)kp_reg_free(r);
	}
}
END_TEST

/* Three processes count up, each in its own value and in one that all have: nothing is lost. */
START_TEST(writers)
{
	struct kp_reg_options o = {.instance = regdir_path("registry"), .writable = true};
	enum { WRITERS = 3, ROUNDS = 20 };
	pid_t pids[WRITERS];
	struct kp_reg *r;

	for (int i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (!pids[i]) {
			struct kp_reg *w = reg_open(&o);

			for (int n = 0; n < ROUNDS; n++) {
				struct kp_reg_data d = {.type = KP_REG_SZ};
				char text[32], own[32];
				struct kp_reg_txn *t;

				if (kp_reg_begin(w, &t))
					_exit(1);
				(void)snprintf(text, sizeof(text), "%d", atoi(reg_text(w, APP, "all")) + 1);
				(void)snprintf(own, sizeof(own), "%d.%d", i, n);
				d.data = text;
				d.len = strlen(text);
				if (kp_reg_set(t, APP, "all", &d) || kp_reg_set(t, APP, own, &d) || kp_reg_commit(t))
					_exit(1);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < WRITERS; i++) {
		int status;

		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	r = reg_open(&o);
	ck_assert_int_eq(atoi(reg_text(r, APP, "all")), WRITERS * ROUNDS);
	for (int i = 0; i < WRITERS * ROUNDS; i++) {
		char own[32];

		(void)snprintf(own, sizeof(own), "%d.%d", i / ROUNDS, i % ROUNDS);
		ck_assert_str_ne(reg_text(r, APP, own), "(none)");
	}
	(void)kp_reg_free(r);
}
END_TEST

START_TEST(foreign_files)
{
	const char *path = regdir_path("registry");
	struct kp_reg_options o = {.instance = path, .writable = true};
	struct kp_reg *r = NULL;
	struct kp_err err = {0};
	uint32_t newer = __builtin_bswap32(2);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, "hello", 5), 5);
	ck_assert_int_eq(kp_reg_open(&o, &r, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "not a registry of kapsel"));
	ck_assert_int_eq(ftruncate(fd, 0), 0); /* killed while it was made */
	r = reg_open(&o);
	ck_assert_int_eq(reg_set(r, APP, "a", "1"), 0);
	(void)kp_reg_free(r);
	ck_assert_int_eq(pwrite(fd, &newer, 4, 60), 4);
	ck_assert_int_eq(kp_reg_open(&o, &r, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "registry format 2"));
	(void)close(fd);
}
END_TEST

Suite *test_registry(void)
{
	Suite *s = suite_create("registry");
	TCase *tc = tcase_create("registry");
	const char *kills = getenv("KAPSEL_TEST_KILLS");

	tcase_set_timeout(tc, kills ? 600 : 300);
	tcase_add_checked_fixture(tc, regdir_make, regdir_remove);
	tcase_add_test(tc, names);
	tcase_add_test(tc, within);
	tcase_add_test(tc, folding);
	tcase_add_test(tc, limits);
	tcase_add_test(tc, layers);
	tcase_add_test(tc, modes);
	tcase_add_loop_test(tc, random_changes, 0, 3);
	tcase_add_test(tc, transactions);
	tcase_add_test(tc, notices);
	tcase_add_test(tc, killed);
	tcase_add_test(tc, writers);
	tcase_add_test(tc, foreign_files);
	suite_add_tcase(s, tc);
	return s;
}
