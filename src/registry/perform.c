/* SPDX-License-Identifier: Apache-2.0 */
/* What reg.exe does, on an open registry: add, delete, export, import. Query: query.c. */
#include "registry/request.h"

int kp_reg_fail(int rc, const char *key, const char *name, struct kp_err *err)
{
	static const struct {
		int rc;
		const char *what;
	} rows[] = {
		{-ENOENT, "no such key"}, {-ENODATA, "the key has no such value"}, {-EACCES, "a policy of the profile: it is not changed"},
		{-EINVAL, "no name of a key or value"}, {-EBUSY, "a hive, or where a mode begins: it stays"}, {-EROFS, "it is not changed"},
		{-EAGAIN, "another program keeps the registry locked"}, {-EFBIG, "the data is longer than 16 MiB"},
	};
	const char *what = strerror(-rc);

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++)
		if (rows[i].rc == rc)
			what = rows[i].what;
	(void)kp_fail(err, -rc, "%s%s%s: %s", key, name ? ": " : "", name ? (*name ? name : "(Default)") : "", what);
	return rc == -EINVAL ? kp_hint(err, "a key is HKCU or HKLM and names between backslashes: 'HKCU\\Software\\App'") : rc;
}

static int ask(const struct kp_reg_request *q, const char *would, const char *what, struct kp_err *err)
{
	if (q->flags & KP_REG_FORCE)
		return 0;
	(void)kp_fail(err, EEXIST, "%s: %s", what, would);
	return kp_hint(err, "--force (/f) does it unasked");
}

static int done(struct kp_reg_txn *t, int rc, const struct kp_reg_request *q, const char *name, struct kp_buf *out, struct kp_err *err)
{
	if (rc)
		kp_reg_abort(t);
	else
		rc = kp_reg_commit(t);
	if (rc)
		return kp_reg_fail(rc, q->key, name, err);
	kp_buf_puts(out, "The operation completed successfully.\n");
	return 0;
}

/* The texts of a list: separated by /s, \0 where it is not given. */
static void split(const char *text, const char *separator, struct kp_strings *ret)
{
	size_t len = strlen(separator);
	const char *end;

	while (len && (end = strstr(text, separator))) {
		kp_autofree char *part = kp_strndup(text, (size_t)(end - text));

		kp_strings_add(ret, part);
		text = end + len;
	}
	if (*text)
		kp_strings_add(ret, text);
}

static int parse_data(const struct kp_reg_request *q, struct kp_reg_data *d, struct kp_buf *data, struct kp_err *err)
{
	struct kp_strings kp_autostrings texts = {0};
	const char *why;

	d->type = KP_REG_SZ;
	if (q->type && kp_reg_type_by_name(q->type, &d->type) < 0) {
		(void)kp_fail(err, EINVAL, "--type: '%s': no type of value", q->type);
		return kp_hint(err, "REG_SZ, REG_EXPAND_SZ, REG_MULTI_SZ, REG_DWORD, REG_QWORD, REG_BINARY, REG_NONE");
	}
	if (d->type == KP_REG_MULTI_SZ)
		split(q->data ? q->data : "", q->separator ? q->separator : "\\0", &texts);
	else if (q->data || d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ)
		kp_strings_add(&texts, q->data ? q->data : "");
	else
		kp_strings_add(&texts, d->type == KP_REG_DWORD || d->type == KP_REG_QWORD ? "0" : "");
	if (kp_reg_data_parse(d->type, texts.items, texts.count, data, &why) < 0)
		return kp_fail(err, EINVAL, "--data: '%s': %s", q->data ? q->data : "", why);
	d->data = data->data;
	d->len = data->len;
	return 0;
}

static int add(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err)
{
	const char *name = !q->name && (q->data || q->type) ? "" : q->name;
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_value old = {0};
	struct kp_reg_data d;
	struct kp_reg_txn *t;
	int rc = name ? parse_data(q, &d, &data, err) : 0;

	if (!rc && name && !kp_reg_get(r, q->key, name, &old)) {
		kp_reg_value_free(&old);
		rc = ask(q, "exists already", *name ? name : "(Default)", err);
	}
	if (rc)
		return rc;
	rc = kp_reg_begin(r, &t);
	if (rc)
		return kp_reg_fail(rc, q->key, name, err);
	return done(t, name ? kp_reg_set(t, q->key, name, &d) : kp_reg_create_key(t, q->key), q, name, out, err);
}

static int take_value(const struct kp_reg_value *v, void *ctx)
{
	kp_strings_add(ctx, v->name);
	return 0;
}

static int delete(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err)
{
	bool all = q->flags & KP_REG_ALL_VALUES;
	struct kp_strings kp_autostrings names = {0};
	struct kp_reg_txn *t;
	int rc = ask(q, all ? "would lose all its values" : q->name ? "would be deleted" : "would be deleted with all below it", q->name && *q->name ? q->name : q->key,
		     err);

	if (rc)
		return rc;
	rc = kp_reg_begin(r, &t);
	if (rc)
		return kp_reg_fail(rc, q->key, q->name, err);
	if (all)
		rc = kp_reg_each_value(r, q->key, take_value, &names);
	for (size_t i = 0; i < names.count && !rc; i++)
		rc = kp_reg_delete_value(t, q->key, names.items[i]);
	if (!rc && !all)
		rc = q->name ? kp_reg_delete_value(t, q->key, q->name) : kp_reg_delete_key(t, q->key, true);
	return done(t, rc, q, q->name, out, err);
}

static int put(const char *bytes, size_t len, void *ctx)
{
	kp_buf_add(ctx, bytes, len);
	return 0;
}

static int export(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err)
{
	int rc = kp_regfile_write(r, q->key, !(q->flags & KP_REG_UTF8), put, out);

	return rc ? kp_reg_fail(rc, q->key, NULL, err) : 0;
}

static int import(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err)
{
	struct kp_regfile_sink sink;
	struct kp_reg_txn *t;
	int rc = kp_reg_begin(r, &t);

	if (rc)
		return kp_reg_fail(rc, q->key, NULL, err);
	sink = kp_reg_txn_sink(t);
	rc = kp_regfile_read(q->text, q->text_len, q->key, &sink, err);
	if (!rc)
		return done(t, 0, q, NULL, out, err);
	kp_reg_abort(t);
	return rc;
}

int kp_reg_perform(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err)
{
	static int (*const actions[KP_REG_ACTIONS])(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err) = {
		[KP_REG_QUERY] = kp_reg_query, [KP_REG_ADD] = add, [KP_REG_DELETE] = delete, [KP_REG_EXPORT] = export, [KP_REG_IMPORT] = import,
	};

	return actions[q->action](r, q, out, err);
}
