/* SPDX-License-Identifier: Apache-2.0 */
/* Declares kp_sys_<handler> for each EMULATE row. A handler returns 0 with the reply in *c, or -errno. */
#ifndef KAPSEL_SYS_HANDLERS_H
#define KAPSEL_SYS_HANDLERS_H

struct kp_call;

#define KP_DECLARE_EMULATE(h) int kp_sys_##h(struct kp_call *c);
#define KP_DECLARE_PASS(h)
#define KP_DECLARE_DENY(h)
#define KP_DECLARE_NOSYS(h)
#define SYS(name, x86, arm, a0, a1, a2, a3, a4, a5, action, handler) KP_DECLARE_##action(handler)
#include "sys/syscalls.def"
#undef SYS

#endif
