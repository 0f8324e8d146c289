/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of a run: its layers from images, instance, profile and the user's own, and its modes. */
#include <fcntl.h>
#include <sys/stat.h>

#include "launch/internal.h"
#include "manifest/registry.h"
#include "registry/registry.h"

/* Modes of keys are capped as those of the files that show them are. */
#define TREE "/proc/registry"

static void put_mode(struct kp_plan *plan, const char *key, enum kp_mode mode)
{
	plan->key_modes = kp_realloc(plan->key_modes, (plan->key_mode_count + 1) * sizeof(*plan->key_modes));
	plan->key_modes[plan->key_mode_count++] = (struct kp_key_mode){kp_strdup(key), mode};
}

void kp_plan_key_modes(struct kp_plan *plan, enum kp_mode (*cap)(const char *guest, enum kp_mode mode, void *ctx), void *ctx)
{
	const struct kp_registry *r = &plan->manifest->registry;

	for (size_t i = 0; i < r->mode_count; i++) {
		const char *rest = strchr(r->modes[i].key, '\\');
		/* The hive's name has no part in the depth of a rule; its spelling does not matter. */
		kp_autofree char *guest = kp_asprintf("%s/HKEY%s", TREE, rest ? rest : "");

		for (char *p = guest + sizeof(TREE); *p; p++)
			*p = *p == '\\' ? '/' : *p == '/' ? '_' : *p;
		put_mode(plan, r->modes[i].key, cap(guest, r->modes[i].mode, ctx));
	}
}

void kp_key_modes_note(const struct kp_plan *plan, struct kp_strings *ret)
{
	for (size_t i = 0; i < plan->key_mode_count; i++) {
		kp_autofree char *text = kp_asprintf("%s=%s", plan->key_modes[i].key, kp_mode_names[plan->key_modes[i].mode]);

		kp_strings_add(ret, text);
	}
}

void kp_key_modes_again(struct kp_plan *plan, const struct kp_strings *noted)
{
	for (size_t i = 0; i < noted->count; i++) {
		kp_autofree char *key = kp_strdup(noted->items[i]);
		char *equals = strrchr(key, '=');
		enum kp_mode mode;

		if (!equals || key[0] == '/' || kp_mode_by_name(equals + 1, &mode) < 0)
			continue;
		*equals = '\0';
		put_mode(plan, key, mode);
	}
}

/* $XDG_CONFIG_HOME/kapsel/registry; NULL: there is no such place. made: its directory is to exist. */
static int shared_path(bool made, char **ret, struct kp_err *err)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	kp_autofree char *dir = NULL;
	struct stat st;
	int rc = 0;

	*ret = NULL;
	if (config && config[0] == '/')
		dir = kp_asprintf("%s/kapsel", config);
	else if (home && home[0] == '/')
		dir = kp_asprintf("%s/.config/kapsel", home);
	else
		return 0;
	if (made)
		rc = kp_mkdir_all(AT_FDCWD, dir, 0700);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: cannot be made", dir);
	if (stat(dir, &st) < 0)
		return 0;
	rc = kp_dir_private(dir, err);
	if (!rc)
		*ret = kp_asprintf("%s/registry", dir);
	return rc;
}

int kp_plan_registry(const struct kp_plan *plan, bool writable, struct kp_reg **ret_reg, struct kp_err *err)
{
	kp_autofree const struct kp_image **images = kp_calloc(plan->under_count + 1, sizeof(*images));
	kp_autofree struct kp_reg_mode *modes = kp_calloc(plan->key_mode_count + 1, sizeof(*modes));
	kp_autofree char *instance = plan->instance ? kp_asprintf("%s/registry", plan->instance->dir) : NULL, *shared = NULL;
	struct kp_reg_options o = {.images = images, .image_count = plan->under_count + 1, .modes = modes, .mode_count = plan->key_mode_count,
				   .instance = instance, .writable = writable && instance};
	struct kp_hive_tree *policy = plan->profile && plan->profile->registry_count ? kp_hive_tree_new() : NULL;
	bool shows = false, merged = false;
	int rc = 0;

	for (size_t i = 0; i < o.image_count; i++)
		images[i] = kp_plan_image(plan, i);
	for (size_t i = 0; i < o.mode_count; i++) {
		modes[i] = (struct kp_reg_mode){plan->key_modes[i].key, plan->key_modes[i].mode};
		shows |= modes[i].mode != KP_MODE_FULL;
		merged |= modes[i].mode == KP_MODE_MERGED;
	}
	if (shows)
		rc = shared_path(merged && o.writable, &shared, err);
	o.shared = shared;
	for (size_t i = 0; policy && i < plan->profile->registry_count; i++)
		kp_registry_value_add(&plan->profile->registry[i], policy);
	o.policy = policy;
	if (!rc)
		rc = kp_reg_open(&o, ret_reg, err);
	(void)kp_hive_tree_free(policy);
	return rc;
}
