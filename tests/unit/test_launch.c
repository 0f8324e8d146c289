/* SPDX-License-Identifier: Apache-2.0 */
/* Options, KAPSEL_OPTS, binds, the guest's environment. */
#include "base/base.h"
#include "launch/args.h"
#include "launch/launch.h"
#include "tests/unit/suites.h"

static const struct kp_option options[] = {
	{"all", 'a', NULL, 0, "all"},
	{"long", 'l', NULL, 0, "long"},
	{"name", 'n', "NAME", 0, "name"},
	{"many", 'm', "X", KP_OPT_REPEAT, "many"},
	{"soon", 0, "X", KP_OPT_LATER, "soon"},
	{0},
};
static const struct kp_verb verb = {.name = "v", .min_operands = 1, .max_operands = 2, .flags = KP_VERB_COMMAND,
				    .usage = "X", .help = "h", .options = options};

static const struct {
	const char *line, *want; /* want: NAME=VALUE;... | operands | command, or the error */
} parses[] = {
	{"x", "|x|"},
	{"--all x", "all=;|x|"},
	{"-a x y", "all=;|x,y|"},
	{"-la x", "long=;all=;|x|"},
	{"--name=n x", "name=n;|x|"},
	{"--name= x", "name=;|x|"},
	{"x --name n", "name=n;|x|"},
	{"-nn x", "name=n;|x|"},
	{"-an n x", "all=;name=n;|x|"},
	{"-m 1 --many 2 x", "many=1;many=2;|x|"},
	{"x -- c -a --name", "|x|c,-a,--name"},
	{"x --", "|x|"},
	{"- x", "|-,x|"},
	{"", "v: argument missing"},
	{"x y z", "z: unexpected argument"},
	{"--nope x", "--nope: unknown option"},
	{"-z x", "-z: unknown option"},
	{"-az x", "-az: unknown option"},
	{"--all=1 x", "--all: takes no value"},
	{"-a -a x", "--all: given twice"},
	{"x --name", "--name: value missing: NAME"},
	{"x -n", "--name: value missing: NAME"},
	{"--soon x", "--soon: not in this version"},
	{"--soon=1 x", "--soon: not in this version"},
};

static void describe(const struct kp_args *args, struct kp_buf *out)
{
	for (size_t i = 0; i < args->given_count; i++)
		kp_buf_printf(out, "%s=%s;", args->given[i].option->name,
			      args->given[i].value ? args->given[i].value : "");
	kp_buf_puts(out, "|");
	for (size_t i = 0; i < args->operand_count; i++)
		kp_buf_printf(out, "%s%s", i ? "," : "", args->operands[i]);
	kp_buf_puts(out, "|");
	for (size_t i = 0; i < args->command_count; i++)
		kp_buf_printf(out, "%s%s", i ? "," : "", args->command[i]);
}

START_TEST(options_parse)
{
	struct kp_buf kp_autobuf got = {0};
	struct kp_args args = {0};
	struct kp_err err = {0};
	char **words;
	size_t count;

	ck_assert_int_eq(kp_words_split(parses[_i].line, &words, &count, &err), 0);
	if (kp_args_parse(&verb, (int)count, words, &args, &err) < 0)
		kp_buf_puts(&got, err.text);
	else
		describe(&args, &got);
	ck_assert_str_eq(got.data, parses[_i].want);
	kp_args_free(&args);
	free(words);
}
END_TEST

static const struct {
	const char *text, *want; /* words between <>, NULL: an error */
} splits[] = {
	{"", ""},
	{" \t\n", ""},
	{"a b", "<a><b>"},
	{" a  b ", "<a><b>"},
	{"'a b' c", "<a b><c>"},
	{"\"a b\"c", "<a bc>"},
	{"''", "<>"},
	{"'' \"\" ''", "<><><>"},
	{"a''b", "<ab>"},
	{"a\\ b", "<a b>"},
	{"\"\\\"\\a\"", "<\"\\a>"},
	{"'\\'", "<\\>"},
	{"$HOME `x` *", "<$HOME><`x`><*>"},
	{"'", NULL},
	{"\"a", NULL},
	{"a\\", NULL},
};

START_TEST(words_split)
{
	struct kp_buf kp_autobuf got = {0};
	struct kp_err err = {0};
	char **words;
	size_t count;
	int r = kp_words_split(splits[_i].text, &words, &count, &err);

	if (!splits[_i].want) {
		ck_assert_int_eq(r, -EINVAL);
		return;
	}
	ck_assert_int_eq(r, 0);
	for (size_t i = 0; i < count; i++)
		kp_buf_printf(&got, "<%s>", words[i]);
	ck_assert_str_eq(got.len ? got.data : "", splits[_i].want);
	ck_assert_ptr_null(words[count]);
	free(words);
}
END_TEST

static const struct {
	const char *text, *host, *guest; /* host NULL: an error */
	bool read_only;
} binds[] = {
	{"/usr", "/usr", "/usr", false},
	{"/usr:/x", "/usr", "/x", false},
	{"/usr:/x//y/./z/:ro", "/usr", "/x/y/z", true},
	{"/usr:/x:rw", "/usr", "/x", false},
	{"/usr::ro", "/usr", "/usr", true},
	{"/usr/../usr/", "/usr", "/usr", false},
	{"/usr:x", NULL, NULL, false},
	{"/usr:/x/../y", NULL, NULL, false},
	{"/usr:/", NULL, NULL, false},
	{"/usr:/x:rx", NULL, NULL, false},
	{"/nonexistent-directory:/x", NULL, NULL, false},
	{"", NULL, NULL, false},
};

START_TEST(bind_parse)
{
	struct kp_bind bind = {0};
	struct kp_err err = {0};
	int r = kp_bind_parse(binds[_i].text, &bind, &err);

	if (!binds[_i].host) {
		ck_assert_int_lt(r, 0);
		ck_assert_str_ne(err.text, "");
		return;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_str_eq(bind.host, binds[_i].host);
	ck_assert_str_eq(bind.guest, binds[_i].guest);
	ck_assert_int_eq(bind.read_only, binds[_i].read_only);
	free((void *)(uintptr_t)bind.host);
	free((void *)(uintptr_t)bind.guest);
}
END_TEST

static const char *const host_env[] = {"PATH=/host", "LD_PRELOAD=x.so", "PYTHONPATH=/p", "TERM=vt100", "TZ=UTC",
				       "LANG=de_DE.UTF-8", "LC_TIME=C", "LC_ALL=de_DE", "SECRET=1", NULL};

static const struct {
	const char *text;
	uint16_t host, guest; /* 0: refused */
	bool udp;
} published[] = {
	{"8080:80", 8080, 80, false}, {"1:65535", 1, 65535, false}, {"8080:80/tcp", 8080, 80, false}, {"53:5353/udp", 53, 5353, true},
	{"80", 0, 0, false}, {"80:", 0, 0, false}, {":80", 0, 0, false}, {"0:80", 0, 0, false}, {"80:0", 0, 0, false}, {"65536:80", 0, 0, false},
	{"80:99999999999999999999", 0, 0, false}, {"80:80:80", 0, 0, false}, {"80:80/", 0, 0, false}, {"80:80/udpx", 0, 0, false},
	{" 80:80", 0, 0, false}, {"-1:80", 0, 0, false}, {"", 0, 0, false},
};

START_TEST(publish_parse)
{
	struct kp_publish p = {0};
	struct kp_err err = {0};
	int r = kp_publish_parse(published[_i].text, &p, &err);

	ck_assert_int_eq(!r, published[_i].host != 0);
	ck_assert_int_eq(!err.text[0], !r);
	ck_assert_uint_eq(p.host, published[_i].host);
	ck_assert_uint_eq(p.guest, published[_i].guest);
	ck_assert_int_eq(p.udp, published[_i].udp);
}
END_TEST

START_TEST(environment_is_made)
{
	static const char *const env[] = {"A=1", "A=2=3", "HOME=/x", "KAPSEL_INSTANCE=fake"};
	static const char *const unset[] = {"SHELL", "NOT_THERE"};
	struct kp_pair pairs[] = {{(char *)(uintptr_t)"M", (char *)(uintptr_t)"m"}};
	struct kp_manifest manifest = {.env = {pairs, 1}};
	struct kp_environ_options o = {
		.host_env = (char *const *)(uintptr_t)host_env, .manifest = &manifest, .home = "/home/u", .user = "u",
		.instance = "i", .env = env, .env_count = 4, .unset = unset, .unset_count = 2,
	};
	static const char *const absent[] = {"LD_PRELOAD", "PYTHONPATH", "SECRET", "SHELL", "LC_ALL"};
	struct kp_err err = {0};
	char **envp;

	ck_assert_int_eq(kp_environ_make(&o, &envp, &err), 0);
	ck_assert_str_ne(kp_environ_get(envp, "PATH"), "/host");
	ck_assert_str_eq(kp_environ_get(envp, "TERM"), "vt100");
	ck_assert_str_eq(kp_environ_get(envp, "LANG"), "C.UTF-8");
	ck_assert_str_eq(kp_environ_get(envp, "LC_TIME"), "C");
	ck_assert_str_eq(kp_environ_get(envp, "M"), "m");
	ck_assert_str_eq(kp_environ_get(envp, "A"), "2=3");
	ck_assert_str_eq(kp_environ_get(envp, "HOME"), "/x");
	ck_assert_str_eq(kp_environ_get(envp, "KAPSEL_INSTANCE"), "i");
	for (size_t i = 0; i < KP_ARRAY_LEN(absent); i++)
		ck_assert_ptr_null(kp_environ_get(envp, absent[i]));
	for (char **a = envp; *a; a++) /* each name once */
		for (char **b = a + 1; *b; b++)
			ck_assert(strncmp(*a, *b, strcspn(*a, "=") + 1));
	kp_environ_free(envp);
}
END_TEST

START_TEST(environment_refuses_bad_names)
{
	static const char *const bad[] = {"A", "=x", ""};
	struct kp_environ_options o = {.home = "/", .user = "u", .instance = "i", .env_count = 1};
	struct kp_err err = {0};
	char **envp;

	for (size_t i = 0; i < KP_ARRAY_LEN(bad); i++) {
		o.env = &bad[i];
		ck_assert_int_eq(kp_environ_make(&o, &envp, &err), -EINVAL);
	}
}
END_TEST

static const struct {
	const char *user;
	uid_t uid;
	const char *want;
} users[] = {
	{"USER=ann", 1000, "ann"},	 {"USER=ann", 0, "root"},     {"USER=root", 1000, "user"},
	{"USER=a:b", 1000, "user"},	 {"USER=", 1000, "user"},     {"USER=a\nroot:x:0", 1000, "user"},
	{"LOGNAME=bob", 1000, "bob"}, {"USER=-x", 1000, "user"},
};

START_TEST(user_name)
{
	const char *env[] = {users[_i].user, NULL};
	kp_autofree char *got = kp_user_name((char *const *)(uintptr_t)env, users[_i].uid);

	ck_assert_str_eq(got, users[_i].want);
}
END_TEST

Suite *test_launch(void)
{
	Suite *s = suite_create("launch");
	TCase *t = tcase_create("launch");

	tcase_add_loop_test(t, options_parse, 0, KP_ARRAY_LEN(parses));
	tcase_add_loop_test(t, words_split, 0, KP_ARRAY_LEN(splits));
	tcase_add_loop_test(t, bind_parse, 0, KP_ARRAY_LEN(binds));
	tcase_add_loop_test(t, publish_parse, 0, KP_ARRAY_LEN(published));
	tcase_add_test(t, environment_is_made);
	tcase_add_test(t, environment_refuses_bad_names);
	tcase_add_loop_test(t, user_name, 0, KP_ARRAY_LEN(users));
	suite_add_tcase(s, t);
	return s;
}
