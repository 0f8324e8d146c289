/* SPDX-License-Identifier: Apache-2.0 */
/* Proven call sites, by file. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/base.h"
#include "sys/sites.h"

#define PAGE 4096U

bool kp_sites_find(struct kp_sites *s, uint64_t ip, uint32_t nr, struct kp_sites_file *ret, uint64_t *ret_base)
{
	bool found = false;

	pthread_mutex_lock(&s->lock);
	for (size_t f = 0; f < s->count && !found; f++)
		for (uint32_t i = 0; i < s->file[f].count && !found; i++) {
			const struct kp_start_site *p = &s->file[f].place[i];

			if (p->nr != nr || (p->offset ^ ip) % PAGE)
				continue;
			found = true;
			*ret = s->file[f];
			*ret_base = ip - p->offset;
		}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* The file that is mapped, executable, where ip is, and ip's place in it. */
static bool place_of(pid_t tid, uint64_t ip, uint64_t *ret_ino, uint64_t *ret_offset)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/maps", tid), *text = NULL;
	uint64_t begin, end, offset, ino;
	char mode[5];

	if (kp_read_file(AT_FDCWD, path, 1U << 20, &text, NULL))
		return false;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %" SCNu64, &begin, &end, mode, &offset, &ino) != 5 || ip <= begin ||
		    ip > end)
			continue;
		*ret_ino = ino;
		*ret_offset = ip - begin + offset;
		return ino && mode[2] == 'x';
	}
	return false;
}

/* With the lock held. NULL: there is no room. */
static struct kp_sites_file *file_of(struct kp_sites *s, uint64_t ino)
{
	for (size_t f = 0; f < s->count; f++)
		if (s->file[f].ino == ino)
			return &s->file[f];
	if (s->count == KP_SITES_FILES)
		return NULL;
	s->file[s->count] = (struct kp_sites_file){.ino = ino};
	return &s->file[s->count++];
}

void kp_sites_learn(struct kp_sites *s, pid_t tid, uint64_t ip, uint32_t nr)
{
	struct kp_sites_file *f;
	uint64_t ino, offset;
	bool known = false;

	if (!place_of(tid, ip, &ino, &offset))
		return;
	pthread_mutex_lock(&s->lock);
	f = file_of(s, ino);
	for (uint32_t i = 0; f && i < f->count; i++)
		known |= f->place[i].offset == offset;
	if (f && !known && f->count < KP_SITES_EACH)
		f->place[f->count++] = (struct kp_start_site){.offset = offset, .nr = nr};
	pthread_mutex_unlock(&s->lock);
}

void kp_sites_tell(struct kp_sites *s, uint64_t ino, struct kp_start *start)
{
	pthread_mutex_lock(&s->lock);
	for (size_t f = 0; f < s->count; f++)
		if (s->file[f].ino == ino)
			while (start->site_count < KP_MIN(s->file[f].count, KP_START_SITES)) {
				start->sites[start->site_count] = s->file[f].place[start->site_count];
				start->site_count++;
			}
	pthread_mutex_unlock(&s->lock);
}
