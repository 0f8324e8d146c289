/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of trap/ only. */
#ifndef KAPSEL_TRAP_INTERNAL_H
#define KAPSEL_TRAP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kapsel/start.h"
#include "trap/trap.h"

/* A call that was rewritten and has not been seen again. */
struct kp_pending {
	bool used;
	pid_t tid;
	struct seccomp_data wanted;  /* what the restarted call must look like */
	struct seccomp_data asked;   /* what the guest had asked for */
	uint8_t *blob;
	size_t blob_len;
};

struct kp_trap {
	int fd;
	pthread_mutex_t lock; /* of the table */
	struct kp_pending pending[KP_SCRATCH_SLOTS];
	unsigned next_slot; /* round robin: a slot that was just let go is the last to be taken again */
	atomic_uint pending_count;
};

#endif
