/* SPDX-License-Identifier: Apache-2.0 */
/* The simple sources: copy, file, exclude. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

char *host_path(const struct pack *p, const char *name)
{
	while (!strncmp(name, "./", 2))
		name += 2;
	return name[0] == '/' ? kp_strdup(name) : kp_asprintf("%s/%s", p->dir, name);
}

struct linked { /* a file with several names, by its first one */
	dev_t dev;
	ino_t ino;
	char *guest;
};

struct copy {
	struct pack *p;
	const char *mode; /* NULL: as it is */
	struct linked *linked;
	size_t linked_count;
};

static int copy_node(struct copy *c, const char *host, const char *guest, int depth, struct kp_err *err);

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int copy_children(struct copy *c, const char *host, const char *guest, int depth, struct kp_err *err)
{
	struct dirent **list = NULL;
	int n = scandir(host, &list, NULL, compare_names), rc = 0;

	if (n < 0)
		return kp_fail_errno(err, errno, "%s", host);
	for (int i = 0; i < n; i++) {
		char host_child[PATH_MAX], guest_child[PATH_MAX];
		const char *name = list[i]->d_name;

		if (!rc && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
			if (kp_path_join(host_child, sizeof(host_child), host, name) < 0 ||
			    kp_path_join(guest_child, sizeof(guest_child), guest, name) < 0)
				rc = kp_fail_errno(err, ENAMETOOLONG, "%s/%s", host, name);
			else
				rc = copy_node(c, host_child, guest_child, depth + 1, err);
		}
		free(list[i]);
	}
	free(list);
	return rc;
}

static int copy_link(struct pack *p, const char *host, const char *guest, const struct stat *st,
		     struct kp_err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlink(host, target, sizeof(target) - 1);

	if (n < 0)
		return kp_fail_errno(err, errno, "%s", host);
	target[n] = '\0';
	return tree_add_link(p, guest, target, st->st_mtime, err);
}

/* A file's second name within what is copied is a second name in the image, too. */
static int copy_file(struct copy *c, const char *host, const char *guest, mode_t mode, const struct stat *st,
		     struct kp_err *err)
{
	if (access(host, R_OK) < 0)
		return kp_fail_errno(err, errno, "%s", host);
	for (size_t i = 0; st->st_nlink > 1 && i < c->linked_count; i++)
		if (c->linked[i].ino == st->st_ino && c->linked[i].dev == st->st_dev)
			return kp_tree_add_link(c->p->tree, guest, c->linked[i].guest, err);
	if (st->st_nlink > 1) {
		c->linked = kp_realloc(c->linked, (c->linked_count + 1) * sizeof(*c->linked));
		c->linked[c->linked_count++] = (struct linked){st->st_dev, st->st_ino, kp_strdup(guest)};
	}
	return kp_tree_add_host_file(c->p->tree, guest, host, mode, st->st_mtime, err);
}

static int copy_node(struct copy *c, const char *host, const char *guest, int depth, struct kp_err *err)
{
	int rc = pack_canceled(err);
	struct stat st;
	mode_t mode;

	if (rc)
		return rc;
	/* What the manifest names is followed; what is found below it is kept as it is. */
	if ((depth ? lstat(host, &st) : stat(host, &st)) < 0)
		return kp_fail_errno(err, errno, "%s", host);
	if (S_ISLNK(st.st_mode))
		return copy_link(c->p, host, guest, &st, err);
	mode = st.st_mode & 01777;
	if (c->mode && kp_mode_apply(c->mode, mode, S_ISDIR(st.st_mode), &mode) < 0)
		return kp_fail(err, EINVAL, "%s: no mode", c->mode);
	if (S_ISDIR(st.st_mode)) {
		rc = tree_add_dir(c->p, guest, mode, st.st_mtime, err);
		return rc ? rc : copy_children(c, host, guest, depth, err);
	}
	if (S_ISREG(st.st_mode))
		return copy_file(c, host, guest, mode, &st, err);
	if (!depth)
		return kp_fail(err, EINVAL, "%s: neither a file nor a directory", host);
	kp_buf_printf(&c->p->dropped, "  %s: neither file, directory nor link\n", guest);
	return 0;
}

/* A file copied to a name that ends in / or is a directory goes into it. */
int source_copy(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err)
{
	kp_autofree char *host = host_path(p, s->from);
	struct copy c = {.p = p, .mode = s->mode};
	char guest[PATH_MAX];
	struct stat st;
	int rc;

	if (stat(host, &st) < 0)
		return pack_fail(at, err, errno, "%s: %s", host, strerror(errno));
	(void)snprintf(guest, sizeof(guest), "%s", s->to);
	if (!S_ISDIR(st.st_mode) && tree_is_dir(p, s->to)) {
		const char *slash = strrchr(host, '/');

		if (kp_path_join(guest, sizeof(guest), s->to, slash + 1) < 0)
			return pack_fail(at, err, ENAMETOOLONG, "%s: the path is too long", s->to);
	}
	if (S_ISDIR(st.st_mode)) {
		size_t len = strlen(host);

		while (len > 1 && host[len - 1] == '/')
			host[--len] = '\0';
	}
	rc = copy_node(&c, host, guest, 0, err);
	for (size_t i = 0; i < c.linked_count; i++)
		free(c.linked[i].guest);
	free(c.linked);
	return pack_at(at, err, rc);
}

int source_file(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err)
{
	mode_t mode = 0644;

	if (s->file_mode && kp_mode_apply(s->file_mode, mode, false, &mode) < 0)
		return pack_fail(at, err, EINVAL, "%s: no mode", s->file_mode);
	return pack_at(at, err, kp_tree_add_bytes(p->tree, s->path, s->text, s->text_len, mode, 0, err));
}

struct exclude {
	const struct kp_source *source;
	struct kp_strings doomed;
};

static int match_path(const char *path, const struct kp_tree_info *info, void *ctx)
{
	struct exclude *e = ctx;

	(void)info;
	if (pack_cancel)
		return 1;
	if (!path[1])
		return 0;
	if (e->doomed.count && kp_path_below(path, e->doomed.items[e->doomed.count - 1]))
		return 0;
	for (size_t i = 0; i < e->source->names.count; i++) {
		if (glob_match(e->source->names.items[i], path)) {
			kp_strings_add(&e->doomed, path);
			break;
		}
	}
	return 0;
}

int source_exclude(struct pack *p, const struct kp_source *s, struct kp_err *err)
{
	struct exclude e = {.source = s};

	(void)kp_tree_walk(p->tree, match_path, &e);
	for (size_t i = 0; i < e.doomed.count; i++)
		(void)kp_tree_remove(p->tree, e.doomed.items[i]);
	kp_strings_free(&e.doomed);
	return pack_canceled(err);
}
