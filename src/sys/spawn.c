/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawner thread. It alone carries the filter (a filter belongs to a thread, and children inherit it), so all guests share one
 * listener and the supervisor's other threads stay free. Between fork and exec the child is already a guest: its chdir and execve
 * are answered like any other's.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kapsel/fast.h"
#include "sys/filter.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/internal.h"
#include "vfs/makes.h"
#include "vfs/pts.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct kp_spawner {
	pthread_t thread;
	pthread_mutex_t busy; /* one request at a time */
	sem_t asked, answered;
	int listener;
	int landlock_fd; /* the rules, until the thread has entered them */
	int error;
	bool stop;
	bool gate; /* here, too: the child's first execve needs no tracer */
	struct sock_fprog filter;
	const struct kp_limit_state *limits;
	const struct kp_spawn *request;
	int status_fd; /* write end of the exec report pipe */
	int cwd_fd;    /* the working directory's stand-in, or -1: the child goes there by its name */
	pid_t pid;
};

/* --- the child --- */

#define IN_GROUP (1 << 16) /* the errno is of the control group */

static void report(int fd, int code)
{
	(void)!write(fd, &code, sizeof(code));
	_exit(KP_EXIT_FAILED);
}

/* Descriptors other than the standard ones, those to pass and the report pipe are closed. */
static void close_others(const struct kp_spawn *s, int keep)
{
	for (int fd = 3; fd < keep + 1;) {
		int next = keep;

		for (size_t i = 0; i < s->pass_fd_count; i++)
			if (s->pass_numbers[i] >= fd && s->pass_numbers[i] < next)
				next = s->pass_numbers[i];
		if (next > fd)
			(void)syscall(SYS_close_range, fd, next - 1, 0);
		fd = next + 1;
	}
	(void)syscall(SYS_close_range, keep + 1, ~0U, 0);
}

static int set_up_fds(const struct kp_spawn *s, int *status_fd)
{
	int copies[3 + KP_SPAWN_FDS_MAX], high = 3, moved;
	size_t count = 3 + s->pass_fd_count;

	/* By way of numbers above all of them: one's place may be another's source. */
	for (size_t i = 0; i < s->pass_fd_count; i++)
		high = KP_MAX(high, s->pass_numbers[i] + 1);
	for (size_t i = 0; i < count; i++) {
		copies[i] = fcntl(i < 3 ? s->fds[i] : s->pass_fds[i - 3], F_DUPFD, high);
		if (copies[i] < 0)
			return -errno;
	}
	moved = fcntl(*status_fd, F_DUPFD_CLOEXEC, high);
	if (moved < 0)
		return -errno;
	*status_fd = moved;
	for (size_t i = 0; i < count; i++)
		if (dup2(copies[i], i < 3 ? (int)i : s->pass_numbers[i - 3]) < 0)
			return -errno;
	if (!kp_fault("descriptors"))
		close_others(s, *status_fd);
	return 0;
}

static void set_signals(const struct kp_spawn *s)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	for (int sig = 1; sig < 65; sig++) {
		struct kp_sigaction act = {.handler = s->ignored >> (sig - 1) & 1 ? SIG_IGN : SIG_DFL};

		(void)kp_sigaction(sig, &act, NULL); /* not KILL and STOP: the kernel says so */
		if (s->blocked >> (sig - 1) & 1)
			(void)sigaddset(&blocked, sig);
	}
	(void)sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Root keeps its name and loses its powers; they do not come back at an exec either. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	/* EINVAL: there are no more; EPERM: nothing to drop, or nobody who may. */
	for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		continue;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	(void)syscall(SYS_capset, &header, none);
}

static const char *env_path(char *const *envp)
{
	for (; *envp; envp++)
		if (!strncmp(*envp, "PATH=", 5))
			return *envp + 5;
	return "/usr/local/bin:/usr/bin:/bin";
}

/* As the stub does it (loader/stub.c), where the gate is open; else as any program does. Returns the errno. */
static int run_program(bool gate, const char *file, const struct kp_spawn *s)
{
	long ret = SYS_execve;

	if (!gate) {
		(void)execve(file, s->argv, s->envp);
		return errno;
	}
	__asm__ volatile("call *%1" : "+a"(ret) : "r"(KP_ASK), "D"(file), "S"(s->argv), "d"(s->envp) : "rcx", "r11", "memory");
	if (ret == KP_EXEC_READY) {
		ret = SYS_execve;
		__asm__ volatile("call *%1" : "+a"(ret) : "r"(KP_GATE), "D"(KP_SCRATCH_LOADER), "S"(s->argv), "d"(s->envp) : "rcx", "r11", "memory");
	}
	return (int)-ret;
}

/* execvpe, without its shell fallback. Returns the errno to report. */
static int exec_search(bool gate, const struct kp_spawn *s)
{
	const char *path = env_path(s->envp), *name = s->argv[0];
	int found = ENOENT, rc;
	char file[PATH_MAX];

	if (strchr(name, '/'))
		return run_program(gate, name, s);
	while (*name) {
		size_t len = strcspn(path, ":");

		if (len + strlen(name) + 2 <= sizeof(file)) {
			memcpy(file, path, len);
			file[len] = '/';
			memcpy(file + len + !!len, name, strlen(name) + 1);
			rc = run_program(gate, file, s);
			if (rc != ENOENT && rc != ENOTDIR)
				found = rc;
			if (rc != ENOENT && rc != ENOTDIR && rc != EACCES)
				return rc;
		}
		if (!path[len])
			break;
		path += len + 1;
	}
	return found;
}

static void child(const struct kp_spawner *sp, int status_fd)
{
	const struct kp_spawn *s = sp->request;
	bool there;
	int rc;

	/* First of all: who holds the listener waits for ever for answers when nobody else does any more. */
	(void)close(sp->listener);
	/* The spawner lives as long as the supervisor. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	rc = kp_limits_enter(sp->limits);
	if (rc)
		report(status_fd, -rc | IN_GROUP);
	there = sp->cwd_fd >= 0 && fchdir(sp->cwd_fd) == 0; /* before the descriptor goes */
	rc = set_up_fds(s, &status_fd);
	if (rc)
		report(status_fd, -rc);
	if (s->new_session) {
		(void)setsid();
		(void)ioctl(0, TIOCSCTTY, 0);
	}
	set_signals(s);
	if (!kp_fault("capabilities"))
		drop_capabilities();
	kp_limits_apply(sp->limits);
	(void)umask(s->umask);
	if (!there && chdir(s->cwd) < 0 && (s->cwd_asked || chdir("/") < 0))
		report(status_fd, -errno); /* negative: about the directory */
	report(status_fd, exec_search(sp->gate, s));
}

/* --- the thread --- */

/* Nothing, but in tests of tests. */
static void weaken(const struct sock_fprog *filter)
{
	for (unsigned i = 0; i < filter->len; i++) {
		struct sock_filter *at = &filter->filter[i];
		uint32_t action = at->k & SECCOMP_RET_ACTION_FULL;

		if (at->code == (BPF_RET | BPF_K) && ((action == SECCOMP_RET_ERRNO && kp_fault("filter")) ||
						      (action == SECCOMP_RET_KILL_PROCESS && kp_fault("architecture"))))
			at->k = SECCOMP_RET_ALLOW;
	}
}

static int install(struct kp_spawner *sp)
{
	const struct sock_fprog *prog = &sp->filter;
	long fd;

	weaken(prog);
	/* Keys of the user's session are not the guests', should the filter ever let them ask. */
	if (!kp_fault("keyring"))
		(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		     SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, prog);
	if (fd < 0 && errno == EINVAL) /* before 5.19 */
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, prog);
	if (fd < 0)
		return -errno;
	sp->listener = (int)fd;
	return 0;
}

static void take(sem_t *s)
{
	while (sem_wait(s) < 0)
		;
}

/* false: no more are asked for. */
static bool is_asked(struct kp_spawner *sp)
{
	take(&sp->asked);
	return !sp->stop;
}

static void *spawner(void *arg)
{
	struct kp_spawner *sp = arg;

	sp->error = install(sp);
	sem_post(&sp->answered);
	if (sp->error || !is_asked(sp))
		return NULL;
	/* The filter lets this call through. */
	sp->error = kp_fault("landlock") ? 0 : kp_landlock_enter(sp->landlock_fd);
	sem_post(&sp->answered);
	while (!sp->error && is_asked(sp)) {
		/* Not fork(): its handlers take locks that other threads may hold. */
		sp->pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
		if (!sp->pid)
			child(sp, sp->status_fd);
		if (sp->pid < 0)
			sp->pid = -errno;
		sem_post(&sp->answered);
	}
	return NULL;
}

/* Gate and entry of the loader, at their addresses. */
static bool map_gate(const struct kp_engine *e)
{
	kp_autoclose int fd = open(e->loader_path, O_RDONLY | O_CLOEXEC);
	void *at = (void *)KP_LOADER_BASE;

	return fd >= 0 && mmap(at, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0) == at;
}

int kp_spawner_begin(struct kp_engine *e, struct kp_err *err)
{
	struct kp_spawner *sp = kp_calloc(1, sizeof(*sp));
	enum kp_gate gate = kp_policy_gate(e->fast);
	int rc;

	e->spawner = sp;
	sp->limits = &e->limit;
	sp->listener = sp->landlock_fd = -1;
	/* A guest's scratch area comes with its loader; the child between fork and exec needs one too. */
	rc = kp_trap_scratch_make(e->trap, e->loader_path, e->fast ? sizeof(struct kp_fast) : 0);
	if (rc)
		return kp_fail_errno(err, -rc, "scratch area: cannot be mapped");
	sp->gate = gate == KP_GATE_EXECUTES && map_gate(e);
	rc = kp_policy_filter(e->policy, gate, &sp->filter.filter, &sp->filter.len, err);
	if (rc)
		return rc;
	pthread_mutex_init(&sp->busy, NULL);
	sem_init(&sp->asked, 0, 0);
	sem_init(&sp->answered, 0, 0);
	rc = pthread_create(&sp->thread, NULL, spawner, sp);
	return rc ? kp_fail_errno(err, rc, "spawner: cannot start") : 0;
}

int kp_spawner_ready(struct kp_engine *e, int *ret_listener, struct kp_err *err)
{
	struct kp_spawner *sp = e->spawner;
	int rc = kp_landlock_make(e->vfs, e->loader_path, e->level, &sp->landlock_fd, err);

	take(&sp->answered);
	if (sp->error == -EBUSY) {
		(void)kp_fail(err, EBUSY, "seccomp: a listener is installed already");
		return kp_hint(err, "a tracer or sandbox around this process uses seccomp user notification");
	}
	if (sp->error) {
		(void)kp_fail_errno(err, -sp->error, "seccomp: the filter cannot be installed");
		return kp_hint(err, "'kapsel doctor' tells what this kernel offers; Linux 5.13 or newer is needed");
	}
	*ret_listener = sp->listener;
	if (rc)
		return rc;
	sem_post(&sp->asked);
	take(&sp->answered);
	sp->landlock_fd = kp_close(sp->landlock_fd);
	return sp->error ? kp_fail_errno(err, -sp->error, "Landlock: its rules cannot be entered") : 0;
}

void kp_spawner_stop(struct kp_engine *e)
{
	struct kp_spawner *sp = e->spawner;

	if (!sp)
		return;
	if (sp->thread) {
		sp->stop = true;
		sem_post(&sp->asked);
		(void)pthread_join(sp->thread, NULL);
	}
	free(sp->filter.filter);
	free(sp);
	e->spawner = NULL;
}

pid_t kp_engine_reap(pid_t pid, int *ret_status)
{
	siginfo_t si = {0};
	idtype_t which = pid ? P_PID : P_ALL;
	int status;

	/* Look first, take only what is no ptrace stop. */
	if (waitid(which, (id_t)pid, &si, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL) < 0 || !si.si_pid ||
	    si.si_code == CLD_TRAPPED)
		return 0;
	if (waitpid(si.si_pid, &status, WNOHANG | WUNTRACED | WCONTINUED | __WALL) != si.si_pid)
		return 0;
	*ret_status = status;
	return si.si_pid;
}

/* The stand-in of a directory of the instance. A chdir to its name would be stopped and rewritten; fchdir is let through. -1: whoever goes
 * there by name is told why he cannot. */
static int open_cwd(struct kp_engine *e, const char *cwd)
{
	struct kp_walk w = {.cred = &e->cred, .tid = getpid(), .start = "/", .path = cwd, .follow = true};
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct kp_hpath host;
	int fd = -1;

	kp_vfs_read_lock(e->vfs);
	if (!kp_resolve(e->vfs, &w, n) && S_ISDIR(n->mode) && !kp_node_permit(e->vfs, n, &e->cred, X_OK) && !kp_standin(e->vfs, n, &host) &&
	    kp_path_below(host.s, e->vfs->dirs.s))
		fd = open(host.s, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	kp_vfs_unlock(e->vfs);
	free(n);
	return fd;
}

int kp_engine_spawn(struct kp_engine *e, const struct kp_spawn *s, pid_t *ret_pid, struct kp_err *err)
{
	struct kp_spawner *sp = e->spawner;
	int pipe_fds[2], code = 0, status;
	pid_t pid;
	ssize_t n;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return kp_fail_errno(err, errno, "pipe");
	kp_makes_for_umask(e->vfs, s->umask);
	for (size_t i = 0; i < 3 + s->pass_fd_count; i++)
		kp_pts_put_fd(e->vfs, i < 3 ? s->fds[i] : s->pass_fds[i - 3]);
	pthread_mutex_lock(&sp->busy);
	sp->request = s;
	sp->status_fd = pipe_fds[1];
	sp->cwd_fd = open_cwd(e, s->cwd);
	sem_post(&sp->asked);
	take(&sp->answered);
	pid = sp->pid;
	(void)kp_close(sp->cwd_fd);
	pthread_mutex_unlock(&sp->busy);
	(void)kp_close(pipe_fds[1]);
	if (pid < 0) {
		(void)kp_close(pipe_fds[0]);
		return kp_fail_errno(err, -pid, "fork");
	}
	do {
		n = read(pipe_fds[0], &code, sizeof(code));
	} while (n < 0 && errno == EINTR);
	(void)kp_close(pipe_fds[0]);
	if (n == 0) {
		kp_limits_count(e);
		*ret_pid = pid;
		return 0;
	}
	while (!kp_engine_reap(pid, &status))
		(void)usleep(1000);
	if (code > 0 && code & IN_GROUP)
		return kp_fail(err, EIO, "limits: the control group cannot be entered: %s", strerror(code & ~IN_GROUP));
	if (code < 0)
		return kp_fail(err, EINVAL, "%s: cannot be the working directory: %s", s->cwd, strerror(-code));
	return kp_fail_errno(err, code ? code : EIO, "%s", s->argv[0]);
}
