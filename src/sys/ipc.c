/* SPDX-License-Identifier: Apache-2.0 */
/* SysV IPC and POSIX message queues: the guest's keys and names become the instance's own. */
#include <fcntl.h>
#include <mqueue.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"
#include "vfs/regtree.h"

static int private_key(struct kp_call *c, char kind)
{
	struct kp_rewrite *rw;

	if ((int)c->raw[0] == IPC_PRIVATE) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	rw = kp_call_rewrite(c, c->n.data.nr);
	rw->args[0] = kp_names_ipc_key(c->engine, kind, (uint32_t)c->raw[0]);
	return 0;
}

int kp_sys_shmget(struct kp_call *c)
{
	return private_key(c, 'm');
}

int kp_sys_semget(struct kp_call *c)
{
	return private_key(c, 's');
}

int kp_sys_msgget(struct kp_call *c)
{
	return private_key(c, 'q');
}

/* The C library strips the leading slash. */
static int private_queue(struct kp_call *c, char *name, size_t size)
{
	if (!c->str[0] || strchr(c->str, '/'))
		return c->str[0] ? -EACCES : -ENOENT;
	if (snprintf(name, size, "kapsel.%08x.%s", kp_names_ipc_key(c->engine, 'n', 0), c->str) > NAME_MAX)
		return -ENAMETOOLONG;
	return 0;
}

/* Opened here: the guest's own Landlock domain knows no queues, and their file system need not be mounted to be granted. */
int kp_sys_mq_open(struct kp_call *c)
{
	char name[NAME_MAX + 32];
	struct mq_attr attr;
	int rc = private_queue(c, name, sizeof(name));

	if (!rc && c->raw[3])
		rc = kp_call_get(c, c->raw[3], &attr, sizeof(attr));
	if (rc)
		return rc;
	c->fd = (int)syscall(SYS_mq_open, name, (int)c->raw[1], kp_call_mode(c, c->raw[2]), c->raw[3] ? &attr : NULL);
	if (c->fd < 0)
		return -errno;
	c->cloexec = true; /* as the kernel's own */
	c->reply = KP_REPLY_FD;
	return 0;
}

int kp_sys_mq_unlink(struct kp_call *c)
{
	char name[NAME_MAX + 32];
	int rc = private_queue(c, name, sizeof(name));

	return rc ? rc : syscall(SYS_mq_unlink, name) < 0 ? -errno : 0;
}

/* The watch sits on the file that changes will reach: for directories the upper's own, made where missing. */
int kp_sys_inotify_add_watch(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct kp_hpath host;
	int rc;

	kp_vfs_write_lock(c->vfs);
	rc = kp_call_resolve(c, 0, !(c->raw[2] & IN_DONT_FOLLOW), n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc && c->raw[2] & IN_ONLYDIR && !S_ISDIR(n->mode))
		rc = -ENOTDIR;
	if (!rc)
		rc = kp_node_permit(c->vfs, n, kp_call_cred(c), R_OK);
	if (!rc && S_ISDIR(n->mode) && !n->self.bind)
		rc = kp_copy_up(c->vfs, n, KP_COPY_DATA);
	if (!rc)
		rc = n->origin == KP_REG ? kp_regtree_watch(c->vfs, n) : 0;
	if (!rc)
		rc = kp_node_watch_path(c->vfs, n, &host);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc ? rc : kp_rewrite_string(kp_call_rewrite(c, SYS_inotify_add_watch), 1, host.s);
}
