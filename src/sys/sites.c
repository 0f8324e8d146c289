/* SPDX-License-Identifier: Apache-2.0 */
/* Known call sites, by file. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/base.h"
#include "sys/sites.h"

#define PAGE 4096U
#define INTERP_MAX (8U << 20)

void kp_sites_init(struct kp_sites *s)
{
	pthread_mutex_init(&s->lock, NULL);
}

void kp_sites_free(struct kp_sites *s)
{
	for (size_t i = 0; i < KP_ARRAY_LEN(s->own); i++)
		free(s->own[i].path);
	pthread_mutex_destroy(&s->lock);
}

bool kp_sites_find(struct kp_sites *s, uint64_t ip, uint32_t nr, struct kp_sites_file *ret, uint64_t *ret_base)
{
	bool found = false;

	pthread_mutex_lock(&s->lock);
	for (uint32_t f = 0; f < s->mem->site_files && !found; f++)
		for (uint32_t i = 0; i < s->mem->sites[f].count && !found; i++) {
			const struct kp_site *p = &s->mem->sites[f].place[i];

			if ((p->nr != nr && p->nr != KP_SITE_ANY) || (p->offset ^ ip) % PAGE)
				continue;
			found = true;
			*ret = s->mem->sites[f];
			*ret_base = ip - p->offset;
		}
	pthread_mutex_unlock(&s->lock);
	return found;
}

struct place {
	uint64_t ino, offset;
	char path[PATH_MAX]; /* host path */
};

/* The file that is mapped, executable, where ip is, and ip's place in it. */
static bool place_of(pid_t tid, uint64_t ip, struct place *ret)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/maps", tid), *text = NULL;
	uint64_t begin, end, offset, ino;
	const char *at;
	char mode[5];

	if (kp_read_file(AT_FDCWD, path, 1U << 20, &text, NULL))
		return false;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %" SCNu64, &begin, &end, mode, &offset, &ino) != 5 || ip <= begin ||
		    ip > end)
			continue;
		ret->ino = ino;
		ret->offset = ip - begin + offset;
		at = memchr(line, '/', strcspn(line, "\n"));
		(void)snprintf(ret->path, sizeof(ret->path), "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
		return ino && mode[2] == 'x';
	}
	return false;
}

/* With the lock held. NULL: there is none. */
static struct kp_sites_file *file_of(const struct kp_sites *s, uint64_t ino)
{
	for (uint32_t f = 0; f < s->mem->site_files; f++)
		if (s->mem->sites[f].ino == ino)
			return &s->mem->sites[f];
	return NULL;
}

/* With the lock held: the file that path is a prepared copy of. NULL: it is none. */
static struct kp_sites_file *prepared_as(const struct kp_sites *s, const char *path)
{
	for (uint32_t f = 0; f < s->mem->site_files; f++) {
		const char *copy = s->mem->sites[f].copy.path;

		if (*copy && !strncmp(path, copy, strlen(copy)))
			return &s->mem->sites[f];
	}
	return NULL;
}

/* With the lock held. NULL: there is no room. */
static struct kp_sites_file *add_file(struct kp_sites *s, uint64_t ino, const char *path)
{
	uint32_t count = s->mem->site_files;

	if (count == KP_SITES_FILES)
		return NULL;
	s->mem->sites[count].ino = ino;
	s->own[count].path = kp_strdup(path);
	__atomic_store_n(&s->mem->site_files, count + 1, __ATOMIC_RELEASE);
	return &s->mem->sites[count];
}

/* With the lock held. */
static void add_place(struct kp_sites_file *f, uint64_t offset, uint32_t nr)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (f->place[i].offset == offset)
			return;
	if (f->count == KP_SITES_EACH)
		return;
	f->place[f->count] = (struct kp_site){.offset = offset, .nr = nr};
	__atomic_store_n(&f->count, f->count + 1, __ATOMIC_RELEASE);
}

void kp_sites_learn(struct kp_sites *s, pid_t tid, uint64_t ip, uint32_t nr)
{
	struct kp_sites_file *f;
	struct place p;

	if (!place_of(tid, ip, &p))
		return;
	pthread_mutex_lock(&s->lock);
	f = prepared_as(s, p.path);
	f = f ? f : file_of(s, p.ino);
	f = f ? f : add_file(s, p.ino, p.path);
	if (f)
		add_place(f, p.offset, nr);
	pthread_mutex_unlock(&s->lock);
}

void kp_sites_read(struct kp_sites *s, int fd, uint64_t ino, const char *path)
{
	/* mov $SYS_mmap,%eax; syscall; cmp $-4096,%rax: as part of anything else these make no sense. */
	static const uint8_t maps[] = {0xb8, 0x09, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff};
	const size_t site = 7;
	struct kp_sites_file *f;
	const uint8_t *text, *at;
	struct stat st;
	size_t size;
	bool known;

	pthread_mutex_lock(&s->lock);
	known = file_of(s, ino);
	f = known ? NULL : add_file(s, ino, path);
	pthread_mutex_unlock(&s->lock);
	/* Of the store alone: what nobody makes shorter while it is looked at. */
	if (!f || fstat(fd, &st) < 0 || st.st_size > INTERP_MAX)
		return;
	size = (size_t)st.st_size;
	text = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		return;
	at = memmem(text, size, maps, sizeof(maps));
	if (at && memmem(at + 1, size - (size_t)(at + 1 - text), maps, sizeof(maps)))
		at = NULL;
	(void)munmap((void *)(uintptr_t)text, size);
	if (!at)
		return;
	pthread_mutex_lock(&s->lock);
	add_place(f, (uint64_t)(at - text) + site, SYS_mmap);
	pthread_mutex_unlock(&s->lock);
}
