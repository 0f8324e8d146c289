/* SPDX-License-Identifier: Apache-2.0 */
/* Archives into the tree, by libarchive: names checked, set-id bits and devices left out. */
#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

/* Smaller files stay in memory until they are packed. */
#define IN_MEMORY 32768

/* "./usr/bin/x", "/usr/bin/x" and "usr/bin/x" are the same place. */
static int guest_name(const char *name, const char *archive, char **ret, struct kp_err *err)
{
	kp_autofree char *absolute = NULL;
	int rc;

	if (!name)
		return kp_fail(err, EILSEQ, "%s: a name in it is not UTF-8", archive);
	absolute = kp_asprintf("/%s", name);
	rc = kp_path_normalise(absolute, ret);
	if (rc == -EINVAL)
		return kp_fail(err, EINVAL, "%s: '%s' in it leads out of the image", archive, name);
	return rc ? kp_fail_errno(err, -rc, "%s: '%.200s' in it", archive, name) : 0;
}

static const char *entry_name(struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);

	return name ? name : archive_entry_pathname_utf8(e);
}

static int small_file(struct pack *p, struct archive *a, const char *path, size_t size, mode_t mode,
		      int64_t mtime, const char *archive, struct kp_err *err)
{
	kp_autofree char *data = kp_calloc(1, size + 1);
	size_t got = 0;

	while (got < size) {
		la_ssize_t n = archive_read_data(a, data + got, size - got);

		if (n < 0)
			return kp_fail(err, EIO, "%s: %s: %s", archive, path, archive_error_string(a));
		if (!n)
			break;
		got += (size_t)n;
	}
	return kp_tree_add_bytes(p->tree, path, data, got, mode, mtime, err);
}

static int big_file(struct pack *p, struct archive *a, const char *path, mode_t mode, int64_t mtime,
		    const char *archive, struct kp_err *err)
{
	kp_autofree char *host = NULL;
	kp_autoclose int fd = work_file(p, &host, err);
	const void *data;
	la_int64_t at;
	size_t len;
	int rc;

	if (fd < 0)
		return fd;
	while ((rc = archive_read_data_block(a, &data, &len, &at)) == ARCHIVE_OK) {
		int failed = pack_canceled(err);

		if (failed)
			return failed;
		if (len && (lseek(fd, at, SEEK_SET) < 0 || (failed = kp_write_full(fd, data, len)) < 0))
			return kp_fail_errno(err, failed ? -failed : errno, "%s: scratch file", host);
	}
	if (rc != ARCHIVE_EOF)
		return kp_fail(err, EIO, "%s: %s: %s", archive, path, archive_error_string(a));
	return kp_tree_add_host_file(p->tree, path, host, mode, mtime, err);
}

static int regular_file(struct pack *p, struct archive *a, struct archive_entry *e, const char *path,
			const char *archive, struct kp_err *err)
{
	mode_t mode = archive_entry_perm(e) & 01777;
	int64_t mtime = archive_entry_mtime(e);
	la_int64_t size = archive_entry_size(e);

	if (archive_entry_perm(e) & 06000)
		kp_buf_printf(&p->dropped, "  %s: set-id bits\n", path);
	if (archive_entry_size_is_set(e) && size >= 0 && size <= IN_MEMORY)
		return small_file(p, a, path, (size_t)size, mode, mtime, archive, err);
	return big_file(p, a, path, mode, mtime, archive, err);
}

static int add_entry(struct pack *p, struct archive *a, struct archive_entry *e, const char *archive,
		     struct kp_err *err)
{
	kp_autofree char *path = NULL, *existing = NULL;
	int64_t mtime = archive_entry_mtime(e);
	const char *link = archive_entry_hardlink(e), *target;
	int rc = guest_name(entry_name(e), archive, &path, err);

	if (!rc && link)
		rc = guest_name(link, archive, &existing, err);
	if (rc)
		return rc;
	if (link)
		return strcmp(path, existing) ? kp_tree_add_link(p->tree, path, existing, err) : 0;
	if (!path[1] && archive_entry_filetype(e) != AE_IFDIR)
		return kp_fail(err, EINVAL, "%s: '/' in it is not a directory", archive);
	switch (archive_entry_filetype(e)) {
	case AE_IFDIR:
		return tree_add_dir(p, path, archive_entry_perm(e) & 01777, mtime, err);
	case AE_IFREG:
		return regular_file(p, a, e, path, archive, err);
	case AE_IFLNK:
		target = archive_entry_symlink(e);
		if (!target || !*target || strlen(target) >= PATH_MAX)
			return kp_fail(err, EINVAL, "%s: %s: a link without a usable target", archive, path);
		return tree_add_link(p, path, target, mtime, err);
	default:
		kp_buf_printf(&p->dropped, "  %s: device, pipe or socket\n", path);
		return 0;
	}
}

int archive_to_tree(struct pack *p, struct archive *a, const char *name, struct kp_err *err)
{
	struct archive_entry *e;
	int rc;

	for (;;) {
		rc = pack_canceled(err);
		if (rc)
			return rc;
		rc = archive_read_next_header(a, &e);
		if (rc == ARCHIVE_EOF)
			return 0;
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			return kp_fail(err, EIO, "%s: %s", name, archive_error_string(a));
		rc = add_entry(p, a, e, name, err);
		if (rc)
			return rc;
	}
}

int source_tar(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err)
{
	kp_autofree char *host = host_path(p, s->names.items[0]);
	struct place here = {at->pack, at->source, 0};
	struct archive *a;
	struct stat st;
	int rc;

	if (stat(host, &st) < 0)
		return pack_fail(&here, err, errno, "%s: %s", host, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return pack_fail(&here, err, EINVAL, "%s: not a regular file", host);
	a = archive_read_new();
	(void)archive_read_support_filter_all(a);
	/* Not all formats: mtree is any text, and it can name files of the host. */
	(void)archive_read_support_format_tar(a);
	(void)archive_read_support_format_cpio(a);
	(void)archive_read_support_format_zip_seekable(a);
	(void)archive_read_support_format_7zip(a);
	if (archive_read_open_filename(a, host, 1 << 16) != ARCHIVE_OK)
		rc = kp_fail(err, EIO, "%s: %s", host, archive_error_string(a));
	else
		rc = archive_to_tree(p, a, host, err);
	(void)archive_read_free(a);
	return pack_at(&here, err, rc);
}
