/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the registry of a run, an instance or an image, and making hives. Reading and changing it: kapsel/registry.h. */
#ifndef KAPSEL_REGISTRY_REGISTRY_H
#define KAPSEL_REGISTRY_REGISTRY_H

#include "base/base.h"
#include "image/image.h"
#include "kapsel/hive.h"
#include "kapsel/registry.h"
#include "manifest/manifest.h"

/* --- hives being made: for images, and for layers that live in memory (hive_build.c) --- */
struct kp_hive_tree;
struct kp_hive_tree *kp_hive_tree_new(void);
struct kp_hive_tree *kp_hive_tree_free(struct kp_hive_tree *t); /* NULL is fine; returns NULL */
/* A later one wins. What is deleted is also hidden where lower layers have it. 0, -EINVAL, -ENAMETOOLONG, -EFBIG. */
int kp_hive_tree_key(struct kp_hive_tree *t, const char *key);
int kp_hive_tree_set(struct kp_hive_tree *t, const char *key, const char *name, const struct kp_reg_data *data);
int kp_hive_tree_delete_key(struct kp_hive_tree *t, const char *key);
int kp_hive_tree_delete_value(struct kp_hive_tree *t, const char *key, const char *name);
bool kp_hive_tree_is_empty(const struct kp_hive_tree *t);
/* The bytes of the hive: the same tree gives the same bytes. 0 or -EFBIG. */
int kp_hive_build(const struct kp_hive_tree *t, struct kp_buf *out);

/* --- text (text.c) --- */
/* UTF-16, little-endian, to text and back. A last odd byte: -EINVAL. */
int kp_utf16_to_text(const void *bytes, size_t len, struct kp_buf *out);
void kp_text_to_utf16(const char *text, size_t len, struct kp_buf *out);
/* 8-bit text of an unknown code page: as it is where it is UTF-8, else as Windows-1252. */
void kp_ansi_to_text(const char *bytes, size_t len, struct kp_buf *out);
/* Data as Windows has it (strings in UTF-16 with their zeros) to ours, and back. wide: else 8-bit text, as in REGEDIT4. 0 or -EINVAL. */
int kp_reg_data_from_windows(uint32_t type, const void *bytes, size_t len, bool wide, struct kp_buf *out);
void kp_reg_data_to_windows(const struct kp_reg_data *d, struct kp_buf *out);
/* Data as people write it: one text, for REG_MULTI_SZ any number; numbers decimal or 0x; bytes in hex. 0, or -EINVAL with *ret_why. */
int kp_reg_data_parse(uint32_t type, char *const *texts, size_t count, struct kp_buf *out, const char **ret_why);
/* A value's content as a file of the tree, and back (docs/REGISTRY.md). What does not fit the type comes back as REG_BINARY. */
void kp_reg_data_to_file(const struct kp_reg_data *d, struct kp_buf *out);
void kp_reg_data_from_file(uint32_t type, const void *bytes, size_t len, uint32_t *ret_type, struct kp_buf *out);

/* --- the .reg format (regfile.c, regwrite.c) --- */
struct kp_regfile_sink { /* what a file says, in its order; a non-zero return ends the reading */
	int (*key)(void *ctx, const char *key);
	int (*delete_key)(void *ctx, const char *key);
	int (*set)(void *ctx, const char *key, const char *name, const struct kp_reg_data *data);
	int (*delete_value)(void *ctx, const char *key, const char *name);
	void *ctx;
};
/* Version 5 (UTF-16LE, UTF-8) and REGEDIT4. Errors are "FILE:LINE: what". 0 or -errno with err. */
int kp_regfile_read(const void *bytes, size_t len, const char *file, const struct kp_regfile_sink *sink, struct kp_err *err);
struct kp_regfile_sink kp_hive_tree_sink(struct kp_hive_tree *t);
/* What deletes what is not there is no error. */
struct kp_regfile_sink kp_reg_txn_sink(struct kp_reg_txn *t);
/* The key and all below it, version 5. utf16: with its mark; else UTF-8. 0 or -errno. */
int kp_regfile_write(struct kp_reg *r, const char *key, bool utf16, int (*put)(const char *bytes, size_t len, void *ctx), void *ctx);

/* --- the layers of a registry --- */
struct kp_reg_mode {
	const char *key;
	enum kp_mode mode;
};

struct kp_reg_options {
	const struct kp_hive_tree *policy; /* NULL: none. Read at once, not kept */
	const char *instance;              /* host path of the instance's file, which need not exist; NULL: none */
	const struct kp_image *const *images; /* top down; they outlive the registry */
	size_t image_count;
	const char *shared;                /* the user's shared registry; NULL: none */
	const struct kp_reg_mode *modes;   /* of a key and all below, up to deeper ones; full where there is none */
	size_t mode_count;
	bool writable;
};

/* No file is opened before it is needed. 0, -EINVAL, -EIO, ... with err. */
int kp_reg_open(const struct kp_reg_options *o, struct kp_reg **ret_reg, struct kp_err *err);
struct kp_reg *kp_reg_free(struct kp_reg *r); /* NULL is fine; returns NULL */

/* What a key has of a name: a key, a value, or both. */
struct kp_reg_entry {
	char *key; /* the subkey's name as it was made; NULL: there is none */
	struct kp_reg_value value; /* name NULL: there is none */
	int64_t key_ns, value_ns;  /* as of kp_reg_mtime() */
};
int kp_reg_entry(struct kp_reg *r, const char *key, const char *name, struct kp_reg_entry *ret);
void kp_reg_entry_free(struct kp_reg_entry *e);

/* --- what an instance's file says by itself (own.c) --- */
enum kp_own_kind {
	KP_OWN_VALUE,
	KP_OWN_VALUE_GONE, /* hides those below */
	KP_OWN_KEY_GONE,
	KP_OWN_KEY_ANEW, /* was deleted and made again: nothing below it shows through */
};
struct kp_own {
	enum kp_own_kind kind;
	const char *key, *name; /* name NULL: the key */
	struct kp_reg_data d;
	bool hidden; /* in a key that was made anew */
};
/* Calls fn for each, a key before what is in it; for the call's time. No file is no such thing. 0, what fn returned, or -errno with err. */
int kp_own_each(const char *path, int (*fn)(const struct kp_own *o, void *ctx), void *ctx, struct kp_err *err);
struct kp_own_name {
	const char *key, *name; /* name NULL: the key with all in it */
};
/* What lies below shows again: all of them, or none. */
int kp_own_drop(const char *path, const struct kp_own_name *names, size_t count, struct kp_err *err);

/* Checks an image's hive whole: structure, names, order. 0 (also where it has none), or -EIO with err. */
int kp_hive_verify(const struct kp_image *image, struct kp_err *err);
/* Keys and values of it; 0, 0 where it has none. */
int kp_hive_count(const struct kp_image *image, uint32_t *ret_keys, uint32_t *ret_values);

#endif
