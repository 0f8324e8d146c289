/* SPDX-License-Identifier: Apache-2.0 */
/* What the formats share: documents, their items, and the engine for formats that are made of lines. */
#ifndef KAPSEL_PROJECTION_INTERNAL_H
#define KAPSEL_PROJECTION_INTERNAL_H

#include <uthash.h>

#include "projection/projection.h"

/* Memory that goes all at once. */
struct kp_arena;
void *kp_arena_get(struct kp_arena **a, size_t size); /* zeroed, aligned for anything */
char *kp_arena_text(struct kp_arena **a, const char *s, size_t len); /* NUL-terminated */
void kp_arena_free(struct kp_arena **a);

/* A part of a text. */
struct kp_piece {
	const char *s;
	size_t len;
};

/* How a value is written, so that a change keeps to it. */
enum kp_spelling {
	KP_SPELL_BARE,   /* text without quotes */
	KP_SPELL_DOUBLE, /* "..." */
	KP_SPELL_SINGLE, /* '...' */
	KP_SPELL_BOOL,   /* true, false */
	KP_SPELL_NUMBER,
	KP_SPELL_LIST,
	KP_SPELL_RAW,    /* any other literal: its text as REG_SZ */
};

/* One place of a text that tells a value. */
struct kp_item {
	struct kp_setting e;        /* its names, and what it is if nobody knows the type */
	const char *literal;      /* KP_SPELL_BOOL, NUMBER, RAW: as written; what it is as a REG_SZ */
	size_t literal_len;
	enum kp_spelling spelling;
	void *ref;               /* the format's own: a line, a member */
	struct kp_item *same;     /* the next place of the same names */
	struct kp_item *last;     /* the first place only: the last one */
	UT_hash_handle hh;        /* the first place only */
};

struct kp_line;
struct kp_section;
struct kp_doc {
	const struct kp_format *format;
	struct kp_arena *arena;
	struct kp_item *items;      /* by folded names, in the order of the text */
	const char *text;           /* as parsed, NUL-terminated */
	size_t len;
	struct kp_line *first, *last;  /* formats of lines */
	struct kp_section *sections;
	struct kp_section *top;
	const char *newline;
	int dialect;                /* the format's own */
	bool unended;               /* its last line takes in what is put behind it */
	bool apart;                 /* an empty line takes the place of one that goes */
	bool indented;              /* the line of the value that is being written begins with blanks or the like */
	void *tree;                 /* formats that nest */
};

struct kp_format {
	const char *name;
	bool repeats;    /* a name that comes several times is a REG_MULTI_SZ; else the last one counts */
	bool exact_case; /* to its programs, names that differ in case are two */
	bool typed;      /* the text tells every type: hints are not needed */
	bool keys;       /* tells keys that have no values */
	char list_mark;  /* between the texts of a REG_MULTI_SZ within one value; 0: another way */
	int (*parse)(struct kp_doc *doc, struct kp_err *err);
	/* Writes the value, in old's place or (NULL) in a new one. For formats that repeat, texts of a REG_MULTI_SZ come one by one, as
	 * REG_SZ; after: the item behind which a new place is to be, or NULL. */
	int (*put)(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after);
	void (*drop)(struct kp_doc *doc, struct kp_item *item);
	void (*print)(const struct kp_doc *doc, struct kp_buf *out);
	/* Before the first of a whole list is put: what they let expect. May be NULL. */
	void (*expect)(struct kp_doc *doc, const struct kp_settings *list);
	const struct kp_line_format *lines;
};
/* What all formats of lines have in their row. */
#define KP_FORMAT_OF_LINES(table) .parse = kp_lines_parse, .put = kp_lines_put, .drop = kp_lines_drop, .print = kp_lines_print, .lines = &(table)
extern const struct kp_format kp_format_ini, kp_format_keyfile, kp_format_env, kp_format_plain, kp_format_json, kp_format_wine, kp_format_xml;

/* --- model.c --- */
/* Notes a place. NULL: the registry has no room for such names or such a text, or another name like it came before; the place stays text. */
struct kp_item *kp_doc_add(struct kp_doc *doc, const struct kp_setting *e, enum kp_spelling spelling);
struct kp_item *kp_doc_find(struct kp_doc *doc, const char *path, const char *name);
/* Does the text say so already? */
bool kp_doc_tells(struct kp_doc *doc, const struct kp_setting *e);
/* What kp_doc_set and kp_doc_remove do, without a look at how the text reads then. */
int kp_doc_put(struct kp_doc *doc, const struct kp_setting *e);
void kp_doc_drop(struct kp_doc *doc, const char *path, const char *name);
bool kp_path_fits(const char *path); /* names between backslashes, each of which a key may have; "" too */
bool kp_name_fits(const char *name);
bool kp_key_fits(const char *name, size_t len); /* one name */
/* Joins path and name with a backslash between, in the document's memory. */
char *kp_key_join(struct kp_doc *doc, const char *path, const char *name, size_t len);

/* --- text.c --- */
bool kp_text_valid(const char *s, size_t len); /* UTF-8, where halves of surrogate pairs may stand alone; no zero byte */
/* Units of UTF-16 of a valid text. */
size_t kp_text_units(const char *s, size_t len);
void kp_put_utf8(struct kp_buf *out, uint32_t c); /* a surrogate joins the half before it */
/* Decodes one character; valid text only. Returns its bytes. */
size_t kp_get_utf8(const char *s, uint32_t *ret_c);
/* Digits, or 0x and hex digits; nothing else. False: none, or over 64 bits. */
bool kp_parse_number(const char *s, size_t len, uint64_t *ret);
/* Words for yes and no: 0, 1; -1: none. */
int kp_bool_word(const char *s, size_t len);
/* Fills d with a number as little as it can be: REG_DWORD or REG_QWORD. */
void kp_number_data(struct kp_doc *doc, uint64_t value, struct kp_reg_data *d);
bool kp_data_number(const struct kp_reg_data *d, uint64_t *ret);
/* What a format without types writes for d: text, numbers in the manner of old (its text before; NULL), other types as "hex(N):..".
 * -EINVAL: a REG_MULTI_SZ, or a zero byte. */
int kp_plain_text(struct kp_buf *out, const struct kp_reg_data *d, const char *old, size_t old_len);
/* The other way: text as the hinted type if it can be. */
bool kp_plain_parse(struct kp_doc *doc, const char *s, size_t len, uint32_t hint, struct kp_reg_data *ret);
void kp_hex_list(struct kp_buf *out, const uint8_t *data, size_t len);
/* Bytes from "aa,bb"; blanks, line ends and backslashes between are skipped. False: something else. */
bool kp_parse_hex_list(const char *s, size_t len, struct kp_buf *out);
bool kp_units_to_text(const uint8_t *data, size_t len, struct kp_buf *out);

/* --- lines.c --- */
enum kp_line_kind { KP_LINE_OTHER, KP_LINE_SECTION, KP_LINE_ENTRY };
struct kp_line {
	struct kp_line *prev, *next;
	const char *raw; /* with its line end and, where a value goes on, further lines */
	size_t len;
	enum kp_line_kind kind;
	size_t name_at, name_end, value_at, value_end; /* KP_LINE_ENTRY: within raw */
	struct kp_section *section;
	struct kp_item *item;
};
struct kp_section {
	const char *path; /* NULL: the registry has no room for it */
	struct kp_line *header, *tail; /* new entries come behind tail */
	UT_hash_handle hh;
};
/* What scan finds in a line. */
struct kp_scan {
	const char *path;   /* KP_LINE_SECTION; NULL: cannot be a key */
	const char *name;   /* KP_LINE_ENTRY */
	struct kp_reg_data d;
	enum kp_spelling spelling;
	const char *literal;
	size_t literal_len;
	bool ignore;        /* stays text */
	bool belongs;       /* KP_LINE_OTHER: nothing comes between it and the line before */
};
struct kp_line_format {
	const char *first_line; /* what a new document begins with; or NULL */
	const char *sep;        /* between a new name and its value */
	bool blank_before_section;
	bool top;               /* entries may stand before the first section */
	bool sections;
	/* Looks at the line that begins at s; sets kind, len (more than its first line, if it goes on) and the places. */
	int (*scan)(struct kp_doc *doc, const char *s, size_t rest, struct kp_line *l, struct kp_scan *ret, struct kp_err *err);
	void (*prepare)(struct kp_doc *doc); /* before the first scan; may be NULL */
	int (*name)(const struct kp_doc *doc, const char *name, struct kp_buf *out);
	int (*section)(const struct kp_doc *doc, const char *path, struct kp_buf *out); /* without a line end */
	int (*value)(struct kp_doc *doc, const struct kp_reg_data *d, const struct kp_item *old, struct kp_buf *out);
	const char *(*begin)(const struct kp_doc *doc); /* what one begins with that follows none; may be NULL */
	const char *(*end)(const struct kp_doc *doc); /* what a new entry ends with, before the line end; may be NULL */
};
int kp_lines_parse(struct kp_doc *doc, struct kp_err *err);
int kp_lines_put(struct kp_doc *doc, const struct kp_setting *e, struct kp_item *old, struct kp_item *after);
void kp_lines_drop(struct kp_doc *doc, struct kp_item *item);
void kp_lines_print(const struct kp_doc *doc, struct kp_buf *out);
/* Length of the line at s with its end; *ret_body: without it. */
size_t kp_line_span(const char *s, size_t rest, size_t *ret_body);
size_t kp_line_number(const struct kp_doc *doc, const char *at);
#define kp_is_blank(c) ((c) == ' ' || (c) == '\t')

#endif
