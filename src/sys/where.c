/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Working directories of callers, remembered for a moment: asking the kernel costs as much as the rest of a stat's answer.
 *
 * A remembered one holds because nothing can have changed it. Only chdir and fchdir do that, they come here first, and the kernel
 * carries them out after our reply: from that reply until the thread is seen past its call nothing is remembered, and what was is void
 * (threads may share one, so it is void for all). A new process of the same number needs the numbers to go round once, which no
 * machine does within HOLDS_NS; in an exec, where a thread takes over another's number, the loader's first call makes all void.
 * Renames and removals of directories move the vfs' generation. The host's own directories, which others rename, are not remembered.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/internal.h"

#define HOLDS_NS 2000000
#define LOOK_NS 1000000
#define MIN_PID_MAX 32768
#define KNOWN 64

struct known {
	const struct kp_engine *engine;
	pid_t tid;
	unsigned epoch, generation;
	uint64_t since;
	char guest[256];
};

static _Thread_local struct known *known;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

void kp_where_init(struct kp_where *w)
{
	kp_autofree char *text = NULL;

	pthread_mutex_init(&w->lock, NULL);
	w->usable = !kp_read_file(AT_FDCWD, "/proc/sys/kernel/pid_max", 64, &text, NULL) && strtol(text, NULL, 10) >= MIN_PID_MAX;
}

/* Is the thread past the chdir that it was let into? Blocked in another call, or gone. */
static bool is_past(pid_t tid)
{
	char path[48], buf[32] = "";
	kp_autoclose int fd = -1;
	long nr;
	char *end;

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		return errno == ESRCH;
	nr = strtol(buf, &end, 10); /* or "running" */
	return end != buf && nr != SYS_chdir && nr != SYS_fchdir;
}

/* The lock is held. */
static void drop(struct kp_where *w, size_t i)
{
	w->moving[i] = 0;
	atomic_fetch_sub(&w->moving_count, 1);
}

void kp_where_moves(struct kp_engine *e, pid_t tid)
{
	struct kp_where *w = &e->where;
	size_t free_at = KP_ARRAY_LEN(w->moving);

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < KP_ARRAY_LEN(w->moving); i++)
		if (!w->moving[i])
			free_at = i;
	if (free_at < KP_ARRAY_LEN(w->moving)) {
		w->moving[free_at] = tid;
		atomic_fetch_add(&w->moving_count, 1);
	} else {
		w->usable = false; /* so many at once: better without */
	}
	atomic_fetch_add(&w->epoch, 1);
	pthread_mutex_unlock(&w->lock);
}

void kp_where_called(struct kp_engine *e, pid_t tid, bool exec)
{
	struct kp_where *w = &e->where;

	if (exec)
		atomic_fetch_add(&w->epoch, 1);
	if (!atomic_load(&w->moving_count))
		return;
	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < KP_ARRAY_LEN(w->moving); i++)
		if (w->moving[i] == tid)
			drop(w, i);
	pthread_mutex_unlock(&w->lock);
}

/* Nobody is on the way to another directory. Threads that make no further call are looked at now and then. */
static bool is_quiet(struct kp_where *w, uint64_t now)
{
	bool quiet = !atomic_load(&w->moving_count);

	if (quiet || now - atomic_load(&w->looked) < LOOK_NS)
		return quiet;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->looked, now);
	for (size_t i = 0; i < KP_ARRAY_LEN(w->moving); i++)
		if (w->moving[i] && is_past(w->moving[i]))
			drop(w, i);
	quiet = !atomic_load(&w->moving_count);
	pthread_mutex_unlock(&w->lock);
	return quiet;
}

bool kp_where_get(struct kp_call *c, struct kp_gpath *ret)
{
	struct known *k = known ? &known[(size_t)c->tid % KNOWN] : NULL;

	if (!k || k->tid != c->tid || k->engine != c->engine || k->epoch != atomic_load(&c->engine->where.epoch) ||
	    k->generation != atomic_load(&c->vfs->generation) || now_ns() - k->since > HOLDS_NS)
		return false;
	memcpy(ret->s, k->guest, strlen(k->guest) + 1);
	return true;
}

bool kp_where_begin(struct kp_call *c, struct kp_where_mark *ret)
{
	struct kp_where *w = &c->engine->where;

	ret->epoch = atomic_load(&w->epoch);
	ret->generation = atomic_load(&c->vfs->generation);
	ret->since = now_ns();
	return w->usable && is_quiet(w, ret->since);
}

void kp_where_put(struct kp_call *c, const struct kp_where_mark *mark, const struct kp_gpath *guest)
{
	size_t size = strlen(guest->s) + 1;
	struct known *k;

	if (!known)
		known = kp_calloc(KNOWN, sizeof(*known));
	k = &known[(size_t)c->tid % KNOWN];
	if (size > sizeof(k->guest))
		return;
	k->engine = c->engine;
	k->tid = c->tid;
	k->epoch = mark->epoch;
	k->generation = mark->generation;
	k->since = mark->since;
	memcpy(k->guest, guest->s, size);
}
