/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel upgrade: an instance's changes move to another image, three-way. */
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "changes/rebase.h"
#include "cmd/view.h"
#include "instance/config.h"
#include "launch/internal.h"
#include "registry/registry.h"
#include "snapshot/snapshot.h"

struct upgrade {
	const char *name;
	struct kp_view old, next; /* the lower layers: those that it was made on, and the others */
	struct kp_rebase rebase;
	bool take_new;
};

static const struct kp_args no_args;

/* The layers it was made on must be there: what it changed is told by them. */
static int open_old(struct upgrade *u, const char *from, struct kp_err *err)
{
	struct kp_instance *i = u->old.plan.instance;
	struct kp_plan kp_autoplan plan = {0};
	char hex[2 * KP_DIGEST_LEN + 1] = "";
	struct kp_err why = {0};

	if (from) {
		char *real = realpath(from, NULL);

		if (!real)
			return kp_fail_errno(err, errno, "--from %s", from);
		free(i->image);
		i->image = real;
	}
	if (!kp_plan_open_image(&plan, i->image, &why))
		kp_digest_text(kp_image_digest(plan.image), hex);
	if (strncmp(i->digest, hex, 2 * KP_DIGEST_LEN) != 0) {
		(void)kp_fail(err, hex[0] ? EEXIST : ENOENT, "%s: the image that it was made from is %s %s: without it nobody can tell what was changed", i->name,
			      hex[0] ? "no longer" : "not", i->image);
		return kp_hint(err, "--from IMAGE says where it is now; its digest is %.64s", i->digest);
	}
	return kp_view_open(&u->old, &no_args, i->name, KP_VIEW_LOWER, err);
}

/* The instance as its configuration will have it. */
static int open_next(struct upgrade *u, const struct kp_args *args, struct kp_err *err)
{
	const struct kp_instance *i = u->old.plan.instance;
	size_t layer_count;
	kp_autofree const char **layers = kp_args_values(args, "layer", &layer_count);
	struct kp_plan kp_autoplan plan = {0};
	struct kp_instance *next = NULL;
	int r = kp_plan_open_image(&plan, args->operands[1], err);

	if (!r)
		r = kp_plan_layers(&plan, layer_count ? layers : (const char *const *)i->layers.items, layer_count ? layer_count : i->layers.count, err);
	if (!r)
		r = kp_instance_open(i->name, &next, err);
	if (r < 0)
		return r;
	u->next.plan.instance = next;
	free(next->image);
	free(next->digest);
	next->image = kp_strdup(plan.host_image);
	next->digest = kp_plan_digests(&plan);
	if (layer_count)
		kp_strings_free(&next->layers);
	for (size_t k = 0; k < layer_count; k++)
		kp_strings_add(&next->layers, plan.layers.items[k]);
	if (!strcmp(next->digest, i->digest))
		return kp_fail(err, EEXIST, "%s: is made from that image", i->name);
	return kp_view_open(&u->next, &no_args, i->name, KP_VIEW_LOWER, err);
}

static int rebase_registry(struct upgrade *u, struct kp_err *err)
{
	kp_autofree char *own = kp_asprintf("%s/registry", u->old.plan.instance->dir);
	struct kp_reg *old = NULL, *next = NULL;
	int r = kp_view_registry(&u->old, &old, err);

	if (!r)
		r = kp_view_registry(&u->next, &next, err);
	if (!r)
		r = kp_changes_rebase_registry(own, old, next, &u->rebase, err);
	(void)kp_reg_free(old);
	(void)kp_reg_free(next);
	return r;
}

static int edit(const char *host_files, void *ctx, struct kp_err *err)
{
	struct upgrade *u = ctx;
	kp_autofree char *upper = kp_asprintf("%s/upper", host_files);
	kp_autoclose int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct kp_instance as = *u->next.plan.instance;
	int r = 0;

	if (fd < 0 && errno != ENOENT)
		return kp_fail_errno(err, errno, "%s: cannot be opened", upper);
	if (fd >= 0)
		r = kp_rebase_apply(&u->rebase, fd, u->old.vfs, u->next.vfs, u->take_new, err);
	if (!r) {
		kp_autofree char *own = kp_asprintf("%s/registry", host_files);

		r = kp_rebase_apply_registry(&u->rebase, own, u->take_new, err);
	}
	as.dir = (char *)(uintptr_t)host_files;
	return r < 0 ? r : kp_instance_config_write(&as, err);
}

/* A key's backslashes are its own. */
static char *shown_as(const struct kp_rebased *x)
{
	return x->key ? kp_shown(x->path) : kp_path_quoted(x->path);
}

static void print(const struct kp_rebase *b)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct kp_rebased *x = &b->items[i];
		kp_autofree char *path = shown_as(x);

		if (x->fate == KP_REBASE_CONFLICT || x->fate == KP_REBASE_DROP)
			printf("%c %s: %s\n", x->fate == KP_REBASE_CONFLICT ? 'C' : '-', path, x->why);
	}
}

static int refuse(const struct upgrade *u, struct kp_err *err)
{
	for (size_t i = 0; i < u->rebase.count; i++) {
		const struct kp_rebased *x = &u->rebase.items[i];
		kp_autofree char *path = NULL;

		if (x->fate != KP_REBASE_CONFLICT)
			continue;
		path = shown_as(x);
		(void)kp_fail(err, EBUSY, "%s: %zu conflict%s, the first: %s: %s", u->name, u->rebase.conflicts, KP_S(u->rebase.conflicts), path, x->why);
		break;
	}
	return kp_hint(err, "--dry-run lists them; --conflicts keep, or new, says which side stays");
}

static int carry_out(struct upgrade *u, const char *image, struct kp_err *err)
{
	const struct kp_instance *i = u->old.plan.instance;
	kp_autofree char *shown = kp_shown(image), *note = kp_asprintf("before upgrade to %s", shown), *name = NULL;
	int r = kp_snapshot_create(i, &(struct kp_snapshot_make){.note = note, .kind = KP_SNAPSHOT_AUTO}, &name, err);

	if (!r)
		r = kp_snapshot_restore(i, name, edit, u, err);
	if (!r)
		kp_snapshot_prune(i);
	return r;
}

static int upgrade(struct upgrade *u, const struct kp_args *args, struct kp_err *err)
{
	bool dry = kp_args_has(args, "dry-run"), quiet = kp_args_has(args, "quiet");
	const char *conflicts = kp_args_get(args, "conflicts");
	int r = kp_instance_open(u->name, &u->old.plan.instance, err);

	if (r == -ENOENT && !err->code)
		r = kp_fail(err, ENOENT, "%s: not set up yet", u->name);
	if (!r && conflicts && strcmp(conflicts, "keep") != 0 && strcmp(conflicts, "new") != 0)
		r = kp_fail(err, EINVAL, "--conflicts: '%s': not keep or new", conflicts);
	u->take_new = conflicts && !strcmp(conflicts, "new");
	if (!r && !dry)
		r = kp_lock_stopped(u->old.plan.instance, err);
	if (!r)
		r = open_old(u, kp_args_get(args, "from"), err);
	if (!r)
		r = open_next(u, args, err);
	if (!r && u->old.upper_fd >= 0)
		r = kp_changes_rebase(u->old.upper_fd, u->old.vfs, u->next.vfs, &u->rebase, err);
	if (!r)
		r = rebase_registry(u, err);
	if (r < 0)
		return r;
	if (!quiet)
		print(&u->rebase);
	if (!dry && u->rebase.conflicts && !conflicts)
		return kp_flush(err) < 0 ? -err->code : refuse(u, err);
	if (!dry)
		r = carry_out(u, args->operands[1], err);
	if (!r && !quiet)
		printf("%s: %zu change%s %s, %zu conflict%s%s\n", u->name, u->rebase.kept, KP_S(u->rebase.kept), dry ? "would be kept" : "kept",
		       u->rebase.conflicts, KP_S(u->rebase.conflicts),
		       !u->rebase.conflicts || dry ? "" : u->take_new ? ": as the new image has them" : ": as the instance has them");
	return r < 0 ? r : kp_flush(err);
}

int kp_cmd_upgrade(const struct kp_args *args, struct kp_err *err)
{
	struct upgrade u = {.name = args->operands[0]};
	int r;

	u.old.upper_fd = u.next.upper_fd = -1;
	r = upgrade(&u, args, err);
	kp_rebase_free(&u.rebase);
	kp_view_close(&u.next);
	kp_view_close(&u.old);
	return r;
}
