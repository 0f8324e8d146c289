/* SPDX-License-Identifier: Apache-2.0 */
/* env: NAME=value as a shell reads it, with or without "export"; nothing is expanded. A REG_MULTI_SZ is a list with colons. */
#include <ctype.h>

#include "projection/internal.h"

enum { UNENDED = 1 }; /* a quote somewhere has no end: another one behind it would be that */

static size_t blanks(const char *s, size_t at, size_t end)
{
	while (at < end && kp_is_blank(s[at]))
		at++;
	return at;
}

/* A word of a shell. False: it has no end. */
static bool read_word(const char *s, size_t at, size_t rest, size_t *ret_end, enum kp_spelling *ret_spelling, struct kp_buf *out)
{
	char quote = 0;
	size_t from = at;

	*ret_spelling = KP_SPELL_BARE;
	kp_buf_add(out, "", 0);
	for (; at < rest; at++) {
		if (!quote && (s[at] == '\n' || kp_is_blank(s[at]) || (s[at] == '\r' && at + 1 < rest && s[at + 1] == '\n')))
			break;
		if (quote ? s[at] == quote : s[at] == '"' || s[at] == '\'') {
			if (at == from)
				*ret_spelling = s[at] == '"' ? KP_SPELL_DOUBLE : KP_SPELL_SINGLE;
			quote = quote ? 0 : s[at];
			continue;
		}
		if (s[at] == '\\' && quote != '\'') {
			if (at + 1 >= rest)
				return false;
			if (s[at + 1] == '\n') {
				at++;
				continue;
			}
			if (!quote || strchr("\"\\$`", s[at + 1]))
				at++;
		}
		kp_buf_add(out, s + at, 1);
	}
	*ret_end = at;
	return !quote;
}

/* A quote that begins on this line and ends on another. */
static bool leaves_quote(const char *s, size_t len)
{
	char quote = 0;

	for (size_t i = 0; i < len; i++) {
		if (!quote && s[i] == '#' && (!i || kp_is_blank(s[i - 1])))
			return false;
		if (s[i] == '\\' && quote != '\'')
			i++;
		else if (quote ? s[i] == quote : s[i] == '"' || s[i] == '\'')
			quote = quote ? 0 : s[i];
	}
	return quote;
}

/* NAME=word, with nothing behind it but a comment. */
static bool scan_entry(const char *s, size_t rest, struct kp_line *l, enum kp_spelling *spelling, struct kp_buf *value)
{
	size_t body, at, end;

	kp_line_span(s, rest, &body);
	at = blanks(s, 0, body);
	if (body - at > 7 && !strncmp(s + at, "export", 6) && kp_is_blank(s[at + 6]))
		at = blanks(s, at + 6, body);
	l->name_at = at;
	while (at < body && (isalnum((unsigned char)s[at]) || s[at] == '_'))
		at++;
	l->name_end = at;
	if (at == l->name_at || isdigit((unsigned char)s[l->name_at]) || at == body || s[at] != '=')
		return false;
	l->value_at = at + 1;
	if (!read_word(s, at + 1, rest, &end, spelling, value))
		return false;
	l->value_end = end;
	at = blanks(s, end, rest);
	/* Another word: a command with a variable of its own, or one of several; that is not read. */
	if (at < rest && s[at] != '\n' && s[at] != '\r' && (s[at] != '#' || at == end))
		return false;
	l->len = at + kp_line_span(s + at, rest - at, NULL);
	return true;
}

static int scan(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err)
{
	kp_autobuf struct kp_buf value = {0};
	size_t body;

	(void)err;
	if (!scan_entry(s, rest, l, &ret->spelling, &value)) {
		kp_line_span(s, rest, &body);
		if (leaves_quote(s, body))
			doc->dialect = UNENDED;
		return 0;
	}
	l->kind = KP_LINE_ENTRY;
	ret->name = kp_arena_text(&doc->arena, s + l->name_at, l->name_end - l->name_at);
	ret->d = (struct kp_reg_data){KP_REG_SZ, value.len, kp_arena_text(&doc->arena, value.data, value.len)};
	return 0;
}

static int put_name(const struct kp_doc *doc, const char *name, struct kp_buf *out)
{
	(void)doc;
	if (!name[0] || isdigit((unsigned char)name[0]))
		return -EINVAL;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			return -EINVAL;
	kp_buf_puts(out, name);
	return 0;
}

static int list_text(const struct kp_reg_data *d, struct kp_buf *text)
{
	const char *s = d->data, *end = s + d->len;

	kp_buf_add(text, "", 0);
	if (d->len && end[-1])
		return -EINVAL;
	/* One empty text looks like none. */
	if (d->len == 1)
		return -EINVAL;
	for (; s < end; s += strlen(s) + 1) {
		if (strchr(s, ':') || !kp_text_valid(s, strlen(s)))
			return -EINVAL;
		kp_buf_puts(text, s == d->data ? "" : ":");
		kp_buf_puts(text, s);
	}
	return 0;
}

static int put_value(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	kp_autobuf struct kp_buf text = {0};
	int rc = d->type == KP_REG_MULTI_SZ ? list_text(d, &text)
					    : kp_plain_text(&text, d, old ? old->e.d.data : NULL, old ? old->e.d.len : 0);
	bool plain = true, apostrophe;

	if (rc || doc->dialect == UNENDED)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++)
		plain &= isalnum((unsigned char)text.data[i]) || strchr("_./:@%+,-=", text.data[i]);
	apostrophe = text.len && memchr(text.data, '\'', text.len);
	if (plain && (!old || old->spelling == KP_SPELL_BARE)) {
		kp_buf_add(out, text.data, text.len);
	} else if (!apostrophe && (!old || old->spelling != KP_SPELL_DOUBLE)) {
		kp_buf_printf(out, "'%s'", text.data);
	} else {
		kp_buf_puts(out, "\"");
		for (size_t i = 0; i < text.len; i++)
			kp_buf_printf(out, strchr("\"\\$`", text.data[i]) ? "\\%c" : "%c", text.data[i]);
		kp_buf_puts(out, "\"");
	}
	return 0;
}

static const struct kp_line_format env_lines = {
	.sep = "=",
	.top = true,
	.scan = scan,
	.name = put_name,
	.value = put_value,
};

const struct kp_format kp_format_env = {
	.name = "env",
	.exact_case = true,
	.list_mark = ':',
	KP_FORMAT_OF_LINES(env_lines),
};
