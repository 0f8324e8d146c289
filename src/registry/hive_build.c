/* SPDX-License-Identifier: Apache-2.0 */
/* A hive being made: a tree in memory, then its bytes. */
#include <uthash.h>

#include "registry/internal.h"

struct bvalue {
	UT_hash_handle hh;
	char *name, *fold;
	size_t fold_len;
	unsigned flags;
	uint32_t type;
	size_t len;
	void *data;
};

struct bkey {
	UT_hash_handle hh;
	char *name, *fold;
	size_t fold_len;
	unsigned flags;
	struct bkey *keys;
	struct bvalue *values;
	/* while written: */
	uint32_t parent, first_key, first_value;
};

struct kp_hive_tree {
	struct bkey root;
};

struct kp_hive_tree *kp_hive_tree_new(void)
{
	return kp_calloc(1, sizeof(struct kp_hive_tree));
}

static void free_value(struct bkey *k, struct bvalue *v)
{
	HASH_DEL(k->values, v);
	free(v->name);
	free(v->fold);
	free(v->data);
	free(v);
}

static void empty_key(struct bkey *k)
{
	struct bkey *kid, *next;
	struct bvalue *v, *next_value;

	HASH_ITER (hh, k->keys, kid, next) {
		HASH_DEL(k->keys, kid);
		empty_key(kid);
		free(kid->name);
		free(kid->fold);
		free(kid);
	}
	HASH_ITER (hh, k->values, v, next_value)
		free_value(k, v);
}

struct kp_hive_tree *kp_hive_tree_free(struct kp_hive_tree *t)
{
	if (!t)
		return NULL;
	empty_key(&t->root);
	free(t);
	return NULL;
}

static struct bkey *child(struct bkey *parent, const struct kp_regname *n)
{
	struct bkey *k;

	HASH_FIND(hh, parent->keys, n->fold, n->fold_len, k);
	if (!k) {
		k = kp_calloc(1, sizeof(*k));
		k->name = kp_strdup(n->name);
		k->fold = kp_strdup(n->fold);
		k->fold_len = n->fold_len;
		k->flags = KP_HIVE_FAINT;
		HASH_ADD_KEYPTR(hh, parent->keys, k->fold, k->fold_len, k);
	}
	return k;
}

/* The key, made with those above it; what was deleted comes back empty. faint: only to hide something. */
static int find(struct kp_hive_tree *t, const char *key, bool faint, struct bkey **ret)
{
	struct kp_regpath kp_autoregpath p = {0};
	struct bkey *k = &t->root;
	int rc = kp_regpath_parse(key, &p);

	for (size_t i = 0; i < p.depth && !rc; i++) {
		k = child(k, &p.part[i]);
		if (faint && k->flags & KP_HIVE_DELETED)
			return 1; /* hidden with what is above */
		if (k->flags & KP_HIVE_DELETED)
			k->flags = KP_HIVE_OPAQUE;
		if (!faint)
			k->flags &= ~(unsigned)KP_HIVE_FAINT;
	}
	*ret = k;
	return rc;
}

int kp_hive_tree_key(struct kp_hive_tree *t, const char *key)
{
	struct bkey *k;

	return find(t, key, false, &k);
}

static int put_value(struct kp_hive_tree *t, const char *key, const char *name, const struct kp_reg_data *d, unsigned flags)
{
	struct kp_regname n = {0};
	struct bvalue *v;
	struct bkey *k;
	int rc = d->len > KP_REG_DATA ? -EFBIG : kp_regname_value(name, &n);

	if (!rc)
		rc = find(t, key, flags & KP_HIVE_DELETED, &k);
	if (rc) {
		free((char *)(uintptr_t)n.fold);
		return KP_MIN(rc, 0);
	}
	HASH_FIND(hh, k->values, n.fold, n.fold_len, v);
	if (v)
		free_value(k, v);
	v = kp_calloc(1, sizeof(*v));
	*v = (struct bvalue){.name = kp_strdup(name), .fold = (char *)(uintptr_t)n.fold, .fold_len = n.fold_len, .flags = flags,
			     .type = d->type, .len = d->len, .data = kp_calloc(1, d->len + 1)};
	if (d->len)
		memcpy(v->data, d->data, d->len);
	HASH_ADD_KEYPTR(hh, k->values, v->fold, v->fold_len, v);
	return 0;
}

int kp_hive_tree_set(struct kp_hive_tree *t, const char *key, const char *name, const struct kp_reg_data *data)
{
	return put_value(t, key, name, data, 0);
}

int kp_hive_tree_delete_value(struct kp_hive_tree *t, const char *key, const char *name)
{
	return put_value(t, key, name, &(struct kp_reg_data){0}, KP_HIVE_DELETED);
}

int kp_hive_tree_delete_key(struct kp_hive_tree *t, const char *key)
{
	struct kp_regpath kp_autoregpath p = {0};
	struct bkey *k;
	int rc = kp_regpath_parse(key, &p);

	if (!rc && p.depth == 1)
		return -EBUSY;
	if (!rc)
		rc = find(t, key, true, &k);
	if (rc)
		return KP_MIN(rc, 0);
	empty_key(k);
	k->flags = KP_HIVE_DELETED;
	return 0;
}

bool kp_hive_tree_is_empty(const struct kp_hive_tree *t)
{
	return !t->root.keys;
}

/* --- the bytes --- */

struct known {
	UT_hash_handle hh;
	uint32_t off;
	size_t len;
};

struct out {
	struct bkey **keys; /* breadth-first */
	uint32_t key_count, key_room;
	struct kp_buf key_records, value_records, strings, data;
	struct known *known;
};

/* Offset of a text in the strings; equal ones are stored once. The table's keys are the tree's own texts. */
static uint32_t intern(struct out *o, const char *text, size_t len)
{
	struct known *k;

	HASH_FIND(hh, o->known, text, len, k);
	if (!k) {
		k = kp_calloc(1, sizeof(*k));
		k->off = (uint32_t)o->strings.len;
		k->len = len;
		kp_buf_add(&o->strings, text, len + 1);
		HASH_ADD_KEYPTR(hh, o->known, text, len, k);
	}
	return k->off;
}

static int key_order(const struct bkey *a, const struct bkey *b)
{
	return kp_fold_order(a->fold, a->fold_len, b->fold, b->fold_len);
}

static int value_order(const struct bvalue *a, const struct bvalue *b)
{
	return kp_fold_order(a->fold, a->fold_len, b->fold, b->fold_len);
}

static void add_key(struct out *o, struct bkey *k, uint32_t parent)
{
	if (o->key_count == o->key_room) {
		o->key_room = o->key_room * 2 + 64;
		o->keys = kp_realloc(o->keys, o->key_room * sizeof(struct bkey *));
	}
	k->parent = parent;
	o->keys[o->key_count++] = k;
}

static void put_values(struct out *o, struct bkey *k)
{
	HASH_SRT(hh, k->values, value_order);
	k->first_value = (uint32_t)(o->value_records.len / sizeof(struct kp_disk_hvalue));
	for (struct bvalue *v = k->values; v; v = v->hh.next) {
		size_t name_len = strlen(v->name);
		struct kp_disk_hvalue r = {.name_off = intern(o, v->name, name_len), .fold_off = intern(o, v->fold, v->fold_len),
					   .name_len = (uint16_t)name_len, .fold_len = (uint16_t)v->fold_len, .type = v->type,
					   .data_off = (uint32_t)o->data.len,
					   .data_len = v->flags & KP_HIVE_DELETED ? KP_HIVE_VALUE_DELETED : (uint32_t)v->len};

		kp_buf_add(&o->value_records, &r, sizeof(r));
		kp_buf_add(&o->data, v->data, v->len);
	}
}

static bool put_key(struct out *o, uint32_t id)
{
	struct bkey *k = o->keys[id];
	size_t name_len = k->name ? strlen(k->name) : 0;
	struct kp_disk_hkey r;

	HASH_SRT(hh, k->keys, key_order);
	k->first_key = o->key_count;
	for (struct bkey *kid = k->keys; kid; kid = kid->hh.next)
		add_key(o, kid, id);
	put_values(o, k);
	r = (struct kp_disk_hkey){.name_off = intern(o, k->name ? k->name : "", name_len), .fold_off = intern(o, k->fold ? k->fold : "", k->fold_len),
				  .name_len = (uint16_t)name_len, .fold_len = (uint16_t)k->fold_len, .parent = k->parent,
				  .first_key = k->keys ? k->first_key : 0, .key_count = HASH_COUNT(k->keys),
				  .first_value = k->values ? k->first_value : 0, .value_count = HASH_COUNT(k->values), .flags = k->flags};
	kp_buf_add(&o->key_records, &r, sizeof(r));
	return o->strings.len < UINT32_MAX - (1U << 20) && o->data.len < UINT32_MAX - KP_REG_DATA && o->value_records.len / sizeof(struct kp_disk_hvalue) < UINT32_MAX / 2 &&
	       o->key_count < UINT32_MAX / 2;
}

int kp_hive_build(const struct kp_hive_tree *t, struct kp_buf *buf)
{
	struct bkey *root = (struct bkey *)(uintptr_t)&t->root; /* sorting is not seen */
	struct kp_disk_hive head = {.magic = KP_HIVE_MAGIC, .version = KP_HIVE_VERSION};
	struct known *k, *next;
	struct out o = {0};
	int rc = 0;

	add_key(&o, root, 0);
	for (uint32_t id = 0; id < o.key_count && !rc; id++)
		if (!put_key(&o, id))
			rc = -EFBIG;
	if (!rc) {
		head.key_count = o.key_count;
		head.value_count = (uint32_t)(o.value_records.len / sizeof(struct kp_disk_hvalue));
		head.strings_off = sizeof(head) + o.key_records.len + o.value_records.len;
		head.strings_len = o.strings.len;
		head.data_off = head.strings_off + head.strings_len;
		head.data_len = o.data.len;
		kp_buf_add(buf, &head, sizeof(head));
		kp_buf_add(buf, o.key_records.data, o.key_records.len);
		kp_buf_add(buf, o.value_records.data, o.value_records.len);
		kp_buf_add(buf, o.strings.data, o.strings.len);
		kp_buf_add(buf, o.data.data, o.data.len);
	}
	HASH_ITER (hh, o.known, k, next) {
		HASH_DEL(o.known, k);
		free(k);
	}
	free(o.keys);
	kp_buf_free(&o.key_records);
	kp_buf_free(&o.value_records);
	kp_buf_free(&o.strings);
	kp_buf_free(&o.data);
	return rc;
}
