/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's descriptor is of, held. /proc/PID/fd/N was looked at when the path was resolved; by the time something is done to it, a
 * thread of the guest may have put another file there. So the file is taken first, by a descriptor of ours, looked at once more by that,
 * and only that is acted on.
 */
#include <fcntl.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/internal.h"
#include "vfs/proc.h"
#include "vfs/resolve.h"

static void link_of(int fd, struct kp_hpath *ret)
{
	(void)snprintf(ret->s, sizeof(ret->s), "/proc/self/fd/%d", fd);
}

static int map(const struct kp_vfs *v, int fd, struct kp_mapped *ret)
{
	char host[PATH_MAX];
	struct kp_hpath link;
	ssize_t len;

	link_of(fd, &link);
	len = readlink(link.s, host, sizeof(host) - 1);
	if (len < 0)
		return -errno;
	host[len] = '\0';
	kp_map_host(v, host, ret);
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* What has a name is reached by that, under the rules that hold there. */
static bool has_name(struct kp_vfs *v, const struct kp_hpath *link, const struct kp_mapped *m, const struct stat *st, pid_t tid)
{
	struct kp_node *named;
	bool has;

	if (m->kind != KP_MAP_GUEST || m->deleted || kp_link_is_given(link, m, st))
		return false;
	named = kp_calloc(1, sizeof(*named));
	has = !kp_resolve_exact(v, m->guest.s, tid, named) && named->origin != KP_ABSENT && named->origin != KP_MAGIC && kp_same_object(v, named, m, st);
	free(named);
	return has;
}

/* By what link says about how it was opened. */
static bool is_still(struct kp_vfs *v, const struct kp_node *n, int fd, const struct kp_hpath *link, const struct kp_mapped *m, pid_t tid)
{
	struct kp_node now = *n;
	struct stat st;

	if (fstat(fd, &st) < 0 || !same_file(&st, &n->st) || has_name(v, link, m, &st, tid) || kp_node_from_link(v, link, m, &now))
		return false;
	return now.origin == KP_MAGIC && same_file(&st, &now.st) && now.self.rule == n->self.rule && now.nameless == n->nameless &&
	       !strcmp(now.guest.s, n->guest.s);
}

int kp_node_hold(struct kp_vfs *v, const struct kp_node *n, int *ret_fd, struct kp_hpath *ret)
{
	kp_autoclose int fd = -1, copy = -1;
	struct kp_mapped m;
	bool copied;
	pid_t tid;
	int number, rc;

	*ret_fd = -1;
	*ret = n->host;
	if (n->origin != KP_MAGIC || S_ISLNK(n->mode) || !kp_proc_fd_of(n->host.s, &tid, &number))
		return 0;
	fd = open(n->host.s, O_PATH | O_CLOEXEC);
	rc = fd < 0 ? -EBADF : map(v, fd, &m);
	if (rc)
		return rc;
	/* How it was opened counts for files that are not the instance's: that only a copy tells. Where none is to be had, the link's word is
	 * taken, which may be another descriptor's by now. */
	if (m.kind != KP_MAP_UPPER)
		copy = kp_dup_from(tid, number);
	copied = copy >= 0;
	if (copied) {
		(void)kp_close(fd);
		fd = kp_take_fd(&copy);
		rc = map(v, fd, &m);
		if (rc)
			return rc;
	}
	link_of(fd, ret);
	if (!is_still(v, n, fd, m.kind == KP_MAP_UPPER || copied ? ret : &n->host, &m, tid))
		return -EBADF;
	*ret_fd = kp_take_fd(&fd);
	return 0;
}
