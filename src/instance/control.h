/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol between clients and the supervisor of an instance: framed messages over a stream socket,
 * descriptors beside the first byte of a RUN. Numbers are little in native order: both ends are this program on one host.
 */
#ifndef KAPSEL_INSTANCE_CONTROL_H
#define KAPSEL_INSTANCE_CONTROL_H

#include "base/base.h"

#define KP_CTL_MAGIC 0x6c74436bU
#define KP_CTL_VERSION 6U
#define KP_CTL_MAX (8U << 20) /* largest payload: argv and envp of 2 MiB each fit */
#define KP_CTL_FDS_MAX 64U

enum kp_ctl_type {
	/* client to supervisor */
	KP_CTL_RUN = 1,    /* struct kp_ctl_run, with descriptors */
	KP_CTL_SIGNAL = 2, /* u32 signal for the guest of this client, u32 pid of its sender */
	KP_CTL_INFO = 3,   /* empty */
	KP_CTL_STOP = 4,   /* u32 seconds between TERM and KILL */
	KP_CTL_SNAPSHOT = 5, /* u32 kind, strings name, note; "": none */
	KP_CTL_SETTLE = 6, /* empty: what programs wrote into projected files and files of the tree is to be in the registry */
	KP_CTL_STOPS = 7, /* empty: the client is to stop as long as its guest has */
	/* supervisor to client */
	KP_CTL_STARTED = 16, /* u32 pid, string run directory */
	KP_CTL_FAILED = 17,  /* u32 errno, u32 exit status, string text, string hint: RUN had no effect */
	KP_CTL_STATUS = 18,  /* u32 wait status, u32 1 when nothing else runs: guest stopped, continued, ended */
	KP_CTL_NOTICE = 20, /* string: a line for the user */
	KP_CTL_DONE = 21, /* u32 microseconds that the guests were held still, u64 files, bytes copied meanwhile, microseconds for that, string name */
	KP_CTL_SETTLED = 22, /* empty */
	KP_CTL_ABOUT = 19,   /* u32 start time, u32 supervisor's pid, u32 n, n u32 guest pids, string: where it was started */
};

struct kp_ctl_head {
	uint32_t magic;
	uint16_t version, type;
	uint32_t len;
};

enum kp_ctl_run_flags {
	KP_CTL_NEW_SESSION = 1 << 0,
	KP_CTL_CWD_ASKED = 1 << 1, /* the user named the directory: without it there is no run */
};

struct kp_ctl_run {
	uint32_t flags, umask;
	uint64_t ignored, blocked; /* signals, bit N - 1: an execve would keep both */
	const char *cwd;
	const char *settled; /* options that only a start can follow, as kp_args_settled() has them */
	const char **argv, **envp; /* NULL-terminated */
	size_t argc, envc;
	uint32_t pass[KP_CTL_FDS_MAX]; /* numbers in the guest of the descriptors after the first three */
	size_t pass_count;
};

/* Payload writers and a reader that turns bad at the first thing out of bounds. */
void kp_ctl_put_u32(struct kp_buf *b, uint32_t value);
void kp_ctl_put_u64(struct kp_buf *b, uint64_t value);
void kp_ctl_put_string(struct kp_buf *b, const char *s);
struct kp_ctl_reader {
	const char *at;
	size_t left;
	bool bad;
};
uint32_t kp_ctl_get_u32(struct kp_ctl_reader *r);
uint64_t kp_ctl_get_u64(struct kp_ctl_reader *r);
const char *kp_ctl_get_string(struct kp_ctl_reader *r); /* points into the payload; NULL when bad */

void kp_ctl_run_encode(const struct kp_ctl_run *run, struct kp_buf *out);
/* Strings point into payload. 0, or -EPROTO. Release with kp_ctl_run_free. */
int kp_ctl_run_decode(const char *payload, size_t len, struct kp_ctl_run *ret_run);
void kp_ctl_run_free(struct kp_ctl_run *run);

/* One end of a connection. */
struct kp_ctl_conn {
	int fd;
	struct kp_buf in;
	size_t taken; /* bytes of in that belong to the message last returned */
	int fds[KP_CTL_FDS_MAX + 3];
	size_t fd_count;
};
void kp_ctl_conn_init(struct kp_ctl_conn *conn, int fd);
void kp_ctl_conn_close(struct kp_ctl_conn *conn); /* descriptors received and not taken are closed */
/* Reads what is there. 0; -EAGAIN; -ENODATA at the end; other -errno. */
int kp_ctl_fill(struct kp_ctl_conn *conn);
/* The next whole message, valid until the next call on conn: 1; 0 when more is needed; -EPROTO. */
int kp_ctl_next(struct kp_ctl_conn *conn, unsigned *ret_type, const char **ret_payload, size_t *ret_len);
/* The message that it returned last is not taken: it comes again. */
void kp_ctl_put_back(struct kp_ctl_conn *conn);
/* Sends one message whole; flags as of sendmsg (MSG_DONTWAIT: a message that does not fit is -EAGAIN or -EPIPE). */
int kp_ctl_send(int fd, enum kp_ctl_type type, const struct kp_buf *payload, const int *fds, size_t fd_count,
		int flags);

/* host_dir/control: sockets by way of /proc/self/fd, so that paths of any length work. Descriptor or -errno. */
int kp_ctl_listen(const char *host_dir);
int kp_ctl_connect(const char *host_dir);
/* True when the peer is this user. */
bool kp_ctl_peer_ok(int fd, pid_t *ret_pid);

#endif
