/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of `contents`: one element a source. */
#include <ctype.h>
#include <limits.h>

#include "manifest/sources.h"

static const char *const kind_names[] = {
	[KP_SOURCE_DEB] = "deb", [KP_SOURCE_ELF] = "elf", [KP_SOURCE_COPY] = "copy",
	[KP_SOURCE_TAR] = "tar", [KP_SOURCE_FILE] = "file", [KP_SOURCE_SYMLINK] = "symlink",
	[KP_SOURCE_EXCLUDE] = "exclude",
};

const char *kp_source_name(enum kp_source_kind kind)
{
	return (size_t)kind < KP_ARRAY_LEN(kind_names) ? kind_names[kind] : "?";
}

int kp_read_path(struct kp_yaml *y, const struct kp_at *at, char **ret_path)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (rc)
		return rc;
	free(*ret_path);
	*ret_path = NULL;
	rc = kp_path_normalise(text, ret_path);
	if (rc == -ENAMETOOLONG)
		return kp_yaml_fail(y, at, "the path is too long");
	if (rc)
		return kp_yaml_fail(y, at, "'%s': an absolute path without '..' was expected", text);
	return 0;
}

static bool has_dotdot(const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !strncmp(path, "..", 2))
			return true;
		path += len + (path[len] == '/');
	}
	return false;
}

/* A file of the host: absolute, or below the manifest's directory. */
static int check_host_path(struct kp_yaml *y, const struct kp_at *at, const char *path)
{
	if (!*path)
		return kp_yaml_fail(y, at, "a file's name was expected, this is empty");
	if (has_dotdot(path))
		return kp_yaml_fail(y, at, "'%s': '..' leads out of the manifest's directory", path);
	return strlen(path) >= PATH_MAX ? kp_yaml_fail(y, at, "the path is too long") : 0;
}

static int read_host_path(struct kp_yaml *y, const struct kp_at *at, char **ret_path)
{
	int rc = kp_yaml_text(y, at, ret_path, NULL);

	return rc ? rc : check_host_path(y, at, *ret_path);
}

static int read_chmod(struct kp_yaml *y, const struct kp_at *at, char **ret_text)
{
	int rc = kp_yaml_text(y, at, ret_text, NULL);
	mode_t mode;

	if (!rc && kp_mode_apply(*ret_text, 0644, false, &mode) < 0)
		rc = kp_yaml_fail(y, at, "'%s' is no mode: octal digits or as chmod(1) takes it", *ret_text);
	return rc;
}

/* Package names, their version or suite (`name=version`, `name/suite`), or files. */
static int check_package(struct kp_yaml *y, const struct kp_at *at, const char *name)
{
	if (name[0] == '.' || name[0] == '/')
		return check_host_path(y, at, name);
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !(p > name && strchr("+-.:=~/", *p)))
			return kp_yaml_fail(y, at, "'%s' is no package's name (a file's begins with ./)", name);
	/* apt-get takes a trailing + or - as an order to install or to remove. */
	if (!*name || strlen(name) > 256 || name[strlen(name) - 1] == '-')
		return kp_yaml_fail(y, at, "'%s' is no package's name", name);
	return 0;
}

static int check_names(struct kp_yaml *y, const struct kp_at *at, struct kp_source *s)
{
	int rc = s->names.count ? 0 : kp_yaml_fail(y, at, "the list is empty");

	for (size_t i = 0; !rc && i < s->names.count; i++) {
		yaml_node_item_t id = at->node->data.sequence.items.start[i];
		struct kp_at item = {at, NULL, (int)i, yaml_document_get_node(&y->doc, id)};
		char *name = s->names.items[i];

		if (s->kind == KP_SOURCE_DEB)
			rc = check_package(y, &item, name);
		else if (s->kind == KP_SOURCE_ELF)
			rc = check_host_path(y, &item, name);
		else if (name[0] != '/' || has_dotdot(name) || !name[1] || strlen(name) >= PATH_MAX)
			rc = kp_yaml_fail(y, &item, "'%s': a pattern on absolute paths without '..' was expected", name);
	}
	return rc;
}

static int read_names(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_source *s = ctx;
	int rc = kp_yaml_texts(y, at, &s->names, &s->name_marks);

	return rc ? rc : check_names(y, at, s);
}

static int read_tar(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_source *s = ctx;
	char *name = NULL;
	int rc = read_host_path(y, at, &name);

	if (!name)
		return rc;
	s->names.items = kp_calloc(2, sizeof(char *));
	s->names.items[0] = name;
	s->names.count = 1;
	s->name_marks = kp_calloc(1, sizeof(*s->name_marks));
	s->name_marks[0] = kp_yaml_mark(at);
	return rc;
}

static int read_from(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_host_path(y, at, &((struct kp_source *)ctx)->from);
}

static int read_to(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return kp_read_path(y, at, &((struct kp_source *)ctx)->to);
}

static int read_copy_mode(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_chmod(y, at, &((struct kp_source *)ctx)->mode);
}

static int read_guest_path(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_source *s = ctx;
	int rc = kp_read_path(y, at, &s->path);

	return rc || s->path[1] ? rc : kp_yaml_fail(y, at, "'/' cannot be replaced");
}

static int read_file_mode(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_chmod(y, at, &((struct kp_source *)ctx)->file_mode);
}

static int read_text(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_source *s = ctx;

	return kp_yaml_text(y, at, &s->text, &s->text_len);
}

static int read_target(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_source *s = ctx;
	int rc = kp_yaml_text(y, at, &s->target, NULL);

	if (!rc && (!*s->target || strlen(s->target) >= PATH_MAX))
		rc = kp_yaml_fail(y, at, "a link's target was expected: 1 to %d bytes", PATH_MAX - 1);
	return rc;
}

static int read_copy(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"from", read_from, true},
		{"to", read_to, true},
		{"mode", read_copy_mode, false},
		{NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, ctx);
}

static int read_file(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"path", read_guest_path, true},
		{"text", read_text, true},
		{"mode", read_file_mode, false},
		{NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, ctx);
}

static int read_symlink(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"path", read_guest_path, true},
		{"to", read_target, true},
		{NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, ctx);
}

static int read_word(struct kp_yaml *y, const struct kp_at *at, char **ret)
{
	int rc = kp_yaml_text(y, at, ret, NULL);

	if (!rc && (!**ret || strspn(*ret, "abcdefghijklmnopqrstuvwxyz0123456789-_./") != strlen(*ret)))
		rc = kp_yaml_fail(y, at, "'%s' is no name", *ret);
	return rc;
}

static int read_suite(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_word(y, at, &((struct kp_source *)ctx)->suite);
}

static int read_arch(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	return read_word(y, at, &((struct kp_source *)ctx)->arch);
}

static int refuse(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	(void)ctx;
	return kp_yaml_fail(y, at, "not supported by this version");
}

static const struct {
	struct kp_yaml_key key;
	int kind; /* -1: an option of the source beside it */
} source_keys[] = {
	{{"deb", read_names, false}, KP_SOURCE_DEB},       {{"elf", read_names, false}, KP_SOURCE_ELF},
	{{"copy", read_copy, false}, KP_SOURCE_COPY},      {{"tar", read_tar, false}, KP_SOURCE_TAR},
	{{"oci", refuse, false}, -1},                      {{"file", read_file, false}, KP_SOURCE_FILE},
	{{"symlink", read_symlink, false}, KP_SOURCE_SYMLINK}, {{"exclude", read_names, false}, KP_SOURCE_EXCLUDE},
	{{"suite", read_suite, false}, -1},                {{"arch", read_arch, false}, -1},
};

/* Which source an element is; the one key decides, `suite` and `arch` may stand beside `deb`. */
static int find_kind(struct kp_yaml *y, const struct kp_at *at, struct kp_source *s)
{
	bool options = false;
	int kind = -1;

	if (at->node->type != YAML_MAPPING_NODE)
		return kp_yaml_fail(y, at, "a mapping was expected, such as 'deb: [...]'");
	for (yaml_node_pair_t *p = at->node->data.mapping.pairs.start; p < at->node->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(&y->doc, p->key);

		for (size_t i = 0; k->type == YAML_SCALAR_NODE && i < KP_ARRAY_LEN(source_keys); i++) {
			if (strcmp((const char *)k->data.scalar.value, source_keys[i].key.name) != 0)
				continue;
			if (source_keys[i].kind >= 0 && kind >= 0 && source_keys[i].kind != kind)
				return kp_yaml_fail(y, at, "'%s' and '%s' in one element: one source a '-'",
						    kp_source_name((enum kp_source_kind)kind),
						    source_keys[i].key.name);
			if (source_keys[i].kind >= 0)
				kind = source_keys[i].kind;
			options |= !strcmp(source_keys[i].key.name, "suite") ||
				   !strcmp(source_keys[i].key.name, "arch");
		}
	}
	if (options && kind != KP_SOURCE_DEB)
		return kp_yaml_fail(y, at, "'suite' and 'arch' belong to 'deb'");
	s->kind = kind < 0 ? KP_SOURCE_DEB : (enum kp_source_kind)kind;
	return 0;
}

int kp_read_source(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_yaml_key keys[KP_ARRAY_LEN(source_keys) + 1] = {0};
	struct kp_manifest *m = ctx;
	struct kp_source *s;
	int rc;

	m->sources = kp_realloc(m->sources, (m->source_count + 1) * sizeof(*m->sources));
	s = &m->sources[m->source_count++];
	*s = (struct kp_source){.mark = kp_yaml_mark(at)};
	rc = find_kind(y, at, s);
	if (rc)
		return rc;
	for (size_t i = 0; i < KP_ARRAY_LEN(source_keys); i++)
		keys[i] = source_keys[i].key;
	rc = kp_yaml_table(y, at, keys, s);
	if (!rc && !s->names.count && !s->from && !s->path)
		rc = kp_yaml_fail(y, at, "empty: a source was expected, such as 'deb: [...]'");
	return rc;
}
