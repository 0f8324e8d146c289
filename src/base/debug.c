/* SPDX-License-Identifier: Apache-2.0 */
/* Debug areas, chosen at run time by name: KAPSEL_DEBUG=help|all|AREA,... */
#include <stdio.h>
#include <strings.h>

#include "base/base.h"

unsigned kp_debug_enabled;
_Thread_local void (*kp_slow_hook)(void *ctx);
_Thread_local void *kp_slow_ctx;

static const struct {
	const char *name;
	unsigned mask;
	const char *help;
} areas[] = {
	{"image", KP_DBG_IMAGE, "opening and reading images"},
	{"store", KP_DBG_STORE, "objects written and found in the store"},
	{"vfs", KP_DBG_VFS, "path resolution, copy-up, whiteouts"},
	{"trap", KP_DBG_TRAP, "notifications, rewritten calls"},
	{"exec", KP_DBG_EXEC, "program start"},
	{"launch", KP_DBG_LAUNCH, "front, supervisor, control socket"},
	{"pack", KP_DBG_PACK, "what the packager adds and why"},
};

static void print_help(void)
{
	fprintf(stderr, "KAPSEL_DEBUG takes a comma-separated list of:\n");
	for (size_t i = 0; i < KP_ARRAY_LEN(areas); i++)
		fprintf(stderr, "  %-8s %s\n", areas[i].name, areas[i].help);
	fprintf(stderr, "  %-8s everything\n", "all");
}

bool kp_debug_init(void)
{
	const char *s = secure_getenv("KAPSEL_DEBUG");

	if (!s)
		return false;
	if (!strcmp(s, "help")) {
		print_help();
		return true;
	}
	while (*s) {
		size_t len = strcspn(s, ",");

		if (len == 3 && !strncmp(s, "all", 3))
			kp_debug_enabled = ~0U;
		for (size_t i = 0; i < KP_ARRAY_LEN(areas); i++)
			if (strlen(areas[i].name) == len && !strncmp(s, areas[i].name, len))
				kp_debug_enabled |= areas[i].mask;
		s += len + (s[len] == ',');
	}
	return false;
}

#ifdef KP_FAULTS
bool kp_fault(const char *name)
{
	const char *s = secure_getenv("KAPSEL_FAULT");
	size_t len = strlen(name);

	for (; s && *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ','))
		if (!strncmp(s, "all", 3) || (!strncmp(s, name, len) && (s[len] == ',' || !s[len])))
			return true;
	return false;
}
#endif

void kp_debug_print(const char *area, const char *fmt, ...)
{
	char line[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	kp_printable(line);
	fprintf(stderr, "kapsel[%s]: %s\n", area, line);
}
