/* SPDX-License-Identifier: Apache-2.0 */
/* What a command may do beyond what the owners and modes of files let its user do: sets of capabilities, each below 32. */
#ifndef KAPSEL_BASE_POWERS_H
#define KAPSEL_BASE_POWERS_H

#include <linux/capability.h>
#include <stdint.h>

#include "base/base.h"

/* None has what reaches the kernel or the whole host (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_CHROOT, ...), or CAP_FSETID: what root
 * changes for a guest loses its set-id bits, as it does for everybody. */
#define KP_POWER(cap) (1U << (cap))
/* Images and instances are read, wherever they lie. */
#define KP_POWERS_READ KP_POWER(CAP_DAC_READ_SEARCH)
/* Files are read, made and changed, also to finish what a killed command left. CAP_DAC_OVERRIDE reads, too, but opens no file handles. */
#define KP_POWERS_WRITE (KP_POWER(CAP_DAC_OVERRIDE) | KP_POWER(CAP_FOWNER))
/* They are copied with their owners; leases tell whether somebody is writing. */
#define KP_POWERS_COPY (KP_POWERS_WRITE | KP_POWER(CAP_CHOWN) | KP_POWER(CAP_LEASE))
/* All that for guests; their sockets are bound, their bounding sets emptied. CAP_SYS_PTRACE goes where Yama lets others trace, too. */
#define KP_POWERS_RUN (KP_POWERS_COPY | KP_POWER(CAP_NET_BIND_SERVICE) | KP_POWER(CAP_SETPCAP) | KP_POWER(CAP_SYS_PTRACE))
/* What any command has, until it is known which one it is. */
#define KP_POWERS_ALL (KP_POWERS_READ | KP_POWERS_RUN)

/* Gives up for good, in all five sets, what is not in `keep`; what is executed from now on gains nothing either (no_new_privs), which is
 * all that keeps the bounding set down where CAP_SETPCAP is missing. For who has but one thread. 0 or -errno. */
int kp_powers_keep(uint32_t keep, struct kp_err *err);

#endif
