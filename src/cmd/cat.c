/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel cat: prints files of an image. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

/* Follows links inside the image, also on the way, as cat there would. */
static int find_file(const struct kp_look *look, const char *path, struct kp_entry *ret_entry, struct kp_err *err)
{
	kp_autofree char *at = kp_strdup(""), *rest = kp_strdup(path);
	int links = 0, r;

	for (char *p = rest + strspn(rest, "/"); *p; p = rest + strspn(rest, "/")) {
		int len = (int)strcspn(p, "/");
		kp_autofree char *name = kp_asprintf("%.*s", len, p), *child = kp_asprintf("%s/%s", at, name), *next = NULL;
		char *up = strrchr(at, '/');

		if (!strcmp(name, "..")) {
			if (up)
				*up = '\0';
		} else if (strcmp(name, ".") != 0) {
			r = kp_look_find(look, child, ret_entry, err);
			if (r < 0)
				return r;
			if (S_ISLNK(ret_entry->mode)) {
				if (++links > 40)
					return kp_fail(err, ELOOP, "%s: too many symbolic links", path);
				next = kp_asprintf("%s%s", ret_entry->target, p + len);
				if (ret_entry->target[0] == '/')
					*at = '\0';
			} else {
				free(at);
				at = kp_take_ptr(child);
			}
		}
		if (!next)
			next = kp_strdup(p + len);
		free(rest);
		rest = kp_take_ptr(next);
	}
	r = kp_look_find(look, at, ret_entry, err);
	return r < 0 || S_ISREG(ret_entry->mode) ? r : kp_fail(err, EISDIR, "%s: a directory", *at ? at : "/");
}

/* Checked before it is shown: what does not match its digest is not printed. */
static int print_checked(const struct kp_look *look, const struct kp_entry *e, const char *path, struct kp_err *err)
{
	kp_autoclose int fd = memfd_create("kapsel-cat", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return kp_fail_errno(err, errno, "memfd");
	r = kp_image_extract(look->image, e->id, fd, err);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return kp_fail_errno(err, errno, "%s", path);
	r = kp_copy_data(fd, STDOUT_FILENO, UINT64_MAX);
	return r < 0 && r != -EPIPE ? kp_fail_errno(err, -r, "standard output: cannot be written") : 0;
}

int kp_cmd_cat(const struct kp_args *args, struct kp_err *err)
{
	struct kp_look kp_autolook look = {0};
	int r = kp_look_open(&look, args->operands[0], err);

	for (size_t i = 1; !r && i < args->operand_count; i++) {
		struct kp_entry e;

		r = find_file(&look, args->operands[i], &e, err);
		if (!r)
			r = print_checked(&look, &e, args->operands[i], err);
	}
	return r;
}
