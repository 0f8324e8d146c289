/* SPDX-License-Identifier: Apache-2.0 */
/* The images underneath a run's own: those that manifests name, each found beside the image that names it, then those of --layer. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "launch/internal.h"
#include "vfs/node.h"

struct search {
	struct kp_plan *plan;
	const char *const *options; /* values of --layer */
	size_t option_count;
};

static int add_layer(struct search *s, const char *host_path, struct kp_err *err);

static bool is_digest(const char *name)
{
	return strlen(name) == 2 * KP_DIGEST_LEN && strspn(name, "0123456789abcdef") == 2 * KP_DIGEST_LEN;
}

static bool has_digest(const char *host_path, const char *wanted)
{
	kp_autoclose int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char hex[2 * KP_DIGEST_LEN + 1] = "";
	struct kp_image *image = NULL;

	if (fd >= 0 && !kp_image_open(fd, host_path, &image, NULL))
		kp_hex(hex, kp_image_digest(image), KP_DIGEST_LEN);
	(void)kp_image_free(image);
	return !strcmp(hex, wanted);
}

/* An image in dir with that digest: its path, or NULL. */
static char *find_digest(const char *dir, const char *digest)
{
	DIR *d = opendir(dir);
	char *found = NULL;
	struct dirent *e;

	while (d && !found && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char *path;

		if (len < 8 || strcmp(e->d_name + len - 7, ".kapsel") != 0)
			continue;
		path = kp_asprintf("%s/%s", dir, e->d_name);
		if (has_digest(path, digest))
			found = path;
		else
			free(path);
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* One that --layer names fills the place of one that is not found. */
static const char *find_option(const struct search *s, const char *name)
{
	for (size_t i = 0; i < s->option_count; i++) {
		const char *slash = strrchr(s->options[i], '/');

		if (is_digest(name) ? has_digest(s->options[i], name) : !strcmp(slash ? slash + 1 : s->options[i], name))
			return s->options[i];
	}
	return NULL;
}

static int add_named(struct search *s, const struct kp_manifest *m, const char *host_image, struct kp_err *err)
{
	const char *slash = strrchr(host_image, '/');
	kp_autofree char *dir = slash ? kp_asprintf("%.*s", (int)(slash - host_image + 1), host_image) : kp_strdup("./");
	int r = 0;

	for (size_t i = 0; i < m->layers.count && !r; i++) {
		const char *name = m->layers.items[i], *given;
		kp_autofree char *path = is_digest(name) ? find_digest(dir, name) : kp_asprintf("%s%s", dir, name);

		if (path && access(path, F_OK) == 0) {
			r = add_layer(s, path, err);
		} else if ((given = find_option(s, name))) {
			r = add_layer(s, given, err);
		} else {
			(void)kp_fail(err, ENOENT, "%s: layer %s: not beside it", host_image, name);
			return kp_hint(err, "put it into the same directory, or name it with --layer");
		}
	}
	return r;
}

struct kp_image *kp_plan_image(const struct kp_plan *plan, size_t i)
{
	return i ? plan->under[i - 1] : plan->image;
}

static bool is_known(const struct kp_plan *plan, const struct kp_image *image)
{
	for (size_t i = 0; i <= plan->under_count; i++)
		if (!memcmp(kp_image_digest(kp_plan_image(plan, i)), kp_image_digest(image), KP_DIGEST_LEN))
			return true;
	return false;
}

static int add_layer(struct search *s, const char *host_path, struct kp_err *err)
{
	struct kp_plan kp_autoplan one = {0};
	struct kp_plan *plan = s->plan;
	int r = kp_plan_open_image(&one, host_path, err);

	if (r < 0 || is_known(plan, one.image))
		return r;
	if (plan->under_count + 1 >= KP_MAX_LAYERS)
		return kp_fail(err, E2BIG, "%s: more than %d layers", host_path, KP_MAX_LAYERS);
	plan->under = kp_realloc(plan->under, (plan->under_count + 1) * sizeof(*plan->under));
	plan->under[plan->under_count++] = kp_take_ptr(one.image);
	return add_named(s, one.manifest, one.host_image, err);
}

int kp_plan_layers(struct kp_plan *plan, const char *const *options, size_t count, struct kp_err *err)
{
	struct search s = {plan, options, count};
	int r = add_named(&s, plan->manifest, plan->host_image, err);

	for (size_t i = 0; i < count && !r; i++)
		r = add_layer(&s, options[i], err);
	return r;
}

char *kp_plan_digests(const struct kp_plan *plan)
{
	char hex[2 * KP_DIGEST_LEN + 1];
	struct kp_buf text = {0};

	for (size_t i = 0; i <= plan->under_count; i++) {
		kp_hex(hex, kp_image_digest(kp_plan_image(plan, i)), KP_DIGEST_LEN);
		kp_buf_printf(&text, "%s%s", i ? ", " : "", hex);
	}
	return text.data;
}
