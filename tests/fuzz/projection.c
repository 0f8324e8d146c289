/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a projection's text; the first byte picks the format. What is taken prints as it came; every value set to what it is
 * changes nothing; values set anew are read back, in a text that stays one, and comparing finds them.
 */
#include "projection/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int collect(const struct kp_setting *e, void *ctx)
{
	kp_settings_add(ctx, e);
	return 0;
}

static void check_same(struct kp_doc *doc, const char *text, size_t len)
{
	kp_autobuf struct kp_buf out = {0};

	kp_doc_print(doc, &out);
	if (out.len != len || (len && memcmp(out.data, text, len) != 0))
		abort();
}

static void set_same(struct kp_doc *doc, const struct kp_settings *all, const char *text, size_t len)
{
	static const uint32_t hints[] = {KP_REG_NONE, KP_REG_SZ, KP_REG_DWORD, KP_REG_MULTI_SZ, KP_REG_BINARY, KP_REG_EXPAND_SZ, KP_REG_QWORD};

	for (size_t i = 0; i < all->count; i++)
		for (size_t h = 0; h < KP_ARRAY_LEN(hints); h++) {
			struct kp_setting e;

			if (!kp_doc_get(doc, all->items[i].path, all->items[i].name, hints[h], &e))
				abort();
			(void)kp_doc_set(doc, &e);
		}
	check_same(doc, text, len);
}

/* Values of our own, some under names that are there. */
static void set_new(const struct kp_format *f, struct kp_doc *doc, const struct kp_settings *all, const uint8_t *data, size_t size)
{
	static const uint32_t types[] = {KP_REG_SZ, KP_REG_DWORD, KP_REG_MULTI_SZ, KP_REG_BINARY};
	const char *const texts[] = {"", "x", "a b", "#1", "tr\"ue", "it's", "<&>\\", "one\ntwo"};
	kp_autosettings struct kp_settings wanted = {0}, none = {0};
	kp_autobuf struct kp_buf out = {0};
	kp_autotakes struct kp_takes changes = {0};
	struct kp_doc *base = NULL, *again = NULL;
	kp_autobuf struct kp_buf before = {0};

	kp_doc_print(doc, &before);
	kp_buf_add(&before, "", 0);
	for (size_t i = 0; i < 4 && i < size; i++) {
		const char *text = texts[data[i] % 8];
		uint32_t type = types[data[i] / 8 % 4];
		struct kp_setting e = {"k", "n", {type, type == KP_REG_DWORD ? 4 : strlen(text) + (type == KP_REG_MULTI_SZ), type == KP_REG_DWORD ? "\1\0\0" : text}};

		if (data[i] & 64 && all->count) {
			e.path = all->items[data[i] % all->count].path;
			e.name = all->items[data[i] % all->count].name;
		} else if (data[i] & 128) {
			e.path = "";
			e.name = "other";
		}
		if (!e.name)
			e.name = "";
		if (kp_doc_set(doc, &e) == 0)
			kp_settings_add(&wanted, &e);
	}
	kp_doc_print(doc, &out);
	kp_buf_add(&out, "", 0);
	if (kp_doc_parse(f, out.data, out.len, &again, NULL) || kp_doc_parse(f, before.data, before.len, &base, NULL))
		abort();
	check_same(again, out.data, out.len);
	for (size_t i = 0; i < wanted.count; i++) {
		const struct kp_setting *e = &wanted.items[i];
		struct kp_setting got;

		if (!kp_doc_get(again, e->path, e->name, e->d.type, &got) || !kp_reg_data_same(&got.d, &e->d))
			abort();
	}
	kp_projection_compare(base, &none, again, &wanted, &changes);
	for (size_t i = 0; i < changes.count; i++)
		if (changes.items[i].kind == KP_TAKE_SET && kp_settings_find(&wanted, changes.items[i].e.path, changes.items[i].e.name))
			abort();
	kp_doc_free(again);
	kp_doc_free(base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kp_autosettings struct kp_settings all = {0}, kept = {0};
	struct kp_doc *doc = NULL;
	struct kp_err err = {0};
	const struct kp_format *f;
	const char *text;
	size_t len;

	if (!size)
		return 0;
	if (data[0] == 'P') {
		(void)kp_projection_unpack((const char *)data + 1, size - 1, &text, &len, &kept);
		return 0;
	}
	f = kp_format_at(data[0] % 7U);
	if (kp_doc_parse(f, (const char *)data + 1, size - 1, &doc, &err) < 0) {
		if (!err.text[0] || doc)
			abort();
		return 0;
	}
	check_same(doc, (const char *)data + 1, size - 1);
	kp_doc_each(doc, collect, &all);
	set_same(doc, &all, (const char *)data + 1, size - 1);
	set_new(f, doc, &all, data + 1, size - 1);
	kp_doc_free(doc);
	return 0;
}
