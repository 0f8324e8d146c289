/* SPDX-License-Identifier: Apache-2.0 */
/* An interpreter of classic BPF as seccomp uses it. */
#ifndef KAPSEL_TESTS_UNIT_BPF_SIM_H
#define KAPSEL_TESTS_UNIT_BPF_SIM_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>

/* The program's verdict on one call; 0 (SECCOMP_RET_KILL_THREAD) for a broken program. */
uint32_t bpf_sim(const struct sock_filter *code, unsigned len, const struct seccomp_data *data);

#endif
