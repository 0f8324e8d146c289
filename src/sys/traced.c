/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rewriting for a thread that a guest's own tracer holds (strace, gdb): nobody else may attach to it, and its registers stay as they
 * are. But its path can be written over until the kernel has read it: with the name of a link to the host's path, of one character where the
 * path starts at a directory of ours (a stand-in), of six, in /tmp, elsewhere.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "sys/internal.h"
#include "vfs/internal.h"

#define BUSY_STEPS 500 /* the sooner the path is whole again the better */
#define WAIT_STEPS 900 /* two seconds more */

#define SHARED_DIR "/tmp"
#define PLACE_MAX 8          /* "/tmp/x" */
#define STALE_SECONDS 10     /* a link in /tmp that old was left by a supervisor that was killed */

struct borrowed {
	int mem_fd; /* of the memory as it is now: an exec does not change what this is */
	int dir_fd;
	uint64_t addr;
	size_t len; /* of text, its NUL included */
	char saved[PLACE_MAX];
	char text[PLACE_MAX];
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

/* Where nobody else may put another link in the place of ours. */
static int open_shared(void)
{
	struct stat st;
	int fd = open(SHARED_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -EPERM;
	if (fstat(fd, &st) < 0 || (!(st.st_mode & S_ISVTX) && st.st_mode & (S_IWGRP | S_IWOTH))) {
		(void)kp_close(fd);
		return -EPERM;
	}
	return fd;
}

static bool is_stale(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) && st.st_uid == geteuid() &&
	       time(NULL) - st.st_ctime > STALE_SECONDS;
}

static int place_link(struct borrowed *b, const char *target)
{
	for (b->name[0] = 1; b->name[0] < ' '; b->name[0]++) {
		if (symlinkat(target, b->dir_fd, b->name) == 0)
			return 0;
		if (errno != EEXIST)
			return -EPERM;
		if (is_stale(b->dir_fd, b->name) && unlinkat(b->dir_fd, b->name, 0) == 0)
			b->name[0]--;
	}
	return -EAGAIN;
}

/* The link, and what is written over the path to name it. */
static int place(struct kp_call *c, struct borrowed *b, const char *target)
{
	bool shared = false;
	int rc;

	b->dir_fd = open_start(c);
	if (b->dir_fd < 0) {
		shared = true;
		b->dir_fd = open_shared();
	}
	if (b->dir_fd < 0)
		return b->dir_fd;
	rc = place_link(b, target);
	if (!rc)
		b->len = 1 + (size_t)snprintf(b->text, sizeof(b->text), "%s%s", shared ? SHARED_DIR "/" : "", b->name);
	return rc;
}

static bool is_alone(pid_t tid)
{
	char path[48];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", tid);
	return stat(path, &st) == 0 && st.st_nlink == 3;
}

/*
 * The kernel has the path before it copies the arguments: none may lie where that is written over. The first often does,
 * execv(argv[0], argv); the loader puts it in (kp_exec_keep_name).
 */
static int spare_arguments(struct kp_call *c, const struct borrowed *b)
{
	int first = c->n.data.nr == SYS_execveat ? 2 : 1;
	char text[PATH_MAX];

	for (int list = first; list < first + 2; list++)
		for (uint64_t at = c->raw[list], p = 1; at; at += sizeof(p)) {
			ssize_t len;
			int rc;

			if (kp_mem_read(c->tid, at, &p, sizeof(p)))
				return -EFAULT;
			if (!p)
				break;
			if (p >= b->addr + b->len || p + sizeof(text) < b->addr)
				continue;
			len = kp_mem_string(c->tid, p, text, sizeof(text));
			if (len >= 0 && p + (uint64_t)len < b->addr)
				continue;
			rc = len >= 0 && at == c->raw[first] ? kp_exec_keep_name(c, text) : -EPERM;
			if (rc)
				return rc;
		}
	return 0;
}

static int write_over(struct kp_call *c, struct borrowed *b)
{
	char path[48];

	/* What lies behind a shorter path is its owner's again before any call of its returns, but not before other threads look. */
	if (strlen(c->path[0]) + 1 < b->len && !is_alone(c->tid))
		return -EPERM;
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", c->tid);
	b->mem_fd = open(path, O_RDWR | O_CLOEXEC);
	if (b->mem_fd < 0)
		return -EPERM;
	if (pread(b->mem_fd, b->saved, b->len, (off_t)b->addr) != (ssize_t)b->len ||
	    pwrite(b->mem_fd, b->text, b->len, (off_t)b->addr) != (ssize_t)b->len)
		return -EPERM;
	return 0;
}

static void give_back(struct borrowed *b)
{
	char now[PLACE_MAX];

	if (pread(b->mem_fd, now, b->len, (off_t)b->addr) == (ssize_t)b->len && !memcmp(now, b->text, b->len))
		(void)!pwrite(b->mem_fd, b->saved, b->len, (off_t)b->addr);
}

/* Does the guest's own word lead there, from where the guest is on the host? */
static bool leads_there(const struct kp_call *c, const char *target)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
	kp_autoclose int cwd = -1, fd = -1;
	struct stat there, wanted;
	char path[48];

	if (c->n.data.nr != SYS_chdir)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/cwd", c->tid);
	cwd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd >= 0)
		fd = (int)syscall(SYS_openat2, cwd, c->path[0], &how, sizeof(how));
	return fd >= 0 && fstat(fd, &there) == 0 && stat(target, &wanted) == 0 && there.st_dev == wanted.st_dev &&
	       there.st_ino == wanted.st_ino;
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
static void settle(struct kp_lent *l, pid_t tid)
{
	struct kp_lent_thread *slot;

	if (!atomic_load(&l->count))
		return;
	kp_going_slow();
	pthread_mutex_lock(&l->lock);
	while ((slot = lent_slot(l, tid))) {
		slot->called = true;
		pthread_cond_wait(&l->returned, &l->lock);
	}
	pthread_mutex_unlock(&l->lock);
}

void kp_traced_settle(struct kp_call *c)
{
	settle(&c->engine->lent, c->tid);
}

/* Stopped after its call, before it looks at its own path again. One that is not stopped has perhaps not been read yet. */
void kp_traced_resume(struct kp_call *c, pid_t tid)
{
	if (atomic_load(&c->engine->lent.count) && kp_task_state(tid) == 't')
		settle(&c->engine->lent, tid);
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
	bool is_exec = c->n.data.nr == SYS_execve || c->n.data.nr == SYS_execveat;
	int arg = -1, rc;
	const char *target = wanted_path(c, &arg);

	if (!target || arg < 0)
		return -EPERM;
	if (leads_there(c, target))
		return kp_trap_continue(c->trap, c->n.id);
	b.addr = c->raw[arg];
	rc = place(c, &b, target);
	if (!rc) {
		kp_going_slow();
		lend(&c->engine->lent, c->tid);
		rc = is_exec ? spare_arguments(c, &b) : 0;
		if (!rc)
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
