/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flock on an image's file. Its object is shared with other instances, so the kernel's own lock would reach them. What is locked instead are
 * two bytes far behind its end that are this run's alone: open-file-description locks live and die with what flock's would. A descriptor that
 * only reads gets no exclusive one of those, so a shared lock of the second byte stands for it, and who may have one is judged here.
 * Locks of ranges need no such thing: on what only reads they are shared ones, and nobody has others.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"


static pthread_mutex_t judging = PTHREAD_MUTEX_INITIALIZER;

/* The first of this run's two bytes. judging is held. */
static off_t own_byte(void)
{
	static uint64_t number;

	while (!number)
		if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
			number = (uint64_t)getpid();
	return (off_t)(1ULL << 62 | (number & ((1ULL << 61) - 1)) << 1);
}

static int set(int fd, short type, off_t at, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = len};

	return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* Has another open file a lock there? */
static bool is_busy(int fd, off_t at, off_t len)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = len};

	return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static int try(int fd, int kind)
{
	off_t at;
	int rc;

	pthread_mutex_lock(&judging);
	at = own_byte();
	if (kind == LOCK_UN) {
		rc = set(fd, F_UNLCK, at, 2);
	} else if (kind == LOCK_SH) {
		rc = is_busy(fd, at + 1, 1) ? -EAGAIN : set(fd, F_RDLCK, at, 1);
		if (!rc)
			rc = set(fd, F_UNLCK, at + 1, 1);
	} else {
		rc = is_busy(fd, at, 2) ? -EAGAIN : set(fd, F_RDLCK, at + 1, 1);
		/* As the kernel: who wants another kind gives up the one that he has, whether he gets it or not. */
		if (!rc || rc == -EAGAIN) {
			int r = set(fd, F_UNLCK, at, 1);

			rc = rc ? rc : r;
		}
	}
	pthread_mutex_unlock(&judging);
	return rc;
}

struct wait {
	struct kp_engine *engine;
	uint64_t id;
	pid_t tid;
	int fd, kind;
};

static void *waiter(void *arg)
{
	struct wait *w = arg;
	struct timespec pause = {.tv_nsec = 1000000};
	int rc;

	while ((rc = try(w->fd, w->kind)) == -EAGAIN) {
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec = KP_MIN(pause.tv_nsec * 2, 20000000L);
		if (!kp_trap_valid(w->engine->trap, w->id))
			break;
		if (kp_task_signalled(w->tid)) {
			rc = -512; /* ERESTARTSYS: made anew, or EINTR, as the handler was set up */
			break;
		}
	}
	(void)kp_trap_answer(w->engine->trap, w->id, 0, rc);
	(void)kp_close(w->fd);
	kp_waits_give(w->engine, 0, 1);
	free(w);
	return NULL;
}

static int wait_for(struct kp_call *c, int fd, int kind)
{
	struct wait *w;
	pthread_t thread;
	int rc;

	if (!kp_waits_take(c->engine, 0, 1))
		return -ENOLCK;
	w = kp_calloc(1, sizeof(*w));
	*w = (struct wait){c->engine, c->n.id, c->tid, fcntl(fd, F_DUPFD_CLOEXEC, 3), kind};
	rc = w->fd < 0 ? errno : pthread_create(&thread, NULL, waiter, w);
	if (rc) {
		(void)kp_close(w->fd);
		free(w);
		kp_waits_give(c->engine, 0, 1);
		return -ENOLCK;
	}
	(void)pthread_detach(thread);
	c->reply = KP_REPLY_DONE;
	return 0;
}

int kp_sys_flock(struct kp_call *c)
{
	int fd = (int)c->raw[0], op = (int)c->raw[1], kind = op & ~LOCK_NB, rc;
	kp_autoclose int copy = -1;
	char host[PATH_MAX];
	struct kp_mapped m;

	c->reply = KP_REPLY_KERNEL;
	if ((kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN) || kp_task_fd(c->tid, fd, host, sizeof(host)))
		return 0;
	kp_map_host(c->vfs, host, &m);
	copy = m.kind == KP_MAP_IMAGE ? kp_task_dup_fd(c->tid, fd) : -1;
	if (copy < 0) /* not an image's; or where copying descriptors is refused, the kernel's has to do */
		return 0;
	c->reply = KP_REPLY_VALUE;
	rc = try(copy, kind);
	return rc == -EAGAIN && !(op & LOCK_NB) ? wait_for(c, copy, kind) : rc;
}
