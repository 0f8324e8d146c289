/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room. */
#ifndef KAPSEL_SNAPSHOT_INTERNAL_H
#define KAPSEL_SNAPSHOT_INTERNAL_H

#include "snapshot/copy.h"
#include "snapshot/snapshot.h"

/* Everything that copies carry goes from one directory to another. before_fd: the snapshot before, or -1. */
int kp_carry(int from_fd, int to_fd, enum kp_copy_kind kind, int before_fd, struct kp_err *err);
/* Later changes get a later time than all that was copied so far. */
void kp_let_time_pass(void);

#endif
