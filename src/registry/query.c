/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry holds: as reg.exe prints it, or as JSON. */
#include <inttypes.h>

#include "registry/request.h"

struct query {
	struct kp_reg *reg;
	struct kp_buf *out;
	const char *value, *find; /* NULL: not asked for */
	bool recursive, in_keys, in_data, json;
	uint32_t type;
	bool typed;
	const char *key; /* at which it is */
	bool headed;     /* the key has been printed */
	size_t found, objects;
	struct kp_buf values; /* JSON */
	struct kp_strings subkeys;
};

/* --- text --- */

static char *long_name(const char *key)
{
	return kp_asprintf("%s%s", kp_reg_hive_long[!strncmp(key, "HKLM", 4) ? KP_REG_HKLM : KP_REG_HKCU], key + 4);
}

static void put_text(struct kp_buf *b, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		kp_buf_add(b, text[i] ? &text[i] : "\\0", text[i] ? 1 : 2);
}

/* As reg.exe shows it. */
static void data_text(const struct kp_reg_data *d, struct kp_buf *b)
{
	const unsigned char *data = d->data;
	uint64_t n = 0;

	kp_buf_add(b, "", 0);
	if (d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ) {
		put_text(b, d->data, d->len);
	} else if (d->type == KP_REG_MULTI_SZ) {
		put_text(b, d->data, d->len ? d->len - 1 : 0);
	} else if ((d->type == KP_REG_DWORD && d->len == 4) || (d->type == KP_REG_QWORD && d->len == 8)) {
		memcpy(&n, data, d->len);
		kp_buf_printf(b, "0x%" PRIx64, n);
	} else {
		for (size_t i = 0; i < d->len; i++)
			kp_buf_printf(b, "%02X", data[i]);
	}
}

/* --- JSON --- */

static void json_text(struct kp_buf *b, const char *text, size_t len)
{
	kp_buf_puts(b, "\"");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			kp_buf_printf(b, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			kp_buf_printf(b, "\\u%04x", c);
		else if (c == 0xed && i + 2 < len && (unsigned char)text[i + 1] >= 0xa0) { /* half a surrogate pair */
			kp_buf_printf(b, "\\ud%03x", ((unsigned)text[i + 1] & 0x3f) << 6 | ((unsigned)text[i + 2] & 0x3f));
			i += 2;
		} else
			kp_buf_add(b, &text[i], 1);
	}
	kp_buf_puts(b, "\"");
}

static void json_data(struct kp_buf *b, const struct kp_reg_data *d)
{
	struct kp_buf kp_autobuf text = {0};
	const char *data = d->data;
	uint64_t n = 0;

	if (d->type == KP_REG_MULTI_SZ) {
		kp_buf_puts(b, "[");
		for (size_t at = 0; at < d->len; at += strnlen(data + at, d->len - at) + 1) {
			kp_buf_puts(b, at ? "," : "");
			json_text(b, data + at, strnlen(data + at, d->len - at));
		}
		kp_buf_puts(b, "]");
	} else if ((d->type == KP_REG_DWORD && d->len == 4) || (d->type == KP_REG_QWORD && d->len == 8)) {
		memcpy(&n, data, d->len);
		kp_buf_printf(b, "%" PRIu64, n);
	} else if (d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ) {
		json_text(b, data, d->len);
	} else {
		data_text(d, &text);
		json_text(b, text.data, text.len);
	}
}

/* --- what is shown --- */

/* Is find part of text, in any case? */
static bool has(const char *text, const char *find)
{
	kp_autofree char *folded = kp_reg_fold(text), *part = kp_reg_fold(find);

	return strstr(folded, part) != NULL;
}

static bool is_wanted(const struct query *q, const struct kp_reg_value *v)
{
	struct kp_buf kp_autobuf text = {0};

	if (q->typed && v->d.type != q->type)
		return false;
	if (q->value) {
		kp_autofree char *a = kp_reg_fold(q->value), *b = kp_reg_fold(v->name);

		if (strcmp(a, b) != 0)
			return false;
	}
	if (!q->find)
		return true;
	if (q->in_keys && !q->in_data)
		return false;
	if (!q->in_data && has(v->name, q->find))
		return true;
	data_text(&v->d, &text);
	return has(text.data, q->find);
}

static void head(struct query *q)
{
	kp_autofree char *name = q->headed ? NULL : long_name(q->key), *shown = name ? kp_shown(name) : NULL;

	if (shown && !q->json)
		kp_buf_printf(q->out, "\n%s\n", shown);
	q->headed = true;
}

static int show_value(const struct kp_reg_value *v, void *ctx)
{
	static const char *const layers[] = {"policy", "instance", "image", "shared"};
	struct query *q = ctx;
	struct kp_buf kp_autobuf text = {0};
	char type[KP_REG_TYPE_NAME];

	if (!is_wanted(q, v))
		return 0;
	q->found++;
	head(q);
	if (q->json) {
		kp_buf_puts(&q->values, q->values.len ? ",\n  {\"name\":" : "\n  {\"name\":");
		json_text(&q->values, v->name, strlen(v->name));
		kp_buf_printf(&q->values, ",\"type\":\"%s\",\"data\":", kp_reg_type_name(v->d.type, type));
		json_data(&q->values, &v->d);
		kp_buf_printf(&q->values, ",\"layer\":\"%s\"}", layers[v->layer]);
		return 0;
	}
	data_text(&v->d, &text);
	kp_printable(text.data);
	{
		kp_autofree char *name = kp_shown(*v->name ? v->name : "(Default)");

		kp_buf_printf(q->out, "    %s    %s    %s\n", name, kp_reg_type_name(v->d.type, type), text.data);
	}
	return 0;
}

static int take_subkey(const char *name, void *ctx)
{
	kp_strings_add(ctx, name);
	return 0;
}

static void json_key(struct query *q, const struct kp_strings *subkeys)
{
	struct kp_buf *b = q->out;
	kp_autofree char *name = long_name(q->key);

	if (!q->headed && (q->value || q->find || q->typed))
		return;
	kp_buf_puts(b, q->objects++ ? ",\n {\"key\":" : "[\n {\"key\":");
	json_text(b, name, strlen(name));
	kp_buf_printf(b, ",\"values\":[%s],\"subkeys\":[", q->values.len ? q->values.data : "");
	for (size_t i = 0; i < subkeys->count; i++) {
		kp_buf_puts(b, i ? "," : "");
		json_text(b, subkeys->items[i], strlen(subkeys->items[i]));
	}
	kp_buf_puts(b, "]}");
	q->values.len = 0;
}

/* The names below, where they are not gone into. */
static void list_subkeys(const struct query *q, const struct kp_strings *subkeys)
{
	kp_autofree char *name = long_name(q->key);

	if (subkeys->count)
		kp_buf_puts(q->out, "\n");
	for (size_t i = 0; i < subkeys->count; i++) {
		kp_autofree char *whole = kp_asprintf("%s\\%s", name, subkeys->items[i]), *shown = kp_shown(whole);

		kp_buf_printf(q->out, "%s\n", shown);
	}
}

static int query_key(struct query *q, const char *key)
{
	struct kp_strings kp_autostrings subkeys = {0};
	const char *last = strrchr(key, '\\');
	bool all = !q->value && !q->find && !q->typed;
	int r;

	q->key = key;
	q->headed = false;
	if (all)
		head(q);
	if (q->find && !q->value && !q->typed && (!q->in_data || q->in_keys) && has(last ? last + 1 : key, q->find)) {
		q->found++;
		head(q);
	}
	r = kp_reg_each_value(q->reg, key, show_value, q);
	if (!r && (q->recursive || all))
		r = kp_reg_each_subkey(q->reg, key, take_subkey, &subkeys);
	if (r)
		return r;
	if (q->json)
		json_key(q, &subkeys);
	else if (!q->recursive && all)
		list_subkeys(q, &subkeys);
	for (size_t i = 0; q->recursive && i < subkeys.count && !r; i++) {
		kp_autofree char *path = kp_asprintf("%s\\%s", key, subkeys.items[i]);

		r = query_key(q, path);
	}
	return r;
}

int kp_reg_query(struct kp_reg *r, const struct kp_reg_request *request, struct kp_buf *out, struct kp_err *err)
{
	unsigned flags = request->flags;
	struct query q = {.reg = r, .out = out, .value = request->name, .find = request->find, .recursive = flags & KP_REG_RECURSIVE,
			  .in_keys = flags & KP_REG_IN_KEYS, .in_data = flags & KP_REG_IN_DATA, .json = flags & KP_REG_JSON,
			  .typed = request->type != NULL};
	kp_autofree char *key = NULL;
	int rc;

	if (q.typed && kp_reg_type_by_name(request->type, &q.type) < 0)
		return kp_fail(err, EINVAL, "--type: '%s': no type of value", request->type);
	rc = kp_reg_key(r, request->key, &key);
	if (!rc)
		rc = query_key(&q, key);
	if (!rc && q.value && !q.find && !q.found && !q.recursive)
		rc = -ENODATA;
	kp_buf_free(&q.values);
	if (rc)
		return kp_reg_fail(rc, request->key, rc == -ENODATA ? q.value : NULL, err);
	if (q.json)
		kp_buf_puts(out, q.objects ? "\n]\n" : "[]\n");
	else if (q.find)
		kp_buf_printf(out, "\nEnd of search: %zu match(es) found.\n", q.found);
	else
		kp_buf_puts(out, "\n");
	return 0;
}
