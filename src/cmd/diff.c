/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel diff: what an instance changed. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "changes/registry.h"
#include "cmd/view.h"
#include "instance/config.h"

#define TEXT_MAX ((uint64_t)1 << 22)

static const char *kind(mode_t mode)
{
	return S_ISDIR(mode) ? "directory" : S_ISREG(mode) ? "file" : S_ISLNK(mode) ? "link" : S_ISFIFO(mode) ? "FIFO"
	       : S_ISSOCK(mode) ? "socket" : "device";
}

static const struct {
	unsigned bit;
	const char *name;
} aspects[] = {
	{KP_DIFFERS_KIND, "kind"}, {KP_DIFFERS_CONTENT, "content"}, {KP_DIFFERS_MODE, "mode"},
	{KP_DIFFERS_OWNER, "owner"}, {KP_DIFFERS_TIME, "time"},
};

static void print_text(const struct kp_change *c)
{
	kp_autofree char *path = kp_path_quoted(c->path), *from = c->from ? kp_path_quoted(c->from) : NULL;
	mode_t mode = c->mode ? c->mode : c->old_mode;
	char size[16] = "-", old[16] = "-", differs[64] = "";

	if (S_ISREG(c->mode))
		kp_size_text(c->size, size, sizeof(size));
	if (S_ISREG(c->old_mode))
		kp_size_text(c->old_size, old, sizeof(old));
	for (size_t i = 0; i < KP_ARRAY_LEN(aspects); i++)
		if (c->differs & aspects[i].bit)
			(void)snprintf(differs + strlen(differs), sizeof(differs) - strlen(differs), "%s%s", *differs ? "," : "  ",
				       aspects[i].name);
	printf("%c %-9s %8s %s%s%s%s%s%s\n", c->kind, kind(mode), c->kind == KP_CHANGE_DELETED ? old : size, from ? from : "",
	       from ? " -> " : "", path, differs, c->kind == KP_CHANGE_CHANGED && S_ISREG(c->mode) && c->size != c->old_size ? "  was " : "",
	       c->kind == KP_CHANGE_CHANGED && S_ISREG(c->mode) && c->size != c->old_size ? old : "");
}

static const char *kind_word(enum kp_change_kind k)
{
	return k == KP_CHANGE_ADDED ? "added" : k == KP_CHANGE_CHANGED ? "changed" : k == KP_CHANGE_DELETED ? "deleted" : "renamed";
}

static void print_json(const struct kp_change *c, bool first)
{
	struct kp_buf kp_autobuf b = {0};
	bool any = false;

	kp_buf_puts(&b, first ? "[\n {\"path\":" : ",\n {\"path\":");
	kp_buf_quoted(&b, c->path);
	kp_buf_printf(&b, ",\"change\":\"%s\"", kind_word(c->kind));
	if (c->from) {
		kp_buf_puts(&b, ",\"from\":");
		kp_buf_quoted(&b, c->from);
	}
	if (c->mode)
		kp_buf_printf(&b, ",\"kind\":\"%s\",\"mode\":\"%04o\",\"size\":%" PRIu64, kind(c->mode), c->mode & 07777, c->size);
	if (c->old_mode)
		kp_buf_printf(&b, ",\"old_kind\":\"%s\",\"old_mode\":\"%04o\",\"old_size\":%" PRIu64, kind(c->old_mode),
			      c->old_mode & 07777, c->old_size);
	if (c->host) {
		kp_buf_puts(&b, ",\"host\":");
		kp_buf_quoted(&b, c->host);
	}
	kp_buf_puts(&b, ",\"differs\":[");
	for (size_t i = 0; i < KP_ARRAY_LEN(aspects); i++)
		if (c->differs & aspects[i].bit) {
			kp_buf_printf(&b, "%s\"%s\"", any ? "," : "", aspects[i].name);
			any = true;
		}
	printf("%s]}", b.data);
}

/* The text of one side, "" where it is no regular file. -EFBIG: too big to be shown. */
static int side(int fd, char **ret, size_t *ret_len)
{
	char proc[32];
	int r;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	r = kp_read_file(AT_FDCWD, proc, TEXT_MAX, ret, ret_len);
	(void)kp_close(fd);
	return r;
}

static void print_unified(struct kp_view *w, const struct kp_change *c)
{
	const char *was = c->from ? c->from : c->path;
	kp_autofree char *path = kp_path_quoted(c->path), *from = kp_path_quoted(was), *old = NULL, *new = NULL;
	size_t old_len = 0, new_len = 0;
	int fd = -1, r = 0;

	if ((!S_ISREG(c->mode) && !S_ISREG(c->old_mode)) || (c->mode && c->old_mode && !(c->differs & 3) && !c->from)) {
		print_text(c);
		return;
	}
	if (c->kind == KP_CHANGE_RENAMED)
		print_text(c);
	if (S_ISREG(c->old_mode))
		r = kp_changes_open_lower(w->vfs, was, TEXT_MAX, &fd);
	if (!r && S_ISREG(c->old_mode))
		r = side(fd, &old, &old_len);
	if (!r && S_ISREG(c->mode))
		r = kp_changes_open(w->upper_fd, w->vfs, c, &fd);
	if (!r && S_ISREG(c->mode))
		r = side(fd, &new, &new_len);
	if (r || (old && old_len && memchr(old, 0, old_len)) || (new && new_len && memchr(new, 0, new_len))) {
		printf("%s files %s and %s differ\n", r == -EFBIG ? "Big" : "Binary", c->old_mode ? from : "/dev/null",
		       c->mode ? path : "/dev/null");
		return;
	}
	if (old_len == new_len && (!old_len || !memcmp(old, new, old_len)))
		return;
	printf("--- %s%s\n+++ %s%s\n", c->old_mode ? "below" : "/dev/null", c->old_mode ? from : "", c->mode ? "instance" : "/dev/null",
	       c->mode ? path : "");
	(void)kp_unified(stdout, old ? old : "", old_len, new ? new : "", new_len);
}

struct printing {
	bool json, unified, any;
};

static void print_registry_json(const struct kp_registry_change *c, bool first)
{
	char type[KP_REG_TYPE_NAME];
	struct kp_buf kp_autobuf b = {0};

	kp_buf_puts(&b, first ? "[\n {\"key\":" : ",\n {\"key\":");
	kp_buf_quoted(&b, c->key);
	if (c->name) {
		kp_buf_puts(&b, ",\"name\":");
		kp_buf_quoted(&b, c->name);
	}
	kp_buf_printf(&b, ",\"change\":\"%s\",\"kind\":\"%s\"", kind_word(c->kind), c->name ? "value" : "key");
	if (c->now)
		kp_buf_printf(&b, ",\"type\":\"%s\",\"size\":%zu", kp_reg_type_name(c->now->type, type), c->now->len);
	if (c->was)
		kp_buf_printf(&b, ",\"old_type\":\"%s\",\"old_size\":%zu", kp_reg_type_name(c->was->type, type), c->was->len);
	printf("%s}", b.data);
}

static void print_registry_text(const struct kp_registry_change *c, const char *shown)
{
	char size[16] = "-", old[16] = "-";
	bool both = c->was && c->now && c->was->len != c->now->len;

	if (c->now || c->was)
		kp_size_text(c->now ? c->now->len : c->was->len, size, sizeof(size));
	if (both)
		kp_size_text(c->was->len, old, sizeof(old));
	printf("%c %-9s %8s %s%s%s\n", c->kind, c->name ? "value" : "key", size, shown, both ? "  was " : "", both ? old : "");
}

/* As the file of the registry's tree that shows it would have it, and a line's end. */
static void registry_lines(const struct kp_reg_data *d, struct kp_buf *out)
{
	if (!d)
		return;
	kp_reg_data_to_file(d, out);
	if (!out->len || out->data[out->len - 1] != '\n')
		kp_buf_puts(out, "\n");
}

static int print_registry(const struct kp_registry_change *c, void *ctx)
{
	kp_autofree char *path = c->name ? kp_asprintf("%s\\%s", c->key, *c->name ? c->name : "(Default)") : kp_strdup(c->key);
	kp_autofree char *shown = kp_shown(path);
	struct kp_buf kp_autobuf old = {0}, now = {0};
	struct printing *p = ctx;

	if (p->unified && c->name) {
		registry_lines(c->was, &old);
		registry_lines(c->now, &now);
	}
	if (p->json)
		print_registry_json(c, !p->any);
	else if (!p->unified || !c->name)
		print_registry_text(c, shown);
	else if ((old.len && memchr(old.data, 0, old.len)) || (now.len && memchr(now.data, 0, now.len)))
		printf("Binary values %s and %s differ\n", c->was ? shown : "/dev/null", c->now ? shown : "/dev/null");
	else {
		printf("--- %s%s\n+++ %s%s\n", c->was ? "below " : "/dev/null", c->was ? shown : "", c->now ? "instance " : "/dev/null", c->now ? shown : "");
		(void)kp_unified(stdout, old.len ? old.data : "", old.len, now.len ? now.data : "", now.len);
	}
	p->any = true;
	return 0;
}

static int diff_registry(const struct kp_view *w, struct printing *p, struct kp_err *err)
{
	kp_autofree char *own = kp_asprintf("%s/registry", w->plan.instance->dir);
	struct kp_reg *lower = NULL;
	int r = kp_view_registry(w, &lower, err);

	if (!r)
		r = kp_changes_registry(own, lower, print_registry, p, err);
	(void)kp_reg_free(lower);
	return r;
}

int kp_cmd_diff(const struct kp_args *args, struct kp_err *err)
{
	struct printing p = {.json = kp_args_has(args, "json"), .unified = kp_args_has(args, "unified")};
	struct kp_changes kp_autochanges c = {0};
	struct kp_view kp_autoview w = {0};
	int r = kp_view_changes(&w, args, false, &c, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c.count; i++) {
		if (!c.items[i].chosen || c.items[i].moved)
			continue;
		if (p.json)
			print_json(&c.items[i], !p.any);
		else if (p.unified)
			print_unified(&w, &c.items[i]);
		else
			print_text(&c.items[i]);
		p.any = true;
	}
	if (args->operand_count == 1)
		r = diff_registry(&w, &p, err);
	if (p.json)
		puts(p.any ? "\n]" : "[]");
	return r < 0 ? r : kp_flush(err);
}
