/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's guests: news of them, and ending them. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "instance/procs.h"
#include "launch/internal.h"

#define PIDS_MAX 4096

int64_t kp_now_ms(void)
{
	return kp_clock_us(CLOCK_MONOTONIC) / 1000;
}

bool kp_guests_alive(struct kp_supervisor *s)
{
	siginfo_t si = {0};
	pid_t any;

	/* All children of ours are guests, and what guests leave behind becomes our child: only where one is dead and the others are
	 * not known does it take a look at every process. */
	if (!s->engine || waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return false;
	return !si.si_pid || kp_engine_pids(s->engine, &any, 1) > 0;
}

static bool anything_else(struct kp_supervisor *s)
{
	for (const struct kp_client *c = s->clients; c; c = c->next)
		if (c->guest)
			return true;
	return kp_guests_alive(s);
}

static void tell_status(struct kp_supervisor *s, struct kp_client *c, int status)
{
	struct kp_buf kp_autobuf payload = {0};
	bool ended = WIFEXITED(status) || WIFSIGNALED(status);

	if (ended) {
		c->guest = 0;
		c->done = true;
	}
	kp_ctl_put_u32(&payload, (uint32_t)status);
	kp_ctl_put_u32(&payload, ended && !anything_else(s));
	(void)kp_ctl_send(c->conn.fd, KP_CTL_STATUS, &payload, NULL, 0, MSG_DONTWAIT);
	c->stopped = WIFSTOPPED(status);
	if (c->along && !c->stopped)
		(void)kill(c->pid, SIGCONT);
	c->along &= c->stopped;
}

/* Before news of an end, which closes the connection. */
static void tell_notices(struct kp_supervisor *s)
{
	char text[1024];

	while (s->engine && (kp_engine_notice(s->engine, text, sizeof(text)) || kp_vfs_notice(s->vfs, text, sizeof(text))))
		for (const struct kp_client *c = s->clients; c; c = c->next) {
			struct kp_buf kp_autobuf payload = {0};

			kp_ctl_put_string(&payload, text);
			if (c->guest)
				(void)kp_ctl_send(c->conn.fd, KP_CTL_NOTICE, &payload, NULL, 0, MSG_DONTWAIT);
		}
}

static void on_news(struct kp_supervisor *s, struct kp_client *c, pid_t pid, int status)
{
	KP_DEBUG(LAUNCH, "pid %d: status %#x%s", (int)pid, (unsigned)status, c ? "" : " (orphan)");
	if (!c)
		return;
	if (WIFSIGNALED(status))
		kp_engine_signalled(s->engine, WTERMSIG(status));
	if (WIFEXITED(status) || WIFSIGNALED(status)) { /* who waits for the program finds the registry as it left it */
		kp_vfs_registry_drain(s->vfs);
		kp_live_drain(s->vfs);
	}
	tell_notices(s);
	tell_status(s, c, status);
	if (c->done && c->front && (s->plan->throw_away || !s->plan->profile->daemons) && !s->joined)
		kp_guests_stop(s, 2);
}

void kp_guests_reap(struct kp_supervisor *s)
{
	int status;
	pid_t pid;

	tell_notices(s);

	/* One by one first: what the engine has stopped for a moment may hide the others' news from a look at all. */
	for (struct kp_client *c = s->clients; c; c = c->next)
		while (c->guest && (pid = kp_engine_reap(c->guest, &status)) > 0)
			on_news(s, c, pid, status);
	while ((pid = kp_engine_reap(0, &status)) > 0) {
		struct kp_client *c = s->clients;

		while (c && c->guest != pid)
			c = c->next;
		on_news(s, c, pid, status);
	}
}

void kp_guests_signal_all(struct kp_supervisor *s, int signo)
{
	kp_autofree pid_t *pids = kp_calloc(PIDS_MAX, sizeof(*pids));
	size_t count = kp_engine_pids(s->engine, pids, PIDS_MAX);

	for (size_t i = 0; i < KP_MIN(count, (size_t)PIDS_MAX); i++)
		(void)kill(pids[i], signo);
}

void kp_guests_stop(struct kp_supervisor *s, unsigned seconds)
{
	int64_t at = kp_now_ms() + (int64_t)seconds * 1000;

	if (!s->stopping && kp_guests_alive(s)) {
		kp_guests_signal_all(s, SIGTERM);
		kp_guests_signal_all(s, SIGCONT);
	}
	if (!s->stopping || at < s->kill_at)
		s->kill_at = at;
	s->stopping = true;
	kp_copies_cancel(s);
}

void kp_guests_kill_tree(struct kp_supervisor *s, pid_t pid)
{
	struct kp_procs kp_autoprocs procs = {0};
	bool seen = true;

	/* Its children first are stopped from making more; a few rounds catch what was forked meanwhile. */
	for (int round = 0; round < 8 && seen; round++) {
		seen = false;
		if (kp_procs_scan(&procs) < 0)
			break;
		for (size_t i = 0; i < procs.count; i++) {
			const struct kp_proc *p = &procs.items[i];

			if (p->state == 'Z' || p->pid == pid || !kp_procs_descends(&procs, p->pid, pid))
				continue;
			seen = true;
			(void)kill(p->pid, SIGKILL);
		}
	}
	(void)kill(pid, SIGKILL);
	KP_DEBUG(LAUNCH, "tree of pid %d killed, guests left: %d", (int)pid, kp_guests_alive(s));
}
