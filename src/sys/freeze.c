/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All guests held still at one instant: that of the last thread's stop. A thread that waits for us is answered and stops then: the
 * workers go on meanwhile. What does not stop is held all the same where it waits in the kernel for something that is held: a
 * vfork's caller for its child; who syncs or reads for the disk; a caller whose call takes us long for our answer. It stops when that comes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/internal.h"
#include "vfs/proc.h"

#define STOP_MS 3000 /* for all to stop */
#define LONG_MS 200  /* a call that waits for us so long is left to wait */

struct freeze {
	struct kp_engine *engine;
	int (*fn)(void *ctx, struct kp_err *err);
	void *ctx;
	struct kp_err *err;
	int64_t begun_us;
	pid_t caller; /* its call is what asks for it: it stops when it is answered; 0: none */
	size_t found, blocked, running; /* new threads; that cannot be attached to; that neither stopped nor are held */
	pid_t culprit;
	int r;
};

static int64_t now_us(void)
{
	return kp_clock_us(CLOCK_MONOTONIC);
}

/* A traced thread rests as long as its tracer, another guest, does. */
static bool held_by_tracer(struct freeze *f, pid_t tid)
{
	pid_t tracer = kp_task_tracer(tid);

	return tracer && kp_task_state(tid) == 't' && kp_proc_is_guest(f->engine->vfs, kp_proc_tgid(tracer));
}

static void add_thread(struct freeze *f, pid_t tid, pid_t pid)
{
	int r = kp_hold_add(f->engine->trap, tid, pid);
	char state;

	if (!r)
		f->found++;
	if (r != -EPERM)
		return;
	state = kp_task_state(tid);
	if (state && state != 'Z' && state != 'X' && !held_by_tracer(f, tid)) {
		f->blocked++;
		f->culprit = tid;
	}
}

/* The processes that a thread has made, or was left with. False: the kernel does not tell. */
static bool add_children(struct kp_strings *todo, const char *task)
{
	kp_autofree char *path = kp_asprintf("%s/children", task), *text = NULL;
	char *word, *rest = NULL;
	int r = kp_read_file(AT_FDCWD, path, 1U << 24, &text, NULL);

	for (word = r ? NULL : strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		kp_strings_add(todo, word);
	return r != -ENOENT || access(task, F_OK) < 0;
}

/* The threads of a process, and what they have made; pid "self": us, who are not held. */
static bool add_process(struct freeze *f, const char *pid, struct kp_strings *todo)
{
	kp_autofree char *path = kp_asprintf("/proc/%s/task", pid);
	pid_t number = (pid_t)strtol(pid, NULL, 10);
	DIR *d = opendir(path);
	struct dirent *entry;
	bool told = true;

	while (d && (entry = readdir(d))) {
		kp_autofree char *task = kp_asprintf("%s/%s", path, entry->d_name);
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0)
			continue;
		if (number)
			add_thread(f, tid, number);
		told &= !todo || add_children(todo, task);
	}
	if (d)
		(void)closedir(d);
	return told;
}

/* Where the kernel does not tell who has which children. */
static int scan_everybody(struct freeze *f)
{
	DIR *d = opendir("/proc");
	struct dirent *entry;

	if (!d)
		return kp_fail_errno(f->err, errno, "/proc");
	while ((entry = readdir(d))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && kp_proc_is_guest(f->engine->vfs, pid))
			(void)add_process(f, entry->d_name, NULL);
	}
	(void)closedir(d);
	return 0;
}

static int scan(struct freeze *f)
{
	struct kp_strings kp_autostrings todo = {0};
	bool told;

	f->found = f->blocked = 0;
	told = add_process(f, "self", &todo);
	while (told && todo.count) {
		kp_autofree char *pid = kp_strings_pop(&todo);

		told = add_process(f, pid, &todo);
	}
	return told ? 0 : scan_everybody(f);
}

/* Calls that may take long in the kernel and change nothing that is copied: their callers stop when they return. */
static bool changes_nothing(int nr)
{
	static const int calls[] = {SYS_vfork, SYS_clone, SYS_clone3, SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_sync_file_range,
				    SYS_msync, SYS_read, SYS_pread64, SYS_readv, SYS_preadv, SYS_preadv2};

	for (size_t i = 0; i < KP_ARRAY_LEN(calls); i++)
		if (calls[i] == nr)
			return true;
	return false;
}

static void on_running(pid_t tid, void *ctx)
{
	struct freeze *f = ctx;

	if (tid == f->caller)
		return;
	if (kp_task_state(tid) == 'D') {
		int nr = kp_task_call(tid);
		const struct kp_row *row = nr < 0 ? NULL : kp_row_of(nr);

		if (changes_nothing(nr))
			return;
		if (row && row->action == KP_EMULATE && now_us() - f->begun_us > LONG_MS * 1000)
			return;
	}
	f->running++;
	f->culprit = tid;
}

/* Waits for those that were found. */
static void wait_stopped(struct freeze *f)
{
	for (int tries = 0; tries < 50; tries++) {
		f->running = 0;
		if (!kp_hold_look(f->engine->trap, on_running, f) || !f->running)
			return;
		if (tries > 10)
			(void)usleep(200);
		else
			(void)sched_yield();
	}
}

static int refuse(struct freeze *f)
{
	kp_autofree char *comm = NULL;
	pid_t tracer = kp_task_tracer(f->culprit);
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", f->culprit);
	if (kp_read_file(AT_FDCWD, path, 64, &comm, NULL))
		comm = kp_strdup("?");
	comm[strcspn(comm, "\n")] = '\0';
	kp_printable(comm);
	if (f->blocked && tracer) {
		(void)kp_fail(f->err, EBUSY, "%s: process %d (%s) cannot be stopped: process %d traces it", f->engine->instance, f->culprit, comm,
			      tracer);
		return kp_hint(f->err, "end the debugger, or have it stop the process");
	}
	if (f->blocked)
		return kp_fail(f->err, EBUSY, "%s: process %d (%s) cannot be stopped: the kernel lets nobody attach to it", f->engine->instance,
			       f->culprit, comm);
	return kp_fail(f->err, EBUSY, "%s: process %d (%s) did not stop within %d seconds", f->engine->instance, f->culprit, comm,
		       STOP_MS / 1000);
}

/* Until a look at all that starts when all known ones have stopped finds no other. */
static int stop_all(struct freeze *f)
{
	bool settled = false;
	int r;

	for (;;) {
		r = scan(f);
		if (r < 0 || (settled && !f->found && !f->blocked))
			return r;
		wait_stopped(f);
		settled = !f->running;
		if (now_us() - f->begun_us > STOP_MS * 1000 && (f->blocked || f->running || f->found))
			return refuse(f);
		if (f->blocked)
			(void)usleep(1000);
	}
}

static void *holder(void *arg)
{
	struct freeze *f = arg;

	f->r = stop_all(f);
	if (!f->r) {
		int64_t stopped = now_us(), spent = kp_clock_us(CLOCK_THREAD_CPUTIME_ID);

		KP_DEBUG(TRAP, "all guests stopped after %lld us", (long long)(stopped - f->begun_us));
		kp_vfs_write_lock(f->engine->vfs);
		f->r = f->fn(f->ctx, f->err);
		kp_vfs_unlock(f->engine->vfs);
		KP_DEBUG(TRAP, "they were worked on for %lld us, %lld us of these on a processor", (long long)(now_us() - stopped),
			 (long long)(kp_clock_us(CLOCK_THREAD_CPUTIME_ID) - spent));
	}
	kp_hold_release(f->engine->trap);
	return NULL;
}

int kp_engine_freeze(struct kp_engine *e, int (*fn)(void *ctx, struct kp_err *err), void *ctx, uint64_t *ret_us, struct kp_err *err)
{
	struct freeze f = {.engine = e, .fn = fn, .ctx = ctx, .err = err, .begun_us = now_us(), .caller = kp_engine_serves};
	pthread_t thread;
	int rc;

	pthread_mutex_lock(&e->freeze_lock);
	kp_hold_begin(e->trap);
	rc = pthread_create(&thread, NULL, holder, &f);
	if (!rc)
		(void)pthread_join(thread, NULL);
	kp_hold_end(e->trap);
	pthread_mutex_unlock(&e->freeze_lock);
	if (rc)
		return kp_fail_errno(err, rc, "%s: cannot be stopped", e->instance);
	if (ret_us)
		*ret_us = (uint64_t)(now_us() - f.begun_us);
	return f.r;
}

void kp_engine_each_held(struct kp_engine *e, void (*fn)(pid_t pid, pid_t tid, void *ctx), void *ctx)
{
	kp_hold_each(e->trap, fn, ctx);
}
