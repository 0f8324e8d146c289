/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of registry/ share. */
#include <check.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "image/writer.h"
#include "tests/unit/registry_fixture.h"

static char dir[64];

void regdir_make(void)
{
	(void)snprintf(dir, sizeof(dir), "/dev/shm/kapsel-registry-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

void regdir_remove(void)
{
	ck_assert_int_eq(kp_remove_tree(AT_FDCWD, dir), 0);
}

const char *regdir_path(const char *name)
{
	static char paths[8][128];
	static unsigned n;
	char *path = paths[n++ % 8];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

struct kp_hive_tree *reg_tree(const char *reg_text)
{
	struct kp_hive_tree *t = kp_hive_tree_new();
	struct kp_regfile_sink sink = kp_hive_tree_sink(t);
	struct kp_err err = {0};

	ck_assert_msg(!kp_regfile_read(reg_text, strlen(reg_text), "test.reg", &sink, &err), "%s", err.text);
	return t;
}

struct kp_image *reg_image(const char *reg_text)
{
	struct kp_hive_tree *hive = reg_tree(reg_text);
	struct kp_tree *tree = kp_tree_new();
	struct kp_buf kp_autobuf bytes = {0};
	struct kp_write_options o = {.manifest = "kapsel: 1\n", .manifest_len = 10, .level = 1, .jobs = 1, .mtime_clamp = 1};
	struct kp_image *image = NULL;
	struct kp_err err = {0};
	int fd = memfd_create("image", MFD_CLOEXEC);

	ck_assert_int_eq(kp_hive_build(hive, &bytes), 0);
	o.hive = bytes.data;
	o.hive_len = bytes.len;
	ck_assert_int_eq(kp_tree_add_bytes(tree, "/x", "x", 1, 0644, 0, &err), 0);
	ck_assert_msg(kp_tree_write(tree, fd, &o, &err) == 0, "%s", err.text);
	ck_assert_msg(kp_image_open(fd, "test.kapsel", &image, &err) == 0, "%s", err.text);
	ck_assert_msg(kp_hive_verify(image, &err) == 0, "%s", err.text);
	(void)kp_close(fd);
	kp_tree_free(tree);
	(void)kp_hive_tree_free(hive);
	return image;
}

struct kp_reg *reg_open(const struct kp_reg_options *o)
{
	struct kp_reg *r = NULL;
	struct kp_err err = {0};

	ck_assert_msg(kp_reg_open(o, &r, &err) == 0, "%s", err.text);
	return r;
}

static int add(const char *bytes, size_t len, void *ctx)
{
	kp_buf_add(ctx, bytes, len);
	return 0;
}

char *reg_dump(struct kp_reg *r)
{
	struct kp_buf b = {0};

	ck_assert_int_eq(kp_regfile_write(r, "HKCU", false, add, &b), 0);
	ck_assert_int_eq(kp_regfile_write(r, "HKLM", false, add, &b), 0);
	return b.data;
}

static int done(struct kp_reg_txn *t, int rc)
{
	if (rc) {
		kp_reg_abort(t);
		return rc;
	}
	return kp_reg_commit(t);
}

int reg_set(struct kp_reg *r, const char *key, const char *name, const char *text)
{
	struct kp_reg_data d = {KP_REG_SZ, strlen(text), text};
	struct kp_reg_txn *t;
	int rc = kp_reg_begin(r, &t);

	return rc ? rc : done(t, kp_reg_set(t, key, name, &d));
}

int reg_delete_value(struct kp_reg *r, const char *key, const char *name)
{
	struct kp_reg_txn *t;
	int rc = kp_reg_begin(r, &t);

	return rc ? rc : done(t, kp_reg_delete_value(t, key, name));
}

int reg_delete_key(struct kp_reg *r, const char *key)
{
	struct kp_reg_txn *t;
	int rc = kp_reg_begin(r, &t);

	return rc ? rc : done(t, kp_reg_delete_key(t, key, true));
}

int reg_import(struct kp_reg *r, const char *reg_text)
{
	struct kp_regfile_sink sink;
	struct kp_reg_txn *t;
	struct kp_err err = {0};
	int rc = kp_reg_begin(r, &t);

	if (rc)
		return rc;
	sink = kp_reg_txn_sink(t);
	return done(t, kp_regfile_read(reg_text, strlen(reg_text), "test.reg", &sink, &err));
}

const char *reg_text(struct kp_reg *r, const char *key, const char *name)
{
	static char text[4096];
	struct kp_reg_value v = {0};

	if (kp_reg_get(r, key, name, &v))
		return "(none)";
	(void)snprintf(text, sizeof(text), "%.*s", (int)v.d.len, (const char *)v.d.data);
	kp_reg_value_free(&v);
	return text;
}
