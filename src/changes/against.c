/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance's changes were made against: a digest of what the layers below had, of each path, key and value that it changed. By it
 * other layers are told fit for them, or not, where those that they were made on are not at hand. Entries end with a NUL:
 *   f DIGEST PATH        t DIGEST PATH (with all below it)        k DIGEST KEY (deep)        v DIGEST LENGTH-OF-KEY KEY NAME
 */
#include <sodium.h>

#include "changes/against.h"
#include "changes/internal.h"
#include "registry/registry.h"
#include "vfs/change.h"
#include "vfs/resolve.h"

#define HEX (2 * KP_DIGEST_LEN)

struct against {
	struct kp_vfs *lower;
	struct kp_reg *reg;
	struct kp_node *node;
	struct kp_buf *out;
};

static void end(crypto_generichash_state *state, char hex[HEX + 1])
{
	uint8_t digest[KP_DIGEST_LEN];

	crypto_generichash_final(state, digest, sizeof(digest));
	(void)sodium_bin2hex(hex, HEX + 1, digest, sizeof(digest));
}

static void add(crypto_generichash_state *state, const void *data, size_t len)
{
	crypto_generichash_update(state, data, len);
}

/* Times do not count, nor what directories hold. */
static int add_node(struct against *a, const char *path, crypto_generichash_state *state)
{
	struct kp_node *n = a->node;
	char target[PATH_MAX] = "", head[32];
	struct kp_entry e = {0};
	int r;

	kp_vfs_read_lock(a->lower);
	r = kp_resolve_exact(a->lower, path, getpid(), n);
	if (r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -ELOOP) {
		n->origin = KP_ABSENT;
		r = 0;
	}
	if (!r && n->origin == KP_IMAGE && S_ISLNK(n->mode))
		r = kp_node_readlink(a->lower, n, target, sizeof(target));
	if (!r && n->origin == KP_IMAGE && S_ISREG(n->mode))
		r = kp_image_entry(kp_vfs_image(a->lower, n->layer), n->entry, &e);
	kp_vfs_unlock(a->lower);
	/* What is made for each run is the same everywhere. */
	(void)snprintf(head, sizeof(head), "%d %o ", n->origin == KP_ABSENT ? 0 : n->origin == KP_IMAGE ? 1 : 2,
		       n->origin == KP_IMAGE ? n->mode : 0);
	add(state, head, strlen(head));
	add(state, target, strlen(target));
	if (e.digest)
		add(state, e.digest, KP_DIGEST_LEN);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int sign_path(struct against *a, const char *top, bool tree, char hex[HEX + 1])
{
	struct kp_strings kp_autostrings todo = {0};
	crypto_generichash_state state;
	int r = 0;

	crypto_generichash_init(&state, NULL, 0, KP_DIGEST_LEN);
	kp_strings_add(&todo, top);
	while (todo.count && !r) {
		kp_autofree char *path = kp_strings_pop(&todo);
		struct kp_strings kp_autostrings names = {0};

		add(&state, path, strlen(path) + 1);
		r = add_node(a, path, &state);
		if (!r && tree && a->node->origin != KP_ABSENT && S_ISDIR(a->node->mode)) {
			kp_vfs_read_lock(a->lower);
			r = kp_list(a->lower, a->node, 0, kp_take_name, &names);
			kp_vfs_unlock(a->lower);
		}
		if (names.count)
			qsort(names.items, names.count, sizeof(*names.items), by_text);
		for (size_t i = 0; i < names.count && !r; i++) {
			char child[PATH_MAX];

			if (!kp_path_join(child, sizeof(child), path, names.items[i]))
				kp_strings_add(&todo, child);
		}
	}
	end(&state, hex);
	return r;
}

static int sign_key(struct against *a, const char *key, char hex[HEX + 1])
{
	crypto_generichash_state state;
	uint64_t stamp = 0;
	int r = kp_reg_stamp(a->reg, key, true, &stamp);

	crypto_generichash_init(&state, NULL, 0, KP_DIGEST_LEN);
	add(&state, &stamp, r ? 0 : sizeof(stamp));
	end(&state, hex);
	return r == -ENOENT ? 0 : r;
}

static int sign_value(struct against *a, const char *key, const char *name, char hex[HEX + 1])
{
	crypto_generichash_state state;
	struct kp_reg_value v = {0};
	int r = kp_reg_get(a->reg, key, name, &v);

	crypto_generichash_init(&state, NULL, 0, KP_DIGEST_LEN);
	if (!r) {
		add(&state, &v.d.type, sizeof(v.d.type));
		add(&state, v.d.data, v.d.len);
		kp_reg_value_free(&v);
	}
	end(&state, hex);
	return r == -ENOENT || r == -ENODATA ? 0 : r;
}

static int note_path(struct against *a, const char *path, bool tree)
{
	char hex[HEX + 1];
	int r = sign_path(a, path, tree, hex);

	if (!r) {
		kp_buf_printf(a->out, "%c %s %s", tree ? 't' : 'f', hex, path);
		kp_buf_add(a->out, "", 1);
	}
	return r;
}

static int note_own(const struct kp_own *o, void *ctx)
{
	struct against *a = ctx;
	char hex[HEX + 1];
	int r = o->hidden ? 0 : o->name ? sign_value(a, o->key, o->name, hex) : sign_key(a, o->key, hex);

	if (r || o->hidden)
		return r;
	if (o->name)
		kp_buf_printf(a->out, "v %s %zu %s %s", hex, strlen(o->key), o->key, o->name);
	else
		kp_buf_printf(a->out, "k %s %s", hex, o->key);
	kp_buf_add(a->out, "", 1);
	return 0;
}

static int note_change(struct against *a, const struct kp_change *c)
{
	bool dir = S_ISDIR(c->mode), gone = c->kind == KP_CHANGE_DELETED;

	/* What is only in a renamed directory goes with what lies below that. */
	if (c->source || (gone && c->moved && S_ISDIR(c->old_mode)))
		return 0;
	return note_path(a, c->base ? c->base : c->path, gone || (!dir && S_ISDIR(c->old_mode)));
}

int kp_against_make(int upper_fd, struct kp_vfs *lower, const char *own, struct kp_reg *reg, struct kp_buf *out, struct kp_err *err)
{
	struct against a = {.lower = lower, .reg = reg, .node = kp_calloc(1, sizeof(*a.node)), .out = out};
	struct kp_changes kp_autochanges c = {0};
	kp_autofree void *node = a.node;
	struct kp_sames same = {0};
	int r = upper_fd < 0 ? 0 : kp_changes_find_same(upper_fd, lower, &c, &same, err), first = r;

	for (size_t i = 0; i < c.count && !r; i++)
		r = note_change(&a, &c.items[i]);
	for (size_t i = 0; i < same.count; i++) {
		if (!r && !same.items[i].dir)
			r = note_path(&a, same.items[i].base ? same.items[i].base : same.items[i].path, false);
		free(same.items[i].path);
		free(same.items[i].base);
	}
	free(same.items);
	if (r < 0 && !first)
		return kp_fail_errno(err, -r, "the images cannot be asked");
	return r < 0 ? r : kp_own_each(own, note_own, &a, err);
}

/* One entry, from anywhere: 1: the layers have the same; 0: not, *ret_what tells of what; -EPROTO. */
static int look_again(struct against *a, char *entry, char **ret_what)
{
	char kind = entry[0], hex[HEX + 1], *was = entry + 2, *what = entry + 2 + HEX + 1, *rest;
	kp_autofree char *path = NULL;
	int r = -EPROTO;

	if (strlen(entry) < 2 + HEX + 2 || entry[1] != ' ' || was[HEX] != ' ')
		return -EPROTO;
	was[HEX] = '\0';
	*ret_what = NULL;
	if (kind == 'f' || kind == 't') {
		if (kp_path_normalise(what, &path) < 0 || strcmp(path, what) != 0)
			return -EPROTO;
		r = sign_path(a, what, kind == 't', hex);
		*ret_what = kp_path_quoted(what);
	} else if (kind == 'k') {
		r = sign_key(a, what, hex);
		*ret_what = kp_strdup(what);
	} else if (kind == 'v') {
		size_t len = strtoul(what, &rest, 10);

		if (*rest != ' ' || len > strlen(rest + 1) || rest[1 + len] != ' ')
			return -EPROTO;
		rest[1 + len] = '\0';
		r = sign_value(a, rest + 1, rest + 2 + len, hex);
		*ret_what = kp_asprintf("%s\\%s", rest + 1, rest[2 + len] ? rest + 2 + len : "(Default)");
	}
	return r ? -EPROTO : !strcmp(hex, was);
}

int kp_against_check(char *text, size_t len, struct kp_vfs *lower, struct kp_reg *reg, void (*differs)(const char *what, void *ctx), void *ctx)
{
	struct against a = {.lower = lower, .reg = reg, .node = kp_calloc(1, sizeof(*a.node))};
	kp_autofree void *node = a.node;
	char *at = text, *last = text + len;

	while (at < last) {
		size_t entry = strnlen(at, (size_t)(last - at));
		kp_autofree char *what = NULL;
		int r = at + entry == last ? -EPROTO : look_again(&a, at, &what);

		if (r < 0)
			return r;
		kp_printable(what);
		if (!r)
			differs(what, ctx);
		at += entry + 1;
	}
	return 0;
}
