/* SPDX-License-Identifier: Apache-2.0 */
/* Sorts a verb's arguments by its option table. */
#include <ctype.h>
#include <limits.h>
#include <unistd.h>

#include "launch/args.h"

static const struct kp_option *find_long(const struct kp_verb *verb, const char *name, size_t len)
{
	for (const struct kp_option *o = verb->options; o && o->name; o++)
		if (strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

static const struct kp_option *find_letter(const struct kp_verb *verb, char letter)
{
	for (const struct kp_option *o = verb->options; o && o->name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static int add_given(struct kp_args *args, const struct kp_option *o, const char *value, struct kp_err *err)
{
	if (o->flags & KP_OPT_LATER)
		return kp_fail(err, EINVAL, "--%s: not in this version", o->name);
	if (!(o->flags & KP_OPT_REPEAT) && kp_args_has(args, o->name))
		return kp_fail(err, EINVAL, "--%s: given twice", o->name);
	args->given = kp_realloc(args->given, (args->given_count + 1) * sizeof(*args->given));
	args->given[args->given_count++] = (struct kp_given){o, value};
	return 0;
}

static int unknown(const struct kp_args *args, const char *word, struct kp_err *err)
{
	(void)kp_fail(err, EINVAL, "%s: unknown option", word);
	return kp_hint(err, "kapsel %s --help lists the options", args->verb->name);
}

/* --NAME, --NAME=VALUE, --NAME VALUE; *i moves when the value is the next word. */
static int parse_long(struct kp_args *args, int argc, char **argv, int *i, struct kp_err *err)
{
	const char *word = argv[*i], *eq = strchr(word, '='), *value = eq ? eq + 1 : NULL;
	const struct kp_option *o = find_long(args->verb, word + 2, eq ? (size_t)(eq - word - 2) : strlen(word + 2));

	if (!o)
		return unknown(args, word, err);
	if (!o->arg && value)
		return kp_fail(err, EINVAL, "--%s: takes no value", o->name);
	if (o->arg && !value && !(o->flags & KP_OPT_LATER)) {
		if (*i + 1 >= argc)
			return kp_fail(err, EINVAL, "--%s: value missing: %s", o->name, o->arg);
		value = argv[++*i];
	}
	return add_given(args, o, value, err);
}

/* The option that /v, /ve, ... stand for: it depends on what is done. NULL: none. */
static const char *slash_option(const struct kp_args *args, const char *word)
{
	static const struct {
		const char *action, *word, *option; /* action NULL: any */
	} rows[] = {
		{NULL, "/v", "value"}, {NULL, "/ve", "default"}, {NULL, "/va", "all-values"}, {NULL, "/t", "type"},
		{"query", "/s", "recursive"}, {"query", "/f", "find"}, {"query", "/d", "in-data"}, {"query", "/k", "in-keys"},
		{"add", "/d", "data"}, {"add", "/s", "separator"}, {NULL, "/f", "force"}, {NULL, "/y", "force"},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(rows) && args->operand_count; i++)
		if (!strcasecmp(word, rows[i].word) && (!rows[i].action || !strcasecmp(rows[i].action, args->operands[0])))
			return rows[i].option;
	return NULL;
}

/* Meant as an option of reg.exe, "/reg:64" being the longest; a path of so little is rather a mistake. */
static bool looks_like_slash_option(const char *word)
{
	return word[0] == '/' && ((isalpha((unsigned char)word[1]) && strlen(word) <= 3) || !strncasecmp(word, "/reg:", 5));
}

/* A word that the verb takes for an option's name, as "/v"; its value is the next word. */
static int parse_alias(struct kp_args *args, int argc, char **argv, int *i, const char *name, struct kp_err *err)
{
	const struct kp_option *o = find_long(args->verb, name, strlen(name));
	const char *value = NULL;

	if (o->arg) {
		if (*i + 1 >= argc)
			return kp_fail(err, EINVAL, "%s: value missing: %s", argv[*i], o->arg);
		value = argv[++*i];
	}
	return add_given(args, o, value, err);
}

/* -a, -ab, -oVALUE, -o VALUE */
static int parse_short(struct kp_args *args, int argc, char **argv, int *i, struct kp_err *err)
{
	const char *word = argv[*i];

	for (const char *p = word + 1; *p; p++) {
		const struct kp_option *o = find_letter(args->verb, *p);
		const char *value = NULL;
		int r;

		if (!o)
			return unknown(args, word, err);
		if (o->arg) {
			value = p[1] ? p + 1 : *i + 1 < argc ? argv[++*i] : NULL;
			if (!value)
				return kp_fail(err, EINVAL, "--%s: value missing: %s", o->name, o->arg);
		}
		r = add_given(args, o, value, err);
		if (r < 0 || o->arg)
			return r;
	}
	return 0;
}

static int check_counts(const struct kp_args *args, struct kp_err *err)
{
	const struct kp_verb *verb = args->verb;

	if (args->help)
		return 0;
	if ((int)args->operand_count < verb->min_operands) {
		(void)kp_fail(err, EINVAL, "%s: argument missing", verb->name);
		return kp_hint(err, "usage: kapsel %s %s", verb->name, verb->usage);
	}
	if (verb->max_operands >= 0 && (int)args->operand_count > verb->max_operands) {
		(void)kp_fail(err, EINVAL, "%s: unexpected argument", args->operands[verb->max_operands]);
		if (verb->flags & KP_VERB_COMMAND && args->operand_count && verb->max_operands)
			return kp_hint(err, "a program of it and its arguments follow --: kapsel %s %.150s -- %.150s", verb->name, args->operands[0],
				       args->operands[verb->max_operands]);
		return kp_hint(err, "usage: kapsel %s %s", verb->name, verb->usage);
	}
	if (args->command && !(verb->flags & KP_VERB_COMMAND))
		return kp_fail(err, EINVAL, "%s: takes no command", verb->name);
	return 0;
}

int kp_args_parse(const struct kp_verb *verb, int argc, char **argv, struct kp_args *ret_args, struct kp_err *err)
{
	struct kp_args args = {.verb = verb};
	int r = 0;

	args.operands = kp_calloc((size_t)argc + 1, sizeof(*args.operands));
	for (int i = 0; i < argc && !r; i++) {
		char *word = argv[i];
		const char *alias = verb->flags & KP_VERB_SLASH ? slash_option(&args, word) : NULL;

		if (alias) {
			r = parse_alias(&args, argc, argv, &i, alias, err);
			continue;
		}
		if (!strcmp(word, "--")) {
			/* A verb without a command takes what follows as operands, as everywhere. */
			if (verb->flags & KP_VERB_COMMAND) {
				args.command = argv + i + 1;
				args.command_count = (size_t)(argc - i - 1);
			} else {
				while (++i < argc)
					args.operands[args.operand_count++] = argv[i];
			}
			break;
		}
		if (!strcmp(word, "--help") || (verb->flags & KP_VERB_SLASH && !strcmp(word, "/?")))
			args.help = true;
		else if (word[0] == '-' && word[1] == '-')
			r = parse_long(&args, argc, argv, &i, err);
		else if (word[0] == '-' && word[1])
			r = parse_short(&args, argc, argv, &i, err);
		else if (verb->flags & KP_VERB_SLASH && looks_like_slash_option(word))
			r = unknown(&args, word, err);
		else
			args.operands[args.operand_count++] = word;
	}
	if (!r)
		r = check_counts(&args, err);
	if (r < 0) {
		kp_args_free(&args);
		return r;
	}
	*ret_args = args;
	return 0;
}

void kp_args_free(struct kp_args *args)
{
	free(args->given);
	free(args->operands);
	*args = (struct kp_args){0};
}

const char *kp_args_get(const struct kp_args *args, const char *name)
{
	for (size_t i = args->given_count; i-- > 0;)
		if (!strcmp(args->given[i].option->name, name))
			return args->given[i].value ? args->given[i].value : "";
	return NULL;
}

const char **kp_args_values(const struct kp_args *args, const char *name, size_t *ret_count)
{
	const char **values = kp_calloc(args->given_count + 1, sizeof(*values));

	*ret_count = 0;
	for (size_t i = 0; i < args->given_count; i++)
		if (!strcmp(args->given[i].option->name, name))
			values[(*ret_count)++] = args->given[i].value;
	return values;
}

char *kp_args_settled(const struct kp_args *args)
{
	struct kp_buf kp_autobuf text = {0};
	char cwd[PATH_MAX];

	if (!getcwd(cwd, sizeof(cwd)))
		cwd[0] = '\0';
	for (size_t i = 0; i < args->given_count; i++) {
		const struct kp_given *g = &args->given[i];
		bool relative = g->option->flags & KP_OPT_FILE && g->value[0] != '/';

		if (g->option->flags & KP_OPT_START)
			kp_buf_printf(&text, "--%s%s%s%s%s\n", g->option->name, g->value ? "=" : "", relative ? cwd : "",
				      relative ? "/" : "", g->value ? g->value : "");
	}
	return kp_strdup(text.data ? text.data : "");
}

bool kp_args_has(const struct kp_args *args, const char *name)
{
	return kp_args_get(args, name) != NULL;
}

int kp_args_number(const char *name, const char *text, long min, long max, long *ret_value, struct kp_err *err)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || text[0] == ' ' || value < min || value > max)
		return kp_fail(err, EINVAL, "--%s: '%s': not a number from %ld to %ld", name, text, min, max);
	*ret_value = value;
	return 0;
}
