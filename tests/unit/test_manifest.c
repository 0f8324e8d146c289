/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "manifest/manifest.h"
#include "tests/unit/suites.h"

static const char good[] =
	"kapsel: 1\n"
	"name: python\n"
	"version: \"3.11.2\"\n"
	"summary: \"a \\\"quoted\\\" one\\n\\x07\\x85 é\"\n"
	"entry: {command: [/usr/bin/python3, -E], cwd: //root/./, env: {A: \"1\", \"b c\": \"two: x\"}}\n"
	"commands: {idle: [/usr/bin/idle], x: [sh, -c, \"echo 'hi'\"]}\n"
	"contents:\n"
	"  - deb: [python3-minimal, ./local.deb]\n"
	"    suite: bookworm\n"
	"  - elf: [/usr/bin/jq]\n"
	"  - copy: {from: app/, to: /opt/app, mode: \"u=rwX,go=rX\"}\n"
	"  - tar: rootfs.tar.zst\n"
	"  - file: {path: /etc/motd, text: \"he\\0llo\\n\"}\n"
	"  - symlink: {path: /bin, to: usr/bin}\n"
	"  - exclude: [\"/usr/share/doc/**\"]\n"
	"modes: {/: full}\n"
	"config: [/etc//app/./, 'HKCU\\Software\\App']\n"
	"requests: {network: {connect: [443, 80]}, desktop: [x11, audio], devices: [/dev//dri]}\n";

START_TEST(all_that_the_format_has)
{
	struct kp_manifest *m = NULL;
	struct kp_err err = {0};

	ck_assert_msg(kp_manifest_parse(good, strlen(good), "m.yaml", &m, &err) == 0, "%s", err.text);
	ck_assert_str_eq(m->name, "python");
	ck_assert_str_eq(m->cwd, "/root");
	ck_assert_uint_eq(m->entry.count, 2);
	ck_assert_ptr_null(m->entry.items[2]);
	ck_assert_int_eq(m->entry_mark.line, 5);
	ck_assert_int_eq(m->entry_mark.column, 18);
	ck_assert_uint_eq(m->env.count, 2);
	ck_assert_str_eq(m->env.items[1].value, "two: x");
	ck_assert_uint_eq(m->command_count, 2);
	ck_assert_uint_eq(m->source_count, 7);
	ck_assert_int_eq(m->sources[0].kind, KP_SOURCE_DEB);
	ck_assert_str_eq(m->sources[0].suite, "bookworm");
	ck_assert_int_eq(m->sources[0].name_marks[1].column, 28);
	ck_assert_str_eq(m->sources[3].names.items[0], "rootfs.tar.zst");
	ck_assert_uint_eq(m->sources[4].text_len, 7);
	ck_assert_mem_eq(m->sources[4].text, "he\0llo\n", 7);
	ck_assert_str_eq(m->sources[5].target, "usr/bin");
	ck_assert_uint_eq(m->mode_count, 1);
	ck_assert(m->requests.asks_network && m->requests.net.port_count == 2);
	ck_assert_uint_eq(m->requests.desktop, KP_DESKTOP_X11 | KP_DESKTOP_AUDIO);
	ck_assert_str_eq(m->requests.devices.items[0], "/dev/dri");
	kp_manifest_free(m);
}
END_TEST

START_TEST(normalised_text_reads_back_the_same)
{
	struct kp_manifest *m = NULL, *again = NULL;
	char *text, *text2;
	struct kp_err err = {0};
	size_t len, len2;

	ck_assert_int_eq(kp_manifest_parse(good, strlen(good), "m.yaml", &m, &err), 0);
	text = kp_manifest_normalised(m, &len);
	ck_assert_msg(kp_manifest_parse(text, len, "image", &again, &err) == 0, "%s in\n%s", err.text, text);
	ck_assert_str_eq(again->summary, m->summary);
	ck_assert_str_eq(again->env.items[1].name, "b c");
	ck_assert_str_eq(again->commands[1].argv.items[2], "echo 'hi'");
	ck_assert_uint_eq(again->source_count, 0);
	ck_assert_uint_eq(again->config.count, 2);
	ck_assert_str_eq(again->config.items[0], "/etc/app");
	ck_assert_str_eq(again->config.items[1], "HKCU\\Software\\App");
	text2 = kp_manifest_normalised(again, &len2);
	ck_assert_str_eq(text, text2);
	free(text);
	free(text2);
	kp_manifest_free(m);
	kp_manifest_free(again);
}
END_TEST

#define HEAD "kapsel: 1\nname: a\n"

static const struct {
	const char *text, *error;
} bad[] = {
	{"", "m.yaml:1:1: empty: a mapping was expected"},
	{"- a\n", "m.yaml:1:1: a mapping was expected, this is a list"},
	{"kapsel: 1\n", "m.yaml:1:1: the key 'name' is missing"},
	{"name: a\n", "m.yaml:1:1: the key 'kapsel' is missing"},
	{"kapsel: 2\nname: a\n", "m.yaml:1:9: kapsel: format 2 is newer than this kapsel"},
	{"kapsel: one\nname: a\n", "m.yaml:1:9: kapsel: the format's number was expected: 1"},
	{"kapsel: \"1\"\nname: a\n", "m.yaml:1:9: kapsel: the format's number was expected: 1"},
	{"kapsel: 1\nname: A\n", "m.yaml:2:7: name: 'A' is no name: [a-z0-9][a-z0-9._-]*, at most 128 letters"},
	{"kapsel: 1\nname: ../x\n",
	 "m.yaml:2:7: name: '../x' is no name: [a-z0-9][a-z0-9._-]*, at most 128 letters"},
	{"kapsel: 1\nname:\n", "m.yaml:2:6: name: text was expected, this is nothing"},
	{"kapsel: 1\nname: [a]\n", "m.yaml:2:7: name: text was expected, this is a list"},
	{HEAD "colour: red\n", "m.yaml:3:9: colour: unknown key (known here: kapsel, name, version, summary, entry, "
			       "commands, contents, layers, modes, config, registry, requests)"},
	{HEAD "name: b\n", "m.yaml:3:1: name: stands here twice (first in line 2)"},
	{HEAD "version: a/b\n", "m.yaml:3:10: version: 'a/b' is no version: [A-Za-z0-9][A-Za-z0-9._+~:-]*, at most "
				"128 letters"},
	{HEAD "entry: {}\n", "m.yaml:3:8: entry: the key 'command' is missing"},
	{HEAD "entry: {command: []}\n",
	 "m.yaml:3:18: entry.command: a program and its arguments were expected, the list is empty"},
	{HEAD "entry: {command: /bin/sh}\n", "m.yaml:3:18: entry.command: a list was expected, this is text"},
	{HEAD "entry: {command: [a/b]}\n",
	 "m.yaml:3:18: entry.command: 'a/b' is neither an absolute path nor a bare name"},
	{HEAD "entry: {command: [sh, {a: b}]}\n",
	 "m.yaml:3:23: entry.command[1]: text was expected, this is a mapping"},
	{HEAD "entry: {command: [sh], cwd: x}\n",
	 "m.yaml:3:29: entry.cwd: 'x': an absolute path without '..' was expected"},
	{HEAD "entry: {command: [sh], env: {A=B: c}}\n",
	 "m.yaml:3:35: entry.env.A=B: 'A=B' cannot be a variable's name"},
	{HEAD "commands: {../x: [sh]}\n",
	 "m.yaml:3:18: commands.../x: '../x' is no command's name: [A-Za-z0-9][A-Za-z0-9._+-]*"},
	{HEAD "config: /etc\n", "m.yaml:3:9: config: a list was expected, this is text"},
	{HEAD "config: [etc]\n", "m.yaml:3:10: config[0]: 'etc' is no key below HKLM or HKCU"},
	{HEAD "config: [/a/../b]\n", "m.yaml:3:10: config[0]: an absolute path without '..', or a key, was expected"},
	{HEAD "contents: {}\n", "m.yaml:3:11: contents: a list was expected, this is a mapping"},
	{HEAD "contents: [x]\n", "m.yaml:3:12: contents[0]: a mapping was expected, such as 'deb: [...]'"},
	{HEAD "contents: [{}]\n", "m.yaml:3:12: contents[0]: empty: a source was expected, such as 'deb: [...]'"},
	{HEAD "contents:\n  - deb: []\n", "m.yaml:4:10: contents[0].deb: the list is empty"},
	{HEAD "contents:\n  - deb: [--yes]\n",
	 "m.yaml:4:11: contents[0].deb[0]: '--yes' is no package's name (a file's begins with ./)"},
	{HEAD "contents:\n  - deb: [perl-]\n", "m.yaml:4:11: contents[0].deb[0]: 'perl-' is no package's name"},
	{HEAD "contents:\n  - deb: [a, ./../b.deb]\n",
	 "m.yaml:4:14: contents[0].deb[1]: './../b.deb': '..' leads out of the manifest's directory"},
	{HEAD "contents:\n  - deb: [a]\n    elf: [b]\n",
	 "m.yaml:4:5: contents[0]: 'deb' and 'elf' in one element: one source a '-'"},
	{HEAD "contents:\n  - elf: [b]\n    suite: x\n", "m.yaml:4:5: contents[0]: 'suite' and 'arch' belong to 'deb'"},
	{HEAD "contents:\n  - copy: {from: ../x, to: /y}\n",
	 "m.yaml:4:18: contents[0].copy.from: '../x': '..' leads out of the manifest's directory"},
	{HEAD "contents:\n  - copy: {from: x, to: /y/../z}\n",
	 "m.yaml:4:25: contents[0].copy.to: '/y/../z': an absolute path without '..' was expected"},
	{HEAD "contents:\n  - copy: {from: x}\n", "m.yaml:4:11: contents[0].copy: the key 'to' is missing"},
	{HEAD "contents:\n  - copy: {from: x, to: /y, mode: u=z}\n",
	 "m.yaml:4:35: contents[0].copy.mode: 'u=z' is no mode: octal digits or as chmod(1) takes it"},
	{HEAD "contents:\n  - file: {path: /, text: x}\n", "m.yaml:4:18: contents[0].file.path: '/' cannot be replaced"},
	{HEAD "contents:\n  - symlink: {path: /a, to: \"\"}\n",
	 "m.yaml:4:29: contents[0].symlink.to: a link's target was expected: 1 to 4095 bytes"},
	{HEAD "contents:\n  - exclude: [a]\n",
	 "m.yaml:4:15: contents[0].exclude[0]: 'a': a pattern on absolute paths without '..' was expected"},
	{HEAD "contents:\n  - oci: x\n", "m.yaml:4:10: contents[0].oci: not supported by this version"},
	{HEAD "modes: {/: x}\n", "m.yaml:3:12: modes./: 'x' is no mode: full, writecopy or merged"},
	{HEAD "summary: \"a\\0b\"\n", "m.yaml:3:10: summary: text with a NUL byte"},
	{HEAD "---\nname: b\n", "m.yaml:4:1: a second document: there is only one manifest in a file"},
	{"kapsel: [\n", "m.yaml:2:1: did not find expected node content while parsing a flow node"},
};

START_TEST(errors_name_place_and_key)
{
	struct kp_manifest *m = NULL;
	struct kp_err err = {0};

	ck_assert_int_eq(kp_manifest_parse(bad[_i].text, strlen(bad[_i].text), "m.yaml", &m, &err), -EINVAL);
	ck_assert_str_eq(err.text, bad[_i].error);
	ck_assert_ptr_null(m);
}
END_TEST

static const struct {
	const char *expr;
	mode_t mode;
	bool dir;
	int want; /* -1: refused */
} modes[] = {
	{"0644", 0777, false, 0644}, {"4755", 0, false, 0755},        {"1777", 0, true, 01777},
	{"u=rwX,go=rX", 0600, false, 0644}, {"u=rwX,go=rX", 0700, false, 0755}, {"u=rwX,go=rX", 0, true, 0755},
	{"+x", 0644, false, 0755},   {"a-w", 0666, false, 0444},      {"g=u", 0740, false, 0770},
	{"go-rwx", 0755, false, 0700}, {"o=", 0777, false, 0770},     {"u+s", 0755, false, 0755},
	{"+t", 0755, true, 01755},   {"=r", 0777, false, 0444},       {"", 0, false, -1},
	{"u", 0, false, -1},         {"8", 0, false, -1},             {"77777", 0, false, -1},
	{"u=rw,", 0, false, -1},     {"rwx", 0, false, -1},           {"u+r-w", 0200, false, 0400},
};

START_TEST(chmod_expressions)
{
	mode_t got = 0;
	int rc = kp_mode_apply(modes[_i].expr, modes[_i].mode, modes[_i].dir, &got);

	ck_assert_int_eq(rc, modes[_i].want < 0 ? -EINVAL : 0);
	if (!rc)
		ck_assert_int_eq((int)got, modes[_i].want);
}
END_TEST

Suite *test_manifest(void)
{
	Suite *s = suite_create("manifest");
	TCase *t = tcase_create("manifest");

	tcase_add_test(t, all_that_the_format_has);
	tcase_add_test(t, normalised_text_reads_back_the_same);
	tcase_add_loop_test(t, errors_name_place_and_key, 0, KP_ARRAY_LEN(bad));
	tcase_add_loop_test(t, chmod_expressions, 0, KP_ARRAY_LEN(modes));
	suite_add_tcase(s, t);
	return s;
}
