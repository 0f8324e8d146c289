/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket addresses that are paths. The guest itself makes the call, with the host's address in its scratch area: so peers see its
 * own pid and ids (SO_PEERCRED), and it blocks and is interrupted as ever. A host path is often too long for sun_path:
 * run_dir/s/N is a symlink to it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"
#include "sys/net.h"
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
	bool known;

	*slash = '\0';
	known = !shorten(e, dir[0] ? dir : "/", brief, sizeof(brief)) && !kp_path_join(path, sizeof(path), brief, slash + 1) &&
		kp_names_get_address(e, path, guest, sizeof(guest)) > 0;
	return kp_net_guest_bound(e, host, known);
}

/* The address of an existing socket, for connect and send. */
static int peer_address(struct kp_call *c, struct sockaddr_un *sa)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	char brief[sizeof(sa->sun_path)];
	struct kp_hpath host;
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
		rc = kp_node_host_path(c->vfs, n, &host);
	if (!rc && n->origin == KP_HOST && !n->self.bind && !is_own(c->engine, host.s))
		rc = -EACCES;
	kp_vfs_unlock(c->vfs);
	free(n);
	if (!rc && strlen(host.s) < sizeof(sa->sun_path))
		return put_path(sa, host.s);
	if (!rc)
		rc = shorten(c->engine, host.s, brief, sizeof(brief));
	return rc ? rc : put_path(sa, brief);
}

/*
 * A name that is too long even behind a short directory: the socket is bound here, by a short name, and renamed. Who listens or
 * sends is still the guest, so peers see its ids.
 */
static int bind_here(struct kp_call *c, const char *dir, const char *brief, const char *name)
{
	const struct kp_cred *cred = kp_call_cred(c);
	kp_autoclose int fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	kp_autoclose int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char path[sizeof(sa.sun_path)], final[PATH_MAX], passing[32];
	int rc;

	if (fd < 0 || dir_fd < 0)
		return fd == -EBADF ? -EBADF : -ENAMETOOLONG;
	(void)snprintf(passing, sizeof(passing), ".k%x", (unsigned)c->tid);
	rc = kp_path_join(path, sizeof(path), brief, passing);
	if (!rc)
		rc = put_path(&sa, path);
	if (!rc && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		rc = -errno;
	if (rc)
		return rc;
	if (fchmodat(dir_fd, passing, kp_call_mode(c, 0777), 0) < 0 ||
	    (c->vfs->uid == 0 && fchownat(dir_fd, passing, cred->uid, cred->gid, AT_SYMLINK_NOFOLLOW) < 0) ||
	    renameat(dir_fd, passing, dir_fd, name) < 0) {
		rc = -errno;
		(void)unlinkat(dir_fd, passing, 0);
		return rc;
	}
	kp_names_put_address(c->engine, path, c->path[0], strlen(c->path[0]) + 1);
	if (!kp_path_join(final, sizeof(final), brief, name))
		kp_names_put_address(c->engine, final, c->path[0], strlen(c->path[0]) + 1);
	return 0;
}

/* Where a new socket is made: the upper's directory, under its own name. *ret_bound: it was bound already. */
static int new_address(struct kp_call *c, struct sockaddr_un *sa, bool *ret_bound)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	char brief[sizeof(sa->sun_path)], path[sizeof(sa->sun_path)];
	struct kp_gpath up;
	struct kp_hpath dir;
	bool too_long;
	int rc;

	kp_vfs_write_lock(c->vfs);
	rc = kp_call_resolve_name(c, 0, n);
	if (!rc && (n->origin != KP_ABSENT || n->last != KP_LAST_NORM))
		rc = -EADDRINUSE;
	if (!rc)
		rc = n->last_error;
	if (!rc && n->trailing_slash)
		rc = -ENOENT;
	if (!rc)
		rc = kp_node_permit_parent(c->vfs, n, kp_call_cred(c), false);
	kp_gpath_parent(&n->guest, &up);
	if (!rc && kp_node_on_host(n)) {
		rc = kp_shown_parents(c->vfs, n);
		*strrchr(n->host.s, '/') = '\0';
		dir = n->host;
	} else if (!rc) {
		rc = kp_upper_parents(c->vfs, &n->guest);
		if (!rc)
			rc = kp_path_join(dir.s, sizeof(dir.s), c->vfs->upper.s, up.s);
	}
	if (!rc) {
		rc = shorten(c->engine, dir.s, brief, sizeof(brief));
		if (!rc)
			rc = kp_path_join(path, sizeof(path), brief, kp_gpath_name(&n->guest));
		too_long = rc == -ENAMETOOLONG;
		/* Over a whiteout too: it goes when the socket is there, and not when the bind fails. */
		*ret_bound = too_long || (!rc && n->whiteout);
		if (*ret_bound)
			rc = bind_here(c, dir.s, brief, kp_gpath_name(&n->guest));
		if (*ret_bound && !too_long && rc == -ENAMETOOLONG) { /* sockets cannot be copied on this host */
			rc = unlinkat(c->vfs->upper_fd, n->guest.s + 1, 0) < 0 ? -errno : 0;
			*ret_bound = false;
		}
	}
	if (!rc && !*ret_bound)
		atomic_store(&c->vfs->guest_makes_names, true);
	kp_vfs_unlock(c->vfs);
	free(n);
	if (!rc && !*ret_bound) {
		kp_names_put_address(c->engine, path, c->path[0], strlen(c->path[0]) + 1);
		rc = put_path(sa, path);
	}
	return rc;
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

static int to_path(struct kp_call *c, int arg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int rc = peer_address(c, &sa);

	return rc ? rc : with_address(c, arg, &sa);
}

int kp_sys_connect(struct kp_call *c)
{
	struct address a;
	int rc = read_address(c, c->raw[1], c->raw[2], &a);

	if (rc)
		return rc;
	return a.path ? to_path(c, 1) : kp_net_connect(c, &a.any, a.len);
}

int kp_sys_sendto(struct kp_call *c)
{
	struct address a;
	int rc = read_address(c, c->raw[4], c->raw[5], &a);

	if (rc)
		return rc;
	return a.path ? to_path(c, 4) : kp_net_sendto(c, &a.any, a.len);
}

int kp_sys_bind(struct kp_call *c)
{
	bool bound = false;
	struct address a;
	int rc = read_address(c, c->raw[1], c->raw[2], &a);

	if (rc)
		return rc;
	if (!a.path)
		return kp_net_bind(c, &a.any, a.len);
	rc = new_address(c, &a.un, &bound);
	return rc || bound ? rc : with_address(c, 1, &a.un);
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

int kp_sys_sendmsg(struct kp_call *c)
{
	struct address a = {0};
	struct msghdr m;
	bool sent = false;
	int rc;

	rc = kp_call_get(c, c->raw[1], &m, sizeof(m));
	if (!rc)
		rc = read_address(c, (uint64_t)(uintptr_t)m.msg_name, m.msg_namelen, &a);
	if (!rc && !a.path)
		rc = kp_net_send_message(c, &m, a.len ? &a.any : NULL, a.len, (int)c->raw[2], &sent);
	if (rc || sent)
		return rc;
	if (!a.path) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	rc = peer_address(c, &a.un);
	if (rc)
		return rc;
	rewrite_message(c, &m, sizeof(m), &m, &a.un);
	return 0;
}

/* The length that the kernel would report: messages are sent whole or not at all where they carry an address. */
static int total_length(struct kp_call *c, const struct msghdr *m, unsigned *ret_len)
{
	*ret_len = 0;
	if (m->msg_iovlen > UIO_MAXIOV)
		return -EMSGSIZE;
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		struct iovec part;
		int rc = kp_call_get(c, (uint64_t)(uintptr_t)(m->msg_iov + i), &part, sizeof(part));

		if (rc)
			return rc;
		*ret_len += (unsigned)part.iov_len;
	}
	return 0;
}

/* The first of many messages, which is not for the kernel as it is. */
static int send_first(struct kp_call *c, struct mmsghdr *m, struct address *a)
{
	uint64_t len_at = c->raw[1] + offsetof(struct mmsghdr, msg_len);
	int rc = peer_address(c, &a->un);

	if (!rc)
		rc = total_length(c, &m->msg_hdr, &m->msg_len);
	if (!rc)
		rc = kp_call_put(c, len_at, &m->msg_len, sizeof(m->msg_len));
	if (rc)
		return rc;
	rewrite_message(c, m, sizeof(*m), &m->msg_hdr, &a->un)->args[2] = 1;
	return 0;
}

/*
 * The call may send fewer messages than asked for: those before the first that is not for the kernel as they are, or that one alone.
 * What comes first is sent first; the next call tells of an error.
 */
int kp_sys_sendmmsg(struct kp_call *c)
{
	uint64_t count = KP_MIN(c->raw[2], (uint64_t)UIO_MAXIOV), i;
	struct mmsghdr m;
	struct address a;

	for (i = 0; i < count; i++) {
		uint64_t at = c->raw[1] + i * sizeof(m);
		bool sent = false;
		int rc = kp_call_get(c, at, &m, sizeof(m));

		if (!rc)
			rc = read_address(c, (uint64_t)(uintptr_t)m.msg_hdr.msg_name, m.msg_hdr.msg_namelen, &a);
		if (!rc && !a.path && (!i || c->engine->policy->net.mode != KP_NETWORK_CONNECT))
			rc = kp_net_send_message(c, &m.msg_hdr, a.len ? &a.any : NULL, a.len, (int)c->raw[3], &sent);
		if (sent) { /* only the first one is tried */
			m.msg_len = (unsigned)c->value;
			c->value = 1;
			return kp_call_put(c, at + offsetof(struct mmsghdr, msg_len), &m.msg_len, sizeof(m.msg_len));
		}
		if (rc && !i)
			return rc;
		if (rc || a.path || (i && a.len && c->engine->policy->net.mode == KP_NETWORK_CONNECT))
			break;
	}
	if (i == count)
		c->reply = KP_REPLY_KERNEL;
	else if (i)
		kp_call_rewrite(c, c->n.data.nr)->args[2] = i;
	else
		return send_first(c, &m, &a);
	return 0;
}

/* --- names of sockets, back in guest terms --- */

static void to_guest(struct kp_call *c, struct sockaddr_un *sa, socklen_t *len)
{
	char guest[PATH_MAX];
	size_t n;

	if (sa->sun_family != AF_UNIX || *len <= PATH_AT || !sa->sun_path[0])
		return;
	n = kp_names_get_address(c->engine, sa->sun_path, guest, sizeof(guest));
	if (!n) {
		struct kp_mapped m;

		kp_map_host(c->vfs, sa->sun_path, &m);
		if (m.kind == KP_MAP_FOREIGN)
			return;
		n = (size_t)snprintf(guest, sizeof(guest), "%s", m.guest.s) + 1;
	}
	if (n > sizeof(sa->sun_path) + 1) /* 108 bytes without a NUL are told with one */
		n = sizeof(sa->sun_path) + 1;
	memset(sa->sun_path, 0, sizeof(sa->sun_path));
	memcpy((char *)sa + PATH_AT, guest, n);
	*len = (socklen_t)(PATH_AT + n);
}

/* The bound path of a socket by its inode, from the list of all of them in the caller's network namespace. */
static int listed_name(struct kp_call *c, const char *inode, struct sockaddr_un *sa, socklen_t *len)
{
	char path[48];
	kp_autofree char *text = NULL;
	char *next;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/unix", c->tid);
	if (kp_read_file(AT_FDCWD, path, 64U << 20, &text, NULL))
		return -ENOENT;
	for (char *line = text; line && *line; line = next) {
		char number[24];
		int at = 0;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %23s%n", number, &at) != 1 || strcmp(number, inode) != 0)
			continue;
		if (line[at] != ' ' || line[at + 1] != '/' || strlen(line + at + 1) >= sizeof(sa->sun_path))
			return -ENOENT;
		memset(sa, 0, sizeof(*sa));
		sa->sun_family = AF_UNIX;
		memcpy(sa->sun_path, line + at + 1, strlen(line + at + 1));
		*len = (socklen_t)(PATH_AT + strlen(sa->sun_path) + 1);
		return 0;
	}
	return -ENOENT;
}

/* Where descriptors cannot be copied: our own bound paths by inode. The peer's inode nobody tells. */
static int name_without_copy(struct kp_call *c, struct sockaddr_un *sa, socklen_t *len)
{
	char text[64], *end;
	int rc = kp_task_fd(c->tid, (int)c->raw[0], text, sizeof(text));

	if (rc || strncmp(text, "socket:[", 8) != 0 || !(end = strchr(text, ']')))
		return -ENOENT;
	*end = '\0';
	return listed_name(c, text + 8, sa, len);
}

static int get_name(struct kp_call *c, bool own, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	kp_autoclose int fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
		char bytes[256];
	} u = {0};
	socklen_t len = sizeof(u.bytes) - 1, room;
	int rc;

	if (fd == -EBADF)
		return fd;
	if (fd < 0 && (!own || name_without_copy(c, &u.un, &len))) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	rc = kp_call_get(c, c->raw[2], &room, sizeof(room));
	if (rc)
		return rc;
	if ((int)room < 0)
		return -EINVAL;
	if (fd >= 0 && get(fd, &u.sa, &len) < 0)
		return -errno;
	to_guest(c, &u.un, &len);
	rc = kp_call_put(c, c->raw[1], u.bytes, KP_MIN(room, len));
	return rc ? rc : kp_call_put(c, c->raw[2], &len, sizeof(len));
}

static int own_name(int fd, struct sockaddr *restrict sa, socklen_t *restrict len)
{
	return getsockname(fd, sa, len);
}

static int peer_name(int fd, struct sockaddr *restrict sa, socklen_t *restrict len)
{
	return getpeername(fd, sa, len);
}

int kp_sys_getsockname(struct kp_call *c)
{
	return get_name(c, true, own_name);
}

int kp_sys_getpeername(struct kp_call *c)
{
	return get_name(c, false, peer_name);
}
