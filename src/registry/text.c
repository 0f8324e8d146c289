/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text: as Windows keeps them, as people write them, as files show them. */
#include <ctype.h>
#include <inttypes.h>

#include "registry/internal.h"

/* --- UTF-16 and code pages --- */

int kp_utf16_to_text(const void *bytes, size_t len, struct kp_buf *out)
{
	const uint8_t *p = bytes;
	char utf8[4];

	if (len % 2)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 2) {
		uint32_t c = (uint32_t)(p[i] | p[i + 1] << 8), low;

		if (c >= 0xd800 && c < 0xdc00 && i + 3 < len) {
			low = (uint32_t)(p[i + 2] | p[i + 3] << 8);
			if (low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i += 2;
			}
		}
		kp_buf_add(out, utf8, kp_utf8_put(utf8, c));
	}
	return 0;
}

static void put_unit(struct kp_buf *out, uint32_t unit)
{
	uint8_t b[2] = {(uint8_t)unit, (uint8_t)(unit >> 8)};

	kp_buf_add(out, b, 2);
}

void kp_text_to_utf16(const char *text, size_t len, struct kp_buf *out)
{
	const char *end = text + len;

	while (text < end) {
		int32_t c = kp_utf8_next(&text, end);

		if (c < 0) { /* no text: the byte as it is */
			put_unit(out, (uint8_t)*text++);
		} else if (c < 0x10000) {
			put_unit(out, (uint32_t)c);
		} else {
			put_unit(out, 0xd800 + (((uint32_t)c - 0x10000) >> 10));
			put_unit(out, 0xdc00 + (((uint32_t)c - 0x10000) & 0x3ff));
		}
	}
}

static bool is_utf8(const char *s, size_t len)
{
	for (const char *end = s + len; s < end;)
		if (kp_utf8_next(&s, end) < 0)
			return false;
	return true;
}

void kp_ansi_to_text(const char *bytes, size_t len, struct kp_buf *out)
{
	static const uint16_t high[32] = {0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160,
					  0x2039, 0x152, 0x8d, 0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
					  0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178};
	char utf8[4];

	if (is_utf8(bytes, len)) {
		kp_buf_add(out, bytes, len);
		return;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		kp_buf_add(out, utf8, kp_utf8_put(utf8, c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c));
	}
}

/* --- as Windows keeps them --- */

static bool is_text(uint32_t type)
{
	return type == KP_REG_SZ || type == KP_REG_EXPAND_SZ || type == KP_REG_MULTI_SZ;
}

int kp_reg_data_from_windows(uint32_t type, const void *bytes, size_t len, bool wide, struct kp_buf *out)
{
	size_t at = out->len;
	int rc = 0;

	kp_buf_add(out, "", 0);
	if (!is_text(type)) {
		kp_buf_add(out, bytes, len);
		return 0;
	}
	if (wide)
		rc = kp_utf16_to_text(bytes, len, out);
	else
		kp_ansi_to_text(bytes, len, out);
	if (rc)
		return rc;
	/* A list ends with one zero more than its texts, a text with one. */
	if (out->len > at && !out->data[out->len - 1] && (type != KP_REG_MULTI_SZ || out->len == at + 1 || !out->data[out->len - 2]))
		out->len--;
	if (type == KP_REG_MULTI_SZ && out->len > at && out->data[out->len - 1])
		kp_buf_add(out, "", 1);
	return 0;
}

void kp_reg_data_to_windows(const struct kp_reg_data *d, struct kp_buf *out)
{
	if (!is_text(d->type)) {
		kp_buf_add(out, d->data, d->len);
		return;
	}
	kp_text_to_utf16(d->data, d->len, out);
	put_unit(out, 0);
}

/* --- as people write them --- */

static int parse_number(const char *text, unsigned size, struct kp_buf *out)
{
	uint64_t n;
	char *end;

	while (isspace((unsigned char)*text))
		text++;
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10);
	while (isspace((unsigned char)*end))
		end++;
	if (*end || errno || (size == 4 && n > UINT32_MAX))
		return -EINVAL;
	kp_buf_add(out, &n, size);
	return 0;
}

static int parse_bytes(const char *text, struct kp_buf *out)
{
	for (;;) {
		unsigned byte = 0;

		text += strspn(text, " \t,:-");
		if (!*text)
			return 0;
		for (int i = 0; i < 2; i++, text++) {
			if (!isxdigit((unsigned char)*text))
				return -EINVAL;
			byte = byte << 4 | (unsigned)(isdigit((unsigned char)*text) ? *text - '0' : (*text | 32) - 'a' + 10);
		}
		kp_buf_add(out, &(uint8_t){(uint8_t)byte}, 1);
	}
}

int kp_reg_data_parse(uint32_t type, char *const *texts, size_t count, struct kp_buf *out, const char **ret_why)
{
	const char *first = count ? texts[0] : "";
	int rc = 0;

	kp_buf_add(out, "", 0);
	*ret_why = "one text was expected";
	if (count > 1 && type != KP_REG_MULTI_SZ)
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		if (!is_utf8(texts[i], strlen(texts[i]))) {
			*ret_why = "it is not UTF-8";
			return -EINVAL;
		}
	switch (type) {
	case KP_REG_SZ:
	case KP_REG_EXPAND_SZ: kp_buf_add(out, first, strlen(first)); break;
	case KP_REG_MULTI_SZ:
		for (size_t i = 0; i < count; i++)
			kp_buf_add(out, texts[i], strlen(texts[i]) + 1);
		break;
	case KP_REG_DWORD:
		*ret_why = "a number up to 4294967295, or from 0x0 to 0xffffffff, was expected";
		rc = parse_number(first, 4, out);
		break;
	case KP_REG_QWORD:
		*ret_why = "a number of at most 64 bits was expected, decimal or 0x";
		rc = parse_number(first, 8, out);
		break;
	default:
		*ret_why = "bytes in hexadecimal were expected";
		rc = parse_bytes(first, out);
		break;
	}
	return !rc && out->len > KP_REG_DATA ? (*ret_why = "it is longer than 16 MiB", -EINVAL) : rc;
}

/* --- as files --- */

static size_t number_size(uint32_t type)
{
	return type == KP_REG_DWORD ? 4 : type == KP_REG_QWORD ? 8 : 0;
}

void kp_reg_data_to_file(const struct kp_reg_data *d, struct kp_buf *out)
{
	size_t size = number_size(d->type);
	const char *data = d->data;

	kp_buf_add(out, "", 0);
	if (size && d->len == size) {
		uint64_t n = 0;

		memcpy(&n, data, size);
		kp_buf_printf(out, "%" PRIu64, n);
	} else if (size) {
		kp_buf_puts(out, "hex:");
		for (size_t i = 0; i < d->len; i++)
			kp_buf_printf(out, "%s%02x", i ? "," : "", (unsigned char)data[i]);
	} else if (d->type == KP_REG_MULTI_SZ && !memchr(data, '\n', d->len)) {
		for (size_t i = 0; i < d->len; i++)
			kp_buf_add(out, data[i] ? &data[i] : "\n", 1);
	} else {
		kp_buf_add(out, data, d->len);
	}
}

static int number_from_file(uint32_t type, const char *bytes, size_t len, struct kp_buf *out)
{
	kp_autofree char *text = kp_strndup(bytes, len);
	size_t at = out->len;
	int rc;

	if (strlen(text) != len)
		return -EINVAL;
	while (len && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	if (!len) {
		kp_buf_add(out, "\0\0\0\0\0\0\0", number_size(type));
		return 0;
	}
	rc = !strncasecmp(text, "hex:", 4) ? parse_bytes(text + 4, out) : parse_number(text, (unsigned)number_size(type), out);
	if (rc)
		out->len = at;
	return rc;
}

void kp_reg_data_from_file(uint32_t type, const void *bytes, size_t len, uint32_t *ret_type, struct kp_buf *out)
{
	const char *text = bytes;
	int rc = 0;

	kp_buf_add(out, "", 0);
	*ret_type = type;
	if (is_text(type) && !is_utf8(text, len)) {
		rc = -EINVAL;
	} else if (number_size(type)) {
		rc = number_from_file(type, text, len, out);
	} else if (type == KP_REG_MULTI_SZ && len && !memchr(text, 0, len)) {
		for (size_t i = 0; i < len; i++)
			kp_buf_add(out, text[i] == '\n' ? "" : &text[i], 1);
		if (text[len - 1] != '\n')
			kp_buf_add(out, "", 1);
	} else if (type == KP_REG_MULTI_SZ && len) {
		kp_buf_add(out, text, len);
		if (text[len - 1])
			kp_buf_add(out, "", 1);
	} else {
		kp_buf_add(out, text, len);
	}
	if (rc) {
		*ret_type = KP_REG_BINARY;
		kp_buf_add(out, text, len);
	}
}
