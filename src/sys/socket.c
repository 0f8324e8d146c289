/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets by address. The supervisor connects, binds and sends on the guest's own socket (broker.c), so that nobody changes an address
 * after it was judged; a path leads to the very file that was looked at. Where the host does not let us have a guest's descriptors
 * (Docker's default filter refuses pidfd_getfd), the guest makes the call itself at level portable, with the host's address in
 * its scratch area; a host path is often too long for sun_path: run_dir/s/N is a symlink to it. At level strict there is no such call.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/bindpath.h"
#include "sys/broker.h"
#include "sys/handlers.h"
#include "sys/net.h"
#include "sys/ports.h"
#include "vfs/internal.h"
#include "vfs/upper.h"

#define PATH_AT offsetof(struct sockaddr_un, sun_path)

/* accept and recvfrom tell the host's name of a peer; the guest that uses it means the peer. */
static void told_by_kernel(struct kp_call *c)
{
	const char *rest = kp_path_below(c->path[0], c->engine->run_dir);
	char guest[PATH_MAX];

	if (rest && kp_names_get_address(c->engine, c->path[0], guest, sizeof(guest)))
		(void)snprintf(c->path[0], PATH_MAX, "%s", guest);
}

/* The kernel looks at the descriptor before it looks at a name. */
static int check_socket(struct kp_call *c)
{
	char text[PATH_MAX];
	int rc = kp_task_fd(c->tid, (int)c->raw[0], text, sizeof(text));

	return rc ? rc : strncmp(text, "socket:", 7) != 0 ? -ENOTSOCK : 0;
}

/* The supervisor's copy of an address. */
struct address {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	};
	socklen_t len; /* 0: there is none, or none that the kernel would look at */
	bool path;
};

static int read_address(struct kp_call *c, uint64_t addr, uint64_t len, struct address *a)
{
	int rc;

	memset(a, 0, sizeof(*a));
	if (!addr || len < sizeof(a->un.sun_family) || len > sizeof(a->storage))
		return 0; /* the kernel has its own words for that */
	rc = kp_call_get(c, addr, &a->storage, len); /* the kernel copies what it is told before it looks */
	if (rc)
		return rc;
	if (!kp_trap_valid(c->trap, c->n.id))
		return -ESRCH;
	a->len = (socklen_t)len;
	a->path = a->un.sun_family == AF_UNIX && len > PATH_AT && a->un.sun_path[0];
	if (a->path && len > sizeof(a->un))
		return -EINVAL;
	if (!a->path)
		return 0;
	/* Not always terminated. */
	(void)snprintf(c->path[0], PATH_MAX, "%.*s", (int)(len - PATH_AT), a->un.sun_path);
	c->path_null[0] = false;
	c->dirfd[0] = -100; /* AT_FDCWD */
	told_by_kernel(c);
	return check_socket(c);
}

/* A short name for a long host path: a symlink in the run directory, one for each path. */
static int shorten(struct kp_engine *e, const char *host, char *buf, size_t size)
{
	uint32_t h = (uint32_t)kp_hash_string(host);
	char now[PATH_MAX];
	ssize_t n;

	for (unsigned tries = 0; tries < 64; tries++) {
		if ((size_t)snprintf(buf, size, "%s/s/%x", e->run_dir, h + tries) >= size)
			return -ENAMETOOLONG;
		n = readlink(buf, now, sizeof(now) - 1);
		if (n < 0 && symlink(host, buf) == 0)
			return 0;
		if (n < 0 && errno == EEXIST) /* another worker was faster */
			n = readlink(buf, now, sizeof(now) - 1);
		if (n < 0)
			return -errno;
		now[n] = '\0';
		if (!strcmp(now, host))
			return 0;
	}
	return -ENAMETOOLONG;
}

static int put_path(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);

	if (len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memset(sa->sun_path, 0, sizeof(sa->sun_path));
	memcpy(sa->sun_path, path, len);
	return 0;
}

/*
 * Who talks to a daemon of the host acts with its powers: a mode shows its socket, but only a bind lets a guest in. The guests' own in
 * merged directories are known by what they hold, or by the address that they were bound with.
 */
static bool is_own(struct kp_engine *e, const char *host)
{
	char brief[sizeof(((struct sockaddr_un *)0)->sun_path)], path[PATH_MAX], guest[128];
	kp_autofree char *dir = kp_strdup(host);
	char *slash = strrchr(dir, '/');
	struct stat st;
	bool known;

	*slash = '\0';
	known = (lstat(host, &st) == 0 && kp_names_has_socket(e, st.st_dev, st.st_ino)) ||
		(!shorten(e, dir[0] ? dir : "/", brief, sizeof(brief)) && !kp_path_join(path, sizeof(path), brief, slash + 1) &&
		 kp_names_get_address(e, path, guest, sizeof(guest)) > 0);
	return kp_net_guest_bound(e, host, known);
}

/* The file of an existing socket, for connect and send. */
static int peer_path(struct kp_call *c, struct kp_hpath *host, int *ret_pin)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve(c, 0, true, n);
	if (!rc && n->origin == KP_ABSENT)
		rc = -ENOENT;
	if (!rc)
		rc = kp_node_permit(c->vfs, n, kp_call_cred(c), W_OK);
	if (!rc && !S_ISSOCK(n->mode))
		rc = -ECONNREFUSED;
	if (!rc)
		rc = kp_node_host_path(c->vfs, n, host);
	if (!rc && n->origin == KP_HOST && !n->self.bind && !is_own(c->engine, host->s))
		rc = -EACCES;
	if (!rc) {
		*ret_pin = open(host->s, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		rc = *ret_pin < 0 ? -errno : 0;
	}
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

/* For a call that the guest makes itself. */
static int peer_address(struct kp_call *c, struct sockaddr_un *sa)
{
	char brief[sizeof(sa->sun_path)];
	kp_autoclose int pin = -1;
	struct kp_hpath host;
	int rc = peer_path(c, &host, &pin);

	if (!rc && strlen(host.s) < sizeof(sa->sun_path))
		return put_path(sa, host.s);
	if (!rc)
		rc = shorten(c->engine, host.s, brief, sizeof(brief));
	return rc ? rc : put_path(sa, brief);
}

/* Where the guest's address leads, and whether it may go there. */
static int aim(struct kp_call *c, int fd, const struct address *a, struct kp_target *t)
{
	struct sockaddr_un *un = (void *)&t->sa;
	struct kp_hpath host;
	int rc;

	*t = (struct kp_target){.pin = -1};
	if (a->path) {
		rc = peer_path(c, &host, &t->pin);
		un->sun_family = AF_UNIX;
		(void)snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d", t->pin);
		t->len = (socklen_t)(PATH_AT + strlen(un->sun_path) + 1);
		return rc;
	}
	memcpy(&t->sa, &a->storage, a->len);
	t->len = a->len;
	if (kp_net_own_abstract(c->engine, &t->sa, &t->len))
		return 0;
	rc = kp_net_may_reach(c, &a->any, a->len);
	return rc ? rc : kp_ports_reach(c->engine, fd, (struct sockaddr *)&t->sa, t->len);
}

/* The directory where a new socket's name comes; it is made where it is missing. */
static int new_place(struct kp_call *c, struct kp_node *n, struct kp_hpath *dir)
{
	struct kp_gpath up;
	int rc = kp_call_resolve_name(c, 0, n);

	if (!rc && (n->origin != KP_ABSENT || n->last != KP_LAST_NORM))
		rc = -EADDRINUSE;
	if (!rc)
		rc = n->last_error;
	if (!rc && n->trailing_slash)
		rc = -ENOENT;
	if (!rc)
		rc = kp_node_permit_parent(c->vfs, n, kp_call_cred(c), false);
	if (rc)
		return rc;
	if (kp_node_on_host(n)) {
		rc = kp_shown_parents(c->vfs, n);
		*dir = n->host;
		strrchr(dir->s, '/')[dir->s[1] && strrchr(dir->s, '/') == dir->s] = '\0';
		return rc;
	}
	kp_gpath_parent(&n->guest, &up);
	rc = kp_upper_parents(c->vfs, &n->guest);
	return rc ? rc : kp_path_join(dir->s, sizeof(dir->s), c->vfs->upper.s, up.s);
}

static int bind_path(struct kp_call *c, int fd, const struct address *a)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct kp_hpath dir;
	int rc;

	kp_vfs_write_lock(c->vfs);
	rc = new_place(c, n, &dir);
	if (!rc)
		rc = kp_bind_path(c, n, dir.s, fd, &a->un, a->len);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

/* For a bind that the guest makes itself: under its own name, in the upper's directory. */
static int new_address(struct kp_call *c, struct sockaddr_un *sa)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	char brief[sizeof(sa->sun_path)], path[sizeof(sa->sun_path)];
	struct kp_hpath dir;
	int rc, bound;

	kp_vfs_write_lock(c->vfs);
	rc = new_place(c, n, &dir);
	if (!rc)
		rc = shorten(c->engine, dir.s, brief, sizeof(brief));
	if (!rc)
		rc = kp_path_join(path, sizeof(path), brief, kp_gpath_name(&n->guest));
	/* The name is free for the kernel from here on: not for a bind that cannot but fail, which would leave it so. */
	bound = !rc && n->whiteout ? kp_sockname_is_bound(c, (int)c->raw[0]) : 0;
	if (bound > 0)
		rc = -EINVAL;
	if (!rc && n->whiteout && !bound)
		rc = unlinkat(c->vfs->upper_fd, n->guest.s + 1, 0) < 0 ? -errno : 0;
	if (!rc)
		atomic_store(&c->vfs->guest_makes_names, true);
	kp_vfs_unlock(c->vfs);
	free(n);
	if (rc)
		return rc;
	kp_names_put_address(c->engine, path, c->path[0], strlen(c->path[0]) + 1);
	return put_path(sa, path);
}

/* Puts the address in place of argument arg (its length is the next one). */
static int with_address(struct kp_call *c, int arg, const struct sockaddr_un *sa)
{
	struct kp_rewrite *rw = kp_call_rewrite(c, c->n.data.nr);
	size_t len = PATH_AT + strlen(sa->sun_path) + 1;
	int at = kp_rewrite_add(rw, sa, len);

	if (at < 0)
		return -ENAMETOOLONG;
	rw->args[arg] = (uint64_t)at;
	rw->points |= (uint8_t)(1U << arg);
	rw->args[arg + 1] = len;
	return 0;
}

static int go_on(struct kp_call *c)
{
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

/* The guest makes the call, where its descriptors are out of reach. */
static int by_guest(struct kp_call *c, int arg, struct address *a, bool binds)
{
	int rc;

	if (c->engine->level == KP_LEVEL_STRICT)
		return -EACCES;
	if (!a->path) {
		rc = binds ? 0 : kp_net_may_reach(c, &a->any, a->len);
		if (binds)
			kp_ports_untranslated(c->engine, &a->any);
		return rc ? rc : go_on(c);
	}
	rc = binds ? new_address(c, &a->un) : peer_address(c, &a->un);
	return rc ? rc : with_address(c, arg, &a->un);
}

int kp_sys_connect(struct kp_call *c)
{
	kp_autotarget struct kp_target t = {.pin = -1};
	kp_autoclose int fd = -1;
	struct address a;
	bool noted;
	int rc = read_address(c, c->raw[1], c->raw[2], &a);

	if (rc)
		return rc;
	if (!a.len)
		return go_on(c); /* the numbers alone are wrong */
	fd = kp_broker_socket(c, (int)c->raw[0]);
	if (kp_broker_refused(fd))
		return by_guest(c, 1, &a, false);
	rc = fd < 0 ? fd : aim(c, fd, &a, &t);
	if (rc)
		return rc;
	noted = a.any.sa_family == AF_UNIX && kp_broker_option(fd, SO_TYPE) != SOCK_DGRAM && kp_peer_note(c, fd, t.pin);
	rc = kp_broker_connect(c, &fd, &t);
	if (rc && noted)
		kp_peer_forget(c, fd);
	return rc;
}

int kp_sys_bind(struct kp_call *c)
{
	kp_autoclose int fd = -1;
	struct address a;
	int rc = read_address(c, c->raw[1], c->raw[2], &a);

	if (rc)
		return rc;
	if (!a.len)
		return go_on(c);
	fd = kp_broker_socket(c, (int)c->raw[0]);
	if (kp_broker_refused(fd))
		return by_guest(c, 1, &a, true);
	if (fd < 0)
		return fd;
	return a.path ? bind_path(c, fd, &a) : kp_net_bind(c, fd, &a.any, a.len);
}

/* Connected sockets of streams have no use for an address; what the kernel says to it is said by the kernel. */
static bool ignores_address(int fd)
{
	int type = kp_broker_option(fd, SO_TYPE);

	return (type == SOCK_STREAM && kp_broker_option(fd, SO_DOMAIN) != AF_UNIX) || type == SOCK_SEQPACKET;
}

/* One message with an address, or (a->len 0) without one. */
static int send_here(struct kp_call *c, int *fd, const struct address *a, struct kp_message *m, int flags, uint64_t len_at)
{
	kp_autotarget struct kp_target t = {.pin = -1};
	int rc = 0;

	if (flags & MSG_FASTOPEN && kp_broker_option(*fd, SO_PROTOCOL) == IPPROTO_TCP)
		return -EOPNOTSUPP; /* as where it is switched off: who asks falls back to connect */
	if (a->len && !ignores_address(*fd))
		rc = aim(c, *fd, a, &t);
	if (!rc)
		rc = kp_net_may_choose(c, m);
	return rc ? rc : kp_broker_send(c, fd, &t, m, flags, len_at);
}

int kp_sys_sendto(struct kp_call *c)
{
	kp_automessage struct kp_message m = {0};
	kp_autoclose int fd = -1;
	struct address a;
	int rc = read_address(c, c->raw[4], c->raw[5], &a);

	if (rc)
		return rc;
	if (!a.len)
		return go_on(c);
	fd = kp_broker_socket(c, (int)c->raw[0]);
	if (kp_broker_refused(fd))
		return by_guest(c, 4, &a, false);
	rc = fd < 0 ? fd : kp_message_read(c, c->raw[1], c->raw[2], &m);
	return rc ? rc : send_here(c, &fd, &a, &m, (int)c->raw[3], 0);
}

/*
 * A message without an address could be given one while the guest sends it. That is a datagram to a socket of the host by its path, and in
 * a restricted network one to anywhere; at level portable the first is let be (docs/SECURITY.md).
 */
static bool nameless_is_ours(const struct kp_call *c)
{
	return c->engine->level == KP_LEVEL_STRICT || kp_net_restricted(c);
}

/* Puts a copy of the message (which m is, or begins) in place of argument 1, with the address in it. */
static struct kp_rewrite *rewrite_message(struct kp_call *c, void *message, size_t len, struct msghdr *m,
					  const struct sockaddr_un *sa)
{
	struct kp_rewrite *rw = kp_call_rewrite(c, c->n.data.nr);
	int name_at, at;

	m->msg_namelen = (socklen_t)(PATH_AT + strlen(sa->sun_path) + 1);
	at = kp_rewrite_add(rw, message, len);
	name_at = kp_rewrite_add(rw, sa, m->msg_namelen);
	rw->args[1] = (uint64_t)at;
	rw->points = 1U << 1;
	rw->inner[0].at = (uint16_t)(at + (int)offsetof(struct msghdr, msg_name));
	rw->inner[0].target = (uint16_t)name_at;
	rw->inner_count = 1;
	return rw;
}

static int message_by_guest(struct kp_call *c, struct msghdr *m, struct address *a)
{
	int rc;

	if (a->len && c->engine->level == KP_LEVEL_STRICT)
		return -EACCES;
	if (!a->path) {
		rc = a->len ? kp_net_may_reach(c, &a->any, a->len) : 0;
		return rc ? rc : go_on(c);
	}
	rc = peer_address(c, &a->un);
	if (!rc)
		(void)rewrite_message(c, m, sizeof(*m), m, &a->un);
	return rc;
}

int kp_sys_sendmsg(struct kp_call *c)
{
	kp_automessage struct kp_message copy = {0};
	kp_autoclose int fd = -1;
	struct address a = {0};
	struct msghdr m;
	int rc;

	rc = kp_call_get(c, c->raw[1], &m, sizeof(m));
	if (!rc)
		rc = read_address(c, (uint64_t)(uintptr_t)m.msg_name, m.msg_namelen, &a);
	if (rc)
		return rc;
	if (!a.len && !nameless_is_ours(c))
		return go_on(c);
	fd = kp_broker_socket(c, (int)c->raw[0]);
	if (kp_broker_refused(fd))
		return message_by_guest(c, &m, &a);
	rc = fd < 0 ? fd : kp_message_read_msghdr(c, &m, &copy);
	return rc ? rc : send_here(c, &fd, &a, &copy, (int)c->raw[2], 0);
}

/* One of many messages: 1, sent; 0, the reply is on its way; or -errno. */
static int send_one_of(struct kp_call *c, uint64_t at, const struct mmsghdr *m, const struct address *a, bool first)
{
	kp_automessage struct kp_message copy = {0};
	kp_autoclose int fd = kp_broker_socket(c, (int)c->raw[0]);
	int flags = (int)c->raw[3] | (first ? 0 : MSG_DONTWAIT);
	int rc = fd < 0 ? fd : kp_message_read_msghdr(c, &m->msg_hdr, &copy);

	if (!rc)
		rc = send_here(c, &fd, a, &copy, flags, at + offsetof(struct mmsghdr, msg_len));
	return rc ? rc : c->reply != KP_REPLY_DONE;
}

/* Where descriptors are out of reach: the messages before the first that leads to a path, or (there was none) that one is an error. */
static int messages_by_guest(struct kp_call *c, uint64_t count)
{
	char what[64];
	struct mmsghdr m;
	struct address a;
	uint64_t i;

	if (kp_task_fd(c->tid, (int)c->raw[0], what, sizeof(what)) == -EBADF)
		return -EBADF;
	for (i = 0; i < count; i++) {
		int rc = kp_call_get(c, c->raw[1] + i * sizeof(m), &m, sizeof(m));

		if (!rc)
			rc = read_address(c, (uint64_t)(uintptr_t)m.msg_hdr.msg_name, m.msg_hdr.msg_namelen, &a);
		if (!rc && a.len)
			rc = c->engine->level == KP_LEVEL_STRICT ? -EACCES : a.path ? -EOPNOTSUPP : kp_net_may_reach(c, &a.any, a.len);
		if (rc && !i)
			return rc;
		if (rc)
			break;
	}
	if (i == count)
		return go_on(c);
	kp_call_rewrite(c, c->n.data.nr)->args[2] = i;
	return 0;
}

/* What comes before an error is sent, and the next call tells of it. */
int kp_sys_sendmmsg(struct kp_call *c)
{
	uint64_t count = KP_MIN(c->raw[2], (uint64_t)UIO_MAXIOV), i;
	kp_autoclose int fd = kp_broker_socket(c, (int)c->raw[0]);
	struct mmsghdr m;
	struct address a;

	if (kp_broker_refused(fd))
		return messages_by_guest(c, count);
	if (fd < 0)
		return fd;
	for (i = 0; i < count; i++) {
		uint64_t at = c->raw[1] + i * sizeof(m);
		int rc = kp_call_get(c, at, &m, sizeof(m));

		if (!rc)
			rc = read_address(c, (uint64_t)(uintptr_t)m.msg_hdr.msg_name, m.msg_hdr.msg_namelen, &a);
		/* The addresses of the others may come later: none, or all are sent here. */
		if (!rc)
			rc = send_one_of(c, at, &m, &a, i == 0);
		if (!rc)
			return 0;
		if (rc < 0 && !i)
			return rc;
		if (rc < 0)
			break;
	}
	c->value = (int64_t)i;
	return 0;
}
