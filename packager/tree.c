/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into the tree that is being filled, and lists of strings. */
#include <fcntl.h>
#include <sys/stat.h>

#include "packager/pack.h"

bool tree_has(const struct pack *p, const char *path)
{
	struct kp_tree_info info;

	return kp_tree_stat(p->tree, path, &info) == 0;
}

bool tree_is_dir(const struct pack *p, const char *path)
{
	struct kp_tree_info info;

	return kp_tree_stat(p->tree, path, &info) == 0 && S_ISDIR(info.mode);
}

int tree_add_link(struct pack *p, const char *path, const char *target, int64_t mtime, struct kp_err *err)
{
	int rc = kp_tree_add_symlink(p->tree, path, target, mtime, err);

	if (!rc)
		kp_strings_add(&p->links, path);
	return rc;
}

int tree_add_dir(struct pack *p, const char *path, mode_t mode, int64_t mtime, struct kp_err *err)
{
	if (kp_strings_have(&p->links, path) && tree_is_dir(p, path))
		return 0;
	return kp_tree_add_dir(p->tree, path, mode, mtime, err);
}

int tree_read(const struct pack *p, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	struct kp_tree_info info;
	int rc = kp_tree_stat(p->tree, path, &info);

	if (rc)
		return rc;
	if (!S_ISREG(info.mode))
		return -EISDIR;
	if (info.host_path)
		return kp_read_file(AT_FDCWD, info.host_path, max, ret_data, ret_len);
	if (info.size > max)
		return -EFBIG;
	*ret_data = kp_calloc(1, info.size + 1);
	if (info.size)
		memcpy(*ret_data, info.data, info.size);
	if (ret_len)
		*ret_len = info.size;
	return 0;
}

struct listing {
	struct kp_strings paths;
	const char *pattern;
};

static int list_path(const char *path, const struct kp_tree_info *info, void *ctx)
{
	struct listing *l = ctx;

	(void)info;
	if (l->pattern && !glob_match(l->pattern, path))
		return 0;
	kp_strings_add(&l->paths, path);
	return 0;
}

struct kp_strings tree_list(const struct pack *p, const char *pattern)
{
	struct listing l = {.pattern = pattern};

	(void)kp_tree_walk(p->tree, list_path, &l);
	return l.paths;
}
