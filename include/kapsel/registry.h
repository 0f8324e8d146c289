/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual registry: its model and how to read and change it (docs/REGISTRY.md). Made of layers, top down: the profile's policy, the
 * instance's changes, the images' hives, the user's shared registry. Who uses this sees one registry, the merged one.
 *
 * Keys are written "HKCU\Software\App": a hive, then names between backslashes. Long names of hives, any case, and backslashes at the
 * end are taken; what comes back has the short name and the case that the key was made with. All text is UTF-8; half a surrogate pair,
 * which Windows' names and strings may hold, is kept as the three bytes that UTF-8 would give it. Names are equal when their Unicode simple
 * case foldings are (CaseFolding.txt, C and S; nothing is normalised); keys and values come in the order of their folded names.
 */
#ifndef KAPSEL_REGISTRY_H
#define KAPSEL_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kapsel/error.h"

enum kp_reg_hive { KP_REG_HKLM, KP_REG_HKCU, KP_REG_HIVES };
extern const char *const kp_reg_hive_short[KP_REG_HIVES]; /* "HKLM" */
extern const char *const kp_reg_hive_long[KP_REG_HIVES];  /* "HKEY_LOCAL_MACHINE" */

/* Limits; names are counted as Windows does, in units of UTF-16. */
#define KP_REG_KEY_NAME 255U
#define KP_REG_VALUE_NAME 16383U
#define KP_REG_DEPTH 512U            /* names in a key's path, the hive's among them */
#define KP_REG_DATA (16U << 20)      /* bytes of one value, as kept here */

/* Windows' numbers. A value of any other type is kept as bytes. */
enum kp_reg_type {
	KP_REG_NONE = 0,
	KP_REG_SZ = 1,
	KP_REG_EXPAND_SZ = 2,
	KP_REG_BINARY = 3,
	KP_REG_DWORD = 4,
	KP_REG_MULTI_SZ = 7,
	KP_REG_QWORD = 11,
};
/* "REG_SZ"; "REG_0x8" for a type that has no name here. */
#define KP_REG_TYPE_NAME 16
const char *kp_reg_type_name(uint32_t type, char buf[KP_REG_TYPE_NAME]);
/* The same back, in any case. 0 or -EINVAL. */
int kp_reg_type_by_name(const char *name, uint32_t *ret_type);

/*
 * What a value holds. Data by type:
 *   REG_SZ, REG_EXPAND_SZ  the text, without an end mark (a zero byte inside is part of it)
 *   REG_MULTI_SZ           each text followed by a zero byte
 *   REG_DWORD, REG_QWORD   4, 8 bytes, little-endian (another length is kept, as Windows does, but is no number)
 *   all others             bytes
 */
struct kp_reg_data {
	uint32_t type;
	size_t len;
	const void *data;
};

/* Which layer a key or value is seen in. */
enum kp_reg_layer { KP_REG_POLICY, KP_REG_INSTANCE, KP_REG_IMAGE, KP_REG_SHARED };

struct kp_reg_value {
	const char *name; /* "" is the default value */
	struct kp_reg_data d;
	enum kp_reg_layer layer;
	size_t image; /* KP_REG_IMAGE: which, from the top */
};

struct kp_reg; /* an open registry; any thread may use it, calls take turns */

/* Is key that one, or below it? By names alone; what names no key is below none. */
bool kp_reg_key_within(const char *key, const char *above);

/* --- reading --- */
/* The key's name as it was made ("HKCU\Software\App"; the caller frees; NULL: not wanted). 0; -ENOENT: there is no such key; -EINVAL: that is no
 * name of a key; -ENAMETOOLONG; -EIO: a hive is damaged. All calls below give these, too. */
int kp_reg_key(struct kp_reg *r, const char *key, char **ret_name);
/* 0, or -ENODATA: the key has no such value. ret->name and ret->d.data are one allocation, released by kp_reg_value_free(). */
int kp_reg_get(struct kp_reg *r, const char *key, const char *name, struct kp_reg_value *ret);
void kp_reg_value_free(struct kp_reg_value *v); /* a zeroed one is fine */
/* Calls fn for each subkey or value, in order, until it returns other than 0, which is returned. What fn is given lives for
 * the call. All of one enumeration is one state of the registry. fn may read the registry, and must not change it. */
int kp_reg_each_subkey(struct kp_reg *r, const char *key, int (*fn)(const char *name, void *ctx), void *ctx);
int kp_reg_each_value(struct kp_reg *r, const char *key, int (*fn)(const struct kp_reg_value *v, void *ctx), void *ctx);
/* When the key itself was last changed, in nanoseconds since the epoch: the newest of its layers; 0 where only images and policy have it. */
int kp_reg_mtime(struct kp_reg *r, const char *key, int64_t *ret_ns);

/* --- changing: a transaction is seen by nobody before its commit, and after it, whole, by all, also after kill -9 and loss of power --- */
struct kp_reg_txn;
/* Waits for another writer (also one outside) to end. 0, -EROFS: opened for reading; -ENOSPC, -EIO, ... From here to commit or abort other
 * threads' calls wait. Reading calls of this thread see what the transaction has changed. */
int kp_reg_begin(struct kp_reg *r, struct kp_reg_txn **ret_txn);
/* Each returns 0 or -errno. What was refused has changed nothing, and the transaction may go on; after -EIO, -ENOSPC and the like its commit
 * fails, too.
 * -EACCES: policy holds that value, or one below that key. Keys above are made where they are missing. */
int kp_reg_set(struct kp_reg_txn *t, const char *key, const char *name, const struct kp_reg_data *data);
int kp_reg_create_key(struct kp_reg_txn *t, const char *key);                     /* 0 too if it is there */
int kp_reg_delete_value(struct kp_reg_txn *t, const char *key, const char *name); /* -ENODATA: none */
/* With all below it, or (tree false) -ENOTEMPTY if it has subkeys. -EBUSY: a hive cannot be deleted. */
int kp_reg_delete_key(struct kp_reg_txn *t, const char *key, bool tree);
int kp_reg_commit(struct kp_reg_txn *t); /* ends it, also on failure: then nothing of it was done */
void kp_reg_abort(struct kp_reg_txn *t); /* NULL is fine */

/* --- noticing --- */
/* Changes whenever anything may have changed in any layer, by whomever: as long as it is the same, so is all that was read. Cheap. */
uint64_t kp_reg_generation(struct kp_reg *r);
/* A digest of all that is seen at a key and (deep) below it: names, types, data. Equal: nothing that a renderer shows has changed. Reads all of
 * it; ask only after kp_reg_generation() has moved. */
int kp_reg_stamp(struct kp_reg *r, const char *key, bool deep, uint64_t *ret_stamp);
/* fn is called after each commit of this process, once for each key and value that it changed (name NULL: the key itself was made or
 * deleted), and with key NULL after somebody else's, found when the registry is next used. It must not use the registry. */
enum kp_reg_event { KP_REG_CHANGED, KP_REG_MADE, KP_REG_DELETED, KP_REG_ELSEWHERE };
typedef void (*kp_reg_notice)(enum kp_reg_event what, const char *key, const char *name, void *ctx);
void kp_reg_on_change(struct kp_reg *r, kp_reg_notice fn, void *ctx); /* adds one; at most 4 */

/* --- names --- */
/* Folds a name for comparing; the caller frees. */
char *kp_reg_fold(const char *name);
/* Units of UTF-16, or -EILSEQ where it is not UTF-8. */
int kp_reg_name_units(const char *name, size_t *ret_units);

#endif
