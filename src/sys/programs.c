/* SPDX-License-Identifier: Apache-2.0 */
/* Known programs: a small table in which each has one place, and the last one stays. */
#include <string.h>

#include "base/base.h"
#include "sys/programs.h"

#define PLACES 64U
#define INTERP 64U /* bytes of a name that is worth remembering */

struct kp_known_program {
	bool used;
	size_t layer;
	uint32_t entry;
	struct kp_elf_info info;
	struct kp_start_file file;
	char interp[INTERP];
};

void kp_programs_init(struct kp_programs *p)
{
	pthread_mutex_init(&p->lock, NULL);
	p->known = kp_calloc(PLACES, sizeof(*p->known));
	p->start_count = 1;
}

void kp_programs_free(struct kp_programs *p)
{
	for (uint32_t i = 1; i < p->start_count; i++)
		free(p->starts[i]);
	free(p->known);
	pthread_mutex_destroy(&p->lock);
}

static struct kp_known_program *place(struct kp_programs *p, const struct kp_node *n)
{
	return &p->known[(n->entry ^ (uint32_t)n->layer << 5) % PLACES];
}

bool kp_programs_find(struct kp_programs *p, const struct kp_node *n, struct kp_program *ret)
{
	const struct kp_known_program *k = place(p, n);
	bool found;

	if (n->origin != KP_IMAGE)
		return false;
	pthread_mutex_lock(&p->lock);
	found = k->used && k->layer == n->layer && k->entry == n->entry;
	if (found) {
		ret->info = k->info;
		ret->file = k->file;
		memcpy(ret->interp, k->interp, sizeof(k->interp));
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

void kp_programs_learn(struct kp_programs *p, const struct kp_node *n, const struct kp_program *what)
{
	struct kp_known_program *k = place(p, n);

	if (n->origin != KP_IMAGE || strlen(what->interp) >= INTERP)
		return;
	pthread_mutex_lock(&p->lock);
	*k = (struct kp_known_program){.used = true, .layer = n->layer, .entry = n->entry, .info = what->info, .file = what->file};
	memcpy(k->interp, what->interp, strlen(what->interp));
	pthread_mutex_unlock(&p->lock);
}

static size_t size_of(const struct kp_start *s)
{
	return offsetof(struct kp_start, strings) + s->strings_len;
}

uint32_t kp_programs_number(struct kp_programs *p, const struct kp_start *start)
{
	size_t size = size_of(start);
	uint32_t number = 0;

	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 1; i < p->start_count && !number; i++)
		if (size_of(p->starts[i]) == size && !memcmp(p->starts[i], start, size))
			number = i;
	if (!number && p->start_count < KP_LOADER_NAMES) {
		number = p->start_count++;
		p->starts[number] = kp_calloc(1, size);
		memcpy(p->starts[number], start, size);
	}
	pthread_mutex_unlock(&p->lock);
	return number;
}

bool kp_programs_start(struct kp_programs *p, uint32_t number, struct kp_start *ret)
{
	bool found;

	pthread_mutex_lock(&p->lock);
	found = number && number < p->start_count;
	if (found)
		memcpy(ret, p->starts[number], size_of(p->starts[number]));
	pthread_mutex_unlock(&p->lock);
	return found;
}
