/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: objects are keys, members values. The text is kept as a tree of its own pieces, blanks and comments among them, which no library
 * does: those give back the same values in another text. Comments as in JavaScript are let through.
 */
#include <ctype.h>

#include "projection/json.h"

struct reader {
	struct kp_doc *doc;
	const char *s, *end;
	const char *why;
};

static bool fail(struct reader *r, const char *why)
{
	if (!r->why)
		r->why = why;
	return false;
}

static bool skip(struct reader *r, struct kp_piece *ret)
{
	ret->s = r->s;
	while (r->s < r->end) {
		const char *stop = NULL;

		if (*r->s && strchr(" \t\r\n", *r->s)) {
			r->s++;
			continue;
		}
		if (*r->s != '/' || r->end - r->s < 2)
			break;
		if (r->s[1] == '/')
			stop = memchr(r->s, '\n', (size_t)(r->end - r->s));
		else if (r->s[1] == '*')
			stop = memmem(r->s + 2, (size_t)(r->end - r->s) - 2, "*/", 2);
		else
			break;
		if (r->s[1] == '*' && !stop)
			return fail(r, "a comment without an end");
		r->s = stop ? stop + (r->s[1] == '*' ? 2 : 1) : r->end;
	}
	ret->len = (size_t)(r->s - ret->s);
	return true;
}

static int hex4(const char *s)
{
	char text[8] = "0x";
	uint64_t value;

	memcpy(text + 2, s, 4);
	return kp_parse_number(text, 6, &value) ? (int)value : -1;
}

/* The string at s, with its quotes. text may be NULL. Length, or 0: none. */
static size_t read_string(const char *s, size_t len, struct kp_buf *text)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	size_t i = 1;

	kp_buf_add(text, "", 0);
	if (!len || s[0] != '"')
		return 0;
	for (; i < len && s[i] != '"'; i++) {
		const char *which;
		int unit;

		if ((unsigned char)s[i] < 0x20)
			return 0;
		if (s[i] != '\\') {
			kp_buf_add(text, s + i, 1);
			continue;
		}
		if (++i == len)
			return 0;
		if (s[i] == 'u') {
			unit = len - i > 4 ? hex4(s + i + 1) : -1;
			if (unit < 0)
				return 0;
			kp_put_utf8(text, (uint32_t)unit);
			i += 4;
			continue;
		}
		which = s[i] ? strchr(from, s[i]) : NULL;
		if (!which)
			return 0;
		kp_buf_add(text, to + (which - from), 1);
	}
	return i < len ? i + 1 : 0;
}

static size_t read_number(const char *s, size_t len)
{
	size_t i = len && s[0] == '-', from = i;

	while (i < len && isdigit((unsigned char)s[i]))
		i++;
	if (i == from || (s[from] == '0' && i > from + 1))
		return 0;
	if (i < len && s[i] == '.') {
		from = ++i;
		while (i < len && isdigit((unsigned char)s[i]))
			i++;
		if (i == from)
			return 0;
	}
	if (i < len && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		i += i < len && (s[i] == '+' || s[i] == '-');
		from = i;
		while (i < len && isdigit((unsigned char)s[i]))
			i++;
		if (i == from)
			return 0;
	}
	return i;
}

static size_t read_word(const char *s, size_t len)
{
	static const char *const words[] = {"true", "false", "null"};

	for (size_t i = 0; i < KP_ARRAY_LEN(words); i++)
		if (len >= strlen(words[i]) && !strncmp(s, words[i], strlen(words[i])))
			return strlen(words[i]);
	return 0;
}

static bool read_value(struct reader *r, struct kp_json_node *in, unsigned depth, struct kp_json_node **ret);

void kp_json_append(struct kp_json_node *object, struct kp_json_member *m)
{
	m->in = object;
	m->prev = object->last;
	if (object->last)
		object->last->next = m;
	else
		object->members = m;
	object->last = m;
}

static bool read_member(struct reader *r, struct kp_json_node *object, struct kp_piece before, unsigned depth)
{
	struct kp_json_member *m = kp_arena_get(&r->doc->arena, sizeof(*m));
	kp_autobuf struct kp_buf name = {0};
	struct kp_piece blanks;

	m->before = before;
	m->key.s = r->s;
	m->key.len = read_string(r->s, (size_t)(r->end - r->s), &name);
	if (!m->key.len)
		return fail(r, "a name is expected");
	m->name = kp_arena_text(&r->doc->arena, name.data, name.len);
	m->name_len = name.len;
	r->s += m->key.len;
	m->colon.s = r->s;
	if (!skip(r, &blanks))
		return false;
	if (r->s == r->end || *r->s != ':')
		return fail(r, "':' is expected");
	r->s++;
	if (!skip(r, &blanks))
		return false;
	m->colon.len = (size_t)(r->s - m->colon.s);
	kp_json_append(object, m);
	return read_value(r, object, depth, &m->value);
}

static bool read_object(struct reader *r, struct kp_json_node *n, unsigned depth)
{
	struct kp_piece blanks;

	n->object = true;
	r->s++;
	if (!skip(r, &blanks))
		return false;
	if (r->s < r->end && *r->s == '}') {
		n->close = blanks;
		r->s++;
		return true;
	}
	for (;;) {
		if (!read_member(r, n, blanks, depth) || !skip(r, &blanks))
			return false;
		if (r->s == r->end || (*r->s != ',' && *r->s != '}'))
			return fail(r, "',' or '}' is expected");
		if (*r->s++ == '}') {
			n->close = blanks;
			return true;
		}
		n->last->after = blanks;
		if (!skip(r, &blanks))
			return false;
	}
}

static bool read_array(struct reader *r, unsigned depth)
{
	struct kp_piece blanks;
	struct kp_json_node *element;

	r->s++;
	if (!skip(r, &blanks))
		return false;
	if (r->s < r->end && *r->s == ']') {
		r->s++;
		return true;
	}
	for (;;) {
		if (!read_value(r, NULL, depth, &element) || !skip(r, &blanks))
			return false;
		if (r->s == r->end || (*r->s != ',' && *r->s != ']'))
			return fail(r, "',' or ']' is expected");
		if (*r->s++ == ']')
			return true;
		if (!skip(r, &blanks))
			return false;
	}
}

static bool read_value(struct reader *r, struct kp_json_node *in, unsigned depth, struct kp_json_node **ret)
{
	struct kp_json_node *n = kp_arena_get(&r->doc->arena, sizeof(*n));
	kp_autobuf struct kp_buf text = {0};
	size_t rest = (size_t)(r->end - r->s), len;

	if (depth > KP_JSON_DEPTH)
		return fail(r, "nested too deeply");
	n->parent = in;
	n->text.s = r->s;
	*ret = n;
	if (rest && *r->s == '{')
		return read_object(r, n, depth + 1);
	if (rest && *r->s == '[') {
		if (!read_array(r, depth + 1))
			return false;
	} else {
		len = read_string(r->s, rest, &text);
		if (!len)
			len = read_number(r->s, rest);
		if (!len)
			len = read_word(r->s, rest);
		if (!len)
			return fail(r, "a value is expected");
		r->s += len;
	}
	n->text.len = (size_t)(r->s - n->text.s);
	return true;
}

/* An array of texts: each with a zero byte behind it. */
static bool text_list(const char *s, size_t len, struct kp_buf *out)
{
	struct reader r = {.s = s + 1, .end = s + len};
	struct kp_piece blanks;

	kp_buf_add(out, "", 0);
	if (!len || s[0] != '[' || !skip(&r, &blanks))
		return false;
	if (*r.s == ']')
		return true;
	do {
		kp_autobuf struct kp_buf text = {0};
		size_t n = skip(&r, &blanks) ? read_string(r.s, (size_t)(r.end - r.s), &text) : 0;

		if (!n || !kp_text_valid(text.data, text.len))
			return false;
		kp_buf_add(out, text.data, text.len + 1);
		r.s += n;
		if (!skip(&r, &blanks))
			return false;
	} while (*r.s++ == ',');
	return true;
}

/* What a node that is no object holds. */
void kp_json_data(struct kp_doc *doc, const struct kp_json_node *n, struct kp_item *item)
{
	kp_autobuf struct kp_buf text = {0};
	const char *s = n->text.s;
	size_t len = n->text.len;
	uint64_t number;

	item->literal = NULL;
	if (s[0] == '"') {
		item->spelling = KP_SPELL_DOUBLE;
		(void)read_string(s, len, &text);
		item->e.d = (struct kp_reg_data){KP_REG_SZ, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
		return;
	}
	if (s[0] == '[' && text_list(s, len, &text)) {
		item->spelling = KP_SPELL_LIST;
		item->e.d = (struct kp_reg_data){KP_REG_MULTI_SZ, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
		return;
	}
	item->spelling = KP_SPELL_RAW;
	if (s[0] == 'n') {
		item->e.d = (struct kp_reg_data){KP_REG_NONE, 0, ""};
		return;
	}
	item->literal = kp_arena_text(&doc->arena, s, len);
	item->literal_len = len;
	item->e.d = (struct kp_reg_data){KP_REG_SZ, len, item->literal};
	if (s[0] == 't' || s[0] == 'f') {
		item->spelling = KP_SPELL_BOOL;
		kp_number_data(doc, s[0] == 't', &item->e.d);
	} else if (kp_parse_number(s, len, &number)) {
		item->spelling = KP_SPELL_NUMBER;
		kp_number_data(doc, number, &item->e.d);
	}
}

void kp_json_note(struct kp_doc *doc, const char *path, struct kp_json_member *m)
{
	struct kp_item found = {0}, *item;

	if (memchr(m->name, '\0', m->name_len) || !m->name_len)
		return;
	kp_json_data(doc, m->value, &found);
	found.e.path = path;
	found.e.name = strcmp(m->name, "@") ? m->name : "";
	item = kp_doc_add(doc, &found.e, found.spelling);
	if (!item)
		return;
	item->literal = found.literal;
	item->literal_len = found.literal_len;
	item->ref = m;
}

/* Gives the objects their keys and notes the values; of members of one name the last counts, as it does for those who read it. */
static void note_object(struct kp_doc *doc, struct kp_json_node *object, const char *path)
{
	object->path = path;
	for (struct kp_json_member *m = object->members; m; m = m->next) {
		if (!m->value->object)
			kp_json_note(doc, path, m);
		else if (kp_key_fits(m->name, m->name_len)) {
			char *below = kp_key_join(doc, path, m->name, m->name_len);

			if (kp_path_fits(below))
				note_object(doc, m->value, below);
		}
	}
}

static int parse(struct kp_doc *doc, struct kp_err *err)
{
	struct reader r = {.doc = doc, .s = doc->text, .end = doc->text + doc->len};
	struct kp_json *t = kp_arena_get(&doc->arena, sizeof(*t));
	bool ok;

	doc->tree = t;
	ok = skip(&r, &t->before);
	if (ok && r.s == r.end)
		return 0;
	ok = ok && read_value(&r, NULL, 0, &t->root) && skip(&r, &t->after);
	if (ok && r.s != r.end)
		ok = fail(&r, "something behind the end");
	if (!ok)
		return kp_fail(err, EINVAL, "line %zu: %s", kp_line_number(doc, r.s), r.why);
	if (t->root->object)
		note_object(doc, t->root, "");
	return 0;
}

static void add(struct kp_buf *out, struct kp_piece p)
{
	kp_buf_add(out, p.s ? p.s : "", p.len);
}

static void print_node(const struct kp_json_node *n, struct kp_buf *out)
{
	if (!n->object) {
		add(out, n->text);
		return;
	}
	kp_buf_puts(out, "{");
	for (const struct kp_json_member *m = n->members; m; m = m->next) {
		add(out, m->before);
		add(out, m->key);
		add(out, m->colon);
		print_node(m->value, out);
		if (m->next) {
			add(out, m->after);
			kp_buf_puts(out, ",");
		}
	}
	add(out, n->close);
	kp_buf_puts(out, "}");
}

static void print(const struct kp_doc *doc, struct kp_buf *out)
{
	const struct kp_json *t = doc->tree;

	add(out, t->before);
	if (t->root)
		print_node(t->root, out);
	add(out, t->after);
}

bool kp_json_is_raw(const char *s, size_t len)
{
	struct reader r = {.s = s, .end = s + len};
	struct kp_doc *doc = kp_calloc(1, sizeof(*doc));
	struct kp_json_node *n;
	bool raw;

	r.doc = doc;
	raw = len && s[0] != '"' && s[0] != '{' && s[0] != 'n' && read_value(&r, NULL, 0, &n) && r.s == r.end;
	if (raw && s[0] == '[') {
		kp_autobuf struct kp_buf list = {0};

		raw = !text_list(s, len, &list);
	}
	kp_arena_free(&doc->arena);
	free(doc);
	return raw;
}

const struct kp_format kp_format_json = {
	.name = "json",
	.exact_case = true,
	.parse = parse,
	.put = kp_json_put,
	.drop = kp_json_drop,
	.print = print,
};
