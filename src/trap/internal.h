/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of trap/ only. */
#ifndef KAPSEL_TRAP_INTERNAL_H
#define KAPSEL_TRAP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "kapsel/start.h"
#include "trap/trap.h"

/* A slot of the scratch, and the call that was rewritten to have its strings there. */
struct kp_pending {
	pid_t tid;                   /* who makes it, or made it last; 0: the slot is nobody's */
	bool used;                   /* it has not been seen again */
	uint64_t going;              /* it has, by this notification, and is about to go on */
	struct seccomp_data wanted;  /* what the restarted call must look like */
	struct seccomp_data asked;   /* what the guest had asked for */
	uint8_t *blob;
	size_t blob_len;
};

/* A rewritten call that went on. A signal can restart it (an open of a FIFO, a connect that waits), and it comes as it was rewritten. */
struct kp_passed {
	struct kp_passed_key {
		pid_t tid;
		int nr;
		uint64_t args[6];
	} key;
	struct seccomp_data asked;
	UT_hash_handle hh;
};

struct kp_held;

struct kp_trap {
	int fd;
	int scratch_fd;
	size_t scratch_size;
	uint8_t *scratch; /* the one mapping that can be written */
	const char *loader; /* its path */
	pthread_mutex_t lock; /* of the table */
	struct kp_pending pending[KP_SCRATCH_SLOTS];
	unsigned slots_used; /* none from here on was ever anybody's */
	unsigned next_slot;  /* round robin: a restarted call is told from newer ones by its slot */
	atomic_uint pending_count;
	struct kp_passed *passed; /* oldest first */
	struct {
		pthread_mutex_t lock;
		bool active, closing;
		struct kp_held *threads;
	} hold;
};

void kp_passed_free(struct kp_trap *t);
/* hold.c */
int kp_hold_answer(struct kp_trap *t, const struct seccomp_notif *n);

#endif
