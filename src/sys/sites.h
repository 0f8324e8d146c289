/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call sites that are known to be such, by the file that the code is of (docs/FAST.md): other processes that map the file
 * need not prove them again. By the file's number alone: the bytes are looked at wherever this is used.
 */
#ifndef KAPSEL_SYS_SITES_H
#define KAPSEL_SYS_SITES_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "kapsel/fast.h"

struct kp_sites {
	pthread_mutex_t lock;
	struct kp_fast *mem; /* where guests read them */
	struct {
		char *path;    /* of the file, host */
		uint32_t seen; /* places, when that was last looked at */
		bool refused;  /* there can be no copy of it */
	} own[KP_SITES_FILES];
};

void kp_sites_init(struct kp_sites *s);
void kp_sites_free(struct kp_sites *s);

/* Is that one of a known file's? Then a copy of the file's, and where its beginning would be mapped. */
bool kp_sites_find(struct kp_sites *s, uint64_t ip, uint32_t nr, struct kp_sites_file *ret, uint64_t *ret_base);
/* The call that thread tid waits in was made from ip: the notification proves it. */
void kp_sites_learn(struct kp_sites *s, pid_t tid, uint64_t ip, uint32_t nr);
/* Of an interpreter, the first time: where it maps libraries. No notification tells of that: it is found by more bytes than a site has. */
void kp_sites_read(struct kp_sites *s, int fd, uint64_t ino, const char *path);

#endif
