/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ini: sections and "name = value". Two dialects: that of git, known by its subsections or by entries that a tab indents, where
 * backslashes escape and "#" begins a comment anywhere; and the one that most others read, where a backslash is one and lines that begin
 * with blanks go on with the value.
 */
#include <ctype.h>

#include "projection/internal.h"

enum { COMMON, GIT };

static size_t skip_blanks(const char *s, size_t at, size_t end)
{
	while (at < end && kp_is_blank(s[at]))
		at++;
	return at;
}

static size_t trim_end(const char *s, size_t at, size_t end)
{
	while (end > at && (kp_is_blank(s[end - 1]) || s[end - 1] == '\r'))
		end--;
	return end;
}

/* [name "sub section"]: the end of name and the place of the first quote. */
static bool git_section(const char *s, size_t end, size_t *ret_name, size_t *ret_quote)
{
	size_t at = 1;

	while (at < end && (isalnum((unsigned char)s[at]) || s[at] == '.' || s[at] == '-'))
		at++;
	*ret_name = at;
	at = skip_blanks(s, at, end);
	*ret_quote = at;
	return *ret_name > 1 && at > *ret_name && at < end && s[at] == '"' && memchr(s + at, ']', end - at);
}

static void prepare(struct kp_doc *doc)
{
	bool behind_header = false, joined = false; /* joined: by a backslash, if this is git's; then it is no header */
	size_t body, len, name, quote;

	for (size_t at = 0; at < doc->len; at += len) {
		const char *s = doc->text + at;

		len = kp_line_span(s, doc->len - at, &body);
		if (body && s[0] == '[' && !joined && git_section(s, body, &name, &quote))
			doc->dialect = GIT;
		if (behind_header && body && s[0] == '\t' && memchr(s, '=', body))
			doc->dialect = GIT;
		behind_header = body && s[0] == '[' && !joined;
		joined = false;
		for (size_t i = body; i && s[i - 1] == '\\'; i--)
			joined = !joined;
	}
}

static void scan_section(struct kp_doc *doc, const char *s, size_t end, struct kp_scan *ret)
{
	kp_autobuf struct kp_buf path = {0};
	size_t name, at;
	const char *close;

	if (git_section(s, end, &name, &at)) {
		kp_buf_add(&path, s + 1, name - 1);
		kp_buf_add(&path, "\\", 1);
		for (at++; at < end && s[at] != '"'; at++) {
			if (s[at] == '\\' && at + 1 < end)
				at++;
			kp_buf_add(&path, s + at, 1);
		}
		if (at + 1 >= end || s[at + 1] != ']')
			return;
	} else {
		close = memchr(s, ']', end);
		if (!close)
			return;
		at = skip_blanks(s, 1, (size_t)(close - s));
		kp_buf_add(&path, s + at, trim_end(s, at, (size_t)(close - s)) - at);
		if (!path.len)
			return;
	}
	if (!memchr(path.data, '\0', path.len) && kp_path_fits(path.data))
		ret->path = kp_arena_text(&doc->arena, path.data, path.len);
}

/* Git's values: quotes come and go, backslashes escape and join lines. Sets where the value ends; false: git would not take it. */
static bool git_value(const char *s, size_t at, size_t rest, struct kp_line *l, struct kp_buf *out)
{
	bool quoted = false;
	size_t keep = 0; /* of out: without blanks at the end */

	l->value_end = at;
	for (;; at++) {
		if (at >= rest || s[at] == '\n' || (s[at] == '\r' && at + 1 < rest && s[at + 1] == '\n'))
			break;
		if (!quoted && (s[at] == '#' || s[at] == ';'))
			break;
		if (s[at] == '"') {
			quoted = !quoted;
			keep = out->len;
			l->value_end = at + 1;
			continue;
		}
		if (s[at] == '\\') {
			static const char from[] = "\\\"ntb", to[] = "\\\"\n\t\b";
			const char *which;

			at++;
			if (at < rest && s[at] == '\r' && at + 1 < rest && s[at + 1] == '\n')
				at++;
			if (at < rest && s[at] == '\n') {
				if (at + 1 >= rest) {
					l->value_end = rest; /* what came behind would be joined to it */
					return false;
				}
				l->value_end = at + 1;
				continue;
			}
			which = at < rest && s[at] ? strchr(from, s[at]) : NULL;
			if (!which)
				return false;
			kp_buf_add(out, to + (which - from), 1);
			keep = out->len;
		} else {
			kp_buf_add(out, s + at, 1);
			if (quoted || !kp_is_blank(s[at]))
				keep = out->len;
		}
		if (keep == out->len)
			l->value_end = at + 1;
	}
	out->len = keep;
	while (at < rest && s[at] != '\n')
		at++;
	l->len = at < rest ? at + 1 : at;
	return !quoted;
}

/* Lines that go on with the value of the entry before: indented, and no entries themselves. */
static size_t continued(const char *s, size_t len, size_t rest)
{
	for (;;) {
		size_t body, next = kp_line_span(s + len, rest - len, &body), at = skip_blanks(s + len, 0, body);

		if (len == rest || s[len - 1] != '\n' || !at || at == body || memchr(s + len, '=', body) || strchr("#;[", s[len + at]))
			return len;
		len += next;
	}
}

static void add_lines(const char *s, size_t at, size_t end, struct kp_buf *out)
{
	while (at < end) {
		size_t body, len = kp_line_span(s + at, end - at, &body), from = skip_blanks(s, at, at + body);

		if (out->len || at > 0)
			kp_buf_add(out, "\n", 1);
		kp_buf_add(out, s + from, trim_end(s, from, at + body) - from);
		at += len;
	}
}

/* Quoted as a whole: where the quote ends, or 0. */
static size_t quoted_end(const char *s, size_t at, size_t end)
{
	if (at == end || s[at] != '"')
		return 0;
	for (at++; at < end && s[at] != '"'; at++)
		if (s[at] == '\\' && at + 1 < end && (s[at + 1] == '"' || s[at + 1] == '\\'))
			at++;
	if (at >= end)
		return 0;
	end = trim_end(s, at, end);
	return at + 1 == end || (kp_is_blank(s[at + 1]) && strchr("#;", s[skip_blanks(s, at + 1, end)])) ? at + 1 : 0;
}

static size_t comment_at(const char *s, size_t at, size_t end)
{
	for (size_t i = at + 1; i + 1 < end; i++)
		if (kp_is_blank(s[i]) && (s[i + 1] == '#' || s[i + 1] == ';'))
			return i;
	return end;
}

static void common_value(const char *s, size_t at, size_t end, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_buf *out)
{
	size_t quote, first_end = end;

	if (!kp_is_blank(s[0]))
		l->len = continued(s, l->len, rest);
	kp_line_span(s, rest, &end);
	if (l->len > kp_line_span(s, rest, NULL)) {
		kp_buf_add(out, s + at, trim_end(s, at, end) - at);
		add_lines(s, kp_line_span(s, rest, NULL), l->len, out);
		kp_line_span(s, l->len, &end);
		l->value_end = l->len - (s[l->len - 1] == '\n');
		l->value_end = trim_end(s, at, l->value_end);
		return;
	}
	quote = quoted_end(s, at, first_end);
	if (quote) {
		ret->spelling = KP_SPELL_DOUBLE;
		for (size_t i = at + 1; i + 1 < quote; i++) {
			if (s[i] == '\\' && (s[i + 1] == '"' || s[i + 1] == '\\'))
				i++;
			kp_buf_add(out, s + i, 1);
		}
		l->value_end = quote;
		return;
	}
	l->value_end = trim_end(s, at, at < first_end ? comment_at(s, at, first_end) : first_end);
	kp_buf_add(out, s + at, l->value_end - at);
}

static int scan(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err)
{
	kp_autobuf struct kp_buf value = {0};
	size_t end, at, mark;
	const char *sep;

	(void)err;
	kp_line_span(s, rest, &end);
	at = skip_blanks(s, 0, end);
	ret->belongs = at && at < end && s[at] != '#' && s[at] != ';';
	if (at == end || s[at] == '#' || s[at] == ';')
		return 0;
	if (s[at] == '[') {
		l->kind = KP_LINE_SECTION;
		scan_section(doc, s + at, end - at, ret);
		return 0;
	}
	sep = memchr(s, '=', end);
	if (!sep && doc->dialect == COMMON)
		for (sep = memchr(s, ':', end); sep && (size_t)(sep - s) + 1 < end && !kp_is_blank(sep[1]);)
			sep = memchr(sep + 1, ':', end - (size_t)(sep + 1 - s));
	if (!sep)
		return 0;
	mark = (size_t)(sep - s);
	l->name_at = at;
	l->name_end = trim_end(s, at, mark);
	if (l->name_end == at)
		return 0;
	ret->name = kp_arena_text(&doc->arena, s + at, l->name_end - at);
	ret->ignore = memchr(s + at, '\0', l->name_end - at);
	if (!strcmp(ret->name, "@"))
		ret->name = "";
	l->kind = KP_LINE_ENTRY;
	l->value_at = skip_blanks(s, mark + 1, end);
	kp_buf_add(&value, "", 0);
	if (doc->dialect == GIT) {
		ret->ignore |= !git_value(s, l->value_at, rest, l, &value);
		doc->unended |= s[rest - 1] == '\\' || (ret->ignore && l->value_end == rest);
		if (ret->ignore)
			l->len = kp_line_span(s, rest, NULL);
	} else {
		common_value(s, l->value_at, trim_end(s, l->value_at, end), rest, l, ret, &value);
	}
	ret->d = (struct kp_reg_data){KP_REG_SZ, value.len, kp_arena_text(&doc->arena, value.data, value.len)};
	return 0;
}

static int put_name(const struct kp_doc *doc, const char *name, struct kp_buf *out)
{
	size_t len = strlen(name);

	if (!strcmp(name, "@") || (doc->dialect == GIT && !isalpha((unsigned char)name[0])))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == '=' || (doc->dialect == GIT && !isalnum(c) && c != '-'))
			return -EINVAL;
	}
	if (len && (strchr("#;[", name[0]) || kp_is_blank(name[0]) || kp_is_blank(name[len - 1])))
		return -EINVAL;
	kp_buf_puts(out, len ? name : "@");
	return 0;
}

static int put_section(const struct kp_doc *doc, const char *path, struct kp_buf *out)
{
	size_t first = strcspn(path, "\\"), plain = 0;

	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < 0x20)
			return -EINVAL;
	while (plain < first && (isalnum((unsigned char)path[plain]) || path[plain] == '.' || path[plain] == '-'))
		plain++;
	if (plain < first && doc->dialect == GIT)
		return -EINVAL;
	if (path[first] && doc->dialect == GIT) {
		kp_buf_printf(out, "[%.*s \"", (int)first, path);
		for (const char *c = path + first + 1; *c; c++)
			kp_buf_printf(out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
		kp_buf_puts(out, "\"]");
		return 0;
	}
	if (strpbrk(path, "]\"") || kp_is_blank(path[0]) || kp_is_blank(path[strlen(path) - 1]))
		return -EINVAL;
	kp_buf_printf(out, "[%s]", path);
	return 0;
}

static int git_text(const struct kp_buf *text, struct kp_buf *out)
{
	bool quote = text->len && (kp_is_blank(text->data[0]) || kp_is_blank(text->data[text->len - 1]));

	for (size_t i = 0; i < text->len; i++) {
		quote |= strchr("#;", text->data[i]) != NULL;
		if ((unsigned char)text->data[i] < 0x20 && !strchr("\n\t\b", text->data[i]))
			return -EINVAL;
	}
	kp_buf_puts(out, quote ? "\"" : "");
	for (size_t i = 0; i < text->len; i++) {
		char c = text->data[i];

		if (c == '\n' || c == '\b')
			kp_buf_puts(out, c == '\n' ? "\\n" : "\\b");
		else
			kp_buf_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	kp_buf_puts(out, quote ? "\"" : "");
	return 0;
}

/* The text over several lines, as those read it who read ini so. */
static int many_lines(const struct kp_doc *doc, const struct kp_buf *text, struct kp_buf *out)
{
	size_t body;

	if (doc->indented)
		return -EINVAL;
	for (size_t at = 0; at <= text->len; at += body + 1) {
		const char *s = text->data + at, *end = memchr(s, '\n', text->len - at);

		body = end ? (size_t)(end - s) : text->len - at;
		if (body && (kp_is_blank(s[0]) || kp_is_blank(s[body - 1])))
			return -EINVAL;
		if (at && (!body || memchr(s, '=', body) || strchr("#;[", s[0])))
			return -EINVAL;
		if (at)
			kp_buf_printf(out, "%s\t", doc->newline);
		kp_buf_add(out, s, body);
	}
	return 0;
}

/* Something stands behind the value that would become it. */
static bool has_tail(const struct kp_item *item)
{
	const struct kp_line *l = item->ref;

	return l->value_end < l->len && !strchr("\r\n", l->raw[l->value_end]);
}

static int put_value(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	kp_autobuf struct kp_buf text = {0};
	int rc = kp_plain_text(&text, d, old ? old->e.d.data : NULL, old ? old->e.d.len : 0);
	bool quote;

	if (rc)
		return rc;
	if (doc->dialect == GIT)
		return git_text(&text, out);
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.data[i] < 0x20 && text.data[i] != '\n' && text.data[i] != '\t')
			return -EINVAL;
	if (text.len && memchr(text.data, '\n', text.len))
		return old && has_tail(old) ? -EINVAL : many_lines(doc, &text, out);
	quote = text.len && (kp_is_blank(text.data[0]) || kp_is_blank(text.data[text.len - 1]) || text.data[0] == '"' ||
			     comment_at(text.data, 0, text.len) < text.len || (old && old->spelling == KP_SPELL_DOUBLE));
	quote |= !text.len && old && has_tail(old);
	kp_buf_puts(out, quote ? "\"" : "");
	for (size_t i = 0; i < text.len; i++)
		kp_buf_printf(out, quote && (text.data[i] == '"' || text.data[i] == '\\') ? "\\%c" : "%c", text.data[i]);
	kp_buf_puts(out, quote ? "\"" : "");
	return 0;
}

/* A new file that can be git's, and has sections in sections as git's have, is. */
static void expect(struct kp_doc *doc, const struct kp_settings *list)
{
	const struct kp_doc git = {.dialect = GIT};
	bool nested = false;

	for (size_t i = 0; i < list->count; i++) {
		kp_autobuf struct kp_buf text = {0};
		const struct kp_setting *e = &list->items[i];

		nested |= strchr(e->path, '\\') != NULL;
		if (!*e->path || put_section(&git, e->path, &text) || (e->name && put_name(&git, e->name, &text)))
			return;
	}
	if (nested && !doc->first)
		doc->dialect = GIT;
}

static const char *line_begin(const struct kp_doc *doc)
{
	return doc->dialect == GIT ? "\t" : "";
}

static const struct kp_line_format ini_lines = {
	.begin = line_begin,
	.sep = " = ",
	.blank_before_section = true,
	.top = true,
	.sections = true,
	.scan = scan,
	.prepare = prepare,
	.name = put_name,
	.section = put_section,
	.value = put_value,
};

const struct kp_format kp_format_ini = {
	.name = "ini",
	.repeats = true,
	.expect = expect,
	KP_FORMAT_OF_LINES(ini_lines),
};
