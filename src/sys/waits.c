/* SPDX-License-Identifier: Apache-2.0 */
/* What the supervisor holds for calls that wait, for all guests together: bounded, so that none of them takes it all. */
#include "sys/internal.h"

#define CALLS_MAX 1024
#define BYTES_MAX (64U << 20)

bool kp_waits_take(struct kp_engine *e, size_t bytes, unsigned descriptors)
{
	struct kp_waits *w = &e->waits;
	bool calls = atomic_fetch_add(&w->calls, 1) < CALLS_MAX;
	bool room = atomic_fetch_add(&w->bytes, bytes) + bytes <= BYTES_MAX;
	bool numbers = atomic_fetch_add(&w->descriptors, descriptors) + descriptors <= e->limit.own_files / 2;

	if (calls && room && numbers)
		return true;
	kp_waits_give(e, bytes, descriptors);
	return false;
}

void kp_waits_give(struct kp_engine *e, size_t bytes, unsigned descriptors)
{
	atomic_fetch_sub(&e->waits.bytes, bytes);
	atomic_fetch_sub(&e->waits.descriptors, descriptors);
	atomic_fetch_sub(&e->waits.calls, 1); /* last: who ends the engine looks at it */
}
