/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the .reg text format, version 5. */
#include "registry/internal.h"

#define LINE 77 /* as regedit: a line of bytes ends here, with its backslash */

struct writer {
	struct kp_reg *r;
	bool utf16;
	int (*put)(const char *bytes, size_t len, void *ctx);
	void *ctx;
	struct kp_buf text; /* UTF-8, not yet put */
	struct kp_strings subkeys;
};

static int flush(struct writer *w)
{
	struct kp_buf kp_autobuf wide = {0};
	int rc;

	if (!w->text.len)
		return 0;
	if (w->utf16)
		kp_text_to_utf16(w->text.data, w->text.len, &wide);
	rc = w->utf16 ? w->put(wide.data, wide.len, w->ctx) : w->put(w->text.data, w->text.len, w->ctx);
	w->text.len = 0;
	return rc;
}

static void put_quoted(struct kp_buf *b, const char *text, size_t len)
{
	kp_buf_puts(b, "\"");
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			kp_buf_add(b, "\\", 1);
		kp_buf_add(b, &text[i], 1);
	}
	kp_buf_puts(b, "\"");
}

/* column: letters that stand on the line already. */
static void put_hex(struct kp_buf *b, const struct kp_reg_data *d, size_t column)
{
	struct kp_buf kp_autobuf raw = {0};
	size_t before = b->len;

	kp_reg_data_to_windows(d, &raw);
	if (d->type == KP_REG_BINARY)
		kp_buf_puts(b, "hex:");
	else
		kp_buf_printf(b, "hex(%x):", d->type);
	column += b->len - before;
	for (size_t i = 0; i < raw.len; i++) {
		kp_buf_printf(b, "%02x%s", (unsigned char)raw.data[i], i + 1 < raw.len ? "," : "");
		column += 3;
		if (column > LINE - 1 && i + 1 < raw.len) {
			kp_buf_puts(b, "\\\r\n  ");
			column = 2;
		}
	}
}

/* What a quoted text cannot say to every reader. */
static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20)
			return false;
	return true;
}

static int put_value(const struct kp_reg_value *v, void *ctx)
{
	struct writer *w = ctx;
	struct kp_buf *b = &w->text;
	size_t start = b->len;

	if (*v->name)
		put_quoted(b, v->name, strlen(v->name));
	else
		kp_buf_puts(b, "@");
	kp_buf_puts(b, "=");
	if (v->d.type == KP_REG_SZ && is_plain(v->d.data, v->d.len)) {
		put_quoted(b, v->d.data, v->d.len);
	} else if (v->d.type == KP_REG_DWORD && v->d.len == 4) {
		uint32_t n;

		memcpy(&n, v->d.data, sizeof(n));
		kp_buf_printf(b, "dword:%08x", n);
	} else {
		put_hex(b, &v->d, b->len - start);
	}
	kp_buf_puts(b, "\r\n");
	return b->len > 65536 ? flush(w) : 0;
}

static int take_subkey(const char *name, void *ctx)
{
	kp_strings_add(&((struct writer *)ctx)->subkeys, name);
	return 0;
}

static int put_key(struct writer *w, const char *key)
{
	const char *rest = key + strcspn(key, "\\");
	struct kp_strings below;
	int hive = !strncmp(key, "HKLM", 4) ? KP_REG_HKLM : KP_REG_HKCU, rc;

	kp_buf_printf(&w->text, "\r\n[%s%s]\r\n", kp_reg_hive_long[hive], rest);
	rc = kp_reg_each_value(w->r, key, put_value, w);
	w->subkeys = (struct kp_strings){0};
	if (!rc)
		rc = kp_reg_each_subkey(w->r, key, take_subkey, w);
	below = w->subkeys;
	for (size_t i = 0; i < below.count && !rc; i++) {
		kp_autofree char *path = kp_asprintf("%s\\%s", key, below.items[i]);

		rc = put_key(w, path);
	}
	kp_strings_free(&below);
	return rc;
}

int kp_regfile_write(struct kp_reg *r, const char *key, bool utf16, int (*put)(const char *bytes, size_t len, void *ctx), void *ctx)
{
	struct writer w = {.r = r, .utf16 = utf16, .put = put, .ctx = ctx};
	kp_autofree char *name = NULL;
	int rc = kp_reg_enter(r);

	if (rc)
		return rc;
	rc = kp_reg_key(r, key, &name);
	if (!rc) {
		kp_buf_printf(&w.text, "%sWindows Registry Editor Version 5.00\r\n", utf16 ? "\xef\xbb\xbf" : "");
		rc = put_key(&w, name);
	}
	kp_reg_leave(r);
	if (!rc) {
		kp_buf_puts(&w.text, "\r\n");
		rc = flush(&w);
	}
	kp_buf_free(&w.text);
	return rc;
}
