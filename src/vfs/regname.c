/* SPDX-License-Identifier: Apache-2.0 */
/* One file name for each key and value, and back (docs/REGISTRY.md). */
#include <ctype.h>

#include "registry/registry.h"
#include "vfs/regtree_internal.h"

#define VALUE_MARK "%val" /* behind a value's name where a key has the same */
#define LONG_MARK "%~"    /* behind what there is room for of a long name; 16 hex digits of its folded form follow */
#define LONG_TAIL (sizeof(LONG_MARK) - 1 + 16)
#define MARK_LEN (sizeof(VALUE_MARK) - 1)

static uint64_t hash_of(const char *name)
{
	kp_autofree char *fold = kp_reg_fold(name);

	return kp_hash_string(fold);
}

/* Not within a character or an escape. */
static size_t cut(const char *text, size_t at)
{
	while (at && ((text[at] & 0xc0) == 0x80 || text[at - 1] == '%' || (at > 1 && text[at - 2] == '%')))
		at--;
	return at;
}

void kp_regtree_encode(const char *name, bool value, bool clash, char *out)
{
	size_t len = strlen(name);
	bool dots = len && len <= 2 && name[len - 1] == '.' && name[0] == '.';
	kp_autobuf struct kp_buf b = {0};

	if (value && !len)
		kp_buf_puts(&b, "@");
	for (const char *p = name; *p; p++) {
		bool escaped = *p == '/' || *p == '%' || dots || (value && *p == '@' && len == 1);

		if (escaped)
			kp_buf_printf(&b, "%%%02X", (unsigned char)*p);
		else
			kp_buf_add(&b, p, 1);
	}
	if (b.len > NAME_MAX - MARK_LEN) {
		b.len = cut(b.data, NAME_MAX - MARK_LEN - LONG_TAIL);
		kp_buf_puts(&b, LONG_MARK);
		kp_buf_printf(&b, "%016llx", (unsigned long long)hash_of(name));
	}
	if (clash && len)
		kp_buf_puts(&b, VALUE_MARK);
	memcpy(out, b.data ? b.data : "", b.len + 1);
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

static char *decode(const char *file, size_t len)
{
	kp_autofree char *name = kp_calloc(1, len + 1);
	size_t at = 0;

	for (size_t i = 0; i < len; i++) {
		int high = i + 2 < len ? hex_digit(file[i + 1]) : -1, low = high < 0 ? -1 : hex_digit(file[i + 2]);

		if (file[i] != '%') {
			name[at++] = file[i];
		} else if (low < 0 || !(high << 4 | low)) {
			return NULL;
		} else {
			name[at++] = (char)(high << 4 | low);
			i += 2;
		}
	}
	return at ? kp_take_ptr(name) : NULL;
}

struct search {
	uint64_t hash;
	char *found;
};

static int look_name(const char *name, void *ctx)
{
	struct search *s = ctx;

	if (3 * strlen(name) <= NAME_MAX - MARK_LEN || hash_of(name) != s->hash)
		return 0;
	s->found = kp_strdup(name);
	return 1;
}

static int look_value(const struct kp_reg_value *value, void *ctx)
{
	return look_name(value->name, ctx);
}

/* The one of which a hash stands at the end of file. */
static char *find_long(struct kp_reg *r, const char *key, const char *digits, bool value)
{
	struct search s = {.found = NULL};
	kp_autofree char *text = kp_strndup(digits, 16);
	char *end;

	s.hash = strtoull(text, &end, 16);
	if (end == text + 16 && !value)
		(void)kp_reg_each_subkey(r, key, look_name, &s);
	if (end == text + 16 && !s.found)
		(void)kp_reg_each_value(r, key, look_value, &s);
	return s.found;
}

int kp_regtree_name(struct kp_reg *r, const char *key, const char *file, size_t len, char **ret_name, bool *ret_value)
{
	bool is_default = len == 1 && file[0] == '@', marked = len > MARK_LEN && !memcmp(file + len - MARK_LEN, VALUE_MARK, MARK_LEN);
	char *name;

	if (len > NAME_MAX)
		return -ENOENT;
	if (marked)
		len -= MARK_LEN;
	if (is_default)
		name = kp_strdup("");
	else if (key && len > LONG_TAIL && !memcmp(file + len - LONG_TAIL, LONG_MARK, sizeof(LONG_MARK) - 1))
		name = find_long(r, key, file + len - 16, marked);
	else
		name = decode(file, len);
	if (!name)
		return -ENOENT;
	*ret_name = name;
	*ret_value = marked || is_default;
	return 0;
}

int kp_regtree_key(struct kp_reg *r, const char *guest, size_t len, char **ret_key)
{
	const char *end = guest + len, *p = guest + sizeof(KP_REGTREE);
	struct kp_buf b = {0};

	if (len <= sizeof(KP_REGTREE))
		return -ENOENT;
	while (p < end) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t n = slash ? (size_t)(slash - p) : (size_t)(end - p);
		kp_autofree char *name = NULL;
		bool value;

		if (kp_regtree_name(r, b.data, p, n, &name, &value) || value || strchr(name, '\\')) {
			kp_buf_free(&b);
			return -ENOENT;
		}
		kp_buf_puts(&b, b.len ? "\\" : "");
		kp_buf_puts(&b, name);
		p += n + 1;
	}
	*ret_key = b.data;
	return 0;
}

int kp_regtree_value(struct kp_reg *r, const struct kp_node *n, char **ret_key, char **ret_name)
{
	const char *last = strrchr(n->guest.s, '/');
	bool value;
	int rc = kp_regtree_key(r, n->guest.s, (size_t)(last - n->guest.s), ret_key);

	return rc ? rc : kp_regtree_name(r, *ret_key, last + 1, strlen(last + 1), ret_name, &value);
}
