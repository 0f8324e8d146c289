/* SPDX-License-Identifier: Apache-2.0 */
/* Names of hives, types, keys and values: what is one, and which are the same. */
#include "registry/internal.h"

const char *const kp_reg_hive_short[KP_REG_HIVES] = {"HKLM", "HKCU"};
const char *const kp_reg_hive_long[KP_REG_HIVES] = {"HKEY_LOCAL_MACHINE", "HKEY_CURRENT_USER"};

static const struct {
	uint32_t type;
	const char *name;
} type_names[] = {
	{KP_REG_NONE, "REG_NONE"}, {KP_REG_SZ, "REG_SZ"}, {KP_REG_EXPAND_SZ, "REG_EXPAND_SZ"}, {KP_REG_BINARY, "REG_BINARY"},
	{KP_REG_DWORD, "REG_DWORD"}, {KP_REG_MULTI_SZ, "REG_MULTI_SZ"}, {KP_REG_QWORD, "REG_QWORD"},
};

const char *kp_reg_type_name(uint32_t type, char buf[KP_REG_TYPE_NAME])
{
	for (size_t i = 0; i < KP_ARRAY_LEN(type_names); i++)
		if (type_names[i].type == type)
			return type_names[i].name;
	(void)snprintf(buf, KP_REG_TYPE_NAME, "REG_0x%x", type);
	return buf;
}

int kp_reg_type_by_name(const char *name, uint32_t *ret_type)
{
	unsigned long n;
	char *end;

	for (size_t i = 0; i < KP_ARRAY_LEN(type_names); i++)
		if (!strcasecmp(type_names[i].name, name)) {
			*ret_type = type_names[i].type;
			return 0;
		}
	if (strncasecmp(name, "REG_0x", 6) != 0 || !name[6] || strspn(name + 6, "0123456789abcdefABCDEF") != strlen(name + 6) ||
	    strlen(name + 6) > 8)
		return -EINVAL;
	n = strtoul(name + 6, &end, 16);
	*ret_type = (uint32_t)n;
	return 0;
}

/* --- UTF-8 --- */

int32_t kp_utf8_next(const char **s, const char *end)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)*s;
	size_t left = (size_t)(end - *s), len;
	uint32_t c = p[0];

	if (c < 0x80) {
		*s += 1;
		return (int32_t)c;
	}
	len = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
	if (!len || c >= 0xf8 || len > left)
		return -1;
	c &= 0x7fU >> len;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff)
		return -1;
	*s += len;
	return (int32_t)c;
}

size_t kp_utf8_put(char out[4], uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* --- folding --- */

static const struct {
	uint32_t first, last, step;
	int32_t delta;
} folds[] = {
#include "registry/fold.inc"
};

static uint32_t fold_one(uint32_t c)
{
	size_t low = 0, high = KP_ARRAY_LEN(folds);

	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c < folds[mid].first)
			high = mid;
		else if (c > folds[mid].last)
			low = mid + 1;
		else
			return (c - folds[mid].first) % folds[mid].step ? c : (uint32_t)((int32_t)c + folds[mid].delta);
	}
	return c;
}

/* Into out, which has 3 bytes for each 2 of s and a few more; the length, or -EILSEQ. Two halves of a pair that came apart are one letter
 * to Windows, and have another spelling: they are refused. */
static ssize_t fold_into(char *out, const char *s, size_t len, size_t *ret_units)
{
	const char *end = s + len;
	size_t at = 0, units = 0;
	bool high = false;

	while (s < end) {
		int32_t c = kp_utf8_next(&s, end);

		if (c < 0 || (high && c >= 0xdc00 && c < 0xe000))
			return -EILSEQ;
		high = c >= 0xd800 && c < 0xdc00;
		units += c >= 0x10000 ? 2 : 1;
		at += kp_utf8_put(out + at, fold_one((uint32_t)c));
	}
	out[at] = '\0';
	*ret_units = units;
	return (ssize_t)at;
}

static size_t fold_room(size_t len)
{
	return len + len / 2 + 5;
}

char *kp_reg_fold(const char *name)
{
	size_t len = strlen(name), units;
	char *out = kp_calloc(1, fold_room(len));

	if (fold_into(out, name, len, &units) < 0)
		memcpy(out, name, len + 1);
	return out;
}

int kp_reg_name_units(const char *name, size_t *ret_units)
{
	size_t len = strlen(name);
	kp_autofree char *out = kp_calloc(1, fold_room(len));
	ssize_t n = fold_into(out, name, len, ret_units);

	return n < 0 ? (int)n : 0;
}

int kp_fold_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, KP_MIN(a_len, b_len));

	return order ? order : a_len < b_len ? -1 : a_len > b_len;
}

int kp_regname_value(const char *name, struct kp_regname *ret)
{
	size_t len = strlen(name), units;
	char *fold;
	ssize_t n;

	if (len > 3 * (size_t)KP_REG_VALUE_NAME)
		return -ENAMETOOLONG;
	fold = kp_calloc(1, fold_room(len));
	n = fold_into(fold, name, len, &units);
	if (n < 0 || units > KP_REG_VALUE_NAME) {
		free(fold);
		return n < 0 ? -EINVAL : -ENAMETOOLONG;
	}
	*ret = (struct kp_regname){name, fold, len, (size_t)n};
	return 0;
}

/* --- paths --- */

/* Which hive text (of len bytes) names: its short name and what of a path comes with it; NULL: none. */
static const char *hive_of(const char *text, size_t len, const char **ret_more)
{
	*ret_more = "";
	for (int i = 0; i < KP_REG_HIVES; i++)
		if ((len == strlen(kp_reg_hive_short[i]) && !strncasecmp(text, kp_reg_hive_short[i], len)) ||
		    (len == strlen(kp_reg_hive_long[i]) && !strncasecmp(text, kp_reg_hive_long[i], len)))
			return kp_reg_hive_short[i];
	if ((len == 4 && !strncasecmp(text, "HKCR", 4)) || (len == 17 && !strncasecmp(text, "HKEY_CLASSES_ROOT", 17))) {
		*ret_more = "\\Software\\Classes"; /* where Windows keeps it */
		return kp_reg_hive_short[KP_REG_HKLM];
	}
	return NULL;
}

static int parse_part(const char *name, size_t len, char **at, struct kp_regname *ret)
{
	size_t units;
	ssize_t n;

	if (!len)
		return -EINVAL;
	if (len > 3 * (size_t)KP_REG_KEY_NAME)
		return -ENAMETOOLONG;
	memcpy(*at, name, len);
	(*at)[len] = '\0';
	ret->name = *at;
	ret->name_len = len;
	*at += len + 1;
	n = fold_into(*at, name, len, &units);
	if (n < 0)
		return -EINVAL;
	if (units > KP_REG_KEY_NAME)
		return -ENAMETOOLONG;
	ret->fold = *at;
	ret->fold_len = (size_t)n;
	*at += n + 1;
	return 0;
}

int kp_regpath_parse(const char *key, struct kp_regpath *ret)
{
	const char *more, *hive = hive_of(key, strcspn(key, "\\"), &more);
	kp_autofree char *whole = NULL;
	size_t len, depth = 1;
	struct kp_regpath p = {0};
	char *at;

	if (!hive)
		return -EINVAL;
	whole = kp_asprintf("%s%s%s", hive, more, key + strcspn(key, "\\"));
	for (len = strlen(whole); whole[len - 1] == '\\'; len--)
		whole[len - 1] = '\0';
	for (const char *c = whole; *c; c++)
		depth += *c == '\\';
	if (depth > KP_REG_DEPTH)
		return -ENAMETOOLONG;
	p.part = kp_calloc(1, depth * (sizeof(*p.part) + 8) + len + fold_room(len));
	at = (char *)(p.part + depth);
	for (const char *name = whole;;) {
		size_t n = strcspn(name, "\\");
		int rc = parse_part(name, n, &at, &p.part[p.depth++]);

		if (rc) {
			free(p.part);
			return rc;
		}
		if (!name[n])
			break;
		name += n + 1;
	}
	*ret = p;
	return 0;
}

void kp_regpath_free(struct kp_regpath *p)
{
	free(p->part);
	*p = (struct kp_regpath){0};
}

bool kp_reg_key_within(const char *key, const char *above)
{
	struct kp_regpath kp_autoregpath p = {0}, up = {0};
	bool within = !kp_regpath_parse(key, &p) && !kp_regpath_parse(above, &up) && up.depth <= p.depth;

	for (size_t i = 0; within && i < up.depth; i++)
		within = !kp_fold_order(p.part[i].fold, p.part[i].fold_len, up.part[i].fold, up.part[i].fold_len);
	return within;
}
