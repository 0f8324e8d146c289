/* SPDX-License-Identifier: Apache-2.0 */
/* Isolation modes of a run: what the profile grants, what the manifest asks for within it, and what --mode says. */
#include <limits.h>
#include <unistd.h>

#include "launch/internal.h"
#include "launch/launch.h"

char *kp_host_of(const char *guest)
{
	kp_autofree char *head = kp_strdup(guest), *real = NULL;
	size_t len = strlen(head);

	while (len > 1 && !(real = kp_real_path(head))) {
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

#define DOTS "/.*"

static void put_rule(struct kp_plan *plan, const char *guest, enum kp_mode mode, bool dots)
{
	for (size_t i = 0; i < plan->rule_count; i++)
		if (!strcmp(plan->rules[i].guest, guest) && plan->rules[i].dots == dots) {
			plan->rules[i].mode = mode;
			return;
		}
	plan->rules = kp_realloc(plan->rules, (plan->rule_count + 1) * sizeof(*plan->rules));
	plan->rules[plan->rule_count++] = (struct kp_rule){kp_strdup(guest), kp_host_of(guest), mode, dots};
}

/* --- the profile's rules, with its variables in place --- */

struct granted {
	char *path;
	bool dots;
	size_t depth;
	const struct kp_profile_rule *rule;
};

struct grants {
	struct granted *items;
	size_t count;
	const char *home; /* absolute or NULL */
};

static size_t depth_of(const char *path)
{
	size_t depth = 0;

	for (; *path; path++)
		depth += path[0] == '/' && path[1];
	return depth;
}

/* Where programs and the system's own files are: nobody's working directory. */
static bool is_system(const char *path)
{
	static const char *const whole[] = {"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc",
					    "/sbin", "/sys", "/usr"};
	static const char *const itself[] = {"/", "/home", "/media", "/mnt", "/opt", "/run", "/run/lock", "/run/user", "/srv", "/tmp",
					     "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp"};

	for (size_t i = 0; i < KP_ARRAY_LEN(whole); i++)
		if (kp_path_below(path, whole[i]))
			return true;
	for (size_t i = 0; i < KP_ARRAY_LEN(itself); i++)
		if (!strcmp(path, itself[i]))
			return true;
	return false;
}

/* The current directory, where it counts: not the root, the system's, the home or above it. Allocated, or NULL. */
static char *own_cwd(const char *home)
{
	kp_autofree char *real_home = home ? kp_host_of(home) : NULL;
	char here[PATH_MAX];

	if (!getcwd(here, sizeof(here)) || here[0] != '/' || is_system(here) || (real_home && kp_path_below(real_home, here)))
		return NULL;
	return kp_strdup(here);
}

/* NULL: the rule does not count here. */
static char *expanded(const char *path, const char *home)
{
	kp_autofree char *head = NULL, *whole = NULL;
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *rest;
	char *normal = NULL;

	if (path[0] == '/')
		return kp_strdup(path);
	if ((rest = kp_path_below(path, "$HOME")))
		head = home ? kp_strdup(home) : NULL;
	else if ((rest = kp_path_below(path, "$CWD")))
		head = own_cwd(home);
	else if ((rest = kp_path_below(path, "$XDG_RUNTIME_DIR")))
		head = runtime ? kp_strdup(runtime) : NULL;
	if (!head || head[0] != '/')
		return NULL;
	whole = kp_asprintf("%s%s", head, rest);
	return kp_path_normalise(whole, &normal) < 0 ? NULL : normal;
}

static int grant(const struct kp_plan *plan, struct grants *g, bool others, struct kp_err *err)
{
	const struct kp_profile *p = plan->profile;
	const char *home = getenv("HOME");
	kp_autofree char *real = home && home[0] == '/' ? kp_host_of(home) : NULL;

	g->home = real && !is_system(real) ? home : NULL;
	g->items = kp_calloc(p->rule_count + 1, sizeof(*g->items));
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct kp_profile_rule *r = &p->rules[i];
		char *path = expanded(r->path, g->home);

		if (!path && r->required && !others) {
			(void)kp_fail(err, EINVAL, "profile %s: %s is not shown: it is the root, a system directory, your home or above it",
				      p->name, r->path);
			return kp_hint(err, "start it from a directory of its own, or name one: --bind DIRECTORY");
		}
		/* Where the host has nothing, there is nothing to show. */
		if (path && r->mode != KP_MODE_FULL && access(path, F_OK) < 0) {
			free(path);
			path = NULL;
		}
		if (path)
			g->items[g->count++] = (struct granted){path, r->dots, depth_of(path) + r->dots, r};
	}
	return 0;
}

static void grants_free(struct grants *g)
{
	for (size_t i = 0; i < g->count; i++)
		free(g->items[i].path);
	free(g->items);
}

static bool covers(const struct granted *g, const char *path)
{
	const char *below = kp_path_below(path, g->path);

	return below && (!g->dots || (below[0] == '/' && below[1] == '.'));
}

/* The deepest of the profile's rules for a path, or NULL; *ret_force: that or one above it binds everything below. */
static const struct granted *granted_at(const struct grants *g, const char *path, bool *ret_force)
{
	const struct granted *best = NULL;

	*ret_force = false;
	for (size_t i = 0; i < g->count; i++) {
		if (!covers(&g->items[i], path))
			continue;
		*ret_force |= g->items[i].rule->force;
		if (!best || g->items[i].depth >= best->depth)
			best = &g->items[i];
	}
	return best;
}

static bool is_his_own(const char *path, const char *home)
{
	const char *below = kp_path_below(path, home);

	return !strcmp(path, "/") || kp_path_below(home, path) || (below && below[0] == '/' && below[1] == '.');
}

/*
 * What an image gets of what it asks for. The deeper of its rule and the profile's counts, at equal depth, or where the profile
 * says so, the stricter. And it does not get to write where the user keeps what is his: above and in his home's root, and in what
 * is hidden there, merged counts as writecopy unless the profile itself has merged there, whichever symlinks lead there.
 */
static enum kp_mode capped(const struct grants *g, const char *guest, enum kp_mode mode)
{
	kp_autofree char *real = kp_host_of(guest), *real_home = g->home ? kp_host_of(g->home) : kp_strdup("/");
	bool force, real_force;
	const struct granted *at = granted_at(g, guest, &force), *at_real = granted_at(g, real, &real_force);
	enum kp_mode own = at ? at->rule->mode : KP_MODE_FULL, own_real = at_real ? at_real->rule->mode : KP_MODE_FULL;

	if (force || (at && at->depth == depth_of(guest)))
		mode = KP_MIN(mode, own);
	if (real_force || (at_real && at_real->depth == depth_of(real)))
		mode = KP_MIN(mode, own_real);
	if (mode == KP_MODE_MERGED && (own != KP_MODE_MERGED || own_real != KP_MODE_MERGED) &&
	    (is_his_own(guest, g->home ? g->home : "/") || is_his_own(real, real_home)))
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
	put_rule(plan, guest, mode, false);
	return 0;
}

/* The rule that would count for this one's path if it were not there, or NULL. */
static const struct kp_rule *rule_above(const struct kp_plan *plan, const struct kp_rule *r)
{
	const struct kp_rule *best = NULL;
	size_t best_depth = 0;

	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct kp_rule *o = &plan->rules[i];
		const char *below = kp_path_below(r->guest, o->guest);
		size_t depth = depth_of(o->guest) + o->dots;

		if (o == r || !below || (!*below && !r->dots) || (o->dots && (below[0] != '/' || below[1] != '.')) || (best && depth < best_depth))
			continue;
		best = o;
		best_depth = depth;
	}
	return best;
}

/* Nothing can be moved over the border of a rule, so there are none that change nothing. */
static void prune(struct kp_plan *plan)
{
	for (size_t i = 0; i < plan->rule_count;) {
		struct kp_rule *r = &plan->rules[i];
		const struct kp_rule *above = rule_above(plan, r);
		const char *below = above ? kp_path_below(r->guest, above->guest) : NULL;
		kp_autofree char *host = below ? kp_asprintf("%s%s", above->host[1] ? above->host : "", below) : NULL;

		if ((above ? above->mode : KP_MODE_FULL) != r->mode || (r->mode != KP_MODE_FULL && strcmp(*host ? host : "/", r->host) != 0)) {
			i++;
			continue;
		}
		free((void *)(uintptr_t)r->guest);
		free((void *)(uintptr_t)r->host);
		memmove(r, r + 1, (--plan->rule_count - i) * sizeof(*r));
		i = 0;
	}
}

static enum kp_mode cap_key(const char *guest, enum kp_mode mode, void *ctx)
{
	return capped(ctx, guest, mode);
}

int kp_plan_modes(struct kp_plan *plan, const char *const *options, size_t count, struct kp_err *err)
{
	const struct kp_manifest *m = plan->manifest;
	bool shows = false, dev = false;
	struct grants g = {0};
	int r = grant(plan, &g, count || plan->bind_count, err);

	for (size_t i = 0; i < g.count && !r; i++)
		put_rule(plan, g.items[i].path, g.items[i].rule->mode, g.items[i].dots);
	for (size_t i = 0; i < m->mode_count && !r; i++)
		put_rule(plan, m->modes[i].path, capped(&g, m->modes[i].path, m->modes[i].mode), false);
	if (!r)
		kp_plan_key_modes(plan, cap_key, &g);
	for (size_t i = 0; i < count && !r; i++)
		r = rule_of_option(plan, options[i], err);
	for (size_t i = 0; i < plan->rule_count; i++) {
		shows |= plan->rules[i].mode != KP_MODE_FULL;
		dev |= !strcmp(plan->rules[i].guest, "/dev");
	}
	/* Devices are Kapsel's own: a guest gets those that every program needs. */
	if (shows && !dev)
		put_rule(plan, "/dev", KP_MODE_FULL, false);
	prune(plan);
	grants_free(&g);
	return r;
}

void kp_rules_note(const struct kp_plan *plan, struct kp_strings *ret)
{
	bool root = false;

	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct kp_rule *r = &plan->rules[i];
		kp_autofree char *text = kp_asprintf("%s%s=%s", r->guest, r->dots ? DOTS : "", kp_mode_names[r->mode]);

		root |= !r->guest[1] && !r->dots;
		kp_strings_add(ret, text);
	}
	if (!root)
		kp_strings_add(ret, "/=full");
	kp_key_modes_note(plan, ret);
}

void kp_rules_again(struct kp_plan *plan, const struct kp_strings *noted)
{
	for (size_t i = 0; i < noted->count; i++) {
		kp_autofree char *path = kp_strdup(noted->items[i]);
		char *equals = strrchr(path, '=');
		size_t len = equals ? (size_t)(equals - path) : 0, cut = sizeof(DOTS) - 1;
		enum kp_mode mode;
		bool dots;

		if (!len || path[0] != '/' || kp_mode_by_name(equals + 1, &mode) < 0)
			continue;
		path[len] = '\0';
		dots = len > cut && !strcmp(path + len - cut, DOTS);
		if (dots)
			path[len - cut] = '\0';
		put_rule(plan, *path ? path : "/", mode, dots);
	}
	prune(plan);
	kp_key_modes_again(plan, noted);
}

/* Where a rule shows the host's directory here: allocated, or NULL. */
char *kp_rules_show(const struct kp_plan *plan, const char *host)
{
	const struct kp_rule *best = NULL;
	const char *rest;

	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct kp_rule *r = &plan->rules[i];

		rest = kp_path_below(host, r->host);
		if (rest && (!r->dots || (rest[0] == '/' && rest[1] == '.')) &&
		    (!best || depth_of(r->host) + r->dots >= depth_of(best->host) + best->dots))
			best = r;
	}
	if (!best || best->mode == KP_MODE_FULL)
		return NULL;
	rest = kp_path_below(host, best->host);
	return kp_asprintf("%s%s%s", strcmp(best->guest, "/") != 0 ? best->guest : "", rest, !best->guest[1] && !*rest ? "/" : "");
}
