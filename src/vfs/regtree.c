/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values as directories and files: look-ups, listings, changes. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfs/regtree_internal.h"
#include "vfs/upper.h"

/* --- look-ups --- */

uint64_t kp_regtree_ino(const char *guest)
{
	return 1ULL << 61 | (kp_hash_string(guest) >> 8);
}

static void fill(struct kp_vfs *v, struct kp_node *child, mode_t mode, size_t size, int64_t ns)
{
	child->origin = KP_REG;
	child->mode = mode;
	child->ino = kp_regtree_ino(child->guest.s);
	child->st = (struct stat){.st_mode = mode, .st_uid = v->uid, .st_gid = v->gid, .st_nlink = 1, .st_size = (off_t)size, .st_blksize = 4096,
				  .st_blocks = (blkcnt_t)((size + 511) / 512), .st_ino = child->ino};
	child->st.st_mtim = child->st.st_ctim = child->st.st_atim = (struct timespec){ns / 1000000000, ns % 1000000000};
	child->self.mode = mode;
	child->self.uid = v->uid;
	child->self.gid = v->gid;
	child->self.reg = S_ISDIR(mode);
}

/* The name as it was made takes the place of the one that was asked for: one file has one path. */
static int rename_child(struct kp_node *child, const char *name, bool value, bool clash)
{
	char *last = strrchr(child->guest.s, '/') + 1, out[NAME_MAX + 1];

	kp_regtree_encode(name, value, clash, out);
	if ((size_t)(last - child->guest.s) + strlen(out) >= sizeof(child->guest.s))
		return -ENAMETOOLONG;
	memcpy(last, out, strlen(out) + 1);
	return 0;
}

static int find_hive(struct kp_vfs *v, const char *name, struct kp_node *child)
{
	for (int i = 0; i < KP_REG_HIVES; i++)
		if (!strcasecmp(name, kp_reg_hive_long[i])) {
			(void)rename_child(child, kp_reg_hive_long[i], false, false);
			fill(v, child, S_IFDIR | 0755, 0, 0);
		}
	return 0;
}

/* What this thread's last look-up of a value saw: the open that it was for need not ask again. */
static _Thread_local struct {
	struct kp_gpath guest;
	struct kp_buf text;
} last_seen;

bool kp_regtree_take_seen(const char *guest, struct kp_buf *ret)
{
	if (!last_seen.text.data || strcmp(last_seen.guest.s, guest) != 0)
		return false;
	*ret = last_seen.text;
	last_seen.text = (struct kp_buf){0};
	return true;
}

static int take_value(struct kp_vfs *v, const struct kp_reg_entry *e, struct kp_node *child)
{
	struct kp_buf *file = &last_seen.text;
	struct stat staged;
	int rc = rename_child(child, e->value.name, true, e->key != NULL);

	if (rc)
		return rc;
	kp_buf_free(file);
	kp_reg_data_to_file(&e->value.d, file);
	memcpy(last_seen.guest.s, child->guest.s, strlen(child->guest.s) + 1);
	fill(v, child, S_IFREG | (e->value.layer == KP_REG_POLICY ? 0444 : 0644), file->len, e->value_ns);
	if (kp_regtree_is_staged(v->registry, child->guest.s, &staged)) {
		child->st.st_size = staged.st_size;
		child->st.st_mtim = child->st.st_ctim = staged.st_mtim;
	}
	return 0;
}

int kp_regtree_lookup(struct kp_vfs *v, const char *name, size_t len, struct kp_node *child)
{
	const char *last = strrchr(child->guest.s, '/');
	kp_autofree char *parent = NULL, *own = NULL;
	struct kp_reg_entry e;
	bool value, hive = last - child->guest.s == sizeof(KP_REGTREE) - 1;
	int rc;

	child->self.proc = true;
	if (!strcmp(child->guest.s, KP_REGTREE)) {
		fill(v, child, S_IFDIR | 0755, 0, 0);
		return 0;
	}
	if (kp_regtree_request(child->guest.s) >= 0) {
		fill(v, child, S_IFREG | 0600, 0, 0);
		return 0;
	}
	if (!hive) {
		kp_regtree_drain(v->registry);
		rc = kp_regtree_key(v->registry->reg, child->guest.s, (size_t)(last - child->guest.s), &parent);
		if (rc)
			return 0;
	}
	if (kp_regtree_name(v->registry->reg, parent, name, len, &own, &value))
		return 0;
	if (hive)
		return find_hive(v, own, child);
	rc = kp_reg_entry(v->registry->reg, parent, own, &e);
	if (rc)
		return rc == -ENOENT || rc == -EINVAL || rc == -ENAMETOOLONG ? 0 : rc;
	if (e.key && !value) {
		rc = rename_child(child, e.key, false, false);
		if (!rc)
			fill(v, child, S_IFDIR | 0755, 0, e.key_ns);
	} else if (e.value.name) {
		rc = take_value(v, &e, child);
	}
	kp_reg_entry_free(&e);
	return rc == -ENAMETOOLONG ? 0 : rc;
}

/* --- listings --- */

struct listing {
	struct kp_strings keys; /* folded */
	void (*fn)(const char *name, bool dir, void *ctx);
	void *ctx;
};

static int list_key(const char *name, void *ctx)
{
	struct listing *l = ctx;
	kp_autofree char *fold = kp_reg_fold(name);
	char out[NAME_MAX + 1];

	kp_strings_add(&l->keys, fold);
	kp_regtree_encode(name, false, false, out);
	l->fn(out, true, l->ctx);
	return 0;
}

static int fold_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_value(const struct kp_reg_value *value, void *ctx)
{
	struct listing *l = ctx;
	kp_autofree char *fold = kp_reg_fold(value->name);
	bool clash = l->keys.count && bsearch(&fold, l->keys.items, l->keys.count, sizeof(char *), fold_order);
	char out[NAME_MAX + 1];

	kp_regtree_encode(value->name, true, clash, out);
	l->fn(out, false, l->ctx);
	return 0;
}

int kp_regtree_list(struct kp_vfs *v, const struct kp_node *n, void (*fn)(const char *name, bool dir, void *ctx), void *ctx)
{
	struct listing l = {.fn = fn, .ctx = ctx};
	kp_autofree char *key = NULL;
	int rc;

	kp_regtree_drain(v->registry);
	if (!strcmp(n->guest.s, KP_REGTREE)) {
		for (int i = 0; i < KP_REG_HIVES; i++)
			fn(kp_reg_hive_long[i], true, ctx);
		return 0;
	}
	rc = kp_regtree_key(v->registry->reg, n->guest.s, strlen(n->guest.s), &key);
	if (!rc)
		rc = kp_reg_each_subkey(v->registry->reg, key, list_key, &l);
	if (!rc)
		rc = kp_reg_each_value(v->registry->reg, key, list_value, &l);
	kp_strings_free(&l.keys);
	return rc;
}

/* --- changes --- */

/* One change in a transaction of its own. */
struct change {
	const char *key, *name; /* name NULL: the key itself */
	const struct kp_reg_data *data; /* NULL: deleted, or, a key, made */
	bool make;
};

static int change(struct kp_regtree *t, const struct change *c, size_t count)
{
	struct kp_reg_txn *txn;
	int rc = kp_reg_begin(t->reg, &txn);

	if (rc)
		return rc;
	for (size_t i = 0; i < count && !rc; i++) {
		if (c[i].name)
			rc = c[i].data ? kp_reg_set(txn, c[i].key, c[i].name, c[i].data) : kp_reg_delete_value(txn, c[i].key, c[i].name);
		else
			rc = c[i].make ? kp_reg_create_key(txn, c[i].key) : kp_reg_delete_key(txn, c[i].key, false);
	}
	if (!rc)
		return kp_reg_commit(txn);
	kp_reg_abort(txn);
	return rc == -ENODATA ? -ENOENT : rc;
}

int kp_regtree_set(struct kp_regtree *t, const char *key, const char *name, const struct kp_reg_data *data)
{
	return change(t, &(struct change){key, name, data, true}, 1);
}

int kp_regtree_create(struct kp_vfs *v, struct kp_node *n, int flags, int *ret_fd)
{
	kp_autofree char *key = NULL, *name = NULL;
	int rc = kp_regtree_value(v->registry->reg, n, &key, &name);

	if (rc == -ENOENT && n->parent.reg) /* beside the hives, or a name that is none */
		return -EPERM;
	if (!rc)
		rc = kp_config_touch(v, n, false);
	if (!rc)
		rc = kp_regtree_set(v->registry, key, name, &(struct kp_reg_data){KP_REG_SZ, 0, ""});
	if (!rc)
		rc = kp_refresh(v, n);
	return rc ? rc : n->origin == KP_ABSENT ? -ENOENT : kp_regtree_open(v, n, flags, ret_fd);
}

int kp_regtree_mkdir(struct kp_vfs *v, struct kp_node *n)
{
	kp_autofree char *key = NULL;
	int rc = kp_regtree_key(v->registry->reg, n->guest.s, strlen(n->guest.s), &key);

	if (rc)
		return -EINVAL;
	if (!strchr(key, '\\'))
		return -EPERM; /* there are no more hives */
	rc = kp_config_touch(v, n, false);
	if (!rc)
		rc = change(v->registry, &(struct change){key, NULL, NULL, true}, 1);
	if (!rc) {
		(void)kp_mkdir_all(v->dirs_fd, n->guest.s + 1, 0700);
		kp_fast_standin_comes(v, NULL);
	}
	return rc;
}

static int found_one(const char *name, void *ctx)
{
	(void)name, (void)ctx;
	return -ENOTEMPTY;
}

static int found_value(const struct kp_reg_value *value, void *ctx)
{
	(void)value, (void)ctx;
	return -ENOTEMPTY;
}

int kp_regtree_remove(struct kp_vfs *v, struct kp_node *n)
{
	kp_autofree char *key = NULL, *name = NULL;
	int rc = kp_config_touch(v, n, true);

	if (rc)
		return rc;
	if (!S_ISDIR(n->mode)) {
		rc = kp_regtree_value(v->registry->reg, n, &key, &name);
		if (!rc)
			rc = change(v->registry, &(struct change){key, name, NULL, false}, 1);
		if (!rc)
			kp_regtree_unstage(v->registry, n->guest.s);
		return rc;
	}
	rc = kp_regtree_key(v->registry->reg, n->guest.s, strlen(n->guest.s), &key);
	if (rc)
		return -EBUSY; /* the root */
	rc = kp_reg_each_subkey(v->registry->reg, key, found_one, NULL);
	if (!rc)
		rc = kp_reg_each_value(v->registry->reg, key, found_value, NULL);
	return rc ? rc : change(v->registry, &(struct change){key, NULL, NULL, false}, 1);
}

int kp_regtree_rename(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, unsigned flags)
{
	kp_autofree char *from_key = NULL, *to_key = NULL, *from_name = NULL, *to_name = NULL;
	struct kp_reg_value value = {0};
	int rc;

	if (!from->parent.reg || !to->parent.reg || S_ISDIR(from->mode))
		return -EXDEV; /* keys are copied, as over the border of a file system */
	if (flags)
		return -EINVAL;
	if (to->origin != KP_ABSENT && S_ISDIR(to->mode))
		return -EISDIR;
	rc = kp_config_touch(v, from, false);
	if (!rc)
		rc = kp_config_touch(v, to, false);
	if (rc)
		return rc;
	kp_regtree_drain(v->registry);
	rc = kp_regtree_value(v->registry->reg, from, &from_key, &from_name);
	if (!rc)
		rc = kp_regtree_value(v->registry->reg, to, &to_key, &to_name);
	if (!rc)
		rc = kp_reg_get(v->registry->reg, from_key, from_name, &value);
	if (rc)
		return rc == -ENODATA ? -ENOENT : rc;
	{
		struct change both[] = {{from_key, from_name, NULL, false}, {to_key, to_name, &value.d, true}};

		rc = change(v->registry, both, 2);
	}
	kp_reg_value_free(&value);
	if (!rc)
		kp_regtree_restage(v->registry, from->guest.s, to->guest.s);
	return rc;
}

/* --- types --- */

int kp_regtree_type(struct kp_vfs *v, const struct kp_node *n, char buf[KP_REG_TYPE_NAME])
{
	kp_autofree char *key = NULL, *name = NULL;
	char other[KP_REG_TYPE_NAME];
	struct kp_reg_value value;
	int rc = S_ISDIR(n->mode) ? -ENODATA : kp_regtree_value(v->registry->reg, n, &key, &name);

	if (!rc)
		rc = kp_reg_get(v->registry->reg, key, name, &value);
	if (rc)
		return rc;
	(void)snprintf(buf, KP_REG_TYPE_NAME, "%s", kp_reg_type_name(value.d.type, other));
	kp_reg_value_free(&value);
	return 0;
}

int kp_regtree_set_type(struct kp_vfs *v, const struct kp_node *n, const char *type)
{
	struct kp_buf kp_autobuf file = {0}, data = {0};
	kp_autofree char *key = NULL, *name = NULL;
	struct kp_reg_data d = {0};
	struct kp_reg_value value;
	uint32_t wanted;
	int rc = S_ISDIR(n->mode) ? -EPERM : kp_reg_type_by_name(type, &wanted);

	if (!rc)
		rc = kp_regtree_value(v->registry->reg, n, &key, &name);
	if (!rc)
		rc = kp_config_touch(v, n, false);
	if (!rc)
		rc = kp_reg_get(v->registry->reg, key, name, &value);
	if (rc)
		return rc;
	kp_reg_data_to_file(&value.d, &file);
	kp_reg_value_free(&value);
	kp_reg_data_from_file(wanted, file.data, file.len, &d.type, &data);
	d.data = data.data;
	d.len = data.len;
	return d.type == wanted ? kp_regtree_set(v->registry, key, name, &d) : -EINVAL;
}
