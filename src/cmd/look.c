/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the verbs: opening an image to look inside, and safe output. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

int kp_look_open(struct kp_look *look, const char *host_path, struct kp_err *err)
{
	struct kp_plan plan = {0};
	int r = kp_plan_open_image(&plan, host_path, err);

	if (r < 0) {
		kp_plan_free(&plan);
		return r;
	}
	*look = (struct kp_look){kp_take_ptr(plan.image), kp_take_ptr(plan.manifest), kp_take_ptr(plan.host_image)};
	return 0;
}

void kp_look_close(struct kp_look *look)
{
	free(look->path);
	(void)kp_manifest_free(look->manifest);
	(void)kp_image_free(look->image);
	*look = (struct kp_look){0};
}

int kp_look_find(const struct kp_look *look, const char *path, struct kp_entry *ret_entry, struct kp_err *err)
{
	kp_autofree char *absolute = kp_asprintf("/%s", path + strspn(path, "/"));
	size_t len = strlen(absolute);
	uint32_t id;
	int r;

	while (len > 1 && absolute[len - 1] == '/')
		absolute[--len] = '\0';
	id = len == 1 ? KP_ROOT_ENTRY : kp_image_find(look->image, absolute);
	if (id == KP_NO_ENTRY)
		return kp_fail(err, ENOENT, "%s: not in the image", absolute);
	r = kp_image_entry(look->image, id, ret_entry);
	return r < 0 ? kp_fail_errno(err, -r, "%s: damaged entry", absolute) : 0;
}

void kp_mode_text(uint32_t mode, char out[11])
{
	static const char bits[] = "rwxrwxrwx";

	out[0] = S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : '-';
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode & (0400U >> i) ? bits[i] : '-';
	if (mode & S_ISVTX)
		out[9] = mode & 1 ? 't' : 'T';
	out[10] = '\0';
}

void kp_size_text(uint64_t bytes, char *out, size_t size)
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes / 1024;
	int i = 0;

	if (bytes < 1024) {
		(void)snprintf(out, size, "%u", (unsigned)bytes);
		return;
	}
	for (; value >= 1023.95 && i < 5; i++)
		value /= 1024;
	(void)snprintf(out, size, "%.1f%c", value, units[i]);
}

void kp_digest_text(const uint8_t *digest, char out[2 * KP_DIGEST_LEN + 1])
{
	kp_hex(out, digest, KP_DIGEST_LEN);
}

void kp_complain(const struct kp_err *err)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "kapsel: %s\n", *err->text ? err->text : strerror(err->code ? err->code : EIO));
	if (*err->hint)
		(void)fprintf(stderr, "hint: %s\n", err->hint);
}

int kp_flush(struct kp_err *err)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	return errno == EPIPE ? 0 : kp_fail_errno(err, errno ? errno : EIO, "standard output: cannot be written");
}
