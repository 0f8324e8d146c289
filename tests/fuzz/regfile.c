/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a .reg file: an error that names the file, or a registry that is written and read back as the same. */
#include "registry/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int put(const char *bytes, size_t len, void *ctx)
{
	kp_buf_add(ctx, bytes, len);
	return 0;
}

/* What the tree shows, as a file: marks of what was deleted are not in it. */
static bool write_out(struct kp_hive_tree *t, bool utf16, struct kp_buf *out)
{
	struct kp_reg *r = NULL;
	struct kp_err err = {0};
	bool good;

	if (kp_reg_open(&(struct kp_reg_options){.policy = t}, &r, &err) < 0)
		abort();
	good = !kp_regfile_write(r, "HKCU", utf16, put, out) && !kp_regfile_write(r, "HKLM", utf16, put, out);
	(void)kp_reg_free(r);
	return good;
}

/* A key's name with an end of line cannot be said in the format, and comes from nowhere but UTF-16. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_hive_tree *t = kp_hive_tree_new();
	struct kp_regfile_sink sink = kp_hive_tree_sink(t);
	struct kp_err err = {0};

	if (kp_regfile_read(data, size, "f.reg", &sink, &err) < 0) {
		if (strncmp(err.text, "f.reg", 5) != 0)
			abort();
	} else {
		for (int utf16 = 0; utf16 < 2; utf16++) {
			struct kp_buf kp_autobuf first = {0}, second = {0}, hkcu = {0};
			struct kp_hive_tree *again = kp_hive_tree_new();
			struct kp_regfile_sink to = kp_hive_tree_sink(again);
			struct kp_reg *r = NULL;

			if (!write_out(t, utf16, &first))
				abort();
			if (kp_reg_open(&(struct kp_reg_options){.policy = t}, &r, &err) < 0)
				abort();
			for (int h = 0; h < KP_REG_HIVES; h++) {
				hkcu.len = 0;
				if (kp_regfile_write(r, kp_reg_hive_short[h], utf16, put, &hkcu) < 0)
					abort();
				if (kp_regfile_read(hkcu.data, hkcu.len, "again", &to, &err) < 0)
					abort();
			}
			(void)kp_reg_free(r);
			if (!write_out(again, utf16, &second) || first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
				abort();
			(void)kp_hive_tree_free(again);
		}
	}
	(void)kp_hive_tree_free(t);
	return 0;
}
