/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of files, and which of them running guests have mapped. */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "instance/procs.h"
#include "snapshot/internal.h"

#define MAPS_MAX (64U << 20)

void kp_inodes_add(struct kp_inodes *s, ino_t ino)
{
	struct kp_inode *i;

	HASH_FIND(hh, s->table, &ino, sizeof(ino), i);
	if (i)
		return;
	i = kp_calloc(1, sizeof(*i));
	i->ino = ino;
	HASH_ADD(hh, s->table, ino, sizeof(i->ino), i);
}

void kp_inodes_free(struct kp_inodes *s)
{
	struct kp_inode *i, *next;

	HASH_ITER (hh, s->table, i, next) {
		HASH_DEL(s->table, i);
		free(i);
	}
}

/* The device is not looked at: for some file systems it is not the one that stat tells. */
static bool add_maps(struct kp_inodes *s, const char *path)
{
	kp_autofree char *text = NULL;
	size_t len;

	if (kp_read_file(AT_FDCWD, path, MAPS_MAX, &text, &len) || !len)
		return false;
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line += !!line) {
		unsigned long long ino;
		char perms[5];

		if (sscanf(line, "%*s %4s %*s %*s %llu", perms, &ino) == 2 && perms[3] == 's' && ino)
			kp_inodes_add(s, (ino_t)ino);
	}
	return true;
}

void kp_inodes_mapped(struct kp_inodes *s, pid_t supervisor)
{
	struct kp_procs kp_autoprocs procs = {0};

	(void)kp_procs_scan(&procs);
	for (size_t i = 0; i < procs.count; i++) {
		kp_autofree char *tasks = kp_asprintf("/proc/%d/task", (int)procs.items[i].pid);
		DIR *d = kp_procs_descends(&procs, procs.items[i].pid, supervisor) ? opendir(tasks) : NULL;
		struct dirent *e;
		bool done = false;

		while (d && !done && (e = readdir(d))) { /* the first thread may have ended */
			kp_autofree char *path = kp_asprintf("%s/%s/maps", tasks, e->d_name);

			done = e->d_name[0] != '.' && add_maps(s, path);
		}
		if (d)
			(void)closedir(d);
	}
}
