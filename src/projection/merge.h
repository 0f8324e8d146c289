/* SPDX-License-Identifier: Apache-2.0 */
/* Rendering a key into a text, and taking back what a program made of it. Pure. */
#ifndef KAPSEL_PROJECTION_MERGE_H
#define KAPSEL_PROJECTION_MERGE_H

#include "projection/projection.h"

/*
 * Puts values into a text: those of list are set; those of before (what was rendered last time) that list no longer has are removed; all
 * else stays as it is. untold (may be NULL) gets what the format cannot tell, or cannot take away.
 */
void kp_projection_render(struct kp_doc *doc, const struct kp_settings *before, const struct kp_settings *list, struct kp_settings *untold);

enum kp_take_kind { KP_TAKE_SET, KP_TAKE_DELETE };
struct kp_take {
	enum kp_take_kind kind;
	struct kp_setting e; /* KP_TAKE_DELETE: names only */
	bool conflict;     /* the registry had changed it, too: what it had there (theirs) is replaced */
	bool theirs_gone;  /* conflict: the registry had deleted it */
	struct kp_reg_data theirs;
};
struct kp_takes {
	struct kp_take *items;
	size_t count;
};
/*
 * What a program has changed: between base (the text that it found, and the values that were rendered into it) and mine, value by value, for a
 * registry that now holds theirs. A value that both changed the same way is no change; one that both changed otherwise is a conflict: the
 * program, which wrote last, gets its way, and the change says what it replaces. The list refers to what it was made from.
 */
void kp_projection_compare(struct kp_doc *base, const struct kp_settings *base_values, struct kp_doc *mine, const struct kp_settings *theirs,
			   struct kp_takes *ret);
void kp_takes_free(struct kp_takes *c);
#define kp_autotakes __attribute__((cleanup(kp_takes_free)))

/* What was rendered last, as one text to keep: the text and the values in it. */
void kp_projection_pack(const char *text, size_t len, const struct kp_settings *values, struct kp_buf *out);
/* 0, or -EINVAL: damaged. */
int kp_projection_unpack(const char *data, size_t size, const char **ret_text, size_t *ret_len, struct kp_settings *values);

/* A value in words, for messages: at most a line; the caller frees. */
char *kp_projection_words(const struct kp_reg_data *d);

#endif
