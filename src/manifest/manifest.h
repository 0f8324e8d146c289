/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest (docs/MANIFEST.md): what to pack, and how the image starts. The packager reads the
 * user's file; the launcher reads the text kept in the image. One parser for both.
 */
#ifndef KAPSEL_MANIFEST_MANIFEST_H
#define KAPSEL_MANIFEST_MANIFEST_H

#include <sys/types.h>

#include "base/base.h"
#include "kapsel/profile.h"
#include "projection/projection.h"

struct kp_pair {
	char *name, *value;
};

struct kp_pairs {
	struct kp_pair *items;
	size_t count;
};

/* Where in the file something stands, for errors that come later. */
struct kp_mark {
	int line, column; /* from 1 */
};

enum kp_source_kind {
	KP_SOURCE_DEB,
	KP_SOURCE_ELF,
	KP_SOURCE_COPY,
	KP_SOURCE_TAR,
	KP_SOURCE_FILE,
	KP_SOURCE_SYMLINK,
	KP_SOURCE_EXCLUDE,
};

struct kp_source {
	enum kp_source_kind kind;
	struct kp_mark mark;
	struct kp_strings names; /* deb: packages and ./files; elf: programs; exclude: patterns; tar: one file */
	struct kp_mark *name_marks; /* one for each of names */
	char *suite, *arch;      /* deb: optional, else NULL */
	char *from, *to, *mode;  /* copy: mode is a chmod(1) expression or octal, or NULL */
	char *path;              /* file, symlink: where in the image */
	char *target;            /* symlink */
	char *text;              /* file: content */
	size_t text_len;
	char *file_mode;         /* file: octal or expression, or NULL */
};

enum kp_mode { KP_MODE_FULL, KP_MODE_WRITECOPY, KP_MODE_MERGED, KP_MODE_COUNT };
extern const char *const kp_mode_names[KP_MODE_COUNT]; /* as users write them */
/* 0, or -EINVAL: no mode is called so. */
int kp_mode_by_name(const char *name, enum kp_mode *ret_mode);

struct kp_mode_rule {
	char *path; /* absolute guest path, normalised */
	enum kp_mode mode;
	struct kp_mark mark;
};

/* What the image asks for; a profile grants it or less. What is not asked about is as the profile says. */
struct kp_requests {
	bool asks_network, asks_desktop, asks_devices;
	struct kp_net net;
	unsigned desktop; /* enum kp_desktop */
	struct kp_strings devices;
};

struct kp_command {
	char *name;
	struct kp_strings argv;
};

/* A value of the registry, as it was written. */
struct kp_registry_value {
	char *key, *name, *type; /* HKLM\..., name NULL or "" is the default value, REG_SZ */
	struct kp_strings data;  /* one text, or those of REG_MULTI_SZ */
	struct kp_mark mark;     /* of the data */
};

struct kp_key_mode {
	char *key;
	enum kp_mode mode;
};

/* A guest file that shows a key, and is read back. */
struct kp_projection {
	char *file; /* absolute guest path, normalised; no two are the same */
	const struct kp_format *format;
	char *key;
	struct kp_mark mark;
};

/* imports and values are in the image's hive: an image's own text has only the rest. */
struct kp_registry {
	struct kp_strings imports; /* .reg files, relative to the manifest */
	struct kp_mark *import_marks;
	struct kp_registry_value *values;
	size_t value_count;
	struct kp_key_mode *modes;
	size_t mode_count;
	struct kp_projection *projections;
	size_t projection_count;
};

struct kp_manifest {
	char *name, *version, *summary; /* summary may be NULL */
	struct kp_strings entry;        /* entry.command; empty in an image that is only a layer */
	struct kp_mark entry_mark;      /* of entry.command */
	char *cwd;                      /* entry.cwd or NULL */
	struct kp_pairs env;            /* entry.env */
	struct kp_command *commands;
	size_t command_count;
	struct kp_source *sources;
	size_t source_count;
	struct kp_mode_rule *modes;
	size_t mode_count;
	struct kp_strings layers;
	struct kp_requests requests;
	struct kp_strings config; /* absolute guest paths, normalised, and keys: what the user sets */
	struct kp_registry registry;
};

/* Parses text (len bytes). file is used in errors: "FILE:LINE:COLUMN: key.path: what". Unknown keys, wrong types,
 * duplicate keys, bad names, paths with "..": -EINVAL. Keys of the format that this version does not act on yet
 * (oci) are refused with a text that says so. */
int kp_manifest_parse(const char *text, size_t len, const char *file, struct kp_manifest **ret_manifest,
		      struct kp_err *err);
struct kp_manifest *kp_manifest_free(struct kp_manifest *m); /* NULL is fine; returns NULL */

/* The part that goes into the image, as canonical YAML that kp_manifest_parse reads back: everything but
 * `contents`. Caller frees. */
char *kp_manifest_normalised(const struct kp_manifest *m, size_t *ret_len);

/* The key that a kind of source stands under: "deb", "elf", ... */
const char *kp_source_name(enum kp_source_kind kind);

/* Applies a chmod(1) expression ("u=rwX,go=rX", "+x", "0644") to mode, as umask 022 would have it where no one is
 * named. is_dir decides X. 0, or -EINVAL when the expression is none; set-id bits are dropped. */
int kp_mode_apply(const char *expr, mode_t mode, bool is_dir, mode_t *ret_mode);

/* Normalises an absolute path: single slashes, no ".", no slash at the end. Caller frees *ret_path. 0, -EINVAL (not
 * absolute, or has ".."), -ENAMETOOLONG. */
int kp_path_normalise(const char *path, char **ret_path);

#endif
