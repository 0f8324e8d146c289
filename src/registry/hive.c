/* SPDX-License-Identifier: Apache-2.0 */
/* A hive in place: records, strings and data, checked at each use. */
#include "registry/hive.h"

#include "registry/internal.h"

static int at(const struct kp_hive *h, uint64_t offset, uint64_t len, const void **ret)
{
	if (h->image)
		return kp_image_hive(h->image, offset, len, ret);
	if (offset > h->len || len > h->len - offset)
		return -EIO;
	*ret = h->mem + offset;
	return 0;
}

static int open_head(struct kp_hive *h)
{
	const struct kp_disk_hive *d = &h->head;
	const void *p;
	uint64_t records;
	int rc = at(h, 0, sizeof(*d), &p);

	if (rc)
		return rc;
	memcpy(&h->head, p, sizeof(h->head));
	records = sizeof(*d) + (uint64_t)d->key_count * sizeof(struct kp_disk_hkey) + (uint64_t)d->value_count * sizeof(struct kp_disk_hvalue);
	if (d->magic != KP_HIVE_MAGIC || d->version != KP_HIVE_VERSION || !d->key_count || records > h->len || d->strings_off != records ||
	    d->strings_len > h->len - records || d->data_off != records + d->strings_len || d->data_len != h->len - d->data_off)
		return -EIO;
	return 0;
}

int kp_hive_open(const struct kp_image *image, struct kp_hive *ret)
{
	*ret = (struct kp_hive){.image = image, .len = kp_image_hive_len(image)};
	return ret->len ? open_head(ret) : -ENOENT;
}

int kp_hive_open_memory(const void *mem, size_t len, struct kp_hive *ret)
{
	*ret = (struct kp_hive){.mem = mem, .len = len};
	return open_head(ret);
}

/* NUL-terminated, and no NUL in it; NULL: damaged. */
static const char *string(const struct kp_hive *h, uint32_t off, size_t len)
{
	const void *p;
	const char *s;

	if (off >= h->head.strings_len || len + 1 > h->head.strings_len - off || at(h, h->head.strings_off + off, len + 1, &p))
		return NULL;
	s = p;
	return s[len] == '\0' && !memchr(s, '\0', len) ? s : NULL;
}

static const struct kp_disk_hkey *key_record(const struct kp_hive *h, uint32_t id)
{
	const void *p;

	if (id >= h->head.key_count || at(h, sizeof(h->head) + (uint64_t)id * sizeof(struct kp_disk_hkey), sizeof(struct kp_disk_hkey), &p))
		return NULL;
	return p;
}

static const struct kp_disk_hvalue *value_record(const struct kp_hive *h, uint32_t n)
{
	uint64_t first = sizeof(h->head) + (uint64_t)h->head.key_count * sizeof(struct kp_disk_hkey);
	const void *p;

	if (n >= h->head.value_count || at(h, first + (uint64_t)n * sizeof(struct kp_disk_hvalue), sizeof(struct kp_disk_hvalue), &p))
		return NULL;
	return p;
}

static bool in_range(uint32_t first, uint32_t count, uint32_t all)
{
	return !count || (first < all && count <= all - first);
}

static bool sane(const struct kp_hive *h, uint32_t id, const struct kp_disk_hkey *k)
{
	if (id ? k->parent >= id : k->parent != 0)
		return false;
	if (k->key_count && k->first_key <= id)
		return false;
	return in_range(k->first_key, k->key_count, h->head.key_count) && in_range(k->first_value, k->value_count, h->head.value_count) &&
	       !(k->flags & ~(unsigned)(KP_HIVE_DELETED | KP_HIVE_OPAQUE | KP_HIVE_FAINT)) && (id != 0) == (k->name_len != 0);
}

int kp_hive_key(const struct kp_hive *h, uint32_t id, struct kp_hive_key *ret)
{
	const struct kp_disk_hkey *k = key_record(h, id);
	struct kp_hive_key r;

	if (!k || !sane(h, id, k) || k->name_len > 3 * KP_REG_KEY_NAME)
		return -EIO;
	r = (struct kp_hive_key){.name = string(h, k->name_off, k->name_len), .fold = string(h, k->fold_off, k->fold_len),
				 .name_len = k->name_len, .fold_len = k->fold_len, .flags = k->flags, .first_key = k->first_key,
				 .key_count = k->key_count, .first_value = k->first_value, .value_count = k->value_count};
	if (!r.name || !r.fold || memchr(r.name, '\\', r.name_len))
		return -EIO;
	if (k->flags & KP_HIVE_DELETED)
		r.key_count = r.value_count = 0;
	*ret = r;
	return 0;
}

int kp_hive_value(const struct kp_hive *h, uint32_t n, struct kp_hive_value *ret)
{
	const struct kp_disk_hvalue *v = value_record(h, n);
	struct kp_hive_value r;
	const void *data = "";
	bool deleted = v && v->data_len == KP_HIVE_VALUE_DELETED;
	uint32_t len = v && !deleted ? v->data_len : 0;

	if (!v || v->data_off > h->head.data_len || len > h->head.data_len - v->data_off || len > KP_REG_DATA)
		return -EIO;
	r = (struct kp_hive_value){.name = string(h, v->name_off, v->name_len), .fold = string(h, v->fold_off, v->fold_len),
				   .name_len = v->name_len, .fold_len = v->fold_len, .flags = deleted ? KP_HIVE_DELETED : 0, .d = {v->type, len, NULL}};
	if (!r.name || !r.fold || (len && at(h, h->head.data_off + v->data_off, len, &data)))
		return -EIO;
	r.d.data = data;
	*ret = r;
	return 0;
}

/* The folded name of key n below id, or of value n; NULL: the hive is damaged. */
static const char *fold_of(const struct kp_hive *h, bool keys, uint32_t id, uint32_t n, uint32_t *ret_len)
{
	const struct kp_disk_hkey *k = keys ? key_record(h, n) : NULL;
	const struct kp_disk_hvalue *v = keys ? NULL : value_record(h, n);

	if (keys ? !k || k->parent != id : !v)
		return NULL;
	*ret_len = keys ? k->fold_len : v->fold_len;
	return string(h, keys ? k->fold_off : v->fold_off, *ret_len);
}

static int find(const struct kp_hive *h, bool keys, uint32_t id, const char *fold, size_t fold_len, uint32_t *ret_at)
{
	const struct kp_disk_hkey *k = key_record(h, id);
	uint32_t low, high;

	if (!k || !sane(h, id, k))
		return -EIO;
	if (k->flags & KP_HIVE_DELETED)
		return -ENOENT;
	low = keys ? k->first_key : k->first_value;
	high = low + (keys ? k->key_count : k->value_count);
	while (low < high) {
		uint32_t mid = low + (high - low) / 2, len;
		const char *s = fold_of(h, keys, id, mid, &len);
		int order;

		if (!s)
			return -EIO;
		order = kp_fold_order(fold, fold_len, s, len);
		if (!order) {
			*ret_at = mid;
			return 0;
		}
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -ENOENT;
}

int kp_hive_find_key(const struct kp_hive *h, uint32_t id, const char *fold, size_t fold_len, uint32_t *ret_id)
{
	return find(h, true, id, fold, fold_len, ret_id);
}

int kp_hive_find_value(const struct kp_hive *h, uint32_t id, const char *fold, size_t fold_len, uint32_t *ret_at)
{
	return find(h, false, id, fold, fold_len, ret_at);
}

/* --- the whole of it --- */

static bool folds_to(const char *name, const char *fold)
{
	kp_autofree char *own = kp_reg_fold(name);
	size_t units;

	return !strcmp(own, fold) && !kp_reg_name_units(name, &units);
}

static const char *check_key(const struct kp_hive *h, uint32_t id, uint32_t *values)
{
	struct kp_hive_key k, kid, last = {0};
	struct kp_hive_value v, before = {0};

	if (kp_hive_key(h, id, &k) || !folds_to(k.name, k.fold))
		return "a key does not hold together";
	for (uint32_t i = 0; i < k.key_count; i++) {
		if (kp_hive_key(h, k.first_key + i, &kid) || key_record(h, k.first_key + i)->parent != id)
			return "a key is not its parent's";
		if (i && kp_fold_order(last.fold, last.fold_len, kid.fold, kid.fold_len) >= 0)
			return "keys are out of order";
		last = kid;
	}
	for (uint32_t i = 0; i < k.value_count; i++, (*values)++) {
		if (k.first_value + i != *values || kp_hive_value(h, k.first_value + i, &v) || !folds_to(v.name, v.fold))
			return "a value does not hold together";
		if (i && kp_fold_order(before.fold, before.fold_len, v.fold, v.fold_len) >= 0)
			return "values are out of order";
		before = v;
	}
	return NULL;
}

int kp_hive_verify(const struct kp_image *image, struct kp_err *err)
{
	const char *name = kp_image_name(image), *what = NULL;
	uint32_t values = 0;
	struct kp_hive h;
	int rc = kp_hive_open(image, &h);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		return kp_fail(err, EIO, "%s: damaged: the registry's hive does not hold together", name);
	for (uint32_t id = 0; id < h.head.key_count && !what; id++)
		what = check_key(&h, id, &values);
	if (!what && values != h.head.value_count)
		what = "values belong to no key";
	return what ? kp_fail(err, EIO, "%s: damaged: registry: %s", name, what) : 0;
}

int kp_hive_count(const struct kp_image *image, uint32_t *ret_keys, uint32_t *ret_values)
{
	struct kp_hive h;
	int rc = kp_hive_open(image, &h);

	*ret_keys = rc ? 0 : h.head.key_count - 1;
	*ret_values = rc ? 0 : h.head.value_count;
	return rc == -ENOENT ? 0 : rc;
}
