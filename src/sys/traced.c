/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rewriting for a thread that a guest's own tracer holds (strace, gdb): nobody else may attach to it, and its registers stay as they
 * are. But its path, of at least one character, starts at a directory of ours (a stand-in): there a link of one character is
 * made to the host's path, and that character is written over the path until the kernel has read it.
 */
#include <fcntl.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/internal.h"

#define BUSY_STEPS 500 /* the sooner the path is whole again the better */
#define WAIT_STEPS 900 /* two seconds more */

struct borrowed {
	int mem_fd; /* of the memory as it is now: an exec does not change what this is */
	int dir_fd;
	uint64_t addr;
	char saved[2];
	char name[2];
};

/* Which argument is the path, and what the rewritten call says in its place. */
static const char *wanted_path(const struct kp_call *c, int *ret_arg)
{
	const struct kp_rewrite *rw = c->rewrite;

	if (c->path_count != 1 || !c->path[0][0])
		return NULL;
	for (int i = 0; i < 6; i++)
		if (kp_role_is_path(c->row->roles[i]))
			*ret_arg = i;
	for (int i = 0; i < 6; i++)
		if (rw->points == 1U << i)
			return (const char *)rw->blob + rw->args[i];
	return NULL;
}

/* The directory that a relative path of this call starts from, if it is one of ours. */
static int open_start(struct kp_call *c)
{
	char host[PATH_MAX];
	int fd, rc = kp_task_start(c->tid, c->dirfd[0], host, sizeof(host));

	if (rc)
		return rc;
	if (!kp_path_below(host, c->vfs->dirs.s))
		return -EPERM;
	fd = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int place_link(struct borrowed *b, const char *target)
{
	for (b->name[0] = 1; b->name[0] < ' '; b->name[0]++) {
		if (symlinkat(target, b->dir_fd, b->name) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EAGAIN;
}

static int write_over(struct kp_call *c, struct borrowed *b)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", c->tid);
	b->mem_fd = open(path, O_RDWR | O_CLOEXEC);
	if (b->mem_fd < 0)
		return -EPERM;
	if (pread(b->mem_fd, b->saved, 2, (off_t)b->addr) != 2 || pwrite(b->mem_fd, b->name, 2, (off_t)b->addr) != 2)
		return -EFAULT;
	return 0;
}

static void give_back(struct borrowed *b)
{
	char now[2];

	if (pread(b->mem_fd, now, 2, (off_t)b->addr) == 2 && !memcmp(now, b->name, 2))
		(void)!pwrite(b->mem_fd, b->saved, 2, (off_t)b->addr);
}

void kp_lent_init(struct kp_lent *l)
{
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->returned, NULL);
}

static struct kp_lent_thread *lent_slot(struct kp_lent *l, pid_t tid)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(l->thread); i++)
		if (l->thread[i].tid == tid)
			return &l->thread[i];
	return NULL;
}

/*
 * The caller goes on to its next call before we have seen that it rests. That call must find its own path, and what is written
 * over for it must not be taken back for the one before.
 */
void kp_traced_settle(struct kp_call *c)
{
	struct kp_lent *l = &c->engine->lent;
	struct kp_lent_thread *slot;

	if (!atomic_load(&l->count))
		return;
	kp_going_slow();
	pthread_mutex_lock(&l->lock);
	while ((slot = lent_slot(l, c->tid))) {
		slot->called = true;
		pthread_cond_wait(&l->returned, &l->lock);
	}
	pthread_mutex_unlock(&l->lock);
}

static void lend(struct kp_lent *l, pid_t tid)
{
	struct kp_lent_thread *slot;

	pthread_mutex_lock(&l->lock);
	while (!(slot = lent_slot(l, 0)))
		pthread_cond_wait(&l->returned, &l->lock);
	*slot = (struct kp_lent_thread){.tid = tid};
	atomic_fetch_add(&l->count, 1);
	pthread_mutex_unlock(&l->lock);
}

static void take_back(struct kp_lent *l, pid_t tid)
{
	pthread_mutex_lock(&l->lock);
	*lent_slot(l, tid) = (struct kp_lent_thread){0};
	atomic_fetch_sub(&l->count, 1);
	pthread_cond_broadcast(&l->returned);
	pthread_mutex_unlock(&l->lock);
}

/*
 * After its answer the thread runs; once it rests, or makes another call, the kernel has the path. D is no rest: it may be fetching
 * the path's page. Nor does /proc/PID/syscall tell: it takes a thread that is being woken on another core (TASK_WAKING) for one that
 * still waits.
 */
static void wait_until_read(struct kp_lent *l, pid_t tid)
{
	for (int i = 0; i < WAIT_STEPS; i++) {
		struct kp_lent_thread *slot;
		bool called;
		char state;

		pthread_mutex_lock(&l->lock);
		slot = lent_slot(l, tid);
		called = !slot || slot->called;
		pthread_mutex_unlock(&l->lock);
		if (called)
			return;
		state = kp_task_state(tid);
		if (state != 'R' && state != 'D')
			return;
		if (i >= BUSY_STEPS)
			(void)usleep(5000);
	}
}

int kp_traced_rewrite(struct kp_call *c)
{
	struct borrowed b = {.mem_fd = -1, .dir_fd = -1};
	int arg = -1, rc;
	const char *target = wanted_path(c, &arg);

	if (!target || arg < 0)
		return -EPERM;
	b.addr = c->raw[arg];
	b.dir_fd = open_start(c);
	rc = b.dir_fd < 0 ? b.dir_fd : place_link(&b, target);
	if (!rc) {
		kp_going_slow();
		lend(&c->engine->lent, c->tid);
		rc = write_over(c, &b);
		if (!rc) {
			(void)kp_trap_continue(c->trap, c->n.id);
			wait_until_read(&c->engine->lent, c->tid);
		}
		if (b.mem_fd >= 0)
			give_back(&b);
		take_back(&c->engine->lent, c->tid);
		(void)unlinkat(b.dir_fd, b.name, 0);
	}
	KP_DEBUG(TRAP, "%d is traced: %s by link: %d", c->tid, target, rc);
	kp_close(b.mem_fd);
	kp_close(b.dir_fd);
	return rc;
}
