/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KAPSEL_SYS_CHILD_H
#define KAPSEL_SYS_CHILD_H

/* Runs fn(arg), which ends with _exit(), in a child that shares the caller's memory; the caller waits for its end. flags: what else is shared, or
 * new (CLONE_*). Where there can be no such child nothing is run: arg tells. */
void kp_in_child(int flags, int (*fn)(void *arg), void *arg);

#endif
