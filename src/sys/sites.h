/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call sites that notifications have proven to be such, by the file that the code is of (docs/FAST.md): other processes that map the file
 * need not prove them again. By the file's number alone: the bytes are looked at wherever this is used.
 */
#ifndef KAPSEL_SYS_SITES_H
#define KAPSEL_SYS_SITES_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "kapsel/start.h"

#define KP_SITES_FILES 32U
#define KP_SITES_EACH 24U

struct kp_sites_file {
	uint64_t ino;
	uint32_t count;
	struct kp_start_site place[KP_SITES_EACH];
};

struct kp_sites {
	pthread_mutex_t lock;
	size_t count;
	struct kp_sites_file file[KP_SITES_FILES];
};

/* Is that one of a known file's? Then the file's, and where its beginning would be mapped. */
bool kp_sites_find(struct kp_sites *s, uint64_t ip, uint32_t nr, struct kp_sites_file *ret, uint64_t *ret_base);
/* The call that thread tid waits in was made from ip. */
void kp_sites_learn(struct kp_sites *s, pid_t tid, uint64_t ip, uint32_t nr);
/* Those of a program's interpreter, for the loader. */
void kp_sites_tell(struct kp_sites *s, uint64_t ino, struct kp_start *start);

#endif
