/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the tree of a new image together: what the layers have, then the changes over it. */
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <uthash.h>

#include "changes/bake.h"
#include "changes/internal.h"
#include "changes/registry.h"
#include "image/writer.h"
#include "vfs/change.h"
#include "vfs/resolve.h"

#define IN_MEMORY 32768U /* bigger files wait on disk until they are packed */

struct first { /* the first name of a file that has more */
	uint64_t key;
	char *path;
	UT_hash_handle hh;
};

struct bake {
	struct kp_changing *g;
	struct kp_vfs *lower;
	struct kp_bake *b;
	struct kp_tree *tree;
	struct first *image_firsts, *upper_firsts;
	struct kp_strings todo; /* directories still to list */
	unsigned files;
	struct kp_node *node;
	struct kp_err *err;
};

/* The path that has this file already, or NULL and path is remembered. */
static const char *seen(struct first **all, uint64_t key, const char *path)
{
	struct first *f;

	HASH_FIND(hh, *all, &key, sizeof(key), f);
	if (f)
		return f->path;
	f = kp_calloc(1, sizeof(*f));
	f->key = key;
	f->path = kp_strdup(path);
	HASH_ADD(hh, *all, key, sizeof(f->key), f);
	return NULL;
}

static void drop_seen(struct first **all)
{
	struct first *f, *next;

	HASH_ITER (hh, *all, f, next) {
		HASH_DEL(*all, f);
		free(f->path);
		free(f);
	}
}

/* A copy in work/, or in memory, of what fill puts into a descriptor. */
static int add_content(struct bake *m, const char *path, uint64_t size, mode_t mode, int64_t mtime,
		       int (*fill)(int fd, void *ctx), void *ctx)
{
	char name[32];
	kp_autofree char *host = NULL;
	kp_autoclose int fd = -1;
	int r;

	(void)snprintf(name, sizeof(name), "bake%u", m->files++);
	fd = openat(m->g->work_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return kp_fail_errno(m->err, errno, "%s/work/%s: cannot be made", m->g->dir, name);
	r = fill(fd, ctx);
	if (r < 0)
		return kp_fail_errno(m->err, -r, "%s: cannot be read", path);
	if (size <= IN_MEMORY) {
		kp_autofree char *data = kp_calloc(1, size + 1);

		(void)unlinkat(m->g->work_fd, name, 0);
		r = kp_pread_full(fd, data, size, 0);
		return r < 0 ? kp_fail_errno(m->err, -r, "%s: cannot be read", path)
			     : kp_tree_add_bytes(m->tree, path, data, size, mode & 07777, mtime, m->err);
	}
	host = kp_asprintf("%s/work/%s", m->g->dir, name);
	return kp_tree_add_host_file(m->tree, path, host, mode & 07777, mtime, m->err);
}

struct from_image {
	const struct kp_image *image;
	uint32_t id;
};

static int fill_from_image(int fd, void *ctx)
{
	const struct from_image *f = ctx;

	return kp_image_extract(f->image, f->id, fd, NULL);
}

static int add_entry(struct bake *m, const struct kp_node *n)
{
	struct from_image f = {kp_vfs_image(m->lower, n->layer), n->entry};
	const char *path = n->guest.s, *first;
	struct kp_entry e;

	if (kp_image_entry(f.image, n->entry, &e))
		return kp_fail(m->err, EIO, "%s: damaged in the image", path);
	m->b->files++;
	if (S_ISDIR(n->mode)) {
		kp_strings_add(&m->todo, path);
		return kp_tree_add_dir(m->tree, path, n->mode & 07777, e.mtime, m->err);
	}
	if (S_ISLNK(n->mode))
		return kp_tree_add_symlink(m->tree, path, e.target, e.mtime, m->err);
	first = e.nlink > 1 ? seen(&m->image_firsts, (uint64_t)n->layer << 32 | e.ino, path) : NULL;
	if (first)
		return kp_tree_add_link(m->tree, path, first, m->err);
	return add_content(m, path, e.size, n->mode, e.mtime, fill_from_image, &f);
}

static int add_dir(struct bake *m, const char *dir)
{
	struct kp_strings kp_autostrings names = {0};
	char path[PATH_MAX];
	int r;

	kp_vfs_read_lock(m->lower);
	r = kp_resolve_exact(m->lower, dir, getpid(), m->node);
	if (!r)
		r = kp_list(m->lower, m->node, 0, kp_take_name, &names);
	kp_vfs_unlock(m->lower);
	if (r < 0)
		(void)kp_fail_errno(m->err, -r, "%s: cannot be listed", dir);
	for (size_t i = 0; i < names.count; i++) {
		if (!r && !kp_path_join(path, sizeof(path), dir, names.items[i])) {
			kp_vfs_read_lock(m->lower);
			r = kp_resolve_exact(m->lower, path, getpid(), m->node);
			kp_vfs_unlock(m->lower);
			if (r < 0)
				(void)kp_fail_errno(m->err, -r, "%s: cannot be asked", path);
			else if (m->node->origin == KP_IMAGE)
				r = add_entry(m, m->node);
		}
	}
	return r;
}

static int fill_from_file(int fd, void *ctx)
{
	return kp_copy_data(*(int *)ctx, fd, UINT64_MAX);
}

static int add_link(struct bake *m, const struct kp_change *c)
{
	char target[PATH_MAX];
	struct stat st = {.st_mtim = c->times[1]};
	const char *name;
	int r = kp_changes_readlink(m->g->upper_fd, m->lower, c, target);

	if (!r && !c->source) {
		kp_autoclose int fd = kp_upper_parent(m->g->upper_fd, c->path, &name);

		r = fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	}
	if (r < 0)
		return kp_fail_errno(m->err, -r, "%s: cannot be read", c->path);
	return kp_tree_add_symlink(m->tree, c->path, target, st.st_mtim.tv_sec, m->err);
}

static int add_change(struct bake *m, const struct kp_change *c)
{
	kp_autoclose int fd = -1;
	const char *first;
	struct stat st;
	int r;

	if (c->kind == KP_CHANGE_DELETED) {
		(void)kp_tree_remove(m->tree, c->path);
		return 0;
	}
	if (!S_ISDIR(c->mode) && !S_ISREG(c->mode) && !S_ISLNK(c->mode)) {
		(void)kp_tree_remove(m->tree, c->path);
		m->b->left++;
		return 0;
	}
	m->b->files++;
	if (S_ISDIR(c->mode)) {
		if (c->differs & KP_DIFFERS_KIND)
			(void)kp_tree_remove(m->tree, c->path);
		return kp_tree_add_dir(m->tree, c->path, c->mode & 07777, 0, m->err);
	}
	if (S_ISLNK(c->mode))
		return add_link(m, c);
	first = c->links > 1 ? seen(&m->upper_firsts, c->number, c->path) : NULL;
	if (first)
		return kp_tree_add_link(m->tree, c->path, first, m->err);
	r = kp_changes_open(m->g->upper_fd, m->lower, c, &fd);
	if (!r && fstat(fd, &st) < 0)
		r = -errno;
	if (c->source)
		st.st_mtim = c->times[1];
	if (r < 0)
		return kp_fail_errno(m->err, -r, "%s: cannot be read", c->path);
	return add_content(m, c->path, (uint64_t)st.st_size, c->mode, st.st_mtim.tv_sec, fill_from_file, &fd);
}

static int write_image(struct bake *m, int out_fd)
{
	struct kp_manifest own = *m->b->manifest;
	struct kp_write_options o = {.launcher = m->b->launcher, .level = m->b->level, .mtime_clamp = INT64_MAX};
	struct kp_buf kp_autobuf hive = {0};
	kp_autofree char *text = NULL;
	int r = m->b->registry ? kp_changes_registry_bake(m->b->registry, &hive, m->err) : 0;

	if (r < 0)
		return r;
	o.hive = hive.data;
	o.hive_len = hive.len;
	own.layers.count = 0;
	text = kp_manifest_normalised(&own, &o.manifest_len);
	o.manifest = text;
	return kp_tree_write(m->tree, out_fd, &o, m->err);
}

int kp_changes_bake(struct kp_changing *g, struct kp_vfs *lower, const struct kp_changes *c, struct kp_bake *b, int out_fd,
		    struct kp_err *err)
{
	struct bake m = {.g = g, .lower = lower, .b = b, .tree = kp_tree_new(), .node = kp_calloc(1, sizeof(*m.node)), .err = err};
	int r = add_dir(&m, "/");

	while (m.todo.count) {
		kp_autofree char *dir = kp_strings_pop(&m.todo);

		if (!r)
			r = add_dir(&m, dir);
	}
	for (size_t i = 0; i < c->count && !r; i++)
		if (c->items[i].chosen)
			r = add_change(&m, &c->items[i]);
	if (!r)
		r = write_image(&m, out_fd);
	for (unsigned i = 0; i < m.files; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "bake%u", i);
		(void)unlinkat(g->work_fd, name, 0);
	}
	drop_seen(&m.image_firsts);
	drop_seen(&m.upper_firsts);
	(void)kp_tree_free(m.tree);
	kp_strings_free(&m.todo);
	free(m.node);
	return r;
}
