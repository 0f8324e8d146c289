/* SPDX-License-Identifier: Apache-2.0 */
/* The tree that an xml document is kept as, for reading (xml.c) and changing (xml_put.c). */
#ifndef KAPSEL_PROJECTION_XML_H
#define KAPSEL_PROJECTION_XML_H

#include "projection/internal.h"

#define KP_XML_DEPTH 256

enum kp_xml_part { KP_XML_TEXT, KP_XML_DATA, KP_XML_OTHER, KP_XML_ELEMENT }; /* DATA: a CDATA section; OTHER: a comment, an instruction */

struct kp_xml_attribute {
	struct kp_xml_attribute *next;
	struct kp_piece before, name, equals, value; /* value with its quotes */
};

struct kp_xml_node {
	struct kp_xml_node *prev, *next, *parent;
	enum kp_xml_part part;
	struct kp_piece text;             /* all but elements */
	struct kp_piece name, close, end; /* elements: blanks before '>' or '/'; the end tag */
	struct kp_xml_attribute *attributes;
	bool empty; /* "<a/>" */
	struct kp_xml_node *first, *last;
	const char *path; /* of a key */
};

struct kp_xml_place { /* what an item stands for */
	struct kp_xml_node *node;           /* a value's element, or the one that has the attribute or the text */
	struct kp_xml_attribute *attribute; /* NULL: the text */
	bool leaf;                          /* the element is there for the value alone */
};

size_t kp_xml_name(const char *s, const char *end); /* length of a name at s, or 0 */
void kp_xml_append(struct kp_xml_node *in, struct kp_xml_node *n);
bool kp_xml_has_elements(const struct kp_xml_node *n);
void kp_xml_text(const struct kp_xml_node *n, struct kp_buf *out); /* what stands in it, decoded */
struct kp_xml_attribute *kp_xml_naming(const struct kp_xml_node *n); /* that tells elements of one name apart, or NULL */
struct kp_xml_node *kp_xml_root(const struct kp_doc *doc);
/* Notes a value. */
struct kp_item *kp_xml_note(struct kp_doc *doc, const char *path, const char *name, const struct kp_buf *text, struct kp_xml_place place);

int kp_xml_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after);
void kp_xml_drop(struct kp_doc *doc, struct kp_item *item);

#endif
