/* SPDX-License-Identifier: Apache-2.0 */
/* A helper program of the host, run to its end with its output caught. */
#ifndef KAPSEL_PACKAGER_SPAWN_H
#define KAPSEL_PACKAGER_SPAWN_H

#include "packager/pack.h"

/* Runs argv (searched in PATH, standard input empty, LC_ALL=C). Its exit status (128 + N: signal N), or -errno with err. */
int spawn_run(char *const argv[], struct kp_buf *ret_out, struct kp_buf *ret_err, struct kp_err *err);

#endif
