/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's state, for the files of sys/ only. */
#ifndef KAPSEL_SYS_INTERNAL_H
#define KAPSEL_SYS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <uthash.h>

#include "kapsel/fast.h"
#include "profile/profile.h"
#include "sys/call.h"
#include "sys/policy.h"
#include "sys/programs.h"
#include "sys/sites.h"
#include "vfs/fast.h"

#define KP_MAX_WORKERS 16

struct kp_exec; /* an execve under way: exec.c */
struct kp_names; /* socket addresses and IPC keys given out: names.c */
struct kp_spawner;

/* Threads whose path is written over at this moment (traced.c). */
struct kp_lent {
	pthread_mutex_t lock;
	pthread_cond_t returned;
	atomic_uint count;
	struct kp_lent_thread {
		pid_t tid;
		bool called; /* it makes its next call already */
	} thread[16];
};

/* Threads that were let into chdir or fchdir and were not seen past it (where.c). */
struct kp_where {
	pthread_mutex_t lock; /* of moving */
	atomic_uint epoch, moving_count;
	_Atomic uint64_t looked;
	pid_t moving[32];
	atomic_bool usable;
	int ends_fd;		/* epoll: readable when a watched process has ended; -1: none are watched */
	pthread_mutex_t ends_lock; /* of watched */
	struct {
		pid_t pid;
		int pidfd; /* -1: not yet */
	} watched[KP_FAST_PLACES];
};

struct kp_engine {
	struct kp_vfs *vfs;
	struct kp_trap *trap;
	char *run_dir, *instance;
	char loader_path[PATH_MAX];
	pthread_t workers[KP_MAX_WORKERS];
	size_t worker_count;
	pthread_mutex_t turn_lock; /* of the four below */
	pthread_cond_t turn;       /* a resting worker is wanted */
	size_t receivers, resting;
	size_t cores;              /* of use for receivers */
	size_t wanted;             /* receivers: one, and more while calls queue up */
	atomic_bool stopping;
	struct kp_cred cred; /* of every guest: without capabilities nobody becomes anybody else */
	pthread_mutex_t exec_lock;
	struct kp_exec *execs;
	struct kp_names *names;
	struct kp_peers *peers;
	struct kp_ports *ports;
	const struct kp_policy *policy; /* never NULL */
	struct kp_waits {
		atomic_uint calls; /* that other threads wait for (broker.c, lock.c) */
		atomic_size_t bytes;
		atomic_uint descriptors;
	} waits;
	struct kp_limit_state {
		struct kp_limits limits;
		const struct kp_engine_group *group; /* never NULL */
		struct rlimit files;  /* what guests start with */
		rlim_t own_files;     /* what the supervisor allows itself */
		pthread_mutex_t lock; /* of all below */
		uint64_t tasks;       /* processes and threads: at most so many */
		int64_t counted;      /* when, in milliseconds */
		unsigned told;        /* limits that the user was told of */
		char notice[KP_LIMIT_COUNT][160];
		pthread_cond_t wake;
		pthread_t watcher; /* of the disk; 0: none */
		bool stop;
	} limit;
	struct kp_spawner *spawner;
	enum kp_level level;
	FILE *trace;
	pthread_mutex_t trace_lock;
	pthread_mutex_t freeze_lock; /* one at a time: clients ask for it, and calls that change configuration */
	struct kp_lent lent;
	struct kp_where where;
	bool fast;           /* guests answer for themselves what they can */
	unsigned fast_often; /* a call site is patched at its so-manieth call */
	struct kp_sites sites;
	struct kp_programs programs;
	atomic_uint starts;  /* programs, so far */
	atomic_bool own_filters; /* a guest has a seccomp filter of its own, in which the loader would be caught */
	atomic_bool tracers; /* a guest is or was traced */
	int filters;         /* that each guest has: Seccomp_filters of /proc/PID/status */
};

/* engine.c: whose call this thread works on; 0: nobody's. */
extern _Thread_local pid_t kp_engine_serves;

/* exec.c: the loader's request. */
int kp_exec_start(struct kp_call *c);
/* The caller's argv[0], which the kernel will not find where it is: the loader is to put it in. 0, -EPERM, -E2BIG. */
int kp_exec_keep_name(struct kp_call *c, const char *name);
void kp_exec_free(struct kp_engine *e);

/* fast.c */
void kp_fast_init(struct kp_engine *e);
int kp_fast_start(struct kp_engine *e);
/* After an answer that guests can read now: is the call's site worth a jump to the stub? */
void kp_fast_patch(struct kp_call *c);
/* execve of c's path, by the caller or by anybody, is from now on that start, whose descriptors and pid are still to be filled in; n is the file,
 * interp its interpreter's name (NULL: it has none), and interp_n what that leads to. */
void kp_fast_note_program(struct kp_call *c, const struct kp_node *n, const char *interp, const struct kp_node *interp_n, const struct kp_start *start);
/* The caller is about to have a filter of its own: that sees the caller's calls from then on, and none of ours. */
void kp_fast_filter_comes(struct kp_call *c);
/* Has it one, or is it traced? Who looks at system calls is to see those that the program makes. */
bool kp_fast_is_watched(struct kp_call *c);

/* prepare.c: at every execve, once it is answered: libraries whose call sites are known get a copy of their code with jumps. */
void kp_prepare(struct kp_engine *e);

/* traced.c: carries out c->rewrite where the caller is traced by a guest. 0: answered; -errno: not. */
int kp_traced_rewrite(struct kp_call *c);
/* Before anything of the caller's memory is read: its last path may still be written over. */
void kp_traced_settle(struct kp_call *c);
/* The same, for a stopped thread that its tracer lets go on. */
void kp_traced_resume(struct kp_call *c, pid_t tid);
void kp_lent_init(struct kp_lent *l);

/* landlock.c: the rules for a run's guests, and the calling thread's entry into them. */
int kp_landlock_make(const struct kp_vfs *v, const char *loader, enum kp_level level, int *ret_fd, struct kp_err *err);
int kp_landlock_enter(int fd);

/* where.c: working directories, remembered for a moment. */
struct kp_where_mark {
	unsigned epoch, generation;
	uint64_t since;
	struct kp_fast_mark fast;
};
void kp_where_init(struct kp_where *w, bool told); /* told: guests read it themselves */
void kp_where_free(struct kp_where *w);
/* Before the reply that lets tid into chdir or fchdir; and at each call of its own: it is past the one before. */
void kp_where_moves(struct kp_engine *e, pid_t tid);
void kp_where_called(struct kp_engine *e, pid_t tid, bool exec);
/* With the vfs lock held. begin: before the kernel is asked; false: what it says is not to be put. */
bool kp_where_get(struct kp_call *c, struct kp_gpath *ret);
bool kp_where_begin(struct kp_call *c, struct kp_where_mark *ret);
void kp_where_put(struct kp_call *c, const struct kp_where_mark *mark, const struct kp_gpath *guest);
/* A name that the caller asked for from there is in the cache that guests read. */
void kp_where_noted(struct kp_call *c);

/* spawn.c */
/* Its thread installs the filter meanwhile; ready() waits for it, and confines it to what the vfs shows. */
int kp_spawner_begin(struct kp_engine *e, struct kp_err *err);
int kp_spawner_ready(struct kp_engine *e, int *ret_listener, struct kp_err *err);
void kp_spawner_stop(struct kp_engine *e);

/* names.c */
struct kp_names *kp_names_new(void);
struct kp_names *kp_names_free(struct kp_names *n); /* removes the SysV objects */
/* Host key of a guest's SysV key. */
uint32_t kp_names_ipc_key(struct kp_engine *e, uint32_t key);
/* The SysV objects that guests have made; kind 'm', 's', 'q'. What is still there is removed at the end. */
void kp_names_put_ipc(struct kp_engine *e, char kind, int id);
bool kp_names_have_ipc(struct kp_engine *e, char kind, int id);
void kp_names_drop_ipc(struct kp_engine *e, char kind, int id); /* about to be removed */
/* The guest bound this host address under that name; and back. */
void kp_names_put_address(struct kp_engine *e, const char *host, const void *guest, size_t len);
size_t kp_names_get_address(struct kp_engine *e, const char *host, void *buf, size_t size);
/* The file of a socket that a guest has bound; and was it one? */
void kp_names_put_socket(struct kp_engine *e, dev_t dev, ino_t ino);
bool kp_names_has_socket(struct kp_engine *e, dev_t dev, ino_t ino);

/* peer.c: who connected through the supervisor. note: before it connects fd, a copy of the caller's socket, to the file that pin is (-1:
 * none); forget: it did not. */
struct kp_peers *kp_peers_new(void);
void kp_peers_free(struct kp_peers *p);
bool kp_peer_note(struct kp_call *c, int fd, int pin); /* true: it is new */
void kp_peer_forget(struct kp_call *c, int fd);

/* waits.c: false: there is no room for one more. */
bool kp_waits_take(struct kp_engine *e, size_t bytes, unsigned descriptors);
void kp_waits_give(struct kp_engine *e, size_t bytes, unsigned descriptors);

/* limits.c */
int kp_limits_start(struct kp_engine *e, const struct kp_limits *limits, const struct kp_engine_group *group, struct kp_err *err);
void kp_limits_stop(struct kp_engine *e);
/* In the child, first of all: into the control group, where there is one. 0 or -errno. */
int kp_limits_enter(const struct kp_limit_state *s);
/* In the child, before its exec: what the kernel keeps for each process. */
void kp_limits_apply(const struct kp_limit_state *s);
/* A process that the supervisor itself has started. */
void kp_limits_count(struct kp_engine *e);
/* A line for the user, once a run. */
void kp_limits_tell(struct kp_engine *e, enum kp_limit which, const char *what);

/* trace.c: one line a call. */
void kp_trace(struct kp_engine *e, const struct kp_call *c, int rc, uint64_t microseconds);

#endif
