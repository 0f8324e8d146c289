/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that the kernel carries out itself, and that change what is remembered of their callers: chdir and fchdir. Each comes here
 * first. From the reply that lets a thread in until it is seen past its call nothing is remembered, and what was is void: threads may share
 * the directory (CLONE_FS), so it is void for all.
 */
#include <signal.h>

#include "sys/internal.h"

#define LOOK_NS 1000000

void kp_passage_init(struct kp_passage *p, const int *calls, size_t count, bool usable)
{
	pthread_mutex_init(&p->lock, NULL);
	p->calls = calls;
	p->call_count = count;
	p->usable = usable;
}

void kp_passage_free(struct kp_passage *p)
{
	pthread_mutex_destroy(&p->lock);
}

/* Is the thread past the call that it was let into? Blocked in another one, or gone. */
static bool is_past(const struct kp_passage *p, pid_t tid)
{
	int nr = kp_task_call(tid);

	for (size_t i = 0; i < p->call_count; i++)
		if (nr == p->calls[i])
			return false;
	if (nr == -ESRCH)
		return kill(tid, 0) < 0 && errno == ESRCH;
	return nr != -EAGAIN; /* running: it may not have begun */
}

/* The lock is held. */
static void drop(struct kp_passage *p, size_t i)
{
	p->inside[i] = 0;
	atomic_fetch_sub(&p->count, 1);
}

/* Threads that make no further call are seen past it by looking. The lock is held. */
static void look(struct kp_passage *p)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(p->inside); i++)
		if (p->inside[i] && is_past(p, p->inside[i]))
			drop(p, i);
}

static bool take_place(struct kp_passage *p, pid_t tid)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(p->inside); i++) {
		if (p->inside[i])
			continue;
		p->inside[i] = tid;
		atomic_fetch_add(&p->count, 1);
		return true;
	}
	return false;
}

void kp_passage_enter(struct kp_passage *p, pid_t tid)
{
	pthread_mutex_lock(&p->lock);
	if (!take_place(p, tid)) {
		look(p);
		if (!take_place(p, tid))
			p->usable = false; /* so many at once: better without */
	}
	atomic_fetch_add(&p->epoch, 1);
	pthread_mutex_unlock(&p->lock);
}

void kp_passage_called(struct kp_passage *p, pid_t tid, bool exec)
{
	if (exec)
		atomic_fetch_add(&p->epoch, 1);
	if (!atomic_load(&p->count))
		return;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < KP_ARRAY_LEN(p->inside); i++)
		if (p->inside[i] == tid)
			drop(p, i);
	pthread_mutex_unlock(&p->lock);
}

bool kp_passage_is_quiet(struct kp_passage *p, uint64_t now_ns)
{
	if (!p->usable)
		return false;
	if (!atomic_load(&p->count) || now_ns - atomic_load(&p->looked) < LOOK_NS)
		return !atomic_load(&p->count);
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->looked, now_ns);
	look(p);
	pthread_mutex_unlock(&p->lock);
	return !atomic_load(&p->count);
}
