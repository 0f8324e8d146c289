/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a profile by its name: the user's, a shipped one, or a file. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/registry.h"
#include "profile/internal.h"

#define PROFILE_MAX (1U << 20)

struct kp_profile *kp_profile_new(void)
{
	struct kp_profile *p = kp_calloc(1, sizeof(*p));

	p->daemons = true;
	p->net.mode = KP_NETWORK_NONE;
	for (int i = 0; i < KP_LIMIT_COUNT; i++)
		p->limits.max[i] = KP_UNLIMITED;
	return p;
}

struct kp_profile *kp_profile_free(struct kp_profile *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->rule_count; i++)
		free(p->rules[i].path);
	free(p->rules);
	kp_strings_free(&p->devices);
	kp_strings_free(&p->env);
	kp_strings_free(&p->syscalls);
	for (size_t i = 0; i < p->registry_count; i++)
		kp_registry_value_free(&p->registry[i]);
	free(p->registry);
	free(p->name);
	free(p->summary);
	free(p);
	return NULL;
}

static bool is_file(const char *name)
{
	size_t len = strlen(name);

	return strchr(name, '/') || (len > 5 && !strcmp(name + len - 5, ".yaml"));
}

/* What others can write grants what others want. */
static int check_owner(const char *path, struct kp_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return kp_fail_errno(err, errno, "%s", path);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || st.st_mode & 0022) {
		(void)kp_fail(err, EPERM, "%s: refused: others than you can change it", path);
		return kp_hint(err, "chown it to you, and chmod go-w");
	}
	return 0;
}

static int read_file(const char *path, const struct kp_profile_places *places, bool included,
		     struct kp_profile **ret_profile, struct kp_err *err)
{
	kp_autofree char *text = NULL;
	struct stat st;
	size_t len;
	int rc;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return kp_fail(err, EINVAL, "%s: not a profile: not a regular file", path);
	rc = kp_read_file(AT_FDCWD, path, PROFILE_MAX, &text, &len);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: cannot be read", path);
	return kp_profile_parse_as(text, len, path, places, included, ret_profile, err);
}

static bool name_ok(const char *name)
{
	return *name && *name != '.' && strlen(name) <= 128 &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")];
}

/* The user's own, of that name. *ret_path NULL: there is none. */
static int find_own(const char *name, const struct kp_profile_places *places, char **ret_path, struct kp_err *err)
{
	kp_autofree char *dir = NULL, *path = NULL;
	int rc;

	if (places->config_home && places->config_home[0] == '/')
		dir = kp_asprintf("%s/kapsel/profiles", places->config_home);
	else if (places->home && places->home[0] == '/')
		dir = kp_asprintf("%s/.config/kapsel/profiles", places->home);
	if (!dir)
		return 0;
	path = kp_asprintf("%s/%s.yaml", dir, name);
	if (access(path, F_OK) < 0)
		return 0;
	rc = check_owner(dir, err);
	if (!rc)
		rc = check_owner(path, err);
	if (!rc)
		*ret_path = kp_take_ptr(path);
	return rc;
}

static int by_name(const char *name, const struct kp_profile_places *places, bool included,
		   struct kp_profile **ret_profile, struct kp_err *err)
{
	struct kp_buf kp_autobuf known = {0};
	kp_autofree char *own = NULL;
	int rc;

	if (!name_ok(name))
		return kp_fail(err, EINVAL, "profile '%s': no name of a profile, and no file with a slash or .yaml", name);
	rc = find_own(name, places, &own, err);
	if (rc)
		return rc;
	if (own)
		return read_file(own, places, included, ret_profile, err);
	for (const struct kp_shipped *s = kp_shipped_profiles; s->name; s++) {
		kp_autofree char *file = NULL;

		if (!strcmp(s->name, name)) {
			file = kp_asprintf("%s.yaml (built in)", name);
			return kp_profile_parse_as(s->start, (size_t)(s->end - s->start), file, places, included,
						   ret_profile, err);
		}
		kp_buf_printf(&known, "%s%s", known.len ? ", " : "", s->name);
	}
	(void)kp_fail(err, ENOENT, "profile '%s': there is none", name);
	return kp_hint(err, "shipped are %s; yours lie in $XDG_CONFIG_HOME/kapsel/profiles/NAME.yaml", known.data);
}

int kp_profile_read(const char *name, const struct kp_profile_places *places, bool included,
		    struct kp_profile **ret_profile, struct kp_err *err)
{
	int rc = is_file(name) ? read_file(name, places, included, ret_profile, err)
			       : by_name(name, places, included, ret_profile, err);

	if (!rc) {
		free((*ret_profile)->name);
		(*ret_profile)->name = kp_strdup(name);
	}
	return rc;
}

int kp_profile_load(const char *name, const struct kp_profile_places *places, struct kp_profile **ret_profile,
		    struct kp_err *err)
{
	return kp_profile_read(name, places, false, ret_profile, err);
}

int kp_profile_parse(const char *text, size_t len, const char *file, const struct kp_profile_places *places,
		     struct kp_profile **ret_profile, struct kp_err *err)
{
	return kp_profile_parse_as(text, len, file, places, false, ret_profile, err);
}
