/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an image or an instance to look at: its layers, its rules, a vfs that changes nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/powers.h"
#include "cmd/view.h"
#include "launch/internal.h"

#define SCRATCH "kapsel-look-"

/* Scratch directories of commands that were killed: unlocked, and not so young that they are about to be locked. */
static void sweep_scratch(const char *tmp)
{
	DIR *d = opendir(tmp);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		kp_autoclose int fd = strncmp(e->d_name, SCRATCH, sizeof(SCRATCH) - 1) != 0
					      ? -1 : openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && time(NULL) - st.st_mtime > 60 &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)kp_remove_tree(dirfd(d), e->d_name);
	}
	if (d)
		(void)closedir(d);
}

static int make_scratch(struct kp_view *w, struct kp_err *err)
{
	const char *dir = getenv("TMPDIR");
	int r;

	dir = dir && dir[0] == '/' ? dir : "/tmp";
	sweep_scratch(dir);
	w->scratch = kp_asprintf("%s/" SCRATCH "XXXXXX", dir);
	if (!mkdtemp(w->scratch)) {
		r = kp_fail_errno(err, errno, "%s: cannot be made", w->scratch);
		free(w->scratch);
		w->scratch = NULL;
		return r;
	}
	w->upper_fd = -1;
	w->scratch_fd = open(w->scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)flock(w->scratch_fd, LOCK_EX | LOCK_NB);
	return 0;
}

void kp_view_close(struct kp_view *w)
{
	w->vfs = kp_vfs_free(w->vfs);
	if (w->scratch) {
		(void)kp_remove_tree(AT_FDCWD, w->scratch);
		w->upper_fd = kp_close(w->upper_fd);
		w->scratch_fd = kp_close(w->scratch_fd);
	}
	free(w->scratch);
	free(w->projected);
	w->scratch = NULL;
	w->projected = NULL;
	kp_plan_free(&w->plan);
}

static int open_vfs(struct kp_view *w, enum kp_view_what how, struct kp_err *err)
{
	struct kp_plan *plan = &w->plan;
	kp_autofree struct kp_layer *layers = kp_calloc(plan->under_count + 1, sizeof(*layers));
	struct kp_vfs_options vo = {
		.look_only = true, .instance_dir = plan->instance && how == KP_VIEW_WHOLE ? plan->instance->dir : NULL,
		.layers = layers, .layer_count = plan->under_count + 1, .rules = plan->rules, .rule_count = plan->rule_count,
	};
	char **private_dirs;
	int r;

	w->projected = kp_projected_files(&plan->manifest->registry);
	vo.projected = w->projected;
	vo.projected_count = plan->manifest->registry.projection_count;
	kp_plan_user(plan);
	vo.home = plan->home;
	vo.user = plan->user;
	vo.hostname = plan->hostname;
	r = make_scratch(w, err);
	if (r < 0)
		return r;
	vo.run_dir = w->scratch;
	for (size_t i = 0; i < vo.layer_count; i++)
		layers[i].image = kp_plan_image(plan, i);
	private_dirs = kp_private_dirs(plan->instance ? plan->instance->dir : "", "", "", &vo.private_count);
	vo.private_dirs = (const char *const *)private_dirs;
	r = kp_vfs_open(&vo, &w->vfs, err);
	kp_private_dirs_free(private_dirs, vo.private_count);
	if (!r && plan->instance && how == KP_VIEW_LOWER) {
		kp_autofree char *upper = kp_asprintf("%s/upper", plan->instance->dir);

		w->upper_fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (w->upper_fd < 0 && errno != ENOENT)
			r = kp_fail_errno(err, errno, "%s: cannot be opened", upper);
	}
	return r;
}

int kp_view_open(struct kp_view *w, const struct kp_args *args, const char *what, enum kp_view_what how, struct kp_err *err)
{
	size_t layer_count, mode_count;
	kp_autofree const char **layers = kp_args_values(args, "layer", &layer_count);
	kp_autofree const char **modes = kp_args_values(args, "mode", &mode_count);
	const char *profile = kp_args_get(args, "profile");
	kp_autofree char *digests = NULL;
	struct kp_plan *plan = &w->plan;
	const struct kp_strings *last;
	int r = 0;

	/* A name without a slash is an instance where there is one. */
	if (how == KP_VIEW_LOWER && !plan->instance)
		r = kp_instance_open(what, &plan->instance, err);
	else if (!plan->instance && !strchr(what, '/') && kp_instance_name_ok(what))
		(void)kp_instance_open(what, &plan->instance, NULL);
	if (!r)
		r = kp_plan_open_image(plan, plan->instance ? plan->instance->image : what, err);
	if (r == -ENOENT && plan->instance && err->code == ENOENT && access(plan->instance->image, F_OK) < 0)
		return kp_hint(err, "where it is now: kapsel run --instance %s IMAGE", plan->instance->name);
	last = plan->instance && !layer_count ? &plan->instance->layers : NULL;
	if (!r)
		r = kp_plan_layers(plan, last ? (const char *const *)last->items : layers, last ? last->count : layer_count, err);
	last = plan->instance && !mode_count && !profile && plan->instance->modes.count ? &plan->instance->modes : NULL;
	if (!r && last && !w->no_modes) {
		kp_rules_again(plan, last);
	} else if (!r && !w->no_modes) {
		r = kp_plan_profile(plan, profile, NULL, NULL, 0, err);
		if (!r)
			r = kp_plan_modes(plan, modes, mode_count, err);
	}
	if (r < 0)
		return r;
	digests = kp_plan_digests(plan);
	if (plan->instance && strcmp(plan->instance->digest, digests) != 0) {
		(void)kp_fail(err, EEXIST, "%s: made with other images", what);
		return kp_hint(err, "give the --layer options that it runs with");
	}
	return open_vfs(w, how, err);
}

int kp_view_registry(const struct kp_view *w, struct kp_reg **ret, struct kp_err *err)
{
	struct kp_plan lower = w->plan;

	lower.instance = NULL;
	return kp_plan_registry(&lower, false, ret, err);
}

int kp_lock_stopped(struct kp_instance *i, struct kp_err *err)
{
	int r = kp_instance_lock(i);

	if (r == -EWOULDBLOCK) {
		(void)kp_fail(err, EBUSY, "%s: in use: it runs, or another command works on it", i->name);
		return kp_hint(err, "kapsel stop %s", i->name);
	}
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be locked", i->name) : 0;
}

int kp_view_changes(struct kp_view *w, const struct kp_args *args, bool lock, struct kp_changes *ret, struct kp_err *err)
{
	int r = kp_instance_open(args->operands[0], &w->plan.instance, err);

	if (r == -ENOENT && !err->code)
		return kp_fail(err, ENOENT, "%s: not set up yet", args->operands[0]);
	if (!r && lock)
		r = kp_lock_stopped(w->plan.instance, err);
	else if (!r && !kp_instance_lock(w->plan.instance)) /* what a killed command left is settled now */
		w->plan.instance->lock_fd = kp_close(w->plan.instance->lock_fd);
	if (!r && !lock)
		r = kp_powers_keep(KP_POWERS_READ, err);
	if (!r)
		r = kp_view_open(w, args, args->operands[0], KP_VIEW_LOWER, err);
	if (!r && w->upper_fd >= 0)
		r = kp_changes_find(w->upper_fd, w->vfs, ret, err);
	if (!r)
		r = kp_changes_choose(ret, args->operands + 1, args->operand_count - 1, err);
	return r;
}
