/* SPDX-License-Identifier: Apache-2.0 */
/* `registry` in manifests, and the values of profiles. */
#include "manifest/registry.h"

#include "registry/internal.h"

int kp_check_key(struct kp_yaml *y, const struct kp_at *at, const char *key)
{
	struct kp_regpath kp_autoregpath p = {0};
	int rc = kp_regpath_parse(key, &p);

	if (rc == -ENAMETOOLONG)
		return kp_yaml_fail(y, at, "the key's name is too long: %u letters a name, %u names", KP_REG_KEY_NAME, KP_REG_DEPTH);
	return rc ? kp_yaml_fail(y, at, "'%s' is no key below HKLM or HKCU", key) : 0;
}

static int read_key(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry_value *v = ctx;
	int rc = kp_yaml_text(y, at, &v->key, NULL);

	return rc ? rc : kp_check_key(y, at, v->key);
}

static int read_name(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry_value *v = ctx;
	struct kp_regname n = {0};
	int rc = kp_yaml_text(y, at, &v->name, NULL);

	if (!rc && kp_regname_value(v->name, &n) < 0)
		rc = kp_yaml_fail(y, at, "a value's name of at most %u letters was expected", KP_REG_VALUE_NAME);
	free((char *)(uintptr_t)n.fold);
	return rc;
}

static int read_type(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry_value *v = ctx;
	int rc = kp_yaml_text(y, at, &v->type, NULL);
	uint32_t type;

	return rc || !kp_reg_type_by_name(v->type, &type) ? rc : kp_yaml_fail(y, at, "'%s' is no type of value", v->type);
}

static int read_data(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry_value *v = ctx;
	char *text = NULL;
	int rc;

	v->mark = kp_yaml_mark(at);
	if (at->node->type == YAML_SEQUENCE_NODE)
		return kp_yaml_texts(y, at, &v->data, NULL);
	rc = kp_yaml_text(y, at, &text, NULL);
	if (!rc)
		kp_strings_add(&v->data, text);
	free(text);
	return rc;
}

static int parse_data(const struct kp_registry_value *v, struct kp_reg_data *d, struct kp_buf *data, const char **ret_why)
{
	int rc;

	(void)kp_reg_type_by_name(v->type, &d->type);
	rc = kp_reg_data_parse(d->type, v->data.items, v->data.count, data, ret_why);
	d->data = data->data;
	d->len = data->len;
	return rc;
}

int kp_read_registry_value(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"key", read_key, true}, {"name", read_name, false}, {"type", read_type, true}, {"data", read_data, true}, {NULL, NULL, false},
	};
	struct kp_registry_value *v = ctx;
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_data d;
	const char *why;
	int rc = kp_yaml_table(y, at, keys, v);

	if (!rc && parse_data(v, &d, &data, &why) < 0)
		rc = kp_yaml_fail(y, at, "data: %s", why);
	return rc;
}

void kp_registry_value_free(struct kp_registry_value *v)
{
	free(v->key);
	free(v->name);
	free(v->type);
	kp_strings_free(&v->data);
}

void kp_registry_value_add(const struct kp_registry_value *v, struct kp_hive_tree *tree)
{
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_data d;
	const char *why;

	if (!parse_data(v, &d, &data, &why))
		(void)kp_hive_tree_set(tree, v->key, v->name ? v->name : "", &d);
}

/* --- the manifest's --- */

static struct kp_registry *registry(void *ctx)
{
	return &((struct kp_manifest *)ctx)->registry;
}

static int read_import(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_texts(y, at, &registry(ctx)->imports, &registry(ctx)->import_marks);
}

static int read_value(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry *r = registry(ctx);

	r->values = kp_realloc(r->values, (r->value_count + 1) * sizeof(*r->values));
	r->values[r->value_count] = (struct kp_registry_value){0};
	return kp_read_registry_value(y, at, &r->values[r->value_count++]);
}

static int read_values(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_value, ctx);
}

static int read_mode(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_registry *r = registry(ctx);
	kp_autofree char *text = NULL;
	enum kp_mode mode;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && kp_mode_by_name(text, &mode) < 0)
		rc = kp_yaml_fail(y, at, "'%s' is no mode: full, writecopy or merged", text);
	if (!rc)
		rc = kp_check_key(y, at, at->key);
	if (rc)
		return rc;
	r->modes = kp_realloc(r->modes, (r->mode_count + 1) * sizeof(*r->modes));
	r->modes[r->mode_count++] = (struct kp_key_mode){kp_strdup(at->key), mode};
	return 0;
}

static int read_modes(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_MAPPING_NODE, read_mode, ctx);
}

static int read_file(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_projection *p = ctx;
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && (kp_path_normalise(text, &p->file) < 0 || !p->file[1]))
		rc = kp_yaml_fail(y, at, "'%s': a file's absolute path without '..' was expected", text);
	return rc;
}

static int read_format(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_projection *p = ctx;
	kp_autofree char *text = NULL, *names = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (rc)
		return rc;
	p->format = kp_format_by_name(text);
	if (p->format)
		return 0;
	names = kp_format_names();
	return kp_yaml_fail(y, at, "'%s' is no format: %s", text, names);
}

static int read_projected_key(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_projection *p = ctx;
	int rc = kp_yaml_text(y, at, &p->key, NULL);

	return rc ? rc : kp_check_key(y, at, p->key);
}

static int read_projection(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"file", read_file, true}, {"format", read_format, true}, {"key", read_projected_key, true}, {NULL, NULL, false},
	};
	struct kp_registry *r = registry(ctx);
	struct kp_projection *p;
	int rc;

	r->projections = kp_realloc(r->projections, (r->projection_count + 1) * sizeof(*r->projections));
	p = &r->projections[r->projection_count++];
	*p = (struct kp_projection){.mark = kp_yaml_mark(at)};
	rc = kp_yaml_table(y, at, keys, p);
	for (size_t i = 0; !rc && i + 1 < r->projection_count; i++)
		if (!strcmp(r->projections[i].file, p->file))
			rc = kp_yaml_fail(y, at, "file: %s is a projection already", p->file);
	return rc;
}

static int read_projections(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_projection, ctx);
}

int kp_read_registry(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"import", read_import, false}, {"values", read_values, false}, {"modes", read_modes, false},
		{"projections", read_projections, false}, {NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, ctx);
}

void kp_registry_free(struct kp_registry *r)
{
	kp_strings_free(&r->imports);
	free(r->import_marks);
	for (size_t i = 0; i < r->value_count; i++)
		kp_registry_value_free(&r->values[i]);
	free(r->values);
	for (size_t i = 0; i < r->mode_count; i++)
		free(r->modes[i].key);
	free(r->modes);
	for (size_t i = 0; i < r->projection_count; i++) {
		free(r->projections[i].file);
		free(r->projections[i].key);
	}
	free(r->projections);
}
