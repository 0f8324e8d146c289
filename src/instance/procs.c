/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at and ending processes by way of /proc. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "instance/procs.h"

static bool read_stat(pid_t pid, struct kp_proc *ret_proc)
{
	kp_autofree char *text = NULL;
	char path[64], *end;
	size_t len;
	int ppid;
	char state;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (kp_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
		return false;
	end = strrchr(text, ')'); /* the name may hold anything */
	if (!end || sscanf(end + 1, " %c %d", &state, &ppid) != 2)
		return false;
	*ret_proc = (struct kp_proc){pid, ppid, state};
	return true;
}

int kp_procs_scan(struct kp_procs *procs)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (!dir)
		return -errno;
	procs->count = 0;
	while ((entry = readdir(dir))) {
		struct kp_proc proc;
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid <= 0 || *end || !read_stat((pid_t)pid, &proc))
			continue;
		if (procs->count == procs->cap) {
			procs->cap = procs->cap ? 2 * procs->cap : 128;
			procs->items = kp_realloc(procs->items, procs->cap * sizeof(*procs->items));
		}
		procs->items[procs->count++] = proc;
	}
	(void)closedir(dir);
	return 0;
}

void kp_procs_free(struct kp_procs *procs)
{
	free(procs->items);
	*procs = (struct kp_procs){0};
}

static pid_t parent_of(const struct kp_procs *procs, pid_t pid)
{
	for (size_t i = 0; i < procs->count; i++)
		if (procs->items[i].pid == pid)
			return procs->items[i].ppid;
	return 0;
}

bool kp_procs_descends(const struct kp_procs *procs, pid_t pid, pid_t ancestor)
{
	/* A snapshot is not taken at one instant: bound the walk rather than trust it to have no loop. */
	for (size_t i = 0; i <= procs->count && pid > 0; i++) {
		pid = parent_of(procs, pid);
		if (pid == ancestor)
			return true;
	}
	return false;
}

bool kp_proc_runs(pid_t pid, const char *host_path)
{
	char link[64], path[4200];
	size_t len = strlen(host_path);
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || (size_t)n < len || memcmp(path, host_path, len))
		return false;
	path[n] = '\0';
	return !path[len] || !strcmp(path + len, " (deleted)");
}

size_t kp_procs_kill_running(const char *host_path)
{
	struct kp_procs kp_autoprocs procs = {0};
	size_t seen = 0;

	if (kp_procs_scan(&procs) < 0)
		return 0;
	for (size_t i = 0; i < procs.count; i++) {
		if (procs.items[i].state == 'Z' || !kp_proc_runs(procs.items[i].pid, host_path))
			continue;
		(void)kill(procs.items[i].pid, SIGKILL);
		seen++;
	}
	return seen;
}

uint64_t kp_proc_pss(pid_t pid)
{
	kp_autofree char *text = NULL;
	unsigned long long kib = 0;
	char path[64], *line;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (kp_read_file(AT_FDCWD, path, 65536, &text, &len) < 0)
		return 0;
	line = strstr(text, "\nPss:");
	if (!line || sscanf(line + 5, "%llu", &kib) != 1)
		return 0;
	return kib;
}
