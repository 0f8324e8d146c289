/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain: "name value", the rest of the line being the value, as redis and sshd read it; with ";" at the end, as nginx does. What stands
 * in braces stays text. A name that comes several times is a REG_MULTI_SZ.
 */
#include <ctype.h>

#include "projection/internal.h"

enum { OPEN, SEMICOLONS }; /* how new lines end */

static size_t blanks(const char *s, size_t at, size_t end)
{
	while (at < end && kp_is_blank(s[at]))
		at++;
	return at;
}

/* "..." with redis' escapes, or '...', the whole of it. */
static bool read_quoted(const char *s, size_t len, struct kp_buf *out)
{
	static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
	char quote = len ? s[0] : 0;
	size_t i = 1;

	kp_buf_add(out, "", 0);
	if (len < 2 || (quote != '"' && quote != '\''))
		return false;
	for (; i < len && s[i] != quote; i++) {
		const char *which = NULL;
		char hex[5] = "0x";
		uint64_t byte;

		if (s[i] != '\\' || i + 1 == len) {
			kp_buf_add(out, s + i, 1);
			continue;
		}
		i++;
		if (quote == '\'') {
			kp_buf_add(out, s + i - 1, s[i] != '\'');
			kp_buf_add(out, s + i, 1);
			continue;
		}
		if (s[i] == 'x' && i + 2 < len) {
			memcpy(hex + 2, s + i + 1, 2);
			if (kp_parse_number(hex, 4, &byte)) {
				kp_buf_add(out, &(char){(char)byte}, 1);
				i += 2;
				continue;
			}
		}
		which = s[i] ? strchr(from, s[i]) : NULL;
		kp_buf_add(out, which ? to + (which - from) : s + i, 1);
	}
	return i + 1 == len;
}

static void scan_value(struct kp_doc *doc, const char *s, size_t len, struct kp_scan *ret)
{
	kp_autobuf struct kp_buf text = {0};

	if (read_quoted(s, len, &text)) {
		ret->spelling = s[0] == '"' ? KP_SPELL_DOUBLE : KP_SPELL_SINGLE;
		ret->d = (struct kp_reg_data){KP_REG_SZ, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
	} else {
		ret->d = (struct kp_reg_data){KP_REG_SZ, len, kp_arena_text(&doc->arena, s, len)};
	}
}

static bool is_comment(const char *s, size_t at, size_t end)
{
	return at == end || s[at] == '#';
}

/* Depth of braces behind the line. */
static size_t braces(const char *s, size_t at, size_t end, size_t depth)
{
	if (is_comment(s, at, end))
		return depth;
	if (s[end - 1] == '{')
		return depth + 1;
	return s[at] == '}' && depth ? depth - 1 : depth;
}

static size_t trim(const char *s, size_t from, size_t end)
{
	while (end > from && (kp_is_blank(s[end - 1]) || s[end - 1] == '\r'))
		end--;
	return end;
}

static int scan(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err)
{
	size_t at, end, depth = 0, len;

	(void)err;
	kp_line_span(s, rest, &end);
	at = blanks(s, 0, end);
	end = trim(s, at, end);
	depth = braces(s, at, end, 0);
	if (depth) {
		/* A block is one piece of text. */
		for (; l->len < rest && depth; l->len += len) {
			size_t body, from;

			len = kp_line_span(s + l->len, rest - l->len, &body);
			from = l->len + blanks(s + l->len, 0, body);
			depth = braces(s, from, trim(s, from, l->len + body), depth);
		}
		doc->unended |= depth != 0;
		return 0;
	}
	if (is_comment(s, at, end) || s[at] == '}')
		return 0;
	l->kind = KP_LINE_ENTRY;
	l->name_at = at;
	while (at < end && !kp_is_blank(s[at]))
		at++;
	if (at == end && s[at - 1] == ';')
		at--;
	l->name_end = at;
	if (at == l->name_at || memchr(s + l->name_at, '\0', at - l->name_at)) {
		l->kind = KP_LINE_OTHER;
		return 0;
	}
	l->value_at = blanks(s, at, end);
	if (end > l->value_at && s[end - 1] == ';') {
		end = trim(s, l->value_at, end - 1);
		doc->dialect = SEMICOLONS;
	}
	l->value_end = end;
	if (l->value_at > l->value_end)
		l->value_at = l->value_end;
	if (l->value_at == l->value_end)
		l->value_at = l->value_end = l->name_end;
	ret->name = kp_arena_text(&doc->arena, s + l->name_at, l->name_end - l->name_at);
	if (!strcmp(ret->name, "@"))
		ret->name = "";
	scan_value(doc, s + l->value_at, l->value_end - l->value_at, ret);
	return 0;
}

static int put_name(const struct kp_doc *doc, const char *name, struct kp_buf *out)
{
	size_t len = strlen(name);

	(void)doc;
	if (!strcmp(name, "@") || (len && (strchr("#}", name[0]) || name[len - 1] == ';' || name[len - 1] == '{')))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] <= 0x20)
			return -EINVAL;
	kp_buf_puts(out, len ? name : "@");
	return 0;
}

static int put_value(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	kp_autobuf struct kp_buf text = {0};
	int rc = kp_plain_text(&text, d, old ? old->e.d.data : NULL, old ? old->e.d.len : 0);
	bool quote, single;

	(void)doc;
	if (rc)
		return rc;
	quote = !text.len || text.data[0] == '"' || text.data[0] == '\'' || kp_is_blank(text.data[0]) ||
		kp_is_blank(text.data[text.len - 1]) || strchr(";{", text.data[text.len - 1]) || (old && old->spelling != KP_SPELL_BARE);
	single = old && old->spelling == KP_SPELL_SINGLE;
	for (size_t i = 0; i < text.len; i++) {
		quote |= (unsigned char)text.data[i] < 0x20;
		single &= (unsigned char)text.data[i] >= 0x20 && text.data[i] != '\'' && text.data[i] != '\\';
	}
	if (single) {
		kp_buf_printf(out, "'%s'", text.data);
		return 0;
	}
	kp_buf_puts(out, quote ? "\"" : "");
	for (size_t i = 0; i < text.len; i++) {
		static const char from[] = "\n\r\t\b\a", to[] = "nrtba";
		const char *which = quote ? strchr(from, text.data[i]) : NULL;

		if (which)
			kp_buf_printf(out, "\\%c", to[which - from]);
		else if (quote && (unsigned char)text.data[i] < 0x20)
			kp_buf_printf(out, "\\x%02x", text.data[i]);
		else
			kp_buf_printf(out, quote && strchr("\"\\", text.data[i]) ? "\\%c" : "%c", text.data[i]);
	}
	kp_buf_puts(out, quote ? "\"" : "");
	return 0;
}

static const char *line_end(const struct kp_doc *doc)
{
	return doc->dialect == SEMICOLONS ? ";" : "";
}

static const struct kp_line_format plain_lines = {
	.sep = " ",
	.top = true,
	.scan = scan,
	.name = put_name,
	.value = put_value,
	.end = line_end,
};

const struct kp_format kp_format_plain = {
	.name = "plain",
	.repeats = true,
	KP_FORMAT_OF_LINES(plain_lines),
};
