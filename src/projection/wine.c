/* SPDX-License-Identifier: Apache-2.0 */
/* wine: what wineserver keeps its registry in (user.reg, system.reg): "WINE REGISTRY Version 2". All types are told; keys too. */
#include <ctype.h>

#include "projection/internal.h"

#define FIRST_LINE "WINE REGISTRY Version 2"

static unsigned hex_digit(char c)
{
	return isdigit((unsigned char)c) ? (unsigned)(c - '0') : (unsigned)(tolower((unsigned char)c) - 'a') + 10;
}

/* Escaped text up to an unescaped stop; where that is, or 0: there is none on this line. */
static size_t read_text(const char *s, size_t at, size_t end, char stop, struct kp_buf *out)
{
	static const char from[] = "abefnrtv", to[] = "\a\b\033\f\n\r\t\v";

	kp_buf_add(out, "", 0);
	for (; at < end && s[at] != stop; at++) {
		const char *which;
		uint32_t c = 0;
		unsigned n = 0;

		if (s[at] != '\\') {
			kp_put_utf8(out, (unsigned char)s[at]); /* Latin-1, where older versions wrote it so */
			continue;
		}
		if (++at == end)
			return 0;
		if (s[at] == 'x' && at + 1 < end && isxdigit((unsigned char)s[at + 1])) {
			for (; n < 4 && at + 1 < end && isxdigit((unsigned char)s[at + 1]); n++)
				c = c << 4 | hex_digit(s[++at]);
			kp_put_utf8(out, c);
		} else if (s[at] >= '0' && s[at] <= '7') {
			for (at--; n < 3 && at + 1 < end && s[at + 1] >= '0' && s[at + 1] <= '7'; n++)
				c = c << 3 | (uint32_t)(s[++at] - '0');
			kp_put_utf8(out, c);
		} else {
			which = s[at] ? strchr(from, s[at]) : NULL;
			kp_put_utf8(out, (unsigned char)(which ? to[which - from] : s[at]));
		}
	}
	return at < end ? at : 0;
}

/* hex(N):aa,bb,\ and further lines. The data as kept here; false: as Windows would hold it, but nothing that is kept so. */
static bool bytes_data(struct kp_doc *doc, uint32_t type, struct kp_buf *bytes, struct kp_reg_data *d)
{
	kp_autobuf struct kp_buf text = {0};
	const uint8_t *data = (const uint8_t *)bytes->data;
	size_t len = bytes->len;

	if (type == KP_REG_SZ || type == KP_REG_EXPAND_SZ || type == KP_REG_MULTI_SZ) {
		kp_buf_add(&text, "", 0);
		if (!kp_units_to_text(data, len, &text))
			return false;
		if (type != KP_REG_MULTI_SZ) {
			text.len -= text.len && !text.data[text.len - 1];
		} else {
			text.len -= text.len > 1 && !text.data[text.len - 1] && !text.data[text.len - 2];
			text.len -= text.len == 1 && !text.data[0];
			if (text.len && text.data[text.len - 1])
				kp_buf_add(&text, "", 1);
		}
		*d = (struct kp_reg_data){type, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
		return true;
	}
	*d = (struct kp_reg_data){type, len, kp_arena_text(&doc->arena, bytes->data, len)};
	return true;
}

static size_t joined_span(const char *s, size_t rest)
{
	size_t len = 0, body;

	do {
		size_t next = kp_line_span(s + len, rest - len, &body);

		body += len;
		len += next;
	} while (body && s[body - 1] == '\\' && len < rest);
	return len;
}

/* str(N): or nothing before the quote. */
static bool scan_text(struct kp_doc *doc, const char *s, size_t end, uint32_t type, struct kp_line *l, struct kp_scan *ret)
{
	kp_autobuf struct kp_buf text = {0};
	size_t stop = read_text(s, 1, end, '"', &text);

	if (!stop || stop + 1 != end)
		return false;
	l->value_end = l->value_at + stop + 1;
	if (type == KP_REG_MULTI_SZ && text.len && text.data[text.len - 1])
		kp_buf_add(&text, "", 1);
	ret->d = (struct kp_reg_data){type, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
	return type == KP_REG_SZ || type == KP_REG_EXPAND_SZ || type == KP_REG_MULTI_SZ;
}

static bool type_in_brackets(const char *s, size_t len, size_t *ret_len, uint32_t *type)
{
	const char *close = memchr(s, ')', KP_MIN(len, (size_t)12));
	char text[16] = "0x";
	uint64_t value;

	if (!close || (size_t)(close - s) + 1 >= len || close[1] != ':' || close == s + 1 || close - s > 9)
		return false;
	memcpy(text + 2, s + 1, (size_t)(close - s) - 1);
	if (!kp_parse_number(text, strlen(text), &value))
		return false;
	*type = (uint32_t)value;
	*ret_len = (size_t)(close - s) + 2;
	return true;
}

static bool scan_value(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret)
{
	kp_autobuf struct kp_buf bytes = {0};
	const char *v = s + l->value_at;
	size_t end, head;
	uint32_t type = KP_REG_SZ;
	uint64_t number;

	kp_line_span(v, rest - l->value_at, &end);
	if (end && v[0] == '"')
		return scan_text(doc, v, end, KP_REG_SZ, l, ret);
	if (end > 4 && !strncmp(v, "str(", 4) && type_in_brackets(v + 3, end - 3, &head, &type) && v[3 + head] == '"') {
		size_t at = l->value_at;
		bool ok;

		l->value_at += 3 + head;
		ok = scan_text(doc, v + 3 + head, end - 3 - head, type, l, ret);
		l->value_at = at;
		return ok;
	}
	if (end > 6 && end <= 14 && !strncmp(v, "dword:", 6)) {
		char text[16] = "0x";

		memcpy(text + 2, v + 6, end - 6);
		if (!kp_parse_number(text, end - 4, &number))
			return false;
		kp_number_data(doc, number, &ret->d);
		l->value_end = l->value_at + end;
		return true;
	}
	if (end < 4 || strncmp(v, "hex", 3) != 0)
		return false;
	type = KP_REG_BINARY;
	head = 1;
	if (v[3] != ':' && (v[3] != '(' || !type_in_brackets(v + 3, end - 3, &head, &type)))
		return false;
	l->len = l->value_at + joined_span(v, rest - l->value_at);
	doc->unended |= l->len == rest && s[rest - 1 - (s[rest - 1] == '\n')] == '\\';
	l->value_end = l->len;
	while (l->value_end > l->value_at && strchr(" \t\r\n", s[l->value_end - 1]) && s[l->value_end - 1])
		l->value_end--;
	return kp_parse_hex_list(v + 3 + head, l->value_end - l->value_at - 3 - head, &bytes) && bytes_data(doc, type, &bytes, &ret->d);
}

static int scan(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err)
{
	kp_autobuf struct kp_buf text = {0};
	size_t end, at;

	kp_line_span(s, rest, &end);
	if (s == doc->text && (end != strlen(FIRST_LINE) || strncmp(s, FIRST_LINE, end) != 0))
		return kp_fail(err, EINVAL, "line 1: not \"" FIRST_LINE "\"");
	if (!end)
		return 0;
	ret->belongs = s[0] == '#';
	if (s[0] == '[') {
		at = read_text(s, 1, end, ']', &text); /* a backslash that stands for itself parts names */
		l->kind = KP_LINE_SECTION;
		if (at && !memchr(text.data, '\0', text.len) && kp_path_fits(text.data))
			ret->path = kp_arena_text(&doc->arena, text.data, text.len);
		return 0;
	}
	if (s[0] != '@' && s[0] != '"')
		return 0;
	at = s[0] == '@' ? 0 : read_text(s, 1, end, '"', &text);
	if ((s[0] == '"' && !at) || at + 1 >= end || s[at + 1] != '=')
		return 0;
	l->kind = KP_LINE_ENTRY;
	l->name_end = at + 1;
	l->value_at = at + 2;
	l->value_end = end;
	ret->name = kp_arena_text(&doc->arena, text.data ? text.data : "", text.len);
	ret->ignore = (text.len && memchr(text.data, '\0', text.len)) || !scan_value(doc, s, rest, l, ret);
	if (ret->ignore)
		l->value_end = KP_MAX(l->value_at, KP_MIN(l->value_end, l->len));
	return 0;
}

/* As wineserver writes it: all beyond ASCII in units of UTF-16. */
static void put_unit(struct kp_buf *out, uint32_t unit, int next)
{
	kp_buf_printf(out, next >= 0 && next < 128 && isxdigit(next) ? "\\x%04x" : "\\x%x", unit);
}

static void put_text(struct kp_buf *out, const char *s, size_t len, const char *special)
{
	static const char from[] = "\a\b\t\n\v\f\r\033", to[] = "abtnvfre";
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		int next;
		uint32_t c;

		n = kp_get_utf8(s + i, &c);
		next = i + n < len ? (unsigned char)s[i + n] : -1;
		if (c >= 0x10000) {
			put_unit(out, 0xd800 + ((c - 0x10000) >> 10), '\\');
			put_unit(out, 0xdc00 + ((c - 0x10000) & 0x3ff), next);
		} else if (c > 127) {
			put_unit(out, c, next);
		} else if (c < 32 && c && strchr(from, (int)c)) {
			kp_buf_printf(out, "\\%c", to[strchr(from, (int)c) - from]);
		} else if (c < 32) {
			kp_buf_printf(out, next >= '0' && next <= '7' ? "\\%03o" : "\\%o", c);
		} else {
			if (c == '\\' || strchr(special, (int)c))
				kp_buf_add(out, "\\", 1);
			kp_buf_add(out, s + i, 1);
		}
	}
}

static int put_name(const struct kp_doc *doc, const char *name, struct kp_buf *out)
{
	(void)doc;
	if (!*name) {
		kp_buf_puts(out, "@");
		return 0;
	}
	kp_buf_puts(out, "\"");
	put_text(out, name, strlen(name), "\"");
	kp_buf_puts(out, "\"");
	return 0;
}

static int put_section(const struct kp_doc *doc, const char *path, struct kp_buf *out)
{
	(void)doc;
	kp_buf_puts(out, "[");
	put_text(out, path, strlen(path), "[]");
	kp_buf_puts(out, "]");
	return 0;
}

/* Like wineserver, in lines of less than 80 columns. */
static void put_bytes(const struct kp_doc *doc, const struct kp_reg_data *d, struct kp_buf *out)
{
	const uint8_t *data = d->data;
	size_t column = 20;

	if (d->type == KP_REG_BINARY)
		kp_buf_puts(out, "hex:");
	else
		kp_buf_printf(out, "hex(%x):", d->type);
	for (size_t i = 0; i < d->len; i++) {
		kp_buf_printf(out, "%02x%s", data[i], i + 1 < d->len ? "," : "");
		column += 3;
		if (column > 76 && i + 1 < d->len) {
			kp_buf_printf(out, "\\%s  ", doc->newline);
			column = 2;
		}
	}
}

static int put_value(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	const char *s = d->data;
	uint64_t number;

	(void)old;
	if (d->type == KP_REG_DWORD && kp_data_number(d, &number)) {
		kp_buf_printf(out, "dword:%08x", (unsigned)number);
		return 0;
	}
	if (d->type != KP_REG_SZ && d->type != KP_REG_EXPAND_SZ && d->type != KP_REG_MULTI_SZ) {
		put_bytes(doc, d, out);
		return 0;
	}
	/* Each text between zero bytes must be one. */
	for (size_t at = 0; at < d->len;) {
		size_t n = strnlen(s + at, d->len - at);

		if (!kp_text_valid(s + at, n))
			return -EINVAL;
		at += n + 1;
	}
	if (d->type == KP_REG_MULTI_SZ && d->len && s[d->len - 1])
		return -EINVAL;
	if (d->type != KP_REG_SZ)
		kp_buf_printf(out, "str(%x):", d->type);
	kp_buf_puts(out, "\"");
	put_text(out, s, d->len, "\"");
	kp_buf_puts(out, "\"");
	return 0;
}

static const struct kp_line_format wine_lines = {
	.first_line = FIRST_LINE,
	.sep = "=",
	.blank_before_section = true,
	.sections = true,
	.scan = scan,
	.name = put_name,
	.section = put_section,
	.value = put_value,
};

const struct kp_format kp_format_wine = {
	.name = "wine",
	.typed = true,
	.keys = true,
	KP_FORMAT_OF_LINES(wine_lines),
};
