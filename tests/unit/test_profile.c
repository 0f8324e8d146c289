/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles: the format, limits and network words, the shipped ones, and how they cap what an image asks for. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/internal.h"
#include "manifest/requests.h"
#include "profile/profile.h"
#include "tests/unit/suites.h"

static const struct kp_profile_places nowhere;

static int parse(const char *text, struct kp_profile **p, struct kp_err *err)
{
	*p = NULL;
	return kp_profile_parse(text, strlen(text), "p.yaml", &nowhere, p, err);
}

START_TEST(all_that_the_format_has)
{
	static const char text[] =
		"kapsel: 1\nsummary: s\nlevel: strict\n"
		"modes: {/: {mode: full, force: true}, $CWD: {mode: writecopy, required: true}, $HOME/.*: merged, \"$HOME//a/\": merged}\n"
		"network: {connect: [443, 80]}\ndevices: [/dev/dri]\ndesktop: [x11, audio]\nenv: [EDITOR, \"APP_*\"]\n"
		"limits: {memory: 2G, cpu-time: 30m, processes: 9}\nsyscalls: {deny: [ptrace]}\n"
		"registry: [{key: 'HKLM\\Software\\A', type: REG_MULTI_SZ, data: [a, b]}]\ndaemons: false\n";
	struct kp_profile *p;
	struct kp_err err = {0};

	ck_assert_msg(parse(text, &p, &err) == 0, "%s", err.text);
	ck_assert_int_eq(p->level, KP_LEVEL_STRICT);
	ck_assert_uint_eq(p->rule_count, 4);
	ck_assert(p->rules[0].force && p->rules[1].required && p->rules[2].dots && !p->rules[3].dots);
	ck_assert_str_eq(p->rules[2].path, "$HOME");
	ck_assert_str_eq(p->rules[3].path, "$HOME/a");
	ck_assert_int_eq(p->net.mode, KP_NETWORK_CONNECT);
	ck_assert_uint_eq(p->net.port_count, 2);
	ck_assert_uint_eq(p->desktop, KP_DESKTOP_X11 | KP_DESKTOP_AUDIO);
	ck_assert_uint_eq(p->limits.max[KP_LIMIT_MEMORY], 2ULL << 30);
	ck_assert_uint_eq(p->limits.max[KP_LIMIT_CPU_TIME], 1800);
	ck_assert_uint_eq(p->limits.max[KP_LIMIT_DISK], KP_UNLIMITED);
	ck_assert_str_eq(p->syscalls.items[0], "ptrace");
	ck_assert_uint_eq(p->registry[0].data.count, 2);
	ck_assert(!p->daemons);
	kp_profile_free(p);
}
END_TEST

static const struct {
	const char *text, *error;
} bad[] = {
	{"", "p.yaml:1:1: empty: a mapping was expected"},
	{"[a]", "p.yaml:1:1: a mapping was expected, this is a list"},
	{"levle: strict", "p.yaml:1:8: levle: unknown key (known here: kapsel, summary, include, level, modes, network, devices, "
			  "desktop, env, limits, syscalls, registry, daemons)"},
	{"kapsel: 2", "p.yaml:1:9: kapsel: '2' is no format of profiles that this kapsel reads"},
	{"level: high", "p.yaml:1:8: level: 'high' is no level: portable or strict"},
	{"level: strict\nlevel: portable", "p.yaml:2:1: level: stands here twice (first in line 1)"},
	{"modes: {/: some}", "p.yaml:1:12: modes./: 'some' is no mode: full, writecopy or merged"},
	{"modes: {$HOMES: full}", "p.yaml:1:17: modes.$HOMES: a path begins with /, $HOME, $CWD or $XDG_RUNTIME_DIR"},
	{"modes: {$HOME/../x: full}", "p.yaml:1:21: modes.$HOME/../x: an absolute path without '..' was expected"},
	{"modes: {x: full}", "p.yaml:1:12: modes.x: an absolute path without '..' was expected"},
	{"modes: {/a/*/b: full}", "p.yaml:1:17: modes./a/*/b: $ stands only at the beginning, and * only in a last '.*'"},
	{"modes: {/: {mode: full, froce: true}}", "p.yaml:1:32: modes./.froce: unknown key (known here: mode, force, required)"},
	{"modes: {/: {mode: full, force: yes}}", "p.yaml:1:32: modes./.force: 'yes' is neither true nor false"},
	{"network: some", "p.yaml:1:10: network: 'some' is not none, loopback, host, connect=PORT,... or {connect: [PORT, ...]}"},
	{"network: {connect: [0]}", "p.yaml:1:21: network.connect[0]: '0' is no port, or one of more than 64"},
	{"network: {connect: []}", "p.yaml:1:20: network.connect: no port is named"},
	{"devices: [/etc/passwd]", "p.yaml:1:10: devices: '/etc/passwd' is no path below /dev"},
	{"devices: [/dev/../etc]", "p.yaml:1:10: devices: '/dev/../etc' is no path below /dev"},
	{"desktop: [x12]", "p.yaml:1:11: desktop[0]: 'x12' is not x11, wayland, dbus or audio"},
	{"env: [\"A*B\"]", "p.yaml:1:6: env: 'A*B' is no variable's name, nor the beginning of one with a last *"},
	{"limits: {memory: lots}", "p.yaml:1:18: limits.memory: memory: 'lots': not a size such as 512M (at least 16M), or none"},
	{"limits: {colour: 1}", "p.yaml:1:18: limits.colour: 'colour': no limit: memory, processes, open-files, file-size, cpu-time or disk"},
	{"syscalls: {deny: [Read]}", "p.yaml:1:18: syscalls.deny: 'Read' is no system call's name"},
	{"registry: [{key: x, type: REG_SZ, data: y}]", "p.yaml:1:18: registry[0].key: 'x' is no key below HKLM or HKCU"},
	{"registry: [{key: 'HKLM\\a', type: REG_XX, data: y}]", "p.yaml:1:34: registry[0].type: 'REG_XX' is no type of value"},
	{"include: nothing", "p.yaml:1:10: include: profile 'nothing': there is none"},
	{"include: desktop", "p.yaml:1:10: include: desktop.yaml (built in):5:10: include: a profile that is included cannot include another"},
};

START_TEST(errors_name_the_place)
{
	struct kp_profile *p;
	struct kp_err err = {0};

	ck_assert_int_eq(parse(bad[_i].text, &p, &err), -EINVAL);
	ck_assert_ptr_null(p);
	ck_assert_str_eq(err.text, bad[_i].error);
}
END_TEST

START_TEST(include_comes_first)
{
	struct kp_profile *p;
	struct kp_err err = {0};

	ck_assert_msg(parse("network: loopback\nmodes: {/tmp: full, /data: merged}\nlimits: {memory: none}\ninclude: untrusted\n", &p, &err) == 0,
		      "%s", err.text);
	ck_assert_int_eq(p->net.mode, KP_NETWORK_LOOPBACK);
	ck_assert_int_eq(p->level, KP_LEVEL_STRICT);
	ck_assert_uint_eq(p->rule_count, 4);
	ck_assert_uint_eq(p->limits.max[KP_LIMIT_MEMORY], KP_UNLIMITED);
	ck_assert_uint_eq(p->limits.max[KP_LIMIT_PROCESSES], 512);
	kp_profile_free(p);
}
END_TEST

START_TEST(shipped_ones_are_good)
{
	size_t count = 0;

	for (const struct kp_shipped *s = kp_shipped_profiles; s->name; s++, count++) {
		struct kp_profile *p = NULL;
		struct kp_err err = {0};

		ck_assert_msg(kp_profile_load(s->name, &nowhere, &p, &err) == 0, "%s", err.text);
		ck_assert_str_eq(p->name, s->name);
		ck_assert_ptr_nonnull(p->summary);
		kp_profile_free(p);
	}
	ck_assert_uint_eq(count, 5);
}
END_TEST

static const struct {
	const char *key, *value;
	uint64_t want; /* 0: refused */
	const char *text;
} limits[] = {
	{"memory", "512M", 512ULL << 20, "512M"}, {"memory", "16777216", 16 << 20, "16M"}, {"memory", "1M", 0, NULL},
	{"memory", "none", KP_UNLIMITED, "none"}, {"memory", "", 0, NULL},	      {"memory", "-1", 0, NULL},
	{"disk", "3g", 3ULL << 30, "3G"},	  {"disk", "1.5G", 0, NULL},	      {"disk", "9999999999999T", 0, NULL},
	{"processes", "10", 10, "10"},		  {"processes", "0", 0, NULL},	      {"processes", "1K", 0, NULL},
	{"cpu-time", "90", 90, "90s"},		  {"cpu-time", "2h", 7200, "2h"},     {"cpu-time", "2M", 0, NULL},
	{"open-files", "15", 0, NULL},		  {"file-size", "5Mx", 0, NULL},      {"speed", "1", 0, NULL},
};

START_TEST(limit_words)
{
	struct kp_limits l = {{0}};
	struct kp_err err = {0};
	char text[32];
	int rc = kp_limit_parse(limits[_i].key, limits[_i].value, &l, &err);

	ck_assert_int_eq(rc, limits[_i].want ? 0 : -EINVAL);
	for (int i = 0; !rc && i < KP_LIMIT_COUNT; i++)
		if (!strcmp(kp_limit_names[i], limits[_i].key)) {
			ck_assert_uint_eq(l.max[i], limits[_i].want);
			kp_limit_text((enum kp_limit)i, l.max[i], text, sizeof(text));
		}
	if (!rc && strcmp(limits[_i].value, "2M") != 0)
		ck_assert_str_eq(text, limits[_i].text);
}
END_TEST

static const struct {
	const char *a, *b, *both; /* b NULL: a is refused */
} nets[] = {
	{"none", "host", "none"}, {"host", "loopback", "loopback"}, {"connect=80", "host", "connect=80"},
	{"connect=80,443", "connect=443,8080", "connect=443"}, {"connect=1", "connect=2", "loopback"},
	{"connect=1", "loopback", "loopback"}, {"connect", NULL, NULL}, {"connect=", NULL, NULL}, {"connect=1,", NULL, NULL},
	{"connect=65536", NULL, NULL}, {"connect=http", NULL, NULL}, {"", NULL, NULL}, {"Host", NULL, NULL},
};

START_TEST(network_words)
{
	struct kp_net a, b, both;
	char *text;

	ck_assert_int_eq(kp_net_parse(nets[_i].a, &a), nets[_i].b ? 0 : -EINVAL);
	if (!nets[_i].b)
		return;
	ck_assert_int_eq(kp_net_parse(nets[_i].b, &b), 0);
	both = kp_net_both(&a, &b);
	text = kp_net_text(&both);
	ck_assert_str_eq(text, nets[_i].both);
	free(text);
	both = kp_net_both(&b, &a);
	text = kp_net_text(&both);
	ck_assert_str_eq(text, nets[_i].both);
	free(text);
}
END_TEST

/* A profile's modes, an image's, --mode; HOME is $T/home, the current directory $T/home/w unless the test says otherwise. */
static const struct {
	const char *profile, *image, *option, *cwd;
	const char *path, *want; /* what the mode at path is; "refused" */
} caps[] = {
	{"/: full", "/srv/x: merged", NULL, NULL, "/srv/x", "merged"},
	{"/: {mode: full, force: true}", "/srv/x: merged", NULL, NULL, "/srv/x", "full"},
	{"/: {mode: full, force: true}, $CWD: writecopy", "$H/w/a: merged", NULL, NULL, "$H/w/a", "writecopy"},
	{"/: full", "/: merged", NULL, NULL, "/srv", "full"},
	{"/: writecopy", "/: merged", NULL, NULL, "/srv", "writecopy"},
	{"/: merged", "/: full", NULL, NULL, "/srv", "full"},
	{"/: full, $HOME: merged", "/: full", NULL, NULL, "$H/x", "merged"},
	{"/: full, $HOME: merged", "$H/x: full", NULL, NULL, "$H/x", "full"},
	{"/: full, $HOME: merged", "$H: writecopy", NULL, NULL, "$H/x", "writecopy"},
	{"/: full", "$H: merged", NULL, NULL, "$H/x", "writecopy"},
	{"/: full", "$H/.ssh: merged", NULL, NULL, "$H/.ssh", "writecopy"},
	{"/: full", "$H/docs: merged", NULL, NULL, "$H/docs", "merged"},
	{"$HOME: merged", "$H: merged", NULL, NULL, "$H/x", "merged"},
	{"$HOME: merged, $HOME/.*: {mode: writecopy, force: true}", "", NULL, NULL, "$H/.x", "writecopy"},
	{"$HOME: merged, $HOME/.*: {mode: writecopy, force: true}", "$H/.x: merged", NULL, NULL, "$H/.x", "writecopy"},
	{"$HOME: merged, $HOME/.*: {mode: writecopy, force: true}", "$H/.x/y: merged", NULL, NULL, "$H/.x/y", "writecopy"},
	{"$HOME: merged, $HOME/.*: {mode: full, force: true}", "$H/.x/y: writecopy", NULL, NULL, "$H/.x/y", "full"},
	{"/: {mode: full, force: true}", "", "/srv=merged", NULL, "/srv/y", "merged"},
	{"$CWD: merged", "", NULL, NULL, "$H/w/y", "merged"},
	{"$CWD: merged", "", NULL, "/", "/srv", "full"},
	{"$CWD: merged", "", NULL, "/usr", "/usr", "full"},
	{"$CWD: merged", "", NULL, "/usr/bin", "/usr/bin", "full"},
	{"$CWD: merged", "", NULL, "$H", "$H", "full"},
	{"$CWD: merged", "", NULL, "$H/..", "$H", "full"},
	{"$CWD: {mode: merged, required: true}", "", NULL, "/", "/", "refused"},
	{"$CWD: {mode: merged, required: true}", "", "/srv=full", "/", "/", "full"},
	{"$XDG_RUNTIME_DIR: merged", "", NULL, NULL, "$H/run/x", "merged"},
	{"/nowhere/at/all: merged", "", NULL, NULL, "/nowhere/at/all", "full"},
};

static char home[64];

/* $H is the home. */
static char *with_home(const char *text)
{
	struct kp_buf b = {0};

	for (; *text; text++)
		if (text[0] == '$' && text[1] == 'H' && text[2] != 'O')
			kp_buf_puts(&b, home), text++;
		else
			kp_buf_add(&b, text, 1);
	return b.data ? b.data : kp_strdup("");
}

static const char *mode_at(const struct kp_plan *plan, const char *path)
{
	const struct kp_rule *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct kp_rule *r = &plan->rules[i];
		const char *below = kp_path_below(path, r->guest);
		size_t len = strlen(r->guest) + 2 * r->dots;

		if (below && (!r->dots || (below[0] == '/' && below[1] == '.')) && (!best || len > best_len)) {
			best = r;
			best_len = len;
		}
	}
	return kp_mode_names[best ? best->mode : KP_MODE_FULL];
}

START_TEST(caps_on_modes)
{
	kp_autofree char *modes = kp_asprintf("modes: {%s}\n", caps[_i].profile), *image = NULL, *manifest = NULL, *path = NULL,
			 *cwd = NULL, *runtime = NULL;
	struct kp_plan plan = {0};
	struct kp_err err = {0};
	int rc;

	(void)snprintf(home, sizeof(home), "/tmp/kp-profile-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(home));
	image = with_home(caps[_i].image);
	manifest = kp_asprintf("kapsel: 1\nname: n\nmodes: {%s}\n", image);
	path = with_home(caps[_i].path);
	cwd = with_home(caps[_i].cwd ? caps[_i].cwd : "$H/w");
	runtime = with_home("$H/run");
	for (size_t i = 0; i < 4; i++) {
		static const char *const dirs[] = {"$H/w", "$H/run", "$H/docs", "$H/.x"};
		kp_autofree char *dir = with_home(dirs[i]);

		ck_assert_int_eq(mkdir(dir, 0700), 0);
	}
	ck_assert_int_eq(setenv("HOME", home, 1) | setenv("XDG_RUNTIME_DIR", runtime, 1) | chdir(cwd), 0);
	ck_assert_msg(parse(modes, &plan.profile, &err) == 0, "%s", err.text);
	ck_assert_msg(kp_manifest_parse(manifest, strlen(manifest), "m", &plan.manifest, &err) == 0, "%s", err.text);
	rc = kp_plan_modes(&plan, &caps[_i].option, caps[_i].option ? 1 : 0, &err);
	ck_assert_int_eq(chdir("/") | kp_remove_tree(AT_FDCWD, home), 0);
	ck_assert_int_eq(rc, strcmp(caps[_i].want, "refused") ? 0 : -EINVAL);
	if (!rc)
		ck_assert_str_eq(mode_at(&plan, path), caps[_i].want);
	kp_plan_free(&plan);
}
END_TEST

Suite *test_profile(void)
{
	Suite *s = suite_create("profile");
	TCase *t = tcase_create("format");

	tcase_add_test(t, all_that_the_format_has);
	tcase_add_loop_test(t, errors_name_the_place, 0, KP_ARRAY_LEN(bad));
	tcase_add_test(t, include_comes_first);
	tcase_add_test(t, shipped_ones_are_good);
	tcase_add_loop_test(t, limit_words, 0, KP_ARRAY_LEN(limits));
	tcase_add_loop_test(t, network_words, 0, KP_ARRAY_LEN(nets));
	suite_add_tcase(s, t);
	t = tcase_create("caps");
	tcase_add_loop_test(t, caps_on_modes, 0, KP_ARRAY_LEN(caps));
	suite_add_tcase(s, t);
	return s;
}
