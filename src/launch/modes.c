/* SPDX-License-Identifier: Apache-2.0 */
/* Isolation modes of a run: what the manifest asks for, what --mode says, and what no mode shows. */
#include <limits.h>
#include <unistd.h>

#include "launch/internal.h"
#include "launch/launch.h"

/* The host path that a rule shows: its symlinks resolved as far as it exists. */
static char *host_of(const char *guest)
{
	kp_autofree char *head = kp_strdup(guest), *real = NULL;
	size_t len = strlen(head);

	while (len > 1 && !(real = realpath(head, NULL))) {
		while (head[len - 1] != '/')
			len--;
		if (len > 1)
			len--;
		head[len] = '\0';
	}
	if (!real || len == 1)
		return kp_strdup(guest);
	return kp_asprintf("%s%s", strcmp(real, "/") != 0 ? real : "", guest + len);
}

static void put_rule(struct kp_plan *plan, const char *guest, enum kp_mode mode)
{
	for (size_t i = 0; i < plan->rule_count; i++)
		if (!strcmp(plan->rules[i].guest, guest)) {
			plan->rules[i].mode = mode;
			return;
		}
	plan->rules = kp_realloc(plan->rules, (plan->rule_count + 1) * sizeof(*plan->rules));
	plan->rules[plan->rule_count++] = (struct kp_rule){kp_strdup(guest), host_of(guest), mode};
}

static bool is_his_own(const char *path, const char *home)
{
	const char *below = kp_path_below(path, home);

	return !strcmp(path, "/") || kp_path_below(home, path) || (below && below[0] == '/' && below[1] == '.');
}

/*
 * An image does not get to write where the user keeps what is his: above and in his home's root, and in what is hidden there,
 * merged counts as writecopy, whichever symlinks lead there. Only the user's own --mode gives that.
 */
static enum kp_mode capped(const char *guest, enum kp_mode mode, const char *home)
{
	kp_autofree char *real = host_of(guest), *real_home = home && home[0] == '/' ? host_of(home) : kp_strdup("/");

	if (mode != KP_MODE_MERGED)
		return mode;
	if (is_his_own(guest, home && home[0] == '/' ? home : "/") || is_his_own(real, real_home))
		return KP_MODE_WRITECOPY;
	return mode;
}

static int rule_of_option(struct kp_plan *plan, const char *text, struct kp_err *err)
{
	const char *equals = strrchr(text, '=');
	kp_autofree char *path = equals ? kp_strdup(text) : NULL, *guest = NULL;
	enum kp_mode mode;

	if (!equals) {
		(void)kp_fail(err, EINVAL, "--mode: '%s': no mode given", text);
		return kp_hint(err, "--mode PATH=full, PATH=writecopy or PATH=merged");
	}
	path[equals - text] = '\0';
	if (kp_path_normalise(path, &guest) < 0)
		return kp_fail(err, EINVAL, "--mode: '%s': not an absolute path without ..", path);
	if (kp_mode_by_name(equals + 1, &mode) < 0)
		return kp_fail(err, EINVAL, "--mode: '%s': no mode: full, writecopy or merged", equals + 1);
	put_rule(plan, guest, mode);
	return 0;
}

int kp_plan_modes(struct kp_plan *plan, const char *const *options, size_t count, struct kp_err *err)
{
	const struct kp_manifest *m = plan->manifest;
	const char *home = getenv("HOME");
	bool shows = false, dev = false;
	int r = 0;

	for (size_t i = 0; i < m->mode_count; i++)
		put_rule(plan, m->modes[i].path, capped(m->modes[i].path, m->modes[i].mode, home));
	for (size_t i = 0; i < count && !r; i++)
		r = rule_of_option(plan, options[i], err);
	for (size_t i = 0; i < plan->rule_count; i++) {
		shows |= plan->rules[i].mode != KP_MODE_FULL;
		dev |= !strcmp(plan->rules[i].guest, "/dev");
	}
	/* Devices are Kapsel's own: a guest gets those that every program needs. */
	if (shows && !dev)
		put_rule(plan, "/dev", KP_MODE_FULL);
	return r;
}

static void put_private(char ***dirs, size_t *count, char *path)
{
	if (!path)
		return;
	*dirs = kp_realloc(*dirs, (*count + 1) * sizeof(**dirs));
	(*dirs)[(*count)++] = host_of(path);
	free(path);
}

static char *in_env(const char *variable, const char *otherwise, const char *name)
{
	const char *dir = getenv(variable), *home = getenv("HOME");

	if (dir && dir[0] == '/')
		return kp_asprintf("%s/%s", dir, name);
	return otherwise && home && home[0] == '/' ? kp_asprintf("%s/%s/%s", home, otherwise, name) : NULL;
}

static char *above(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash > path ? kp_asprintf("%.*s", (int)(slash - path), path) : NULL;
}

char **kp_private_dirs(const char *instance_dir, const char *run_dir, const char *store_root, size_t *ret_count)
{
	unsigned uid = (unsigned)geteuid();
	char **dirs = NULL;
	size_t count = 0;

	put_private(&dirs, &count, above(instance_dir));
	put_private(&dirs, &count, above(run_dir));
	put_private(&dirs, &count, store_root[0] ? kp_strdup(store_root) : NULL); /* explaining needs no store */
	put_private(&dirs, &count, in_env("XDG_DATA_HOME", ".local/share", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_CACHE_HOME", ".cache", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_CONFIG_HOME", ".config", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_RUNTIME_DIR", NULL, "kapsel"));
	put_private(&dirs, &count, in_env("XDG_RUNTIME_DIR", NULL, "kapsel-store"));
	put_private(&dirs, &count, kp_asprintf("/var/tmp/kapsel-%u", uid));
	put_private(&dirs, &count, kp_asprintf("/dev/shm/kapsel-%u", uid));
	put_private(&dirs, &count, kp_asprintf("/tmp/kapsel-%u", uid));
	*ret_count = count;
	return dirs;
}

void kp_private_dirs_free(char **dirs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(dirs[i]);
	free(dirs);
}

/* Where a rule shows the host's directory here: allocated, or NULL. */
char *kp_rules_show(const struct kp_plan *plan, const char *host)
{
	const struct kp_rule *best = NULL;
	const char *rest;

	for (size_t i = 0; i < plan->rule_count; i++)
		if (kp_path_below(host, plan->rules[i].host) &&
		    (!best || strlen(plan->rules[i].host) > strlen(best->host)))
			best = &plan->rules[i];
	if (!best || best->mode == KP_MODE_FULL)
		return NULL;
	rest = kp_path_below(host, best->host);
	return kp_asprintf("%s%s%s", strcmp(best->guest, "/") != 0 ? best->guest : "", rest, !best->guest[1] && !*rest ? "/" : "");
}
