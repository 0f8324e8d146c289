/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes instances/NAME/config.yaml. */
#include <fcntl.h>
#include <yaml.h>

#include "instance/config.h"

#define CONFIG_MAX 65536

/* Length of the valid UTF-8 sequence at s, or 0. */
static size_t utf8_len(const unsigned char *s)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
		     : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

void kp_buf_quoted(struct kp_buf *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	kp_buf_puts(out, "\"");
	while (*s) {
		size_t len = utf8_len(s);

		if (!len) {
			kp_buf_puts(out, "\\ufffd");
			len = 1;
		} else if (*s < 0x20 || *s == 0x7f || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0)) {
			kp_buf_printf(out, "\\u%04x", len == 2 ? s[1] : s[0]);
		} else if (*s == '"' || *s == '\\') {
			kp_buf_printf(out, "\\%c", *s);
		} else {
			kp_buf_add(out, s, len);
		}
		s += len;
	}
	kp_buf_puts(out, "\"");
}

static const yaml_node_t *value_of(yaml_document_t *doc, const yaml_node_t *root, const char *key)
{
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(doc, p->key);
		const yaml_node_t *v = yaml_document_get_node(doc, p->value);

		if (k->type != YAML_SCALAR_NODE || strcmp((char *)k->data.scalar.value, key))
			continue;
		return v;
	}
	return NULL;
}

static const char *text_of(const yaml_node_t *v)
{
	return v && v->type == YAML_SCALAR_NODE ? (char *)v->data.scalar.value : NULL;
}

/* The scalar of a key in the top mapping; NULL when absent. */
static const char *scalar(yaml_document_t *doc, const yaml_node_t *root, const char *key)
{
	return text_of(value_of(doc, root, key));
}

/* "DIGEST, DIGEST", allocated; NULL when absent or not digests. */
static char *digests_of(yaml_document_t *doc, const yaml_node_t *root)
{
	const yaml_node_t *v = value_of(doc, root, "digests");
	struct kp_buf all = {0};

	if (!v || v->type != YAML_SEQUENCE_NODE)
		return NULL;
	for (yaml_node_item_t *i = v->data.sequence.items.start; i < v->data.sequence.items.top; i++) {
		const char *one = text_of(yaml_document_get_node(doc, *i));

		if (!one || strlen(one) != 2 * KP_DIGEST_LEN) {
			kp_buf_free(&all);
			return NULL;
		}
		kp_buf_printf(&all, "%s%s", all.len ? ", " : "", one);
	}
	return all.data;
}

static void words_of(yaml_document_t *doc, const yaml_node_t *root, const char *key, struct kp_strings *ret)
{
	const yaml_node_t *v = value_of(doc, root, key);

	kp_strings_free(ret);
	if (!v || v->type != YAML_SEQUENCE_NODE)
		return;
	for (yaml_node_item_t *i = v->data.sequence.items.start; i < v->data.sequence.items.top; i++) {
		const char *one = text_of(yaml_document_get_node(doc, *i));

		if (one)
			kp_strings_add(ret, one);
	}
}

static int fill(struct kp_instance *i, yaml_document_t *doc, const char *path, struct kp_err *err)
{
	const yaml_node_t *root = yaml_document_get_root_node(doc);
	const char *format, *image, *created;
	char *digests;

	if (!root || root->type != YAML_MAPPING_NODE)
		return kp_fail(err, EINVAL, "%s: damaged: not a mapping", path);
	format = scalar(doc, root, "kapsel-instance");
	if (format && atol(format) > KP_INSTANCE_FORMAT) {
		(void)kp_fail(err, EPROTO, "%s: format %.20s: newer than this kapsel", i->name, format);
		return kp_hint(err, "use the newer kapsel that made it");
	}
	image = scalar(doc, root, "image");
	created = scalar(doc, root, "created");
	digests = digests_of(doc, root);
	if (!format || atol(format) < 1 || !image || !digests) {
		free(digests);
		(void)kp_fail(err, EINVAL, "%s: damaged: keys missing", path);
		return kp_hint(err, "kapsel rm %s removes the instance", i->name);
	}
	free(i->image);
	free(i->digest);
	i->image = kp_strdup(image);
	i->digest = digests;
	i->created = created ? atoll(created) : 0;
	words_of(doc, root, "modes", &i->modes);
	words_of(doc, root, "layers", &i->layers);
	return 0;
}

int kp_instance_config_read(struct kp_instance *i, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/config.yaml", i->dir), *text = NULL;
	yaml_parser_t parser;
	yaml_document_t doc;
	size_t len;
	int r = kp_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len);

	if (r == -ENOENT)
		return r;
	if (r < 0)
		return kp_fail_errno(err, -r, "%s: cannot be read", path);
	if (!yaml_parser_initialize(&parser))
		return kp_fail(err, ENOMEM, "%s: no memory", path);
	yaml_parser_set_input_string(&parser, (unsigned char *)text, len);
	if (yaml_parser_load(&parser, &doc)) {
		r = fill(i, &doc, path, err);
		yaml_document_delete(&doc);
	} else {
		(void)kp_fail(err, EINVAL, "%s: damaged: not YAML", path);
		r = kp_hint(err, "kapsel rm %s removes the instance", i->name);
	}
	yaml_parser_delete(&parser);
	return r;
}

static void put_words(struct kp_buf *text, const char *key, const struct kp_strings *w)
{
	if (!w->count)
		return;
	kp_buf_printf(text, "%s: [", key);
	for (size_t i = 0; i < w->count; i++) {
		kp_buf_puts(text, i ? ", " : "");
		kp_buf_quoted(text, w->items[i]);
	}
	kp_buf_puts(text, "]\n");
}

static bool same_words(const struct kp_strings *a, const struct kp_strings *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return a->count == b->count;
}

int kp_instance_note_run(struct kp_instance *i, const char *host_image, const struct kp_strings *modes, const struct kp_strings *layers,
			 struct kp_err *err)
{
	if (same_words(&i->modes, modes) && same_words(&i->layers, layers) && !strcmp(i->image, host_image))
		return 0;
	free(i->image);
	i->image = kp_strdup(host_image);
	kp_strings_free(&i->modes);
	kp_strings_free(&i->layers);
	for (size_t k = 0; k < modes->count; k++)
		kp_strings_add(&i->modes, modes->items[k]);
	for (size_t k = 0; k < layers->count; k++)
		kp_strings_add(&i->layers, layers->items[k]);
	return kp_instance_config_write(i, err);
}

int kp_instance_config_write(const struct kp_instance *i, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/config.yaml", i->dir);
	struct kp_buf kp_autobuf text = {0};
	int r;

	kp_buf_printf(&text, "kapsel-instance: %d\nimage: ", KP_INSTANCE_FORMAT);
	kp_buf_quoted(&text, i->image);
	kp_buf_printf(&text, "\ndigests: [%s]\ncreated: %lld\n", i->digest, i->created);
	put_words(&text, "modes", &i->modes);
	put_words(&text, "layers", &i->layers);
	r = i->throw_away ? kp_write_file_passing(AT_FDCWD, path, text.data, text.len, 0600)
			  : kp_write_file_atomic(AT_FDCWD, path, text.data, text.len, 0600);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be written", path) : 0;
}
