/* SPDX-License-Identifier: Apache-2.0 */
/* Formats that are made of lines: sections, entries, and all else, each line kept as it was written. */
#include "projection/internal.h"

size_t kp_line_span(const char *s, size_t rest, size_t *ret_body)
{
	const char *end = memchr(s, '\n', rest);
	size_t body = end ? (size_t)(end - s) : rest, len = end ? body + 1 : rest;

	if (end && body && s[body - 1] == '\r')
		body--;
	if (ret_body)
		*ret_body = body;
	return len;
}

size_t kp_line_number(const struct kp_doc *doc, const char *at)
{
	size_t n = 1;

	for (const char *s = doc->text; s < at; s++)
		n += *s == '\n';
	return n;
}

/* Puts a line behind another (NULL: at the beginning). */
static void link_behind(struct kp_doc *doc, struct kp_line *l, struct kp_line *before)
{
	l->prev = before;
	l->next = before ? before->next : doc->first;
	if (l->next)
		l->next->prev = l;
	else
		doc->last = l;
	if (before)
		before->next = l;
	else
		doc->first = l;
}

static void unlink_line(struct kp_doc *doc, struct kp_line *l)
{
	struct kp_section *s = l->section;

	if (s && s->tail == l) {
		struct kp_line *back = l->prev;

		while (back && back != s->header && (back->kind != KP_LINE_ENTRY || back->section != s))
			back = back->kind == KP_LINE_SECTION ? NULL : back->prev;
		s->tail = back ? back : s->header;
	}
	if (l->prev)
		l->prev->next = l->next;
	else
		doc->first = l->next;
	if (l->next)
		l->next->prev = l->prev;
	else
		doc->last = l->prev;
}

static struct kp_section *find_section(struct kp_doc *doc, const char *path)
{
	kp_autofree char *folded = kp_reg_fold(path);
	struct kp_section *found;

	HASH_FIND_STR(doc->sections, folded, found);
	return found;
}

/* The section that entries behind this header belong to. Headers of one path share it, unless they are written in other case and that
 * matters to the program. */
static struct kp_section *enter_section(struct kp_doc *doc, const char *path, struct kp_line *header)
{
	struct kp_section *s = path ? find_section(doc, path) : NULL;
	struct kp_setting key = {.path = path};

	if (!path || (s && doc->format->exact_case && strcmp(s->path, path) != 0) || !kp_path_fits(path)) {
		s = kp_arena_get(&doc->arena, sizeof(*s));
	} else if (!s) {
		kp_autofree char *folded = kp_reg_fold(path);
		const char *kept = kp_arena_text(&doc->arena, folded, strlen(folded));

		s = kp_arena_get(&doc->arena, sizeof(*s));
		s->path = kp_arena_text(&doc->arena, path, strlen(path));
		HASH_ADD_KEYPTR(hh, doc->sections, kept, strlen(kept), s);
	}
	if (!s->header || header)
		s->header = header;
	s->tail = header;
	if (doc->format->keys && header && s->path) {
		key.path = s->path;
		header->item = kp_doc_add(doc, &key, KP_SPELL_BARE);
		if (header->item)
			header->item->ref = header;
	}
	return s;
}

int kp_lines_parse(struct kp_doc *doc, struct kp_err *err)
{
	const struct kp_line_format *f = doc->format->lines;
	struct kp_section *section;
	size_t at = 0, body;

	if (doc->len && kp_line_span(doc->text, doc->len, &body) == body + 2)
		doc->newline = "\r\n";
	if (f->prepare)
		f->prepare(doc);
	doc->top = section = enter_section(doc, f->top ? "" : NULL, NULL);
	while (at < doc->len) {
		struct kp_line *l = kp_arena_get(&doc->arena, sizeof(*l));
		struct kp_scan found = {0};
		int rc;

		l->len = kp_line_span(doc->text + at, doc->len - at, NULL);
		l->raw = doc->text + at;
		rc = f->scan(doc, l->raw, doc->len - at, l, &found, err);
		if (rc)
			return rc;
		at += l->len;
		link_behind(doc, l, doc->last);
		if (l->kind == KP_LINE_SECTION)
			section = enter_section(doc, found.path, l);
		l->section = section;
		if (l->kind == KP_LINE_OTHER && found.belongs && (!section->tail || section->tail == l->prev))
			section->tail = l;
		if (l->kind != KP_LINE_ENTRY)
			continue;
		section->tail = l;
		if (section->path && !found.ignore) {
			struct kp_setting e = {section->path, found.name, found.d};

			l->item = kp_doc_add(doc, &e, found.spelling);
		}
		if (l->item) {
			l->item->ref = l;
			l->item->literal = found.literal;
			l->item->literal_len = found.literal_len;
		}
	}
	return 0;
}

void kp_lines_print(const struct kp_doc *doc, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (const struct kp_line *l = doc->first; l; l = l->next)
		kp_buf_add(out, l->raw, l->len);
}

/* A line ends before another comes behind it. */
static void end_line(struct kp_doc *doc, struct kp_line *l)
{
	kp_autobuf struct kp_buf raw = {0};

	if (!l || (l->len && l->raw[l->len - 1] == '\n'))
		return;
	kp_buf_add(&raw, l->raw, l->len);
	kp_buf_puts(&raw, doc->newline);
	l->raw = kp_arena_text(&doc->arena, raw.data, raw.len);
	l->len = raw.len;
}

static struct kp_line *add_line(struct kp_doc *doc, struct kp_line *before, const char *text, size_t len)
{
	struct kp_line *l = kp_arena_get(&doc->arena, sizeof(*l));

	end_line(doc, before);
	l->raw = kp_arena_text(&doc->arena, text, len);
	l->len = len;
	link_behind(doc, l, before);
	return l;
}

static int make_section(struct kp_doc *doc, const char *path, struct kp_section **ret)
{
	const struct kp_line_format *f = doc->format->lines;
	kp_autobuf struct kp_buf header = {0};
	struct kp_section *s = find_section(doc, path);
	struct kp_line *l;
	int rc;

	/* One that is there but is written in other case is another to the program. */
	if (s && (s->header || s == doc->top)) {
		*ret = s;
		return doc->format->exact_case && strcmp(s->path, path) != 0 ? -EINVAL : 0;
	}
	if (!f->sections || doc->unended)
		return -EINVAL;
	rc = f->section(doc, path, &header);
	if (rc)
		return rc;
	kp_buf_puts(&header, doc->newline);
	if (!doc->first && f->first_line) {
		kp_autofree char *first = kp_asprintf("%s%s", f->first_line, doc->newline);

		add_line(doc, NULL, first, strlen(first));
	}
	if (doc->last && f->blank_before_section && !doc->dialect && doc->last->len > strlen(doc->newline))
		add_line(doc, doc->last, doc->newline, strlen(doc->newline));
	l = add_line(doc, doc->last, header.data, header.len);
	l->kind = KP_LINE_SECTION;
	*ret = l->section = enter_section(doc, path, l);
	return 0;
}

/* An entry whose manner a new one of this section follows. */
static const struct kp_line *model_line(const struct kp_doc *doc, const struct kp_section *s)
{
	const struct kp_line *any = NULL;

	if (s && s->tail && s->tail->kind == KP_LINE_ENTRY)
		return s->tail;
	for (const struct kp_line *l = doc->last; l; l = l->prev)
		if (l->kind == KP_LINE_ENTRY) {
			any = l;
			break;
		}
	return any;
}

/* A colon without a blank behind it parts nothing. */
static void part_colon(struct kp_buf *raw)
{
	if (raw->len && raw->data[raw->len - 1] == ':')
		kp_buf_puts(raw, " ");
}

static int put_new(struct kp_doc *doc, const struct kp_setting *e, const char *name, const char *value, size_t value_len,
		   struct kp_line *before)
{
	const struct kp_line_format *f = doc->format->lines;
	kp_autobuf struct kp_buf raw = {0};
	const struct kp_line *model;
	struct kp_section *s;
	struct kp_line *l;
	struct kp_line places = {0};
	int rc = make_section(doc, e->path, &s);

	if (rc)
		return rc;
	model = model_line(doc, s);
	if (model && (model->section == s || doc->dialect || !f->sections))
		kp_buf_add(&raw, model->raw, model->name_at);
	else if (f->begin)
		kp_buf_puts(&raw, f->begin(doc));
	places.name_at = raw.len;
	kp_buf_puts(&raw, name);
	places.name_end = raw.len;
	/* Indented and parted by a colon it would go on with the value of the line before, in some places. */
	if (model && model->value_at > model->name_end && model->value_end > model->value_at &&
	    (!places.name_at || memchr(model->raw + model->name_end, '=', model->value_at - model->name_end)))
		kp_buf_add(&raw, model->raw + model->name_end, model->value_at - model->name_end);
	else
		kp_buf_puts(&raw, f->sep);
	part_colon(&raw);
	places.value_at = raw.len;
	kp_buf_add(&raw, value, value_len);
	places.value_end = raw.len;
	if (f->end)
		kp_buf_puts(&raw, f->end(doc));
	kp_buf_puts(&raw, doc->newline);
	if (!before)
		before = s->tail || f->sections ? s->tail : doc->last;
	l = add_line(doc, before, raw.data, raw.len);
	l->kind = KP_LINE_ENTRY;
	l->name_at = places.name_at;
	l->name_end = places.name_end;
	l->value_at = places.value_at;
	l->value_end = places.value_end;
	l->section = s;
	if (before == s->tail || !s->tail)
		s->tail = l;
	l->item = kp_doc_add(doc, e, KP_SPELL_BARE);
	if (!l->item) {
		unlink_line(doc, l);
		return -EINVAL;
	}
	l->item->ref = l;
	return 0;
}

static void put_over(struct kp_doc *doc, struct kp_line *l, const char *value, size_t value_len)
{
	kp_autobuf struct kp_buf raw = {0};

	kp_buf_add(&raw, l->raw, l->value_at);
	if (l->value_at == l->name_end) {
		kp_buf_puts(&raw, doc->format->lines->sep);
	}
	part_colon(&raw);
	l->value_at = raw.len;
	kp_buf_add(&raw, value, value_len);
	kp_buf_add(&raw, l->raw + l->value_end, l->len - l->value_end);
	l->value_end = l->value_at + value_len;
	l->raw = kp_arena_text(&doc->arena, raw.data, raw.len);
	l->len = raw.len;
}

int kp_lines_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after)
{
	const struct kp_line_format *f = doc->format->lines;
	kp_autobuf struct kp_buf name = {0}, value = {0};
	struct kp_section *s;
	struct kp_setting copy = *e;
	const struct kp_line *model;
	int rc;

	kp_buf_add(&value, "", 0);
	if (!e->name)
		return make_section(doc, e->path, &s);
	if (!old && doc->unended)
		return -EINVAL;
	model = old ? old->ref : model_line(doc, find_section(doc, e->path));
	doc->indented = model && model->name_at && (old || !f->sections || doc->dialect || model->section == find_section(doc, e->path));
	rc = f->value(doc, &e->d, old, &value);
	if (!rc && !old)
		rc = f->name(doc, e->name, &name);
	if (rc)
		return rc;
	if (old) {
		put_over(doc, old->ref, value.data, value.len);
		return 0;
	}
	copy.path = kp_arena_text(&doc->arena, e->path, strlen(e->path));
	copy.name = kp_arena_text(&doc->arena, e->name, strlen(e->name));
	copy.d.data = kp_arena_text(&doc->arena, e->d.len ? e->d.data : "", e->d.len);
	return put_new(doc, &copy, name.data ? name.data : "", value.data, value.len, after ? after->ref : NULL);
}

void kp_lines_drop(struct kp_doc *doc, struct kp_item *item)
{
	struct kp_line *l = item->ref, *next;
	struct kp_section *s = l->section;

	if (l->kind != KP_LINE_SECTION) {
		unlink_line(doc, l);
		if (doc->apart)
			add_line(doc, l->prev, doc->newline, strlen(doc->newline));
		return;
	}
	/* A key: from its header to the next. Items of its values go with it. */
	for (struct kp_line *i = l->next; i && i->kind != KP_LINE_SECTION; i = next) {
		next = i->next;
		if (i->item)
			kp_doc_drop(doc, i->item->e.path, i->item->e.name);
		else
			unlink_line(doc, i);
	}
	unlink_line(doc, l);
	if (s->header == l)
		s->header = s->tail = NULL;
}
