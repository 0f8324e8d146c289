/* SPDX-License-Identifier: Apache-2.0 */
/* SysV IPC and POSIX message queues: the guest's keys and names become the instance's own. */
#include <fcntl.h>
#include <mqueue.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"
#include "vfs/regtree.h"

/* --- System V: made here, under keys of the instance, and known by their numbers --- */

static int make(char kind, key_t key, uint64_t size, int flags)
{
	int id = kind == 'm' ? shmget(key, size, flags) : kind == 's' ? semget(key, (int)size, flags) : msgget(key, flags);

	return id < 0 ? -errno : id;
}

/* Only what this has made counts, should the host have an object of the same key. */
static int get(struct kp_call *c, char kind, uint64_t size, int flags)
{
	key_t key = (key_t)kp_names_ipc_key(c->engine, (uint32_t)c->raw[0]);
	bool any = (int)c->raw[0] == IPC_PRIVATE;
	int id = -EEXIST;

	if (any || flags & IPC_CREAT)
		id = make(kind, any ? IPC_PRIVATE : key, size, flags | IPC_CREAT | IPC_EXCL);
	if (id >= 0)
		kp_names_put_ipc(c->engine, kind, id);
	if (id == -EEXIST && (flags & (IPC_CREAT | IPC_EXCL)) != (IPC_CREAT | IPC_EXCL)) {
		id = make(kind, key, size, flags & ~IPC_CREAT);
		if (id >= 0 && !kp_names_have_ipc(c->engine, kind, id))
			id = flags & IPC_CREAT ? -EACCES : -ENOENT;
	}
	if (id >= 0)
		c->value = id;
	return KP_MIN(id, 0);
}

int kp_sys_shmget(struct kp_call *c)
{
	return get(c, 'm', c->raw[1], (int)c->raw[2]);
}

int kp_sys_semget(struct kp_call *c)
{
	return get(c, 's', c->raw[1], (int)c->raw[2]);
}

int kp_sys_msgget(struct kp_call *c)
{
	return get(c, 'q', 0, (int)c->raw[1]);
}

/* What no guest has made is not there. Only numbers are passed on. */
static int use(struct kp_call *c, char kind)
{
	if ((int)c->raw[0] < 0 || !kp_names_have_ipc(c->engine, kind, (int)c->raw[0]))
		return -EINVAL;
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

int kp_sys_shm_use(struct kp_call *c)
{
	return use(c, 'm');
}

int kp_sys_sem_use(struct kp_call *c)
{
	return use(c, 's');
}

int kp_sys_msg_use(struct kp_call *c)
{
	return use(c, 'q');
}

/* IPC_INFO and the like ask for limits. STAT takes a place in the kernel's list in the place of a number, and gives the number. */
static int control(struct kp_call *c, char kind, int cmd, int stat, int id, const void *ds, size_t size)
{
	if (cmd == IPC_INFO || cmd == stat + 1) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	if (cmd == stat || cmd == stat + 2) { /* ..._STAT, ..._STAT_ANY */
		if (id < 0 || !kp_names_have_ipc(c->engine, kind, id))
			return id < 0 ? -errno : -EINVAL;
		c->value = id;
		return kp_call_put(c, c->raw[kind == 's' ? 3 : 2], ds, size);
	}
	id = use(c, kind);
	if (!id && cmd == IPC_RMID)
		kp_names_drop_ipc(c->engine, kind, (int)c->raw[0]);
	return id;
}

int kp_sys_shmctl(struct kp_call *c)
{
	int cmd = (int)c->raw[1];
	struct shmid_ds ds;
	int id = cmd == SHM_STAT || cmd == SHM_STAT_ANY ? shmctl((int)c->raw[0], cmd, &ds) : 0;

	return control(c, 'm', cmd, SHM_STAT, id, &ds, sizeof(ds));
}

int kp_sys_semctl(struct kp_call *c)
{
	int cmd = (int)c->raw[2];
	struct semid_ds ds;
	int id = cmd == SEM_STAT || cmd == SEM_STAT_ANY ? semctl((int)c->raw[0], 0, cmd, &ds) : 0;

	return control(c, 's', cmd, SEM_STAT, id, &ds, sizeof(ds));
}

int kp_sys_msgctl(struct kp_call *c)
{
	int cmd = (int)c->raw[1];
	struct msqid_ds ds;
	int id = cmd == MSG_STAT || cmd == MSG_STAT_ANY ? msgctl((int)c->raw[0], cmd, &ds) : 0;

	return control(c, 'q', cmd, MSG_STAT, id, &ds, sizeof(ds));
}

/* --- POSIX queues --- */

/* The C library strips the leading slash. */
static int private_queue(struct kp_call *c, char *name, size_t size)
{
	if (!c->str[0] || strchr(c->str, '/'))
		return c->str[0] ? -EACCES : -ENOENT;
	if (snprintf(name, size, "kapsel.%08x.%s", kp_names_ipc_key(c->engine, 0), c->str) > NAME_MAX)
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
