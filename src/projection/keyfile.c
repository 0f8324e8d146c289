/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfile: what GLib's key files hold when GSettings writes them. A group is a path with slashes, a value the text of a GVariant. What is
 * no literal of those that the registry has types for is kept as its text.
 */
#include <ctype.h>

#include "projection/internal.h"

static size_t trim(const char *s, size_t from, size_t end)
{
	while (end > from && (kp_is_blank(s[end - 1]) || s[end - 1] == '\r'))
		end--;
	return end;
}

/* A quoted string from s on; its bytes, quotes included, or 0. */
static size_t read_string(const char *s, size_t len, struct kp_buf *out)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	char quote = len ? s[0] : 0;
	size_t i = 1;

	kp_buf_add(out, "", 0);
	if (quote != '\'' && quote != '"')
		return 0;
	for (; i < len && s[i] != quote; i++) {
		const char *which;
		size_t digits;

		if (s[i] != '\\') {
			kp_buf_add(out, s + i, 1);
			continue;
		}
		if (++i == len)
			return 0;
		digits = s[i] == 'u' ? 4 : s[i] == 'U' ? 8 : 0;
		which = s[i] ? strchr(from, s[i]) : NULL;
		if (digits) {
			char hex[12] = "0x";
			uint64_t c;

			if (len - i <= digits)
				return 0;
			memcpy(hex + 2, s + i + 1, digits);
			if (!kp_parse_number(hex, digits + 2, &c) || !c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
				return 0;
			kp_put_utf8(out, (uint32_t)c);
			i += digits;
		} else {
			kp_buf_add(out, which ? to + (which - from) : s + i, 1);
		}
	}
	return i < len ? i + 1 : 0;
}

static void write_string(struct kp_buf *out, const char *s, size_t len)
{
	static const char from[] = "\a\b\f\n\r\t\v", to[] = "abfnrtv";
	char quote = memchr(s, '\'', len) && !memchr(s, '"', len) ? '"' : '\'';

	kp_buf_add(out, &quote, 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		const char *which = strchr(from, s[i]);

		if (which)
			kp_buf_printf(out, "\\%c", to[which - from]);
		else if (c < 0x20 || c == 0x7f)
			kp_buf_printf(out, "\\u%04x", c);
		else
			kp_buf_printf(out, s[i] == quote || s[i] == '\\' ? "\\%c" : "%c", s[i]);
	}
	kp_buf_add(out, &quote, 1);
}

static size_t blanks(const char *s, size_t at, size_t len)
{
	while (at < len && kp_is_blank(s[at]))
		at++;
	return at;
}

/* ['a', 'b'] or @as []: the texts, each with a zero byte. */
static bool read_list(const char *s, size_t len, struct kp_buf *out)
{
	size_t at = 0;

	kp_buf_add(out, "", 0);
	if (len >= 3 && !strncmp(s, "@as", 3))
		at = blanks(s, 3, len);
	if (at == len || s[at] != '[')
		return false;
	if (blanks(s, at + 1, len) + 1 == len && s[len - 1] == ']')
		return at; /* an empty list tells no type without one */
	do {
		kp_autobuf struct kp_buf text = {0};
		size_t n;

		at = blanks(s, at + 1, len);
		n = read_string(s + at, len - at, &text);
		if (!n || !kp_text_valid(text.data, text.len))
			return false;
		kp_buf_add(out, text.data, text.len + 1);
		at = blanks(s, at + n, len);
	} while (at < len && s[at] == ',');
	return at + 1 == len && s[at] == ']';
}

/* "uint32 5": where the number begins; 0 without a word. */
static size_t number_word(const char *s, size_t len)
{
	static const char *const kinds[] = {"byte", "int16", "uint16", "int32", "uint32", "handle", "int64", "uint64"};

	for (size_t i = 0; i < KP_ARRAY_LEN(kinds); i++) {
		size_t n = strlen(kinds[i]);

		if (len > n && !strncmp(s, kinds[i], n) && kp_is_blank(s[n]))
			return blanks(s, n, len);
	}
	return 0;
}

static bool is_number(const char *s, size_t len, uint64_t *ret)
{
	/* A zero in front means octal there. */
	return kp_parse_number(s, len, ret) && !(len > 1 && s[0] == '0' && isdigit((unsigned char)s[1]));
}

static void scan_value(struct kp_doc *doc, const char *s, size_t len, struct kp_scan *ret)
{
	kp_autobuf struct kp_buf text = {0}, list = {0};
	size_t word = number_word(s, len);
	uint64_t number;

	ret->d = (struct kp_reg_data){KP_REG_SZ, len, s};
	ret->spelling = KP_SPELL_RAW;
	ret->literal = kp_arena_text(&doc->arena, s, len);
	ret->literal_len = len;
	if (len && read_string(s, len, &text) == len) {
		ret->spelling = KP_SPELL_SINGLE;
		ret->literal = NULL;
		ret->d = (struct kp_reg_data){KP_REG_SZ, text.len, kp_arena_text(&doc->arena, text.data, text.len)};
	} else if ((len == 4 && !strncmp(s, "true", 4)) || (len == 5 && !strncmp(s, "false", 5))) {
		ret->spelling = KP_SPELL_BOOL;
		kp_number_data(doc, len == 4, &ret->d);
	} else if (is_number(s + word, len - word, &number)) {
		ret->spelling = KP_SPELL_NUMBER;
		kp_number_data(doc, number, &ret->d);
	} else if (read_list(s, len, &list)) {
		ret->spelling = KP_SPELL_LIST;
		ret->literal = NULL;
		ret->d = (struct kp_reg_data){KP_REG_MULTI_SZ, list.len, kp_arena_text(&doc->arena, list.data, list.len)};
	} else {
		ret->d.data = ret->literal;
	}
}

static const char *group_path(struct kp_doc *doc, const char *s, size_t len)
{
	char *path = kp_arena_text(&doc->arena, s, len);

	if (!len || memchr(path, '\\', len) || memchr(path, '\0', len))
		return NULL;
	for (char *c = path; *c; c++)
		if (*c == '/')
			*c = '\\';
	return path[len - 1] != '\\' && kp_path_fits(path) ? path : NULL;
}

static int scan(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err)
{
	size_t body, at, end;
	const char *mark;

	(void)err;
	kp_line_span(s, rest, &body);
	at = blanks(s, 0, body);
	end = trim(s, at, body);
	if (at == end || s[at] == '#')
		return 0;
	if (s[at] == '[') {
		l->kind = KP_LINE_SECTION;
		if (end - at > 2 && s[end - 1] == ']')
			ret->path = group_path(doc, s + at + 1, end - at - 2);
		return 0;
	}
	mark = memchr(s, '=', end);
	if (!mark)
		return 0;
	l->name_at = at;
	l->name_end = trim(s, at, (size_t)(mark - s));
	if (l->name_end == at)
		return 0;
	l->kind = KP_LINE_ENTRY;
	l->value_at = blanks(s, (size_t)(mark - s) + 1, end);
	l->value_end = KP_MAX(end, l->value_at);
	ret->name = kp_arena_text(&doc->arena, s + at, l->name_end - at);
	ret->ignore = memchr(s + at, '\0', l->name_end - at);
	if (!strcmp(ret->name, "@"))
		ret->name = "";
	scan_value(doc, s + l->value_at, l->value_end - l->value_at, ret);
	return 0;
}

static int put_name(const struct kp_doc *doc, const char *name, struct kp_buf *out)
{
	size_t len = strlen(name);

	(void)doc;
	if (!strcmp(name, "@") || strpbrk(name, "=[]"))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20)
			return -EINVAL;
	if (len && (name[0] == '#' || kp_is_blank(name[0]) || kp_is_blank(name[len - 1])))
		return -EINVAL;
	kp_buf_puts(out, len ? name : "@");
	return 0;
}

static int put_section(const struct kp_doc *doc, const char *path, struct kp_buf *out)
{
	(void)doc;
	if (!*path)
		return -EINVAL;
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == '[' || *c == ']' || *c == '/')
			return -EINVAL;
	kp_buf_puts(out, "[");
	for (const char *c = path; *c; c++)
		kp_buf_add(out, *c == '\\' ? "/" : c, 1);
	kp_buf_puts(out, "]");
	return 0;
}

/* A text that is to stand without quotes: what GSettings would read as another type than a string, and as a string if it expects one. */
static bool is_literal(struct kp_doc *doc, const char *s, size_t len)
{
	static const char open[] = "[({<", close[] = "])}>";
	struct kp_scan found = {0};
	const char *which;

	if (!len || s[0] == ' ' || s[0] == '\t' || s[len - 1] == ' ' || s[len - 1] == '\t')
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == '\'' || s[i] == '\\')
			return false;
	scan_value(doc, s, len, &found);
	which = strchr(open, s[0]);
	if (found.spelling == KP_SPELL_BOOL || found.spelling == KP_SPELL_NUMBER)
		return true;
	if (s[0] == '-' && len > 1)
		return strspn(s + 1, "0123456789.") == len - 1;
	if (isdigit((unsigned char)s[0]))
		return strspn(s, "0123456789.") == len;
	return found.spelling == KP_SPELL_RAW && which && s[len - 1] == close[which - open];
}

static int put_value(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out)
{
	kp_autobuf struct kp_buf text = {0};
	uint64_t number;
	size_t word;
	bool raw;
	int rc;

	if (d->type == KP_REG_MULTI_SZ) {
		const char *s = d->data, *end = s + d->len;

		if (d->len && end[-1])
			return -EINVAL;
		kp_buf_puts(out, d->len ? "[" : "@as []");
		for (; s < end; s += strlen(s) + 1) {
			if (!kp_text_valid(s, strlen(s)))
				return -EINVAL;
			kp_buf_puts(out, s == d->data ? "" : ", ");
			write_string(out, s, strlen(s));
		}
		kp_buf_puts(out, d->len ? "]" : "");
		return 0;
	}
	if (kp_data_number(d, &number)) {
		if (old && old->spelling == KP_SPELL_BOOL && number < 2) {
			kp_buf_puts(out, number ? "true" : "false");
			return 0;
		}
		word = old && old->spelling == KP_SPELL_NUMBER ? number_word(old->literal, old->literal_len) : 0;
		kp_buf_add(out, old ? old->literal : "", word);
		kp_buf_printf(out, "%llu", (unsigned long long)number);
		return 0;
	}
	rc = kp_plain_text(&text, d, NULL, 0);
	if (rc)
		return rc;
	/* What a program of another kind wrote without quotes stays so, if it reads back as the same. */
	raw = d->type != KP_REG_SZ ? false : is_literal(doc, text.data, text.len);
	if (!raw && old && old->spelling == KP_SPELL_RAW && d->type == KP_REG_SZ && text.len) {
		struct kp_scan found = {0};

		scan_value(doc, text.data, text.len, &found);
		raw = found.spelling == KP_SPELL_RAW && !kp_is_blank(text.data[0]) && !kp_is_blank(text.data[text.len - 1]);
		for (size_t i = 0; i < text.len; i++)
			raw &= (unsigned char)text.data[i] >= 0x20;
	}
	if (raw)
		kp_buf_add(out, text.data, text.len);
	else
		write_string(out, text.data, text.len);
	return 0;
}

static const struct kp_line_format keyfile_lines = {
	.sep = "=",
	.blank_before_section = true,
	.sections = true,
	.scan = scan,
	.name = put_name,
	.section = put_section,
	.value = put_value,
};

const struct kp_format kp_format_keyfile = {
	.name = "keyfile",
	.exact_case = true,
	KP_FORMAT_OF_LINES(keyfile_lines),
};
