/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding threads still without a trace. Each is seized and interrupted by one thread of ours and rests in a stop that nobody else sees,
 * with its signals pending. What it waited in is made anew afterwards: the kernel does that itself where the call ended as
 * restartable, and where it ended as EINTR, which no handler has seen yet, its result becomes ERESTARTNOHAND: EINTR if a handler is
 * to run, the call anew if not. Whatever becomes of the holding thread, or of this process, the kernel lets the held go.
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "trap/internal.h"

#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514

struct kp_held {
	pid_t tid, pid;
	enum kp_held_state state;
	bool job_stopped; /* it rests in a stop of job control, where it stays */
	bool again;       /* its call was answered so that it is made again: only safe once it has stopped */
	UT_hash_handle hh;
};

void kp_hold_begin(struct kp_trap *t)
{
	pthread_mutex_lock(&t->hold.lock);
	t->hold.active = true;
	t->hold.closing = false;
	pthread_mutex_unlock(&t->hold.lock);
}

int kp_hold_add(struct kp_trap *t, pid_t tid, pid_t pid)
{
	struct kp_held *h;
	int r = 0;

	pthread_mutex_lock(&t->hold.lock);
	HASH_FIND(hh, t->hold.threads, &tid, sizeof(tid), h);
	if (h) {
		/* A thread that ran an exec has taken this number over. */
		r = h->state != KP_HELD_GONE ? 1 : 0;
	}
	if (!r && ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
		r = -errno;
	if (!r) {
		(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL); /* fails only when it is dying */
		if (!h) {
			h = kp_calloc(1, sizeof(*h));
			h->tid = tid;
			HASH_ADD(hh, t->hold.threads, tid, sizeof(h->tid), h);
		}
		h->state = KP_HELD_RUNS;
		h->pid = pid;
		h->job_stopped = h->again = false;
	}
	pthread_mutex_unlock(&t->hold.lock);
	return r;
}

/* News of one thread, taken. Ends of processes are left to who waits for them as a parent. */
static void look(struct kp_held *h)
{
	const int flags = WSTOPPED | WEXITED | WNOHANG | __WALL | __WNOTHREAD;

	while (h->state == KP_HELD_RUNS) {
		siginfo_t si = {0};

		if (waitid(P_PID, (id_t)h->tid, &si, flags | WNOWAIT) < 0) {
			h->state = KP_HELD_GONE;
		} else if (!si.si_pid) {
			return;
		} else if (si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED) {
			if (h->tid != h->pid)
				(void)waitid(P_PID, (id_t)h->tid, &si, WEXITED | WNOHANG | __WALL | __WNOTHREAD);
			h->state = KP_HELD_GONE;
		} else if (waitid(P_PID, (id_t)h->tid, &si, WSTOPPED | WNOHANG | __WALL | __WNOTHREAD) == 0 && si.si_pid) {
			if (si.si_status >> 8 == PTRACE_EVENT_STOP) {
				h->state = KP_HELD_STOPPED;
				h->job_stopped = (si.si_status & 0x7f) != SIGTRAP;
			} else { /* a signal came first: it is delivered */
				(void)ptrace(PTRACE_CONT, h->tid, NULL, (void *)(long)(si.si_status & 0x7f));
			}
		}
	}
}

size_t kp_hold_look(struct kp_trap *t, void (*fn)(pid_t tid, void *ctx), void *ctx)
{
	struct kp_held *h, *next;
	size_t running = 0;

	pthread_mutex_lock(&t->hold.lock);
	HASH_ITER (hh, t->hold.threads, h, next) {
		look(h);
		if (h->state == KP_HELD_RUNS && fn)
			fn(h->tid, ctx);
		running += h->state == KP_HELD_RUNS;
	}
	pthread_mutex_unlock(&t->hold.lock);
	return running;
}

void kp_hold_each(struct kp_trap *t, void (*fn)(pid_t pid, pid_t tid, void *ctx), void *ctx)
{
	struct kp_held *h, *next;

	pthread_mutex_lock(&t->hold.lock);
	HASH_ITER (hh, t->hold.threads, h, next)
		if (h->state != KP_HELD_GONE)
			fn(h->pid, h->tid, ctx);
	pthread_mutex_unlock(&t->hold.lock);
}

/* Calls that end in EINTR whenever they are interrupted, with nothing done, and may be made again. Not close(2) and the like. */
static bool made_anew(uint64_t nr)
{
	static const uint16_t calls[] = {
		SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_sendfile, SYS_splice, SYS_tee, /* sockets with a timeout */
		SYS_accept, SYS_accept4, SYS_connect, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg,
		SYS_epoll_wait, SYS_epoll_pwait, 441 /* epoll_pwait2 */, SYS_rt_sigtimedwait, SYS_semop, SYS_semtimedop, SYS_msgsnd,
		SYS_msgrcv, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_io_getevents, SYS_io_pgetevents, SYS_fallocate /* tmpfs */,
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(calls); i++)
		if (calls[i] == nr)
			return true;
	return false;
}

static void let_go(struct kp_held *h)
{
	struct user_regs_struct regs;

	/* orig_rax is -1 where the stop came between two calls, or a handler has been set up already. */
	if (!h->job_stopped && ptrace(PTRACE_GETREGS, h->tid, NULL, &regs) == 0 && (long)regs.orig_rax >= 0 && (long)regs.rax == -EINTR &&
	    made_anew(regs.orig_rax)) {
		regs.rax = (unsigned long)-ERESTARTNOHAND;
		(void)ptrace(PTRACE_SETREGS, h->tid, NULL, &regs);
	}
	(void)ptrace(PTRACE_DETACH, h->tid, NULL, NULL);
	h->state = KP_HELD_GONE;
}

void kp_hold_release(struct kp_trap *t)
{
	struct kp_held *h, *next;
	bool wait = true;

	pthread_mutex_lock(&t->hold.lock);
	t->hold.closing = true; /* no call is answered to be made again from here on */
	for (int tries = 0; wait && tries < 20000; tries++) {
		wait = false;
		HASH_ITER (hh, t->hold.threads, h, next) {
			look(h);
			wait |= h->again && h->state == KP_HELD_RUNS;
		}
		if (wait)
			(void)usleep(100);
	}
	HASH_ITER (hh, t->hold.threads, h, next)
		if (h->state == KP_HELD_STOPPED)
			let_go(h);
	pthread_mutex_unlock(&t->hold.lock);
}

void kp_hold_end(struct kp_trap *t)
{
	struct kp_held *h, *next;

	pthread_mutex_lock(&t->hold.lock);
	HASH_ITER (hh, t->hold.threads, h, next) {
		HASH_DEL(t->hold.threads, h);
		free(h);
	}
	t->hold.active = t->hold.closing = false;
	pthread_mutex_unlock(&t->hold.lock);
}

/*
 * For who cannot attach to a caller since it is held: its call is answered so that it is made again once it is let go (it has the stop before
 * it: it was interrupted). 1: done; 0: try again to attach; -EPERM: it is not; -ESRCH: it waits no
 * more.
 */
int kp_hold_answer(struct kp_trap *t, const struct seccomp_notif *n)
{
	pid_t tid = (pid_t)n->pid;
	struct kp_held *h = NULL;
	bool closing;
	int r = -EPERM;

	pthread_mutex_lock(&t->hold.lock);
	if (t->hold.active)
		HASH_FIND(hh, t->hold.threads, &tid, sizeof(tid), h);
	closing = t->hold.closing;
	if (h && !kp_trap_valid(t, n->id)) {
		r = -ESRCH; /* before Linux 5.19 a call that waits here is interrupted, and made again */
	} else if (h && !closing && h->state == KP_HELD_RUNS) {
		h->again = true;
		r = kp_trap_answer(t, n->id, 0, -ERESTARTNOINTR) ? -ESRCH : 1;
	} else if (h) {
		r = 0;
	}
	pthread_mutex_unlock(&t->hold.lock);
	if (r)
		return r;
	(void)usleep(200); /* it is about to be let go */
	return 0;
}
