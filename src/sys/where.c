/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Working directories of callers, remembered for a moment: asking the kernel costs as much as the rest of a stat's answer.
 *
 * A remembered one holds because nothing can have changed it. Only chdir and fchdir do that, they come here first, and the kernel
 * carries them out after our reply: from that reply until the thread is seen past its call nothing is remembered, and what was is void
 * (threads may share one, so it is void for all). A new process of the same number needs the numbers to go round once, which no
 * machine does within HOLDS_NS; in an exec, where a thread takes over another's number, the loader's first call makes all void.
 * Renames and removals of directories move the vfs' generation. The host's own directories, which others rename, are not remembered.
 *
 * Guests that ask often, or stay for longer than HOLDS_NS, are told where they are (kp_fast_place_put), for as long as nobody moves. There no time limits it:
 * a pidfd tells when the process has ended, long before another can have its number.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/internal.h"

#define HOLDS_NS 2000000
#define LOOK_NS 1000000
#define MIN_PID_MAX 32768
#define KNOWN 64
#define OFTEN 3
#define MIN_FILES 512 /* with fewer descriptors, calls may want them all */

struct known {
	const struct kp_engine *engine;
	pid_t tid;
	struct kp_where_mark mark;
	unsigned noted; /* names that the cache has been told, asked for from here */
	bool untold;    /* its end is not told: a thread */
	char guest[256];
};

static _Thread_local struct known *known;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

void kp_where_init(struct kp_where *w, bool told)
{
	kp_autofree char *text = NULL;
	struct rlimit files = {0};

	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->ends_lock, NULL);
	for (size_t i = 0; i < KP_ARRAY_LEN(w->watched); i++)
		w->watched[i].pidfd = -1;
	(void)getrlimit(RLIMIT_NOFILE, &files);
	w->ends_fd = told && files.rlim_cur >= MIN_FILES ? epoll_create1(EPOLL_CLOEXEC) : -1;
	w->usable = !kp_read_file(AT_FDCWD, "/proc/sys/kernel/pid_max", 64, &text, NULL) && strtol(text, NULL, 10) >= MIN_PID_MAX;
}

void kp_where_free(struct kp_where *w)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(w->watched); i++)
		(void)kp_close(w->watched[i].pidfd);
	(void)kp_close(w->ends_fd);
	pthread_mutex_destroy(&w->ends_lock);
	pthread_mutex_destroy(&w->lock);
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
	kp_fast_place_moves(e->vfs);
}

void kp_where_called(struct kp_engine *e, pid_t tid, bool exec)
{
	struct kp_where *w = &e->where;

	if (exec) {
		atomic_fetch_add(&w->epoch, 1);
		kp_fast_place_ended(e->vfs, tid);
	}
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

/* What is remembered of the caller, and holds. */
static struct known *find(struct kp_call *c)
{
	struct known *k = known ? &known[(size_t)c->tid % KNOWN] : NULL;

	if (!k || k->tid != c->tid || k->engine != c->engine || k->mark.epoch != atomic_load(&c->engine->where.epoch) ||
	    k->mark.generation != atomic_load(&c->vfs->generation) || now_ns() - k->mark.since > HOLDS_NS)
		return NULL;
	return k;
}

bool kp_where_get(struct kp_call *c, struct kp_gpath *ret)
{
	struct known *k = find(c);

	if (k)
		memcpy(ret->s, k->guest, strlen(k->guest) + 1);
	return k;
}

bool kp_where_begin(struct kp_call *c, struct kp_where_mark *ret)
{
	struct kp_where *w = &c->engine->where;

	ret->epoch = atomic_load(&w->epoch);
	ret->generation = atomic_load(&c->vfs->generation);
	ret->since = now_ns();
	kp_fast_place_begin(c->vfs, c->tid, &ret->fast);
	return w->usable && is_quiet(w, ret->since);
}

/* Will its end be told? Not of threads, which pidfds are not of: they ask the kernel. */
static bool ends_are_told(struct kp_call *c)
{
	struct kp_where *w = &c->engine->where;
	size_t i = (size_t)c->tid % KP_ARRAY_LEN(w->watched);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = i};
	bool told = false;

	if (w->ends_fd < 0)
		return false;
	pthread_mutex_lock(&w->ends_lock);
	told = w->watched[i].pid == c->tid && w->watched[i].pidfd >= 0;
	if (!told) {
		(void)kp_close(w->watched[i].pidfd);
		w->watched[i].pid = c->tid;
		w->watched[i].pidfd = (int)syscall(SYS_pidfd_open, c->tid, 0);
		/* Still the one that waits for us? Then it was when the descriptor was opened. */
		told = w->watched[i].pidfd >= 0 && kp_trap_valid(c->trap, c->n.id) &&
		       !epoll_ctl(w->ends_fd, EPOLL_CTL_ADD, w->watched[i].pidfd, &ev);
		if (!told)
			w->watched[i].pidfd = kp_close(w->watched[i].pidfd);
	}
	pthread_mutex_unlock(&w->ends_lock);
	return told;
}

int kp_engine_ends_fd(const struct kp_engine *e)
{
	return e->where.ends_fd;
}

void kp_engine_ended(struct kp_engine *e)
{
	struct kp_where *w = &e->where;
	struct epoll_event ev;

	/* One that took the other's place since counts as ended, too: it is asked for again. */
	while (epoll_wait(w->ends_fd, &ev, 1, 0) > 0) {
		size_t i = (size_t)ev.data.u64;

		pthread_mutex_lock(&w->ends_lock);
		w->watched[i].pidfd = kp_close(w->watched[i].pidfd);
		kp_fast_place_ended(e->vfs, w->watched[i].pid);
		w->watched[i].pid = 0;
		pthread_mutex_unlock(&w->ends_lock);
	}
}

static void tell(struct kp_call *c, struct known *k)
{
	k->untold = k->untold || !ends_are_told(c);
	if (!k->untold)
		(void)kp_fast_place_put(c->vfs, c->tid, &k->mark.fast, k->guest);
}

void kp_where_noted(struct kp_call *c)
{
	struct known *k = find(c);

	if (k && ++k->noted == OFTEN)
		tell(c, k);
}

void kp_where_put(struct kp_call *c, const struct kp_where_mark *mark, const struct kp_gpath *guest)
{
	size_t size = strlen(guest->s) + 1;
	struct known *k;
	bool again;

	if (!known)
		known = kp_calloc(KNOWN, sizeof(*known));
	k = &known[(size_t)c->tid % KNOWN];
	again = k->tid == c->tid && k->engine == c->engine;
	if (size > sizeof(k->guest))
		return;
	k->noted = again ? k->noted : 0;
	k->untold = again && k->untold;
	k->engine = c->engine;
	k->tid = c->tid;
	k->mark = *mark;
	memcpy(k->guest, guest->s, size);
	if (again)
		tell(c, k);
}
