/* SPDX-License-Identifier: Apache-2.0 */
/* The image's registry: .reg files and values of the manifest. */
#include <fcntl.h>

#include "manifest/registry.h"
#include "packager/pack.h"
#include "registry/registry.h"

#define REG_MAX ((size_t)256 << 20)

static int import(const struct pack *p, size_t i, struct kp_hive_tree *tree, struct kp_err *err)
{
	const struct kp_registry *r = &p->manifest->registry;
	kp_autofree char *path = host_path(p, r->imports.items[i]), *bytes = NULL;
	struct kp_regfile_sink sink = kp_hive_tree_sink(tree);
	size_t len;
	int rc = kp_read_file(AT_FDCWD, path, REG_MAX, &bytes, &len);

	if (rc)
		return kp_fail(err, -rc, "%s:%d:%d: registry.import[%zu]: %s: %s", p->file, r->import_marks[i].line, r->import_marks[i].column, i,
			       path, strerror(-rc));
	return kp_regfile_read(bytes, len, path, &sink, err);
}

int registry_make(const struct pack *p, struct kp_buf *out, struct kp_err *err)
{
	const struct kp_registry *r = &p->manifest->registry;
	struct kp_hive_tree *tree = kp_hive_tree_new();
	int rc = 0;

	for (size_t i = 0; i < r->imports.count && !rc; i++)
		rc = import(p, i, tree, err);
	for (size_t i = 0; i < r->value_count; i++)
		kp_registry_value_add(&r->values[i], tree);
	if (!rc && !kp_hive_tree_is_empty(tree)) {
		rc = kp_hive_build(tree, out);
		if (rc)
			rc = kp_fail_errno(err, -rc, "%s: registry", p->file);
	}
	(void)kp_hive_tree_free(tree);
	return rc;
}
