/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp program. It is made from the table when Kapsel is built (sys/mkfilter.c): making it takes milliseconds, loading it none. */
#ifndef KAPSEL_SYS_FILTER_H
#define KAPSEL_SYS_FILTER_H

#include <linux/filter.h>

#include "kapsel/error.h"

/* As built into this binary. */
extern const struct sock_filter kp_filter_code[];
extern const unsigned short kp_filter_len;

/* Makes it anew with libseccomp. Caller frees *ret_code. */
int kp_filter_build(struct sock_filter **ret_code, unsigned short *ret_len, struct kp_err *err);

/* The program as text, for people: one instruction a line. */
struct kp_buf;
void kp_filter_text(const struct sock_filter *code, unsigned len, struct kp_buf *b);

#endif
