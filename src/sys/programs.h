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
	struct kp_start *starts[KP_LOADER_NAMES]; /* by their numbers; 0 is nobody's */
	uint32_t start_count;
};

void kp_programs_init(struct kp_programs *p);
void kp_programs_free(struct kp_programs *p);
/* n is a regular file. True, with *ret filled: it is an ELF program of an image that lies in the store and can be executed there. */
bool kp_programs_find(struct kp_programs *p, const struct kp_node *n, struct kp_program *ret);
/* One that has just been read from a descriptor of the store's own file. */
void kp_programs_learn(struct kp_programs *p, const struct kp_node *n, const struct kp_program *what);

/* What the loader is told for a program, all but descriptors, pid and fast; known as a number from now on, for ever. 0: there are too many. */
uint32_t kp_programs_number(struct kp_programs *p, const struct kp_start *start);
/* The same back, for the caller to fill in. False: there is no such number. */
bool kp_programs_start(struct kp_programs *p, uint32_t number, struct kp_start *ret);

#endif
