/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting and sending for a guest, on its own socket. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sys/broker.h"
#include "vfs/proc.h"

#define MESSAGE_MAX (4U << 20)  /* more than any datagram; of a stream the rest is sent by the next call */
#define CONTROL_MAX (64U << 10)
#define DESCRIPTORS_MAX 253     /* SCM_MAX_FD */
#define ERESTARTSYS 512

void kp_target_drop(struct kp_target *t)
{
	t->pin = kp_close(t->pin);
}

void kp_message_free(struct kp_message *m)
{
	for (size_t i = 0; i < m->fd_count; i++)
		(void)kp_close(m->fds[i]);
	free(m->fds);
	free(m->data);
	free(m->control);
	*m = (struct kp_message){0};
}

bool kp_broker_refused(int rc)
{
	return rc == -EPERM || rc == -EACCES || rc == -ENOSYS;
}

int kp_broker_option(int fd, int which)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, which, &value, &len) < 0 ? -errno : value;
}

int kp_broker_socket(struct kp_call *c, int fd)
{
	kp_autoclose int copy = kp_dup_from(c->tid, fd);

	if (copy < 0)
		return copy;
	if (kp_broker_option(copy, SO_TYPE) < 0)
		return -ENOTSOCK;
	return kp_take_fd(&copy);
}

/* --- what is sent --- */

int kp_message_read(struct kp_call *c, uint64_t data, size_t size, struct kp_message *ret)
{
	size = KP_MIN(size, (size_t)MESSAGE_MAX);
	ret->data = kp_calloc(1, size + 1);
	ret->size = size;
	return size ? kp_call_get(c, data, ret->data, size) : 0;
}

static int read_parts(struct kp_call *c, const struct msghdr *m, struct kp_message *ret)
{
	kp_autofree struct iovec *parts = NULL;
	size_t total = 0, at = 0;
	int rc;

	if (m->msg_iovlen > UIO_MAXIOV)
		return -EMSGSIZE;
	parts = kp_calloc(m->msg_iovlen + 1, sizeof(*parts));
	rc = m->msg_iovlen ? kp_call_get(c, (uint64_t)(uintptr_t)m->msg_iov, parts, m->msg_iovlen * sizeof(*parts)) : 0;
	for (size_t i = 0; i < m->msg_iovlen && !rc; i++) {
		if ((ssize_t)parts[i].iov_len < 0)
			return -EINVAL;
		parts[i].iov_len = KP_MIN(parts[i].iov_len, MESSAGE_MAX - total);
		total += parts[i].iov_len;
	}
	ret->data = kp_calloc(1, total + 1);
	ret->size = total;
	for (size_t i = 0; i < m->msg_iovlen && !rc; i++) {
		if (parts[i].iov_len)
			rc = kp_call_get(c, (uint64_t)(uintptr_t)parts[i].iov_base, ret->data + at, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	return rc;
}

/* The guest's numbers become ours. */
static int take_descriptors(struct kp_call *c, struct cmsghdr *h, struct kp_message *m)
{
	size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	/* Before any is copied: they are ours to hold. */
	if (m->fd_count + count > DESCRIPTORS_MAX)
		return -EINVAL;
	m->fds = kp_realloc(m->fds, (m->fd_count + count + 1) * sizeof(int));
	for (size_t i = 0; i < count; i++) {
		int number, fd;

		memcpy(&number, CMSG_DATA(h) + i * sizeof(int), sizeof(number));
		fd = kp_dup_from(c->tid, number);
		if (fd < 0)
			return fd;
		m->fds[m->fd_count++] = fd;
		memcpy(CMSG_DATA(h) + i * sizeof(int), &fd, sizeof(fd));
	}
	return 0;
}

/* Only its own are the guest's to tell. The kernel lets us tell only ours, where we have no powers. */
static int check_credentials(struct kp_call *c, struct cmsghdr *h)
{
	const struct kp_cred *cred = kp_call_cred(c);
	struct ucred u;

	if (h->cmsg_len != CMSG_LEN(sizeof(u)))
		return -EINVAL;
	memcpy(&u, CMSG_DATA(h), sizeof(u));
	if (u.pid != kp_proc_tgid(c->tid) || u.uid != cred->uid || u.gid != cred->gid)
		return -EPERM;
	u.pid = getpid();
	memcpy(CMSG_DATA(h), &u, sizeof(u));
	return 0;
}

int kp_message_read_msghdr(struct kp_call *c, const struct msghdr *m, struct kp_message *ret)
{
	int rc = read_parts(c, m, ret);
	struct msghdr copy;

	if (rc || !m->msg_control || !m->msg_controllen)
		return rc;
	if (m->msg_controllen > CONTROL_MAX)
		return -ENOBUFS;
	ret->control = kp_calloc(1, m->msg_controllen);
	ret->control_len = m->msg_controllen;
	rc = kp_call_get(c, (uint64_t)(uintptr_t)m->msg_control, ret->control, ret->control_len);
	copy = (struct msghdr){.msg_control = ret->control, .msg_controllen = ret->control_len};
	for (struct cmsghdr *h = rc ? NULL : CMSG_FIRSTHDR(&copy); h && !rc; h = CMSG_NXTHDR(&copy, h)) {
		if (h->cmsg_len < sizeof(*h) || h->cmsg_len > ret->control_len - (size_t)((char *)h - ret->control))
			return -EINVAL;
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
			rc = take_descriptors(c, h, ret);
		else if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_CREDENTIALS)
			rc = check_credentials(c, h);
	}
	return rc;
}

/* --- the calls themselves --- */

struct job {
	struct kp_engine *engine;
	struct seccomp_notif n;
	int fd;
	struct kp_target target;
	bool sends;    /* else: connects */
	bool blocks;   /* until it is done, or ms are over */
	bool pollable; /* poll tells when to try again */
	bool limited;
	bool raises;   /* SIGPIPE */
	int64_t ms;
	struct kp_message message;
	size_t done;
	int flags;
	uint64_t len_at;
};

static int try_connect(struct job *j)
{
	int flags = j->blocks ? fcntl(j->fd, F_GETFL) : 0, rc;

	if (j->blocks)
		(void)fcntl(j->fd, F_SETFL, flags | O_NONBLOCK);
	rc = connect(j->fd, (struct sockaddr *)&j->target.sa, j->target.len) < 0 ? -errno : 0;
	if (j->blocks)
		(void)fcntl(j->fd, F_SETFL, flags);
	/* AF_UNIX has no way to wait but to ask again. */
	j->pollable = rc == -EINPROGRESS || rc == -EALREADY;
	return rc;
}

static ssize_t try_send(struct job *j)
{
	const struct kp_message *m = &j->message;
	struct iovec part = {m->data + j->done, m->size - j->done};
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	if (j->target.len) {
		h.msg_name = &j->target.sa;
		h.msg_namelen = j->target.len;
	}
	if (!j->done) { /* it goes with the first byte */
		h.msg_control = m->control;
		h.msg_controllen = m->control_len;
	}
	n = sendmsg(j->fd, &h, j->flags | MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

/* The call's result, or -EAGAIN (also for a connect under way): it is to be tried again. */
static int64_t attempt(struct job *j, bool *ret_again)
{
	ssize_t n;

	*ret_again = false;
	if (!j->sends) {
		n = try_connect(j);
		*ret_again = j->blocks && (j->pollable || n == -EAGAIN);
		return n;
	}
	for (;;) {
		n = try_send(j);
		if (n < 0)
			break;
		j->done += (size_t)n;
		if (!j->blocks || j->done >= j->message.size)
			return (int64_t)j->done;
	}
	*ret_again = j->blocks && n == -EAGAIN;
	if (n == -EPIPE && j->raises && !j->done)
		(void)syscall(SYS_tgkill, kp_proc_tgid((pid_t)j->n.pid), j->n.pid, SIGPIPE);
	return j->done && !*ret_again ? (int64_t)j->done : n;
}

/* The value of the call, where the number of bytes goes elsewhere. */
static int64_t told(struct job *j, int64_t value)
{
	unsigned bytes = (unsigned)value;

	if (value < 0 || !j->len_at)
		return value;
	return kp_mem_write((pid_t)j->n.pid, j->len_at, &bytes, sizeof(bytes)) ? -EFAULT : 1;
}

static size_t job_bytes(const struct job *j)
{
	return j->message.size + j->message.control_len;
}

static unsigned job_descriptors(const struct job *j)
{
	return 1 + (j->target.pin >= 0) + (unsigned)j->message.fd_count;
}

static void job_free(struct job *j)
{
	struct kp_engine *e = j->engine;
	size_t bytes = job_bytes(j);
	unsigned descriptors = job_descriptors(j);

	(void)kp_close(j->fd);
	kp_target_drop(&j->target);
	kp_message_free(&j->message);
	free(j);
	kp_waits_give(e, bytes, descriptors);
}

static int pause_ms(const struct job *j, unsigned tries)
{
	struct pollfd p = {.fd = j->fd, .events = POLLOUT};
	int ms = tries < 5 ? 1 << tries : 25;

	if (j->pollable)
		(void)poll(&p, 1, ms);
	else
		(void)usleep((useconds_t)ms * 1000);
	return ms;
}

/*
 * Makes the caller go on with ERESTARTSYS: the signal's handler runs, then the call is made anew or fails with EINTR, as the handler was
 * set up. Some bytes sent are an answer, and so is EINTR where there is a time limit (as the kernel has it).
 */
static bool give_way(struct job *j)
{
	if (j->done)
		return kp_trap_answer(j->engine->trap, j->n.id, told(j, (int64_t)j->done), 0), true;
	if (j->limited)
		return kp_trap_answer(j->engine->trap, j->n.id, 0, -EINTR), true;
	return !kp_trap_interrupt(j->engine->trap, &j->n, -ERESTARTSYS);
}

static void *waiter(void *arg)
{
	struct job *j = arg;
	struct kp_engine *e = j->engine;
	struct timespec begin, now;
	unsigned tries = 0;
	bool again = true;
	int64_t value;

	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	for (;;) {
		(void)pause_ms(j, tries++);
		if (!kp_trap_valid(e->trap, j->n.id))
			break;
		value = attempt(j, &again);
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		if (again && j->limited && (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 >= j->ms) {
			value = j->done ? (int64_t)j->done : value == -EALREADY ? -EINPROGRESS : value;
			again = false;
		}
		if (!again) {
			value = told(j, value);
			(void)kp_trap_answer(e->trap, j->n.id, value < 0 ? 0 : value, value < 0 ? (int)value : 0);
			break;
		}
		if (kp_task_signalled((pid_t)j->n.pid) && give_way(j))
			break;
	}
	job_free(j);
	return NULL;
}

/* The caller is answered from another thread. */
static int wait_on(struct kp_call *c, struct job *job, int *fd, struct kp_target *t, struct kp_message *m)
{
	struct timeval limit = {0};
	socklen_t len = sizeof(limit);
	pthread_attr_t attr;
	pthread_t thread;
	struct job *j;
	int rc;

	if (!kp_waits_take(c->engine, job_bytes(job), job_descriptors(job))) {
		c->value = told(job, (int64_t)job->done); /* what was sent is an answer */
		return job->done ? (int)KP_MIN(c->value, 0) : job->sends ? -ENOBUFS : -EAGAIN;
	}
	(void)getsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &len);
	job->limited = limit.tv_sec || limit.tv_usec;
	job->ms = (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
	j = kp_calloc(1, sizeof(*j));
	*j = *job;
	*fd = t->pin = -1;
	if (m)
		*m = (struct kp_message){0};
	pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, 256U << 10);
	rc = pthread_create(&thread, &attr, waiter, j);
	pthread_attr_destroy(&attr);
	if (rc) {
		job_free(j);
		return -rc;
	}
	c->reply = KP_REPLY_DONE;
	return 0;
}

int kp_broker_connect(struct kp_call *c, int *fd, struct kp_target *t)
{
	struct job j = {.engine = c->engine, .n = c->n, .fd = *fd, .target = *t};
	int type = kp_broker_option(*fd, SO_TYPE);
	bool again;
	int64_t rc;

	/* Of what connects at once the flags are left alone. */
	j.blocks = !(fcntl(*fd, F_GETFL) & O_NONBLOCK) && type != SOCK_DGRAM && type != SOCK_RAW;
	rc = attempt(&j, &again);
	/* To this machine the answer is there as soon as the socket is let go. */
	if (again && j.pollable && poll(&(struct pollfd){.fd = *fd, .events = POLLOUT}, 1, 0) > 0)
		rc = attempt(&j, &again);
	return again ? wait_on(c, &j, fd, t, NULL) : (int)rc;
}

int kp_broker_send(struct kp_call *c, int *fd, struct kp_target *t, struct kp_message *m, int flags, uint64_t len_at)
{
	struct job j = {.engine = c->engine, .n = c->n, .fd = *fd, .target = *t, .sends = true, .message = *m, .flags = flags, .len_at = len_at};
	int type = kp_broker_option(*fd, SO_TYPE);
	bool again;
	int64_t rc;

	if (flags & MSG_ZEROCOPY)
		return -ENOBUFS; /* as where there is no room for it: the caller sends a copy */
	j.blocks = !(flags & MSG_DONTWAIT) && !(fcntl(*fd, F_GETFL) & O_NONBLOCK);
	j.pollable = type == SOCK_STREAM;
	j.raises = type == SOCK_STREAM && !(flags & MSG_NOSIGNAL);
	rc = attempt(&j, &again);
	if (again)
		return wait_on(c, &j, fd, t, m);
	c->value = told(&j, rc);
	return c->value < 0 ? (int)c->value : 0;
}
