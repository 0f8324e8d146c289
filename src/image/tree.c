/* SPDX-License-Identifier: Apache-2.0 */
/* The tree to pack: nodes added by path in any order, symlinks followed inside it. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/tree.h"
#include "kapsel/image.h"

#define MAX_LINKS 40

static struct kp_tnode *new_node(struct kp_tnode *parent, const char *name, size_t len)
{
	struct kp_tnode *n = kp_calloc(1, sizeof(*n));

	n->parent = parent;
	n->name = kp_strndup(name, len);
	n->mode = 0755;
	if (parent) {
		n->path_len = parent->path_len + 1 + len;
		HASH_ADD_KEYPTR(hh, parent->kids, n->name, len, n);
	}
	return n;
}

static void drop_content(struct kp_tnode *n)
{
	if (n->file && --n->file->names == 0) {
		free(n->file->host_path);
		free(n->file->data);
		free(n->file);
	}
	n->file = NULL;
	free(n->target);
	n->target = NULL;
}

/* Depth is bounded by KP_PATH_LIMIT, so recursion is. */
static void free_node(struct kp_tnode *n)
{
	struct kp_tnode *kid, *next;

	HASH_ITER (hh, n->kids, kid, next)
		free_node(kid);
	if (n->parent)
		HASH_DEL(n->parent->kids, n);
	drop_content(n);
	free(n->name);
	free(n);
}

struct kp_tree *kp_tree_new(void)
{
	struct kp_tree *t = kp_calloc(1, sizeof(*t));

	t->root = new_node(NULL, "", 0);
	return t;
}

struct kp_tree *kp_tree_free(struct kp_tree *tree)
{
	if (tree) {
		free_node(tree->root);
		free(tree);
	}
	return NULL;
}

static struct kp_tnode *find_kid(const struct kp_tnode *dir, const char *name, size_t len)
{
	struct kp_tnode *n;

	HASH_FIND(hh, dir->kids, name, len, n);
	return n;
}

static int check_path(const char *path, struct kp_err *err)
{
	size_t len = strlen(path);

	if (path[0] != '/' || (len > 1 && path[len - 1] == '/'))
		return kp_fail(err, EINVAL, "%s: not an absolute, normalised path", path);
	if (len > KP_PATH_LIMIT)
		return kp_fail(err, ENAMETOOLONG, "%.200s...: path is longer than %u bytes", path,
			       KP_PATH_LIMIT);
	for (const char *p = path + 1; len > 1; p++) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n <= 2 && !strncmp(p, "..", n)))
			return kp_fail(err, EINVAL, "%s: not an absolute, normalised path", path);
		if (n > KP_NAME_LIMIT)
			return kp_fail(err, ENAMETOOLONG, "%s: a name is longer than %u bytes",
				       path, KP_NAME_LIMIT);
		p += n;
		if (!*p)
			break;
	}
	return 0;
}

/* A walk down the tree; symlinks put their target in front of the rest of the path. */
struct walk {
	bool make;	  /* make missing parents */
	bool follow_last; /* the last component too */
	struct kp_tnode *dir;
	char *rest; /* owned */
	unsigned links;
};

static int enter_link(struct walk *w, const struct kp_tnode *root, const struct kp_tnode *link,
		      const char *rest)
{
	char *all = kp_asprintf("%s/%s", link->target, rest);

	free(w->rest);
	w->rest = all;
	if (++w->links > MAX_LINKS)
		return -ELOOP;
	if (link->target[0] == '/')
		w->dir = (struct kp_tnode *)(uintptr_t)root;
	return strlen(all) > 2 * (size_t)KP_PATH_LIMIT ? -ENAMETOOLONG : 0;
}

/* One component. *ret_last: the walk ends at w->dir with this name (*ret_len bytes inside w->rest).
 */
static int step(const struct kp_tree *t, struct walk *w, const char **at, const char **ret_last,
		size_t *ret_len)
{
	const char *name = *at + strspn(*at, "/");
	size_t len = strcspn(name, "/");
	const char *rest = name + len + strspn(name + len, "/");
	struct kp_tnode *kid;
	int rc;

	*at = rest;
	if (len == 0 || (len == 1 && name[0] == '.'))
		return 0;
	if (len == 2 && !strncmp(name, "..", 2)) {
		w->dir = w->dir->parent ? w->dir->parent : w->dir;
		return 0;
	}
	if (len > KP_NAME_LIMIT || w->dir->path_len + 1 + len > KP_PATH_LIMIT)
		return -ENAMETOOLONG;
	kid = find_kid(w->dir, name, len);
	if (!*rest && !(w->follow_last && kid && kid->target)) {
		*ret_last = name;
		*ret_len = len;
		return 0;
	}
	if (!kid && !w->make)
		return -ENOENT;
	if (!kid)
		kid = new_node(w->dir, name, len);
	if (kid->file)
		return -ENOTDIR;
	if (!kid->target) {
		w->dir = kid;
		return 0;
	}
	rc = enter_link(w, t->root, kid, rest);
	*at = w->rest;
	return rc;
}

/* Where path leads: w->dir, and the last name in it (NULL: w->dir itself). The caller frees
 * w->rest. */
static int walk(const struct kp_tree *t, struct walk *w, const char *path, const char **ret_last,
		size_t *ret_len)
{
	const char *at;
	int rc = 0;

	w->dir = t->root;
	w->rest = kp_strdup(path);
	*ret_last = NULL;
	*ret_len = 0;
	at = w->rest;
	while (!rc && *at && !*ret_last)
		rc = step(t, w, &at, ret_last, ret_len);
	return rc;
}

/* The node to fill at path: made, or emptied of what stood there. */
static int place(struct kp_tree *t, const char *path, struct kp_tnode **ret_node,
		 struct kp_err *err)
{
	struct walk w = {.make = true};
	struct kp_tnode *old;
	const char *last;
	size_t len;
	int rc = check_path(path, err);

	if (rc)
		return rc;
	rc = walk(t, &w, path, &last, &len);
	if (rc) {
		free(w.rest);
		return kp_fail_errno(err, -rc, "%s: cannot be added", path);
	}
	if (!last) {
		free(w.rest);
		return kp_fail(err, EISDIR, "%s: cannot be added: it is the root directory", path);
	}
	old = find_kid(w.dir, last, len);
	if (old)
		free_node(old);
	*ret_node = new_node(w.dir, last, len);
	free(w.rest);
	return 0;
}

static int find_node(const struct kp_tree *t, const char *path, bool follow,
		     struct kp_tnode **ret_node)
{
	struct walk w = {.follow_last = follow};
	const char *last;
	size_t len;
	int rc = walk(t, &w, path, &last, &len);

	if (!rc) {
		*ret_node = last ? find_kid(w.dir, last, len) : w.dir;
		rc = *ret_node ? 0 : -ENOENT;
	}
	free(w.rest);
	return rc;
}

int kp_tree_add_dir(struct kp_tree *t, const char *path, mode_t mode, int64_t mtime,
		    struct kp_err *err)
{
	struct kp_tnode *n;
	int rc = check_path(path, err);

	if (rc)
		return rc;
	/* A link that leads to a directory stays: /lib -> usr/lib outlives a package that brings
	 * /lib. */
	if (find_node(t, path, false, &n) == 0 && n->target && find_node(t, path, true, &n) == 0 &&
	    kp_tnode_is_dir(n))
		return 0;
	if (find_node(t, path, false, &n) < 0 || !kp_tnode_is_dir(n))
		rc = place(t, path, &n, err);
	if (rc)
		return rc;
	n->mode = mode & 01777;
	n->mtime = mtime;
	return 0;
}

int kp_tree_add_symlink(struct kp_tree *t, const char *path, const char *target, int64_t mtime,
			struct kp_err *err)
{
	size_t len = strlen(target);
	struct kp_tnode *n;
	int rc;

	if (len == 0 || len > KP_TARGET_LIMIT)
		return kp_fail(err, len ? ENAMETOOLONG : EINVAL, "%s: the link's target is %s",
			       path, len ? "too long" : "empty");
	rc = place(t, path, &n, err);
	if (rc)
		return rc;
	n->target = kp_strdup(target);
	n->mtime = mtime;
	return 0;
}

static int add_file(struct kp_tree *t, const char *path, const struct kp_tfile *content,
		    struct kp_err *err)
{
	struct kp_tnode *n;
	int rc;

	if (content->size > KP_FILE_LIMIT)
		return kp_fail(err, EFBIG, "%s: cannot be added: larger than 1 TiB", path);
	rc = place(t, path, &n, err);
	if (rc)
		return rc;
	n->file = kp_calloc(1, sizeof(*n->file));
	*n->file = *content;
	n->file->names = 1;
	return 0;
}

int kp_tree_add_host_file(struct kp_tree *t, const char *path, const char *host_path, mode_t mode,
			  int64_t mtime, struct kp_err *err)
{
	struct kp_tfile f = {.mode = mode & 0777, .mtime = mtime};
	struct stat st;
	int rc;

	if (stat(host_path, &st) < 0)
		return kp_fail_errno(err, errno, "%s", host_path);
	if (!S_ISREG(st.st_mode))
		return kp_fail(err, EINVAL, "%s: cannot be packed: not a regular file", host_path);
	f.size = (uint64_t)st.st_size;
	f.host_path = kp_strdup(host_path);
	rc = add_file(t, path, &f, err);
	if (rc)
		free(f.host_path);
	return rc;
}

int kp_tree_add_bytes(struct kp_tree *t, const char *path, const void *data, size_t len,
		      mode_t mode, int64_t mtime, struct kp_err *err)
{
	struct kp_tfile f = {.mode = mode & 0777, .mtime = mtime, .size = len};
	int rc;

	f.data = kp_calloc(1, len);
	if (len)
		memcpy(f.data, data, len);
	rc = add_file(t, path, &f, err);
	if (rc)
		free(f.data);
	return rc;
}

int kp_tree_add_link(struct kp_tree *t, const char *path, const char *existing, struct kp_err *err)
{
	struct kp_tnode *from, *n;
	struct kp_tfile *file;
	int rc = find_node(t, existing, false, &from);

	if (rc)
		return kp_fail_errno(err, -rc, "%s: cannot be linked to %s", path, existing);
	if (!from->file)
		return kp_fail(err, EINVAL, "%s: cannot be linked to %s: not a regular file", path,
			       existing);
	/* Held while path is cleared: the file may be below it, or be it. */
	file = from->file;
	file->names++;
	rc = place(t, path, &n, err);
	if (rc) {
		file->names--;
		return rc;
	}
	n->file = file;
	return 0;
}

bool kp_tree_remove(struct kp_tree *t, const char *path)
{
	struct kp_tnode *n, *kid, *next;

	if (find_node(t, path, false, &n) < 0)
		return false;
	if (n->parent)
		free_node(n);
	else
		HASH_ITER (hh, n->kids, kid, next)
			free_node(kid);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct kp_tnode *const *)a)->name, (*(struct kp_tnode *const *)b)->name);
}

struct kp_tnode **kp_tnode_sorted(const struct kp_tnode *dir, size_t *ret_count)
{
	size_t count = HASH_COUNT(dir->kids), i = 0;
	struct kp_tnode **all = kp_calloc(count, sizeof(struct kp_tnode *));

	for (struct kp_tnode *n = dir->kids; n; n = n->hh.next)
		all[i++] = n;
	qsort(all, count, sizeof(struct kp_tnode *), by_name);
	*ret_count = count;
	return all;
}

static void node_info(const struct kp_tnode *n, struct kp_tree_info *ret_info)
{
	*ret_info = (struct kp_tree_info){0};
	if (n->file) {
		ret_info->mode = S_IFREG | n->file->mode;
		ret_info->host_path = n->file->host_path;
		ret_info->data = n->file->data;
		ret_info->size = n->file->size;
	} else if (n->target) {
		ret_info->mode = S_IFLNK | 0777;
		ret_info->target = n->target;
		ret_info->size = strlen(n->target);
	} else {
		ret_info->mode = S_IFDIR | n->mode;
	}
}

static int walk_node(const struct kp_tnode *n, char *path,
		     int (*fn)(const char *, const struct kp_tree_info *, void *), void *ctx)
{
	kp_autofree struct kp_tnode **kids = NULL;
	struct kp_tree_info info;
	size_t count;
	int rc;

	if (n->parent)
		(void)snprintf(path + n->parent->path_len, KP_PATH_LIMIT + 1 - n->parent->path_len,
			       "/%s", n->name);
	node_info(n, &info);
	rc = fn(n->parent ? path : "/", &info, ctx);
	if (rc || !n->kids)
		return rc;
	kids = kp_tnode_sorted(n, &count);
	for (size_t i = 0; !rc && i < count; i++)
		rc = walk_node(kids[i], path, fn, ctx);
	return rc;
}

int kp_tree_walk(const struct kp_tree *t,
		 int (*fn)(const char *path, const struct kp_tree_info *, void *), void *ctx)
{
	char path[KP_PATH_LIMIT + 1] = "/";

	return walk_node(t->root, path, fn, ctx);
}

int kp_tree_stat(const struct kp_tree *t, const char *path, struct kp_tree_info *ret_info)
{
	struct kp_tnode *n;
	int rc = find_node(t, path, true, &n);

	if (!rc)
		node_info(n, ret_info);
	return rc;
}
