/* SPDX-License-Identifier: Apache-2.0 */
/* Kapsel's own directories, which no mode shows. */
#include <limits.h>
#include <unistd.h>

#include "launch/internal.h"

static void put_private(char ***dirs, size_t *count, char *path)
{
	if (!path)
		return;
	*dirs = kp_realloc(*dirs, (*count + 1) * sizeof(**dirs));
	(*dirs)[(*count)++] = kp_host_of(path);
	free(path);
}

static char *in_env(const char *variable, const char *otherwise, const char *name)
{
	const char *dir = getenv(variable), *home = getenv("HOME");

	if (dir && dir[0] == '/')
		return kp_asprintf("%s/%s", dir, name);
	return otherwise && home && home[0] == '/' ? kp_asprintf("%s/%s/%s", home, otherwise, name) : NULL;
}

static char *above(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash > path ? kp_asprintf("%.*s", (int)(slash - path), path) : NULL;
}

char **kp_private_dirs(const char *instance_dir, const char *run_dir, const char *store_root, size_t *ret_count)
{
	unsigned uid = (unsigned)geteuid();
	char **dirs = NULL;
	size_t count = 0;

	put_private(&dirs, &count, above(instance_dir));
	put_private(&dirs, &count, above(run_dir));
	put_private(&dirs, &count, store_root[0] ? kp_strdup(store_root) : NULL); /* explaining needs no store */
	put_private(&dirs, &count, in_env("XDG_DATA_HOME", ".local/share", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_CACHE_HOME", ".cache", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_CONFIG_HOME", ".config", "kapsel"));
	put_private(&dirs, &count, in_env("XDG_RUNTIME_DIR", NULL, "kapsel"));
	put_private(&dirs, &count, in_env("XDG_RUNTIME_DIR", NULL, "kapsel-store"));
	put_private(&dirs, &count, kp_asprintf("/var/tmp/kapsel-%u", uid));
	put_private(&dirs, &count, kp_asprintf("/dev/shm/kapsel-%u", uid));
	put_private(&dirs, &count, kp_asprintf("/tmp/kapsel-%u", uid));
	*ret_count = count;
	return dirs;
}

void kp_private_dirs_free(char **dirs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(dirs[i]);
	free(dirs);
}
