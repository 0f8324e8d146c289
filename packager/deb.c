/* SPDX-License-Identifier: Apache-2.0 */
/* The source deb: packages unpacked by libarchive. Their scripts are read, not run. */
#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

#define SCRIPT_MAX (1 << 20)

/* An archive within an archive: the inner reader takes its bytes from the outer one's entry. */
struct nested {
	struct archive *outer;
	char chunk[65536];
};

static la_ssize_t nested_read(struct archive *inner, void *ctx, const void **ret)
{
	struct nested *n = ctx;
	la_ssize_t got = archive_read_data(n->outer, n->chunk, sizeof(n->chunk));

	if (got < 0)
		archive_set_error(inner, EIO, "%s", archive_error_string(n->outer));
	*ret = n->chunk;
	return got;
}

struct control {
	char *text, *postinst; /* NULL: not there */
};

static int read_control(struct archive *a, const char *name, struct control *ret, struct kp_err *err)
{
	struct archive_entry *e;
	int rc;

	while ((rc = archive_read_next_header(a, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
		const char *path = archive_entry_pathname(e);
		la_int64_t size = archive_entry_size(e);
		char **to;

		if (path && !strncmp(path, "./", 2))
			path += 2;
		to = !path ? NULL : !strcmp(path, "control") ? &ret->text
		     : !strcmp(path, "postinst") ? &ret->postinst : NULL;
		if (!to || *to || size < 0 || size > SCRIPT_MAX)
			continue;
		*to = kp_calloc(1, (size_t)size + 1);
		if (archive_read_data(a, *to, (size_t)size) < 0)
			return kp_fail(err, EIO, "%s: control: %s", name, archive_error_string(a));
	}
	if (rc != ARCHIVE_EOF)
		return kp_fail(err, EIO, "%s: control: %s", name, archive_error_string(a));
	return 0;
}

/* Opens the tar inside the outer archive's entry. */
static struct archive *open_member(struct nested *n)
{
	struct archive *a = archive_read_new();

	(void)archive_read_support_filter_all(a);
	(void)archive_read_support_format_tar(a);
	(void)archive_read_support_format_empty(a);
	(void)archive_read_open(a, n, NULL, nested_read, NULL);
	return a;
}

/* Reads control (when ret_control) and data (when tree) of one package. */
static int read_deb(struct pack *p, const char *path, struct control *ret_control, bool to_tree, struct kp_err *err)
{
	struct archive *outer = archive_read_new();
	struct nested n = {.outer = outer};
	struct archive_entry *e;
	bool is_deb = false, data = false;
	int rc = 0, got = ARCHIVE_EOF;

	(void)archive_read_support_format_ar(outer);
	if (archive_read_open_filename(outer, path, 1 << 16) != ARCHIVE_OK)
		rc = kp_fail(err, EIO, "%s: %s", path, archive_error_string(outer));
	while (!rc && (got = archive_read_next_header(outer, &e)) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(e);
		struct archive *inner = NULL;

		if (!name)
			continue;
		is_deb |= !strcmp(name, "debian-binary");
		if (ret_control && !strncmp(name, "control.tar", 11)) {
			inner = open_member(&n);
			rc = read_control(inner, path, ret_control, err);
		} else if (to_tree && !strncmp(name, "data.tar", 8)) {
			inner = open_member(&n);
			data = true;
			rc = archive_to_tree(p, inner, path, err);
		}
		(void)archive_read_free(inner);
	}
	if (!rc && got != ARCHIVE_EOF)
		rc = kp_fail(err, EIO, "%s: not a Debian package: %s", path, archive_error_string(outer));
	if (!rc && (!is_deb || (to_tree && !data)))
		rc = kp_fail(err, EINVAL, "%s: not a Debian package", path);
	(void)archive_read_free(outer);
	return rc;
}

static int unpack(struct pack *p, const char *path, struct kp_err *err)
{
	struct control control = {0};
	int rc;

	pack_note(p, "deb %s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	rc = read_deb(p, path, &control, true, err);
	if (!rc && control.postinst)
		alternatives_scan(p, control.postinst);
	free(control.text);
	free(control.postinst);
	return rc;
}

static bool has_field(const char *control, const char *field)
{
	for (const char *line = control; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncasecmp(line, field, strlen(field)))
			return true;
	}
	return false;
}

/* Packages that are files and need nothing are unpacked without apt. */
static int local_only(struct pack *p, const struct place *at, const struct kp_source *s, bool *ret,
		      struct kp_err *err)
{
	struct place here = *at;
	bool alone = true;

	for (size_t i = 0; i < s->names.count; i++) {
		struct control control = {0};
		kp_autofree char *path = NULL;
		struct stat st;
		int rc;

		here.name = (int)i;
		if (!strchr("./", s->names.items[i][0])) {
			alone = false;
			continue;
		}
		path = host_path(p, s->names.items[i]);
		if (stat(path, &st) < 0)
			return pack_fail(&here, err, errno, "%s: %s", path, strerror(errno));
		rc = read_deb(p, path, &control, false, err);
		alone &= control.text && !has_field(control.text, "Depends:") &&
			 !has_field(control.text, "Pre-Depends:");
		free(control.text);
		free(control.postinst);
		if (rc)
			return pack_at(&here, err, rc);
	}
	*ret = alone;
	return 0;
}

int source_deb(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err)
{
	kp_autostrings struct kp_strings files = {0};
	bool alone = false;
	int rc = local_only(p, at, s, &alone, err);

	if (rc)
		return rc;
	if (alone) {
		for (size_t i = 0; i < s->names.count; i++) {
			kp_autofree char *path = host_path(p, s->names.items[i]);

			kp_strings_add(&files, path);
		}
	} else {
		rc = apt_fetch(p, at, s, &files, err);
	}
	if (!rc && !p->has_debs)
		rc = deb_skeleton(p, err);
	p->has_debs = true;
	for (size_t i = 0; !rc && i < files.count; i++)
		rc = pack_at(at, err, unpack(p, files.items[i], err));
	return rc;
}
