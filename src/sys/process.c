/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that reach into another process by its number: what is no guest of this instance is not there. The supervisor is the
 * caller's ancestor with the same user id; where Yama does not forbid it (kernel.yama.ptrace_scope=0) the kernel would allow it all.
 */
#include <linux/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "kapsel/start.h"
#include "sys/handlers.h"
#include "sys/internal.h"
#include "vfs/proc.h"

static int guests_only(struct kp_call *c, unsigned arg)
{
	pid_t pid = (pid_t)c->raw[arg];

	/* What is no process at all the kernel has its own words for. */
	if (pid > 0 && !kp_proc_is_guest(c->vfs, pid))
		return -ESRCH;
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

#define DUMPABLE_AT (KP_IDENT_BASE + offsetof(struct kp_ident, dumpable))

/* Guests only, and not those that have asked to be left alone by others of their user. */
static int to_be_looked_into(struct kp_call *c, unsigned arg)
{
	pid_t pid = (pid_t)c->raw[arg];
	int32_t dumpable;
	int rc = guests_only(c, arg);

	if (!rc && pid > 0 && !kp_mem_read(pid, DUMPABLE_AT, &dumpable, sizeof(dumpable)) && dumpable != 1 &&
	    kp_proc_tgid(pid) != kp_proc_tgid(c->tid))
		rc = -EPERM;
	return rc;
}

/* Who is traced from the start is let run by one of these before its program's loader asks what it is. */
int kp_sys_ptrace(struct kp_call *c)
{
	atomic_store(&c->engine->tracers, true);
	kp_fast_settle_all(c->vfs);
	if (c->raw[0] == PTRACE_ATTACH || c->raw[0] == PTRACE_SEIZE)
		return to_be_looked_into(c, 1);
	kp_traced_resume(c, (pid_t)c->raw[1]);
	return guests_only(c, 1);
}

int kp_sys_process_vm(struct kp_call *c)
{
	return to_be_looked_into(c, 0);
}

int kp_sys_seccomp(struct kp_call *c)
{
	kp_fast_filter_comes(c);
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

/* Of PR_SET_SECCOMP, PR_SET_DUMPABLE and PR_GET_DUMPABLE only. What was set goes on to children and ends with the program, as all of its memory does. */
int kp_sys_prctl(struct kp_call *c)
{
	int32_t dumpable = (int32_t)c->raw[1];

	if ((int)c->raw[0] == PR_SET_SECCOMP)
		return kp_sys_seccomp(c);
	if ((int)c->raw[0] == PR_SET_DUMPABLE)
		return c->raw[1] > 1 ? -EINVAL : kp_call_put(c, DUMPABLE_AT, &dumpable, sizeof(dumpable));
	if (kp_call_get(c, DUMPABLE_AT, &dumpable, sizeof(dumpable)))
		dumpable = 1;
	c->value = dumpable < 0 || dumpable > 2 ? 1 : dumpable;
	return 0;
}

int kp_sys_pidfd_open(struct kp_call *c)
{
	return guests_only(c, 0);
}

/* The first argument is a process or a thread; 0: the caller. */
int kp_sys_pid(struct kp_call *c)
{
	return guests_only(c, 0);
}

/* which, who: a process, a group (by its leader's number), or all of a user's processes, of which only the guests count. */
static int others(struct kp_call *c, int user)
{
	return (int)c->raw[0] == user ? -EPERM : guests_only(c, 1);
}

int kp_sys_setpriority(struct kp_call *c)
{
	return others(c, PRIO_USER);
}

int kp_sys_getpriority(struct kp_call *c)
{
	return others(c, PRIO_USER);
}

#define IOPRIO_WHO_USER 3

int kp_sys_ioprio(struct kp_call *c)
{
	return others(c, IOPRIO_WHO_USER);
}

/* Of MADV_DONTFORK only: the scratch area goes on to children. */
int kp_sys_madvise(struct kp_call *c)
{
	uint64_t from = c->raw[0], len = c->raw[1];

	if (from < KP_SCRATCH_BASE + KP_SCRATCH_SIZE && (len > KP_SCRATCH_BASE || from + len > KP_SCRATCH_BASE))
		return -EINVAL;
	c->reply = KP_REPLY_KERNEL;
	return 0;
}
