/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at and ending processes by way of /proc. */
#ifndef KAPSEL_INSTANCE_PROCS_H
#define KAPSEL_INSTANCE_PROCS_H

#include "base/base.h"

struct kp_proc {
	pid_t pid, ppid;
	char state;
};

struct kp_procs { /* zero-initialise */
	struct kp_proc *items;
	size_t count, cap;
};

/* All processes that /proc shows. 0 or -errno. */
int kp_procs_scan(struct kp_procs *procs);
void kp_procs_free(struct kp_procs *procs);
#define kp_autoprocs __attribute__((cleanup(kp_procs_free)))
/* True when pid descends from ancestor in this snapshot (a process does not descend from itself). */
bool kp_procs_descends(const struct kp_procs *procs, pid_t pid, pid_t ancestor);
/* True when /proc/PID/exe is host_path. */
bool kp_proc_runs(pid_t pid, const char *host_path);
/* SIGKILLs every process that runs host_path. Returns how many were seen. */
size_t kp_procs_kill_running(const char *host_path);
/* Proportional memory of a process in KiB; 0 when it cannot be read. */
uint64_t kp_proc_pss(pid_t pid);

#endif
