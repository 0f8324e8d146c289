/* SPDX-License-Identifier: Apache-2.0 */
/* Documents without regard to their format: places by name, types, setting and removing. */
#include "projection/internal.h"

static const struct kp_format *const formats[] = {
	&kp_format_ini, &kp_format_keyfile, &kp_format_env, &kp_format_plain, &kp_format_json, &kp_format_wine, &kp_format_xml,
};

const struct kp_format *kp_format_at(size_t i)
{
	return i < KP_ARRAY_LEN(formats) ? formats[i] : NULL;
}

const struct kp_format *kp_format_by_name(const char *name)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(formats); i++)
		if (!strcmp(formats[i]->name, name))
			return formats[i];
	return NULL;
}

const char *kp_format_name(const struct kp_format *f)
{
	return f->name;
}

bool kp_format_tells_keys(const struct kp_format *f)
{
	return f->keys;
}

char *kp_format_names(void)
{
	struct kp_buf text = {0};

	for (size_t i = 0; i < KP_ARRAY_LEN(formats); i++)
		kp_buf_printf(&text, "%s%s", i ? ", " : "", formats[i]->name);
	return text.data;
}

/* "path" or "path\0name", folded: what places are found by. Name and path hold no zero bytes. */
static char *place_key(const char *path, const char *name, size_t *ret_len)
{
	kp_autofree char *folded_path = kp_reg_fold(path), *folded_name = name ? kp_reg_fold(name) : NULL;
	size_t path_len = strlen(folded_path), name_len = folded_name ? strlen(folded_name) : 0;
	char *key = kp_calloc(1, path_len + name_len + 2);

	memcpy(key, folded_path, path_len);
	if (folded_name)
		memcpy(key + path_len + 1, folded_name, name_len);
	*ret_len = path_len + (folded_name ? name_len + 1 : 0);
	return key;
}

bool kp_key_fits(const char *name, size_t len)
{
	return len && kp_text_valid(name, len) && !memchr(name, '\\', len) && kp_text_units(name, len) <= KP_REG_KEY_NAME;
}

bool kp_path_fits(const char *path)
{
	unsigned depth = 2; /* a hive and a key at least stand above */

	for (const char *at = path; *path; at++) {
		size_t len = strcspn(at, "\\");

		if (!kp_key_fits(at, len) || ++depth > KP_REG_DEPTH)
			return false;
		at += len;
		if (!*at)
			break;
	}
	return true;
}

bool kp_name_fits(const char *name)
{
	size_t len = strlen(name);

	return kp_text_valid(name, len) && kp_text_units(name, len) <= KP_REG_VALUE_NAME;
}

char *kp_key_join(struct kp_doc *doc, const char *path, const char *name, size_t len)
{
	size_t path_len = strlen(path), at = path_len ? path_len + 1 : 0;
	char *joined = kp_arena_get(&doc->arena, at + len + 1);

	memcpy(joined, path, path_len);
	if (path_len)
		joined[path_len] = '\\';
	memcpy(joined + at, name, len);
	return joined;
}

struct kp_item *kp_doc_find(struct kp_doc *doc, const char *path, const char *name)
{
	struct kp_item *found;
	size_t len;
	kp_autofree char *key = place_key(path, name, &len);

	HASH_FIND(hh, doc->items, key, len, found);
	return found;
}

struct kp_item *kp_doc_add(struct kp_doc *doc, const struct kp_setting *e, enum kp_spelling spelling)
{
	struct kp_item *item, *first;
	size_t len;
	kp_autofree char *key = NULL;

	if (!kp_path_fits(e->path) || (e->name && !kp_name_fits(e->name)) || e->d.len > KP_REG_DATA)
		return NULL;
	if ((e->d.type == KP_REG_SZ || e->d.type == KP_REG_EXPAND_SZ) && !doc->format->typed && e->d.len &&
	    !kp_text_valid(e->d.data, e->d.len))
		return NULL;
	key = place_key(e->path, e->name, &len);
	HASH_FIND(hh, doc->items, key, len, first);
	if (first && doc->format->exact_case &&
	    (strcmp(first->e.path, e->path) != 0 || (e->name && strcmp(first->e.name, e->name) != 0)))
		return NULL;
	item = kp_arena_get(&doc->arena, sizeof(*item));
	item->e = *e;
	item->spelling = spelling;
	if (!first) {
		const char *kept = kp_arena_text(&doc->arena, key, len);

		item->last = item;
		HASH_ADD_KEYPTR(hh, doc->items, kept, len, item);
		return item;
	}
	first->last->same = item;
	return first->last = item;
}

int kp_doc_parse(const struct kp_format *f, const char *text, size_t len, struct kp_doc **ret_doc, struct kp_err *err)
{
	struct kp_doc *doc;
	int rc;

	if (len > KP_PROJECTION_MAX)
		return kp_fail(err, EFBIG, "longer than %u MiB", KP_PROJECTION_MAX >> 20);
	doc = kp_calloc(1, sizeof(*doc));
	doc->format = f;
	doc->text = kp_arena_text(&doc->arena, text, len);
	doc->len = len;
	doc->newline = "\n";
	rc = f->parse(doc, err);
	if (rc) {
		kp_doc_free(doc);
		return rc;
	}
	*ret_doc = doc;
	return 0;
}

struct kp_doc *kp_doc_free(struct kp_doc *doc)
{
	if (!doc)
		return NULL;
	HASH_CLEAR(hh, doc->items);
	HASH_CLEAR(hh, doc->sections);
	kp_arena_free(&doc->arena);
	free(doc);
	return NULL;
}

void kp_doc_print(const struct kp_doc *doc, struct kp_buf *out)
{
	doc->format->print(doc, out);
}

/* A REG_MULTI_SZ from one text, cut at marks (0: one), added to list. */
static void add_texts(struct kp_buf *list, const char *text, size_t len, char mark)
{
	const char *end = text + len;

	for (;;) {
		const char *next = mark ? memchr(text, mark, (size_t)(end - text)) : NULL;

		kp_buf_add(list, text, (size_t)((next ? next : end) - text));
		kp_buf_add(list, "", 1);
		if (!next)
			return;
		text = next + 1;
	}
}

static void get_list(struct kp_doc *doc, const struct kp_item *item, struct kp_reg_data *ret)
{
	kp_autobuf struct kp_buf list = {0};

	if (doc->format->list_mark && item->e.d.len)
		add_texts(&list, item->e.d.data, item->e.d.len, doc->format->list_mark);
	else if (!doc->format->list_mark)
		for (; item; item = item->same)
			add_texts(&list, item->e.d.data, item->e.d.len, 0);
	*ret = (struct kp_reg_data){KP_REG_MULTI_SZ, list.len, kp_arena_text(&doc->arena, list.data ? list.data : "", list.len)};
}

/* What the item is, if the registry says hint. */
static void get_typed(struct kp_doc *doc, const struct kp_item *item, uint32_t hint, struct kp_reg_data *ret)
{
	const struct kp_format *f = doc->format;
	const struct kp_reg_data *d;
	uint64_t number;

	if (f->repeats && (item->same || hint == KP_REG_MULTI_SZ)) {
		get_list(doc, item, ret);
		return;
	}
	d = &item->e.d;
	*ret = *d;
	if (f->typed)
		return;
	if ((hint == KP_REG_SZ || hint == KP_REG_EXPAND_SZ) && item->literal) {
		*ret = (struct kp_reg_data){hint, item->literal_len, item->literal};
	} else if (hint == KP_REG_QWORD && d->type == KP_REG_DWORD && kp_data_number(d, &number)) {
		kp_number_data(doc, number, ret);
		*ret = (struct kp_reg_data){KP_REG_QWORD, 8, ret->data};
	} else if (d->type == KP_REG_SZ && !item->literal) {
		if (hint == KP_REG_EXPAND_SZ)
			ret->type = hint;
		else if (hint == KP_REG_MULTI_SZ && f->list_mark)
			get_list(doc, item, ret);
		else
			(void)kp_plain_parse(doc, d->data, d->len, hint, ret);
	}
}

bool kp_doc_get(struct kp_doc *doc, const char *path, const char *name, uint32_t hint, struct kp_setting *ret)
{
	struct kp_item *item = kp_doc_find(doc, path, name);

	if (!item)
		return false;
	if (!doc->format->repeats)
		item = item->last;
	ret->path = item->e.path;
	ret->name = item->e.name;
	ret->d = item->e.d;
	if (name)
		get_typed(doc, item, hint, &ret->d);
	return true;
}

int kp_doc_each(struct kp_doc *doc, int (*fn)(const struct kp_setting *e, void *ctx), void *ctx)
{
	struct kp_item *item, *next;
	int rc = 0;

	HASH_ITER(hh, doc->items, item, next) {
		struct kp_setting e;

		e = doc->format->repeats ? item->e : item->last->e;
		if (doc->format->repeats && item->same)
			get_list(doc, item, &e.d);
		rc = fn(&e, ctx);
		if (rc)
			break;
	}
	return rc;
}

/* Takes places of one name away, from item on; first is the one that is found by name. */
static void drop_from(struct kp_doc *doc, struct kp_item *first, struct kp_item *item)
{
	if (item == first)
		HASH_DEL(doc->items, first);
	else
		for (struct kp_item *i = first; i; i = i->same)
			if (i->same == item) {
				i->same = NULL;
				first->last = i;
				break;
			}
	for (; item; item = item->same)
		doc->format->drop(doc, item);
}

void kp_doc_drop(struct kp_doc *doc, const char *path, const char *name)
{
	struct kp_item *item = kp_doc_find(doc, path, name);

	if (item)
		drop_from(doc, item, item);
}

/* A list, one place for each text. */
static int set_list(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *first)
{
	const char *text = e->d.data, *end = text + e->d.len;
	struct kp_item *item = first, *before = NULL;

	if (!e->d.len || end[-1])
		return -EINVAL;
	for (; text < end; text += strlen(text) + 1) {
		struct kp_setting one = {e->path, e->name, {KP_REG_SZ, strlen(text), text}};
		int rc = 0;

		if (!item || one.d.len != item->e.d.len || memcmp(one.d.data, item->e.d.data, one.d.len) != 0)
			rc = doc->format->put(doc, &one, item, before);
		if (rc)
			return rc;
		if (!item)
			item = before ? before->same : kp_doc_find(doc, e->path, e->name);
		if (!item)
			return -EINVAL;
		before = item;
		item = item->same;
	}
	if (item)
		drop_from(doc, first ? first : item, item);
	return 0;
}

/* Can every text of the list be told? On a document of its own, so that a failure leaves nothing behind. */
static int try_list(const struct kp_doc *doc, const struct kp_setting *e)
{
	struct kp_doc *trial;
	int rc = kp_doc_parse(doc->format, "", 0, &trial, NULL);

	if (rc)
		return rc;
	trial->dialect = doc->dialect;
	rc = set_list(trial, e, NULL);
	kp_doc_free(trial);
	return rc;
}

bool kp_doc_tells(struct kp_doc *doc, const struct kp_setting *e)
{
	struct kp_setting there;

	if (!e->name && !doc->format->keys)
		return true;
	return kp_doc_get(doc, e->path, e->name, e->d.type, &there) && (!e->name || kp_reg_data_same(&there.d, &e->d));
}

int kp_doc_put(struct kp_doc *doc, const struct kp_setting *e)
{
	struct kp_item *item = kp_doc_find(doc, e->path, e->name);
	int rc;

	if (!kp_path_fits(e->path) || (e->name && !kp_name_fits(e->name)))
		return -EINVAL;
	if (kp_doc_tells(doc, e))
		return 0;
	if (!e->name)
		return doc->format->put(doc, e, NULL, NULL);
	if (e->d.type == KP_REG_MULTI_SZ && doc->format->repeats) {
		rc = try_list(doc, e);
		return rc ? rc : set_list(doc, e, item);
	}
	if (!item || !doc->format->repeats)
		return doc->format->put(doc, e, item ? item->last : NULL, NULL);
	rc = doc->format->put(doc, e, item, NULL);
	if (!rc && item->same)
		drop_from(doc, item, item->same);
	return rc;
}

bool kp_reg_data_same(const struct kp_reg_data *a, const struct kp_reg_data *b)
{
	return a->type == b->type && a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

/* --- lists --- */
struct kp_setting_index {
	size_t at;
	UT_hash_handle hh;
};

const struct kp_setting *kp_settings_find(const struct kp_settings *list, const char *path, const char *name)
{
	struct kp_setting_index *found;
	size_t len;
	kp_autofree char *key = place_key(path, name, &len);

	HASH_FIND(hh, list->index, key, len, found);
	return found ? &list->items[found->at] : NULL;
}

void kp_settings_add(struct kp_settings *list, const struct kp_setting *e)
{
	struct kp_setting_index *found;
	struct kp_setting copy = *e;
	size_t len;
	kp_autofree char *key = place_key(e->path, e->name, &len);

	copy.path = kp_arena_text(&list->arena, e->path, strlen(e->path));
	copy.name = e->name ? kp_arena_text(&list->arena, e->name, strlen(e->name)) : NULL;
	copy.d.data = kp_arena_text(&list->arena, e->d.len ? e->d.data : "", e->d.len);
	HASH_FIND(hh, list->index, key, len, found);
	if (found) {
		list->items[found->at] = copy;
		return;
	}
	if (!(list->count & (list->count + 1)) || !list->items)
		list->items = kp_realloc(list->items, (list->count * 2 + 3) * sizeof(*list->items));
	found = kp_arena_get(&list->arena, sizeof(*found));
	found->at = list->count;
	list->items[list->count++] = copy;
	HASH_ADD_KEYPTR(hh, list->index, kp_arena_text(&list->arena, key, len), len, found);
}

void kp_settings_free(struct kp_settings *list)
{
	HASH_CLEAR(hh, list->index);
	kp_arena_free(&list->arena);
	free(list->items);
	*list = (struct kp_settings){0};
}
