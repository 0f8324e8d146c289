/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp listener: receive, validate, answer, inject descriptors. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "trap/internal.h"

/* Newer than Debian 12's headers. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

struct kp_trap *kp_trap_new(void)
{
	struct kp_trap *t = kp_pages(sizeof(*t));

	t->fd = t->scratch_fd = -1;
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->hold.lock, NULL);
	return t;
}

#define PAGE 4096U

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

bool kp_trap_can_seal(void)
{
	return syscall(KP_NR_MSEAL, 0, 0, 0) == 0;
}

int kp_trap_scratch_make(struct kp_trap *t, const char *loader, size_t more)
{
	void *here;

	t->scratch_size = KP_SCRATCH_SIZE + more;
	t->scratch_fd = memfd_create("kapsel-scratch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (t->scratch_fd < 0 || ftruncate(t->scratch_fd, (off_t)t->scratch_size) < 0)
		return -errno;
	/* One page more, which nobody shares (kp_fast_make). */
	here = mmap(NULL, t->scratch_size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (here == MAP_FAILED)
		return -errno;
	t->scratch = here;
	if (mmap(here, t->scratch_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, t->scratch_fd, 0) == MAP_FAILED)
		return -errno;
	t->loader = loader;
	if (kp_trap_can_seal())
		(void)kp_trap_name_loader(t, 0);
	/* This mapping is the last that can be written through. */
	if (fcntl(t->scratch_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	here = mmap((void *)(uintptr_t)KP_SCRATCH_BASE, KP_SCRATCH_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, t->scratch_fd, 0);
	return here == MAP_FAILED ? -errno : 0;
}

bool kp_trap_name_loader(struct kp_trap *t, uint32_t number)
{
	char *to = (char *)t->scratch + (KP_SCRATCH_LOADER - KP_SCRATCH_BASE) + number * KP_LOADER_NAME;
	size_t dir = (size_t)(strrchr(t->loader, '/') + 1 - t->loader);

	if (number >= KP_LOADER_NAMES || (number && !t->scratch[KP_SCRATCH_LOADER - KP_SCRATCH_BASE]) || strlen(t->loader) + 2 * number >= KP_LOADER_NAME)
		return false;
	memcpy(to, t->loader, dir);
	to += dir;
	for (uint32_t i = 0; i < number; i++, to += 2)
		memcpy(to, "./", 2);
	memcpy(to, t->loader + dir, strlen(t->loader + dir)); /* the rest is zeroes */
	return true;
}

void *kp_trap_more(const struct kp_trap *t)
{
	return t->scratch + KP_SCRATCH_SIZE;
}

int kp_trap_scratch(const struct kp_trap *t)
{
	return t->scratch_fd;
}

int kp_trap_listen(struct kp_trap *t, int listener_fd)
{
	struct seccomp_notif_addfd nobody = {.srcfd = (uint32_t)listener_fd};

	t->fd = listener_fd;
	if (ioctl(t->fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) < 0)
		KP_DEBUG(TRAP, "no sync wake-up: %s", strerror(errno));
	return ioctl(t->fd, SECCOMP_IOCTL_NOTIF_ADDFD, &nobody) < 0 && errno != ENOENT ? -EOPNOTSUPP : 0;
}

struct kp_trap *kp_trap_free(struct kp_trap *t)
{
	if (!t)
		return NULL;
	kp_close(t->fd);
	kp_close(t->scratch_fd);
	if (t->scratch)
		(void)munmap(t->scratch, t->scratch_size + PAGE);
	kp_passed_free(t);
	for (size_t i = 0; i < t->slots_used; i++)
		free(t->pending[i].blob);
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->hold.lock);
	return kp_pages_free(t, sizeof(*t));
}

int kp_trap_receive(struct kp_trap *t, struct seccomp_notif *n)
{
	memset(n, 0, sizeof(*n)); /* the kernel insists */
	return ioctl(t->fd, SECCOMP_IOCTL_NOTIF_RECV, n) < 0 ? -errno : 0;
}

bool kp_trap_pending(struct kp_trap *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

bool kp_trap_valid(struct kp_trap *t, uint64_t id)
{
	return ioctl(t->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static int send_response(struct kp_trap *t, struct seccomp_notif_resp *r)
{
	if (ioctl(t->fd, SECCOMP_IOCTL_NOTIF_SEND, r) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int kp_trap_answer(struct kp_trap *t, uint64_t id, int64_t value, int error)
{
	struct seccomp_notif_resp r = {.id = id, .val = error ? 0 : value, .error = error};

	return send_response(t, &r);
}

int kp_trap_continue(struct kp_trap *t, uint64_t id)
{
	struct seccomp_notif_resp r = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return send_response(t, &r);
}

/* Keeps a thread on one core for a moment. False: it stays where it may be. */
static bool pin(pid_t tid, const cpu_set_t *core, cpu_set_t *ret_before)
{
	return sched_getaffinity(tid, sizeof(*ret_before), ret_before) == 0 && CPU_COUNT(ret_before) > 1 &&
	       sched_setaffinity(tid, sizeof(*core), core) == 0;
}

static pid_t own_session(void)
{
	static atomic_int session; /* a supervisor does not change it once it has guests */

	if (!atomic_load(&session))
		atomic_store(&session, getsid(0));
	return atomic_load(&session);
}

/* Only where the two run is decided by it, so that an answer may be a little old: threads hardly ever change their session. */
static bool in_own_session(pid_t tid)
{
	static _Thread_local struct {
		pid_t tid;
		unsigned uses;
		bool own;
	} last;

	if (last.tid != tid || last.uses++ % 64 == 0) {
		last.own = getsid(tid) == own_session();
		last.tid = tid;
		last.uses = 1;
	}
	return last.own;
}

/*
 * The caller installs a descriptor itself while we wait, and this knows no sync wake-up: unless both stay here, one is woken on an idle
 * core, which costs several times the rest of the call. Within one session (one group of the scheduler, see sched(7), autogroup) we stay
 * anyway.
 */
struct together {
	pid_t tid;
	cpu_set_t theirs, ours;
	bool pinned_them, pinned_us;
};

static void stay_together(struct together *g, pid_t tid)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	g->tid = tid;
	g->pinned_them = pin(tid, &here, &g->theirs);
	g->pinned_us = !in_own_session(tid) && pin(0, &here, &g->ours);
}

static void part(const struct together *g)
{
	if (g->pinned_us)
		(void)sched_setaffinity(0, sizeof(g->ours), &g->ours);
	if (g->pinned_them)
		(void)sched_setaffinity(g->tid, sizeof(g->theirs), &g->theirs);
}

/*
 * Not with the answer in one (SECCOMP_ADDFD_FLAG_SEND): who is stopped or frozen while he waits in it has answered, with 0 and without a
 * descriptor (kernel/seccomp.c, seccomp_notify_addfd: the reply stays when the request is taken back). This one is made anew, as if never made.
 */
static int add_fd(const struct kp_trap *t, uint64_t id, int fd, bool cloexec)
{
	struct seccomp_notif_addfd a = {
		.id = id,
		.srcfd = (uint32_t)fd,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
	};
	int n = ioctl(t->fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a);

	return n < 0 ? -errno : n;
}

int kp_trap_add_fd(struct kp_trap *t, uint64_t id, pid_t tid, int fd, bool cloexec)
{
	struct together g;
	int n;

	stay_together(&g, tid);
	n = add_fd(t, id, fd, cloexec);
	part(&g);
	return n;
}

void kp_trap_add_fds(struct kp_trap *t, uint64_t id, pid_t tid, const int *fds, int *numbers, size_t count)
{
	struct together g;

	stay_together(&g, tid);
	for (size_t i = 0; i < count; i++)
		numbers[i] = fds[i] < 0 ? -1 : add_fd(t, id, fds[i], true);
	part(&g);
}

int kp_trap_answer_fd(struct kp_trap *t, uint64_t id, pid_t tid, int fd)
{
	int n = kp_trap_add_fd(t, id, tid, fd, true);

	return n < 0 ? n : kp_trap_answer(t, id, n, 0);
}
