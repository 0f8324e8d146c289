/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who connected. The supervisor connects guests' AF_UNIX sockets, so to the kernel it is the peer; who asks (SO_PEERCRED, SO_PEERPIDFD)
 * is told of the guest. Found through the other end's inode number, which the connect has left here; where that end is closed
 * already, connections to a listener are asked about in the order in which they were made.
 */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/net.h"
#include "vfs/proc.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define PEERS_MAX 4096 /* connects remembered; of older ones the holder of the other end is told */
#define NOT_CONNECTED ~0U

struct kp_peers {
	pthread_mutex_t lock;
	unsigned next;
	struct peer {
		uint32_t client, server; /* inode numbers; server 0: nobody has asked yet */
		uint32_t file_dev, file_ino;
		pid_t pid;
	} of[PEERS_MAX];
};

struct kp_peers *kp_peers_new(void)
{
	struct kp_peers *p = kp_pages(sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void kp_peers_free(struct kp_peers *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	(void)kp_pages_free(p, sizeof(*p));
}

/* The i-th of them, the newest first. */
static struct peer *nth(struct kp_peers *p, unsigned i)
{
	return &p->of[(p->next - 1 - i) % PEERS_MAX];
}

bool kp_peer_note(struct kp_call *c, int fd, int pin)
{
	struct kp_peers *p = c->engine->peers;
	struct peer now = {.pid = kp_proc_tgid(c->tid)};
	bool known = false;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	now.client = (uint32_t)st.st_ino;
	if (pin >= 0 && fstat(pin, &st) == 0) {
		now.file_dev = kp_net_pack_dev(st.st_dev);
		now.file_ino = (uint32_t)st.st_ino;
	}
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < PEERS_MAX && nth(p, i)->client && !known; i++)
		known = nth(p, i)->client == now.client && nth(p, i)->server != NOT_CONNECTED;
	if (!known)
		p->of[p->next++ % PEERS_MAX] = now;
	pthread_mutex_unlock(&p->lock);
	return !known;
}

void kp_peer_forget(struct kp_call *c, int fd)
{
	struct kp_peers *p = c->engine->peers;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < PEERS_MAX && nth(p, i)->client; i++)
		if (nth(p, i)->client == (uint32_t)st.st_ino) {
			nth(p, i)->server = NOT_CONNECTED;
			break;
		}
	pthread_mutex_unlock(&p->lock);
}

/* By either end that is known; else the oldest that was made to that file, is closed, and was not asked about. With the lock held. */
static struct peer *noted(struct kp_peers *p, uint32_t server, const struct kp_net_unix *told)
{
	struct peer *oldest = NULL;
	struct kp_net_unix other;

	for (unsigned i = 0; i < PEERS_MAX && nth(p, i)->client; i++) {
		struct peer *q = nth(p, i);

		if (q->server == server || (told->peer && q->client == told->peer))
			return q;
		if (!told->peer && !q->server && q->file_dev == told->file_dev && q->file_ino == told->file_ino &&
		    kp_net_unix_ask(q->client, &other) == -ENOENT)
			oldest = q;
	}
	return oldest;
}

/* The guest at the other end of that socket, or 0. */
static pid_t who_connected(struct kp_engine *e, int fd)
{
	struct kp_net_unix told;
	struct peer *q;
	struct stat st;
	pid_t pid = 0;
	char text[16];

	if (fstat(fd, &st) < 0 || kp_net_unix_ask((uint32_t)st.st_ino, &told))
		return 0;
	pthread_mutex_lock(&e->peers->lock);
	q = noted(e->peers, (uint32_t)st.st_ino, &told);
	if (q) {
		q->server = (uint32_t)st.st_ino;
		pid = q->pid;
	}
	pthread_mutex_unlock(&e->peers->lock);
	(void)snprintf(text, sizeof(text), "%u", told.peer);
	return pid || !told.peer ? pid : kp_net_holder(e, text);
}

static int put_answer(struct kp_call *c, const void *value, size_t size)
{
	int room, rc = kp_call_get(c, c->raw[4], &room, sizeof(room));

	if (rc)
		return rc;
	if (room < 0)
		return -EINVAL;
	room = KP_MIN(room, (int)size);
	rc = kp_call_put(c, c->raw[3], value, (size_t)room);
	return rc ? rc : kp_call_put(c, c->raw[4], &room, sizeof(room));
}

int kp_sys_getsockopt(struct kp_call *c)
{
	int which = (int)c->raw[2], number, rc;
	kp_autoclose int fd = -1;
	struct ucred u = {0};
	socklen_t len = sizeof(u);

	c->reply = KP_REPLY_KERNEL;
	if ((int)c->raw[1] != SOL_SOCKET)
		return 0;
	fd = kp_dup_from(c->tid, (int)c->raw[0]);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) < 0 || u.pid != getpid())
		return 0;
	u.pid = who_connected(c->engine, fd);
	if (!u.pid)
		return 0;
	c->reply = KP_REPLY_VALUE;
	if (which != SO_PEERPIDFD)
		return put_answer(c, &u, sizeof(u));
	fd = kp_close(fd);
	fd = (int)syscall(SYS_pidfd_open, u.pid, 0);
	if (fd < 0)
		return -errno;
	number = kp_trap_add_fd(c->trap, c->n.id, c->tid, fd, true);
	rc = number < 0 ? number : put_answer(c, &number, sizeof(number));
	return rc;
}
