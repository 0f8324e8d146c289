/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: answers the guests' system calls. It runs inside the supervisor process: notification workers, the
 * one thread that rewrites stopped calls, and a spawner thread that carries the filter and forks the guests
 * (a filter belongs to a thread; children inherit it, and so all guests share one listener).
 */
#ifndef KAPSEL_SYS_ENGINE_H
#define KAPSEL_SYS_ENGINE_H

#include <sys/types.h>

#include "kapsel/profile.h"
#include "vfs/vfs.h"

/* Landlock's version on this kernel, 0: none. */
int kp_landlock_abi(void);

struct kp_engine;
struct kp_limits;
struct kp_policy;

/* The control group that guests are put into, and what it keeps of their limits. */
struct kp_engine_group {
	unsigned keeps;            /* bits 1 << enum kp_limit; 0: there is none */
	int procs_fd;              /* cgroup.procs, to be written */
	int events[KP_LIMIT_COUNT]; /* memory.events and pids.events, or -1 */
};

struct kp_engine_options {
	const char *run_dir;     /* host; the exec loader is placed here as run_dir/loader (its path marks this
	                          * run's guests in /proc/PID/exe) */
	const char *trace_path;  /* one decoded line a call, or NULL */
	const struct kp_policy *policy; /* what the profile refuses; outlives the engine; NULL: the network is the host's */
	enum kp_level level;     /* what guests may open themselves */
	const char *instance;    /* instance name: seeds private SysV keys and the like */
};

/* Call in the supervisor after PR_SET_CHILD_SUBREAPER. Starts the thread that guests will be children of: the kernel takes its time over the
 * filter, beside what else there is to prepare. */
int kp_engine_new(const struct kp_engine_options *o, struct kp_engine **ret_engine, struct kp_err *err);
/* Before any guest. vfs and group outlive the engine; limits and group may be NULL: none. */
int kp_engine_start(struct kp_engine *engine, struct kp_vfs *vfs, const struct kp_limits *limits, const struct kp_engine_group *group,
		    struct kp_err *err);
/* After the last guest is gone: nothing runs any more, nothing is written. */
void kp_engine_stop(struct kp_engine *engine);
/* Stops it, too. NULL is fine; returns NULL. */
struct kp_engine *kp_engine_free(struct kp_engine *engine);

#define KP_SPAWN_FDS_MAX 64U
struct kp_spawn {
	char *const *argv;    /* argv[0]: guest path, or a name searched in envp's PATH inside the guest */
	char *const *envp;
	const char *cwd;      /* guest path; where it cannot be entered: */
	bool cwd_asked;       /* that is an error, -EINVAL; else the root serves */
	int fds[3];           /* become 0, 1, 2; not closed here */
	const int *pass_fds;  /* further descriptors, at most KP_SPAWN_FDS_MAX; not closed here */
	const int *pass_numbers; /* their numbers in the guest, all above 2 and different */
	size_t pass_fd_count;
	bool new_session;     /* setsid, and fds[0] becomes the controlling terminal */
	mode_t umask;
	uint64_t ignored, blocked; /* signals, bit N - 1; the others have default dispositions */
};

/* Starts a guest process. It is a child of this process: wait for it with kp_engine_reap only.
 * 0, or -errno with err when it could not be started: -ENOENT (127), -EACCES, -ENOEXEC (126), others (125). */
int kp_engine_spawn(struct kp_engine *engine, const struct kp_spawn *s, pid_t *ret_pid, struct kp_err *err);

/* Next change of a child of this process: exits are reaped, stops and continues of job control are reported. pid 0: any child (orphans
 * included). Returns the child with a status as of waitpid, or 0 when there is no news; does not block (SIGCHLD tells when to ask).
 * Plain wait calls would eat the ptrace stops that the engine's threads wait for: a wait by any thread of a process sees those of
 * all its threads' tracees. */
pid_t kp_engine_reap(pid_t pid, int *ret_status);

/* A line for the user, such as of a limit that was reached: taken once. false: there is none. */
bool kp_engine_notice(struct kp_engine *engine, char *buf, size_t size);
/* A guest that was started here was ended by that signal. */
void kp_engine_signalled(struct kp_engine *engine, int signo);

/* Readable when kp_engine_ended() has something to do; -1: never. */
int kp_engine_ends_fd(const struct kp_engine *engine);
void kp_engine_ended(struct kp_engine *engine);

/* Guest processes alive now (not zombies): fills pids up to max, returns how many there are. */
/* The ports that the instance has, as of kp_ports_text(). */
void kp_engine_ports(struct kp_engine *engine, struct kp_buf *out);
size_t kp_engine_pids(struct kp_engine *engine, pid_t *pids, size_t max);

/*
 * All threads of all guests are held still, fn runs (on another thread; nothing of the instance's files changes meanwhile), and they go on
 * where they were, without a signal or an EINTR of it. No guest may be spawned meanwhile. The result of fn, or -errno with err: -EBUSY where
 * one cannot be stopped (named). ret_us (may be NULL): how long they were held.
 */
int kp_engine_freeze(struct kp_engine *engine, int (*fn)(void *ctx, struct kp_err *err), void *ctx, uint64_t *ret_us, struct kp_err *err);
/* From fn: each thread that is held, and its process. */
void kp_engine_each_held(struct kp_engine *engine, void (*fn)(pid_t pid, pid_t tid, void *ctx), void *ctx);

#endif
