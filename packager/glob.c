/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns on absolute paths: * and ? within a name, ** across names, [...] as in fnmatch(3). */
#include <fnmatch.h>

#include "packager/pack.h"

#define MAX_NAMES 256

/* Splits a path in place; returns how many names, or -1. */
static int split(char *path, char **names)
{
	int n = 0;

	for (char *p = path; *p;) {
		while (*p == '/')
			*p++ = '\0';
		if (!*p)
			break;
		if (n == MAX_NAMES)
			return -1;
		names[n++] = p;
		p += strcspn(p, "/");
	}
	return n;
}

/* From the pattern's end: now[j] says whether its rest matches the names from j on. At the end of a pattern, ** is
 * at least one name ("dir/" "**" is what stands below dir); elsewhere it may be none. */
bool glob_match(const char *pattern, const char *path)
{
	kp_autofree char *pattern_text = kp_strdup(pattern), *path_text = kp_strdup(path);
	char *pats[MAX_NAMES], *names[MAX_NAMES];
	bool rest[MAX_NAMES + 2] = {false}, now[MAX_NAMES + 2] = {false};
	int np = split(pattern_text, pats), nn = split(path_text, names);

	if (np < 0 || nn < 0)
		return false;
	rest[nn] = true;
	for (int i = np - 1; i >= 0; i--) {
		bool deep = !strcmp(pats[i], "**");

		for (int j = nn; j >= 0; j--) {
			if (deep)
				now[j] = i == np - 1 ? j < nn : rest[j] || (j < nn && now[j + 1]);
			else
				now[j] = j < nn && rest[j + 1] && fnmatch(pats[i], names[j], 0) == 0;
		}
		memcpy(rest, now, sizeof(rest));
	}
	return rest[0];
}
