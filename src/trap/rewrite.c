/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restart-rewrite. The caller waits in its notification; we attach to that one thread, answer -ERESTARTNOINTR, and it stops with its call
 * about to be restarted. Registers are changed, the strings go to the scratch area, which no guest can write, and it is let go: the new call notifies
 * once more, is recognised by thread, number, arguments and content, and passes. Nobody is attached between calls, so signals,
 * gdb -p and strace inside the guest work as ever.
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "trap/internal.h"

#define ERESTARTNOINTR 513

static bool is_gone(pid_t tid)
{
	return kill(tid, 0) < 0 && errno == ESRCH;
}

/*
 * Has a call that went on read its strings? It reads them first, but who makes it may have to wait for a core, for as long as others have
 * work. Asleep in another call, it is over; asleep in that one, it is past its beginning. Of who runs nothing is known.
 */
static bool has_read(const struct kp_pending *p)
{
	int nr = kp_task_call(p->tid);

	if (nr == -ESRCH)
		return is_gone(p->tid);
	if (nr == p->wanted.nr)
		return kp_task_state(p->tid) == 'S';
	return nr != -EAGAIN;
}

/* With the lock held. */
static void slot_clear(struct kp_trap *t, size_t slot)
{
	free(t->pending[slot].blob);
	t->pending[slot].blob = NULL;
	t->pending[slot].used = false;
	atomic_fetch_sub(&t->pending_count, 1);
}

/* Nobody will read it. With the lock held. */
static void slot_free(struct kp_trap *t, size_t slot)
{
	slot_clear(t, slot);
	t->pending[slot].tid = 0;
}

/* Who makes a call is through with its last one. With the lock held. */
static bool slot_is_free(struct kp_trap *t, size_t slot, pid_t tid)
{
	struct kp_pending *p = &t->pending[slot];

	if (p->used && is_gone(p->tid)) /* it will not come back for its slot */
		slot_free(t, slot);
	return !p->used && !p->going && (!p->tid || p->tid == tid || has_read(p));
}

static int slot_take(struct kp_trap *t, const struct seccomp_notif *n, const struct kp_rewrite *rw)
{
	int slot = -1;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < KP_SCRATCH_SLOTS && slot < 0; i++) {
		unsigned at = (t->next_slot + i) % KP_SCRATCH_SLOTS;

		if (slot_is_free(t, at, (pid_t)n->pid))
			slot = (int)at;
	}
	if (slot >= 0) {
		struct kp_pending *p = &t->pending[slot];

		t->next_slot = (unsigned)slot + 1;
		t->slots_used = KP_MAX(t->slots_used, t->next_slot);
		p->used = true;
		p->tid = (pid_t)n->pid;
		p->asked = n->data;
		p->wanted = n->data;
		p->wanted.nr = rw->nr;
		p->blob_len = rw->blob_len;
		p->blob = kp_calloc(1, rw->blob_len ? rw->blob_len : 1);
		memcpy(p->blob, rw->blob, rw->blob_len);
		atomic_fetch_add(&t->pending_count, 1);
	}
	pthread_mutex_unlock(&t->lock);
	return slot;
}

static void slot_drop(struct kp_trap *t, int slot)
{
	pthread_mutex_lock(&t->lock);
	slot_free(t, (size_t)slot);
	pthread_mutex_unlock(&t->lock);
}

static bool may_trace_all(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};

	return syscall(SYS_capget, &header, caps) == 0 && caps[0].effective & 1U << CAP_SYS_PTRACE;
}

/* Filters refuse the calls, whoever they are for; Yama lets nobody attach from 3 on, and at 2 only who has CAP_SYS_PTRACE. */
int kp_trap_allowed(const char **ret_what)
{
	kp_autofree char *scope = NULL;
	struct iovec none = {0};
	int level;

	*ret_what = "ptrace";
	if (ptrace(PTRACE_SEIZE, INT_MAX, NULL, NULL) < 0 && errno != ESRCH)
		return -EPERM;
	*ret_what = "process_vm_readv";
	if (process_vm_readv(getpid(), &none, 1, &none, 1, 0) < 0)
		return -EPERM;
	*ret_what = "kernel.yama.ptrace_scope";
	level = kp_read_file(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 16, &scope, NULL) ? 0 : atoi(scope);
	return level > 2 || (level == 2 && !may_trace_all()) ? -EPERM : 0;
}

static void set_args(struct user_regs_struct *regs, const uint64_t args[6])
{
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
	regs->r10 = args[3];
	regs->r8 = args[4];
	regs->r9 = args[5];
}

/*
 * For any tracee of this thread, and it has one at a time. Not by its number: when another thread of the process takes that over in an
 * exec, the kernel does not wake who waits for the number (de_thread() changes it first), but it does wake who waits for any.
 */
static pid_t wait_tracee(int *status)
{
	return waitpid(-1, status, __WALL | __WNOTHREAD);
}

/* 0; -EALREADY: it is held, and its call will be made again then (the notification is answered); other -errno. */
static int seize(struct kp_trap *t, const struct seccomp_notif *n)
{
	bool again = false; /* it may have been let go since the first try */
	int r;

	for (;;) {
		if (ptrace(PTRACE_SEIZE, (pid_t)n->pid, NULL, NULL) == 0)
			return 0;
		if (errno != EPERM)
			return -errno;
		r = kp_hold_answer(t, n);
		if (r > 0)
			return -EALREADY;
		if (r < 0 && (r != -EPERM || again))
			return r;
		again = r < 0;
	}
}

/* Attaches, answers with that -errno, and waits for the stop before the restart. 0, or -errno with the notification unanswered, or
 * -ESRCH when the thread died, -EALREADY when it is held: answered. */
static int stop_caller(struct kp_trap *t, const struct seccomp_notif *n, int error)
{
	pid_t tid = (pid_t)n->pid;
	int status, answered, rc;

	rc = seize(t, n);
	if (rc)
		return rc;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0) {
		rc = -errno;
		(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
		return rc;
	}
	/* Answered or not, it is waited for: who leaves a traced thread behind keeps its group from ever ending. */
	answered = kp_trap_answer(t, n->id, 0, error);
	for (;;) {
		pid_t got = wait_tracee(&status);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || (got == tid && !WIFSTOPPED(status)))
			return -ESRCH;
		if (got == tid && status >> 16 == PTRACE_EVENT_STOP)
			break;
		/* Another stop came first: hand its signal on. */
		(void)ptrace(PTRACE_CONT, got, NULL, (void *)(long)WSTOPSIG(status));
	}
	if (answered)
		(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	return answered;
}

static int put_blob(struct kp_trap *t, pid_t tid, struct kp_rewrite *rw, int slot)
{
	uint64_t base = KP_SCRATCH_BASE + (uint64_t)slot * KP_SCRATCH_SLOT;
	uint8_t seen[KP_BLOB_MAX];
	int rc;

	for (size_t i = 0; i < rw->inner_count; i++) {
		uint64_t address = base + rw->inner[i].target;

		memcpy(rw->blob + rw->inner[i].at, &address, sizeof(address));
	}
	for (int i = 0; i < 6; i++)
		if (rw->points & 1U << i)
			rw->args[i] += base;
	memcpy(t->scratch + (size_t)slot * KP_SCRATCH_SLOT, rw->blob, rw->blob_len);
	/* Before Linux 6.10 a program can have put something else in its place. */
	rc = kp_mem_read(tid, base, seen, rw->blob_len);
	return rc ? rc : memcmp(seen, rw->blob, rw->blob_len) ? -EFAULT : 0;
}

int kp_trap_interrupt(struct kp_trap *t, const struct seccomp_notif *n, int error)
{
	int rc = stop_caller(t, n, error);

	if (!rc)
		(void)ptrace(PTRACE_DETACH, (pid_t)n->pid, NULL, NULL);
	return rc == -ESRCH || rc == -EALREADY ? 0 : rc;
}

int kp_trap_rewrite(struct kp_trap *t, const struct seccomp_notif *n, const struct kp_rewrite *wanted)
{
	struct kp_rewrite *rw = kp_calloc(1, sizeof(*rw));
	kp_autofree void *release = rw;
	struct user_regs_struct regs;
	pid_t tid = (pid_t)n->pid;
	int slot, rc;

	*rw = *wanted;
	slot = slot_take(t, n, rw);
	if (slot < 0) /* all are in use: the call as it is, once more */
		return kp_trap_interrupt(t, n, -ERESTARTNOINTR);
	rc = put_blob(t, tid, rw, slot);
	if (!rc) {
		pthread_mutex_lock(&t->lock);
		memcpy(t->pending[slot].wanted.args, rw->args, sizeof(rw->args));
		memcpy(t->pending[slot].blob, rw->blob, rw->blob_len);
		pthread_mutex_unlock(&t->lock);
		rc = stop_caller(t, n, -ERESTARTNOINTR);
	}
	if (rc) {
		slot_drop(t, slot);
		return rc == -ESRCH || rc == -EALREADY ? 0 : rc;
	}
	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) == 0 && (long)regs.rax == -ERESTARTNOINTR) {
		regs.orig_rax = (unsigned long)rw->nr;
		set_args(&regs, rw->args);
		if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
			slot_drop(t, slot);
	} else {
		slot_drop(t, slot);
	}
	(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	return 0;
}

#define PASSED_MAX 512
#define PASSED_KEPT 64 /* the newest are kept whatever they are: a handler may run before its thread's call goes on */

/* Is it over, that is, will it not be restarted any more? */
static bool is_over(const struct kp_passed *q)
{
	int now;

	if (q->key.nr == SYS_chdir || q->key.nr == SYS_execve || q->key.nr == SYS_execveat)
		return true;
	now = kp_task_call(q->key.tid);
	return now != q->key.nr && now != -EAGAIN;
}

/* An open of a FIFO may wait for as long as it takes, while others come and go. With the lock held. */
static void forget_over(struct kp_trap *t)
{
	unsigned count = HASH_COUNT(t->passed);
	struct kp_passed *q, *next;

	HASH_ITER (hh, t->passed, q, next) {
		if (count-- <= PASSED_KEPT)
			break;
		if (is_over(q)) {
			HASH_DEL(t->passed, q);
			free(q);
		}
	}
}

static struct kp_passed_key key_of(pid_t tid, const struct seccomp_data *d)
{
	struct kp_passed_key key;

	memset(&key, 0, sizeof(key)); /* padding too: it is hashed */
	key.tid = tid;
	key.nr = d->nr;
	memcpy(key.args, d->args, sizeof(key.args));
	return key;
}

/* Keeps what was asked for, should the call be restarted. With the lock held. */
static void remember_passed(struct kp_trap *t, pid_t tid, const struct kp_pending *p)
{
	struct kp_passed_key key = key_of(tid, &p->wanted);
	struct kp_passed *q;

	HASH_FIND(hh, t->passed, &key, sizeof(key), q);
	if (!q && HASH_COUNT(t->passed) >= PASSED_MAX)
		forget_over(t);
	if (!q && HASH_COUNT(t->passed) >= PASSED_MAX)
		q = t->passed;
	if (q)
		HASH_DEL(t->passed, q);
	else
		q = kp_calloc(1, sizeof(*q));
	q->key = key;
	q->asked = p->asked;
	HASH_ADD(hh, t->passed, key, sizeof(q->key), q);
}

/* Is this a rewritten call that a signal restarted? Then *n becomes what the guest had asked for. */
static enum kp_expected restarted(struct kp_trap *t, struct seccomp_notif *n)
{
	struct kp_passed_key key = key_of((pid_t)n->pid, &n->data);
	struct kp_passed *q;

	pthread_mutex_lock(&t->lock);
	HASH_FIND(hh, t->passed, &key, sizeof(key), q);
	if (q) {
		n->data.nr = q->asked.nr;
		memcpy(n->data.args, q->asked.args, sizeof(n->data.args));
		HASH_DEL(t->passed, q);
		free(q);
	}
	pthread_mutex_unlock(&t->lock);
	return q ? KP_EXPECT_AGAIN : KP_EXPECT_NONE;
}

void kp_passed_free(struct kp_trap *t)
{
	struct kp_passed *q, *next;

	HASH_ITER (hh, t->passed, q, next) {
		HASH_DEL(t->passed, q);
		free(q);
	}
}

static bool points_to_scratch(const struct seccomp_data *d)
{
	for (int i = 0; i < 6; i++)
		if (d->args[i] - KP_SCRATCH_BASE < KP_SCRATCH_SIZE)
			return true;
	return false;
}

static enum kp_expected pending_call(struct kp_trap *t, struct seccomp_notif *n)
{
	enum kp_expected found = KP_EXPECT_NONE;
	uint8_t now[KP_BLOB_MAX];

	if (!atomic_load(&t->pending_count))
		return KP_EXPECT_NONE;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < KP_SCRATCH_SLOTS && found == KP_EXPECT_NONE; i++) {
		struct kp_pending *p = &t->pending[i];

		if (!p->used || p->tid != (pid_t)n->pid || p->wanted.nr != n->data.nr ||
		    memcmp(p->wanted.args, n->data.args, sizeof(n->data.args)) != 0)
			continue;
		if (kp_mem_read((pid_t)n->pid, KP_SCRATCH_BASE + (uint64_t)i * KP_SCRATCH_SLOT, now, p->blob_len) == 0 &&
		    memcmp(now, p->blob, p->blob_len) == 0) {
			found = KP_EXPECT_GO;
			p->going = n->id;
			if (p->blob_len)
				remember_passed(t, (pid_t)n->pid, p);
			slot_clear(t, i);
		} else {
			n->data.nr = p->asked.nr;
			memcpy(n->data.args, p->asked.args, sizeof(n->data.args));
			found = KP_EXPECT_AGAIN;
			slot_free(t, i);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

enum kp_expected kp_trap_expected(struct kp_trap *t, struct seccomp_notif *n)
{
	enum kp_expected found = pending_call(t, n);

	return found == KP_EXPECT_NONE && points_to_scratch(&n->data) ? restarted(t, n) : found;
}

int kp_trap_go(struct kp_trap *t, const struct seccomp_notif *n)
{
	int rc = kp_trap_continue(t, n->id);

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < KP_SCRATCH_SLOTS; i++)
		if (t->pending[i].going == n->id)
			t->pending[i].going = 0;
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* Steps the stopped thread to the next syscall stop. */
static int to_syscall_stop(pid_t tid)
{
	int status;

	for (int tries = 0; tries < 16; tries++) {
		if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) < 0)
			return -errno;
		if (wait_tracee(&status) != tid || !WIFSTOPPED(status))
			return -ESRCH;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
	}
	return -EIO;
}

int kp_trap_inject(struct kp_trap *t, const struct seccomp_notif *n, int nr, const uint64_t args[6], int64_t value)
{
	struct user_regs_struct saved, regs;
	pid_t tid = (pid_t)n->pid;
	sigset_t all, old;
	int rc = stop_caller(t, n, -ERESTARTNOINTR);

	if (rc)
		return rc == -EALREADY ? 0 : rc;
	rc = -EIO;
	if (ptrace(PTRACE_SETOPTIONS, tid, NULL, PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_GETREGS, tid, NULL, &saved) < 0)
		goto out;
	/* No signal is delivered in the middle: the mask goes up and comes down again. */
	sigfillset(&all);
	if (ptrace(PTRACE_GETSIGMASK, tid, (void *)8UL, &old) < 0 || ptrace(PTRACE_SETSIGMASK, tid, (void *)8UL, &all) < 0)
		goto out;
	regs = saved;
	regs.rax = (unsigned long)-ERESTARTNOINTR;
	regs.orig_rax = (unsigned long)nr;
	set_args(&regs, args);
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) == 0 && to_syscall_stop(tid) == 0 && to_syscall_stop(tid) == 0) {
		regs = saved;
		regs.rax = (unsigned long)value;
		regs.orig_rax = (unsigned long)-1; /* not a call any more: nothing to restart */
		rc = ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0 ? -EIO : 0;
	}
	(void)ptrace(PTRACE_SETSIGMASK, tid, (void *)8UL, &old);
out:
	(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	return rc;
}
