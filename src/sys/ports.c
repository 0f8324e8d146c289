/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of guests and of the host. A number that was once given stands for its port as long as the instance runs. */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/net.h"
#include "sys/ports.h"

#define PORTS_TEXT 4000 /* bytes of a list of them */
#define TRIES 16 /* for a port that nobody takes between asking and binding */

struct kp_ports {
	pthread_mutex_t lock;
	/* [udp][port]; 0: none. Pages that nobody has touched cost nothing. */
	uint16_t host[2][65536], guest[2][65536];
	bool published[2][65536];
	char notice[160]; /* not told yet; the last one */
	bool told_untranslated;
	bool used[2]; /* else the tables are not looked through, page by page */
	char *dir; /* udp-PORT there is a link: which instance has that port of the host */
	char self[48];
};

/* What no two processes have in common: number and start. */
static void process_text(pid_t pid, char buf[48])
{
	unsigned long long start = 0;
	kp_autofree char *text = NULL;
	const char *at = NULL;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!kp_read_file(AT_FDCWD, path, 65536, &text, NULL))
		at = strrchr(text, ')');
	if (at)
		(void)sscanf(at + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &start);
	(void)snprintf(buf, 48, "%d.%llu", pid, start);
}

static bool mark_path(const struct kp_ports *p, bool udp, uint16_t host, char *buf)
{
	return p->dir && snprintf(buf, PATH_MAX, "%s/%s-%u", p->dir, udp ? "udp" : "tcp", host) < PATH_MAX;
}

void kp_ports_share(struct kp_ports *p, const char *dir)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return;
	p->dir = kp_strdup(dir);
	process_text(getpid(), p->self);
}

static void mark(const struct kp_ports *p, bool udp, uint16_t host)
{
	char path[PATH_MAX];

	if (!mark_path(p, udp, host, path))
		return;
	(void)unlink(path); /* the port is ours, so what is there is of one that is over */
	(void)!symlink(p->self, path);
}

static void unmark(const struct kp_ports *p, bool udp, uint16_t host)
{
	char path[PATH_MAX], text[48];
	ssize_t n = mark_path(p, udp, host, path) ? readlink(path, text, sizeof(text) - 1) : -1;

	text[KP_MAX(n, 0)] = '\0';
	if (n > 0 && !strcmp(text, p->self))
		(void)unlink(path);
}

static bool is_of_another(const struct kp_ports *p, bool udp, uint16_t host)
{
	char path[PATH_MAX], text[48], now[48];
	ssize_t n = mark_path(p, udp, host, path) ? readlink(path, text, sizeof(text) - 1) : -1;

	if (n <= 0)
		return false;
	text[n] = '\0';
	process_text((pid_t)strtol(text, NULL, 10), now);
	return strcmp(text, now) == 0 && strcmp(text, p->self) != 0;
}

struct kp_ports *kp_ports_new(void)
{
	struct kp_ports *p = kp_calloc(1, sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	return p;
}

struct kp_ports *kp_ports_free(struct kp_ports *p)
{
	if (!p)
		return NULL;
	for (unsigned udp = 0; udp < 2 && p->dir; udp++)
		for (unsigned port = 1; p->used[udp] && port < 65536; port++)
			if (p->host[udp][port] && !p->published[udp][port])
				unmark(p, udp, p->host[udp][port]);
	free(p->dir);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}

static void put(struct kp_ports *p, bool udp, uint16_t host, uint16_t guest)
{
	if (p->host[udp][guest]) {
		p->guest[udp][p->host[udp][guest]] = 0;
		unmark(p, udp, p->host[udp][guest]);
	}
	p->used[udp] = true;
	p->host[udp][guest] = host;
	p->guest[udp][host] = guest;
	if (!p->published[udp][guest])
		mark(p, udp, host);
}

void kp_ports_publish(struct kp_ports *p, bool udp, uint16_t host, uint16_t guest)
{
	p->published[udp][guest] = true;
	put(p, udp, host, guest);
}

uint16_t kp_ports_of(const struct sockaddr *sa)
{
	/* In the same place for both families. */
	return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
}

static void set_port(struct sockaddr *sa, uint16_t port)
{
	((struct sockaddr_in *)(void *)sa)->sin_port = htons(port);
}

/* Is it a socket with ports that are translated? */
static bool has_ports(int fd, const struct sockaddr *sa, socklen_t len, bool *ret_udp)
{
	int protocol;

	if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) || len < offsetof(struct sockaddr_in, sin_addr))
		return false;
	protocol = kp_broker_option(fd, SO_PROTOCOL);
	*ret_udp = protocol == IPPROTO_UDP;
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static int bind_to(int fd, struct sockaddr *sa, socklen_t len, uint16_t port)
{
	set_port(sa, port);
	return bind(fd, sa, len) < 0 ? -errno : 0;
}

/* A socket like it that shares its port with nobody. */
static int bind_another(bool udp, int family, struct sockaddr *sa, socklen_t len)
{
	int fd = socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, sa, len) < 0) {
		int rc = -errno;

		(void)kp_close(fd);
		return rc;
	}
	return fd < 0 ? -errno : fd;
}

/* A port that nobody has, of either family; 0: there is none. */
static uint16_t free_port(bool udp)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	struct sockaddr_in any4 = {.sin_family = AF_INET};
	struct sockaddr_in6 got = {0};
	socklen_t len = sizeof(got);
	kp_autoclose int fd = bind_another(udp, AF_INET6, (struct sockaddr *)&any, sizeof(any));

	if (fd < 0) /* no IPv6 here */
		fd = bind_another(udp, AF_INET, (struct sockaddr *)&any4, sizeof(any4));
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&got, &len) < 0)
		return 0;
	return kp_ports_of((struct sockaddr *)&got);
}

/* 1: a guest has a socket at that port of the host; 0: others have, if anybody; -1: only connections that are over. */
static int guest_has(struct kp_engine *e, bool udp, uint16_t port)
{
	static const char *const lists[2][2] = {{"/proc/net/tcp", "/proc/net/tcp6"}, {"/proc/net/udp", "/proc/net/udp6"}};
	int found = -1;

	for (int v6 = 0; v6 < 2; v6++) {
		kp_autofree char *text = NULL;
		char *next;

		if (kp_read_file(AT_FDCWD, lists[udp][v6], 64U << 20, &text, NULL))
			continue;
		for (char *line = text; line && *line; line = next) {
			unsigned local;
			char inode[24];

			next = strchr(line, '\n');
			if (next)
				*next++ = '\0';
			if (sscanf(line, " %*[^:]: %*[0-9A-Fa-f]:%x %*s %*s %*s %*s %*s %*s %*s %23s", &local, inode) != 2 || local != port ||
			    !strcmp(inode, "0"))
				continue;
			if (kp_net_holder(e, inode))
				return 1;
			found = 0;
		}
	}
	return found;
}

/* A port of the host's in its place. With the lock held, as below. */
static int bind_elsewhere(struct kp_ports *p, int fd, bool udp, struct sockaddr *sa, socklen_t len, uint16_t port)
{
	int rc = -EADDRINUSE;

	for (int tries = 0; tries < TRIES && rc == -EADDRINUSE; tries++) {
		uint16_t host = free_port(udp);

		if (!host || p->guest[udp][host])
			continue;
		rc = bind_to(fd, sa, len, host);
		if (rc)
			continue;
		put(p, udp, host, port);
		(void)snprintf(p->notice, sizeof(p->notice), "port %u%s is not to be had: it is port %u of this host (--publish HOST:%u%s chooses)", port,
			       udp ? "/udp" : "", host, port, udp ? "/udp" : "");
	}
	return rc;
}

/*
 * Listeners that share a port (SO_REUSEPORT) would share it with the host's, of the same user, as well. Not asked for datagrams: who shares
 * those wants the host's (multicast).
 */
static bool is_shared_with_host(int fd, bool udp, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage copy = {0};
	int another;

	if (udp || kp_broker_option(fd, SO_REUSEPORT) <= 0)
		return false;
	memcpy(&copy, sa, KP_MIN(len, sizeof(copy)));
	another = bind_another(false, sa->sa_family, (struct sockaddr *)&copy, len);
	if (another >= 0)
		(void)kp_close(another);
	return another == -EADDRINUSE;
}

static int bind_port(struct kp_engine *e, int fd, bool udp, struct sockaddr *sa, socklen_t len, uint16_t port)
{
	struct kp_ports *p = e->ports;
	uint16_t host = p->host[udp][port];
	int rc, held;

	if (!host && p->guest[udp][port]) /* that number of the host is another port of the guest's */
		return bind_elsewhere(p, fd, udp, sa, len, port);
	if (!host && is_shared_with_host(fd, udp, sa, len))
		rc = -EADDRINUSE;
	else
		rc = bind_to(fd, sa, len, host ? host : port);
	if (!rc) /* also what was given before: another instance may have had it since */
		put(p, udp, host ? host : port, port);
	if ((rc != -EADDRINUSE && rc != -EACCES) || p->published[udp][port])
		return rc;
	held = rc == -EACCES ? 0 : guest_has(e, udp, host ? host : port);
	if (held == 1 || (held < 0 && host))
		return rc;
	return bind_elsewhere(p, fd, udp, sa, len, port);
}

int kp_ports_bind(struct kp_engine *e, int fd, struct sockaddr *sa, socklen_t len)
{
	uint16_t port = kp_ports_of(sa);
	bool udp;
	int rc;

	if (!port || !has_ports(fd, sa, len, &udp))
		return bind(fd, sa, len) < 0 ? -errno : 0;
	pthread_mutex_lock(&e->ports->lock);
	rc = bind_port(e, fd, udp, sa, len, port);
	pthread_mutex_unlock(&e->ports->lock);
	return rc;
}

/* Does it lead to this machine? */
static bool is_here(const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage copy = {0};
	int fd;

	if (kp_policy_is_loopback(sa) || kp_policy_is_any(sa))
		return true;
	memcpy(&copy, sa, KP_MIN(len, sizeof(copy)));
	set_port((struct sockaddr *)&copy, 0);
	fd = bind_another(true, sa->sa_family, (struct sockaddr *)&copy, len);
	if (fd >= 0)
		(void)kp_close(fd);
	return fd >= 0;
}

static uint16_t translated(struct kp_engine *e, uint16_t table[2][65536], bool udp, uint16_t port)
{
	uint16_t other;

	pthread_mutex_lock(&e->ports->lock);
	other = table[udp][port];
	pthread_mutex_unlock(&e->ports->lock);
	return other ? other : port;
}

int kp_ports_reach(struct kp_engine *e, int fd, struct sockaddr *sa, socklen_t len)
{
	uint16_t port, host;
	bool udp;

	if (!has_ports(fd, sa, len, &udp))
		return 0;
	port = kp_ports_of(sa);
	host = translated(e, e->ports->host, udp, port);
	if (host != port && is_here(sa, len))
		set_port(sa, host);
	return host == port && is_of_another(e->ports, udp, port) && is_here(sa, len) ? -ECONNREFUSED : 0;
}

void kp_ports_tell(struct kp_engine *e, int fd, bool own, struct sockaddr *sa, socklen_t len)
{
	bool udp;

	if (has_ports(fd, sa, len, &udp)) {
		uint16_t port = kp_ports_of(sa), guest = translated(e, e->ports->guest, udp, port);

		if (guest != port && (own || is_here(sa, len)))
			set_port(sa, guest);
	}
}

void kp_ports_untranslated(struct kp_engine *e, const struct sockaddr *sa)
{
	struct kp_ports *p = e->ports;
	uint16_t port = sa->sa_family == AF_INET || sa->sa_family == AF_INET6 ? kp_ports_of(sa) : 0;

	pthread_mutex_lock(&p->lock);
	if (port && !p->told_untranslated) {
		(void)snprintf(p->notice, sizeof(p->notice), "port %u is the host's own, which no other program may have: pidfd_getfd is refused here (kapsel doctor)", port);
		p->told_untranslated = true;
	}
	pthread_mutex_unlock(&p->lock);
}

void kp_ports_text(struct kp_ports *p, struct kp_buf *out)
{
	pthread_mutex_lock(&p->lock);
	for (int udp = 0; udp < 2; udp++)
		for (unsigned port = 1; p->used[udp] && port < 65536; port++) {
			unsigned host = p->host[udp][port];

			if (!host)
				continue;
			kp_buf_puts(out, out->len ? "," : "");
			if (out->len > PORTS_TEXT) {
				kp_buf_puts(out, "...");
				pthread_mutex_unlock(&p->lock);
				return;
			}
			if (host != port)
				kp_buf_printf(out, "%u->", host);
			kp_buf_printf(out, "%u%s", port, udp ? "/udp" : "");
		}
	pthread_mutex_unlock(&p->lock);
}

bool kp_ports_notice(struct kp_ports *p, char *buf, size_t size)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = p->notice[0];
	if (any)
		(void)snprintf(buf, size, "%s", p->notice);
	p->notice[0] = '\0';
	pthread_mutex_unlock(&p->lock);
	return any;
}

uint16_t kp_ports_guest(struct kp_engine *e, bool udp, uint16_t port)
{
	return translated(e, e->ports->guest, udp, port);
}
