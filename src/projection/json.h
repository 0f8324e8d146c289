/* SPDX-License-Identifier: Apache-2.0 */
/* The tree that a json document is kept as, for reading (json.c) and changing (json_put.c). */
#ifndef KAPSEL_PROJECTION_JSON_H
#define KAPSEL_PROJECTION_JSON_H

#include "projection/internal.h"

#define KP_JSON_DEPTH 256

struct kp_json_node {
	struct kp_json_node *parent;
	struct kp_json_member *members, *last; /* an object's */
	bool object;
	struct kp_piece text;  /* all others': as written */
	struct kp_piece close; /* an object's blanks before the brace at its end */
	const char *path;      /* an object's that is a key */
};

struct kp_json_member {
	struct kp_json_member *prev, *next;
	struct kp_json_node *in;
	struct kp_piece before, key, colon, after; /* blanks before the key; the key; from there to the value; blanks before the comma */
	struct kp_json_node *value;
	const char *name;
	size_t name_len;
};

struct kp_json {
	struct kp_piece before, after;
	struct kp_json_node *root;
};

/* Puts a member at the end of an object. */
void kp_json_append(struct kp_json_node *object, struct kp_json_member *m);
/* What a node that is no object holds, into its item. */
void kp_json_data(struct kp_doc *doc, const struct kp_json_node *n, struct kp_item *item);
/* Notes a member's value. */
void kp_json_note(struct kp_doc *doc, const char *path, struct kp_json_member *m);
/* Is the text one literal that is no string, object, null or list of texts? */
bool kp_json_is_raw(const char *s, size_t len);

int kp_json_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after);
void kp_json_drop(struct kp_doc *doc, struct kp_item *item);

#endif
