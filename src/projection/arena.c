/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for the many small texts of a document, released at once. */
#include "projection/internal.h"

#define CHUNK 65536U

struct kp_arena {
	struct kp_arena *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void *kp_arena_get(struct kp_arena **a, size_t size)
{
	struct kp_arena *top = *a;
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (!top || top->size - top->used < size) {
		size_t room = top ? KP_MAX(size, (size_t)CHUNK) : KP_MAX(size, (size_t)2048);

		top = kp_calloc(1, sizeof(*top) + room);
		top->size = room;
		top->next = *a;
		*a = top;
	}
	p = top->data + top->used;
	top->used += size;
	return p;
}

char *kp_arena_text(struct kp_arena **a, const char *s, size_t len)
{
	char *copy = kp_arena_get(a, len + 1);

	if (len)
		memcpy(copy, s, len);
	return copy;
}

void kp_arena_free(struct kp_arena **a)
{
	while (*a) {
		struct kp_arena *next = (*a)->next;

		free(*a);
		*a = next;
	}
}
