/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel ls: lists files of an image. */
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/cmd.h"
#include "instance/config.h"

struct list {
	const struct kp_look *look;
	bool detailed, recursive, json, any;
};

static void print_json(struct list *l, const struct kp_entry *e, const char *path)
{
	struct kp_buf kp_autobuf b = {0};
	char hex[2 * KP_DIGEST_LEN + 1];

	kp_buf_printf(&b, "%s{\"path\":", l->any ? ",\n " : "[\n ");
	kp_buf_quoted(&b, path);
	kp_buf_printf(&b, ",\"mode\":\"%06o\",\"size\":%" PRIu64 ",\"mtime\":%" PRId64, (unsigned)e->mode, e->size, e->mtime);
	if (e->target) {
		kp_buf_puts(&b, ",\"target\":");
		kp_buf_quoted(&b, e->target);
	}
	if (e->digest) {
		kp_digest_text(e->digest, hex);
		kp_buf_printf(&b, ",\"digest\":\"%s\"", hex);
	}
	printf("%s}", b.data);
}

static void print_entry(struct list *l, const struct kp_entry *e, const char *path)
{
	kp_autofree char *shown = kp_shown(path), *target = e->target ? kp_shown(e->target) : NULL;
	char mode[11], when[32] = "";
	time_t t = (time_t)e->mtime;
	struct tm tm;

	if (l->json) {
		print_json(l, e, path);
	} else if (l->detailed) {
		kp_mode_text(e->mode, mode);
		if (gmtime_r(&t, &tm))
			(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
		printf("%s %12" PRIu64 " %s %s%s%s\n", mode, e->size, when, shown, target ? " -> " : "",
		       target ? target : "");
	} else {
		puts(shown);
	}
	l->any = true;
}

static int list_dir(struct list *l, const struct kp_entry *dir, const char *prefix, struct kp_err *err)
{
	for (uint32_t i = 0; i < dir->child_count; i++) {
		kp_autofree char *path = NULL;
		struct kp_entry e;
		int r = kp_image_entry(l->look->image, dir->first_child + i, &e);

		if (r < 0)
			return kp_fail_errno(err, -r, "%s: damaged entry below %s", l->look->path, prefix);
		path = kp_asprintf("%s%s%s", prefix, *prefix ? "/" : "", e.name);
		if (strlen(path) >= PATH_MAX)
			return kp_fail(err, ENAMETOOLONG, "%s: path too long", l->look->path);
		print_entry(l, &e, path);
		if (l->recursive && S_ISDIR(e.mode)) {
			r = list_dir(l, &e, path, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int kp_cmd_ls(const struct kp_args *args, struct kp_err *err)
{
	const char *path = args->operand_count > 1 ? args->operands[1] : "/";
	struct kp_look kp_autolook look = {0};
	struct list l = {.look = &look, .detailed = kp_args_has(args, "long"), .json = kp_args_has(args, "json"),
			 .recursive = kp_args_has(args, "recursive")};
	struct kp_entry e;
	int r = kp_look_open(&look, args->operands[0], err);

	if (!r)
		r = kp_look_find(&look, path, &e, err);
	if (r < 0)
		return r;
	if (S_ISDIR(e.mode))
		r = list_dir(&l, &e, "", err);
	else
		print_entry(&l, &e, path);
	if (l.json)
		puts(l.any ? "\n]" : "[]");
	return r < 0 ? r : kp_flush(err);
}
