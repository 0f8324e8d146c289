/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's schema: one table a mapping, one reader a value. */
#include <ctype.h>

#include "manifest/registry.h"
#include "manifest/requests.h"
#include "manifest/sources.h"
#include "manifest/yaml.h"

static struct kp_manifest *manifest(void *ctx)
{
	return ctx;
}

static int read_format(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);
	char *end;
	long n;

	(void)ctx;
	if (rc)
		return rc;
	n = strtol(text, &end, 10);
	if (!*text || *end || n < 1 || at->node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return kp_yaml_fail(y, at, "the format's number was expected: 1");
	if (n != 1) {
		(void)kp_yaml_fail(y, at, "format %ld is newer than this kapsel", n);
		return kp_hint(y->err, "this kapsel reads format 1; use a newer one");
	}
	return 0;
}

/* A name that may become part of a file name: [first][rest]*. */
static bool good_name(const char *s, bool upper, const char *rest)
{
	size_t len = strlen(s);

	if (!len || len > 128 || !(islower((unsigned char)*s) || isdigit((unsigned char)*s) ||
				   (upper && isupper((unsigned char)*s))))
		return false;
	for (; *s; s++)
		if ((unsigned char)*s >= 0x80 ||
		    !(islower((unsigned char)*s) || isdigit((unsigned char)*s) || strchr(rest, *s) ||
		      (upper && isupper((unsigned char)*s))))
			return false;
	return true;
}

static int read_name(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	int rc = kp_yaml_text(y, at, &manifest(ctx)->name, NULL);

	if (!rc && !good_name(manifest(ctx)->name, false, "._-"))
		rc = kp_yaml_fail(y, at, "'%s' is no name: [a-z0-9][a-z0-9._-]*, at most 128 letters",
				  manifest(ctx)->name);
	return rc;
}

static int read_version(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	int rc = kp_yaml_text(y, at, &manifest(ctx)->version, NULL);

	if (!rc && !good_name(manifest(ctx)->version, true, "._+~:-"))
		rc = kp_yaml_fail(y, at, "'%s' is no version: [A-Za-z0-9][A-Za-z0-9._+~:-]*, at most 128 letters",
				  manifest(ctx)->version);
	return rc;
}

static int read_summary(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_text(y, at, &manifest(ctx)->summary, NULL);
}

static int read_argv(struct kp_yaml *y, const struct kp_at *at, struct kp_strings *ret)
{
	int rc = kp_yaml_texts(y, at, ret, NULL);

	if (!rc && (!ret->count || !ret->items[0][0]))
		rc = kp_yaml_fail(y, at, "a program and its arguments were expected, the list is empty");
	if (!rc && strchr(ret->items[0], '/') && ret->items[0][0] != '/')
		rc = kp_yaml_fail(y, at, "'%s' is neither an absolute path nor a bare name", ret->items[0]);
	return rc;
}

static int read_entry_command(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	manifest(ctx)->entry_mark = kp_yaml_mark(at);
	return read_argv(y, at, &manifest(ctx)->entry);
}

static int read_cwd(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_read_path(y, at, &manifest(ctx)->cwd);
}

static int read_variable(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_pairs *env = &manifest(ctx)->env;
	char *value = NULL;
	int rc = kp_yaml_text(y, at, &value, NULL);

	if (rc)
		return rc;
	if (!*at->key || strchr(at->key, '=')) {
		free(value);
		return kp_yaml_fail(y, at, "'%s' cannot be a variable's name", at->key);
	}
	env->items = kp_realloc(env->items, (env->count + 1) * sizeof(*env->items));
	env->items[env->count++] = (struct kp_pair){kp_strdup(at->key), value};
	return 0;
}

static int read_env(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_variable, ctx);
}

static int read_entry(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"command", read_entry_command, true},
		{"cwd", read_cwd, false},
		{"env", read_env, false},
		{NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, ctx);
}

static int read_command(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_manifest *m = ctx;

	if (!good_name(at->key, true, "._+-"))
		return kp_yaml_fail(y, at, "'%s' is no command's name: [A-Za-z0-9][A-Za-z0-9._+-]*", at->key);
	m->commands = kp_realloc(m->commands, (m->command_count + 1) * sizeof(*m->commands));
	m->commands[m->command_count] = (struct kp_command){.name = kp_strdup(at->key)};
	return read_argv(y, at, &m->commands[m->command_count++].argv);
}

static int read_commands(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_command, ctx);
}

const char *const kp_mode_names[KP_MODE_COUNT] = {"full", "writecopy", "merged"};

int kp_mode_by_name(const char *name, enum kp_mode *ret_mode)
{
	for (int i = 0; i < KP_MODE_COUNT; i++)
		if (!strcmp(name, kp_mode_names[i])) {
			*ret_mode = (enum kp_mode)i;
			return 0;
		}
	return -EINVAL;
}

static int read_mode(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_manifest *m = ctx;
	kp_autofree char *text = NULL;
	char *path = NULL;
	enum kp_mode mode;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (rc)
		return rc;
	if (kp_mode_by_name(text, &mode) < 0)
		return kp_yaml_fail(y, at, "'%s' is no mode: full, writecopy or merged", text);
	if (kp_path_normalise(at->key, &path) < 0)
		return kp_yaml_fail(y, at, "an absolute path without '..' was expected");
	m->modes = kp_realloc(m->modes, (m->mode_count + 1) * sizeof(*m->modes));
	m->modes[m->mode_count++] = (struct kp_mode_rule){path, mode, kp_yaml_mark(at)};
	return 0;
}

static int read_modes(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_mode, ctx);
}

/* Names of files beside the image, or digests. */
static int read_layers(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_manifest *m = ctx;
	int rc = kp_yaml_texts(y, at, &m->layers, NULL);

	for (size_t i = 0; !rc && i < m->layers.count; i++)
		if (!m->layers.items[i][0] || strchr(m->layers.items[i], '/'))
			return kp_yaml_fail(y, at, "the name of an image beside this one was expected, without directories");
	return rc;
}

static int read_config(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL, *path = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && text[0] != '/')
		rc = kp_check_key(y, at, text);
	else if (!rc && kp_path_normalise(text, &path) < 0)
		rc = kp_yaml_fail(y, at, "an absolute path without '..', or a key, was expected");
	if (!rc)
		kp_strings_add(&manifest(ctx)->config, path ? path : text);
	return rc;
}

static int read_configs(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_config, ctx);
}

static int read_contents(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, kp_read_source, ctx);
}

static const struct kp_yaml_key top_keys[] = {
	{"kapsel", read_format, true},
	{"name", read_name, true},
	{"version", read_version, false},
	{"summary", read_summary, false},
	{"entry", read_entry, false},
	{"commands", read_commands, false},
	{"contents", read_contents, false},
	{"layers", read_layers, false},
	{"modes", read_modes, false},
	{"config", read_configs, false},
	{"registry", kp_read_registry, false},
	{"requests", kp_read_requests, false},
	{NULL, NULL, false},
};

int kp_manifest_parse(const char *text, size_t len, const char *file, struct kp_manifest **ret_manifest,
		      struct kp_err *err)
{
	struct kp_manifest *m = kp_calloc(1, sizeof(*m));
	struct kp_yaml y = {.file = file, .err = err};
	struct kp_at top = {0};
	int rc = kp_yaml_load(&y, text, len);

	if (!rc) {
		top.node = yaml_document_get_root_node(&y.doc);
		rc = kp_yaml_table(&y, &top, top_keys, m);
		yaml_document_delete(&y.doc);
	}
	if (rc) {
		kp_manifest_free(m);
		return rc;
	}
	if (!m->version)
		m->version = kp_strdup("0");
	*ret_manifest = m;
	return 0;
}

static void free_source(struct kp_source *s)
{
	kp_strings_free(&s->names);
	free(s->name_marks);
	free(s->suite);
	free(s->arch);
	free(s->from);
	free(s->to);
	free(s->mode);
	free(s->path);
	free(s->target);
	free(s->text);
	free(s->file_mode);
}

struct kp_manifest *kp_manifest_free(struct kp_manifest *m)
{
	if (!m)
		return NULL;
	free(m->name);
	free(m->version);
	free(m->summary);
	free(m->cwd);
	kp_strings_free(&m->entry);
	kp_strings_free(&m->layers);
	kp_strings_free(&m->config);
	kp_strings_free(&m->requests.devices);
	for (size_t i = 0; i < m->env.count; i++) {
		free(m->env.items[i].name);
		free(m->env.items[i].value);
	}
	free(m->env.items);
	for (size_t i = 0; i < m->command_count; i++) {
		free(m->commands[i].name);
		kp_strings_free(&m->commands[i].argv);
	}
	free(m->commands);
	for (size_t i = 0; i < m->source_count; i++)
		free_source(&m->sources[i]);
	free(m->sources);
	for (size_t i = 0; i < m->mode_count; i++)
		free(m->modes[i].path);
	free(m->modes);
	kp_registry_free(&m->registry);
	free(m);
	return NULL;
}
