/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor: one per running instance. It holds the engine, serves clients, and goes when nothing is left. */
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "launch/internal.h"
#include "vfs/regtree.h"

static int setup_signals(struct kp_supervisor *s, struct kp_err *err)
{
	static const int kept[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t set;

	/* It shares the terminal's process group with the front: what is sent to the group is not for it, but noted. */
	kp_user_signals(&set);
	for (int signo = 1; signo < 32; signo++) {
		bool keep = false;

		for (size_t i = 0; i < KP_ARRAY_LEN(kept); i++)
			keep |= kept[i] == signo;
		if (!keep)
			(void)signal(signo, sigismember(&set, signo) ? SIG_DFL : SIG_IGN);
	}
	(void)sigprocmask(SIG_SETMASK, &set, NULL); /* before there are threads: they inherit it */
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? kp_fail_errno(err, errno, "signalfd") : 0;
}

static int watch(struct kp_supervisor *s, int fd, void *tag, struct kp_err *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? kp_fail_errno(err, errno, "epoll") : 0;
}

void kp_supervisor_listen(struct kp_supervisor *s, bool on)
{
	int fds[] = {kp_vfs_registry_fd(s->vfs), kp_live_fd(s->vfs)};
	void *tags[] = {&s->registry, &s->vfs};

	for (size_t i = 0; i < KP_ARRAY_LEN(fds); i++) {
		struct epoll_event ev = {.events = on ? EPOLLIN : 0, .data.ptr = tags[i]};

		if (fds[i] >= 0)
			(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fds[i], &ev);
	}
}

/* Keeps neither the user's standard streams nor his directory busy. */
static void let_go(void)
{
	kp_autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)dup2(null, 0);
	(void)dup2(null, 1);
	if (!kp_debug_enabled)
		(void)dup2(null, 2);
	if (chdir("/") < 0)
		KP_DEBUG(LAUNCH, "chdir /: %s", strerror(errno));
}

static int setup_engine(struct kp_supervisor *s, struct kp_err *err)
{
	struct kp_plan *plan = s->plan;
	kp_autofree struct kp_layer *layers = kp_calloc(plan->under_count + 1, sizeof(*layers));
	struct kp_vfs_options vo = {
		.instance_dir = plan->instance->dir, .run_dir = s->run_dir, .layers = layers, .layer_count = plan->under_count + 1,
		.binds = plan->binds, .bind_count = plan->bind_count, .hostname = plan->hostname,
		.home = plan->home, .user = plan->user, .offline = plan->net.mode <= KP_NETWORK_LOOPBACK, .narrow = plan->level == KP_LEVEL_STRICT, .rules = plan->rules, .rule_count = plan->rule_count,
	};
	char **private_dirs = NULL;
	struct kp_engine_options eo = {
		.run_dir = s->run_dir, .trace_path = plan->trace, .instance = plan->instance->name, .policy = &plan->policy, .level = plan->level,
	};
	int r = kp_engine_new(&eo, &s->engine, err);

	if (!r)
		r = kp_store_open(&s->store, err);
	s->store_images = kp_calloc(vo.layer_count, sizeof(struct kp_store_image *));
	for (size_t i = 0; i < vo.layer_count && !r; i++) {
		layers[i].image = kp_plan_image(plan, i);
		r = kp_store_attach(s->store, layers[i].image, &s->store_images[i], err);
		layers[i].store = s->store_images[i];
	}
	if (!r)
		r = kp_plan_registry(plan, true, &s->registry, err);
	if (!r) {
		vo.registry = s->registry;
		private_dirs = kp_private_dirs(vo.instance_dir, vo.run_dir, kp_store_root(s->store), &vo.private_count);
		vo.private_dirs = (const char *const *)private_dirs;
		r = kp_vfs_open(&vo, &s->vfs, err);
		kp_private_dirs_free(private_dirs, vo.private_count);
	}
	if (!r)
		r = kp_projections_open(s, err);
	if (!r)
		r = kp_engine_start(s->engine, s->vfs, &plan->limits, &s->group.run, err);
	if (!r)
		kp_copies_watch_config(s);
	return r;
}

/* Values that guests of a run that was killed had written. */
static void recover_registry(const struct kp_plan *plan, struct kp_strings *failed)
{
	kp_autofree char *dir = NULL, *dirs = NULL, *tree = NULL;
	struct kp_reg *r = NULL;

	if (kp_run_dir_find(plan->instance, &dir) < 0)
		return;
	dirs = kp_asprintf("%s/dirs", dir);
	tree = kp_asprintf("%s" KP_REGTREE, dirs);
	if (access(tree, F_OK) == 0 && !kp_plan_registry(plan, true, &r, NULL))
		kp_regtree_recover(dirs, r, failed);
	(void)kp_reg_free(r);
}

static int setup(struct kp_supervisor *s, struct kp_err *err)
{
	struct kp_strings kp_autostrings failed = {0};
	int r;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return kp_fail_errno(err, errno, "supervisor: cannot adopt processes");
	(void)prctl(PR_SET_NAME, "kapsel-super");
	r = setup_signals(s, err);
	if (!r)
		r = watch(s, s->signal_fd, &s->signal_fd, err);
	s->copied_fd = r ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r)
		r = watch(s, s->copied_fd, &s->copied_fd, err);
	if (r < 0)
		return r;
	recover_registry(s->plan, &failed);
	kp_instance_clean(s->plan->instance);
	r = kp_run_dir_create(s->plan->instance, &s->run_dir, err);
	if (!r) {
		kp_cgroup_make(&s->group, &s->plan->limits, s->clients->pid, s->run_dir);
		s->plan->policy.count_tasks &= !(s->group.run.keeps & 1U << KP_LIMIT_PROCESSES);
		r = setup_engine(s, err);
	}
	for (size_t i = 0; i < failed.count && !r; i++)
		kp_vfs_tell(s->vfs, "%s", failed.items[i]);
	if (!r)
		r = watch(s, kp_vfs_registry_fd(s->vfs), &s->registry, err);
	if (r < 0)
		return r;
	r = kp_plan_write_grants(s->plan, s->run_dir);
	if (r < 0)
		return kp_fail_errno(err, -r, "%s/grants: cannot be written", s->run_dir);
	/* Last: who can connect finds a working instance. */
	s->listen_fd = kp_ctl_listen(s->run_dir);
	if (s->listen_fd < 0)
		return kp_fail_errno(err, -s->listen_fd, "%s/control: cannot listen", s->run_dir);
	r = watch(s, s->listen_fd, &s->listen_fd, err);
	if (!r && kp_engine_ends_fd(s->engine) >= 0)
		r = watch(s, kp_engine_ends_fd(s->engine), &s->engine, err);
	return r || kp_live_fd(s->vfs) < 0 ? r : watch(s, kp_live_fd(s->vfs), &s->vfs, err);
}

static bool finished(struct kp_supervisor *s)
{
	if (s->copying)
		return false;
	for (const struct kp_client *c = s->clients; c; c = c->next)
		if (c->guest || (!c->done && !c->waits_stop))
			return false;
	return !kp_guests_alive(s);
}

/* A client that was let in at the last moment has its answer when the connection ends: it starts anew. */
static int wait_time(const struct kp_supervisor *s)
{
	int64_t left;

	if (!s->stopping)
		return 1000; /* a guest that is nobody's child here ends without a SIGCHLD */
	left = s->kill_at - kp_now_ms();
	return left <= 0 ? 20 : (int)KP_MIN(left, 50);
}

/* What SIGCHLD is about is asked for at each turn of the loop. */
static void take_signals(struct kp_supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo < KP_ARRAY_LEN(s->group_by) && info.ssi_code <= 0)
			s->group_by[info.ssi_signo] = info.ssi_pid;
}

bool kp_supervisor_saw(struct kp_supervisor *s, uint32_t signo, uint32_t sender)
{
	bool saw;

	take_signals(s);
	saw = signo < KP_ARRAY_LEN(s->group_by) && sender && s->group_by[signo] == sender;
	if (saw)
		s->group_by[signo] = 0;
	return saw;
}

static void loop(struct kp_supervisor *s)
{
	while (!finished(s)) {
		struct epoll_event ev;
		int n = epoll_wait(s->epoll_fd, &ev, 1, wait_time(s));

		if (n > 0 && ev.data.ptr == &s->signal_fd) {
			take_signals(s);
		} else if (n > 0 && ev.data.ptr == &s->copied_fd) {
			kp_copies_done(s);
		} else if (n > 0 && ev.data.ptr == &s->listen_fd) {
			kp_client_accept(s);
		} else if (n > 0 && ev.data.ptr == &s->registry) {
			kp_vfs_registry_drain(s->vfs);
		} else if (n > 0 && ev.data.ptr == &s->vfs) {
			kp_live_drain(s->vfs);
		} else if (n > 0 && ev.data.ptr == &s->engine) {
			kp_engine_ended(s->engine);
		} else if (n > 0) {
			kp_client_readable(s, ev.data.ptr);
		}
		kp_guests_reap(s);
		if (s->stopping && kp_now_ms() >= s->kill_at)
			kp_guests_signal_all(s, SIGKILL);
	}
}

static void tear_down(struct kp_supervisor *s)
{
	struct kp_instance *instance = s->plan->instance;

	s->listen_fd = kp_close(s->listen_fd);
	if (s->engine)
		kp_engine_stop(s->engine);
	kp_projections_close(s);
	s->vfs = kp_vfs_free(s->vfs);
	s->registry = kp_reg_free(s->registry);
	for (size_t i = 0; s->store_images && i <= s->plan->under_count; i++)
		(void)kp_store_detach(s->store_images[i]);
	free(s->store_images);
	s->store = kp_store_free(s->store);
	kp_cgroup_end(&s->group);
	if (s->run_dir)
		kp_run_dir_remove(instance, s->run_dir);
	if (s->plan->throw_away)
		(void)kp_instance_remove(instance, NULL);
	/* The lock goes before the connections: who sees their end can start anew at once. */
	instance->lock_fd = kp_close(instance->lock_fd);
	for (const struct kp_client *c = s->clients; c; c = c->next)
		(void)shutdown(c->conn.fd, SHUT_RDWR); /* now, not when our memory has been taken apart */
	s->engine = kp_engine_free(s->engine);
}

_Noreturn void kp_supervisor_main(struct kp_plan *plan, int first)
{
	struct kp_supervisor s = {.plan = plan, .epoll_fd = -1, .listen_fd = -1, .signal_fd = -1, .copied_fd = -1};
	struct kp_client *front;
	struct kp_err err = {0};

	kp_fds_drop_inherited();
	s.cwd = getcwd(NULL, 0);
	if (!s.cwd)
		s.cwd = kp_strdup("/");
	let_go();
	s.started = (int64_t)time(NULL);
	s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	front = s.epoll_fd < 0 ? NULL : kp_client_add(&s, first, true);
	if (!front)
		_exit(KP_EXIT_FAILED);
	if (setup(&s, &err) < 0)
		kp_client_fail(front, &err, KP_EXIT_FAILED);
	else
		loop(&s);
	tear_down(&s);
	_exit(0);
}
