/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of programs of images, which never change: who has executed one has read its headers for all others. */
#ifndef KAPSEL_SYS_PROGRAMS_H
#define KAPSEL_SYS_PROGRAMS_H

#include <pthread.h>
#include <stdbool.h>

#include "kapsel/start.h"
#include "loader/elf.h"
#include "vfs/node.h"

struct kp_program {
	struct kp_elf_info info;
	struct kp_start_file file;
	char interp[4096]; /* PT_INTERP; "": none */
};

struct kp_known_program;
struct kp_programs {
	pthread_mutex_t lock;
	struct kp_known_program *known;
};

void kp_programs_init(struct kp_programs *p);
void kp_programs_free(struct kp_programs *p);
/* n is a regular file. True, with *ret filled: it is an ELF program of an image that lies in the store and can be executed there. */
bool kp_programs_find(struct kp_programs *p, const struct kp_node *n, struct kp_program *ret);
/* One that has just been read from a descriptor of the store's own file. */
void kp_programs_learn(struct kp_programs *p, const struct kp_node *n, const struct kp_program *what);

#endif
