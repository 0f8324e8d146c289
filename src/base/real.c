/* SPDX-License-Identifier: Apache-2.0 */
/* realpath(3) for many paths that begin alike, as a start asks for. */
#include <limits.h>
#include <unistd.h>

#include "base/base.h"

#define KNOWN 16

/* Directories that no symlink leads through, newest last; this thread found them so a moment ago. */
static _Thread_local char known[KNOWN][128];
static _Thread_local size_t known_count;

/* How much of path is known: the length of the longest such directory. */
static size_t known_part(const char *path)
{
	size_t best = 0;

	for (size_t i = 0; i < KNOWN; i++) {
		const char *rest = known[i][0] ? kp_path_below(path, known[i]) : NULL;

		if (rest && *rest)
			best = KP_MAX(best, (size_t)(rest - path));
	}
	return best;
}

static void note(const char *dir)
{
	size_t len = strlen(dir);

	if (len < sizeof(known[0]))
		memcpy(known[known_count++ % KNOWN], dir, len + 1);
}

static bool is_plain(const char *path)
{
	size_t len = strlen(path);

	return path[0] == '/' && len > 1 && len < PATH_MAX && path[len - 1] != '/' && !strstr(path, "//") && !strstr(path, "/./") &&
	       !strstr(path, "/../") && strcmp(path + len - 2, "/.") != 0 && (len < 3 || strcmp(path + len - 3, "/..") != 0);
}

char *kp_real_path(const char *path)
{
	char head[PATH_MAX], link[1];
	size_t at;

	if (!is_plain(path))
		return realpath(path, NULL);
	for (at = known_part(path); path[at];) {
		at += 1 + strcspn(path + at + 1, "/");
		memcpy(head, path, at);
		head[at] = '\0';
		if (readlink(head, link, sizeof(link)) >= 0)
			return realpath(path, NULL);
		if (errno != EINVAL)
			return NULL;
		if (path[at])
			note(head);
	}
	return kp_strdup(path);
}
