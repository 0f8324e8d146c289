/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel explain: which layer answers for a path, and why. */
#include <inttypes.h>
#include <sys/stat.h>

#include "cmd/cmd.h"

static void say(const struct kp_entry *e, const char *path, const char *image)
{
	kp_autofree char *shown = kp_shown(path), *from = kp_shown(image);
	char mode[11], hex[2 * KP_DIGEST_LEN + 1];

	kp_mode_text(e->mode, mode);
	printf("%s: entry %u of image %s\n  %s, %" PRIu64 " bytes\n", shown, (unsigned)e->id, from, mode, e->size);
	if (e->target) {
		kp_autofree char *target = kp_shown(e->target);

		printf("  link to %s\n", target);
	}
	if (e->digest) {
		kp_digest_text(e->digest, hex);
		printf("  digest %s\n", hex);
	}
}

int kp_cmd_explain(const struct kp_args *args, struct kp_err *err)
{
	const char *what = args->operands[0], *path = args->operands[1];
	struct kp_instance *instance = NULL;
	struct kp_look kp_autolook look = {0};
	struct kp_entry e;
	int r;

	/* A name without a slash is an instance where there is one. */
	if (!strchr(what, '/') && kp_instance_name_ok(what))
		(void)kp_instance_open(what, &instance, NULL);
	r = kp_look_open(&look, instance ? instance->image : what, err);
	if (!r)
		r = kp_look_find(&look, path, &e, err);
	if (!r) {
		say(&e, path, look.path);
		if (instance)
			printf("  as in the image: what instance %s changed is not looked at in this version\n",
			       instance->name);
		r = kp_flush(err);
	}
	(void)kp_instance_free(instance);
	return r;
}
