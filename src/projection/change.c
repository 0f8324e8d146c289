/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a document. Each is made on a copy, whose text is read again, and is kept only if that tells what was meant and all else as
 * before: values that go on in the next line, dialects, texts of an element that meet let two lines touch each other in more ways than
 * the writers of the formats can foresee.
 */
#include "projection/internal.h"
#include "projection/merge.h"

/* What is to change: names that go, values that are set. */
struct wanted {
	const struct kp_settings *gone, *set;
};

static bool goes(const struct wanted *w, const struct kp_setting *e)
{
	return kp_settings_find(w->gone, e->path, e->name) || (e->name && kp_settings_find(w->gone, e->path, NULL));
}

/* Written alike, as far as that tells what it is under another type. */
static bool same_literal(const struct kp_item *a, const struct kp_item *b)
{
	if (a->spelling != b->spelling || !a->literal || !b->literal)
		return a->spelling == b->spelling && !a->literal == !b->literal;
	return a->literal_len == b->literal_len && !memcmp(a->literal, b->literal, a->literal_len);
}

static bool same_places(const struct kp_format *f, const struct kp_item *a, const struct kp_item *b)
{
	if (!f->repeats)
		a = a->last, b = b->last;
	for (; a && b; a = a->same, b = b->same) {
		if (strcmp(a->e.path, b->e.path) != 0 || (a->e.name && strcmp(a->e.name, b->e.name) != 0))
			return false;
		if (a->e.name && (!kp_reg_data_same(&a->e.d, &b->e.d) || !same_literal(a, b)))
			return false;
	}
	return !a && !b;
}

/* Is it a key that stands over (or is) one of a value that was set? */
static bool leads_to(const struct kp_settings *set, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < set->count; i++)
		if (!strncasecmp(set->items[i].path, path, len) && (!len || strchr("\\", set->items[i].path[len])))
			return true;
	return false;
}

static bool tells_all(struct kp_doc *doc, const struct kp_settings *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (!kp_doc_tells(doc, &set->items[i]))
			return false;
	return true;
}

static bool tells(struct kp_doc *before, struct kp_doc *after, const struct wanted *w)
{
	struct kp_item *item, *next;

	HASH_ITER(hh, before->items, item, next) {
		struct kp_item *other = kp_doc_find(after, item->e.path, item->e.name);

		if (kp_settings_find(w->set, item->e.path, item->e.name))
			continue;
		if (goes(w, &item->e) ? other != NULL : !other || !same_places(before->format, item, other))
			return false;
	}
	HASH_ITER(hh, after->items, item, next)
		if (!kp_doc_find(before, item->e.path, item->e.name) && !kp_settings_find(w->set, item->e.path, item->e.name) &&
		    (item->e.name || !leads_to(w->set, item->e.path)))
			return false;
	return tells_all(after, w->set);
}

static struct kp_doc *read_again(const struct kp_doc *doc)
{
	kp_autobuf struct kp_buf text = {0};
	struct kp_doc *again;

	kp_buf_add(&text, "", 0);
	kp_doc_print(doc, &text);
	return kp_doc_parse(doc->format, text.data, text.len, &again, NULL) ? NULL : again;
}

static void adopt(struct kp_doc *doc, struct kp_doc *other)
{
	const struct kp_doc old = *doc;

	*doc = *other;
	*other = old;
	kp_doc_free(other);
}

/* What is left out, of what was put into a copy. */
static void put_all(struct kp_doc *copy, const struct wanted *w, const struct kp_settings *expected, struct kp_settings *told,
		    struct kp_settings *refused)
{
	for (size_t i = 0; i < w->gone->count; i++)
		kp_doc_drop(copy, w->gone->items[i].path, w->gone->items[i].name);
	if (copy->format->expect)
		copy->format->expect(copy, expected);
	for (size_t i = 0; i < w->set->count; i++)
		kp_settings_add(kp_doc_put(copy, &w->set->items[i]) ? refused : told, &w->set->items[i]);
}

/* All at once; apart: with an empty line where one goes. expected: all that the text is to have in the end. What the format refuses is left
 * out, and added to untold (may be NULL). False: the text would tell something else, and the document is what it was. */
static bool change(struct kp_doc *doc, const struct wanted *w, const struct kp_settings *expected, bool apart, struct kp_settings *untold)
{
	kp_autosettings struct kp_settings told = {0}, refused = {0};
	struct kp_doc *copy = read_again(doc), *after;
	bool good;

	if (!copy)
		return false;
	if (!doc->len)
		copy->dialect = doc->dialect;
	copy->apart = apart;
	put_all(copy, w, expected, &told, &refused);
	after = read_again(copy);
	/* What goes may be what told the dialect. */
	good = after && (after->dialect == copy->dialect || (w->gone->count && !after->dialect)) &&
	       tells(doc, after, &(const struct wanted){w->gone, &told});
	for (size_t i = 0; good && untold && i < refused.count; i++)
		kp_settings_add(untold, &refused.items[i]);
	if (good)
		adopt(doc, after);
	else
		kp_doc_free(after);
	kp_doc_free(copy);
	return good;
}

static bool change_somehow(struct kp_doc *doc, const struct wanted *w, const struct kp_settings *expected, struct kp_settings *untold)
{
	return change(doc, w, expected, false, untold) || change(doc, w, expected, true, untold);
}

static int change_one(struct kp_doc *doc, const struct wanted *w)
{
	kp_autosettings struct kp_settings untold = {0};

	return change_somehow(doc, w, w->set, &untold) && !untold.count ? 0 : -EINVAL;
}

int kp_doc_set(struct kp_doc *doc, const struct kp_setting *e)
{
	kp_autosettings struct kp_settings set = {0};

	if (kp_doc_tells(doc, e))
		return kp_path_fits(e->path) ? 0 : -EINVAL;
	kp_settings_add(&set, e);
	return change_one(doc, &(const struct wanted){&(const struct kp_settings){0}, &set});
}

int kp_doc_remove(struct kp_doc *doc, const char *path, const char *name)
{
	kp_autosettings struct kp_settings gone = {0};
	const struct kp_setting e = {path, name, {0}};

	if (!kp_doc_find(doc, path, name))
		return 0;
	kp_settings_add(&gone, &e);
	return change_one(doc, &(const struct wanted){&gone, &(const struct kp_settings){0}});
}

/* A hostile text may make each value that is set anew be refused, and each try reads all of it. */
#define TRIES_MAX 64U
#define TRIES_BYTES (16U << 20)

struct rendering {
	struct kp_doc *doc;
	const struct kp_settings *gone, *set;
	struct kp_settings *untold;
	size_t tries;
};

/* Some of what goes and then is set, counted through; by halves where not all of it is possible. */
static void render(struct rendering *r, size_t from, size_t to)
{
	kp_autosettings struct kp_settings gone = {0}, set = {0};

	for (size_t i = from; i < to; i++)
		kp_settings_add(i < r->gone->count ? &gone : &set, i < r->gone->count ? &r->gone->items[i] : &r->set->items[i - r->gone->count]);
	if (!gone.count && tells_all(r->doc, &set))
		return;
	if (r->tries && r->tries--) {
		if (change_somehow(r->doc, &(const struct wanted){&gone, &set}, r->set, r->untold))
			return;
		if (to - from > 1) {
			render(r, from, from + (to - from) / 2);
			render(r, from + (to - from) / 2, to);
			return;
		}
	}
	for (size_t i = 0; i < gone.count; i++)
		kp_settings_add(r->untold, &gone.items[i]);
	for (size_t i = 0; i < set.count; i++)
		kp_settings_add(r->untold, &set.items[i]);
}

void kp_projection_render(struct kp_doc *doc, const struct kp_settings *before, const struct kp_settings *list, struct kp_settings *untold)
{
	kp_autosettings struct kp_settings gone = {0}, refused = {0};
	struct rendering r = {doc, &gone, list, untold ? untold : &refused, KP_MIN(TRIES_MAX, 4 + TRIES_BYTES / (doc->len + 1))};

	for (size_t i = 0; before && i < before->count; i++)
		if (!kp_settings_find(list, before->items[i].path, before->items[i].name) &&
		    kp_doc_find(doc, before->items[i].path, before->items[i].name))
			kp_settings_add(&gone, &before->items[i]);
	render(&r, 0, gone.count + list->count);
}
