/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: workers that take notifications, run the row's handler and carry out its reply. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loader/blob.h"
#include "sys/internal.h"
#include "sys/nettext.h"
#include "sys/ports.h"
#include "vfs/live.h"
#include "vfs/proc.h"

#define WORKER_STACK (512U << 10)

_Thread_local pid_t kp_engine_serves;

/* The kernel finds room for the descriptor first; here it turns out last that there is none. */
static void unmake(struct kp_call *c)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));

	kp_vfs_write_lock(c->vfs);
	if (!kp_resolve_exact(c->vfs, c->made, c->tid, n))
		(void)kp_unlink(c->vfs, n, kp_call_cred(c));
	kp_vfs_unlock(c->vfs);
	free(n);
}

static void carry_out(struct kp_call *c, int rc)
{
	uint64_t id = c->n.id;

	if (rc < 0) {
		(void)kp_trap_answer(c->trap, id, 0, rc);
		return;
	}
	switch (c->reply) {
	case KP_REPLY_VALUE:
		(void)kp_trap_answer(c->trap, id, c->value, 0);
		break;
	case KP_REPLY_FD:
		rc = kp_trap_add_fd(c->trap, id, c->tid, c->fd, c->cloexec);
		/* When the caller closes it, it must be closed: its locks go then, who waits at the other end is told, and who watches. */
		c->fd = kp_close(c->fd);
		c->value = rc;
		if (c->made && (rc == -EMFILE || rc == -ENFILE))
			unmake(c);
		if (rc >= 0 && c->takes_terminal && !kp_trap_inject(c->trap, &c->n, SYS_ioctl, (uint64_t[6]){(uint64_t)rc, TIOCSCTTY, 0}, rc))
			break;
		if (rc != -ENOENT)
			(void)kp_trap_answer(c->trap, id, rc, rc < 0 ? rc : 0);
		break;
	case KP_REPLY_KERNEL:
		(void)kp_trap_continue(c->trap, id);
		break;
	case KP_REPLY_REWRITE:
		rc = kp_trap_rewrite(c->trap, &c->n, c->rewrite);
		if (rc == -EPERM)
			rc = kp_traced_rewrite(c);
		if (rc)
			KP_DEBUG(TRAP, "%d: %s is not rewritten: %d", c->tid, c->row->name, rc);
		if (rc)
			(void)kp_trap_answer(c->trap, id, 0, rc == -EPERM ? -EPERM : -EAGAIN);
		break;
	case KP_REPLY_DONE:
		break;
	}
}

static uint64_t now_us(void)
{
	return (uint64_t)kp_clock_us(CLOCK_MONOTONIC);
}

static bool changes_dir(const struct kp_call *c)
{
	return c->n.data.nr == SYS_chdir || c->n.data.nr == SYS_fchdir;
}

static int handle(struct kp_call *c)
{
	int rc;

	c->looked = 0;
	rc = c->row->handler(c);
	while (rc == -ERESTART && c->stale) {
		kp_live_refresh(c->vfs, c->stale);
		c->looked++;
		c->reply = KP_REPLY_VALUE;
		rc = c->row->handler(c);
	}
	return rc;
}

static void serve(struct kp_call *c)
{
	uint64_t begun = c->engine->trace ? now_us() : 0;
	int rc;

	c->tid = kp_engine_serves = (pid_t)c->n.pid;
	c->raw = (uint64_t *)c->n.data.args;
	c->reply = KP_REPLY_VALUE;
	c->value = 0;
	c->fd = -1;
	c->cloexec = c->takes_terminal = c->noted = false;
	kp_traced_settle(c);
	kp_where_called(c->engine, c->tid, c->n.data.nr == KP_NR_START);
	if (c->n.data.nr == KP_NR_START) {
		c->row = NULL;
		carry_out(c, kp_exec_start(c));
		return;
	}
	if (kp_trap_expected(c->trap, &c->n) == KP_EXPECT_GO) {
		if (changes_dir(c))
			kp_where_moves(c->engine, c->tid);
		(void)kp_trap_go(c->trap, &c->n);
		return;
	}
	c->row = kp_row_of(c->n.data.nr);
	if (!c->row || !c->row->handler) {
		(void)kp_trap_answer(c->trap, c->n.id, 0, -ENOSYS);
		return;
	}
	rc = kp_call_snapshot(c);
	if (!rc)
		rc = handle(c);
	if (rc < 0 && kp_fault("broker")) {
		c->reply = KP_REPLY_KERNEL;
		rc = 0;
	}
	if (!rc && changes_dir(c))
		kp_where_moves(c->engine, c->tid);
	if (c->noted)
		kp_fast_patch(c);
	carry_out(c, rc);
	c->fd = kp_close(c->fd);
	if (c->engine->trace)
		kp_trace(c->engine, c, rc, now_us() - begun);
	kp_call_release(c);
}

/*
 * One worker receives, the others rest: a waiting listener wakes all who wait (kernel/seccomp.c, recv_wait_event is not exclusive), and
 * with sync wake-up one receiver on the caller's own core is fastest. Before long work the receiver hands its turn to a resting
 * worker, or to a new one. While calls of several threads queue up, there is one receiver more for each core.
 */
static void *worker(void *arg);

static int add_worker(struct kp_engine *e)
{
	pthread_attr_t attr;
	int rc;

	if (e->worker_count >= KP_MAX_WORKERS)
		return EAGAIN;
	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, WORKER_STACK);
	rc = pthread_create(&e->workers[e->worker_count], &attr, worker, e);
	if (!rc)
		e->worker_count++;
	pthread_attr_destroy(&attr);
	return rc;
}

struct turn {
	struct kp_engine *engine;
	bool handed_on;
	unsigned calls, quiet; /* served in this turn; looks in a row that found nothing waiting */
};

/* The lock is held. */
static void bring_another(struct kp_engine *e)
{
	if (!e->resting && add_worker(e))
		KP_DEBUG(TRAP, "all %zu workers are busy", e->worker_count);
	pthread_cond_signal(&e->turn);
}

static void hand_on(void *ctx)
{
	struct turn *t = ctx;
	struct kp_engine *e = t->engine;

	if (t->handed_on)
		return;
	t->handed_on = true;
	pthread_mutex_lock(&e->turn_lock);
	e->receivers--;
	bring_another(e);
	pthread_mutex_unlock(&e->turn_lock);
}

#define LOOK_EVERY 8    /* calls: a look costs a tenth of one */
#define QUIET_ENOUGH 16 /* looks, before one of several receivers rests */

/* Before a call is answered, so that one more that waits is another thread's: are more receivers of use, or fewer? */
static void adjust_receivers(struct turn *t)
{
	struct kp_engine *e = t->engine;
	bool pending;

	if (t->handed_on || ++t->calls % LOOK_EVERY)
		return;
	pending = kp_trap_pending(e->trap);
	t->quiet = pending ? 0 : t->quiet + 1;
	if (!pending && t->quiet < QUIET_ENOUGH)
		return;
	pthread_mutex_lock(&e->turn_lock);
	if (pending && e->wanted < e->cores) {
		e->wanted++;
		bring_another(e);
	} else if (!pending && e->wanted > 1) {
		e->wanted--;
		t->handed_on = e->receivers > e->wanted; /* never the last one: it might be long over its call */
		e->receivers -= t->handed_on;
	}
	pthread_mutex_unlock(&e->turn_lock);
	t->quiet = 0;
}

/* Rests until a receiver is missing. */
static void take_turn(struct kp_engine *e)
{
	pthread_mutex_lock(&e->turn_lock);
	e->resting++;
	while (e->receivers >= e->wanted && !atomic_load(&e->stopping))
		pthread_cond_wait(&e->turn, &e->turn_lock);
	e->resting--;
	e->receivers++;
	pthread_mutex_unlock(&e->turn_lock);
}

static void *worker(void *arg)
{
	struct kp_engine *e = arg;
	struct kp_call *c = kp_calloc(1, sizeof(*c));
	struct turn turn = {.engine = e, .handed_on = true};
	int rc;

	c->engine = e;
	c->vfs = e->vfs;
	c->trap = e->trap;
	kp_slow_ctx = &turn;
	kp_slow_hook = hand_on;
	for (;;) {
		if (turn.handed_on)
			take_turn(e);
		turn.handed_on = false;
		rc = kp_trap_receive(e->trap, &c->n);
		if (!rc) {
			adjust_receivers(&turn);
			serve(c);
		} else if (atomic_load(&e->stopping) || (rc != -ENOENT && rc != -EINTR)) {
			break;
		}
	}
	free(c);
	return NULL;
}

/* The loader must lie where exec is allowed: the run directory, else the store. */
static int place_loader(struct kp_engine *e, struct kp_err *err)
{
	struct statvfs fs;
	int fd, rc;

	if (kp_path_join(e->loader_path, sizeof(e->loader_path), e->run_dir, "loader"))
		return kp_fail_errno(err, ENAMETOOLONG, "%s", e->run_dir);
	if (statvfs(e->run_dir, &fs) == 0 && fs.f_flag & ST_NOEXEC) {
		(void)kp_fail(err, EACCES, "%s: the file system does not allow exec", e->run_dir);
		return kp_hint(err, "set XDG_RUNTIME_DIR to a directory of yours that does");
	}
	(void)unlink(e->loader_path);
	fd = open(e->loader_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0555);
	if (fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot write", e->loader_path);
	rc = kp_write_full(fd, kp_loader_start, (size_t)(kp_loader_end - kp_loader_start));
	if (!rc && fchmod(fd, 0555) < 0)
		rc = -errno;
	(void)kp_close(fd);
	return rc ? kp_fail_errno(err, -rc, "%s: cannot write", e->loader_path) : 0;
}

/* That this process may run on, 8 at most. */
static int count_cores(void)
{
	cpu_set_t may;
	int count = sched_getaffinity(0, sizeof(may), &may) < 0 ? 1 : CPU_COUNT(&may);

	return KP_MAX(1, KP_MIN(count, 8));
}

/* Guests run as the user who starts them, root too without capabilities (spawn.c). */
static void read_cred(struct kp_cred *cred)
{
	int n = getgroups((int)KP_ARRAY_LEN(cred->groups), cred->groups);

	cred->uid = geteuid();
	cred->gid = getegid();
	cred->group_count = n > 0 ? (size_t)n : 0;
}

static int may_look(struct kp_err *err)
{
	const char *what;
	int rc = kp_trap_allowed(&what);

	if (!rc)
		return 0;
	(void)kp_fail(err, -rc, "%s: programs cannot be looked into here", what);
	return kp_hint(err, "a container's filter or the administrator (Yama) refuses it; `kapsel doctor` tells what this host offers");
}

static const struct kp_policy permissive = {.net = {.mode = KP_NETWORK_HOST}};

static int prepare(struct kp_engine *e, const struct kp_engine_options *o, struct kp_err *err)
{
	char sockets[PATH_MAX];
	int rc = may_look(err);

	if (!rc)
		rc = place_loader(e, err);
	if (!rc)
		rc = kp_path_join(sockets, sizeof(sockets), o->run_dir, "s"); /* shorter than the loader's */
	if (!rc && mkdir(sockets, 0700) < 0 && errno != EEXIST)
		rc = kp_fail_errno(err, errno, "%s: cannot make directory", sockets);
	if (!rc && o->trace_path) {
		e->trace = fopen(o->trace_path, "we");
		if (!e->trace)
			rc = kp_fail_errno(err, errno, "%s: cannot write the trace", o->trace_path);
	}
	return rc ? rc : kp_spawner_begin(e, err);
}

int kp_engine_new(const struct kp_engine_options *o, struct kp_engine **ret_engine, struct kp_err *err)
{
	struct kp_engine *e = kp_calloc(1, sizeof(*e));
	int rc;

	e->level = o->level;
	e->policy = o->policy ? o->policy : &permissive;
	e->run_dir = kp_strdup(o->run_dir);
	e->instance = kp_strdup(o->instance ? o->instance : "");
	e->names = kp_names_new();
	e->peers = kp_peers_new();
	e->ports = kp_ports_new();
	e->trap = kp_trap_new();
	e->wanted = 1;
	e->cores = (size_t)count_cores();
	read_cred(&e->cred);
	pthread_mutex_init(&e->exec_lock, NULL);
	kp_programs_init(&e->programs);
	pthread_mutex_init(&e->trace_lock, NULL);
	pthread_mutex_init(&e->freeze_lock, NULL);
	kp_lent_init(&e->lent);
	pthread_mutex_init(&e->turn_lock, NULL);
	pthread_cond_init(&e->turn, NULL);
	kp_fast_init(e);
	kp_where_init(&e->where, e->fast);
	rc = prepare(e, o, err);
	if (rc)
		e = kp_engine_free(e);
	*ret_engine = e;
	return rc;
}

int kp_engine_start(struct kp_engine *e, struct kp_vfs *vfs, const struct kp_limits *limits, const struct kp_engine_group *group, struct kp_err *err)
{
	char shared[PATH_MAX + 8];
	int listener = -1, rc;

	e->vfs = vfs;
	kp_vfs_set_net_text(e->vfs, kp_sockets_text, e);
	(void)snprintf(shared, sizeof(shared), "%.*s/.ports", (int)(strrchr(e->run_dir, '/') - e->run_dir), e->run_dir);
	kp_ports_share(e->ports, shared);
	for (size_t i = 0; i < e->policy->publish_count; i++)
		kp_ports_publish(e->ports, e->policy->publish[i].udp, e->policy->publish[i].host, e->policy->publish[i].guest);
	(void)umask(0); /* guests' own umasks are applied by hand */
	rc = kp_limits_start(e, limits, group, err);
	if (!rc && kp_fast_start(e))
		rc = kp_fail(err, EIO, "fast path: /proc does not tell what filters there are");
	if (!rc)
		rc = kp_spawner_ready(e, &listener, err);
	if (rc)
		return rc;
	rc = kp_trap_listen(e->trap, listener);
	if (rc) {
		(void)kp_fail(err, -rc, "seccomp: no descriptors can be put into programs");
		return kp_hint(err, "`kapsel doctor` tells what this kernel offers; Linux 5.13 or newer is needed");
	}
	rc = add_worker(e);
	return rc ? kp_fail_errno(err, rc, "workers: cannot start") : 0;
}

static void on_wake(int sig)
{
	(void)sig;
}

/* Newer kernels end the wait when the last filtered task is gone; older ones wait for ever: a signal interrupts them. */
static void stop_workers(struct kp_engine *e)
{
	struct sigaction wake = {.sa_handler = on_wake};

	(void)sigaction(SIGRTMIN + 8, &wake, NULL);
	for (size_t i = 0; i < e->worker_count; i++) {
		struct timespec until;

		do {
			pthread_mutex_lock(&e->turn_lock);
			pthread_cond_broadcast(&e->turn);
			pthread_mutex_unlock(&e->turn_lock);
			(void)pthread_kill(e->workers[i], SIGRTMIN + 8);
			(void)clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_nsec += 1000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
		} while (pthread_clockjoin_np(e->workers[i], NULL, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
	}
}

void kp_engine_stop(struct kp_engine *e)
{
	if (atomic_exchange(&e->stopping, true))
		return;
	if (e->vfs)
		kp_vfs_set_net_text(e->vfs, NULL, NULL);
	kp_limits_stop(e);
	/* First: when the spawner goes, the listener has nothing more to wait for. */
	kp_spawner_stop(e);
	stop_workers(e);
	while (atomic_load(&e->waits.calls)) /* their callers are gone, as they see within moments */
		(void)usleep(1000);
	kp_exec_free(e);
	e->names = kp_names_free(e->names);
	e->ports = kp_ports_free(e->ports);
	if (e->trace)
		(void)fclose(e->trace);
	(void)unlink(e->loader_path);
}

struct kp_engine *kp_engine_free(struct kp_engine *e)
{
	if (!e)
		return NULL;
	kp_engine_stop(e);
	kp_trap_free(e->trap);
	kp_peers_free(e->peers);
	kp_where_free(&e->where);
	pthread_mutex_destroy(&e->exec_lock);
	kp_programs_free(&e->programs);
	kp_sites_free(&e->sites);
	pthread_mutex_destroy(&e->trace_lock);
	free(e->run_dir);
	free(e->instance);
	free(e);
	return NULL;
}

static bool is_zombie(pid_t pid)
{
	char path[64];
	kp_autofree char *text = NULL;
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (kp_read_file(AT_FDCWD, path, 65536, &text, NULL) || !(at = strrchr(text, ')')))
		return true;
	return at[2] == 'Z' || at[2] == 'X';
}

void kp_engine_ports(struct kp_engine *e, struct kp_buf *out)
{
	kp_ports_text(e->ports, out);
}

size_t kp_engine_pids(struct kp_engine *e, pid_t *pids, size_t max)
{
	DIR *d = opendir("/proc");
	struct dirent *entry;
	size_t count = 0;

	if (!d)
		return 0;
	while (count < max && (entry = readdir(d))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && kp_proc_is_guest(e->vfs, pid) && !is_zombie(pid))
			pids[count++] = pid;
	}
	(void)closedir(d);
	return count;
}
