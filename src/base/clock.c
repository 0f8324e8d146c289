/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "base/base.h"

int64_t kp_clock_us(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
