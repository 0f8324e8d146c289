/* SPDX-License-Identifier: Apache-2.0 */
/* Texts: UTF-8 and UTF-16, numbers, bytes; and how formats that know only text tell a typed value. */
#include <ctype.h>

#include "projection/internal.h"

/* Bytes of the character at s, 0 if it is none. Halves of surrogate pairs are let through: Windows' names may hold them. */
static size_t char_len(const unsigned char *s, size_t rest)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (!n || n > rest)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

bool kp_text_valid(const char *s, size_t len)
{
	const unsigned char *at = (const unsigned char *)s;
	bool high = false; /* behind the first half of a pair */

	while (len) {
		size_t n = char_len(at, len);

		/* A pair in two pieces would be another text once it had been through UTF-16. */
		if (!n || !*at || (high && n == 3 && at[0] == 0xed && at[1] >= 0xb0))
			return false;
		high = n == 3 && at[0] == 0xed && at[1] >= 0xa0 && at[1] < 0xb0;
		at += n;
		len -= n;
	}
	return true;
}

size_t kp_text_units(const char *s, size_t len)
{
	size_t units = 0;

	for (size_t i = 0; i < len; i++)
		units += ((unsigned char)s[i] & 0xc0) != 0x80 ? 1 + ((unsigned char)s[i] >= 0xf0) : 0;
	return units;
}

static void put_char(struct kp_buf *out, uint32_t c)
{
	unsigned char b[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; c >>= 6)
		b[i] = (unsigned char)(0x80 | (c & 0x3f));
	b[0] = (unsigned char)(n == 1 ? c : (0xf00U >> n & 0xff) | c);
	kp_buf_add(out, b, n);
}

void kp_put_utf8(struct kp_buf *out, uint32_t c)
{
	const unsigned char *end = (const unsigned char *)out->data + out->len;

	if (c >= 0xdc00 && c < 0xe000 && out->len >= 3 && end[-3] == 0xed && end[-2] >= 0xa0 && end[-2] < 0xb0) {
		uint32_t high = 0xd000U | (uint32_t)(end[-2] & 0x3f) << 6 | (end[-1] & 0x3f);

		out->len -= 3;
		c = 0x10000 + ((high - 0xd800) << 10) + (c - 0xdc00);
	}
	put_char(out, c);
}

size_t kp_get_utf8(const char *s, uint32_t *ret_c)
{
	const unsigned char *b = (const unsigned char *)s;
	size_t n = b[0] < 0x80 ? 1 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? b[0] : b[0] & (0x7fU >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (b[i] & 0x3f);
	*ret_c = c;
	return n;
}

bool kp_units_to_text(const uint8_t *data, size_t len, struct kp_buf *out)
{
	if (len % 2)
		return false;
	for (size_t i = 0; i < len; i += 2)
		kp_put_utf8(out, (uint32_t)(data[i] | data[i + 1] << 8));
	return true;
}

bool kp_parse_number(const char *s, size_t len, uint64_t *ret)
{
	unsigned base = len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10;
	size_t i = base == 16 ? 2 : 0;
	uint64_t value = 0;

	if (!len)
		return false;
	for (; i < len; i++) {
		unsigned c = (unsigned char)s[i];
		unsigned digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;

		if (digit >= base || value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return true;
}

static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}};

static int word_pair(const char *s, size_t len, int *ret_pair)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(words); i++)
		for (int yes = 0; yes < 2; yes++)
			if (strlen(words[i][yes]) == len && !strncasecmp(words[i][yes], s, len)) {
				*ret_pair = (int)i;
				return yes;
			}
	return -1;
}

int kp_bool_word(const char *s, size_t len)
{
	int pair;

	return word_pair(s, len, &pair);
}

void kp_number_data(struct kp_doc *doc, uint64_t value, struct kp_reg_data *d)
{
	uint8_t *bytes = kp_arena_get(&doc->arena, 8);

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
	*d = value > UINT32_MAX ? (struct kp_reg_data){KP_REG_QWORD, 8, bytes} : (struct kp_reg_data){KP_REG_DWORD, 4, bytes};
}

bool kp_data_number(const struct kp_reg_data *d, uint64_t *ret)
{
	const uint8_t *bytes = d->data;
	size_t len = d->type == KP_REG_DWORD ? 4 : d->type == KP_REG_QWORD ? 8 : 0;

	if (!len || d->len != len)
		return false;
	*ret = 0;
	while (len--)
		*ret = *ret << 8 | bytes[len];
	return true;
}

void kp_hex_list(struct kp_buf *out, const uint8_t *data, size_t len)
{
	char two[3];

	for (size_t i = 0; i < len; i++) {
		if (i)
			kp_buf_add(out, ",", 1);
		kp_hex(two, data + i, 1);
		kp_buf_add(out, two, 2);
	}
}

bool kp_parse_hex_list(const char *s, size_t len, struct kp_buf *out)
{
	const char *end = s + len;
	bool comma = false;

	kp_buf_add(out, "", 0);
	for (;;) {
		uint64_t byte;
		char two[4] = "0x";

		while (s < end && (strchr(" \t\r\n\\", *s) && *s))
			s++;
		if (s == end)
			return !comma;
		if (end - s < 2 || !isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) || (out->len && !comma))
			return false;
		two[2] = s[0];
		two[3] = s[1];
		(void)kp_parse_number(two, 4, &byte);
		kp_buf_add(out, &(unsigned char){(unsigned char)byte}, 1);
		s += 2;
		while (s < end && (strchr(" \t\r\n\\", *s) && *s))
			s++;
		comma = s < end && *s == ',';
		s += comma;
	}
}

static void put_number(struct kp_buf *out, uint64_t value, const char *old, size_t old_len)
{
	int pair;
	bool word = old && value < 2 && word_pair(old, old_len, &pair) >= 0;

	if (word)
		for (const char *c = words[pair][value]; *c; c++) {
			/* TRUE, True, true: as the old one was. */
			bool upper = isupper((unsigned char)old[c == words[pair][value] ? 0 : 1]);

			kp_buf_add(out, &(char){(char)(upper ? toupper(*c) : *c)}, 1);
		}
	else if (old_len > 2 && old[0] == '0' && (old[1] == 'x' || old[1] == 'X'))
		kp_buf_printf(out, "0x%llx", (unsigned long long)value);
	else
		kp_buf_printf(out, "%llu", (unsigned long long)value);
}

int kp_plain_text(struct kp_buf *out, const struct kp_reg_data *d, const char *old, size_t old_len)
{
	uint64_t number;

	kp_buf_add(out, "", 0);
	if (d->type == KP_REG_MULTI_SZ)
		return -EINVAL;
	if (d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ) {
		if (d->len && !kp_text_valid(d->data, d->len))
			return -EINVAL;
		kp_buf_add(out, d->data, d->len);
	} else if (kp_data_number(d, &number)) {
		put_number(out, number, old, old_len);
	} else {
		if (d->type == KP_REG_BINARY)
			kp_buf_puts(out, "hex:");
		else
			kp_buf_printf(out, "hex(%x):", d->type);
		kp_hex_list(out, d->data, d->len);
	}
	return 0;
}

bool kp_plain_parse(struct kp_doc *doc, const char *s, size_t len, uint32_t hint, struct kp_reg_data *ret)
{
	kp_autobuf struct kp_buf bytes = {0};
	char prefix[24];
	uint64_t number;
	int word;

	if (hint == KP_REG_SZ || hint == KP_REG_EXPAND_SZ || hint == KP_REG_MULTI_SZ)
		return false;
	if (hint == KP_REG_DWORD || hint == KP_REG_QWORD) {
		word = kp_bool_word(s, len);
		if (word >= 0)
			number = (uint64_t)word;
		if ((word >= 0 || kp_parse_number(s, len, &number)) && (hint == KP_REG_QWORD || number <= UINT32_MAX)) {
			kp_number_data(doc, number, ret);
			*ret = (struct kp_reg_data){hint, hint == KP_REG_QWORD ? 8 : 4, ret->data};
			return true;
		}
	}
	if (hint == KP_REG_BINARY)
		(void)snprintf(prefix, sizeof(prefix), "hex:");
	else
		(void)snprintf(prefix, sizeof(prefix), "hex(%x):", hint);
	if (len < strlen(prefix) || strncmp(s, prefix, strlen(prefix)) != 0 ||
	    !kp_parse_hex_list(s + strlen(prefix), len - strlen(prefix), &bytes))
		return false;
	*ret = (struct kp_reg_data){hint, bytes.len, kp_arena_text(&doc->arena, bytes.data, bytes.len)};
	return true;
}
