/* SPDX-License-Identifier: Apache-2.0 */
/* json: writing values into a document, in the manner of those that are there. */
#include "projection/json.h"

static struct kp_piece keep(struct kp_doc *doc, const struct kp_buf *b)
{
	return (struct kp_piece){kp_arena_text(&doc->arena, b->data ? b->data : "", b->len), b->len};
}

static void write_string(struct kp_buf *out, const char *s, size_t len)
{
	static const char from[] = "\b\f\n\r\t\"\\", to[] = "bfnrt\"\\";
	size_t n;

	kp_buf_add(out, "\"", 1);
	for (size_t i = 0; i < len; i += n) {
		const char *which = s[i] ? strchr(from, s[i]) : NULL;
		uint32_t c;

		n = kp_get_utf8(s + i, &c);
		if (which)
			kp_buf_printf(out, "\\%c", to[which - from]);
		else if (c < 0x20 || c == 0x7f || (c >= 0xd800 && c < 0xe000))
			kp_buf_printf(out, "\\u%04x", c);
		else
			kp_buf_add(out, s + i, n);
	}
	kp_buf_add(out, "\"", 1);
}

static int value_text(const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	kp_autobuf struct kp_buf text = {0};
	uint64_t number;
	int rc;

	if (d->type == KP_REG_MULTI_SZ) {
		const char *s = d->data, *end = s + d->len;

		if (d->len && end[-1])
			return -EINVAL;
		kp_buf_puts(out, "[");
		for (; s < end; s += strlen(s) + 1) {
			if (!kp_text_valid(s, strlen(s)))
				return -EINVAL;
			kp_buf_puts(out, s == d->data ? "" : ", ");
			write_string(out, s, strlen(s));
		}
		kp_buf_puts(out, "]");
		return 0;
	}
	if (d->type == KP_REG_NONE && !d->len) {
		kp_buf_puts(out, "null");
		return 0;
	}
	if (kp_data_number(d, &number)) {
		if (old && old->spelling == KP_SPELL_BOOL && number < 2)
			kp_buf_puts(out, number ? "true" : "false");
		else
			kp_buf_printf(out, "%llu", (unsigned long long)number);
		return 0;
	}
	rc = kp_plain_text(&text, d, NULL, 0);
	if (rc)
		return rc;
	if (d->type == KP_REG_SZ && old && old->literal && kp_json_is_raw(text.data, text.len))
		kp_buf_add(out, text.data, text.len);
	else
		write_string(out, text.data, text.len);
	return 0;
}

/* --- new members, in the manner of those that are there --- */

/* Where a line of the object's members begins: the end of the blanks before the first that has a line of its own. */
static struct kp_piece member_blanks(struct kp_doc *doc, const struct kp_json_node *object)
{
	kp_autobuf struct kp_buf text = {0};
	const struct kp_json_member *last = object->last;
	const struct kp_json *t = doc->tree;
	const char *line;
	struct kp_piece inner = {"\n  ", 3}, outer = {"\n", 1};

	if (last) {
		line = last->before.len ? memrchr(last->before.s, '\n', last->before.len) : NULL;
		if (!line && !last->prev && last->before.len)
			return (struct kp_piece){" ", 1};
		if (!line && !last->prev && memchr(last->colon.s, ' ', last->colon.len))
			return (struct kp_piece){" ", 1};
		if (!line)
			return memchr(last->before.s ? last->before.s : "", '/', last->before.len) ? (struct kp_piece){" ", 1} : last->before;
		kp_buf_add(&text, line, (size_t)(last->before.s + last->before.len - line));
		if (memchr(text.data, '/', text.len))
			text.len = 1 + strspn(text.data + 1, " \t");
		return keep(doc, &text);
	}
	if (object == t->root)
		return inner;
	/* One step deeper than the object's own line; the root's members tell how wide a step is. */
	if (t->root->members)
		inner = member_blanks(doc, t->root);
	if (object->parent && object->parent->last)
		outer = member_blanks(doc, object->parent);
	if (inner.len && inner.s[0] == '\n') {
		kp_buf_add(&text, outer.s, outer.len);
		kp_buf_add(&text, inner.s + 1, inner.len - 1);
		return keep(doc, &text);
	}
	return outer;
}

static struct kp_json_member *new_member(struct kp_doc *doc, struct kp_json_node *object, const char *name, size_t len)
{
	struct kp_json_member *m = kp_arena_get(&doc->arena, sizeof(*m));
	kp_autobuf struct kp_buf key = {0};
	struct kp_json_node *above = object->parent;
	bool only = !object->members;

	write_string(&key, name, len);
	m->key = keep(doc, &key);
	m->before = member_blanks(doc, object);
	m->colon = object->last && !memchr(object->last->colon.s, '/', object->last->colon.len) ? object->last->colon : (struct kp_piece){": ", 2};
	m->name = kp_arena_text(&doc->arena, name, len);
	m->name_len = len;
	kp_json_append(object, m);
	if (only && m->before.len && m->before.s[0] == '\n' && !object->close.len)
		object->close = above ? member_blanks(doc, above) : (struct kp_piece){"\n", 1};
	return m;
}

static struct kp_json_member *find_member(struct kp_json_node *object, const char *name, size_t len)
{
	for (struct kp_json_member *m = object->last; m; m = m->prev)
		if (m->name_len == len && !memcmp(m->name, name, len))
			return m;
	return NULL;
}

/* The object of that name, in another case if there is none in this one; or what else has the name. */
static struct kp_json_member *find_object(struct kp_json_node *object, const char *name, size_t len)
{
	struct kp_json_member *exact = find_member(object, name, len);

	for (struct kp_json_member *m = object->last; m && !exact; m = m->prev)
		if (m->value->object && m->value->path && m->name_len == len && !strncasecmp(m->name, name, len))
			exact = m;
	return exact;
}

/* The object for a path, made as far as it is missing. NULL: a value stands in its way. */
static struct kp_json_node *reach(struct kp_doc *doc, const char *path, bool make)
{
	struct kp_json *t = doc->tree;
	struct kp_json_node *at = t->root;
	const char *end;

	for (const char *s = path; *s; s = *end ? end + 1 : end) {
		struct kp_json_member *m;

		end = s + strcspn(s, "\\");
		m = at ? find_object(at, s, (size_t)(end - s)) : NULL;
		if (m && !m->value->object)
			return NULL;
		if (!m && make) {
			m = new_member(doc, at, s, (size_t)(end - s));
			m->value = kp_arena_get(&doc->arena, sizeof(*m->value));
			m->value->object = true;
			m->value->parent = at;
			m->value->path = kp_arena_text(&doc->arena, path, (size_t)(end - path));
		}
		if (!m)
			return at ? at : t->root;
		at = m->value;
		/* Two objects of one name: only one of them is the key. */
		if (!at->path || strlen(at->path) != (size_t)(end - path) || strncasecmp(at->path, path, (size_t)(end - path)) != 0)
			return NULL;
	}
	return at;
}

int kp_json_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after)
{
	struct kp_json *t = doc->tree;
	kp_autobuf struct kp_buf text = {0};
	const char *name = e->name[0] ? e->name : "@";
	struct kp_json_node *object;
	struct kp_json_member *m;
	unsigned depth = 0;
	int rc = value_text(&e->d, old, &text);

	(void)after;
	for (const char *c = e->path; *c; c++)
		depth += *c == '\\';
	if (rc || depth > KP_JSON_DEPTH - 8 || !strcmp(e->name, "@") || (t->root && !t->root->object))
		return -EINVAL;
	if (old) {
		m = old->ref;
		m->value->text = keep(doc, &text);
		kp_json_data(doc, m->value, old);
		return 0;
	}
	if (t->root && !reach(doc, e->path, false))
		return -EINVAL;
	object = t->root ? reach(doc, e->path, false) : NULL;
	if (object && object->path && !strcasecmp(object->path, e->path) && find_member(object, name, strlen(name)))
		return -EINVAL;
	if (!t->root) {
		t->root = kp_arena_get(&doc->arena, sizeof(*t->root));
		t->root->object = true;
		t->root->path = "";
		t->after = (struct kp_piece){"\n", 1};
		if (t->before.len && t->before.s[t->before.len - 1] != '\n') {
			kp_autobuf struct kp_buf before = {0};

			kp_buf_add(&before, t->before.s, t->before.len);
			kp_buf_add(&before, "\n", 1);
			t->before = keep(doc, &before);
		}
	}
	object = reach(doc, e->path, true);
	m = new_member(doc, object, name, strlen(name));
	m->value = kp_arena_get(&doc->arena, sizeof(*m->value));
	m->value->parent = object;
	m->value->text = keep(doc, &text);
	kp_json_note(doc, kp_arena_text(&doc->arena, e->path, strlen(e->path)), m);
	return 0;
}

void kp_json_drop(struct kp_doc *doc, struct kp_item *item)
{
	struct kp_json_member *m = item->ref;

	(void)doc;
	if (m->prev)
		m->prev->next = m->next;
	else
		m->in->members = m->next;
	if (m->next)
		m->next->prev = m->prev;
	else
		m->in->last = m->prev;
}
