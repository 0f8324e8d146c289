/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One notified call: its arguments, copied once, and its reply. Handlers see nothing else. Strings were read and the notification
 * rechecked before the handler runs; buffers are read and written through kp_call_get and kp_call_put.
 */
#ifndef KAPSEL_SYS_CALL_H
#define KAPSEL_SYS_CALL_H

#include <limits.h>

#include "base/base.h"
#include "sys/engine.h"
#include "sys/table.h"
#include "trap/trap.h"
#include "vfs/change.h"
#include "vfs/resolve.h"

enum kp_reply {
	KP_REPLY_VALUE,   /* c->value, or the handler's -errno */
	KP_REPLY_FD,      /* c->fd goes into the guest; its number there is the result */
	KP_REPLY_KERNEL,  /* let the call go on: only for calls that name nothing */
	KP_REPLY_REWRITE, /* the guest makes *c->rewrite instead */
	KP_REPLY_DONE,    /* already answered */
};

struct kp_call {
	struct kp_engine *engine;
	struct kp_vfs *vfs;
	struct kp_trap *trap;
	struct seccomp_notif n;
	const struct kp_row *row;
	pid_t tid;
	uint64_t *raw; /* the six arguments */
	/* Paths in the order of the row; NULL pointers show as null. */
	char path[2][PATH_MAX];
	bool path_null[2];
	int dirfd[2];
	size_t path_count;
	struct kp_gpath start; /* where the last relative path began */
	bool from_standin;     /* ... and the caller was in that directory's stand-in */
	bool noted;            /* the answer is in the cache that guests read (fast.c) */
	char *str; /* the STR argument (allocated), or NULL */

	enum kp_reply reply;
	int64_t value;
	int fd;
	bool cloexec;
	bool takes_terminal; /* KP_REPLY_FD: it becomes the controlling terminal */
	char *made; /* the file that this open made (allocated): without room for the descriptor it goes again */
	struct kp_rewrite *rewrite; /* allocated by kp_call_rewrite */
	/* A projected file that is to be looked after first (allocated): the handler gave -ERESTART and is called again then. */
	char *stale;
	unsigned looked; /* how often that was */
};

/* Reads the row's strings. 0 or -errno (-EFAULT, -ENAMETOOLONG). */
int kp_call_snapshot(struct kp_call *c);
void kp_call_release(struct kp_call *c);

/* File system identity of the caller. */
const struct kp_cred *kp_call_cred(struct kp_call *c);
/* mode & ~umask of the caller. */
mode_t kp_call_mode(struct kp_call *c, uint64_t mode);

/* Guest path of the directory that path i starts from; with the vfs lock held. -ENOENT with *ret_start: it was there and is removed. */
int kp_call_start(struct kp_call *c, int dirfd, struct kp_gpath *ret_start);
/* Walks path i as w says (start is filled in). Call with the vfs lock held, before anything is done: -ERESTART is for the engine. */
int kp_call_walk(struct kp_call *c, size_t i, struct kp_walk *w, struct kp_node *ret_node);
/* Resolves path i. Call with the vfs lock held. An empty path is -ENOENT: see kp_call_resolve_at. */
int kp_call_resolve(struct kp_call *c, size_t i, bool follow, struct kp_node *ret_node);
/* The same for a name that is to be made, removed or moved: the last component is taken as it is. */
int kp_call_resolve_name(struct kp_call *c, size_t i, struct kp_node *ret_node);
/* As kp_call_resolve; with AT_EMPTY_PATH in flags an empty path is the descriptor itself. */
int kp_call_resolve_at(struct kp_call *c, size_t i, bool follow, int flags, struct kp_node *ret_node);
/* What descriptor fd of the caller holds (fd AT_FDCWD: its working directory). */
int kp_call_fd_node(struct kp_call *c, int fd, struct kp_node *ret_node);
/* As above, for changes: what came from an image is found by its name again, so that it can be copied up; what is the instance's is told by its
 * name there, if it has one. */
int kp_call_fd_node_for_change(struct kp_call *c, int fd, struct kp_node *ret_node);

/* With the read lock held: what path 0 of this call led to may be answered by the guest itself from now on. rc: of
 * the walk; what it is cut short by is told of, too. */
void kp_fast_note(struct kp_call *c, bool follow, int rc, const struct kp_node *n);
/* Without a lock, after path 0 was made, which n was not: where, so that the guest makes the next one there itself. */
void kp_fast_note_made(struct kp_call *c, const struct kp_node *n);
/* What a descriptor holds. */
void kp_fast_note_fd(struct kp_call *c, const struct kp_node *n);

/* Guest buffers. 0 or -EFAULT. */
static inline int kp_call_get(struct kp_call *c, uint64_t addr, void *buf, size_t len)
{
	return kp_mem_read(c->tid, addr, buf, len);
}
static inline int kp_call_put(struct kp_call *c, uint64_t addr, const void *buf, size_t len)
{
	return kp_mem_write(c->tid, addr, buf, len);
}

/* Starts a rewrite of this call into nr (the same arguments until changed); sets the reply. */
struct kp_rewrite *kp_call_rewrite(struct kp_call *c, int nr);
/* Puts bytes into the blob (8-aligned) and returns their offset; -1 when full. */
int kp_rewrite_add(struct kp_rewrite *rw, const void *data, size_t len);
/* Argument arg becomes a pointer to this string. 0 or -ENAMETOOLONG. */
int kp_rewrite_string(struct kp_rewrite *rw, int arg, const char *text);

#endif
