/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets where the profile restricts them. `none`: there are only AF_UNIX ones (the filter). `loopback`: each is made here and bound to
 * the loopback's device, so the kernel itself lets nothing out. `connect`: the supervisor itself connects, binds and sends, on the
 * address that it has copied and judged; nothing listens but on the loopback.
 */
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/net.h"

#define DATAGRAM_MAX 65536U
#define WAITS_MAX 1024 /* connects under way */

static int go_on(struct kp_call *c)
{
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

/* --- sockets without a file: those of guests, and what is granted --- */

bool kp_net_guest_has(struct kp_engine *e, const char *inode)
{
	kp_autofree pid_t *pids = kp_calloc(4096, sizeof(*pids));
	size_t count = KP_MIN(kp_engine_pids(e, pids, 4096), (size_t)4096);
	char want[64], path[64], link[64];
	bool found = false;

	(void)snprintf(want, sizeof(want), "socket:[%s]", inode);
	for (size_t i = 0; i < count && !found; i++) {
		struct dirent *entry;
		DIR *d;

		(void)snprintf(path, sizeof(path), "/proc/%d/fd", pids[i]);
		d = opendir(path);
		while (d && !found && (entry = readdir(d))) {
			ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

			link[KP_MAX(n, 0)] = '\0';
			found = !strcmp(link, want);
		}
		if (d)
			(void)closedir(d);
	}
	return found;
}

/* /proc/net/unix shows the name with '@' for each NUL. */
static bool is_own_abstract(struct kp_call *c, const struct sockaddr_un *sa, socklen_t len)
{
	char path[48], name[sizeof(sa->sun_path) + 1] = "";
	kp_autofree char *text = NULL;
	size_t size = len - offsetof(struct sockaddr_un, sun_path);
	char *next;

	if (size > sizeof(sa->sun_path))
		return false;
	for (size_t i = 0; i < size; i++)
		name[i] = sa->sun_path[i] ? sa->sun_path[i] : '@';
	(void)snprintf(path, sizeof(path), "/proc/%d/net/unix", c->tid);
	if (kp_read_file(AT_FDCWD, path, 64U << 20, &text, NULL))
		return false;
	for (char *line = text; line && *line; line = next) {
		char inode[24];
		int at = 0;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %23s%n", inode, &at) == 1 && line[at] == ' ' && !strcmp(line + at + 1, name) &&
		    kp_net_guest_has(c->engine, inode))
			return true;
	}
	return false;
}

/* Finding out takes milliseconds: what was a guest's counts as one for a moment longer. */
static bool is_known_abstract(struct kp_call *c, const struct sockaddr_un *sa, socklen_t len)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct {
		struct sockaddr_un sa;
		socklen_t len;
		time_t at;
	} known[8];
	static unsigned next;
	struct timespec now;
	bool own = false;

	if (len > sizeof(*sa))
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < KP_ARRAY_LEN(known) && !own; i++)
		own = known[i].len == len && now.tv_sec - known[i].at <= 1 && !memcmp(&known[i].sa, sa, len);
	pthread_mutex_unlock(&lock);
	if (own || !is_own_abstract(c, sa, len))
		return own;
	pthread_mutex_lock(&lock);
	memcpy(&known[next % KP_ARRAY_LEN(known)].sa, sa, len);
	known[next % KP_ARRAY_LEN(known)].len = len;
	known[next++ % KP_ARRAY_LEN(known)].at = now.tv_sec;
	pthread_mutex_unlock(&lock);
	return true;
}

int kp_net_may_reach(struct kp_call *c, const struct sockaddr *sa, socklen_t len)
{
	int rc = kp_policy_peer(c->engine->policy, sa, len);

	if (rc && sa->sa_family == AF_UNIX && is_known_abstract(c, (const void *)sa, len))
		return 0;
	return rc;
}

/* --- connect --- */

struct wait {
	struct kp_engine *engine;
	uint64_t id;
	pid_t tid;
	int fd;
	int64_t ms; /* left; -1: for ever */
};

static void *waiter(void *arg)
{
	struct wait *w = arg;
	struct kp_engine *e = w->engine;
	int error = 0;

	for (;;) {
		struct pollfd p = {.fd = w->fd, .events = POLLOUT};
		int r = poll(&p, 1, 50);
		socklen_t len = sizeof(error);

		if (r > 0) {
			if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
				error = errno;
			break;
		}
		if (!kp_trap_valid(e->trap, w->id))
			break;
		if (w->ms >= 0 && (w->ms -= 50) <= 0) {
			error = EINPROGRESS;
			break;
		}
		if (kp_task_signalled(w->tid)) {
			error = 512; /* ERESTARTSYS: made anew, or EINTR, as the handler was set up */
			break;
		}
	}
	(void)kp_trap_answer(e->trap, w->id, 0, -error);
	(void)kp_close(w->fd);
	free(w);
	atomic_fetch_sub(&e->waits, 1);
	return NULL;
}

/* The socket connects: answered from another thread, for it may take long. */
static int wait_for(struct kp_call *c, int fd)
{
	struct timeval limit = {0};
	socklen_t len = sizeof(limit);
	struct wait *w;
	pthread_t thread;
	int rc;

	if (atomic_fetch_add(&c->engine->waits, 1) >= WAITS_MAX) {
		atomic_fetch_sub(&c->engine->waits, 1);
		return -EAGAIN;
	}
	(void)getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &len);
	w = kp_calloc(1, sizeof(*w));
	*w = (struct wait){c->engine, c->n.id, c->tid, fcntl(fd, F_DUPFD_CLOEXEC, 3), -1};
	if (limit.tv_sec || limit.tv_usec)
		w->ms = (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
	rc = w->fd < 0 ? errno : pthread_create(&thread, NULL, waiter, w);
	if (rc) {
		(void)kp_close(w->fd);
		free(w);
		atomic_fetch_sub(&c->engine->waits, 1);
		return -rc;
	}
	(void)pthread_detach(thread);
	c->reply = KP_REPLY_DONE;
	return 0;
}

static int option(int fd, int which)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, which, &value, &len) < 0 ? -errno : value;
}

static int connect_here(struct kp_call *c, const struct sockaddr *sa, socklen_t len)
{
	kp_autoclose int fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	int flags = fd < 0 ? 0 : fcntl(fd, F_GETFL), rc;
	bool blocks = !(flags & O_NONBLOCK) && option(fd, SO_TYPE) == SOCK_STREAM;

	if (fd < 0)
		return fd;
	if (option(fd, SO_DOMAIN) < 0)
		return -ENOTSOCK;
	if (blocks)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	rc = connect(fd, sa, len) < 0 ? -errno : 0;
	if (blocks)
		(void)fcntl(fd, F_SETFL, flags);
	if (blocks && (rc == -EINPROGRESS || rc == -EALREADY))
		return wait_for(c, fd);
	return rc;
}

/* Where it is to be done here, that is where nothing else binds the guest to the address that was judged. */
static bool done_here(const struct kp_call *c, const struct sockaddr *sa)
{
	return c->engine->policy->net.mode == KP_NETWORK_CONNECT && sa->sa_family != AF_UNIX;
}

int kp_net_connect(struct kp_call *c, const struct sockaddr *sa, socklen_t len)
{
	int rc = kp_net_may_reach(c, sa, len);

	if (rc)
		return rc;
	return done_here(c, sa) ? connect_here(c, sa, len) : go_on(c);
}

/* --- send --- */

int kp_net_sendto(struct kp_call *c, const struct sockaddr *sa, socklen_t len)
{
	int rc = kp_net_may_reach(c, sa, len), flags = (int)c->raw[3];
	kp_autofree char *data = NULL;
	kp_autoclose int fd = -1;
	size_t size = c->raw[2];
	ssize_t n;

	if (rc || !done_here(c, sa))
		return rc ? rc : go_on(c);
	if (flags & MSG_FASTOPEN)
		return -EOPNOTSUPP; /* as where it is switched off: who asks falls back to connect */
	fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	if (fd < 0)
		return fd;
	rc = option(fd, SO_TYPE);
	if (rc < 0)
		return -ENOTSOCK;
	if (rc != SOCK_DGRAM)
		return go_on(c); /* the kernel does not look at the address */
	if (size > DATAGRAM_MAX)
		return -EMSGSIZE;
	data = kp_calloc(1, size + 1);
	rc = kp_call_get(c, c->raw[1], data, size);
	if (rc)
		return rc;
	n = sendto(fd, data, size, flags | MSG_NOSIGNAL, sa, len);
	c->value = n;
	return n < 0 ? -errno : 0;
}

/* Would the message choose another device than the socket's? */
static bool chooses_device(struct kp_call *c, const struct msghdr *m)
{
	uint8_t control[1024];
	struct msghdr copy = {.msg_control = control, .msg_controllen = KP_MIN(m->msg_controllen, sizeof(control))};

	if (!m->msg_control || !m->msg_controllen || kp_call_get(c, (uint64_t)(uintptr_t)m->msg_control, control, copy.msg_controllen))
		return false;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&copy); h; h = CMSG_NXTHDR(&copy, h))
		if ((h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) ||
		    (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO))
			return true;
	return false;
}

/* The data of a message, in one piece. */
static int gather(struct kp_call *c, const struct msghdr *m, char **ret_data, size_t *ret_size)
{
	kp_autofree char *data = kp_calloc(1, DATAGRAM_MAX + 1);
	size_t size = 0;

	if (m->msg_iovlen > 1024)
		return -EMSGSIZE;
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		struct iovec part;
		int rc = kp_call_get(c, (uint64_t)(uintptr_t)(m->msg_iov + i), &part, sizeof(part));

		if (!rc && part.iov_len > DATAGRAM_MAX - size)
			rc = -EMSGSIZE;
		if (!rc)
			rc = kp_call_get(c, (uint64_t)(uintptr_t)part.iov_base, data + size, part.iov_len);
		if (rc)
			return rc;
		size += part.iov_len;
	}
	*ret_data = kp_take_ptr(data);
	*ret_size = size;
	return 0;
}

int kp_net_send_message(struct kp_call *c, const struct msghdr *m, const struct sockaddr *sa, socklen_t len, int flags, bool *ret_sent)
{
	int rc = sa ? kp_net_may_reach(c, sa, len) : 0;
	kp_autofree char *data = NULL;
	kp_autoclose int fd = -1;
	size_t size;
	ssize_t n;

	*ret_sent = false;
	if (!rc && c->engine->policy->net.mode == KP_NETWORK_LOOPBACK && chooses_device(c, m))
		rc = -EPERM;
	if (rc || !sa || !done_here(c, sa))
		return rc;
	if (flags & MSG_FASTOPEN)
		return -EOPNOTSUPP;
	fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	if (fd < 0)
		return fd;
	rc = option(fd, SO_TYPE);
	if (rc != SOCK_DGRAM)
		return rc < 0 ? -ENOTSOCK : 0;
	rc = gather(c, m, &data, &size);
	if (rc)
		return rc;
	n = sendto(fd, data, size, flags | MSG_NOSIGNAL, sa, len);
	if (n < 0)
		return -errno;
	*ret_sent = true;
	c->value = n;
	return 0;
}

/* --- bind, listen, socket --- */

/* The loopback's address in the place of "any". */
static void narrow(struct sockaddr_storage *sa)
{
	struct sockaddr_in *in = (void *)sa;
	struct sockaddr_in6 *in6 = (void *)sa;

	if (sa->ss_family == AF_INET)
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		in6->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
}

int kp_net_bind(struct kp_call *c, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage copy = {0};
	kp_autoclose int fd = -1;
	uint16_t port;

	if (len < sizeof(sa->sa_family) || sa->sa_family == AF_UNIX || c->engine->policy->net.mode == KP_NETWORK_HOST)
		return go_on(c);
	if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) || c->engine->policy->net.mode == KP_NETWORK_NONE)
		return sa->sa_family == AF_NETLINK ? go_on(c) : -EACCES;
	if (len < sizeof(struct sockaddr_in))
		return -EINVAL;
	if (!kp_policy_is_any(sa) && !kp_policy_is_loopback(sa))
		return -EADDRNOTAVAIL;
	if (!done_here(c, sa))
		return go_on(c);
	fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	if (fd < 0)
		return fd;
	memcpy(&copy, sa, KP_MIN(len, sizeof(copy)));
	port = ntohs(((struct sockaddr_in *)&copy)->sin_port);
	if (port && port < 1024 && !c->engine->cred.uid)
		return -EACCES; /* root's guests have no capabilities */
	if (kp_policy_is_any(sa) && (port || option(fd, SO_TYPE) == SOCK_STREAM))
		narrow(&copy);
	return bind(fd, (struct sockaddr *)&copy, len) < 0 ? -errno : 0;
}

int kp_sys_listen(struct kp_call *c)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	kp_autoclose int fd = -1;

	if (!c->engine->policy || c->engine->policy->net.mode != KP_NETWORK_CONNECT)
		return go_on(c);
	fd = kp_task_dup_fd(c->tid, (int)c->raw[0]);
	if (fd < 0)
		return fd;
	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	if (own.ss_family != AF_INET && own.ss_family != AF_INET6)
		return go_on(c);
	/* Not bound yet: it would be to every address. */
	if (kp_policy_is_any((struct sockaddr *)&own)) {
		narrow(&own);
		if (bind(fd, (struct sockaddr *)&own, len) < 0)
			return -errno;
	}
	return listen(fd, (int)c->raw[1]) < 0 ? -errno : 0;
}

int kp_sys_socket(struct kp_call *c)
{
	int type = (int)c->raw[1], fd;

	if (!c->engine->policy || c->engine->policy->net.mode != KP_NETWORK_LOOPBACK)
		return go_on(c);
	fd = socket((int)c->raw[0], type | SOCK_CLOEXEC, (int)c->raw[2]);
	if (fd < 0)
		return -errno;
	/* Who is not privileged can bind a socket to a device once, and never again to another one. */
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0) {
		(void)kp_close(fd);
		return -EAFNOSUPPORT;
	}
	c->reply = KP_REPLY_FD;
	c->fd = fd;
	c->cloexec = type & SOCK_CLOEXEC;
	return 0;
}
