/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel verify: every digest of an image; the upper layer of an instance. */
#include <inttypes.h>
#include <unistd.h>

#include "base/powers.h"
#include "cmd/cmd.h"
#include "registry/registry.h"
#include "vfs/check.h"

static void progress(uint64_t done, uint64_t total, void *ctx)
{
	int *last = ctx, percent = total ? (int)(done * 100 / total) : 100;

	if (percent == *last)
		return;
	*last = percent;
	(void)fprintf(stderr, "\rverify: %3d%%", percent);
}

static void said(const char *path, const char *what, void *ctx)
{
	kp_autofree char *shown = kp_shown(path);

	(void)ctx;
	printf("%s: %s\n", shown, what);
}

static int verify_instance(struct kp_instance *i, bool quiet, struct kp_err *err)
{
	kp_autofree char *upper = kp_asprintf("%s/upper", i->dir);
	struct kp_upper_counts n = {0};
	int r = kp_instance_lock(i);

	if (r == -EWOULDBLOCK) {
		(void)kp_fail(err, EBUSY, "%s: runs", i->name);
		return kp_hint(err, "kapsel stop %s", i->name);
	}
	if (r < 0)
		return kp_fail_errno(err, -r, "%s: cannot be locked", i->name);
	r = kp_powers_keep(KP_POWERS_READ, err);
	if (!r && access(upper, F_OK) == 0)
		r = kp_upper_check(upper, said, NULL, &n, err);
	if (r < 0)
		return r;
	if (n.wrong) {
		(void)fflush(stdout);
		return kp_fail(err, EIO, "%s: %" PRIu64 " things are wrong", i->name, n.wrong);
	}
	if (!quiet)
		printf("%s: whole: %" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " others, %" PRIu64 " whiteouts\n", i->name, n.files,
		       n.directories, n.others, n.whiteouts);
	return kp_flush(err);
}

static int verify_image(const struct kp_args *args, struct kp_err *err)
{
	bool show = isatty(STDERR_FILENO) && !kp_args_has(args, "quiet");
	struct kp_look kp_autolook look = {0};
	char hex[2 * KP_DIGEST_LEN + 1];
	int r = kp_powers_keep(KP_POWERS_READ, err), last = -1;

	if (!r)
		r = kp_look_open(&look, args->operands[0], err);
	if (r < 0)
		return r;
	r = kp_image_verify(look.image, show ? progress : NULL, &last, err);
	if (show)
		(void)fputs("\r\033[K", stderr);
	if (!r)
		r = kp_hive_verify(look.image, err);
	if (r < 0)
		return r;
	if (!kp_args_has(args, "quiet")) {
		kp_digest_text(kp_image_digest(look.image), hex);
		printf("%s: whole: %u entries, digest %s\n", args->operands[0], (unsigned)kp_image_count(look.image), hex);
	}
	return kp_flush(err);
}

int kp_cmd_verify(const struct kp_args *args, struct kp_err *err)
{
	const char *what = args->operands[0];
	struct kp_instance *instance = NULL;
	int r;

	/* A name without a slash is an instance where there is one, unless an image of that name lies here. */
	if (!strchr(what, '/') && kp_instance_name_ok(what) && access(what, F_OK) < 0)
		(void)kp_instance_open(what, &instance, NULL);
	r = instance ? verify_instance(instance, kp_args_has(args, "quiet"), err) : verify_image(args, err);
	(void)kp_instance_free(instance);
	return r;
}
