/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of files, and which of them running guests have mapped. */
#include <fcntl.h>
#include <unistd.h>

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

bool kp_inodes_have(const struct kp_inodes *s, ino_t ino)
{
	struct kp_inode *i = NULL;

	if (s)
		HASH_FIND(hh, s->table, &ino, sizeof(ino), i);
	return i;
}

/* The device is not looked at: for some file systems it is not the one that stat tells. */
bool kp_inodes_mapped(struct kp_inodes *s, pid_t tid)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/maps", (int)tid), *text = NULL;
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
