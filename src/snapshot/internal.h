/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room. */
#ifndef KAPSEL_SNAPSHOT_INTERNAL_H
#define KAPSEL_SNAPSHOT_INTERNAL_H

#include <uthash.h>

#include "snapshot/copy.h"
#include "snapshot/snapshot.h"

struct kp_inode {
	ino_t ino;
	UT_hash_handle hh;
};

/* Everything that copies carry. */
int kp_carry(const struct kp_carry *how, struct kp_err *err);
/* Later changes get a later time than all that was copied so far. */
void kp_let_time_pass(void);

#endif
