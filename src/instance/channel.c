/* SPDX-License-Identifier: Apache-2.0 */
/* Carries control messages over sockets. */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "instance/control.h"

void kp_ctl_conn_init(struct kp_ctl_conn *conn, int fd)
{
	*conn = (struct kp_ctl_conn){.fd = fd};
}

void kp_ctl_conn_close(struct kp_ctl_conn *conn)
{
	for (size_t i = 0; i < conn->fd_count; i++)
		(void)kp_close(conn->fds[i]);
	conn->fd_count = 0;
	conn->fd = kp_close(conn->fd);
	kp_buf_free(&conn->in);
}

static void take_fds(struct kp_ctl_conn *conn, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (conn->fd_count < KP_ARRAY_LEN(conn->fds))
				conn->fds[conn->fd_count++] = fd;
			else
				(void)kp_close(fd);
		}
	}
}

static void forget_taken(struct kp_ctl_conn *conn)
{
	if (!conn->taken)
		return;
	memmove(conn->in.data, conn->in.data + conn->taken, conn->in.len - conn->taken);
	conn->in.len -= conn->taken;
	conn->taken = 0;
}

int kp_ctl_fill(struct kp_ctl_conn *conn)
{
	char data[16384];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * (KP_CTL_FDS_MAX + 3))];
	} control;
	struct iovec iov = {data, sizeof(data)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	forget_taken(conn);
	do
		n = recvmsg(conn->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_fds(conn, &msg);
	if (!n)
		return -ENODATA;
	if (msg.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	kp_buf_add(&conn->in, data, (size_t)n);
	return 0;
}

int kp_ctl_next(struct kp_ctl_conn *conn, unsigned *ret_type, const char **ret_payload, size_t *ret_len)
{
	struct kp_ctl_head head;

	forget_taken(conn);
	if (conn->in.len < sizeof(head))
		return 0;
	memcpy(&head, conn->in.data, sizeof(head));
	if (head.magic != KP_CTL_MAGIC || head.version != KP_CTL_VERSION || head.len > KP_CTL_MAX)
		return -EPROTO;
	if (conn->in.len - sizeof(head) < head.len)
		return 0;
	conn->taken = sizeof(head) + head.len;
	*ret_type = head.type;
	*ret_payload = conn->in.data + sizeof(head);
	*ret_len = head.len;
	return 1;
}

void kp_ctl_put_back(struct kp_ctl_conn *conn)
{
	conn->taken = 0;
}

/* The first byte carries the descriptors; what the socket does not take at once follows. */
static ssize_t send_part(int fd, const char *data, size_t len, const int *fds, size_t fd_count, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * (KP_CTL_FDS_MAX + 3))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd_count) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	do
		n = sendmsg(fd, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int kp_ctl_send(int fd, enum kp_ctl_type type, const struct kp_buf *payload, const int *fds, size_t fd_count,
		int flags)
{
	struct kp_ctl_head head = {KP_CTL_MAGIC, KP_CTL_VERSION, (uint16_t)type, payload ? (uint32_t)payload->len : 0};
	struct kp_buf kp_autobuf all = {0};

	if (fd_count > KP_CTL_FDS_MAX + 3 || (payload && payload->len > KP_CTL_MAX))
		return -E2BIG;
	kp_buf_add(&all, &head, sizeof(head));
	if (payload && payload->len)
		kp_buf_add(&all, payload->data, payload->len);
	for (size_t done = 0; done < all.len;) {
		ssize_t n = send_part(fd, all.data + done, all.len - done, fds, done ? 0 : fd_count, flags);

		if (n < 0)
			return done && n == -EAGAIN ? -EPIPE : (int)n;
		done += (size_t)n;
	}
	return 0;
}

static int address(const char *host_dir, struct sockaddr_un *ret_addr, int *ret_dir_fd)
{
	int dir = open(host_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	*ret_addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(ret_addr->sun_path, sizeof(ret_addr->sun_path), "/proc/self/fd/%d/control", dir);
	*ret_dir_fd = dir;
	return 0;
}

int kp_ctl_listen(const char *host_dir)
{
	kp_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), dir = -1;
	struct sockaddr_un addr;
	int r;

	if (fd < 0)
		return -errno;
	r = address(host_dir, &addr, &dir);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0)
		return -errno;
	return kp_take_fd(&fd);
}

int kp_ctl_connect(const char *host_dir)
{
	kp_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir = -1;
	struct sockaddr_un addr;
	int r;

	if (fd < 0)
		return -errno;
	r = address(host_dir, &addr, &dir);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	if (!kp_ctl_peer_ok(fd, NULL))
		return -EPERM;
	return kp_take_fd(&fd);
}

bool kp_ctl_peer_ok(int fd, pid_t *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != geteuid())
		return false;
	if (ret_pid)
		*ret_pid = cred.pid;
	return true;
}
