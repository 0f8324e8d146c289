/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells of AF_UNIX sockets: which one is bound to a file, by device and inode number; and which is connected to which. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "sys/net.h"

static int ask(int fd)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_VFS},
	};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

uint32_t kp_net_pack_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

/* The inode number of the socket that this message is about, if it is bound to that file; else 0. */
static uint32_t bound_to(const struct nlmsghdr *h, const struct stat *st)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	uint32_t dev = kp_net_pack_dev(st->st_dev);
	int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));

	for (struct rtattr *a = (void *)(uintptr_t)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		const struct unix_diag_vfs *v = RTA_DATA(a);

		if (a->rta_type == UNIX_DIAG_VFS && v->udiag_vfs_ino == (uint32_t)st->st_ino && v->udiag_vfs_dev == dev)
			return m->udiag_ino;
	}
	return 0;
}

/* 1: a guest holds it; 0: another process does; -ENOENT: nobody is known to. */
static int who_holds(struct kp_engine *e, const struct stat *st)
{
	kp_autoclose int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	union {
		struct nlmsghdr header;
		char bytes[16384];
	} *in = kp_calloc(1, sizeof(*in));
	bool done = fd < 0 || ask(fd);
	int rc = -ENOENT;

	while (!done && rc != 1) {
		ssize_t n = recv(fd, in->bytes, sizeof(in->bytes), 0);
		unsigned left = n > 0 ? (unsigned)n : 0;

		done = n <= 0;
		for (struct nlmsghdr *h = &in->header; rc != 1 && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			uint32_t inode = h->nlmsg_type == SOCK_DIAG_BY_FAMILY ? bound_to(h, st) : 0;
			char text[16];

			done |= h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR;
			(void)snprintf(text, sizeof(text), "%u", inode);
			if (inode)
				rc = kp_net_holder(e, text) != 0;
		}
	}
	free(in);
	return rc;
}

/* Looking at every process takes milliseconds; a file that has not changed since is still a guest's, or for a second still another's. */
bool kp_net_guest_bound(struct kp_engine *e, const char *host, bool known)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct {
		struct stat st;
		time_t at;
		bool own;
	} seen[16];
	static unsigned next;
	struct timespec now;
	struct stat st;
	int rc = -1;

	if (stat(host, &st) < 0)
		return known;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < KP_ARRAY_LEN(seen) && rc < 0; i++)
		if (seen[i].st.st_dev == st.st_dev && seen[i].st.st_ino == st.st_ino && seen[i].st.st_ctim.tv_sec == st.st_ctim.tv_sec &&
		    seen[i].st.st_ctim.tv_nsec == st.st_ctim.tv_nsec && (seen[i].own || now.tv_sec - seen[i].at <= 1))
			rc = seen[i].own;
	pthread_mutex_unlock(&lock);
	if (rc >= 0)
		return rc;
	rc = who_holds(e, &st);
	if (rc >= 0) {
		pthread_mutex_lock(&lock);
		seen[next % KP_ARRAY_LEN(seen)].st = st;
		seen[next % KP_ARRAY_LEN(seen)].at = now.tv_sec;
		seen[next++ % KP_ARRAY_LEN(seen)].own = rc;
		pthread_mutex_unlock(&lock);
	}
	return rc == -ENOENT ? known : rc;
}

int kp_net_unix_ask(uint32_t inode, struct kp_net_unix *ret)
{
	kp_autoclose int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		.body = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_VFS, .udiag_ino = inode,
			 .udiag_cookie = {~0U, ~0U}},
	};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	union {
		struct nlmsghdr header;
		char bytes[1024];
	} in;
	const struct unix_diag_msg *m = NLMSG_DATA(&in.header);
	struct unix_diag_vfs vfs;
	ssize_t n;
	int left;

	*ret = (struct kp_net_unix){0};
	if (fd < 0 || sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -EOPNOTSUPP;
	n = recv(fd, in.bytes, sizeof(in.bytes), 0);
	if (n <= 0 || !NLMSG_OK(&in.header, (unsigned)n))
		return -EOPNOTSUPP;
	if (in.header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return in.header.nlmsg_type == NLMSG_ERROR ? ((const struct nlmsgerr *)NLMSG_DATA(&in.header))->error : -EOPNOTSUPP;
	left = (int)(in.header.nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
	for (struct rtattr *a = (void *)(uintptr_t)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(a) >= sizeof(ret->peer))
			memcpy(&ret->peer, RTA_DATA(a), sizeof(ret->peer));
		if (a->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(a) >= sizeof(vfs)) {
			memcpy(&vfs, RTA_DATA(a), sizeof(vfs));
			ret->file_dev = vfs.udiag_vfs_dev;
			ret->file_ino = vfs.udiag_vfs_ino;
		}
	}
	return 0;
}
