/* SPDX-License-Identifier: Apache-2.0 */
/* xml: writing values into a document, in the manner of those that are there. */
#include "projection/xml.h"

static struct kp_piece keep(struct kp_doc *doc, const char *s, size_t len)
{
	return (struct kp_piece){kp_arena_text(&doc->arena, s, len), len};
}

static int encode(const char *s, size_t len, char quote, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (size_t i = 0, n; i < len; i += n) {
		uint32_t c;

		n = kp_get_utf8(s + i, &c);
		if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0xd800 && c < 0xe000) || c == 0xfffe || c == 0xffff)
			return -EINVAL;
		if (c == '<' || c == '&' || c == '>')
			kp_buf_puts(out, c == '<' ? "&lt;" : c == '&' ? "&amp;" : "&gt;");
		else if (quote && c == (unsigned char)quote)
			kp_buf_puts(out, c == '"' ? "&quot;" : "&apos;");
		else if (c == '\r' || (quote && c < 0x20))
			kp_buf_printf(out, "&#%u;", c);
		else
			kp_buf_add(out, s + i, n);
	}
	return 0;
}

static void insert_behind(struct kp_xml_node *in, struct kp_xml_node *before, struct kp_xml_node *n)
{
	n->parent = in;
	n->prev = before;
	n->next = before ? before->next : in->first;
	if (n->next)
		n->next->prev = n;
	else
		in->last = n;
	if (before)
		before->next = n;
	else
		in->first = n;
}

static void set_text(struct kp_doc *doc, struct kp_xml_node *n, const struct kp_buf *text)
{
	struct kp_xml_node *t = kp_arena_get(&doc->arena, sizeof(*t));
	struct kp_xml_node *kept = n->first;

	n->first = n->last = NULL;
	t->text = keep(doc, text->data, text->len);
	if (text->len)
		kp_xml_append(n, t);
	while (kept) { /* comments stay */
		struct kp_xml_node *next = kept->next;

		if (kept->part == KP_XML_OTHER) {
			kept->next = NULL;
			kp_xml_append(n, kept);
		}
		kept = next;
	}
	if (n->empty && text->len) {
		kp_autobuf struct kp_buf end = {0};

		kp_buf_printf(&end, "</%.*s>", (int)n->name.len, n->name.s);
		n->end = keep(doc, end.data, end.len);
		n->empty = false;
		n->close.len = 0;
	}
}

static unsigned depth_of(const struct kp_xml_node *n)
{
	unsigned depth = 0;

	for (; n->parent; n = n->parent)
		depth++;
	return depth;
}

static struct kp_xml_node *new_text(struct kp_doc *doc, const char *newline, unsigned depth, const char *step)
{
	kp_autobuf struct kp_buf text = {0};
	struct kp_xml_node *t = kp_arena_get(&doc->arena, sizeof(*t));

	kp_buf_puts(&text, newline);
	while (depth--)
		kp_buf_puts(&text, step);
	t->text = keep(doc, text.data, text.len);
	return t;
}

/* A new element at the end of in, or behind another; on a line of its own, if those beside it have theirs. */
static struct kp_xml_node *new_element(struct kp_doc *doc, struct kp_xml_node *in, const char *name, size_t len, struct kp_xml_node *behind)
{
	struct kp_xml_node *n = kp_arena_get(&doc->arena, sizeof(*n)), *last = in->last;
	kp_autobuf struct kp_buf end = {0};

	if (in->empty) {
		kp_buf_printf(&end, "</%.*s>", (int)in->name.len, in->name.s);
		in->end = keep(doc, end.data, end.len);
		in->empty = false;
		in->close.len = 0;
		kp_buf_free(&end);
	}
	n->part = KP_XML_ELEMENT;
	n->name = keep(doc, name, len);
	kp_buf_printf(&end, "</%.*s>", (int)len, name);
	n->end = keep(doc, end.data, end.len);
	if (!behind && last && last->part == KP_XML_TEXT && kp_xml_has_elements(in))
		behind = last->prev;
	else if (!behind)
		behind = last && last->part != KP_XML_TEXT ? last : NULL;
	if (kp_xml_has_elements(in) && behind) {
		/* The blanks that stand before the one in front. */
		const struct kp_xml_node *blank = behind->prev;

		if (blank && blank->part == KP_XML_TEXT) {
			struct kp_xml_node *copy = kp_arena_get(&doc->arena, sizeof(*copy));
			const char *line = memrchr(blank->text.s, '\n', blank->text.len);

			copy->text = line ? (struct kp_piece){line, (size_t)(blank->text.s + blank->text.len - line)} : blank->text;
			if (strspn(copy->text.s, " \t\r\n") >= copy->text.len) {
				insert_behind(in, behind, copy);
				behind = copy;
			}
		}
		insert_behind(in, behind, n);
	} else {
		in->first = in->last = NULL; /* blanks alone */
		kp_xml_append(in, new_text(doc, doc->newline, depth_of(in), "  "));
		kp_xml_append(in, n);
		kp_xml_append(in, new_text(doc, doc->newline, depth_of(in) - 1, "  "));
	}
	return n;
}

static bool valid_name(const char *s, size_t len)
{
	return len && kp_xml_name(s, s + len) == len && kp_text_valid(s, len) && !(len >= 5 && !strncasecmp(s, "xmlns", 5));
}

/* The child that is the key path, or the first that begins like it. */
static struct kp_xml_node *child_key(struct kp_xml_node *in, const char *path, size_t len)
{
	for (struct kp_xml_node *c = in->first; c; c = c->next)
		if (c->part == KP_XML_ELEMENT && c->path && strlen(c->path) == len && !strncasecmp(c->path, path, len))
			return c;
	return NULL;
}

static const struct kp_xml_node *sibling_named(const struct kp_xml_node *in, const char *name, size_t len)
{
	for (const struct kp_xml_node *c = in->first; c; c = c->next)
		if (c->part == KP_XML_ELEMENT && c->path && kp_xml_naming(c) && c->name.len == len && !strncmp(c->name.s, name, len))
			return c;
	return NULL;
}

static struct kp_xml_node *new_named(struct kp_doc *doc, struct kp_xml_node *in, const struct kp_xml_node *like, const char *name, size_t len)
{
	struct kp_xml_attribute *a = kp_arena_get(&doc->arena, sizeof(*a));
	kp_autobuf struct kp_buf text = {0};
	struct kp_xml_node *n;

	kp_buf_puts(&text, "\"");
	if (encode(name, len, '"', &text))
		return NULL;
	kp_buf_puts(&text, "\"");
	n = new_element(doc, in, like->name.s, like->name.len, NULL);
	*a = (struct kp_xml_attribute){NULL, {" ", 1}, kp_xml_naming(like)->name, {"=", 1}, keep(doc, text.data, text.len)};
	n->attributes = a;
	return n;
}

/* Goes down path as far as there are keys; *ret_rest: what is left of it. */
static struct kp_xml_node *reach(struct kp_xml_node *root, const char *path, const char **ret_rest)
{
	struct kp_xml_node *at = root;
	const char *rest = path;

	while (*rest) {
		size_t one = strcspn(rest, "\\"), two = rest[one] ? one + 1 + strcspn(rest + one + 1, "\\") : one;
		size_t done = (size_t)(rest - path);
		struct kp_xml_node *c = child_key(at, path, done + two);

		if (!c || two == one) {
			c = child_key(at, path, done + one);
			two = one;
		}
		if (!c)
			break;
		at = c;
		rest += two + (rest[two] == '\\');
	}
	*ret_rest = rest;
	return at;
}

static int make_keys(struct kp_doc *doc, struct kp_xml_node **at, const char *path, const char *rest)
{
	if (depth_of(*at) > KP_XML_DEPTH - 8)
		return -EINVAL;
	for (const char *c = rest; *c;) {
		size_t one = strcspn(c, "\\");

		if (!valid_name(c, one))
			return -EINVAL;
		c += one + (c[one] == '\\');
	}
	while (*rest) {
		size_t one = strcspn(rest, "\\");

		*at = new_element(doc, *at, rest, one, NULL);
		(*at)->path = kp_arena_text(&doc->arena, path, (size_t)(rest - path) + one);
		rest += one + (rest[one] == '\\');
	}
	return 0;
}

static struct kp_item *put_attribute(struct kp_doc *doc, struct kp_xml_node *n, const struct kp_setting *e, const struct kp_buf *plain)
{
	struct kp_xml_attribute *a = kp_arena_get(&doc->arena, sizeof(*a)), **tail = &n->attributes;
	kp_autobuf struct kp_buf text = {0};

	kp_buf_puts(&text, "\"");
	if (encode(plain->data, plain->len, '"', &text))
		return NULL;
	kp_buf_puts(&text, "\"");
	*a = (struct kp_xml_attribute){NULL, {" ", 1}, keep(doc, e->name, strlen(e->name)), {"=", 1}, keep(doc, text.data, text.len)};
	while (*tail)
		tail = &(*tail)->next;
	*tail = a;
	return kp_xml_note(doc, kp_arena_text(&doc->arena, e->path, strlen(e->path)), a->name.s, plain, (struct kp_xml_place){n, a, false});
}

static int put_over(struct kp_doc *doc, const struct kp_buf *plain, struct kp_item *old)
{
	struct kp_xml_place *p = old->ref;
	kp_autobuf struct kp_buf text = {0};
	char quote = p->attribute ? p->attribute->value.s[0] : 0;
	int rc;

	if (!quote && !p->leaf && strspn(plain->data, " \t\r\n") == plain->len)
		return -EINVAL; /* a key's own text is a value where there is any */
	if (quote)
		kp_buf_add(&text, &quote, 1);
	rc = encode(plain->data, plain->len, quote, &text);
	if (rc)
		return rc;
	if (quote) {
		kp_buf_add(&text, &quote, 1);
		p->attribute->value = keep(doc, text.data, text.len);
	} else {
		set_text(doc, p->node, &text);
	}
	old->e.d = (struct kp_reg_data){KP_REG_SZ, plain->len, kp_arena_text(&doc->arena, plain->data, plain->len)};
	return 0;
}

static bool clashes(const struct kp_xml_node *n, const char *name)
{
	for (const struct kp_xml_node *c = n->first; c; c = c->next)
		if (c->part == KP_XML_ELEMENT && c->name.len == strlen(name) && !strncasecmp(c->name.s, name, c->name.len))
			return true;
	for (const struct kp_xml_attribute *a = n->attributes; a; a = a->next)
		if (a->name.len == strlen(name) && !strncasecmp(a->name.s, name, a->name.len))
			return true;
	return false;
}

static struct kp_xml_node *make_root(struct kp_doc *doc)
{
	struct kp_xml_node *root = kp_arena_get(&doc->arena, sizeof(*root));

	if (doc->tree && ((struct kp_xml_node *)doc->tree)->last) {
		struct kp_xml_node *last = ((struct kp_xml_node *)doc->tree)->last;

		if (last->part != KP_XML_TEXT || last->text.s[last->text.len - 1] != '\n')
			kp_xml_append(doc->tree, new_text(doc, doc->newline, 0, ""));
	}
	root->part = KP_XML_ELEMENT;
	root->name = (struct kp_piece){"settings", 8};
	root->end = (struct kp_piece){"</settings>", 11};
	root->path = "";
	kp_xml_append(doc->tree, root);
	kp_xml_append(doc->tree, new_text(doc, doc->newline, 0, ""));
	return root;
}

/* The default value is the element's text: only where there are no elements in it. */
static int put_new(struct kp_doc *doc, struct kp_xml_node *at, const struct kp_setting *e, const struct kp_buf *plain, struct kp_item *after)
{
	const char *path = kp_arena_text(&doc->arena, e->path, strlen(e->path)), *name = kp_arena_text(&doc->arena, e->name, strlen(e->name));
	kp_autobuf struct kp_buf text = {0};
	struct kp_xml_node *n = at;
	bool leaf = *e->name != 0;
	int rc = encode(plain->data, plain->len, 0, &text);

	if (rc)
		return rc;
	if (leaf && !after && at->attributes && !kp_xml_has_elements(at) && at->path[0])
		return put_attribute(doc, at, e, plain) ? 0 : -EINVAL;
	if (leaf)
		n = new_element(doc, at, name, strlen(name), after ? ((struct kp_xml_place *)after->ref)->node : NULL);
	set_text(doc, n, &text);
	return kp_xml_note(doc, path, name, plain, (struct kp_xml_place){n, NULL, leaf}) ? 0 : -EINVAL;
}

static bool has_text(const struct kp_xml_node *n)
{
	kp_autobuf struct kp_buf text = {0};

	kp_xml_text(n, &text);
	return strspn(text.data, " \t\r\n") != text.len;
}

/* An element without attributes and elements is a value when it is read again; so a new place must not make a key of a value, nor
 * the other way. at: the deepest key that is there; rest: what of the path is not. */
static bool has_room(struct kp_doc *doc, const struct kp_xml_node *at, const char *rest, const struct kp_setting *e, const struct kp_buf *plain,
		     bool again)
{
	size_t one = strcspn(rest, "\\");

	if (!*e->name)
		return !*rest && at->attributes && !kp_xml_has_elements(at) && strspn(plain->data, " \t\r\n") != plain->len;
	if (!kp_xml_has_elements(at) && has_text(at) && (*rest || !at->attributes || !*at->path))
		return false;
	if (again)
		return true;
	return !clashes(at, *rest ? kp_arena_text(&doc->arena, rest, one) : e->name);
}

int kp_xml_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after)
{
	kp_autobuf struct kp_buf plain = {0}, name = {0};
	struct kp_xml_node *root, *at;
	const struct kp_xml_node *like;
	const char *rest, *second;
	size_t one;
	int rc = kp_plain_text(&plain, &e->d, old ? old->e.d.data : NULL, old ? old->e.d.len : 0);

	if (!rc && old)
		return put_over(doc, &plain, old);
	if (rc || (*e->name && !valid_name(e->name, strlen(e->name))) || encode(plain.data, plain.len, 0, &name))
		return -EINVAL;
	root = kp_xml_root(doc);
	if (!root)
		root = make_root(doc);
	at = reach(root, e->path, &rest);
	one = strcspn(rest, "\\");
	like = rest[one] ? sibling_named(at, rest, one) : NULL;
	if (!has_room(doc, at, rest, e, &plain, after || like))
		return -EINVAL;
	if (like) {
		second = rest + one + 1;
		at = strchr(second, '\\') ? NULL : new_named(doc, at, like, second, strlen(second));
		if (!at)
			return -EINVAL;
		at->path = kp_arena_text(&doc->arena, e->path, strlen(e->path));
		rest = "";
	}
	rc = make_keys(doc, &at, e->path, rest);
	return rc ? rc : put_new(doc, at, e, &plain, after);
}

static void drop_node(struct kp_xml_node *n)
{
	struct kp_xml_node *blank = n->prev, *in = n->parent;

	if (blank && (blank->part != KP_XML_TEXT || strspn(blank->text.s, " \t\r\n") < blank->text.len))
		blank = NULL;
	if (n->prev)
		n->prev->next = n->next;
	else
		in->first = n->next;
	if (n->next)
		n->next->prev = n->prev;
	else
		in->last = n->prev;
	if (!blank)
		return;
	if (blank->prev)
		blank->prev->next = blank->next;
	else
		in->first = blank->next;
	if (blank->next)
		blank->next->prev = blank->prev;
	else
		in->last = blank->prev;
}

/* A key that nothing is left of would be an empty value. */
static void drop_empty(struct kp_xml_node *n)
{
	while (n->path && n->path[0] && !n->attributes && !kp_xml_has_elements(n) && !has_text(n)) {
		struct kp_xml_node *in = n->parent;

		drop_node(n);
		n = in;
	}
}

void kp_xml_drop(struct kp_doc *doc, struct kp_item *item)
{
	struct kp_xml_place *p = item->ref;
	struct kp_xml_attribute **at = &p->node->attributes;

	if (p->attribute) {
		while (*at && *at != p->attribute)
			at = &(*at)->next;
		if (*at)
			*at = p->attribute->next;
		drop_empty(p->node);
	} else if (p->leaf) {
		drop_node(p->node);
		drop_empty(p->node->parent);
	} else {
		set_text(doc, p->node, &(struct kp_buf){.data = (char *)""});
	}
}
