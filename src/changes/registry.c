/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance changed in the registry: its own file compared with what the layers below say. */
#include "changes/registry.h"

struct look {
	struct kp_reg *lower;
	int (*fn)(const struct kp_registry_change *c, void *ctx);
	void *ctx;
};

static int tell(const struct kp_own *o, void *ctx)
{
	struct kp_registry_change c = {.key = o->key, .name = o->name};
	struct look *l = ctx;
	struct kp_reg_value was = {0};
	bool same = false;
	int rc = o->name ? kp_reg_get(l->lower, o->key, o->name, &was) : kp_reg_key(l->lower, o->key, NULL);
	bool had = !rc;

	if (rc && rc != -ENOENT && rc != -ENODATA)
		return rc;
	if (o->hidden && o->name) /* told of with the key that was deleted */
		had = false;
	c.kind = o->kind == KP_OWN_VALUE ? (had ? KP_CHANGE_CHANGED : KP_CHANGE_ADDED) : KP_CHANGE_DELETED;
	if (o->kind == KP_OWN_VALUE)
		c.now = &o->d;
	if (o->name && had)
		c.was = &was.d;
	if (o->kind == KP_OWN_VALUE && had)
		same = was.d.type == o->d.type && was.d.len == o->d.len && !memcmp(was.d.data, o->d.data, o->d.len);
	rc = same || (o->kind != KP_OWN_VALUE && !had) ? 0 : l->fn(&c, l->ctx);
	kp_reg_value_free(&was);
	return rc;
}

int kp_changes_registry(const char *own, struct kp_reg *lower, int (*fn)(const struct kp_registry_change *c, void *ctx), void *ctx, struct kp_err *err)
{
	struct look l = {.lower = lower, .fn = fn, .ctx = ctx};

	return kp_own_each(own, tell, &l, err);
}

static int count_one(const struct kp_registry_change *c, void *ctx)
{
	size_t *count = ctx;

	(void)c;
	++*count;
	return 0;
}

int kp_changes_registry_count(const char *own, struct kp_reg *lower, size_t *ret, struct kp_err *err)
{
	*ret = 0;
	return kp_changes_registry(own, lower, count_one, ret, err);
}

int kp_changes_registry_discard(const char *own, struct kp_err *err)
{
	struct kp_own_name hives[KP_REG_HIVES];

	for (int i = 0; i < KP_REG_HIVES; i++)
		hives[i] = (struct kp_own_name){kp_reg_hive_short[i], NULL};
	return kp_own_drop(own, hives, KP_REG_HIVES, err);
}

struct gather {
	struct kp_hive_tree *tree;
	struct kp_strings todo;
	const char *key;
};

static int gather_key(const char *name, void *ctx)
{
	struct gather *g = ctx;
	kp_autofree char *key = kp_asprintf("%s\\%s", g->key, name);
	int rc = kp_hive_tree_key(g->tree, key);

	kp_strings_add(&g->todo, key);
	return rc;
}

static int gather_value(const struct kp_reg_value *v, void *ctx)
{
	struct gather *g = ctx;

	return kp_hive_tree_set(g->tree, g->key, v->name, &v->d);
}

int kp_changes_registry_bake(struct kp_reg *whole, struct kp_buf *out, struct kp_err *err)
{
	struct gather g = {.tree = kp_hive_tree_new()};
	int rc = 0;

	for (int i = 0; i < KP_REG_HIVES; i++)
		kp_strings_add(&g.todo, kp_reg_hive_short[i]);
	while (g.todo.count) {
		kp_autofree char *key = kp_strings_pop(&g.todo);

		g.key = key;
		if (!rc)
			rc = kp_reg_each_value(whole, key, gather_value, &g);
		if (!rc || rc == -ENOENT)
			rc = kp_reg_each_subkey(whole, key, gather_key, &g);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (!rc && !kp_hive_tree_is_empty(g.tree))
		rc = kp_hive_build(g.tree, out);
	(void)kp_hive_tree_free(g.tree);
	kp_strings_free(&g.todo);
	return rc < 0 ? kp_fail_errno(err, -rc, "registry: cannot be baked") : 0;
}
