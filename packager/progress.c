/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on standard error, when that is a terminal. */
#include <time.h>
#include <unistd.h>

#include "packager/pack.h"

#define BAR_WIDTH 40

void progress_init(struct progress *g, bool quiet)
{
	const char *term = getenv("TERM");

	*g = (struct progress){.shown = !quiet && isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"))};
}

void progress_show(uint64_t done, uint64_t total, void *ctx)
{
	static const char full[] = "########################################";
	struct progress *g = ctx;
	struct timespec t;
	int64_t now;
	int filled;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
	if (!g->shown || (now < g->next_ms && done < total))
		return;
	g->next_ms = now + 100;
	filled = total ? (int)(KP_MIN(done, total) * BAR_WIDTH / total) : BAR_WIDTH;
	fprintf(stderr, "\r[%.*s%*s] %3d%%", filled, full, BAR_WIDTH - filled, "",
		total ? (int)(KP_MIN(done, total) * 100 / total) : 100);
	(void)fflush(stderr);
}

void progress_clear(struct progress *g)
{
	if (g->shown && g->next_ms)
		fprintf(stderr, "\r\033[K");
	g->shown = false;
}
