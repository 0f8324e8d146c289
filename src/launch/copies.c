/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of an instance that runs: asked for over its socket, made by its supervisor while its guests are held still. */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/internal.h"

struct holding {
	struct kp_engine *engine;
	struct kp_inodes mapped, seen; /* seen: processes, by their numbers */
	uint64_t us;
	int (*fn)(void *ctx, struct kp_err *err);
	void *ctx;
	void (*released)(struct holding *h); /* or NULL: is called when they go on */
};

static void take_maps(pid_t pid, pid_t tid, void *ctx)
{
	struct holding *h = ctx;

	if (!kp_inodes_have(&h->seen, (ino_t)pid) && kp_inodes_mapped(&h->mapped, tid))
		kp_inodes_add(&h->seen, (ino_t)pid);
}

static int held(void *ctx, struct kp_err *err)
{
	struct holding *h = ctx;

	kp_engine_each_held(h->engine, take_maps, h);
	return h->fn(h->ctx, err);
}

static int hold(void *ctx, int (*fn)(void *ctx, struct kp_err *err), void *fn_ctx, struct kp_err *err)
{
	struct holding *h = ctx;
	int r;

	h->fn = fn;
	h->ctx = fn_ctx;
	r = kp_engine_freeze(h->engine, held, h, &h->us, err);
	if (h->released)
		h->released(h);
	return r;
}

enum phase {
	PREPARES,
	HOLDS,
	HELD, /* they go on; what was copied goes to the disk */
};

/*
 * The copy has a thread of its own, one to prepare it and then one that holds the guests still: who asks about the instance, or ends it, is
 * answered meanwhile. What would change it from here waits for the second: new programs, and the registry's events.
 */
struct kp_copying {
	struct kp_supervisor *s;
	struct kp_client *client; /* NULL: it has gone */
	pthread_t thread;
	enum phase phase;
	atomic_bool cancel, ended; /* what prepares is to stop; the thread has said its last word */
	struct holding h;
	struct kp_snapshot_make make;
	struct kp_tally tally;
	char *name, *note, *made;
	struct kp_err err;
	int r;
};

static void unprepare(struct kp_copying *c)
{
	kp_snapshot_unprepare(c->s->plan->instance, c->make.prepared);
	c->make.prepared = NULL;
}

static void wake(const struct kp_copying *c)
{
	const uint64_t one = 1;

	(void)!write(c->s->copied_fd, &one, sizeof(one));
}

static void *over(struct kp_copying *c)
{
	atomic_store(&c->ended, true);
	wake(c);
	return NULL;
}

static void released(struct holding *h)
{
	wake((const struct kp_copying *)((const char *)h - offsetof(struct kp_copying, h)));
}

static void *prepare(void *arg)
{
	struct kp_copying *c = arg;

	c->r = kp_snapshot_prepare(c->s->plan->instance, &c->cancel, &c->make.prepared, &c->err);
	return over(c);
}

static void *copy(void *arg)
{
	struct kp_copying *c = arg;

	c->r = kp_snapshot_create(c->s->plan->instance, &c->make, &c->made, &c->err);
	unprepare(c);
	return over(c);
}

static void tell(const struct kp_copying *c)
{
	struct kp_buf kp_autobuf payload = {0};

	if (c->r < 0) {
		kp_client_fail(c->client, &c->err, KP_EXIT_FAILED);
		return;
	}
	kp_ctl_put_u32(&payload, (uint32_t)KP_MIN(c->h.us, (uint64_t)UINT32_MAX));
	kp_ctl_put_u64(&payload, c->tally.files);
	kp_ctl_put_u64(&payload, c->tally.bytes);
	kp_ctl_put_u64(&payload, c->tally.us);
	kp_ctl_put_string(&payload, c->made);
	(void)kp_ctl_send(c->client->conn.fd, KP_CTL_DONE, &payload, NULL, 0, MSG_DONTWAIT);
}

static void free_copying(struct kp_copying *c)
{
	kp_inodes_free(&c->h.mapped);
	kp_inodes_free(&c->h.seen);
	unprepare(c);
	free(c->name);
	free(c->note);
	free(c->made);
	free(c);
}

static bool hold_and_copy(struct kp_supervisor *s, struct kp_copying *c)
{
	kp_settle_written(s);
	atomic_store(&c->ended, false);
	c->r = -pthread_create(&c->thread, NULL, copy, c);
	if (c->r) {
		(void)kp_fail_errno(&c->err, -c->r, "%s: cannot be copied", s->plan->instance->name);
		return false;
	}
	c->phase = HOLDS;
	kp_supervisor_listen(s, false);
	return true;
}

bool kp_copies_hold(const struct kp_supervisor *s)
{
	return s->copying && s->copying->phase == HOLDS;
}

void kp_copies_cancel(struct kp_supervisor *s)
{
	if (s->copying)
		atomic_store(&s->copying->cancel, true);
}

/* What waited until the guests go on. */
static void let_go_on(struct kp_supervisor *s, struct kp_copying *c)
{
	c->phase = HELD;
	kp_supervisor_listen(s, true);
	kp_clients_go_on(s);
}

void kp_copies_done(struct kp_supervisor *s)
{
	struct kp_copying *c = s->copying;
	uint64_t count;

	if (read(s->copied_fd, &count, sizeof(count)) < 0 || !c)
		return;
	if (!atomic_load(&c->ended)) {
		let_go_on(s, c);
		return;
	}
	(void)pthread_join(c->thread, NULL);
	if (c->phase == PREPARES && s->stopping)
		c->client = NULL; /* no answer: who asks does it himself when we are gone */
	if (c->phase == PREPARES && !c->r && c->client && hold_and_copy(s, c))
		return;
	s->copying = NULL;
	if (c->client)
		tell(c);
	if (c->phase == HOLDS)
		let_go_on(s, c);
	free_copying(c);
	kp_clients_go_on(s);
}

void kp_copies_forget(struct kp_supervisor *s, const struct kp_client *c)
{
	if (!s->copying || s->copying->client != c)
		return;
	s->copying->client = NULL;
	kp_copies_cancel(s);
}

int kp_client_snapshot(struct kp_supervisor *s, struct kp_client *c, struct kp_ctl_reader *in)
{
	enum kp_snapshot_kind kind = (enum kp_snapshot_kind)kp_ctl_get_u32(in);
	const char *name = kp_ctl_get_string(in), *note = kp_ctl_get_string(in);
	struct kp_copying *job;

	if (in->bad || in->left || c->guest)
		return -EPROTO;
	if (s->stopping)
		return -ECONNABORTED; /* no answer: who asks does it himself when we are gone */
	job = kp_calloc(1, sizeof(*job));
	*job = (struct kp_copying){.s = s, .client = c, .h = {.engine = s->engine, .released = released}, .name = kp_strdup(name), .note = kp_strdup(note)};
	job->make = (struct kp_snapshot_make){.kind = kind, .hold = hold, .ctx = &job->h, .mapped = &job->h.mapped, .note = job->note,
					       .tally = &job->tally};
	job->make.name = *name ? job->name : NULL;
	if (pthread_create(&job->thread, NULL, prepare, job)) {
		free_copying(job);
		return -EAGAIN;
	}
	s->copying = job;
	return 0;
}

/* A guest is about to change configuration, and waits in that call. What cannot be copied is changed all the same. */
static void before_config(void *ctx, const char *tag)
{
	struct kp_supervisor *s = ctx;
	const struct kp_instance *i = s->plan->instance;
	kp_autofree char *note = kp_asprintf("before the first change of %s", tag);
	struct holding h = {.engine = s->engine};
	struct kp_snapshot_make make = {.kind = KP_SNAPSHOT_AUTO, .note = note, .hold = hold, .ctx = &h, .mapped = &h.mapped};
	struct kp_err err = {0};
	int r = kp_snapshot_prepare(i, NULL, &make.prepared, &err);

	kp_settle_written(s);
	if (!r)
		r = kp_snapshot_create(i, &make, NULL, &err);
	kp_snapshot_unprepare(i, make.prepared);
	if (!r)
		kp_snapshot_prune(i);
	else
		KP_DEBUG(LAUNCH, "no snapshot %s: %s", note, err.text);
	kp_inodes_free(&h.mapped);
	kp_inodes_free(&h.seen);
}

static void add_tag(struct kp_supervisor *s, const char *name)
{
	if (!kp_strings_have(&s->config, name))
		kp_strings_add(&s->config, name);
}

/* A projected file and its key are one thing. */
void kp_copies_watch_config(struct kp_supervisor *s)
{
	const struct kp_manifest *m = s->plan->manifest;

	for (size_t i = 0; i < m->config.count && !s->plan->throw_away; i++) {
		const char *name = m->config.items[i];

		add_tag(s, name);
		for (size_t k = 0; k < m->registry.projection_count; k++) {
			const struct kp_projection *p = &m->registry.projections[k];

			if (name[0] == '/' ? kp_path_below(p->file, name) != NULL : kp_reg_key_within(p->key, name))
				add_tag(s, name[0] == '/' ? p->key : p->file);
		}
	}
	kp_vfs_watch_config(s->vfs, &s->config, before_config, s);
}

static int answer(struct kp_ctl_conn *conn, struct kp_tally *tally, char **ret_name, uint64_t *ret_us, struct kp_err *err)
{
	struct kp_ctl_reader in = {0};
	struct kp_tally copied;
	const char *text, *hint;
	unsigned type;
	int r, code;

	while (!(r = kp_ctl_next(conn, &type, &in.at, &in.left))) {
		struct pollfd p = {.fd = conn->fd, .events = POLLIN};

		(void)poll(&p, 1, -1);
		r = kp_ctl_fill(conn);
		if (r < 0 && r != -EAGAIN)
			return -ENOTCONN;
	}
	if (r == 1 && type == KP_CTL_DONE) {
		*ret_us = kp_ctl_get_u32(&in);
		copied.files = kp_ctl_get_u64(&in);
		copied.bytes = kp_ctl_get_u64(&in);
		copied.us = kp_ctl_get_u64(&in);
		if (tally)
			*tally = copied;
		text = kp_ctl_get_string(&in);
		if (text && ret_name)
			*ret_name = kp_strdup(text);
		return text ? 0 : kp_fail(err, EPROTO, "supervisor: answer not understood");
	}
	if (r != 1 || type != KP_CTL_FAILED)
		return kp_fail(err, EPROTO, "supervisor: answer not understood");
	code = (int)kp_ctl_get_u32(&in);
	(void)kp_ctl_get_u32(&in);
	text = kp_ctl_get_string(&in);
	hint = kp_ctl_get_string(&in);
	(void)kp_fail(err, code ? code : EIO, "%s", text ? text : "supervisor: failed");
	return hint && *hint ? kp_hint(err, "%s", hint) : -err->code;
}

int kp_front_snapshot(const struct kp_instance *i, const struct kp_snapshot_make *make, char **ret_name, uint64_t *ret_us, struct kp_err *err)
{
	struct kp_buf kp_autobuf payload = {0};
	struct kp_ctl_conn conn;
	int fd = kp_front_connect(i), r;

	if (fd < 0)
		return fd == -ENOTCONN ? fd : kp_fail_errno(err, -fd, "%s: cannot be reached", i->name);
	kp_ctl_conn_init(&conn, fd);
	kp_ctl_put_u32(&payload, make->kind);
	kp_ctl_put_string(&payload, make->name ? make->name : "");
	kp_ctl_put_string(&payload, make->note ? make->note : "");
	r = kp_ctl_send(fd, KP_CTL_SNAPSHOT, &payload, NULL, 0, 0);
	r = r < 0 ? -ENOTCONN : answer(&conn, make->tally, ret_name, ret_us, err);
	kp_ctl_conn_close(&conn);
	return r;
}
