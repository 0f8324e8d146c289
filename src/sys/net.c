/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the profile grants of the network. The supervisor itself connects, binds and sends, on addresses that it has copied and judged.
 * `none`: there are only AF_UNIX sockets (the filter). `loopback`: each socket is made here and bound to the loopback's device, so the
 * kernel itself lets nothing out. `connect`: nothing listens but on the loopback.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/net.h"
#include "sys/ports.h"
#include "vfs/proc.h"

/* --- sockets without a file: those of guests, and what is granted --- */

pid_t kp_net_holder(struct kp_engine *e, const char *inode)
{
	kp_autofree pid_t *pids = kp_calloc(4096, sizeof(*pids));
	size_t count = KP_MIN(kp_engine_pids(e, pids, 4096), (size_t)4096);
	char want[64], path[64], link[64];
	pid_t found = 0;

	(void)snprintf(want, sizeof(want), "socket:[%s]", inode);
	for (size_t i = 0; i < count && !found; i++) {
		struct dirent *entry;
		DIR *d;

		(void)snprintf(path, sizeof(path), "/proc/%d/fd", pids[i]);
		d = opendir(path);
		while (d && !found && (entry = readdir(d))) {
			ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

			link[KP_MAX(n, 0)] = '\0';
			if (!strcmp(link, want))
				found = pids[i];
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
		    kp_net_holder(c->engine, inode))
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

bool kp_net_is_abstract(const struct sockaddr *sa, socklen_t len)
{
	return sa->sa_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path) && !sa->sa_data[0];
}

/* The instance's own name in the place of that one, which others have; and how the names are known by each other. */
static socklen_t private_abstract(struct kp_engine *e, const struct sockaddr *sa, socklen_t len, struct sockaddr_un *ret, char key[32])
{
	uint64_t h = kp_hash_string(e->run_dir);

	for (socklen_t i = offsetof(struct sockaddr_un, sun_path); i < len; i++)
		h = kp_hash_add(h, ((const uint8_t *)sa)[i]);
	(void)snprintf(key, 32, "@kapsel-%016llx", (unsigned long long)h);
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path + 1, key + 1, strlen(key) - 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(key));
}

bool kp_net_own_abstract(struct kp_engine *e, struct sockaddr_storage *sa, socklen_t *len)
{
	char key[32], guest[128];
	struct sockaddr_un host;
	socklen_t host_len;

	if (!kp_net_is_abstract((struct sockaddr *)sa, *len))
		return false;
	host_len = private_abstract(e, (struct sockaddr *)sa, *len, &host, key);
	if (!kp_names_get_address(e, key, guest, sizeof(guest)))
		return false;
	memcpy(sa, &host, sizeof(host));
	*len = host_len;
	return true;
}

/* As with ports: the name itself where it is free, else one of the instance's own, from then on. */
static int bind_abstract(struct kp_call *c, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage copy = {0};
	struct sockaddr_un host;
	char key[32];
	socklen_t host_len = len;
	int rc;

	memcpy(&copy, sa, KP_MIN(len, sizeof(copy)));
	if (len > sizeof(host))
		return -EINVAL;
	if (kp_net_own_abstract(c->engine, &copy, &host_len))
		return bind(fd, (struct sockaddr *)&copy, host_len) < 0 ? -errno : 0;
	rc = bind(fd, sa, len) < 0 ? -errno : 0;
	if (rc != -EADDRINUSE || is_own_abstract(c, (const void *)sa, len))
		return rc;
	host_len = private_abstract(c->engine, sa, len, &host, key);
	rc = bind(fd, (struct sockaddr *)&host, host_len) < 0 ? -errno : 0;
	if (!rc)
		kp_names_put_address(c->engine, key, (const char *)sa + offsetof(struct sockaddr_un, sun_path),
				     len - offsetof(struct sockaddr_un, sun_path));
	return rc;
}

bool kp_net_restricted(const struct kp_call *c)
{
	enum kp_network mode = c->engine->policy->net.mode;

	return mode == KP_NETWORK_LOOPBACK || mode == KP_NETWORK_CONNECT;
}

int kp_net_may_choose(struct kp_call *c, const struct kp_message *m)
{
	struct msghdr copy = {.msg_control = m->control, .msg_controllen = m->control_len};

	if (c->engine->policy->net.mode != KP_NETWORK_LOOPBACK)
		return 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&copy); h; h = CMSG_NXTHDR(&copy, h))
		if ((h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) ||
		    (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO))
			return -EPERM;
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

/* An address of netlink that is left to the kernel would be made of our process number. */
static int bind_netlink(struct kp_call *c, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_nl nl = {0};

	memcpy(&nl, sa, KP_MIN(len, sizeof(nl)));
	if (!nl.nl_pid && len >= sizeof(nl)) {
		nl.nl_pid = (uint32_t)kp_proc_tgid(c->tid);
		if (bind(fd, (struct sockaddr *)&nl, len) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
	}
	return bind(fd, sa, len) < 0 ? -errno : 0;
}

int kp_net_bind(struct kp_call *c, int fd, const struct sockaddr *sa, socklen_t len)
{
	enum kp_network mode = c->engine->policy->net.mode;
	bool inet = sa->sa_family == AF_INET || sa->sa_family == AF_INET6;
	struct sockaddr_storage copy = {0};

	if (sa->sa_family == AF_NETLINK)
		return bind_netlink(c, fd, sa, len);
	if (kp_net_is_abstract(sa, len))
		return bind_abstract(c, fd, sa, len);
	if (sa->sa_family == AF_UNIX || (mode == KP_NETWORK_HOST && !inet))
		return bind(fd, sa, len) < 0 ? -errno : 0;
	if (mode == KP_NETWORK_NONE || !inet)
		return -EACCES;
	if (len < sizeof(struct sockaddr_in))
		return -EINVAL;
	if (mode != KP_NETWORK_HOST && !kp_policy_is_any(sa) && !kp_policy_is_loopback(sa))
		return -EADDRNOTAVAIL;
	memcpy(&copy, sa, KP_MIN(len, sizeof(copy)));
	if (mode == KP_NETWORK_CONNECT && kp_policy_is_any(sa) && (kp_ports_of(sa) || kp_broker_option(fd, SO_TYPE) == SOCK_STREAM))
		narrow(&copy);
	return kp_ports_bind(c->engine, fd, (struct sockaddr *)&copy, len);
}

int kp_sys_listen(struct kp_call *c)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	kp_autoclose int fd = -1;

	if (c->engine->policy->net.mode != KP_NETWORK_CONNECT) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	fd = kp_dup_from(c->tid, (int)c->raw[0]);
	if (fd < 0)
		return fd;
	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	/* Not bound yet: it would be to every address. */
	if ((own.ss_family == AF_INET || own.ss_family == AF_INET6) && kp_policy_is_any((struct sockaddr *)&own)) {
		narrow(&own);
		if (bind(fd, (struct sockaddr *)&own, len) < 0)
			return -errno;
	}
	return listen(fd, (int)c->raw[1]) < 0 ? -errno : 0;
}

int kp_sys_socket(struct kp_call *c)
{
	int type = (int)c->raw[1], fd;

	if (c->engine->policy->net.mode != KP_NETWORK_LOOPBACK) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
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
