/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projections: a registry key as a file in a format that programs read, and back (docs/PROJECTIONS.md). Pure: texts in, texts out.
 *
 * A document keeps every byte of its text; setting or removing a value changes the bytes of that value and no others. What a format has no
 * place for is refused (-EINVAL), and what a text holds that the registry has no place for is kept and never looked at.
 */
#ifndef KAPSEL_PROJECTION_PROJECTION_H
#define KAPSEL_PROJECTION_PROJECTION_H

#include "base/base.h"
#include "kapsel/registry.h"

#define KP_PROJECTION_MAX (64U << 20) /* bytes of a text */

struct kp_format;
/* NULL: there is none of that name. */
const struct kp_format *kp_format_by_name(const char *name);
/* "ini, keyfile, ...": for messages; the caller frees. */
char *kp_format_names(void);
/* The i-th, or NULL behind the last. */
const struct kp_format *kp_format_at(size_t i);
const char *kp_format_name(const struct kp_format *f);
bool kp_format_tells_keys(const struct kp_format *f); /* also those that have no values */

/* A value, or (name NULL) a key itself, below the key that is projected. */
struct kp_setting {
	const char *path; /* names between backslashes; "" is the projected key */
	const char *name; /* "" is the default value */
	struct kp_reg_data d;
};

struct kp_doc;
/* Copies the text. An empty one is the beginning of every format. 0, -EINVAL (err: where and why), -EFBIG. */
int kp_doc_parse(const struct kp_format *f, const char *text, size_t len, struct kp_doc **ret_doc, struct kp_err *err);
struct kp_doc *kp_doc_free(struct kp_doc *doc);
/* The text, appended. */
void kp_doc_print(const struct kp_doc *doc, struct kp_buf *out);

/* A value as the text tells it. hint: the type that it has in the registry, where it has one (KP_REG_NONE: no matter); a text that cannot be
 * of that type gives the type that it looks like. The data lives as long as the document. False: there is none. */
bool kp_doc_get(struct kp_doc *doc, const char *path, const char *name, uint32_t hint, struct kp_setting *ret);
/* Calls fn for each, in the order of the text, with the type that the text shows; until it returns other than 0, which is returned. */
int kp_doc_each(struct kp_doc *doc, int (*fn)(const struct kp_setting *e, void *ctx), void *ctx);
/* 0, or -EINVAL: this format cannot tell that value, or not in this text without telling another one otherwise; then nothing has changed.
 * A value that the text tells already changes nothing. A change ends the life of data that was got before. */
int kp_doc_set(struct kp_doc *doc, const struct kp_setting *e);
/* Nothing, if there is none; a key (name NULL) goes with its values. -EINVAL as above. */
int kp_doc_remove(struct kp_doc *doc, const char *path, const char *name);

/* Lists of entries that own what they hold; zero-initialise. */
struct kp_settings {
	struct kp_setting *items;
	size_t count;
	struct kp_arena *arena;
	struct kp_setting_index *index;
};
void kp_settings_add(struct kp_settings *list, const struct kp_setting *e); /* a second one of the same names replaces the first */
const struct kp_setting *kp_settings_find(const struct kp_settings *list, const char *path, const char *name);
void kp_settings_free(struct kp_settings *list);
#define kp_autosettings __attribute__((cleanup(kp_settings_free)))
bool kp_reg_data_same(const struct kp_reg_data *a, const struct kp_reg_data *b);

#endif
