/* SPDX-License-Identifier: Apache-2.0 */
/* A control group (v2) of a run's own, where the user has a delegated one: it keeps limits of memory and processes exactly. */
#ifndef KAPSEL_INSTANCE_CGROUP_H
#define KAPSEL_INSTANCE_CGROUP_H

#include "base/base.h"
#include "kapsel/profile.h"
#include "sys/engine.h"

struct kp_cgroup_place {
	char *dir;      /* the group in which the run's is made; the caller frees it */
	unsigned keeps; /* bits 1 << enum kp_limit */
	bool leave;     /* the launcher must leave it first: a group with processes of its own passes no limits on */
};
/*
 * Where a run of this process can have its group, for the limits wanted (bits 1 << enum kp_limit). ours: the launcher's processes, ended by 0.
 * root: "", but in tests. -ENOENT: nowhere, and *ret_why says why.
 */
int kp_cgroup_find(const char *root, unsigned wanted, const pid_t *ours, struct kp_cgroup_place *ret, const char **ret_why);
/* What the group of a run from here would keep of these limits (NULL: of all); 0: nothing, and *ret_why says why. */
unsigned kp_cgroup_would_keep(const struct kp_limits *limits, const char **ret_why);

struct kp_cgroup {
	char *dir, *leaf;           /* leaf: where the launcher went; or NULL */
	struct kp_engine_group run; /* what the engine needs of it */
};
/* Called by the supervisor; front: who started it. Where there is none, run.keeps stays 0. What was made is noted in run_dir. */
void kp_cgroup_make(struct kp_cgroup *g, const struct kp_limits *limits, pid_t front, const char *run_dir);
/* After the last guest. */
void kp_cgroup_end(struct kp_cgroup *g);
/* What a run that was killed had noted: ended and removed. */
void kp_cgroup_clean(const char *run_dir);

#endif
