/* SPDX-License-Identifier: Apache-2.0 */
/* The .reg format and values as text: what is read, what is written, and that both agree. */
#include <check.h>

#include "registry/internal.h"
#include "tests/unit/registry_fixture.h"
#include "tests/unit/suites.h"

/* What a file says, as a log. */
static int log_key(void *ctx, const char *key)
{
	kp_buf_printf(ctx, "[%s]\n", key);
	return 0;
}

static int log_delete_key(void *ctx, const char *key)
{
	kp_buf_printf(ctx, "-[%s]\n", key);
	return 0;
}

static int log_set(void *ctx, const char *key, const char *name, const struct kp_reg_data *d)
{
	const unsigned char *data = d->data;

	(void)key;
	kp_buf_printf(ctx, "%s %u ", name, d->type);
	for (size_t i = 0; i < d->len; i++)
		kp_buf_printf(ctx, data[i] >= 0x20 && data[i] < 0x7f ? "%c" : "<%02x>", data[i]);
	kp_buf_puts(ctx, "\n");
	return 0;
}

static int log_delete_value(void *ctx, const char *key, const char *name)
{
	(void)key;
	kp_buf_printf(ctx, "-%s\n", name);
	return 0;
}

static int read_log(const void *bytes, size_t len, struct kp_buf *out, struct kp_err *err)
{
	struct kp_regfile_sink sink = {log_key, log_delete_key, log_set, log_delete_value, out};

	kp_buf_add(out, "", 0);
	return kp_regfile_read(bytes, len, "f.reg", &sink, err);
}

static const struct {
	const char *text, *want; /* want begins with "f.reg:": the error */
} files[] = {
	{REG5 "\n[HKEY_CURRENT_USER\\Software\\A]\n@=\"d\"\n\"n\"=\"a\\\\b\\\"c\"\n", "[HKEY_CURRENT_USER\\Software\\A]\n 1 d\nn 1 a\\b\"c\n"},
	{REG5 "[HKCU\\a]\r\n\"x\"=dword:0000001F\r\n\"y\"=dword:7 ; comment\r\n", "[HKCU\\a]\nx 4 <1f><00><00><00>\ny 4 <07><00><00><00>\n"},
	{REG5 "[HKCU\\a]\n\"b\"=hex:01,02,\\\n  03\n\"q\"=hex(b):01,00,00,00,00,00,00,00\n\"z\"=hex(0):\n",
	 "[HKCU\\a]\nb 3 <01><02><03>\nq 11 <01><00><00><00><00><00><00><00>\nz 0 \n"},
	{REG5 "[HKCU\\a]\n\"e\"=hex(2):25,00,41,00,25,00,00,00\n\"m\"=hex(7):61,00,00,00,62,00,00,00,00,00\n",
	 "[HKCU\\a]\ne 2 %A%\nm 7 a<00>b<00>\n"},
	{REG5 "[HKCU\\a]\n\"m\"=hex(7):00,00\n\"n\"=hex(7):00,00,00,00\n\"o\"=hex(7):61,00\n", "[HKCU\\a]\nm 7 \nn 7 <00>\no 7 a<00>\n"},
	{REG5 "[HKCU\\a]\n\"s\"=hex(1):61,00,00,00,62,00,00,00\n\"u\"=hex(1):3d,d8,00,de,00,00\n\"l\"=hex(1):3d,d8\n",
	 "[HKCU\\a]\ns 1 a<00>b\nu 1 <f0><9f><98><80>\nl 1 <ed><a0><bd>\n"},
	{REG5 "[-HKCU\\a]\n[HKCU\\b]\n\"x\"=-\n@=-\n; all\n\n  ; indented\n", "-[HKCU\\a]\n[HKCU\\b]\n-x\n-\n"},
	{REG5 "[HKCU\\a[1]\\b]c]\n\"two\nlines\"=\"one\ntwo\"\n\"w\"=\"a\\nb\\r\\0c\"\n",
	 "[HKCU\\a[1]\\b]c]\ntwo\nlines 1 one<0a>two\nw 1 a<0a>b<0d><00>c\n"},
	{REG5 "[HKCU\\a]\n\"x\" = \"y\"\n\"h\"=hex:1,2\n\"c\"=hex:01,\\\n;between\n\n 02\n", "[HKCU\\a]\nx 1 y\nh 3 <01><02>\nc 3 <01><02>\n"},
	{"REGEDIT4\n\n[HKEY_LOCAL_MACHINE\\x]\n\"e\"=hex(2):25,41,25,00\n\"a\"=\"\xe4\"\n", "[HKEY_LOCAL_MACHINE\\x]\ne 2 %A%\na 1 <c3><a4>\n"},
	{"\xef\xbb\xbf" REG5 "[HKCU\\\xc3\xa4]\n", "[HKCU\\\xc3\xa4]\n"},
	{"hello\n", "f.reg:1: not a .reg file"}, {"", "f.reg:1: not a .reg file"},
	{REG5 "\"x\"=\"y\"\n", "f.reg:2: a value before any key"},
	{REG5 "[-HKCU\\a]\n\"x\"=\"y\"\n", "f.reg:3: a value before any key"},
	{REG5 "[HKCU\\a\n", "f.reg:2: a bracket is missing"}, {REG5 "[HKCU\\a] x\n", "f.reg:2: there is more on the line"},
	{REG5 "[HKCU\\a]\n\"x\n\n", "f.reg:5: a quote is missing"}, {REG5 "[HKCU\\a]\n\"x\"\n", "f.reg:3: an equals sign"},
	{REG5 "[HKCU\\a]\n\"x\"=dword:\n", "f.reg:3: one to eight"}, {REG5 "[HKCU\\a]\n\"x\"=dword:123456789\n", "f.reg:3: one to eight"},
	{REG5 "[HKCU\\a]\n\"x\"=hex(2):41\n", "f.reg:3: a text of half a letter"}, {REG5 "[HKCU\\a]\n\"x\"=hex:0g\n", "f.reg:3: a comma"},
	{REG5 "[HKCU\\a]\n\"x\"=hex(q):01\n", "f.reg:3: a type was expected"}, {REG5 "[HKCU\\a]\n\"x\"=what\n", "f.reg:3: a value was expected"},
	{REG5 "[HKCU\\a]\n\"a\\0b\"=\"x\"\n", "f.reg:3: a name with a zero byte"}, {REG5 "hello\n", "f.reg:2: a key, a value or a comment"},
};

START_TEST(reading)
{
	struct kp_buf kp_autobuf log = {0}, wide = {0}, again = {0};
	struct kp_err err = {0};
	int rc = read_log(files[_i].text, strlen(files[_i].text), &log, &err);

	if (!strncmp(files[_i].want, "f.reg:", 6)) {
		ck_assert_int_eq(rc, -EINVAL);
		ck_assert_msg(!strncmp(err.text, files[_i].want, strlen(files[_i].want)), "%s", err.text);
		return;
	}
	ck_assert_msg(!rc, "%s", err.text);
	ck_assert_str_eq(log.data, files[_i].want);
	if (!strncmp(files[_i].text, "REGEDIT4", 8))
		return;
	/* The same in UTF-16. */
	kp_text_to_utf16("\xef\xbb\xbf", files[_i].text[0] == '\xef' ? 0 : 3, &wide);
	kp_text_to_utf16(files[_i].text, strlen(files[_i].text), &wide);
	ck_assert_int_eq(read_log(wide.data, wide.len, &again, &err), 0);
	ck_assert_str_eq(again.data, files[_i].want);
}
END_TEST

START_TEST(sinks)
{
	struct kp_hive_tree *t = kp_hive_tree_new();
	struct kp_regfile_sink sink = kp_hive_tree_sink(t);
	static const char bad[] = REG5 "[HKCU\\a]\n[HKEY_USERS\\x]\n";
	struct kp_err err = {0};

	ck_assert_int_eq(kp_regfile_read(bad, strlen(bad), "f.reg", &sink, &err), -EINVAL);
	ck_assert_str_eq(err.text, "f.reg:3: HKEY_USERS\\x: Invalid argument");
	(void)kp_hive_tree_free(t);
}
END_TEST

static int add(const char *bytes, size_t len, void *ctx)
{
	kp_buf_add(ctx, bytes, len);
	return 0;
}

START_TEST(writing)
{
	struct kp_reg *r = reg_open(&(struct kp_reg_options){.instance = regdir_path("registry"), .writable = true});
	struct kp_buf kp_autobuf b = {0}, wide = {0};
	static const char want[] =
		"Windows Registry Editor Version 5.00\r\n\r\n[HKEY_CURRENT_USER\\Software\\App]\r\n@=\"d\"\r\n\"a\\\\b\\\"\"=\"C:\\\\x\"\r\n"
		"\"bin\"=hex:00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,11,12,13,14,15,16,\\\r\n  17,18,19\r\n\"dw\"=dword:000000ff\r\n"
		"\"ex\"=hex(2):25,00,41,00,25,00,00,00\r\n\"nl\"=hex(1):61,00,0a,00,62,00,00,00\r\n\"odd\"=hex(4):01\r\n"
		"\r\n[HKEY_CURRENT_USER\\Software\\App\\Sub]\r\n\r\n";

	ck_assert_int_eq(reg_import(r, REG5 "[HKCU\\Software\\App\\Sub]\n[HKCU\\Software\\App]\n@=\"d\"\n\"a\\\\b\\\"\"=\"C:\\\\x\"\n"
					"\"bin\"=hex:00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,11,12,13,14,15,16,17,18,19\n\"dw\"=dword:ff\n"
					"\"ex\"=hex(2):25,00,41,00,25,00,00,00\n\"nl\"=\"a\nb\"\n\"odd\"=hex(4):01\n"), 0);
	ck_assert_int_eq(kp_regfile_write(r, "HKCU\\Software\\App", false, add, &b), 0);
	ck_assert_str_eq(b.data, want);
	ck_assert_int_eq(kp_regfile_write(r, "HKCU\\Software\\App", true, add, &wide), 0);
	ck_assert_mem_eq(wide.data, "\xff\xfeW\0i\0", 6);
	ck_assert_int_eq(kp_regfile_write(r, "HKCU\\None", true, add, &wide), -ENOENT);
	(void)kp_reg_free(r);
}
END_TEST

/* Random registries: what is written reads back as the same, in both encodings. */
static unsigned seed;

static unsigned pick(unsigned n)
{
	seed = seed * 1103515245U + 12345U;
	return (seed >> 16) % n;
}

static void random_text(struct kp_buf *b, unsigned max, bool name)
{
	static const uint32_t some[] = {'a', 'Z', ' ', '\\', '"', ']', '[', '=', ';', '%', '/', '\n', '\r', '\t', 1, 0xe4, 0x20ac, 0xffff, 0x1f600, 0xd83d, 0};
	char utf8[4];

	kp_buf_add(b, "", 0);
	for (unsigned i = pick(max); i-- > 0;) {
		uint32_t c = some[pick(KP_ARRAY_LEN(some) - name)];

		/* Half a pair and the other half would be one letter. */
		kp_buf_add(b, utf8, kp_utf8_put(utf8, c));
	}
}

static void random_value(struct kp_hive_tree *t, const char *key)
{
	static const uint32_t types[] = {KP_REG_SZ, KP_REG_EXPAND_SZ, KP_REG_MULTI_SZ, KP_REG_DWORD, KP_REG_QWORD, KP_REG_BINARY, KP_REG_NONE, 8};
	struct kp_buf kp_autobuf name = {0}, data = {0};
	struct kp_reg_data d = {.type = types[pick(KP_ARRAY_LEN(types))]};

	random_text(&name, 6, true);
	switch (d.type) {
	case KP_REG_MULTI_SZ:
		for (unsigned i = pick(4); i-- > 0;) {
			random_text(&data, 5, true);
			kp_buf_add(&data, "", 1);
		}
		break;
	case KP_REG_SZ:
	case KP_REG_EXPAND_SZ: random_text(&data, 60, false); break;
	default:
		for (unsigned i = d.type == KP_REG_DWORD && pick(4) ? 4 : pick(90); i-- > 0;)
			kp_buf_add(&data, &(char){(char)pick(256)}, 1);
		break;
	}
	d.data = data.data;
	d.len = data.len;
	ck_assert_int_eq(kp_hive_tree_set(t, key, name.data, &d), 0);
}

START_TEST(round_trips)
{
	struct kp_buf kp_autobuf first = {0}, second = {0}, out = {0};
	struct kp_hive_tree *t = kp_hive_tree_new(), *u = kp_hive_tree_new();
	struct kp_regfile_sink sink = kp_hive_tree_sink(u);
	struct kp_reg *r;
	struct kp_err err = {0};

	seed = (unsigned)_i;
	ck_assert_int_eq(kp_hive_tree_key(t, "HKCU"), 0);
	for (unsigned i = 0; i < 30; i++) {
		struct kp_buf kp_autobuf name = {0};
		kp_autofree char *key = NULL;

		random_text(&name, 5, true);
		for (char *p = name.data; *p; p++)
			if (*p == '\\' || *p == '\n' || *p == '\r') /* no end of line in a key's name: the format cannot say it */
				*p = '_';
		key = kp_asprintf("HKCU\\k%s", name.data);
		random_value(t, key);
	}
	ck_assert_int_eq(kp_hive_build(t, &first), 0);
	r = reg_open(&(struct kp_reg_options){.policy = t});
	ck_assert_int_eq(kp_regfile_write(r, "HKCU", _i % 2, add, &out), 0);
	ck_assert_msg(!kp_regfile_read(out.data, out.len, "f.reg", &sink, &err), "%s\n%s", err.text, out.data);
	ck_assert_int_eq(kp_hive_build(u, &second), 0);
	ck_assert_uint_eq(first.len, second.len);
	ck_assert_mem_eq(first.data, second.data, first.len);
	(void)kp_reg_free(r);
	(void)kp_hive_tree_free(t);
	(void)kp_hive_tree_free(u);
}
END_TEST

START_TEST(as_files)
{
	static const struct {
		uint32_t type;
		const char *data;
		size_t len;
		const char *file;
	} rows[] = {
		{KP_REG_SZ, "dark", 4, "dark"}, {KP_REG_SZ, "a\n", 2, "a\n"}, {KP_REG_DWORD, "\x2a\0\0\0", 4, "42"},
		{KP_REG_QWORD, "\0\0\0\0\1\0\0\0", 8, "4294967296"}, {KP_REG_DWORD, "\1\2", 2, "hex:01,02"},
		{KP_REG_MULTI_SZ, "a\0b\0", 4, "a\nb\n"}, {KP_REG_MULTI_SZ, "\0", 1, "\n"}, {KP_REG_MULTI_SZ, "", 0, ""},
		{KP_REG_BINARY, "\1\2", 2, "\1\2"},
	};
	struct kp_buf kp_autobuf file = {0}, data = {0};
	uint32_t type;

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++) {
		struct kp_reg_data d = {rows[i].type, rows[i].len, rows[i].data};

		file.len = data.len = 0;
		kp_reg_data_to_file(&d, &file);
		ck_assert_str_eq(file.data, rows[i].file);
		kp_reg_data_from_file(d.type, file.data, file.len, &type, &data);
		ck_assert_uint_eq(type, d.type);
		ck_assert_uint_eq(data.len, d.len);
		ck_assert_mem_eq(data.data, d.data, d.len);
	}
	data.len = 0;
	kp_reg_data_from_file(KP_REG_DWORD, "0x10\n", 5, &type, &data);
	ck_assert_uint_eq(type, KP_REG_DWORD);
	ck_assert_mem_eq(data.data, "\x10\0\0\0", 4);
	data.len = 0;
	kp_reg_data_from_file(KP_REG_DWORD, "many", 4, &type, &data);
	ck_assert_uint_eq(type, KP_REG_BINARY);
	ck_assert_uint_eq(data.len, 4);
	data.len = 0;
	kp_reg_data_from_file(KP_REG_SZ, "\xff\xfe", 2, &type, &data);
	ck_assert_uint_eq(type, KP_REG_BINARY);
	/* A list with an end of line in a text keeps its zeros. */
	file.len = data.len = 0;
	kp_reg_data_to_file(&(struct kp_reg_data){KP_REG_MULTI_SZ, 4, "a\nb"}, &file);
	ck_assert_uint_eq(file.len, 4);
	kp_reg_data_from_file(KP_REG_MULTI_SZ, file.data, file.len, &type, &data);
	ck_assert_mem_eq(data.data, "a\nb", 4);
}
END_TEST

START_TEST(as_written)
{
	static const struct {
		uint32_t type;
		const char *text, *want; /* NULL: refused */
		size_t len;
	} rows[] = {
		{KP_REG_SZ, "x", "x", 1}, {KP_REG_DWORD, "0x1f", "\x1f\0\0\0", 4}, {KP_REG_DWORD, "4294967295", "\xff\xff\xff\xff", 4},
		{KP_REG_DWORD, "4294967296", NULL, 0}, {KP_REG_DWORD, "-1", NULL, 0}, {KP_REG_DWORD, "", NULL, 0}, {KP_REG_DWORD, "1x", NULL, 0},
		{KP_REG_QWORD, "18446744073709551615", "\xff\xff\xff\xff\xff\xff\xff\xff", 8}, {KP_REG_QWORD, "18446744073709551616", NULL, 0},
		{KP_REG_BINARY, "0aFF 01,02", "\x0a\xff\x01\x02", 4}, {KP_REG_BINARY, "abc", NULL, 0}, {KP_REG_NONE, "", "", 0},
		{KP_REG_MULTI_SZ, "a", "a", 2}, {KP_REG_SZ, "\xff", NULL, 0},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++) {
		struct kp_buf kp_autobuf data = {0};
		char *text = (char *)(uintptr_t)rows[i].text;
		const char *why;
		int rc = kp_reg_data_parse(rows[i].type, &text, 1, &data, &why);

		ck_assert_msg(!rc == (rows[i].want != NULL), "%s", text);
		if (!rc) {
			ck_assert_uint_eq(data.len, rows[i].len);
			ck_assert_mem_eq(data.data, rows[i].want, rows[i].len);
		}
	}
}
END_TEST

Suite *test_regfile(void)
{
	Suite *s = suite_create("regfile");
	TCase *tc = tcase_create("regfile");

	tcase_add_checked_fixture(tc, regdir_make, regdir_remove);
	tcase_add_loop_test(tc, reading, 0, KP_ARRAY_LEN(files));
	tcase_add_test(tc, sinks);
	tcase_add_test(tc, writing);
	tcase_add_loop_test(tc, round_trips, 0, 100);
	tcase_add_test(tc, as_files);
	tcase_add_test(tc, as_written);
	suite_add_tcase(s, tc);
	return s;
}
