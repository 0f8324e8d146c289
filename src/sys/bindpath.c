/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's socket is bound to a path so that the name which the kernel keeps, and tells to peers (accept, recvfrom, getsockname,
 * /proc/net/unix), is the guest's own: in a child that has the guest's string lead to an empty tree, as its root or working directory.
 * The socket moves to its place then. An absolute name takes a root of one's own: where the host lets users have a user namespace (root,
 * too: CAP_SYS_CHROOT is not among what it keeps). Elsewhere peers are told a name of the host, which leads back to the guest's when a guest
 * uses it.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/bindpath.h"
#include "sys/child.h"
#include "vfs/upper.h"

/* --- the child --- */

struct binding {
	int fd, root_fd, dir_fd; /* root_fd -1: the root is left alone */
	mode_t umask;
	const struct sockaddr_un *sa;
	socklen_t len;
	int error;
	bool rooted;
};

/* Its root, working directory and umask are its own. */
static int in_child(void *arg)
{
	struct binding *b = arg;

	if (b->root_fd >= 0 && (fchdir(b->root_fd) < 0 || chroot(".") < 0))
		_exit(1);
	b->rooted = true;
	(void)umask(b->umask);
	b->error = fchdir(b->dir_fd) < 0 || bind(b->fd, (const struct sockaddr *)b->sa, b->len) < 0 ? errno : 0;
	_exit(0);
}

/* 0; -errno of the bind; -EPERM with !b->rooted: there is no such child here. */
static int bind_in_child(struct binding *b)
{
	b->rooted = false;
	kp_in_child(CLONE_FILES | (b->root_fd >= 0 ? CLONE_NEWUSER : 0), in_child, b);
	return b->rooted ? -b->error : -EPERM;
}

/* --- the tree --- */

/*
 * Makes the directories that path goes through below `top`, and says where its last name is. Where a relative path begins, enough
 * directories are above for its "..".
 */
static int make_tree(int work_fd, const char *top, const char *path, char *begin, char *last_dir, char *name)
{
	char at[PATH_MAX];
	size_t ups = 0;
	int rc = mkdirat(work_fd, top, 0700) < 0 ? -errno : 0;

	(void)snprintf(at, sizeof(at), "%s", top);
	for (const char *p = path; path[0] != '/' && (p = strstr(p, "..")); p += 2)
		ups++;
	for (size_t i = 0; i < ups && !rc; i++) {
		(void)snprintf(at + strlen(at), sizeof(at) - strlen(at), "/d");
		rc = mkdirat(work_fd, at, 0700) < 0 ? -errno : 0;
	}
	(void)snprintf(begin, PATH_MAX, "%s", at);
	for (const char *p = path; !rc;) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (!p[len + strspn(p + len, "/")]) {
			(void)snprintf(name, NAME_MAX + 1, "%.*s", (int)len, p);
			break;
		}
		if (len == 2 && !strncmp(p, "..", 2)) {
			if (strlen(at) > strlen(top))
				*strrchr(at, '/') = '\0';
		} else if (len != 1 || *p != '.') {
			(void)snprintf(at + strlen(at), sizeof(at) - strlen(at), "/%.*s", (int)len, p);
			if (mkdirat(work_fd, at, 0700) < 0 && errno != EEXIST)
				rc = -errno;
		}
		p += len;
	}
	(void)snprintf(last_dir, PATH_MAX, "%s", at);
	return rc;
}

/* In a tree below at_fd, from which the socket is moved to new_name there: so the kernel keeps the guest's string. */
static int bind_in_tree(struct kp_call *c, struct kp_node *n, struct binding *b, int at_fd, const char *tree, const char *new_name)
{
	char begin[PATH_MAX], last_dir[PATH_MAX], name[NAME_MAX + 1], from[PATH_MAX + NAME_MAX + 2];
	kp_autoclose int root_fd = -1, dir_fd = -1;
	int rc = make_tree(at_fd, tree, c->path[0], begin, last_dir, name);

	if (!rc) {
		root_fd = openat(at_fd, tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
		dir_fd = openat(at_fd, begin, O_PATH | O_DIRECTORY | O_CLOEXEC);
		b->root_fd = c->path[0][0] == '/' ? root_fd : -1;
		b->dir_fd = dir_fd;
		rc = root_fd < 0 || dir_fd < 0 ? -errno : bind_in_child(b);
	}
	(void)snprintf(from, sizeof(from), "%s/%s", last_dir, name);
	if (!rc)
		rc = kp_upper_give(c->vfs, at_fd, from, n, kp_call_cred(c));
	if (!rc && renameat2(at_fd, from, at_fd, new_name, RENAME_NOREPLACE) < 0)
		rc = errno == EEXIST ? -EADDRINUSE : -errno;
	(void)kp_remove_tree(at_fd, tree);
	return rc;
}

/* In the upper: aside, then moved to its place, over a whiteout too (which stays where the bind fails). */
static int bind_in_upper(struct kp_call *c, struct kp_node *n, struct binding *b)
{
	struct kp_temp tree = kp_temp_name(c->vfs), made = kp_temp_name(c->vfs);
	int rc = bind_in_tree(c, n, b, c->vfs->work_fd, tree.name, made.name);

	return rc ? rc : kp_upper_publish(c->vfs, &made, n);
}

/* In a directory of the host: there the tree stands for as long as the bind takes, if it is needed at all. */
static int bind_on_host(struct kp_call *c, struct kp_node *n, const char *dir, struct binding *b)
{
	const char *name = kp_gpath_name(&n->guest), *path = c->path[0];
	kp_autoclose int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct kp_temp t = kp_temp_name(c->vfs);
	char whole[PATH_MAX], tree[64];
	int rc;

	if (dir_fd < 0)
		return -errno;
	rc = kp_path_join(whole, sizeof(whole), dir, name);
	if (rc || (strchr(path, '/') && strcmp(whole, path) != 0)) {
		(void)snprintf(tree, sizeof(tree), ".kapsel-%x-%s", (unsigned)c->vfs->supervisor, t.name);
		return bind_in_tree(c, n, b, dir_fd, tree, name);
	}
	b->root_fd = -1;
	b->dir_fd = dir_fd;
	rc = bind_in_child(b);
	return rc ? rc : kp_upper_give(c->vfs, dir_fd, name, n, kp_call_cred(c));
}

/* Told by a name of ours: run_dir/s/bN/NAME, where bN leads to the directory for as long as the bind takes. */
static int bind_by_short_name(struct kp_call *c, struct kp_node *n, const char *dir, struct binding *b, const char *path)
{
	struct kp_engine *e = c->engine;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *name = kp_gpath_name(&n->guest);
	kp_autoclose int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char brief[sizeof(sa.sun_path)], made[32];
	unsigned long number = atomic_fetch_add(&c->vfs->temp_count, 1);
	int rc;

	if (dir_fd < 0)
		return -errno;
	(void)snprintf(made, sizeof(made), ".k%lx", number);
	if ((size_t)snprintf(brief, sizeof(brief), "%s/s/b%lx", e->run_dir, number) >= sizeof(brief) ||
	    (size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", brief, made) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	if (symlink(dir, brief) < 0)
		return -errno;
	b->sa = &sa;
	b->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(sa.sun_path) + 1);
	b->root_fd = -1;
	b->dir_fd = dir_fd;
	rc = bind_in_child(b);
	(void)unlink(brief);
	if (rc)
		return rc;
	rc = kp_upper_give(c->vfs, dir_fd, made, n, kp_call_cred(c));
	/* Over nothing but a whiteout. */
	if (!rc && renameat2(dir_fd, made, dir_fd, name, n->whiteout ? 0 : RENAME_NOREPLACE) < 0)
		rc = errno == EEXIST ? -EADDRINUSE : -errno;
	if (rc)
		(void)unlinkat(dir_fd, made, 0);
	else
		kp_names_put_address(e, sa.sun_path, path, strlen(path) + 1);
	return rc;
}

int kp_bind_path(struct kp_call *c, struct kp_node *n, const char *dir, int fd, const struct sockaddr_un *sa, socklen_t len)
{
	struct binding b = {.fd = fd, .umask = kp_task_umask(c->tid), .sa = sa, .len = len};
	const char *path = c->path[0];
	bool on_host = kp_node_on_host(n);
	char whole[PATH_MAX];
	struct stat st;
	int rc;

	rc = on_host ? bind_on_host(c, n, dir, &b) : bind_in_upper(c, n, &b);
	if (!rc)
		kp_names_put_address(c->engine, path, path, strlen(path) + 1); /* not to be taken for a path of the host */
	else if (!b.rooted && rc == -EPERM)
		rc = bind_by_short_name(c, n, dir, &b, path);
	if (!rc && !kp_path_join(whole, sizeof(whole), dir, kp_gpath_name(&n->guest)) && lstat(whole, &st) == 0)
		kp_names_put_socket(c->engine, st.st_dev, st.st_ino);
	return rc;
}
