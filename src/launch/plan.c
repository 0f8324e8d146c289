/* SPDX-License-Identifier: Apache-2.0 */
/* Decides everything about a run before anything is started. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "launch/internal.h"

extern char **environ;

/* There is no such file: perhaps an instance's name stands where an image was wanted. */
static int no_image(const char *name, int why, struct kp_err *err)
{
	struct kp_instance *i = NULL;
	int r = kp_fail_errno(err, why, "%s: cannot be opened", name);

	if (why != ENOENT || !kp_instance_name_ok(name) || kp_instance_open(name, &i, NULL) < 0)
		return r;
	(void)kp_fail(err, ENOENT, "%s: an instance, not an image", name);
	r = kp_hint(err, "its image: %.120s; kapsel run --instance %s %.120s", i->image, name, i->image);
	(void)kp_instance_free(i);
	return r;
}

static int not_an_image(const char *name, int r, struct kp_err *err)
{
	const char *dot = strrchr(name, '.');

	if (r != -EINVAL || !dot || (strcmp(dot, ".yaml") != 0 && strcmp(dot, ".yml") != 0))
		return r;
	return kp_hint(err, "kapsel pack %.100s -o %.*s.kapsel makes an image of a manifest", name, (int)KP_MIN(dot - name, (ptrdiff_t)100), name);
}

int kp_plan_open_image(struct kp_plan *plan, const char *host_path, struct kp_err *err)
{
	kp_autoclose int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	const char *text;
	size_t len;
	int r;

	if (fd < 0)
		return no_image(host_path, errno, err);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return kp_fail(err, EINVAL, "%s: not an image: not a regular file", host_path);
	r = kp_image_open(fd, host_path, &plan->image, err);
	if (r < 0)
		return not_an_image(host_path, r, err);
	text = kp_image_manifest(plan->image, &len);
	r = kp_manifest_parse(text, len, host_path, &plan->manifest, err);
	if (r < 0)
		return r;
	plan->host_image = realpath(host_path, NULL);
	if (!plan->host_image) /* its path may be gone or, as /proc/self/exe, not to be walked */
		plan->host_image = kp_strdup(host_path);
	return 0;
}

static char *normal_guest(const char *path)
{
	char *normal = NULL;

	(void)kp_path_normalise(path, &normal);
	return normal;
}

int kp_bind_parse(const char *text, struct kp_bind *ret_bind, struct kp_err *err)
{
	kp_autofree char *copy = kp_strdup(text), *real = NULL, *guest = NULL;
	char *to = strchr(copy, ':'), *opts = NULL, cwd[PATH_MAX];

	if (to) {
		*to++ = '\0';
		opts = strchr(to, ':');
		if (opts)
			*opts++ = '\0';
	}
	if (opts && strcmp(opts, "ro") && strcmp(opts, "rw"))
		return kp_fail(err, EINVAL, "--bind: '%s': not ro or rw", opts);
	real = realpath(copy, NULL);
	if (!real)
		return kp_fail_errno(err, errno, "--bind: %s", copy);
	if (to && *to) {
		guest = normal_guest(to);
	} else if (copy[0] == '/') {
		guest = normal_guest(copy);
	} else if (getcwd(cwd, sizeof(cwd))) {
		kp_autofree char *joined = kp_asprintf("%s/%s", cwd, copy);

		guest = normal_guest(joined);
	}
	if (!guest) /* a relative path with "..": name what it leads to */
		guest = to && *to ? NULL : kp_strdup(real);
	if (!guest)
		return kp_fail(err, EINVAL, "--bind: '%s': the guest path must be absolute, without ..", to);
	if (!strcmp(guest, "/"))
		return kp_fail(err, EINVAL, "--bind: '%s': the guest's root cannot be replaced", text);
	*ret_bind = (struct kp_bind){kp_take_ptr(real), kp_take_ptr(guest), opts && !strcmp(opts, "ro")};
	return 0;
}

static int plan_command(struct kp_plan *plan, const struct kp_request *q, struct kp_err *err)
{
	const struct kp_manifest *m = plan->manifest;
	char *const *head = m->entry.items, *const *tail = q->more;
	size_t head_count = m->entry.count, tail_count = q->more_count;
	const char *name = q->start_as;

	if (q->command_count) {
		tail = q->command;
		tail_count = q->command_count;
		head_count = 0;
		if (tail[0][0] == '@') {
			name = tail[0] + 1;
			tail++;
			tail_count--;
		}
	}
	if (name) {
		head = NULL;
		for (size_t i = 0; i < m->command_count && !head; i++)
			if (!strcmp(m->commands[i].name, name)) {
				head = m->commands[i].argv.items;
				head_count = m->commands[i].argv.count;
			}
		if (!head) {
			(void)kp_fail(err, ENOENT, "%s: @%s: no such command in this image", plan->host_image, name);
			return kp_hint(err, "kapsel inspect lists its commands");
		}
	}
	if (!head_count && !tail_count) {
		(void)kp_fail(err, ENOENT, "%s: no entry point: the image is only a layer", plan->host_image);
		return kp_hint(err, "kapsel run IMAGE -- CMD runs a command in it");
	}
	plan->argv = kp_calloc(head_count + tail_count + 1, sizeof(*plan->argv));
	for (size_t i = 0; i < head_count; i++)
		plan->argv[i] = kp_strdup(head[i]);
	for (size_t i = 0; i < tail_count; i++)
		plan->argv[head_count + i] = kp_strdup(tail[i]);
	return 0;
}

/* --cwd, else the host's directory where a bind or a mode shows it, else the manifest's, else the root. */
static int plan_cwd(struct kp_plan *plan, const struct kp_request *q, struct kp_err *err)
{
	char here[PATH_MAX];

	if (q->cwd) {
		plan->cwd = normal_guest(q->cwd);
		plan->cwd_asked = true;
		return plan->cwd ? 0 : kp_fail(err, EINVAL, "--cwd: '%s': not an absolute path without ..", q->cwd);
	}
	if (plan->bind_count && getcwd(here, sizeof(here))) {
		for (size_t i = plan->bind_count; i-- > 0;) {
			const char *rest = kp_path_below(here, plan->binds[i].host);

			if (rest) {
				plan->cwd = kp_asprintf("%s%s%s", plan->binds[i].guest, *rest && *rest != '/' ? "/" : "",
							rest);
				return 0;
			}
		}
	}
	if (getcwd(here, sizeof(here)) && (plan->cwd = kp_rules_show(plan, here)))
		return 0;
	plan->cwd = kp_strdup(plan->manifest->cwd ? plan->manifest->cwd : "/");
	return 0;
}

void kp_plan_user(struct kp_plan *plan)
{
	const char *home = getenv("HOME");
	struct utsname uts;

	plan->user = kp_user_name(environ, geteuid());
	plan->home = home ? normal_guest(home) : NULL;
	if (!plan->home || !strcmp(plan->home, "/")) {
		free(plan->home);
		plan->home = geteuid() ? kp_asprintf("/home/%s", plan->user) : kp_strdup("/root");
	}
	plan->hostname = kp_strdup(uname(&uts) < 0 ? "localhost" : uts.nodename);
}

int kp_plan_make_guest(struct kp_plan *plan, const struct kp_request *q, struct kp_err *err)
{
	struct kp_environ_options eo = {
		.host_env = environ, .manifest = plan->manifest, .instance = plan->instance->name,
		.pass = plan->profile ? &plan->profile->env : NULL, .desktop = plan->desktop, .env = q->env, .env_count = q->env_count, .unset = q->unset, .unset_count = q->unset_count,
	};
	int r;

	kp_plan_user(plan);
	eo.home = plan->home;
	eo.user = plan->user;
	r = plan_command(plan, q, err);
	if (!r)
		r = plan_cwd(plan, q, err);
	if (!r)
		r = kp_plan_registry(plan, false, &eo.registry, err);
	if (!r)
		r = kp_environ_make(&eo, &plan->envp, err);
	(void)kp_reg_free(eo.registry);
	memcpy(plan->pass_fds, q->pass_fds, sizeof(plan->pass_fds));
	plan->pass_fd_count = q->pass_fd_count;
	return r;
}

/* What diff, commit and others need to see the instance as this run did. */
static void plan_options(struct kp_plan *plan, const struct kp_request *q)
{
	kp_rules_note(plan, &plan->modes);
	for (size_t i = 0; i < q->layer_count; i++) {
		kp_autofree char *real = realpath(q->layers[i], NULL);

		kp_strings_add(&plan->layers, real ? real : q->layers[i]);
	}
}

static int plan_instance(struct kp_plan *plan, const struct kp_request *q, struct kp_err *err)
{
	kp_autofree char *name = NULL, *digests = kp_plan_digests(plan);

	plan_options(plan, q);
	plan->throw_away = q->throw_away;
	if (q->instance)
		name = kp_strdup(q->instance);
	else if (plan->manifest->version)
		name = kp_asprintf("%s-%s", plan->manifest->name, plan->manifest->version);
	else
		name = kp_strdup(plan->manifest->name);
	for (char *p = name; !q->instance && *p; p++)
		if (strchr("+~: ", *p)) /* versions may hold more than names */
			*p = '_';
	kp_instance_sweep();
	if (plan->throw_away)
		return kp_instance_create_throw_away(name, plan->host_image, digests, &plan->instance, err);
	return kp_instance_create(name, plan->host_image, digests, &plan->instance, err);
}

static int plan_level(struct kp_plan *plan, const char *name, struct kp_err *err)
{
	if (strcmp(name, "portable") != 0 && strcmp(name, "strict") != 0)
		return kp_fail(err, EINVAL, "--level: '%s': neither portable nor strict", name);
	plan->level = name[0] == 's' ? KP_LEVEL_STRICT : KP_LEVEL_PORTABLE;
	return 0;
}

int kp_plan_make(struct kp_plan *plan, const struct kp_request *q, struct kp_err *err)
{
	int r = 0;

	if (q->throw_away && q->instance)
		return kp_fail(err, EINVAL, "--rm: a throw-away instance has no name: --instance given");
	plan->grants_given = q->profile || q->net || q->limit_count;
	r = kp_plan_profile(plan, q->profile, q->net, q->limits, q->limit_count, err);
	if (!r && q->level)
		r = plan_level(plan, q->level, err);
	if (!r)
		r = kp_plan_publish(plan, q->publish, q->publish_count, err);
	plan->binds = kp_calloc(q->bind_count + 1, sizeof(*plan->binds));
	for (size_t i = 0; i < q->bind_count && !r; i++) {
		r = kp_bind_parse(q->binds[i], &plan->binds[i], err);
		plan->bind_count += !r;
	}
	if (!r)
		r = kp_plan_layers(plan, q->layers, q->layer_count, err);
	if (!r)
		r = kp_plan_modes(plan, q->modes, q->mode_count, err);
	if (!r)
		kp_plan_desktop(plan);
	if (!r)
		r = kp_plan_policy(plan, err);
	if (!r && q->trace) {
		/* Checked here, where an error can still be told; the supervisor leaves this directory. */
		kp_autoclose int fd = open(q->trace, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0)
			return kp_fail_errno(err, errno, "--trace: %s", q->trace);
		plan->trace = realpath(q->trace, NULL);
	}
	if (!r)
		r = plan_instance(plan, q, err);
	if (!r) {
		r = kp_plan_make_guest(plan, q, err);
		if (r < 0 && plan->throw_away)
			(void)kp_instance_remove(plan->instance, NULL);
	}
	return r;
}

void kp_plan_free(struct kp_plan *plan)
{
	for (char **a = plan->argv; a && *a; a++)
		free(*a);
	free(plan->argv);
	kp_environ_free(plan->envp);
	for (size_t i = 0; i < plan->bind_count; i++) {
		free((void *)(uintptr_t)plan->binds[i].host);
		free((void *)(uintptr_t)plan->binds[i].guest);
	}
	free(plan->binds);
	for (size_t i = 0; i < plan->rule_count; i++) {
		free((void *)(uintptr_t)plan->rules[i].host);
		free((void *)(uintptr_t)plan->rules[i].guest);
	}
	free(plan->rules);
	for (size_t i = 0; i < plan->key_mode_count; i++)
		free(plan->key_modes[i].key);
	free(plan->key_modes);
	free(plan->home);
	free(plan->user);
	free(plan->hostname);
	free(plan->trace);
	free(plan->settled);
	free(plan->cwd);
	kp_strings_free(&plan->modes);
	kp_strings_free(&plan->layers);
	free(plan->host_image);
	(void)kp_instance_free(plan->instance);
	(void)kp_manifest_free(plan->manifest);
	(void)kp_profile_free(plan->profile);
	kp_policy_free(&plan->policy);
	for (size_t i = 0; i < plan->under_count; i++)
		(void)kp_image_free(plan->under[i]);
	free(plan->under);
	(void)kp_image_free(plan->image);
	*plan = (struct kp_plan){0};
}
