/* SPDX-License-Identifier: Apache-2.0 */
/* Projections: each format's reading, and its smallest change; then what must hold for any text and any values. */
#include "projection/merge.h"
#include "projection/projection.h"
#include "tests/unit/suites.h"

static struct kp_doc *parse(const char *format, const char *text)
{
	struct kp_err err = {0};
	struct kp_doc *doc = NULL;

	ck_assert_msg(kp_doc_parse(kp_format_by_name(format), text, strlen(text), &doc, &err) == 0, "%s: %s: %s", format, text, err.text);
	return doc;
}

static struct kp_reg_data text_data(uint32_t type, const char *text)
{
	return (struct kp_reg_data){type, strlen(text), text};
}

/* "name=value" lines: what a document says, for comparing; path\name, and the type where it is not REG_SZ. */
static int say(const struct kp_setting *e, void *ctx)
{
	struct kp_buf *out = ctx;
	const uint8_t *data = e->d.data;

	kp_buf_printf(out, "%s%s", e->path, *e->path ? "\\" : "");
	if (!e->name) {
		kp_buf_puts(out, "\n");
		return 0;
	}
	kp_buf_printf(out, "%s=", *e->name ? e->name : "@");
	if (e->d.type == KP_REG_DWORD || e->d.type == KP_REG_QWORD) {
		uint64_t n = 0;

		for (size_t i = e->d.len; i-- > 0;)
			n = n << 8 | data[i];
		kp_buf_printf(out, "%s:%llu", e->d.type == KP_REG_DWORD ? "dword" : "qword", (unsigned long long)n);
	} else {
		if (e->d.type != KP_REG_SZ)
			kp_buf_printf(out, "(%u)", e->d.type);
		for (size_t i = 0; i < e->d.len; i++)
			kp_buf_printf(out, data[i] < 0x20 ? "\\%o" : "%c", data[i]);
	}
	kp_buf_puts(out, "\n");
	return 0;
}

static const struct {
	const char *format, *text, *want;
} readings[] = {
	{"ini", "", ""},
	{"ini", "; c\ntop = 1\n[a]\nx = y ; note\n  q = \"a ; b\"\n[b \"c d\"]\nz= 2\n",
	 "top=1\na\\x=y\na\\q=a ; b\nb\\c d\\z=2\n"},
	{"ini", "[a]\n\tx = \"q\\\"\" r # c\n\ty = a\\\n b\n", "a\\x=q\" r\na\\y=a b\n"},
	{"ini", "[a]\np = C:\\new\\dir\nm = one\n\ttwo\n", "a\\p=C:\\new\\dir\na\\m=one\\12two\n"},
	{"ini", "[a]\nx=1\nx=2\n[A]\nX=3\n@=d\n", "a\\x=(7)1\\02\\03\\0\na\\@=d\n"},
	{"ini", "[a\\b]\r\nx=1\r\n", "a\\b\\x=1\n"},
	{"ini", "[a\nx=1\n[a\\\\b]\ny=1\n[]\nz=1\nbare\n", ""},
	{"ini", "[a]\nx=\xff\nok=1\n", "a\\ok=1\n"},
	{"keyfile", "# c\n[org/gnome/x]\ns='it\\'s'\nb=true\nn=-5\nu=uint32 7\nl=['a', 'b']\ne=@as []\nd=1.5\nraw=Some Text\nq=5000000000\n",
	 "org\\gnome\\x\\s=it's\norg\\gnome\\x\\b=dword:1\norg\\gnome\\x\\n=-5\norg\\gnome\\x\\u=dword:7\norg\\gnome\\x\\l=(7)a\\0b\\0\n"
	 "org\\gnome\\x\\e=(7)\norg\\gnome\\x\\d=1.5\norg\\gnome\\x\\raw=Some Text\norg\\gnome\\x\\q=qword:5000000000\n"},
	{"env", "# c\nA=1\nexport B='a b'\nC=\"x \\\"y\\\" $z\"\nD=a'b'\"c\" # note\nnot one\nE=1 F=2\nG=\n", "A=1\nB=a b\nC=x \"y\" $z\nD=abc\nG=\n"},
	{"env", "A='one\ntwo'\nB=2\nA=3\n", "A=3\nB=2\n"},
	{"plain", "# c\nport 6379\nsave 900 1\nsave 300 10\nrequirepass \"a\\\"b\\x41\"\nempty \"\"\n", "port=6379\nsave=(7)900 1\\0300 10\\0\nrequirepass=a\"bA\nempty=\n"},
	{"plain", "daemon off;\nevents {\n  worker_connections 4;\n}\nworker_processes 2;\n", "daemon=off\nworker_processes=2\n"},
	{"json", "{\"a\": {\"b\": \"t\\u00e9\\ud83d\\ude00\", \"n\": 5, \"f\": 1.5, \"m\": -1, \"y\": true, \"z\": null, \"l\": [\"a\",\"b\"], \"o\": [1, 2]}}",
	 "a\\b=t\xc3\xa9\xf0\x9f\x98\x80\na\\n=dword:5\na\\f=1.5\na\\m=-1\na\\y=dword:1\na\\z=(0)\na\\l=(7)a\\0b\\0\na\\o=[1, 2]\n"},
	{"json", "// c\n{ /* d */ \"x\" : 1, \"x\": 2, \"X\": 3, \"\": 4, \"a\\\\b\": 5, \"q\": 4294967296 }\n", "x=dword:2\na\\b=dword:5\nq=qword:4294967296\n"},
	{"json", "[1, 2]", ""},
	{"wine",
	 "WINE REGISTRY Version 2\n;; All keys relative to \\\\Machine\n\n#arch=win64\n\n[Software\\\\W \\[1\\]] 1700000000\n#time=1d9\n@=\"d\"\n"
	 "\"n\\\"\\x20ac\"=dword:0000002a\n\"e\"=str(2):\"%A%\\\\x\"\n\"m\"=str(7):\"a\\0b\\0\"\n\"b\"=hex:01,02,\\\n  03\n\"q\"=hex(b):01,00,00,00,00,00,00,00\n\"u\"=hex(2):41,00,00,00\n",
	 "Software\\W [1]\\\nSoftware\\W [1]\\@=d\nSoftware\\W [1]\\n\"\xe2\x82\xac=dword:42\nSoftware\\W [1]\\e=(2)%A%\\x\n"
	 "Software\\W [1]\\m=(7)a\\0b\\0\nSoftware\\W [1]\\b=(3)\\1\\2\\3\nSoftware\\W [1]\\q=qword:1\nSoftware\\W [1]\\u=(2)A\n"},
	{"xml", "<?xml version=\"1.0\"?>\n<!-- c -->\n<s v='1'>\n  <name>A &amp; B</name>\n  <w h=\"2\"/>\n  <p>1</p><p>2</p>\n  <d><x><![CDATA[<>]]></x></d>\n"
		"  <prop name=\"one\" value=\"5\"/><prop name=\"two\">t</prop>\n</s>\n",
	 "v=1\nname=A & B\nw\\h=2\np=(7)1\\02\\0\nd\\x=<>\nprop\\one\\value=5\nprop\\two\\@=t\n"},
};

START_TEST(reads)
{
	struct kp_doc *doc = parse(readings[_i].format, readings[_i].text);
	kp_autobuf struct kp_buf said = {0}, printed = {0};

	kp_buf_puts(&said, "");
	kp_doc_each(doc, say, &said);
	ck_assert_str_eq(said.data, readings[_i].want);
	kp_doc_print(doc, &printed);
	ck_assert_str_eq(printed.data ? printed.data : "", readings[_i].text);
	kp_doc_free(doc);
}
END_TEST

static const struct {
	const char *format, *text;
} refused[] = {
	{"json", "{"}, {"json", "{\"a\" 1}"}, {"json", "{\"a\": 01}"}, {"json", "{} x"}, {"json", "{\"a\": 1,}"}, {"json", "/* "}, {"json", "{\"a\": tru}"},
	{"wine", "REGEDIT4\n"}, {"xml", "<a>"}, {"xml", "<a></b>"}, {"xml", "<a/><b/>"}, {"xml", "x"}, {"xml", "<a>&foo;</a>"},
	{"xml", "<!DOCTYPE a [<!ENTITY x \"y\">]><a/>"}, {"xml", "<a b=\"1\" b=\"2\"/>"}, {"xml", "<a b=\"<\"/>"},
};

START_TEST(refuses)
{
	struct kp_err err = {0};
	struct kp_doc *doc = NULL;

	ck_assert_int_eq(kp_doc_parse(kp_format_by_name(refused[_i].format), refused[_i].text, strlen(refused[_i].text), &doc, &err), -EINVAL);
	ck_assert(!doc && !strncmp(err.text, "line ", 5));
}
END_TEST

/* One change each: "" for the value removes it. */
static const struct {
	const char *format, *text, *path, *name;
	uint32_t type;
	const char *value, *want;
} changes[] = {
	{"ini", "", "a", "x", KP_REG_SZ, "1", "[a]\nx = 1\n"},
	{"ini", "# top\n[a]\n  x=1  ; n\n; tail\n", "a", "X", KP_REG_SZ, "2", "# top\n[a]\n  x=2  ; n\n; tail\n"},
	{"ini", "[a]\nx=1\n\n[b]\ny=2\n", "a", "z", KP_REG_SZ, "3", "[a]\nx=1\nz=3\n\n[b]\ny=2\n"},
	{"ini", "[user]\n\tname = x\n", "user", "name", KP_REG_SZ, NULL, "[user]\n"},
	{"ini", "[user]\n\tname = x\n[core]\na = 1\n", "user", "name", KP_REG_SZ, NULL, "[user]\n[core]\na = 1\n"},
	{"ini", "[a]\nx = 1\n\ty = 2\n\tz\n", "a", "y", KP_REG_SZ, NULL, "[a]\nx = 1\n\n\tz\n"},
	{"ini", "[core]\n\tbare = false\n", "remote\\origin", "url", KP_REG_SZ, "a#b", "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = \"a#b\"\n"},
	{"ini", "[core]\n\tbare = True\n", "core", "bare", KP_REG_DWORD, "0", "[core]\n\tbare = False\n"},
	{"ini", "[a]\nx=1\ny=2\n", "a", "x", 0, NULL, "[a]\ny=2\n"},
	{"ini", "[a]\r\nx=1", "a", "y", KP_REG_SZ, "2", "[a]\r\nx=1\r\ny=2\r\n"},
	{"ini", "[a]\nx=1\n", "a", "m", KP_REG_SZ, "one\ntwo", "[a]\nx=1\nm=one\n\ttwo\n"},
	{"keyfile", "", "org\\x", "k", KP_REG_SZ, "v", "[org/x]\nk='v'\n"},
	{"keyfile", "[g]\nb=true\n", "g", "b", KP_REG_DWORD, "0", "[g]\nb=false\n"},
	{"keyfile", "[g]\nu=uint32 5\n", "g", "u", KP_REG_DWORD, "6", "[g]\nu=uint32 6\n"},
	{"keyfile", "[g]\n", "g", "t", KP_REG_SZ, "true", "[g]\nt=true\n"},
	{"keyfile", "[g]\nName=Foo\n", "g", "Name", KP_REG_SZ, "Bar Baz", "[g]\nName=Bar Baz\n"},
	{"env", "# c\nexport A=1\n", "", "B", KP_REG_SZ, "it's $x", "# c\nexport A=1\nexport B=\"it's \\$x\"\n"},
	{"env", "A=\"1\"\n", "", "A", KP_REG_SZ, "2", "A=\"2\"\n"},
	{"plain", "# c\nport 1\n# d\n", "", "bind", KP_REG_SZ, "::1", "# c\nport 1\nbind ::1\n# d\n"},
	{"plain", "a 1;\nb {\n c 2;\n}\n", "", "d", KP_REG_SZ, "3", "a 1;\nd 3;\nb {\n c 2;\n}\n"},
	{"plain", "a\n", "", "a", KP_REG_SZ, "", "a\n"},
	{"json", "", "a", "b", KP_REG_DWORD, "5", "{\n  \"a\": {\n    \"b\": 5\n  }\n}\n"},
	{"json", "{\n\t\"a\": 1, // one\n\t\"b\": true\n}\n", "", "b", KP_REG_DWORD, "0", "{\n\t\"a\": 1, // one\n\t\"b\": false\n}\n"},
	{"json", "{\n\t\"a\": 1\n}\n", "", "c", KP_REG_SZ, "x\"", "{\n\t\"a\": 1,\n\t\"c\": \"x\\\"\"\n}\n"},
	{"json", "{\n\t\"a\": {\n\t\t\"b\": 1\n\t}\n}\n", "d\\e", "f", KP_REG_SZ, "g",
	 "{\n\t\"a\": {\n\t\t\"b\": 1\n\t},\n\t\"d\": {\n\t\t\"e\": {\n\t\t\t\"f\": \"g\"\n\t\t}\n\t}\n}\n"},
	{"json", "{\"a\": 1, \"b\": 2}", "", "c", KP_REG_DWORD, "3", "{\"a\": 1, \"b\": 2, \"c\": 3}"},
	{"json", "{\"a\":1,\"b\":2}", "", "a", 0, NULL, "{\"b\":2}"},
	{"json", "{\"a\": 1.5}", "", "a", KP_REG_SZ, "2.5", "{\"a\": 2.5}"},
	{"wine", "", "Software\\A", "x", KP_REG_DWORD, "5", "WINE REGISTRY Version 2\n\n[Software\\\\A]\n\"x\"=dword:00000005\n"},
	{"wine", "WINE REGISTRY Version 2\n\n[A] 17\n#time=1\n\"x\"=\"1\"\n\n[B] 18\n#time=2\n\n", "B", "", KP_REG_SZ, "\xe2\x82\xac" "1",
	 "WINE REGISTRY Version 2\n\n[A] 17\n#time=1\n\"x\"=\"1\"\n\n[B] 18\n#time=2\n@=\"\\x20ac1\"\n\n"},
	{"xml", "", "a", "b", KP_REG_SZ, "1", "<settings>\n  <a>\n    <b>1</b>\n  </a>\n</settings>\n"},
	{"xml", "<s>\n\t<a>1</a>\n</s>\n", "", "b", KP_REG_SZ, "<", "<s>\n\t<a>1</a>\n\t<b>&lt;</b>\n</s>\n"},
	{"xml", "<s><p port='1'/></s>", "p", "port", KP_REG_DWORD, "2", "<s><p port='2'/></s>"},
	{"xml", "<s>\n <e name=\"a\" value=\"1\"/>\n</s>\n", "e\\b", "value", KP_REG_SZ, "2",
	 "<s>\n <e name=\"a\" value=\"1\"/>\n <e name=\"b\" value=\"2\"></e>\n</s>\n"},
	{"xml", "<s>\n <a>1</a>\n <b>2</b>\n</s>\n", "", "a", 0, NULL, "<s>\n <b>2</b>\n</s>\n"},
};

static struct kp_reg_data data_of(uint32_t type, const char *value, uint8_t bytes[8])
{
	unsigned long long n = strtoull(value, NULL, 10);

	if (type != KP_REG_DWORD && type != KP_REG_QWORD)
		return text_data(type, value);
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(n >> 8 * i);
	return (struct kp_reg_data){type, type == KP_REG_DWORD ? 4 : 8, bytes};
}

START_TEST(changes_little)
{
	struct kp_doc *doc = parse(changes[_i].format, changes[_i].text), *again;
	kp_autobuf struct kp_buf printed = {0}, twice = {0};
	struct kp_setting e = {changes[_i].path, changes[_i].name, {0}}, got;
	uint8_t bytes[8];

	if (changes[_i].value) {
		e.d = data_of(changes[_i].type, changes[_i].value, bytes);
		ck_assert_int_eq(kp_doc_set(doc, &e), 0);
	} else {
		kp_doc_remove(doc, e.path, e.name);
	}
	kp_doc_print(doc, &printed);
	ck_assert_str_eq(printed.data, changes[_i].want);
	again = parse(changes[_i].format, printed.data);
	ck_assert_int_eq(kp_doc_get(again, e.path, e.name, e.d.type, &got), changes[_i].value != NULL);
	if (changes[_i].value) {
		ck_assert(kp_reg_data_same(&got.d, &e.d));
		ck_assert_int_eq(kp_doc_set(again, &e), 0);
	}
	kp_doc_print(again, &twice);
	ck_assert_str_eq(twice.data, printed.data);
	kp_doc_free(again);
	kp_doc_free(doc);
}
END_TEST

/* What a format cannot tell is refused, and nothing has changed. */
static const struct {
	const char *format, *text, *path, *name;
	uint32_t type;
	const char *value;
} untold[] = {
	{"env", "", "a", "x", KP_REG_SZ, "1"}, {"env", "", "", "a b", KP_REG_SZ, "1"}, {"plain", "", "", "a b", KP_REG_SZ, "1"},
	{"plain", "", "k", "a", KP_REG_SZ, "1"}, {"ini", "", "", "a=b", KP_REG_SZ, "1"}, {"ini", "", "", "@", KP_REG_SZ, "1"},
	{"ini", "[a]\n\tx = 1\n", "a", "under_score", KP_REG_SZ, "1"}, {"keyfile", "", "", "x", KP_REG_SZ, "1"},
	{"keyfile", "", "a/b", "x", KP_REG_SZ, "1"}, {"json", "{\"a\": 1}", "a", "x", KP_REG_SZ, "1"}, {"json", "[]", "", "x", KP_REG_SZ, "1"},
	{"xml", "", "", "a b", KP_REG_SZ, "1"}, {"xml", "<s><a>1</a></s>", "a", "b", KP_REG_SZ, "1"}, {"xml", "", "", "a", KP_REG_SZ, "\x01"},
};

START_TEST(refuses_untold)
{
	struct kp_doc *doc = parse(untold[_i].format, untold[_i].text);
	struct kp_setting e = {untold[_i].path, untold[_i].name, text_data(untold[_i].type, untold[_i].value)}, got;

	ck_assert_int_eq(kp_doc_set(doc, &e), -EINVAL);
	ck_assert(!kp_doc_get(doc, e.path, e.name, e.d.type, &got));
	kp_doc_free(doc);
}
END_TEST

/* --- any values --- */
static uint64_t seed;

static unsigned roll(unsigned n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % n;
}

static void random_text(struct kp_buf *out, bool tame)
{
	static const char *const pieces[] = {"a", "B", "7", "-", "_x", " ", "=", "#", ";", "\"", "'", "\\", "\n", "\t", "[", "]", "{", "}", "<", "&", ":", "$",
					     "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "true", "0", "/", "@", "\x01", "\r", "hex:00", ","};
	unsigned n = roll(6);

	kp_buf_puts(out, "");
	while (n--)
		kp_buf_puts(out, pieces[roll(tame ? 4 : KP_ARRAY_LEN(pieces))]);
}

static void random_setting(struct kp_settings *list)
{
	static const uint32_t types[] = {KP_REG_SZ, KP_REG_SZ, KP_REG_EXPAND_SZ, KP_REG_DWORD, KP_REG_QWORD, KP_REG_MULTI_SZ, KP_REG_BINARY, KP_REG_NONE, 9};
	kp_autobuf struct kp_buf path = {0}, name = {0}, data = {0};
	struct kp_setting e;
	unsigned depth = roll(3);

	kp_buf_puts(&path, "");
	while (depth--) {
		kp_autobuf struct kp_buf part = {0};

		random_text(&part, roll(4));
		kp_buf_printf(&path, "%s%s", path.len ? "\\" : "", part.len && !strchr(part.data, '\\') ? part.data : "k");
	}
	random_text(&name, roll(4));
	e.d.type = types[roll(KP_ARRAY_LEN(types))];
	if (e.d.type == KP_REG_MULTI_SZ) {
		for (unsigned n = roll(4); n; n--) {
			kp_autobuf struct kp_buf one = {0};

			random_text(&one, roll(2));
			kp_buf_add(&data, one.data, one.len + 1);
		}
	} else if (e.d.type == KP_REG_SZ || e.d.type == KP_REG_EXPAND_SZ) {
		random_text(&data, roll(2));
	} else {
		size_t len = e.d.type == KP_REG_DWORD ? 4 : e.d.type == KP_REG_QWORD ? 8 : roll(40);

		while (len--)
			kp_buf_add(&data, &(char){(char)roll(roll(2) ? 2 : 256)}, 1);
	}
	kp_buf_add(&data, "", 0);
	e = (struct kp_setting){path.data, name.data, {e.d.type, data.len, data.data}};
	kp_settings_add(list, &e);
}

/* Rendering any values over any of the texts above: what was taken is read back the same, all else stays, and a second time changes nothing. */
START_TEST(any_values)
{
	const struct kp_format *f = kp_format_at((size_t)_i);
	size_t told = 0;

	for (unsigned round = 0; round < 1500; round++) {
		unsigned from = roll(KP_ARRAY_LEN(readings));
		struct kp_doc *doc = parse(kp_format_name(f), strcmp(readings[from].format, kp_format_name(f)) ? "" : readings[from].text), *again;
		kp_autosettings struct kp_settings list = {0};
		kp_autobuf struct kp_buf printed = {0}, twice = {0};
		bool taken[8] = {0};

		seed += round;
		for (unsigned n = roll(7) + 1; n; n--)
			random_setting(&list);
		for (size_t i = 0; i < list.count; i++)
			taken[i] = kp_doc_set(doc, &list.items[i]) == 0;
		kp_doc_print(doc, &printed);
		kp_buf_add(&printed, "", 0);
		again = parse(kp_format_name(f), printed.data);
		for (size_t i = 0; i < list.count; i++) {
			struct kp_setting *e = &list.items[i], got;
			kp_autobuf struct kp_buf said = {0};

			if (!taken[i])
				continue;
			told++;
			say(e, &said);
			ck_assert_msg(kp_doc_get(again, e->path, e->name, e->d.type, &got), "%s: gone: %s\nin:\n%s", kp_format_name(f), said.data, printed.data);
			ck_assert_msg(kp_reg_data_same(&got.d, &e->d), "%s: another: %s\nin:\n%s", kp_format_name(f), said.data, printed.data);
			ck_assert_int_eq(kp_doc_set(again, e), 0);
		}
		kp_doc_print(again, &twice);
		ck_assert_str_eq(twice.data ? twice.data : "", printed.data);
		kp_doc_free(again);
		kp_doc_free(doc);
	}
	ck_assert_uint_gt(told, 100);
}
END_TEST

/* --- three ways --- */
static void add(struct kp_settings *list, const char *path, const char *name, uint32_t type, const char *value)
{
	uint8_t bytes[8];
	struct kp_setting e = {path, name, data_of(type, value, bytes)};

	kp_settings_add(list, &e);
}

static void say_takes(const struct kp_takes *takes, struct kp_buf *out)
{
	kp_buf_puts(out, "");
	for (size_t i = 0; i < takes->count; i++) {
		const struct kp_take *t = &takes->items[i];
		kp_autofree char *words = t->kind == KP_TAKE_SET ? kp_projection_words(&t->e.d) : kp_strdup("gone");
		kp_autofree char *other = t->conflict && !t->theirs_gone ? kp_projection_words(&t->theirs) : kp_strdup(t->conflict ? "gone" : "");

		kp_buf_printf(out, "%s\\%s: %s%s%s; ", t->e.path, t->e.name ? t->e.name : "", words, *other ? " over " : "", other);
	}
}

START_TEST(takes_back)
{
	struct kp_doc *base = parse("ini", "[a]\nkept=1\nchanged=1\nboth=1\nsame=1\ngone=1\nlost=1\nfile=1\nnumber=0x10\n");
	struct kp_doc *mine = parse("ini", "[a]\nkept=1\nchanged=2\nboth=2\nsame=3\nnew=5\nlost=7\nnumber=0x11\nagain=1\n");
	kp_autosettings struct kp_settings was = {0}, is = {0};
	kp_autotakes struct kp_takes takes = {0};
	kp_autobuf struct kp_buf said = {0};

	add(&was, "a", "kept", KP_REG_SZ, "1");
	add(&is, "a", "KEPT", KP_REG_SZ, "9"); /* changed in the registry alone */
	add(&was, "a", "changed", KP_REG_SZ, "1");
	add(&is, "a", "changed", KP_REG_SZ, "1");
	add(&was, "a", "both", KP_REG_SZ, "1");
	add(&is, "a", "both", KP_REG_SZ, "3");
	add(&was, "a", "same", KP_REG_SZ, "1");
	add(&is, "a", "same", KP_REG_SZ, "3");
	add(&was, "a", "gone", KP_REG_SZ, "1");
	add(&is, "a", "gone", KP_REG_SZ, "1");
	add(&was, "a", "lost", KP_REG_SZ, "1"); /* deleted in the registry, changed by the program */
	add(&was, "a", "number", KP_REG_DWORD, "16");
	add(&is, "a", "number", KP_REG_DWORD, "16");
	add(&is, "a", "again", KP_REG_SZ, "2"); /* added by both */
	kp_projection_compare(base, &was, mine, &is, &takes);
	say_takes(&takes, &said);
	ck_assert_str_eq(said.data, "a\\gone: gone; a\\changed: '2'; a\\both: '2' over '3'; a\\new: '5'; a\\lost: '7' over gone; "
				    "a\\number: 17; a\\again: '1' over '2'; ");
	kp_doc_free(base);
	kp_doc_free(mine);
}
END_TEST

START_TEST(renders)
{
	struct kp_doc *doc = parse("ini", "# c\n[a]\nx=1\nold=1\nown=1\n");
	kp_autosettings struct kp_settings before = {0}, list = {0}, rest = {0};
	kp_autobuf struct kp_buf out = {0};

	add(&before, "a", "x", KP_REG_SZ, "1");
	add(&before, "a", "old", KP_REG_SZ, "1");
	add(&list, "a", "x", KP_REG_SZ, "2");
	add(&list, "b\\c", "y", KP_REG_SZ, "3");
	add(&list, "", "a=b", KP_REG_SZ, "3");
	kp_projection_render(doc, &before, &list, &rest);
	kp_doc_print(doc, &out);
	ck_assert_str_eq(out.data, "# c\n[a]\nx=2\nown=1\n\n[b\\c]\ny=3\n");
	ck_assert_uint_eq(rest.count, 1);
	kp_doc_free(doc);
}
END_TEST

START_TEST(git_is_known_by_its_names)
{
	struct kp_doc *doc = parse("ini", "");
	kp_autosettings struct kp_settings list = {0};
	kp_autobuf struct kp_buf out = {0};

	add(&list, "core", "editor", KP_REG_SZ, "vi \"x\"");
	add(&list, "remote\\origin", "url", KP_REG_SZ, "u");
	kp_projection_render(doc, NULL, &list, NULL);
	kp_doc_print(doc, &out);
	ck_assert_str_eq(out.data, "[core]\n\teditor = vi \\\"x\\\"\n[remote \"origin\"]\n\turl = u\n");
	kp_doc_free(doc);
}
END_TEST

START_TEST(keeps_what_was_rendered)
{
	kp_autosettings struct kp_settings list = {0}, back = {0};
	kp_autobuf struct kp_buf packed = {0};
	const char *text;
	size_t len;

	for (unsigned n = 0; n < 50; n++)
		random_setting(&list);
	kp_projection_pack("[a]\nx=1\n", 8, &list, &packed);
	ck_assert_int_eq(kp_projection_unpack(packed.data, packed.len, &text, &len, &back), 0);
	ck_assert_uint_eq(len, 8);
	ck_assert(!memcmp(text, "[a]\nx=1\n", 8));
	for (size_t i = 0; i < list.count; i++) {
		const struct kp_setting *e = kp_settings_find(&back, list.items[i].path, list.items[i].name);

		ck_assert(e && kp_reg_data_same(&e->d, &list.items[i].d));
	}
	for (size_t cut = 0; cut < packed.len; cut++) {
		kp_autosettings struct kp_settings less = {0};

		(void)kp_projection_unpack(packed.data, cut, &text, &len, &less);
	}
	packed.data[0] = 'x';
	ck_assert_int_eq(kp_projection_unpack(packed.data, packed.len, &text, &len, &back), -EINVAL);
}
END_TEST

Suite *test_projection(void)
{
	Suite *s = suite_create("projection");
	TCase *c = tcase_create("projection");

	tcase_add_loop_test(c, reads, 0, KP_ARRAY_LEN(readings));
	tcase_add_loop_test(c, refuses, 0, KP_ARRAY_LEN(refused));
	tcase_add_loop_test(c, changes_little, 0, KP_ARRAY_LEN(changes));
	tcase_add_loop_test(c, refuses_untold, 0, KP_ARRAY_LEN(untold));
	tcase_add_loop_test(c, any_values, 0, 7);
	tcase_add_test(c, takes_back);
	tcase_add_test(c, renders);
	tcase_add_test(c, git_is_known_by_its_names);
	tcase_add_test(c, keeps_what_was_rendered);
	tcase_set_timeout(c, 300);
	suite_add_tcase(s, c);
	return s;
}
