/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel inspect: what an image is and holds. */
#include <inttypes.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "instance/config.h"
#include "registry/registry.h"

struct figures {
	uint64_t files, dirs, links, bytes;
	uint64_t squashfs_offset, squashfs_len, file_len;
	uint32_t keys, values; /* of the registry */
	char digest[2 * KP_DIGEST_LEN + 1];
};

static int count(const struct kp_look *look, struct figures *f, struct kp_err *err)
{
	struct stat st;

	for (uint32_t id = 0; id < kp_image_count(look->image); id++) {
		struct kp_entry e;
		int r = kp_image_entry(look->image, id, &e);

		if (r < 0)
			return kp_fail_errno(err, -r, "%s: damaged entry %u", look->path, (unsigned)id);
		f->dirs += S_ISDIR(e.mode);
		f->links += S_ISLNK(e.mode);
		f->files += S_ISREG(e.mode);
		if (S_ISREG(e.mode) && e.ino == id)
			f->bytes += e.size;
	}
	kp_image_squashfs(look->image, &f->squashfs_offset, &f->squashfs_len);
	kp_digest_text(kp_image_digest(look->image), f->digest);
	f->file_len = stat(look->path, &st) < 0 ? 0 : (uint64_t)st.st_size;
	if (kp_hive_count(look->image, &f->keys, &f->values) < 0)
		return kp_fail(err, EIO, "%s: damaged: the registry's hive does not hold together", look->path);
	return 0;
}

static void add_words(struct kp_buf *b, const struct kp_strings *words)
{
	kp_buf_puts(b, "[");
	for (size_t i = 0; i < words->count; i++) {
		kp_buf_puts(b, i ? ", " : "");
		kp_buf_quoted(b, words->items[i]);
	}
	kp_buf_puts(b, "]");
}

static void add_string(struct kp_buf *b, const char *key, const char *value)
{
	if (!value)
		return;
	kp_buf_printf(b, " \"%s\": ", key);
	kp_buf_quoted(b, value);
	kp_buf_puts(b, ",\n");
}

static void json_registry(struct kp_buf *b, const struct kp_manifest *m, const struct figures *f)
{
	const struct kp_registry *r = &m->registry;

	kp_buf_printf(b, " \"registry\": {\"keys\": %u, \"values\": %u, \"modes\": {", f->keys, f->values);
	for (size_t i = 0; i < r->mode_count; i++) {
		kp_buf_puts(b, i ? ", " : "");
		kp_buf_quoted(b, r->modes[i].key);
		kp_buf_printf(b, ": \"%s\"", kp_mode_names[r->modes[i].mode]);
	}
	kp_buf_puts(b, "}, \"projections\": [");
	for (size_t i = 0; i < r->projection_count; i++) {
		kp_buf_puts(b, i ? ", {\"file\": " : "{\"file\": ");
		kp_buf_quoted(b, r->projections[i].file);
		kp_buf_printf(b, ", \"format\": \"%s\", \"key\": ", kp_format_name(r->projections[i].format));
		kp_buf_quoted(b, r->projections[i].key);
		kp_buf_puts(b, "}");
	}
	kp_buf_puts(b, "]},\n");
}

static int print_json(const struct kp_look *look, const struct figures *f, const char *profile, struct kp_err *err)
{
	const struct kp_manifest *m = look->manifest;
	struct kp_buf kp_autobuf b = {0};
	int r;

	kp_buf_puts(&b, "{\n");
	add_string(&b, "name", m->name);
	add_string(&b, "version", m->version);
	add_string(&b, "summary", m->summary);
	add_string(&b, "digest", f->digest);
	add_string(&b, "cwd", m->cwd);
	kp_buf_puts(&b, " \"command\": ");
	add_words(&b, &m->entry);
	kp_buf_puts(&b, ",\n \"env\": {");
	for (size_t i = 0; i < m->env.count; i++) {
		kp_buf_puts(&b, i ? ", " : "");
		kp_buf_quoted(&b, m->env.items[i].name);
		kp_buf_puts(&b, ": ");
		kp_buf_quoted(&b, m->env.items[i].value);
	}
	kp_buf_puts(&b, "},\n \"commands\": {");
	for (size_t i = 0; i < m->command_count; i++) {
		kp_buf_puts(&b, i ? ", " : "");
		kp_buf_quoted(&b, m->commands[i].name);
		kp_buf_puts(&b, ": ");
		add_words(&b, &m->commands[i].argv);
	}
	kp_buf_puts(&b, "},\n \"layers\": ");
	add_words(&b, &m->layers);
	kp_buf_puts(&b, ",\n \"modes\": {");
	for (size_t i = 0; i < m->mode_count; i++) {
		kp_buf_puts(&b, i ? ", " : "");
		kp_buf_quoted(&b, m->modes[i].path);
		kp_buf_printf(&b, ": \"%s\"", kp_mode_names[m->modes[i].mode]);
	}
	kp_buf_puts(&b, "},\n");
	json_registry(&b, m, f);
	kp_json_requests(&b, &m->requests);
	r = kp_json_grants(&b, look, profile, err);
	if (r < 0)
		return r;
	kp_buf_printf(&b, " \"files\": %" PRIu64 ",\n \"directories\": %" PRIu64 ",\n \"symlinks\": %" PRIu64
		      ",\n \"bytes\": %" PRIu64 ",\n", f->files, f->dirs, f->links, f->bytes);
	kp_buf_printf(&b, " \"size\": %" PRIu64 ",\n \"squashfs\": {\"offset\": %" PRIu64 ", \"length\": %" PRIu64 "}\n}",
		      f->file_len, f->squashfs_offset, f->squashfs_len);
	puts(b.data);
	return 0;
}

static void print_line(const char *label, const char *value)
{
	kp_autofree char *shown = value ? kp_shown(value) : NULL;

	if (shown)
		printf("%-9s %s\n", label, shown);
}

static void print_registry(const struct kp_manifest *m, const struct figures *f)
{
	const struct kp_registry *r = &m->registry;

	if (f->keys || r->mode_count || r->projection_count)
		printf("%-9s %u keys, %u values\n", "registry", f->keys, f->values);
	for (size_t i = 0; i < r->mode_count; i++) {
		kp_autofree char *rule = kp_asprintf("%s: %s", r->modes[i].key, kp_mode_names[r->modes[i].mode]);

		print_line("", rule);
	}
	for (size_t i = 0; i < r->projection_count; i++) {
		const struct kp_projection *p = &r->projections[i];
		kp_autofree char *rule = kp_asprintf("%s: %s of %s", p->file, kp_format_name(p->format), p->key);

		print_line("", rule);
	}
}

static void print_text(const struct kp_look *look, const struct figures *f)
{
	const struct kp_manifest *m = look->manifest;
	struct kp_buf kp_autobuf b = {0};
	char packed[16], unpacked[16];

	print_line("name", m->name);
	print_line("version", m->version);
	print_line("summary", m->summary);
	print_line("digest", f->digest);
	add_words(&b, &m->entry);
	print_line("command", m->entry.count ? b.data : "none: only a layer");
	print_line("cwd", m->cwd);
	for (size_t i = 0; i < m->env.count; i++) {
		kp_autofree char *pair = kp_asprintf("%s=%s", m->env.items[i].name, m->env.items[i].value);

		print_line(i ? "" : "env", pair);
	}
	for (size_t i = 0; i < m->command_count; i++) {
		struct kp_buf kp_autobuf line = {0};

		kp_buf_printf(&line, "@%s ", m->commands[i].name);
		add_words(&line, &m->commands[i].argv);
		print_line(i ? "" : "commands", line.data);
	}
	for (size_t i = 0; i < m->layers.count; i++)
		print_line(i ? "" : "layers", m->layers.items[i]);
	for (size_t i = 0; i < m->mode_count; i++) {
		kp_autofree char *rule = kp_asprintf("%s: %s", m->modes[i].path, kp_mode_names[m->modes[i].mode]);

		print_line(i ? "" : "modes", rule);
	}
	print_registry(m, f);
	kp_print_requests(m);
	kp_size_text(f->file_len, packed, sizeof(packed));
	kp_size_text(f->bytes, unpacked, sizeof(unpacked));
	printf("%-9s %" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " symbolic links\n", "contents", f->files,
	       f->dirs, f->links);
	printf("%-9s %s packed, %s unpacked\n", "size", packed, unpacked);
	printf("%-9s offset %" PRIu64 ", length %" PRIu64 "\n", "squashfs", f->squashfs_offset, f->squashfs_len);
}

int kp_cmd_inspect(const struct kp_args *args, struct kp_err *err)
{
	struct kp_look kp_autolook look = {0};
	const char *profile = kp_args_get(args, "profile");
	struct figures f = {0};
	int r = kp_look_open(&look, args->operands[0], err);

	if (!r)
		r = count(&look, &f, err);
	if (r < 0)
		return r;
	if (kp_args_has(args, "json")) {
		r = print_json(&look, &f, profile, err);
	} else {
		print_text(&look, &f);
		r = kp_print_grants(&look, profile, err);
	}
	return r < 0 ? r : kp_flush(err);
}
