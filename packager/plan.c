/* SPDX-License-Identifier: Apache-2.0 */
/* All sources into the tree in the manifest's order, then what belongs to the whole, then the checks. */
#include <limits.h>
#include <sys/stat.h>

#include "packager/pack.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void place_text(const struct place *at, char *buf, size_t size)
{
	const struct kp_source *s = &at->pack->manifest->sources[at->source];
	struct kp_mark mark = at->name >= 0 && s->name_marks ? s->name_marks[at->name] : s->mark;
	char item[32] = "";

	if (at->name >= 0 && s->kind != KP_SOURCE_TAR)
		(void)snprintf(item, sizeof(item), "[%d]", at->name);
	(void)snprintf(buf, size, "%s:%d:%d: contents[%zu].%s%s", at->pack->file, mark.line, mark.column,
		       at->source, kp_source_name(s->kind), item);
}

int pack_fail(const struct place *at, struct kp_err *err, int code, const char *fmt, ...)
{
	char where[512], what[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	place_text(at, where, sizeof(where));
	return kp_fail(err, code, "%s: %s", where, what);
}

int pack_at(const struct place *at, struct kp_err *err, int rc)
{
	struct kp_err inner = *err;

	if (!rc || rc == -ECANCELED)
		return rc;
	(void)pack_fail(at, err, inner.code, "%s", inner.text);
	if (inner.hint[0])
		(void)kp_hint(err, "%s", inner.hint);
	return rc;
}

void pack_note(const struct pack *p, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!p->verbose)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	kp_printable(line);
	fprintf(stderr, "%s\n", line);
}

static int add_source(struct pack *p, const struct place *at, struct kp_err *err)
{
	const struct kp_source *s = &p->manifest->sources[at->source];

	switch (s->kind) {
	case KP_SOURCE_DEB: return source_deb(p, at, s, err);
	case KP_SOURCE_ELF: return source_elf(p, at, s, err);
	case KP_SOURCE_COPY: return source_copy(p, at, s, err);
	case KP_SOURCE_TAR: return source_tar(p, at, s, err);
	case KP_SOURCE_FILE: return source_file(p, at, s, err);
	case KP_SOURCE_SYMLINK: return pack_at(at, err, tree_add_link(p, s->path, s->target, 0, err));
	case KP_SOURCE_EXCLUDE: return pack_at(at, err, source_exclude(p, s, err));
	}
	return pack_fail(at, err, EINVAL, "unknown source");
}

/* Does a program of the manifest exist, and can it run? A bare name is looked for in PATH. */
static int check_program(const struct pack *p, const char *program)
{
	const char *path = DEFAULT_PATH;
	int rc = -ENOENT;

	for (size_t i = 0; i < p->manifest->env.count; i++)
		if (!strcmp(p->manifest->env.items[i].name, "PATH"))
			path = p->manifest->env.items[i].value;
	if (program[0] == '/')
		path = "";
	do {
		size_t len = strcspn(path, ":");
		kp_autofree char *dir = kp_strndup(path, len), *norm = NULL;
		struct kp_tree_info info;
		char full[PATH_MAX];
		int got;

		path += len + (path[len] == ':');
		if (kp_path_join(full, sizeof(full), program[0] == '/' ? "/" : dir, program) < 0 ||
		    kp_path_normalise(full, &norm) < 0)
			continue;
		got = kp_tree_stat(p->tree, norm, &info);
		if (!got)
			got = S_ISREG(info.mode) && (info.mode & 0111) ? 0 : -EACCES;
		if (!got)
			return 0;
		if (got != -ENOENT && got != -ENOTDIR)
			rc = got;
	} while (*path);
	return rc;
}

static int check_entry(const struct pack *p, struct kp_err *err)
{
	const struct kp_manifest *m = p->manifest;
	int rc;

	if (m->layers.count) /* any of them may bring it */
		return 0;
	rc = m->entry.count ? check_program(p, m->entry.items[0]) : 0;
	if (rc) {
		(void)kp_fail(err, -rc, "%s:%d:%d: entry.command[0]: %s: %s", p->file, m->entry_mark.line,
			      m->entry_mark.column, m->entry.items[0],
			      rc == -ENOENT || rc == -ENOTDIR ? "not in the image"
			      : rc == -EACCES ? "not an executable file" : strerror(-rc));
		if (rc == -EACCES)
			return rc;
		return kp_hint(err, "'contents' must bring the program, and no later 'exclude' take it away");
	}
	for (size_t i = 0; i < m->command_count; i++) {
		rc = check_program(p, m->commands[i].argv.items[0]);
		if (rc)
			return kp_fail(err, -rc, "%s:1:1: commands.%s[0]: %s: %s", p->file, m->commands[i].name,
				       m->commands[i].argv.items[0],
				       rc == -EACCES ? "not an executable file" : "not in the image");
	}
	return 0;
}

int pack_sources(struct pack *p, struct kp_err *err)
{
	const struct kp_manifest *m = p->manifest;
	bool finished = false;
	int rc = 0;

	for (size_t i = 0; !rc && i < m->source_count; i++) {
		struct place at = {p, i, -1};

		/* What maintainer scripts would have made comes before what the manifest lays over it. */
		if (p->has_debs && !finished && m->sources[i].kind != KP_SOURCE_DEB) {
			bool more = false;

			for (size_t j = i; j < m->source_count; j++)
				more |= m->sources[j].kind == KP_SOURCE_DEB;
			if (!more) {
				finished = true;
				rc = deb_finish(p, err);
			}
		}
		if (!rc)
			rc = pack_canceled(err);
		if (!rc)
			rc = add_source(p, &at, err);
	}
	if (!rc && p->has_debs && !finished)
		rc = deb_finish(p, err);
	if (!rc)
		rc = ldcache_make(p, err);
	if (!rc)
		rc = check_entry(p, err);
	if (!rc && p->dropped.len)
		pack_note(p, "left out:\n%s", p->dropped.data);
	return rc;
}
