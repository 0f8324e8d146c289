/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a YAML tree by schema: typed getters whose errors name the file, the place and the key. */
#include "manifest/yaml.h"

/* Looking for duplicates is quadratic. */
#define MAX_KEYS 4096

static void put_path(struct kp_buf *b, const struct kp_at *at)
{
	if (!at->up)
		return;
	put_path(b, at->up);
	if (!at->key)
		kp_buf_printf(b, "[%d]", at->index);
	else
		kp_buf_printf(b, "%s%s", b->len ? "." : "", at->key);
}

struct kp_mark kp_yaml_mark(const struct kp_at *at)
{
	if (!at->node)
		return (struct kp_mark){1, 1};
	return (struct kp_mark){(int)at->node->start_mark.line + 1, (int)at->node->start_mark.column + 1};
}

int kp_yaml_fail(struct kp_yaml *y, const struct kp_at *at, const char *fmt, ...)
{
	struct kp_mark mark = kp_yaml_mark(at);
	struct kp_buf path __attribute__((cleanup(kp_buf_free))) = {0};
	char what[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	put_path(&path, at);
	return kp_fail(y->err, EINVAL, "%s:%d:%d: %s%s%s", y->file, mark.line, mark.column,
		       path.len ? path.data : "", path.len ? ": " : "", what);
}

static int parser_failed(struct kp_yaml *y, yaml_parser_t *parser)
{
	const char *what = parser->problem ? parser->problem : "not YAML";

	if (parser->error == YAML_READER_ERROR)
		return kp_fail(y->err, EINVAL, "%s:%zu:%zu: %s at byte %zu", y->file, parser->mark.line + 1,
			       parser->mark.column + 1, what, parser->problem_offset);
	return kp_fail(y->err, EINVAL, "%s:%zu:%zu: %s%s%s", y->file, parser->problem_mark.line + 1,
		       parser->problem_mark.column + 1, what, parser->context ? " " : "",
		       parser->context ? parser->context : "");
}

int kp_yaml_load(struct kp_yaml *y, const char *text, size_t len)
{
	yaml_document_t next;
	yaml_parser_t parser;
	int rc = 0;

	if (!yaml_parser_initialize(&parser))
		return kp_fail_errno(y->err, ENOMEM, "%s", y->file);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	if (!yaml_parser_load(&parser, &y->doc)) {
		rc = parser_failed(y, &parser);
		yaml_parser_delete(&parser);
		return rc;
	}
	if (!yaml_document_get_root_node(&y->doc)) {
		rc = kp_fail(y->err, EINVAL, "%s:1:1: empty: a mapping was expected", y->file);
	} else if (!yaml_parser_load(&parser, &next)) {
		rc = parser_failed(y, &parser);
	} else {
		yaml_node_t *more = yaml_document_get_root_node(&next);

		if (more)
			rc = kp_fail(y->err, EINVAL, "%s:%zu:1: a second document: there is only one manifest in a file",
				     y->file, more->start_mark.line + 1);
		yaml_document_delete(&next);
	}
	yaml_parser_delete(&parser);
	if (rc)
		yaml_document_delete(&y->doc);
	return rc;
}

static const char *type_name(yaml_node_type_t type)
{
	return type == YAML_SCALAR_NODE ? "text" : type == YAML_SEQUENCE_NODE ? "a list"
	       : type == YAML_MAPPING_NODE ? "a mapping" : "nothing";
}

static bool is_null(const yaml_node_t *n)
{
	const char *s = (const char *)n->data.scalar.value;

	return n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*s || !strcmp(s, "~") || !strcmp(s, "null"));
}

static int need(struct kp_yaml *y, const struct kp_at *at, yaml_node_type_t type)
{
	if (at->node->type != type || is_null(at->node))
		return kp_yaml_fail(y, at, "%s was expected, this is %s", type_name(type),
				    is_null(at->node) ? "nothing" : type_name(at->node->type));
	return 0;
}

/* Fills *ret with the key of a pair, checked; the error is reported at the key. */
static int pair_key(struct kp_yaml *y, const struct kp_at *at, const yaml_node_pair_t *pair, struct kp_at *ret)
{
	const yaml_node_t *k = yaml_document_get_node(&y->doc, pair->key);
	struct kp_at at_key = {at, "?", 0, k};

	if (k->type != YAML_SCALAR_NODE)
		return kp_yaml_fail(y, &at_key, "a key must be text, this is %s", type_name(k->type));
	if (k->data.scalar.length != strlen((const char *)k->data.scalar.value))
		return kp_yaml_fail(y, &at_key, "a key with a NUL byte");
	at_key.key = (const char *)k->data.scalar.value;
	for (const yaml_node_pair_t *p = at->node->data.mapping.pairs.start; p < pair; p++) {
		const yaml_node_t *o = yaml_document_get_node(&y->doc, p->key);

		if (o->type == YAML_SCALAR_NODE && !strcmp((const char *)o->data.scalar.value, at_key.key))
			return kp_yaml_fail(y, &at_key, "stands here twice (first in line %zu)",
					    o->start_mark.line + 1);
	}
	*ret = at_key;
	return 0;
}

int kp_yaml_each(struct kp_yaml *y, const struct kp_at *at, yaml_node_type_t type,
		 int (*read)(struct kp_yaml *y, const struct kp_at *at, void *ctx), void *ctx)
{
	int rc = need(y, at, type);

	if (rc)
		return rc;
	if (type == YAML_SEQUENCE_NODE) {
		yaml_node_item_t *start = at->node->data.sequence.items.start;
		yaml_node_item_t *top = at->node->data.sequence.items.top;

		for (yaml_node_item_t *i = start; !rc && i < top; i++) {
			struct kp_at item = {at, NULL, (int)(i - start), yaml_document_get_node(&y->doc, *i)};

			rc = read(y, &item, ctx);
		}
		return rc;
	}
	if (at->node->data.mapping.pairs.top - at->node->data.mapping.pairs.start > MAX_KEYS)
		return kp_yaml_fail(y, at, "more than %d keys", MAX_KEYS);
	for (yaml_node_pair_t *p = at->node->data.mapping.pairs.start; !rc && p < at->node->data.mapping.pairs.top; p++) {
		struct kp_at item;

		rc = pair_key(y, at, p, &item);
		if (rc)
			break;
		item.node = yaml_document_get_node(&y->doc, p->value);
		rc = read(y, &item, ctx);
	}
	return rc;
}

struct table {
	const struct kp_yaml_key *keys;
	void *ctx;
	uint64_t seen;
};

static int table_value(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct table *t = ctx;
	struct kp_buf known __attribute__((cleanup(kp_buf_free))) = {0};

	for (const struct kp_yaml_key *k = t->keys; k->name; k++) {
		if (!strcmp(k->name, at->key)) {
			t->seen |= 1ULL << (k - t->keys);
			return k->read(y, at, t->ctx);
		}
		kp_buf_printf(&known, "%s%s", known.len ? ", " : "", k->name);
	}
	return kp_yaml_fail(y, at, "unknown key (known here: %s)", known.data);
}

int kp_yaml_table(struct kp_yaml *y, const struct kp_at *at, const struct kp_yaml_key *keys, void *ctx)
{
	struct table t = {keys, ctx, 0};
	int rc = kp_yaml_each(y, at, YAML_MAPPING_NODE, table_value, &t);

	for (const struct kp_yaml_key *k = keys; !rc && k->name; k++)
		if (k->required && !(t.seen & 1ULL << (k - keys)))
			rc = kp_yaml_fail(y, at, "the key '%s' is missing", k->name);
	return rc;
}

int kp_yaml_text(struct kp_yaml *y, const struct kp_at *at, char **ret_text, size_t *ret_len)
{
	int rc = need(y, at, YAML_SCALAR_NODE);
	const char *s;
	size_t len;

	if (rc)
		return rc;
	s = (const char *)at->node->data.scalar.value;
	len = at->node->data.scalar.length;
	if (!ret_len && strlen(s) != len)
		return kp_yaml_fail(y, at, "text with a NUL byte");
	free(*ret_text);
	*ret_text = kp_calloc(1, len + 1);
	memcpy(*ret_text, s, len);
	if (ret_len)
		*ret_len = len;
	return 0;
}

struct texts {
	struct kp_strings *list;
	struct kp_mark **marks;
};

static int add_text(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct texts *t = ctx;
	size_t n = t->list->count;
	char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (rc)
		return rc;
	t->list->items = kp_realloc(t->list->items, (n + 2) * sizeof(char *));
	t->list->items[n] = text;
	t->list->items[n + 1] = NULL;
	t->list->count++;
	if (t->marks) {
		*t->marks = kp_realloc(*t->marks, (n + 1) * sizeof(**t->marks));
		(*t->marks)[n] = kp_yaml_mark(at);
	}
	return 0;
}

int kp_yaml_texts(struct kp_yaml *y, const struct kp_at *at, struct kp_strings *ret, struct kp_mark **ret_marks)
{
	struct texts t = {ret, ret_marks};

	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, add_text, &t);
}
