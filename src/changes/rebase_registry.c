/* SPDX-License-Identifier: Apache-2.0 */
/* Three-way for each key and value of the registry that an instance changed: the old layers, its own, the new layers. */
#include "changes/rebase.h"
#include "registry/registry.h"

struct rebase {
	struct kp_reg *old, *new;
	struct kp_rebase *out;
};

static int look(struct kp_reg *r, const struct kp_own *o, struct kp_reg_value *ret)
{
	int rc = kp_reg_get(r, o->key, o->name, ret);

	*ret = rc ? (struct kp_reg_value){0} : *ret;
	return rc == -ENOENT || rc == -ENODATA ? 0 : rc;
}

/* A value that is not there has no name. */
static bool same(const struct kp_reg_value *a, const struct kp_reg_data *b)
{
	return a->name && a->d.type == b->type && a->d.len == b->len && !memcmp(a->d.data, b->data, b->len);
}

static enum kp_rebase_fate of_value(const struct kp_own *o, const struct kp_reg_value *was, const struct kp_reg_value *is, const char **why)
{
	bool gone = o->kind == KP_OWN_VALUE_GONE, untouched = was->name ? same(is, &was->d) : !is->name;

	*why = NULL;
	if (gone ? !is->name : same(is, &o->d)) {
		*why = gone ? "the new image has none either" : "the new image has it so";
		return KP_REBASE_DROP;
	}
	if (gone ? !was->name : same(was, &o->d))
		return KP_REBASE_SAME;
	if (untouched)
		return KP_REBASE_KEEP;
	*why = gone ? "deleted here, changed in the new image" : !was->name ? "the new image has another one"
	       : is->name ? "changed here and in the new image" : "changed here, the new image has none";
	return KP_REBASE_CONFLICT;
}

static int decide_value(struct rebase *b, const struct kp_own *o, enum kp_rebase_fate *fate, const char **why)
{
	struct kp_reg_value was = {0}, is = {0};
	int rc = look(b->old, o, &was);

	if (!rc)
		rc = look(b->new, o, &is);
	if (!rc)
		*fate = of_value(o, &was, &is, why);
	kp_reg_value_free(&was);
	kp_reg_value_free(&is);
	return rc;
}

/* 1 with its stamp; 0: there is no such key. */
static int stamp(struct kp_reg *r, const char *key, uint64_t *ret)
{
	int rc = kp_reg_stamp(r, key, true, ret);

	return rc == -ENOENT ? 0 : rc ? rc : 1;
}

static int decide_key(struct rebase *b, const struct kp_own *o, enum kp_rebase_fate *fate, const char **why)
{
	uint64_t old = 0, new = 0;
	int was = stamp(b->old, o->key, &old), is = was < 0 ? was : stamp(b->new, o->key, &new);

	if (is < 0)
		return is;
	*fate = was == is && old == new ? KP_REBASE_KEEP : KP_REBASE_CONFLICT;
	*why = *fate == KP_REBASE_KEEP ? NULL : o->kind == KP_OWN_KEY_GONE ? "deleted here, changed in the new image"
				       : "deleted and made anew here, changed in the new image";
	if (o->kind == KP_OWN_KEY_GONE && !is) {
		*fate = KP_REBASE_DROP;
		*why = "the new image has none either";
	}
	return 0;
}

static int decide(const struct kp_own *o, void *ctx)
{
	struct rebase *b = ctx;
	kp_autofree char *shown = o->name ? kp_asprintf("%s\\%s", o->key, *o->name ? o->name : "(Default)") : kp_strdup(o->key);
	enum kp_rebase_fate fate = KP_REBASE_KEEP;
	const char *why = NULL;
	struct kp_rebased *x;
	int rc = o->hidden ? 0 : o->name ? decide_value(b, o, &fate, &why) : decide_key(b, o, &fate, &why);

	if (rc)
		return rc;
	x = kp_rebase_add(b->out, shown, fate, why);
	x->key = kp_strdup(o->key);
	x->name = o->name ? kp_strdup(o->name) : NULL;
	return 0;
}

int kp_changes_rebase_registry(const char *own, struct kp_reg *old, struct kp_reg *new, struct kp_rebase *ret, struct kp_err *err)
{
	struct rebase b = {.old = old, .new = new, .out = ret};

	return kp_own_each(own, decide, &b, err);
}

int kp_rebase_apply_registry(const struct kp_rebase *r, const char *own, bool take_new, struct kp_err *err)
{
	kp_autofree struct kp_own_name *names = kp_calloc(r->count + 1, sizeof(*names));
	size_t count = 0;

	for (size_t i = 0; i < r->count; i++) {
		const struct kp_rebased *x = &r->items[i];

		if (x->key && (x->fate == KP_REBASE_DROP || x->fate == KP_REBASE_SAME || (take_new && x->fate == KP_REBASE_CONFLICT)))
			names[count++] = (struct kp_own_name){x->key, x->name};
	}
	return count ? kp_own_drop(own, names, count, err) : 0;
}
