/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's clients: their requests, and what follows when one goes away. */
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/internal.h"

#define CLIENTS_MAX 256

struct kp_client *kp_client_add(struct kp_supervisor *s, int fd, bool front)
{
	struct kp_client *c = kp_calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	kp_ctl_conn_init(&c->conn, fd);
	c->front = front;
	(void)kp_ctl_peer_ok(fd, &c->pid);
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		kp_ctl_conn_close(&c->conn);
		free(c);
		return NULL;
	}
	c->next = s->clients;
	s->clients = c;
	s->client_count++;
	return c;
}

void kp_client_accept(struct kp_supervisor *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (s->client_count >= CLIENTS_MAX || !kp_ctl_peer_ok(fd, NULL))
		(void)kp_close(fd);
	else
		(void)kp_client_add(s, fd, false);
}

void kp_client_drop(struct kp_supervisor *s, struct kp_client *c)
{
	KP_DEBUG(LAUNCH, "client %d gone%s", (int)c->pid, c->guest ? ", its guest runs" : "");
	for (struct kp_client **at = &s->clients; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	s->client_count--;
	kp_copies_forget(s, c);
	if (c->guest && c->front && !s->joined && s->engine) {
		kp_guests_signal_all(s, SIGKILL);
		s->stopping = true;
		kp_copies_cancel(s);
		s->kill_at = 0;
	}
	if (c->guest)
		kp_guests_kill_tree(s, c->guest);
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->conn.fd, NULL);
	kp_ctl_conn_close(&c->conn);
	free(c);
}

void kp_client_fail(struct kp_client *c, const struct kp_err *err, int exit_status)
{
	struct kp_buf kp_autobuf payload = {0};

	c->done = true;
	kp_ctl_put_u32(&payload, (uint32_t)err->code);
	kp_ctl_put_u32(&payload, (uint32_t)exit_status);
	kp_ctl_put_string(&payload, err->text);
	kp_ctl_put_string(&payload, err->hint);
	(void)kp_ctl_send(c->conn.fd, KP_CTL_FAILED, &payload, NULL, 0, MSG_DONTWAIT);
}

static int exit_for(int r)
{
	return r == -ENOENT ? KP_EXIT_NOT_FOUND : r == -EACCES || r == -ENOEXEC ? KP_EXIT_NOT_EXEC : KP_EXIT_FAILED;
}

static int spawn(struct kp_supervisor *s, struct kp_client *c, const struct kp_ctl_run *run, int *ret_exit,
		 struct kp_err *err)
{
	struct kp_buf kp_autobuf payload = {0};
	int numbers[KP_SPAWN_FDS_MAX];
	_Static_assert(KP_CTL_FDS_MAX <= KP_SPAWN_FDS_MAX, "what a request may pass, a guest may get");
	struct kp_spawn spawn = {
		.argv = (char *const *)(uintptr_t)run->argv, .envp = (char *const *)(uintptr_t)run->envp,
		.cwd = run->cwd, .fds = {c->conn.fds[0], c->conn.fds[1], c->conn.fds[2]},
		.pass_fds = c->conn.fds + 3, .pass_numbers = numbers, .pass_fd_count = run->pass_count,
		.new_session = run->flags & KP_CTL_NEW_SESSION, .cwd_asked = run->flags & KP_CTL_CWD_ASKED, .umask = (mode_t)run->umask,
		.ignored = run->ignored, .blocked = run->blocked,
	};
	int r;

	for (size_t i = 0; i < run->pass_count; i++)
		numbers[i] = (int)run->pass[i];
	r = kp_engine_spawn(s->engine, &spawn, &c->guest, err);
	if (r < 0) {
		c->guest = 0;
		*ret_exit = exit_for(r);
		return r;
	}
	s->joined |= !c->front;
	kp_ctl_put_u32(&payload, (uint32_t)c->guest);
	kp_ctl_put_string(&payload, s->run_dir);
	(void)kp_ctl_send(c->conn.fd, KP_CTL_STARTED, &payload, NULL, 0, MSG_DONTWAIT);
	return 0;
}

/* Who joins gets what the instance was started with: to ask for something else is an error, not silence. */
static int check_settled(struct kp_supervisor *s, const char *asked, struct kp_err *err)
{
	const char *has = s->plan->settled ? s->plan->settled : "";
	size_t same = 0;

	if (!*asked || !strcmp(asked, has))
		return 0;
	for (size_t i = 0; asked[i] && asked[i] == has[i]; i++)
		if (asked[i] == '\n')
			same = i + 1;
	asked += same;
	if (*asked)
		(void)kp_fail(err, EBUSY, "%s: runs already, started without %.*s", s->plan->instance->name,
			      (int)strcspn(asked, "\n"), asked);
	else
		(void)kp_fail(err, EBUSY, "%s: runs already, started with %.*s too", s->plan->instance->name,
			      (int)strcspn(has + same, "\n"), has + same);
	return kp_hint(err, "'kapsel stop %s' first, or another --instance", s->plan->instance->name);
}

static int on_run(struct kp_supervisor *s, struct kp_client *c, const char *payload, size_t len)
{
	struct kp_err err = {0};
	struct kp_ctl_run run;
	int r, exit_status = KP_EXIT_FAILED;

	if (c->guest || c->done)
		return -EPROTO;
	r = kp_ctl_run_decode(payload, len, &run);
	if (r < 0)
		return r;
	if (c->conn.fd_count != 3 + run.pass_count)
		r = -EPROTO;
	else if (s->stopping)
		r = -ECONNABORTED; /* no answer: who wants to run it starts it anew when we are gone */
	else if (!(r = check_settled(s, run.settled, &err)))
		r = spawn(s, c, &run, &exit_status, &err);
	for (size_t i = 0; i < c->conn.fd_count; i++)
		(void)kp_close(c->conn.fds[i]);
	c->conn.fd_count = 0;
	kp_ctl_run_free(&run);
	if (r < 0 && err.code) {
		kp_client_fail(c, &err, exit_status);
		r = 0;
	}
	return r;
}

static int on_signal(struct kp_supervisor *s, struct kp_client *c, struct kp_ctl_reader *in)
{
	uint32_t signo = kp_ctl_get_u32(in);
	uint32_t sender = kp_ctl_get_u32(in);

	if (in->bad || !signo || signo > 64)
		return -EPROTO;
	if (!c->guest || (c->front && kp_supervisor_saw(s, signo, sender) && getpgid(c->guest) == getpgrp()))
		return 0;
	if (signo != SIGCONT || (pid_t)sender != getpid()) /* ours was for the client alone */
		(void)kill(c->guest, (int)signo);
	return 0;
}

/* It is stopped and continued from here, in that order: the guest may go on at any moment. */
static int on_stops(struct kp_client *c)
{
	c->along = c->stopped && c->pid > 0 && kill(c->pid, SIGSTOP) == 0;
	return 0;
}

static int on_stop(struct kp_supervisor *s, struct kp_client *c, struct kp_ctl_reader *in)
{
	uint32_t seconds = kp_ctl_get_u32(in);

	if (in->bad || seconds > 86400)
		return -EPROTO;
	c->waits_stop = true;
	kp_guests_stop(s, seconds);
	return 0;
}

void kp_settle_written(struct kp_supervisor *s)
{
	kp_vfs_registry_drain(s->vfs);
	kp_live_drain(s->vfs);
}

static int on_message(struct kp_supervisor *s, struct kp_client *c, unsigned type, const char *payload, size_t len)
{
	struct kp_ctl_reader in = {payload, len, false};

	switch (type) {
	case KP_CTL_RUN:
		return on_run(s, c, payload, len);
	case KP_CTL_SIGNAL:
		return on_signal(s, c, &in);
	case KP_CTL_STOPS:
		return on_stops(c);
	case KP_CTL_INFO:
		return kp_client_info(s, c);
	case KP_CTL_STOP:
		return on_stop(s, c, &in);
	case KP_CTL_SNAPSHOT:
		return kp_client_snapshot(s, c, &in);
	case KP_CTL_SETTLE:
		kp_settle_written(s);
		return kp_ctl_send(c->conn.fd, KP_CTL_SETTLED, NULL, NULL, 0, MSG_DONTWAIT);
	default:
		return -EPROTO;
	}
}

static bool must_wait(const struct kp_supervisor *s, unsigned type)
{
	return type == KP_CTL_SNAPSHOT ? s->copying != NULL : kp_copies_hold(s) && (type == KP_CTL_RUN || type == KP_CTL_SETTLE);
}

/* What has come from it. */
static void take_messages(struct kp_supervisor *s, struct kp_client *c, int r)
{
	c->waits_copy = false;
	while (!r) {
		const char *payload;
		unsigned type;
		size_t len;

		r = kp_ctl_next(&c->conn, &type, &payload, &len);
		if (!r)
			return;
		if (r > 0 && must_wait(s, type)) {
			kp_ctl_put_back(&c->conn);
			c->waits_copy = true;
			return;
		}
		if (r > 0)
			r = on_message(s, c, type, payload, len);
	}
	KP_DEBUG(LAUNCH, "client %d: %s", (int)c->pid, strerror(-r));
	kp_client_drop(s, c);
}

void kp_client_readable(struct kp_supervisor *s, struct kp_client *c)
{
	int r = kp_ctl_fill(&c->conn);

	if (r != -EAGAIN)
		take_messages(s, c, r);
}

void kp_clients_go_on(struct kp_supervisor *s)
{
	struct kp_client *next;

	for (struct kp_client *c = s->clients; c; c = next) {
		next = c->next;
		if (c->waits_copy)
			take_messages(s, c, 0);
	}
}
