/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel verify: checks every digest of an image. */
#include <inttypes.h>
#include <unistd.h>

#include "cmd/cmd.h"

static void progress(uint64_t done, uint64_t total, void *ctx)
{
	int *last = ctx, percent = total ? (int)(done * 100 / total) : 100;

	if (percent == *last)
		return;
	*last = percent;
	(void)fprintf(stderr, "\rverify: %3d%%", percent);
}

int kp_cmd_verify(const struct kp_args *args, struct kp_err *err)
{
	bool show = isatty(STDERR_FILENO) && !kp_args_has(args, "quiet");
	struct kp_look kp_autolook look = {0};
	char hex[2 * KP_DIGEST_LEN + 1];
	int r = kp_look_open(&look, args->operands[0], err), last = -1;

	if (r < 0)
		return r;
	r = kp_image_verify(look.image, show ? progress : NULL, &last, err);
	if (show)
		(void)fputs("\r\033[K", stderr);
	if (r < 0)
		return r;
	if (!kp_args_has(args, "quiet")) {
		kp_digest_text(kp_image_digest(look.image), hex);
		printf("%s: whole: %u entries, digest %s\n", args->operands[0], (unsigned)kp_image_count(look.image), hex);
	}
	return kp_flush(err);
}
