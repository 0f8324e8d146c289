/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel discard and kapsel commit: an instance's changes are dropped, or applied to the host. */
#include <unistd.h>

#include "changes/bake.h"
#include "changes/registry.h"
#include "cmd/view.h"
#include "snapshot/snapshot.h"

static size_t count_chosen(const struct kp_changes *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		n += c->items[i].chosen;
	return n;
}

static int before(const struct kp_instance *i, const char *note, struct kp_err *err)
{
	int r = kp_snapshot_create(i, &(struct kp_snapshot_make){.note = note, .kind = KP_SNAPSHOT_AUTO}, NULL, err);

	if (!r)
		kp_snapshot_prune(i);
	return r;
}

static int before_discard(void *ctx, struct kp_err *err)
{
	return before(ctx, "before discard", err);
}

static int before_commit(void *ctx, struct kp_err *err)
{
	return before(ctx, KP_NOTE_COMMIT, err);
}

/* Without paths the registry's changes go, too. */
static int discard_registry(const struct kp_view *w, size_t *ret_count, struct kp_err *err)
{
	kp_autofree char *own = kp_asprintf("%s/registry", w->plan.instance->dir);
	struct kp_reg *lower = NULL;
	int r = kp_view_registry(w, &lower, err);

	if (!r)
		r = kp_changes_registry_count(own, lower, ret_count, err);
	(void)kp_reg_free(lower);
	return r || !*ret_count ? r : kp_changes_registry_discard(own, err);
}

int kp_cmd_discard(const struct kp_args *args, struct kp_err *err)
{
	struct kp_changing kp_autochanging g = {.upper_fd = -1, .work_fd = -1};
	struct kp_changes kp_autochanges c = {0};
	struct kp_view kp_autoview w = {0};
	size_t values = 0, count;
	int r = kp_view_changes(&w, args, true, &c, err);

	if (r < 0)
		return r;
	kp_changes_choose_whole(&c);
	r = kp_changing_open(&g, w.plan.instance->name, w.plan.instance->dir, err);
	g.before = before_discard;
	g.ctx = w.plan.instance;
	if (!r)
		r = kp_changes_discard(&g, &c, args->operands + 1, args->operand_count - 1, err);
	if (!r && args->operand_count == 1)
		r = discard_registry(&w, &values, err);
	if (r < 0)
		return r;
	count = count_chosen(&c) + values;
	if (!kp_args_has(args, "quiet"))
		printf("%s: %zu change%s discarded\n", w.plan.instance->name, count, KP_S(count));
	return kp_flush(err);
}

static void said(const struct kp_change *c, const char *left, void *ctx)
{
	kp_autofree char *path = kp_path_quoted(c->path);

	if (!ctx && !left)
		printf("%c %s\n", c->kind, path);
	else if (!ctx)
		printf("- %s: left: %s\n", path, left);
}

/* What the host shows is not baked unless it was named. */
static void choose_for_image(struct kp_changes *c, bool named)
{
	for (size_t i = 0; i < c->count; i++)
		if (!named && c->items[i].host && (c->items[i].below == KP_HOST || c->items[i].below == KP_ABSENT))
			c->items[i].chosen = false;
}

/* The registry of the layers, with the instance's changes or without, as no profile and no mode of the host's has it. */
static int open_whole(const struct kp_plan *plan, bool changes, struct kp_reg **ret, struct kp_err *err)
{
	struct kp_plan whole = *plan;

	whole.profile = NULL;
	whole.key_mode_count = 0;
	if (!changes)
		whole.instance = NULL;
	return kp_plan_registry(&whole, false, ret, err);
}

static int bake(struct kp_changing *g, struct kp_view *w, struct kp_changes *c, const struct kp_args *args, struct kp_err *err)
{
	const char *to = kp_args_get(args, "to-image");
	struct kp_bake b = {.manifest = w->plan.manifest, .launcher = "/proc/self/exe"};
	struct kp_out kp_autoout out = {.fd = -1, .dir_fd = -1};
	int r = kp_out_open(&out, to, kp_args_has(args, "force"), err);

	if (!r)
		r = open_whole(&w->plan, args->operand_count == 1, &b.registry, err);
	if (r < 0)
		return r;
	choose_for_image(c, args->operand_count > 1);
	r = kp_changes_bake(g, w->vfs, c, &b, out.fd, err);
	(void)kp_reg_free(b.registry);
	if (!r)
		r = kp_out_publish(&out, 0755, err);
	if (!r && b.left)
		(void)fprintf(stderr, "kapsel: %s: %zu FIFOs and sockets left out: an image has none\n", to, b.left);
	if (!r && !kp_args_has(args, "quiet"))
		printf("%s: %zu entries\n", to, b.files);
	return r;
}

static int to_image(const struct kp_args *args, struct kp_err *err)
{
	struct kp_changing kp_autochanging g = {.upper_fd = -1, .work_fd = -1};
	struct kp_changes kp_autochanges c = {0};
	struct kp_view kp_autoview w = {0}, kp_autoview plain = {0};
	int r = kp_view_changes(&w, args, true, &c, err);

	if (r < 0)
		return r;
	if (kp_args_has(args, "dry-run"))
		return kp_fail(err, EINVAL, "--dry-run: not with --to-image");
	/* The layers as they are, without what modes show. */
	plain.no_modes = true;
	r = kp_view_open(&plain, args, args->operands[0], KP_VIEW_LOWER, err);
	if (!r)
		r = kp_changing_open(&g, w.plan.instance->name, w.plan.instance->dir, err);
	kp_changes_choose_whole(&c);
	if (!r)
		r = bake(&g, &plain, &c, args, err);
	return r < 0 ? r : kp_flush(err);
}

int kp_cmd_commit(const struct kp_args *args, struct kp_err *err)
{
	bool quiet = kp_args_has(args, "quiet");
	struct kp_commit how = {.force = kp_args_has(args, "force"), .dry_run = kp_args_has(args, "dry-run"), .said = said,
				.ctx = quiet ? &quiet : NULL};
	struct kp_changing kp_autochanging g = {.upper_fd = -1, .work_fd = -1};
	struct kp_changes kp_autochanges c = {0};
	struct kp_view kp_autoview w = {0};
	int r;

	if (kp_args_has(args, "to-image"))
		return to_image(args, err);
	r = kp_view_changes(&w, args, true, &c, err);
	if (r < 0)
		return r;
	kp_changes_choose_whole(&c);
	r = kp_changing_open(&g, w.plan.instance->name, w.plan.instance->dir, err);
	g.before = before_commit;
	g.ctx = w.plan.instance;
	if (!r)
		r = kp_changes_commit(&g, w.vfs, &c, &how, err);
	if (!r && args->operand_count > 1 && !how.done) {
		(void)kp_fail(err, EINVAL, "%s: nothing to commit there: the host is not shown, or it is the image's", args->operands[1]);
		r = kp_hint(err, "--mode PATH=writecopy says what of the host the instance changes; kapsel explain tells what a path is");
	}
	if (r < 0)
		return r;
	if (!quiet)
		printf("%s: %zu change%s %s, %zu left in the instance\n", w.plan.instance->name, how.done, KP_S(how.done),
		       how.dry_run ? "would be committed" : "committed", how.left);
	return kp_flush(err);
}
