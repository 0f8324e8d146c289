/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's side of a guest's call: notifications, guest memory, what /proc says of a task, descriptors put into
 * it, and calls rewritten while stopped. No knowledge of paths or layers.
 */
#ifndef KAPSEL_TRAP_TRAP_H
#define KAPSEL_TRAP_TRAP_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kapsel/error.h"

struct kp_trap; /* the listener and what hangs on it */

struct kp_trap *kp_trap_new(void);
/* The memory that the strings of rewritten calls go to (kapsel/start.h), and the exec loader's path, which stays the caller's; mapped here as guests
 * have it; behind it `more` bytes for what else guests are to read and the supervisor alone can write. 0 or -errno. */
int kp_trap_scratch_make(struct kp_trap *t, const char *loader, size_t more);
/* The name that is executed for known program `number` (kapsel/start.h), before any guest is told that number. False: there is none. */
bool kp_trap_name_loader(struct kp_trap *t, uint32_t number);
void *kp_trap_more(const struct kp_trap *t);
/* Can a guest be kept from mapping something else in its place? Since Linux 6.10. */
bool kp_trap_can_seal(void);
int kp_trap_scratch(const struct kp_trap *t); /* its descriptor, to be mapped for reading only */
/* May guests be looked into and stopped here? 0, or -EPERM: ret_what was refused. Before any is there. */
int kp_trap_allowed(const char **ret_what);
/* Takes ownership of the listener. Turns on sync wake-up where the kernel has it. 0, or -EOPNOTSUPP: no descriptors can be put into guests. */
int kp_trap_listen(struct kp_trap *t, int listener_fd);
struct kp_trap *kp_trap_free(struct kp_trap *t);

/* Next notification: 0, -ENOENT (the caller is gone, ask again), -errno. Blocks. */
int kp_trap_receive(struct kp_trap *t, struct seccomp_notif *n);
/* Does another notification wait already? */
bool kp_trap_pending(struct kp_trap *t);
/* Does the notification still stand? To be asked after every read of the guest's memory or /proc. */
bool kp_trap_valid(struct kp_trap *t, uint64_t id);

/* Answers; ENOENT (the caller was killed) is success. */
int kp_trap_answer(struct kp_trap *t, uint64_t id, int64_t value, int error);
int kp_trap_continue(struct kp_trap *t, uint64_t id);
/* Puts a copy of fd into the guest, returns its number there or -errno; then answer with it. */
int kp_trap_add_fd(struct kp_trap *t, uint64_t id, pid_t tid, int fd, bool cloexec);
/* The same of several, which its next exec closes. Where fds has -1, numbers has it, too. */
void kp_trap_add_fds(struct kp_trap *t, uint64_t id, pid_t tid, const int *fds, int *numbers, size_t count);
/* The same of one, whose number there is the answer. 0 or -errno: not answered. */
int kp_trap_answer_fd(struct kp_trap *t, uint64_t id, pid_t tid, int fd);

/* --- guest memory: each copies once --- */
/* NUL-terminated string of less than size bytes: its length, -EFAULT, -ENAMETOOLONG. */
ssize_t kp_mem_string(pid_t tid, uint64_t addr, char *buf, size_t size);
int kp_mem_read(pid_t tid, uint64_t addr, void *buf, size_t len);  /* 0 or -EFAULT */
/* len bytes from each of count addresses, one after the other into buf; 0, or -EFAULT if one of them cannot be read. */
int kp_mem_gather(pid_t tid, const uint64_t *addrs, size_t count, size_t len, void *buf);
int kp_mem_write(pid_t tid, uint64_t addr, const void *buf, size_t len);

/* --- what /proc says of a task --- */
/* Link text of /proc/TID/fd/N into buf. 0, -EBADF (no such descriptor), -errno. */
int kp_task_fd(pid_t tid, int fd, char *buf, size_t size);
/* The same of what an *at() call starts from: AT_FDCWD is the working directory. */
int kp_task_start(pid_t tid, int dirfd, char *buf, size_t size);
/* O_* of the descriptor, O_PATH and O_CLOEXEC too. 0 or -EBADF. */
int kp_task_fd_flags(pid_t tid, int fd, int *ret_flags);
/* 0, or -EBADF: there is none, or it is only a path (O_PATH). */
int kp_task_fd_usable(pid_t tid, int fd);
/* Position of the descriptor's file. 0 or -EBADF (also where it is only a path). */
int kp_task_fd_pos(pid_t tid, int fd, int64_t *ret_pos);
mode_t kp_task_umask(pid_t tid);
/* R, D, S, t...; 0 when the thread is gone. */
char kp_task_state(pid_t tid);
/* Who traces it; 0: nobody, or it is gone. */
pid_t kp_task_tracer(pid_t tid);
/* The call that it waits in; -1: none; -EAGAIN: it runs, which may be in one; -ESRCH: it is gone, or nobody may know. */
int kp_task_call(pid_t tid);
/* A signal that the task neither blocks nor ignores waits for it. */
bool kp_task_signalled(pid_t tid);

/* --- rewriting (restart-rewrite): the guest makes another call than the one it asked for --- */
#define KP_BLOB_MAX 8192
struct kp_rewrite {
	int nr;
	uint64_t args[6];
	uint8_t blob[KP_BLOB_MAX]; /* placed in the guest's scratch area */
	size_t blob_len;
	uint8_t points; /* bit i: args[i] is an offset into the blob and becomes an address */
	struct {
		uint16_t at;     /* a pointer inside the blob, at this offset, ... */
		uint16_t target; /* ... to this offset */
	} inner[4];
	size_t inner_count;
};
/* Answers the notification by having the caller restart as *rw. The restarted call notifies again: see
 * kp_trap_expected. 0, -errno (the notification still stands and wants an answer; -EPERM: somebody traces the caller). */
int kp_trap_rewrite(struct kp_trap *t, const struct seccomp_notif *n, const struct kp_rewrite *rw);

/* Answers with one of the kernel's -ERESTART errors, which no caller sees: signals that wait are handled, then the call is made anew or
 * is -EINTR. 0, -errno as above. */
int kp_trap_interrupt(struct kp_trap *t, const struct seccomp_notif *n, int error);

enum kp_expected {
	KP_EXPECT_NONE, /* a call of the guest's own */
	KP_EXPECT_GO,   /* the rewritten call, intact: kp_trap_go */
	KP_EXPECT_AGAIN /* it was damaged on the way: *n is back to what the guest asked for; handle it anew */
};
enum kp_expected kp_trap_expected(struct kp_trap *t, struct seccomp_notif *n);
int kp_trap_go(struct kp_trap *t, const struct seccomp_notif *n);

/* Has the stopped caller make an untrapped call (no pointers), whose result nobody sees; then the caller's own call
 * returns value. For what only the guest itself can do where copying descriptors is not allowed. */
int kp_trap_inject(struct kp_trap *t, const struct seccomp_notif *n, int nr, const uint64_t args[6], int64_t value);

/* --- holding threads still: begin, add and look and release from one thread that ends then, end after its end --- */
enum kp_held_state { KP_HELD_RUNS, KP_HELD_STOPPED, KP_HELD_GONE };
void kp_hold_begin(struct kp_trap *t);
/* Has it stop. 0: it will, 1: it was added before, -EPERM: somebody traces it, or a call of it is being rewritten; -ESRCH. */
int kp_hold_add(struct kp_trap *t, pid_t tid, pid_t pid);
/* How many have not stopped; fn (may be NULL) is called for each of them. */
size_t kp_hold_look(struct kp_trap *t, void (*fn)(pid_t tid, void *ctx), void *ctx);
void kp_hold_each(struct kp_trap *t, void (*fn)(pid_t pid, pid_t tid, void *ctx), void *ctx);
/* All that stopped go on as if nothing had been. Those that did not are let go by the end of the calling thread. */
void kp_hold_release(struct kp_trap *t);
void kp_hold_end(struct kp_trap *t);

#endif
