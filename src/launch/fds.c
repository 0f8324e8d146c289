/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that our caller left open. */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "launch/launch.h"

static int *inherited;
static size_t inherited_count;

void kp_fds_at_start(void)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3 && fcntl(fd, F_SETFD, 0) == 0);
	(void)kp_close(fd);
	dir = opendir("/proc/self/fd");
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		fd = atoi(entry->d_name);
		if (fd < 3 || fd == dirfd(dir))
			continue;
		inherited = kp_realloc(inherited, (inherited_count + 1) * sizeof(*inherited));
		inherited[inherited_count++] = fd;
	}
	(void)closedir(dir);
}

void kp_fds_drop_inherited(void)
{
	for (size_t i = 0; i < inherited_count && !kp_fault("descriptors"); i++)
		(void)kp_close(inherited[i]);
	free(inherited);
	inherited = NULL;
	inherited_count = 0;
}
