/* SPDX-License-Identifier: Apache-2.0 */
/* The front: what the user started. A client of the supervisor that also starts it when there is none. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "instance/procs.h"
#include "launch/internal.h"

#define START_TRIES 1500 /* of 10 ms: how long an instance may take to go, or to come */

struct front {
	struct kp_plan *plan;
	struct kp_ctl_conn conn;
	struct kp_relay relay;
	int signal_fd;
	pid_t supervisor; /* our child, 0: joined */
	char *run_dir;
	uint64_t ignored, blocked; /* signals, as they were at the start */
	bool started, ended;
	bool last; /* nothing else runs: the supervisor is on its way out */
	int status;
	struct kp_procs before; /* children that are not ours */
};

static void pause_ms(long ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&t, NULL);
}

void kp_user_signals(sigset_t *ret)
{
	static const int taken[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM, SIGVTALRM,
				    SIGPROF, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPWR, SIGIO, SIGURG, SIGCHLD};

	(void)sigemptyset(ret);
	for (size_t i = 0; i < KP_ARRAY_LEN(taken); i++)
		(void)sigaddset(ret, taken[i]);
}

/* What nohup, or a shell that starts it in the background, has the program ignore. */
static void note_signals(struct front *f, const sigset_t *blocked)
{
	for (int signo = 1; signo < 65; signo++) {
		struct kp_sigaction now;

		if (kp_sigaction(signo, NULL, &now) == 0 && now.handler == SIG_IGN)
			f->ignored |= 1ULL << (signo - 1);
		if (sigismember(blocked, signo) == 1)
			f->blocked |= 1ULL << (signo - 1);
	}
}

static int block_signals(struct front *f, sigset_t *ret_old, struct kp_err *err)
{
	sigset_t set;

	kp_user_signals(&set);
	(void)sigaddset(&set, SIGPIPE);
	(void)sigprocmask(SIG_BLOCK, &set, ret_old);
	note_signals(f, ret_old);
	f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return f->signal_fd < 0 ? kp_fail_errno(err, errno, "signalfd") : 0;
}

static int send_run(struct front *f, struct kp_err *err)
{
	struct kp_plan *plan = f->plan;
	struct kp_buf kp_autobuf payload = {0};
	struct kp_ctl_run run = {
		.flags = (f->supervisor ? 0 : KP_CTL_NEW_SESSION) | (plan->cwd_asked ? KP_CTL_CWD_ASKED : 0), .umask = umask(0), .cwd = plan->cwd,
		.ignored = f->ignored, .blocked = f->blocked,
		.settled = plan->settled ? plan->settled : "",
		.argv = (const char **)plan->argv, .envp = (const char **)plan->envp,
		.pass_count = plan->pass_fd_count,
	};
	int fds[3 + KP_CTL_FDS_MAX], r;

	(void)umask((mode_t)run.umask);
	while (run.argv[run.argc])
		run.argc++;
	while (run.envp[run.envc])
		run.envc++;
	for (int i = 0; i < 3; i++)
		fds[i] = f->relay.slave >= 0 && isatty(i) ? f->relay.slave : i;
	for (size_t i = 0; i < plan->pass_fd_count; i++) {
		fds[3 + i] = plan->pass_fds[i];
		run.pass[i] = (uint32_t)plan->pass_fds[i];
	}
	kp_ctl_run_encode(&run, &payload);
	r = kp_ctl_send(f->conn.fd, KP_CTL_RUN, &payload, fds, 3 + plan->pass_fd_count, 0);
	return r < 0 && r != -EPIPE ? kp_fail_errno(err, -r, "%s: request not sent", plan->instance->name) : 0;
}

static int fork_supervisor(struct front *f, struct kp_err *err)
{
	siginfo_t child = {0};
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return kp_fail_errno(err, errno, "socketpair");
	/* Orphans of a supervisor that dies come to us. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0)
		(void)kp_procs_scan(&f->before);
	(void)fflush(NULL);
	pid = fork();
	if (pid < 0) {
		(void)kp_close(pair[0]);
		(void)kp_close(pair[1]);
		return kp_fail_errno(err, errno, "fork");
	}
	if (!pid) {
		(void)kp_close(pair[0]);
		(void)kp_close(f->signal_fd);
		kp_supervisor_main(f->plan, pair[1]);
	}
	(void)kp_close(pair[1]);
	f->plan->instance->lock_fd = kp_close(f->plan->instance->lock_fd); /* the supervisor holds it now */
	f->supervisor = pid;
	kp_ctl_conn_init(&f->conn, pair[0]);
	return 0;
}

int kp_front_connect(const struct kp_instance *instance)
{
	kp_autofree char *dir = NULL;
	int fd = kp_run_dir_find(instance, &dir);

	if (!fd)
		fd = kp_ctl_connect(dir);
	return fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTDIR ? -ENOTCONN : fd;
}

static void forward(struct front *f, int signo, pid_t sender)
{
	struct kp_buf kp_autobuf payload = {0};

	kp_ctl_put_u32(&payload, (uint32_t)signo);
	kp_ctl_put_u32(&payload, (uint32_t)sender);
	(void)kp_ctl_send(f->conn.fd, KP_CTL_SIGNAL, &payload, NULL, 0, 0);
}

struct asked {
	bool any, is[65];
	pid_t by[65];
};

static void take_signals(struct front *f, struct asked *a)
{
	struct signalfd_siginfo info;

	while (read(f->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		int signo = (int)info.ssi_signo;
		bool sent = info.ssi_code <= 0; /* by a process: the terminal's reached the guest by itself */

		if (signo == SIGWINCH && f->relay.master >= 0)
			kp_relay_resize(&f->relay);
		else if (signo == SIGCHLD || signo == SIGPIPE || signo == SIGTTIN || signo == SIGTTOU)
			continue;
		else if (f->supervisor ? sent : f->relay.master < 0 || sent || signo == SIGHUP) {
			signo = signo == SIGTSTP && !f->supervisor ? SIGSTOP : signo;
			a->any = a->is[signo] = true;
			a->by[signo] = (pid_t)info.ssi_pid;
		}
	}
}

/*
 * What is sent to us and then to our group (timeout(1) does) is one signal for the guest: in a moment the second has come, and the
 * supervisor, which is of the group, knows whether the guest got it by itself.
 */
static void on_signals(struct front *f)
{
	struct asked a = {0};

	take_signals(f, &a);
	if (!a.any)
		return;
	pause_ms(1);
	take_signals(f, &a);
	for (int signo = 1; signo < 65; signo++)
		if (a.is[signo])
			forward(f, signo, a.by[signo]);
}

static void on_status(struct front *f, int status)
{
	if (WIFEXITED(status) || WIFSIGNALED(status)) {
		f->ended = true;
		f->status = status;
	} else if (WIFSTOPPED(status) && f->relay.master < 0) {
		(void)kp_ctl_send(f->conn.fd, KP_CTL_STOPS, NULL, NULL, 0, 0);
	}
}

/* 1: go on; 0: the end; -errno. */
static int on_message(struct front *f, struct kp_err *err)
{
	struct kp_ctl_reader in = {0};
	const char *text, *hint;
	unsigned type;
	int r = kp_ctl_next(&f->conn, &type, &in.at, &in.left), code;

	if (r <= 0)
		return r < 0 ? kp_fail(err, EPROTO, "%s: answer not understood", f->plan->instance->name) : 1;
	switch (type) {
	case KP_CTL_STARTED:
		(void)kp_ctl_get_u32(&in);
		text = kp_ctl_get_string(&in);
		f->run_dir = text ? kp_strdup(text) : NULL;
		f->started = true;
		if (f->relay.slave >= 0)
			kp_relay_start(&f->relay);
		break;
	case KP_CTL_FAILED:
		code = (int)kp_ctl_get_u32(&in);
		f->plan->fail_exit = (int)kp_ctl_get_u32(&in);
		text = kp_ctl_get_string(&in);
		hint = kp_ctl_get_string(&in);
		(void)kp_fail(err, code ? code : EIO, "%s", text ? text : "supervisor: failed");
		if (hint && *hint)
			(void)kp_hint(err, "%s", hint);
		return -err->code;
	case KP_CTL_NOTICE:
		text = kp_ctl_get_string(&in);
		if (text)
			fprintf(stderr, "kapsel: %s: %s%s", f->plan->instance->name, text, f->relay.raw ? "\r\n" : "\n");
		break;
	case KP_CTL_STATUS:
		r = (int)kp_ctl_get_u32(&in);
		f->last = kp_ctl_get_u32(&in);
		on_status(f, r);
		break;
	default:
		break;
	}
	if (f->ended)
		return 0;
	return f->conn.in.len > f->conn.taken ? on_message(f, err) : 1;
}

/* The supervisor died: end what it left. Only what came after us, or runs from its run directory. */
static void kill_orphans(struct front *f)
{
	struct kp_procs kp_autoprocs now = {0};
	kp_autofree char *loader = f->run_dir ? kp_asprintf("%s/loader", f->run_dir) : NULL;

	for (int tries = 0; tries < 100; tries++) {
		size_t seen = loader ? kp_procs_kill_running(loader) : 0;

		if (kp_procs_scan(&now) < 0)
			break;
		for (size_t i = 0; i < now.count; i++) {
			const struct kp_proc *p = &now.items[i];
			bool older = false;

			for (size_t j = 0; j < f->before.count && !older; j++)
				older = f->before.items[j].pid == p->pid ||
					(kp_procs_descends(&f->before, f->before.items[j].pid, getpid()) &&
					 kp_procs_descends(&now, p->pid, f->before.items[j].pid));
			if (older || p->state == 'Z' || !kp_procs_descends(&now, p->pid, getpid()))
				continue;
			(void)kill(p->pid, SIGKILL);
			seen++;
		}
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (!seen)
			break;
		pause_ms(5);
	}
}

/* Until the guest ends. 0, or -errno; -ENOTCONN: the connection ended before the guest started. */
static int serve(struct front *f, struct kp_err *err)
{
	bool in_open = true;

	for (;;) {
		bool relay = f->started && f->relay.master >= 0;
		struct pollfd p[] = {
			{.fd = f->conn.fd, .events = POLLIN},
			{.fd = f->signal_fd, .events = POLLIN},
			{.fd = relay && in_open ? f->relay.in : -1, .events = POLLIN},
			{.fd = relay ? f->relay.master : -1, .events = POLLIN},
		};
		int r;

		if (poll(p, KP_ARRAY_LEN(p), -1) < 0)
			continue;
		if (p[1].revents)
			on_signals(f);
		if (p[3].revents & POLLIN)
			(void)kp_relay_from_guest(&f->relay);
		if (p[2].revents)
			in_open = kp_relay_to_guest(&f->relay);
		if (p[3].revents == POLLHUP)
			pause_ms(5); /* nobody has the terminal open; its status is on the way */
		if (!p[0].revents)
			continue;
		r = kp_ctl_fill(&f->conn);
		if (r == -EAGAIN)
			continue;
		if (r < 0) {
			if (!f->started && !f->supervisor)
				return -ENOTCONN;
			return kp_fail(err, EIO, "%s: the supervisor died; its processes have been ended",
				       f->plan->instance->name);
		}
		r = on_message(f, err);
		if (r <= 0)
			return r;
	}
}

/* After the end: with nothing left behind, the next start finds no trace of this one. */
static void wait_for_supervisor(struct front *f, bool throw_away)
{
	struct pollfd p = {.fd = f->conn.fd, .events = POLLIN};
	int64_t until = kp_now_ms() + (throw_away ? 10000 : 2000);

	while (kp_now_ms() < until && poll(&p, 1, (int)(until - kp_now_ms())) > 0)
		if (kp_ctl_fill(&f->conn) < 0)
			break;
}

static int exit_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* One connection's life: 0 with *ret_status, -ENOTCONN (try anew), other -errno. */
static int session(struct front *f, int *ret_status, struct kp_err *err)
{
	int r = send_run(f, err);

	if (!r)
		r = serve(f, err);
	kp_relay_close(&f->relay);
	if (!r) {
		*ret_status = exit_status(f->status);
		if (f->supervisor && (f->last || f->plan->throw_away))
			wait_for_supervisor(f, f->plan->throw_away);
	} else if (f->supervisor && err->code) {
		if (err->code == EIO && f->started)
			kill_orphans(f);
		wait_for_supervisor(f, f->plan->throw_away);
		(void)waitpid(f->supervisor, NULL, WNOHANG);
	}
	kp_ctl_conn_close(&f->conn);
	return r;
}

static int join(struct front *f, int *ret_status, struct kp_err *err)
{
	int fd = kp_front_connect(f->plan->instance), r;
	kp_autofree char *run_dir = NULL;

	if (fd == -ENOTCONN)
		return fd;
	if (fd < 0)
		return kp_fail_errno(err, -fd, "%s: cannot be reached", f->plan->instance->name);
	if (f->plan->grants_given) {
		r = kp_run_dir_find(f->plan->instance, &run_dir) < 0 ? -ENOTCONN : kp_plan_check_grants(f->plan, run_dir, err);
		if (r < 0) {
			(void)kp_close(fd);
			return r;
		}
	}
	kp_ctl_conn_init(&f->conn, fd);
	if (isatty(STDIN_FILENO)) {
		r = kp_relay_open(&f->relay, err);
		if (r < 0)
			return r;
	}
	return session(f, ret_status, err);
}

static int start_or_join(struct front *f, int *ret_status, struct kp_err *err)
{
	struct kp_instance *instance = f->plan->instance;

	for (int tries = 0; tries < START_TRIES; tries++) {
		int r = instance->lock_fd >= 0 ? 0 : kp_instance_lock(instance);

		if (!r) {
			r = kp_instance_note_run(instance, f->plan->host_image, &f->plan->modes, &f->plan->layers, err);
			if (!r)
				r = fork_supervisor(f, err);
			return r < 0 ? r : session(f, ret_status, err);
		}
		if (r == -ENOENT || r == -ESTALE)
			return kp_fail(err, ENOENT, "%s: removed while it was being started", instance->name);
		if (r != -EWOULDBLOCK)
			return kp_fail_errno(err, -r, "%s/lock", instance->dir);
		r = join(f, ret_status, err);
		if (r != -ENOTCONN)
			return r;
		pause_ms(10);
	}
	return kp_fail(err, ETIMEDOUT, "%s: runs, but does not answer", instance->name);
}

static int front(struct kp_plan *plan, bool start, struct kp_err *err)
{
	struct front f = {.plan = plan, .signal_fd = -1, .conn = {.fd = -1}};
	sigset_t old;
	int status = KP_EXIT_FAILED, r;

	kp_relay_init(&f.relay);
	r = block_signals(&f, &old, err);
	if (!r)
		r = start ? start_or_join(&f, &status, err) : join(&f, &status, err);
	kp_relay_close(&f.relay);
	(void)kp_close(f.signal_fd);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	free(f.run_dir);
	kp_procs_free(&f.before);
	return r < 0 ? r : status;
}

int kp_front_run(struct kp_plan *plan, struct kp_err *err)
{
	return front(plan, true, err);
}

int kp_front_join(struct kp_plan *plan, struct kp_err *err)
{
	return front(plan, false, err);
}
