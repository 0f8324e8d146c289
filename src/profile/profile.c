/* SPDX-License-Identifier: Apache-2.0 */
/* The profile's schema: one table a mapping, one reader a value. */
#include "manifest/registry.h"
#include "manifest/requests.h"
#include "profile/internal.h"

struct reading {
	struct kp_profile *p;
	const struct kp_profile_places *places;
	bool included; /* by another: may not include */
};

static struct kp_profile *profile(void *ctx)
{
	return ((struct reading *)ctx)->p;
}

static int read_bool(struct kp_yaml *y, const struct kp_at *at, bool *ret)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		rc = kp_yaml_fail(y, at, "'%s' is neither true nor false", text);
	if (!rc)
		*ret = !strcmp(text, "true");
	return rc;
}

static int read_format(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	(void)ctx;
	if (!rc && strcmp(text, "1") != 0) {
		(void)kp_yaml_fail(y, at, "'%s' is no format of profiles that this kapsel reads", text);
		rc = kp_hint(y->err, "this kapsel reads format 1");
	}
	return rc;
}

static int read_summary(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_text(y, at, &profile(ctx)->summary, NULL);
}

static int read_level(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && strcmp(text, "portable") != 0 && strcmp(text, "strict") != 0)
		rc = kp_yaml_fail(y, at, "'%s' is no level: portable or strict", text);
	if (!rc)
		profile(ctx)->level = !strcmp(text, "strict") ? KP_LEVEL_STRICT : KP_LEVEL_PORTABLE;
	return rc;
}

/* --- modes --- */

static int read_rule_mode(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && kp_mode_by_name(text, &((struct kp_profile_rule *)ctx)->mode) < 0)
		rc = kp_yaml_fail(y, at, "'%s' is no mode: full, writecopy or merged", text);
	return rc;
}

static int read_rule_force(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_bool(y, at, &((struct kp_profile_rule *)ctx)->force);
}

static int read_rule_required(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_bool(y, at, &((struct kp_profile_rule *)ctx)->required);
}

/* $NAME[/REST] or /REST, without "." and the like; *ret_dots: "/.*" is cut off. */
static int read_rule_path(struct kp_yaml *y, const struct kp_at *at, char **ret_path, bool *ret_dots)
{
	static const char *const variables[] = {"$HOME", "$CWD", "$XDG_RUNTIME_DIR"};
	kp_autofree char *rest = NULL, *text = kp_strdup(at->key);
	size_t len = strlen(text), head = 0;

	*ret_dots = len >= 3 && !strcmp(text + len - 3, "/.*");
	if (*ret_dots)
		text[len - 3] = '\0';
	for (size_t i = 0; i < KP_ARRAY_LEN(variables); i++)
		if (kp_path_below(text, variables[i]))
			head = strlen(variables[i]);
	if (text[0] == '$' && !head)
		return kp_yaml_fail(y, at, "a path begins with /, $HOME, $CWD or $XDG_RUNTIME_DIR");
	if (kp_path_normalise(text[head] ? text + head : "/", &rest) < 0)
		return kp_yaml_fail(y, at, "an absolute path without '..' was expected");
	if (strchr(rest, '$') || strchr(rest, '*'))
		return kp_yaml_fail(y, at, "$ stands only at the beginning, and * only in a last '.*'");
	*ret_path = kp_asprintf("%.*s%s", (int)head, text, head && !rest[1] ? "" : rest);
	return 0;
}

static int read_rule(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"mode", read_rule_mode, true},
		{"force", read_rule_force, false},
		{"required", read_rule_required, false},
		{NULL, NULL, false},
	};
	struct kp_profile *p = ctx;
	struct kp_profile_rule rule = {.mark = kp_yaml_mark(at)};
	int rc = at->node->type == YAML_MAPPING_NODE ? kp_yaml_table(y, at, keys, &rule) : read_rule_mode(y, at, &rule);

	if (!rc)
		rc = read_rule_path(y, at, &rule.path, &rule.dots);
	if (rc)
		return rc;
	for (size_t i = 0; i < p->rule_count; i++)
		if (!strcmp(p->rules[i].path, rule.path) && p->rules[i].dots == rule.dots) {
			free(p->rules[i].path);
			p->rules[i] = rule;
			return 0;
		}
	p->rules = kp_realloc(p->rules, (p->rule_count + 1) * sizeof(*p->rules));
	p->rules[p->rule_count++] = rule;
	return 0;
}

static int read_modes(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_rule, profile(ctx));
}

/* --- grants --- */

static int read_network(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_read_net(y, at, &profile(ctx)->net);
}

static int read_devices(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_read_devices(y, at, &profile(ctx)->devices);
}

static int read_desktop(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_read_desktop(y, at, &profile(ctx)->desktop);
}

static int read_env(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_strings *env = &profile(ctx)->env;
	size_t before = env->count;
	int rc = kp_yaml_texts(y, at, env, NULL);

	for (size_t i = before; !rc && i < env->count; i++) {
		const char *star = strchr(env->items[i], '*');

		if (!env->items[i][0] || strchr(env->items[i], '=') || (star && star[1]))
			rc = kp_yaml_fail(y, at, "'%s' is no variable's name, nor the beginning of one with a last *", env->items[i]);
	}
	return rc;
}

static int read_limit(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	struct kp_err err = {0};
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && kp_limit_parse(at->key, text, &profile(ctx)->limits, &err) < 0)
		rc = kp_yaml_fail(y, at, "%s", err.text);
	return rc;
}

static int read_limits(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_limit, ctx);
}

static int read_deny(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_strings *names = &profile(ctx)->syscalls;
	size_t before = names->count;
	int rc = kp_yaml_texts(y, at, names, NULL);

	for (size_t i = before; !rc && i < names->count; i++)
		if (!names->items[i][0] || names->items[i][strspn(names->items[i], "abcdefghijklmnopqrstuvwxyz0123456789_")])
			rc = kp_yaml_fail(y, at, "'%s' is no system call's name", names->items[i]);
	return rc;
}

static int read_syscalls(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {{"deny", read_deny, true}, {NULL, NULL, false}};

	return kp_yaml_table(y, at, keys, ctx);
}

static int read_daemons(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_bool(y, at, &profile(ctx)->daemons);
}

/* --- registry policy --- */

static int read_value(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_profile *p = ctx;

	p->registry = kp_realloc(p->registry, (p->registry_count + 1) * sizeof(*p->registry));
	p->registry[p->registry_count] = (struct kp_registry_value){0};
	return kp_read_registry_value(y, at, &p->registry[p->registry_count++]);
}

static int read_registry(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_value, profile(ctx));
}

/* --- the whole --- */

static int skip(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	(void)y, (void)at, (void)ctx;
	return 0;
}

/* What is included comes first: the rest of the file then adds to it, or says otherwise. */
static int read_include(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct reading *r = ctx;
	kp_autofree char *name = NULL;
	struct kp_err err = {0};
	int rc = kp_yaml_text(y, at, &name, NULL);

	if (rc)
		return rc;
	if (r->included)
		return kp_yaml_fail(y, at, "a profile that is included cannot include another");
	r->p = kp_profile_free(r->p);
	rc = kp_profile_read(name, r->places, true, &r->p, &err);
	if (rc < 0) {
		r->p = kp_profile_new();
		return kp_yaml_fail(y, at, "%s", err.text);
	}
	return 0;
}

#define KEYS(including, others)                                                                                        \
	{                                                                                                              \
		{"kapsel", others(read_format), false}, {"summary", others(read_summary), false},                      \
		{"include", including, false}, {"level", others(read_level), false},                                   \
		{"modes", others(read_modes), false}, {"network", others(read_network), false},                        \
		{"devices", others(read_devices), false}, {"desktop", others(read_desktop), false},                    \
		{"env", others(read_env), false}, {"limits", others(read_limits), false},                              \
		{"syscalls", others(read_syscalls), false}, {"registry", others(read_registry), false},                \
		{"daemons", others(read_daemons), false}, {NULL, NULL, false},                                         \
	}
#define SKIP(reader) skip
#define READ(reader) reader

int kp_profile_parse_as(const char *text, size_t len, const char *file, const struct kp_profile_places *places,
			bool included, struct kp_profile **ret_profile, struct kp_err *err)
{
	static const struct kp_yaml_key first[] = KEYS(read_include, SKIP), second[] = KEYS(skip, READ);
	struct reading r = {.p = kp_profile_new(), .places = places, .included = included};
	struct kp_yaml y = {.file = file, .err = err};
	struct kp_at top = {0};
	int rc = kp_yaml_load(&y, text, len);

	if (!rc) {
		top.node = yaml_document_get_root_node(&y.doc);
		rc = kp_yaml_table(&y, &top, first, &r);
		if (!rc)
			rc = kp_yaml_table(&y, &top, second, &r);
		yaml_document_delete(&y.doc);
	}
	if (rc)
		r.p = kp_profile_free(r.p);
	else
		*ret_profile = r.p;
	return rc;
}
