/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml: the root element is the key, elements below it are keys or, where they hold nothing but text, values; attributes are values, too.
 * An element with a name, key or id is the key of that name below the key of the element's name. A strict subset of XML 1.0: UTF-8, no
 * document type with declarations of its own. Every piece of the text is kept as it is, which no library does.
 */
#include <ctype.h>

#include "projection/xml.h"

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

static bool is_name(int c, bool first)
{
	return c >= 0x80 || isalpha(c) || c == '_' || c == ':' || (!first && (isdigit(c) || c == '-' || c == '.'));
}

size_t kp_xml_name(const char *s, const char *end)
{
	size_t n = 0;

	while (s + n < end && is_name((unsigned char)s[n], !n))
		n++;
	return n;
}

static struct kp_piece blanks(struct reader *r)
{
	struct kp_piece p = {r->s, 0};

	while (r->s < r->end && *r->s && strchr(" \t\r\n", *r->s))
		r->s++;
	p.len = (size_t)(r->s - p.s);
	return p;
}

/* Characters that markup stands for. False: an entity that is not one of the five, a character that is none. */
static bool decode(const char *s, size_t len, struct kp_buf *out)
{
	static const struct {
		const char *name, *text;
	} known[] = {{"lt;", "<"}, {"gt;", ">"}, {"amp;", "&"}, {"quot;", "\""}, {"apos;", "'"}};
	const char *end = s + len;

	kp_buf_add(out, "", 0);
	while (s < end) {
		size_t i, n = strlen("&");

		if (*s != '&') {
			kp_buf_add(out, s++, 1);
			continue;
		}
		s += n;
		if (s < end && *s == '#') {
			const char *stop = memchr(s, ';', (size_t)(end - s));
			char digits[16] = "0";
			uint64_t c;

			n = stop ? (size_t)(stop - s) - 1 : 0;
			if (!n || n > 10)
				return false;
			memcpy(digits + (s[1] == 'x'), s + 1, n);
			if (!kp_parse_number(digits, n + (s[1] == 'x'), &c) || !c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
				return false;
			kp_put_utf8(out, (uint32_t)c);
			s = stop + 1;
			continue;
		}
		for (i = 0; i < KP_ARRAY_LEN(known); i++)
			if ((size_t)(end - s) >= strlen(known[i].name) && !strncmp(s, known[i].name, strlen(known[i].name)))
				break;
		if (i == KP_ARRAY_LEN(known))
			return false;
		kp_buf_puts(out, known[i].text);
		s += strlen(known[i].name);
	}
	return kp_text_valid(out->data, out->len);
}

void kp_xml_append(struct kp_xml_node *in, struct kp_xml_node *n)
{
	n->parent = in;
	n->prev = in->last;
	if (in->last)
		in->last->next = n;
	else
		in->first = n;
	in->last = n;
}

static bool read_attributes(struct reader *r, struct kp_xml_node *n)
{
	struct kp_xml_attribute **tail = &n->attributes;

	for (;;) {
		struct kp_piece before = blanks(r);
		size_t len = kp_xml_name(r->s, r->end);
		struct kp_xml_attribute *a;
		kp_autobuf struct kp_buf text = {0};
		const char *stop;

		if (!len) {
			n->close = before;
			return true;
		}
		if (!before.len)
			return fail(r, "a blank is expected");
		a = kp_arena_get(&r->doc->arena, sizeof(*a));
		a->before = before;
		a->name = (struct kp_piece){r->s, len};
		a->equals.s = r->s += len;
		blanks(r);
		if (r->s == r->end || *r->s++ != '=')
			return fail(r, "'=' is expected");
		blanks(r);
		a->equals.len = (size_t)(r->s - a->equals.s);
		stop = r->s < r->end && (*r->s == '"' || *r->s == '\'') ? memchr(r->s + 1, *r->s, (size_t)(r->end - r->s) - 1) : NULL;
		if (!stop || memchr(r->s, '<', (size_t)(stop - r->s)))
			return fail(r, "a value in quotes is expected");
		if (!decode(r->s + 1, (size_t)(stop - r->s) - 1, &text))
			return fail(r, "a character or entity that is not taken");
		a->value = (struct kp_piece){r->s, (size_t)(stop - r->s) + 1};
		r->s = stop + 1;
		for (struct kp_xml_attribute *o = n->attributes; o; o = o->next)
			if (o->name.len == len && !memcmp(o->name.s, a->name.s, len))
				return fail(r, "an attribute that is there twice");
		*tail = a;
		tail = &a->next;
	}
}

/* "<!-- -->", "<? ?>", "<![CDATA[ ]]>", "<!DOCTYPE >". */
static bool read_other(struct reader *r, struct kp_xml_node *in, bool top)
{
	static const struct {
		const char *begin, *end;
		enum kp_xml_part part;
	} kinds[] = {{"<!--", "-->", KP_XML_OTHER}, {"<?", "?>", KP_XML_OTHER}, {"<![CDATA[", "]]>", KP_XML_DATA}, {"<!DOCTYPE", ">", KP_XML_OTHER}};
	size_t rest = (size_t)(r->end - r->s);
	struct kp_xml_node *n;

	for (size_t i = 0; i < KP_ARRAY_LEN(kinds); i++) {
		size_t len = strlen(kinds[i].begin);
		const char *stop;

		if (rest < len || strncmp(r->s, kinds[i].begin, len) != 0)
			continue;
		stop = memmem(r->s + len, rest - len, kinds[i].end, strlen(kinds[i].end));
		if (!stop)
			return fail(r, "markup without an end");
		if (i >= 2 && top != (i == 3))
			return fail(r, "markup that has no place here");
		if (i == 3 && memchr(r->s, '[', (size_t)(stop - r->s)))
			return fail(r, "a document type with declarations of its own is not taken");
		n = kp_arena_get(&r->doc->arena, sizeof(*n));
		n->part = kinds[i].part;
		n->text = (struct kp_piece){r->s, (size_t)(stop - r->s) + strlen(kinds[i].end)};
		if (n->part == KP_XML_DATA && !kp_text_valid(n->text.s, n->text.len))
			return fail(r, "a text that is not UTF-8");
		kp_xml_append(in, n);
		r->s += n->text.len;
		return true;
	}
	return fail(r, "a name is expected");
}

static bool read_content(struct reader *r, struct kp_xml_node *in, unsigned depth);

static bool read_element(struct reader *r, struct kp_xml_node *in, unsigned depth)
{
	struct kp_xml_node *n = kp_arena_get(&r->doc->arena, sizeof(*n));
	size_t len;

	n->part = KP_XML_ELEMENT;
	r->s++;
	len = kp_xml_name(r->s, r->end);
	n->name = (struct kp_piece){r->s, len};
	r->s += len;
	kp_xml_append(in, n);
	if (depth > KP_XML_DEPTH)
		return fail(r, "nested too deeply");
	if (!read_attributes(r, n))
		return false;
	if (r->end - r->s >= 2 && r->s[0] == '/' && r->s[1] == '>') {
		n->empty = true;
		r->s += 2;
		return true;
	}
	if (r->s == r->end || *r->s != '>')
		return fail(r, "'>' is expected");
	r->s++;
	if (!read_content(r, n, depth))
		return false;
	n->end.s = r->s;
	if ((size_t)(r->end - r->s) < len + 3 || strncmp(r->s, "</", 2) != 0 || strncmp(r->s + 2, n->name.s, len) != 0)
		return fail(r, "the end of an element is expected");
	r->s += len + 2;
	blanks(r);
	if (r->s == r->end || *r->s != '>')
		return fail(r, "'>' is expected");
	r->s++;
	n->end.len = (size_t)(r->s - n->end.s);
	return true;
}

static bool read_content(struct reader *r, struct kp_xml_node *in, unsigned depth)
{
	bool top = !in->parent && in->part == KP_XML_OTHER, root = false;

	while (r->s < r->end) {
		const char *stop = memchr(r->s, '<', (size_t)(r->end - r->s));
		struct kp_xml_node *n;
		kp_autobuf struct kp_buf text = {0};

		if (stop != r->s) {
			n = kp_arena_get(&r->doc->arena, sizeof(*n));
			n->text = (struct kp_piece){r->s, (size_t)((stop ? stop : r->end) - r->s)};
			if (!decode(n->text.s, n->text.len, &text))
				return fail(r, "a character or entity that is not taken");
			if (top && strspn(text.data, " \t\r\n") != text.len)
				return fail(r, "text outside the root element");
			kp_xml_append(in, n);
			r->s += n->text.len;
			continue;
		}
		if (r->end - r->s >= 2 && r->s[1] == '/')
			return top ? fail(r, "the end of an element that has not begun") : true;
		if (kp_xml_name(r->s + 1, r->end)) {
			if (top && root)
				return fail(r, "a second root element");
			root = true;
			if (!read_element(r, in, depth + 1))
				return false;
		} else if (!read_other(r, in, top)) {
			return false;
		}
	}
	return top ? true : fail(r, "the end of an element is missing");
}

/* --- what it says --- */

bool kp_xml_has_elements(const struct kp_xml_node *n)
{
	for (const struct kp_xml_node *c = n->first; c; c = c->next)
		if (c->part == KP_XML_ELEMENT)
			return true;
	return false;
}

void kp_xml_text(const struct kp_xml_node *n, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (const struct kp_xml_node *c = n->first; c; c = c->next)
		if (c->part == KP_XML_TEXT)
			(void)decode(c->text.s, c->text.len, out);
		else if (c->part == KP_XML_DATA)
			kp_buf_add(out, c->text.s + 9, c->text.len - 12);
}

static bool named(struct kp_piece p, const char *text)
{
	return p.len == strlen(text) && !strncmp(p.s, text, p.len);
}

/* The attribute that tells elements of one name apart. */
struct kp_xml_attribute *kp_xml_naming(const struct kp_xml_node *n)
{
	static const char *const names[] = {"name", "key", "id"};

	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++)
		for (struct kp_xml_attribute *a = n->attributes; a; a = a->next)
			if (named(a->name, names[i]))
				return a;
	return NULL;
}

static void attribute_text(const struct kp_xml_attribute *a, struct kp_buf *out)
{
	(void)decode(a->value.s + 1, a->value.len - 2, out);
}

struct kp_item *kp_xml_note(struct kp_doc *doc, const char *path, const char *name, const struct kp_buf *text, struct kp_xml_place place)
{
	struct kp_setting e = {path, name, {KP_REG_SZ, text->len, kp_arena_text(&doc->arena, text->data, text->len)}};
	struct kp_item *item = kp_doc_add(doc, &e, place.attribute ? KP_SPELL_DOUBLE : KP_SPELL_BARE);

	if (item) {
		struct kp_xml_place *kept = kp_arena_get(&doc->arena, sizeof(*kept));

		*kept = place;
		item->ref = kept;
	}
	return item;
}

static void note_attributes(struct kp_doc *doc, struct kp_xml_node *n)
{
	const struct kp_xml_attribute *name = kp_xml_naming(n);

	for (struct kp_xml_attribute *a = n->attributes; a; a = a->next) {
		kp_autobuf struct kp_buf text = {0};

		if (a == name || (a->name.len >= 5 && !strncmp(a->name.s, "xmlns", 5)))
			continue;
		attribute_text(a, &text);
		/* Attributes and elements of one name are not one list. */
		if (!kp_doc_find(doc, n->path, kp_arena_text(&doc->arena, a->name.s, a->name.len)))
			kp_xml_note(doc, n->path, kp_arena_text(&doc->arena, a->name.s, a->name.len), &text, (struct kp_xml_place){n, a, false});
	}
}

/* The path of an element that is a key; NULL: there is no room for it, or another element is that key. */
static const char *key_path(struct kp_doc *doc, const char *above, const struct kp_xml_node *n)
{
	const struct kp_xml_attribute *name = kp_xml_naming(n);
	char *path = kp_key_join(doc, above, n->name.s, n->name.len);
	struct kp_xml_node *seen = n->prev;

	if (name) {
		kp_autobuf struct kp_buf text = {0};

		attribute_text(name, &text);
		if (!kp_key_fits(text.data, text.len))
			return NULL;
		path = kp_key_join(doc, path, text.data, text.len);
	}
	for (unsigned looked = 0; seen && looked < 2000; seen = seen->prev, looked++)
		if (seen->path && !strcasecmp(seen->path, path))
			return NULL;
	return !seen && kp_path_fits(path) ? path : NULL;
}

static void note_element(struct kp_doc *doc, struct kp_xml_node *n)
{
	kp_autobuf struct kp_buf text = {0};

	note_attributes(doc, n);
	if (!kp_xml_has_elements(n)) {
		kp_xml_text(n, &text);
		if (strspn(text.data, " \t\r\n") != text.len)
			kp_xml_note(doc, n->path, "", &text, (struct kp_xml_place){n, NULL, false});
		return;
	}
	for (struct kp_xml_node *c = n->first; c; c = c->next) {
		kp_autobuf struct kp_buf leaf = {0};
		struct kp_item *item;
		const char *name;

		if (c->part != KP_XML_ELEMENT)
			continue;
		if (c->attributes || kp_xml_has_elements(c)) {
			c->path = key_path(doc, n->path, c);
			if (c->path)
				note_element(doc, c);
			continue;
		}
		kp_xml_text(c, &leaf);
		name = kp_arena_text(&doc->arena, c->name.s, c->name.len);
		item = kp_doc_find(doc, n->path, name);
		if (!item || !((struct kp_xml_place *)item->ref)->attribute)
			kp_xml_note(doc, n->path, name, &leaf, (struct kp_xml_place){c, NULL, true});
	}
}

struct kp_xml_node *kp_xml_root(const struct kp_doc *doc)
{
	struct kp_xml_node *n = doc->tree;

	for (n = n->first; n && n->part != KP_XML_ELEMENT;)
		n = n->next;
	return n;
}

static int parse(struct kp_doc *doc, struct kp_err *err)
{
	struct reader r = {.doc = doc, .s = doc->text, .end = doc->text + doc->len};
	struct kp_xml_node *top = kp_arena_get(&doc->arena, sizeof(*top)), *root;

	top->part = KP_XML_OTHER;
	doc->tree = top;
	if (!read_content(&r, top, 0))
		return kp_fail(err, EINVAL, "line %zu: %s", kp_line_number(doc, r.s), r.why);
	root = kp_xml_root(doc);
	if (root) {
		root->path = "";
		note_element(doc, root);
	}
	return 0;
}

static void add(struct kp_buf *out, struct kp_piece p)
{
	kp_buf_add(out, p.s ? p.s : "", p.len);
}

static void print_node(const struct kp_xml_node *n, struct kp_buf *out)
{
	if (n->part != KP_XML_ELEMENT) {
		add(out, n->text);
		return;
	}
	kp_buf_puts(out, "<");
	add(out, n->name);
	for (const struct kp_xml_attribute *a = n->attributes; a; a = a->next) {
		add(out, a->before);
		add(out, a->name);
		add(out, a->equals);
		add(out, a->value);
	}
	add(out, n->close);
	kp_buf_puts(out, n->empty ? "/>" : ">");
	for (const struct kp_xml_node *c = n->first; c; c = c->next)
		print_node(c, out);
	if (!n->empty)
		add(out, n->end);
}

static void print(const struct kp_doc *doc, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (const struct kp_xml_node *c = ((struct kp_xml_node *)doc->tree)->first; c; c = c->next)
		print_node(c, out);
}

const struct kp_format kp_format_xml = {
	.name = "xml",
	.repeats = true,
	.exact_case = true,
	.parse = parse,
	.put = kp_xml_put,
	.drop = kp_xml_drop,
	.print = print,
};
