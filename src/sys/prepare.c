/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries' code with the jumps of the fast path in it: what each process would patch for itself when it maps the library (loader/patch.c), a dozen
 * pages copied and protected anew, is done once a run, in a file that all of them map. The stub maps it in place of the
 * library's text; who opens the library still reads the library.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/elf.h"
#include "loader/site.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/internal.h"

#define LOOK_EVERY 16U       /* programs: what was learned by two looks in a row is all that there is for now */
#define HEAD 4096U           /* where program headers are */
#define TEXT_MAX (64U << 20)
#define BASE (1ULL << 32)    /* jumps and slots say how far it is, not where */

struct copy {
	int fd;
	struct stat st;
	Elf64_Phdr text;
	uint8_t *bytes; /* of the text, in whole pages */
	uint8_t slots[KP_NEAR_SIZE];
	struct kp_sites_file f;
};

/* The one segment of code that has all the places, of what can be mapped anywhere and begins at its first byte. */
static bool find_text(struct copy *c)
{
	char head[HEAD];
	struct kp_elf_info info;
	struct kp_elf_span span;
	ssize_t n = pread(c->fd, head, sizeof(head), 0);
	bool found = false;

	if (n < 0 || kp_elf_check(head, (size_t)n, (uint64_t)c->st.st_size, &info) || info.type != ET_DYN ||
	    kp_elf_span(head + info.phoff, &info, &span) || span.lo != 0)
		return false;
	for (size_t i = 0; i < info.phnum && !found; i++) {
		uint64_t at;

		memcpy(&c->text, head + info.phoff + i * sizeof(c->text), sizeof(c->text));
		at = kp_elf_page_down(c->text.p_offset);
		found = c->text.p_type == PT_LOAD && c->text.p_flags == (PF_R | PF_X) && c->text.p_filesz < TEXT_MAX &&
			c->text.p_offset + c->text.p_filesz <= (uint64_t)c->st.st_size;
		for (uint32_t k = 0; k < c->f.count && found; k++)
			found = c->f.place[k].offset >= at + KP_SITE_CODE && c->f.place[k].offset <= c->text.p_offset + c->text.p_filesz;
	}
	c->f.copy.dev = c->st.st_dev;
	c->f.copy.text_off = kp_elf_page_down(c->text.p_offset);
	c->f.copy.text_len = kp_elf_page_up(c->text.p_offset + c->text.p_filesz) - c->f.copy.text_off;
	c->f.copy.slots_off = kp_elf_page_up((uint64_t)c->st.st_size);
	c->f.copy.below = kp_elf_page_down(c->text.p_vaddr) + KP_NEAR_SIZE;
	return found;
}

/* As a page of slots right below the library would have it. */
static bool put_jumps(struct copy *c)
{
	const uint64_t near = BASE - KP_NEAR_SIZE, entry = KP_STUB_ENTRY, text = BASE + kp_elf_page_down(c->text.p_vaddr);
	size_t whole = KP_MIN((size_t)c->f.copy.text_len, (size_t)c->st.st_size - c->f.copy.text_off);

	c->bytes = kp_calloc(1, c->f.copy.text_len);
	if (kp_pread_full(c->fd, c->bytes, whole, c->f.copy.text_off))
		return false;
	memcpy(c->slots, &entry, sizeof(entry));
	for (uint32_t i = 0; i < c->f.count; i++) {
		uint64_t at = c->f.place[i].offset - c->f.copy.text_off, slot = kp_site_slot_at(near, i);
		struct kp_site_code s = {.ip = text + at};

		memcpy(s.bytes, c->bytes + at - KP_SITE_CODE, KP_SITE_CODE);
		if (!kp_site_check(&s, c->f.place[i].nr) || !kp_site_is_near(near, s.ip))
			continue;
		kp_site_make_slot(c->slots + (slot - near), &s, slot, near);
		kp_site_make_jump(c->bytes + (kp_site_mov(&s) - text), &s, slot);
	}
	return true;
}

static bool write_copy(const struct copy *c, const char *path)
{
	kp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
	bool good = fd >= 0 && pwrite(fd, c->bytes, c->f.copy.text_len, (off_t)c->f.copy.text_off) == (ssize_t)c->f.copy.text_len &&
		    pwrite(fd, c->slots, sizeof(c->slots), (off_t)c->f.copy.slots_off) == (ssize_t)sizeof(c->slots);

	if (!good)
		KP_DEBUG(TRAP, "%s: %s", path, strerror(errno));
	if (!good && fd >= 0)
		(void)unlink(path);
	return good;
}

/* The copy's path but for the number at its end. */
static bool name_copy(struct kp_vfs *v, const char *file, struct kp_prepared *copy)
{
	struct kp_mapped m;
	int n;

	kp_vfs_read_lock(v);
	kp_map_host(v, file, &m);
	kp_vfs_unlock(v);
	if (m.kind != KP_MAP_IMAGE)
		return false;
	n = snprintf(copy->path, sizeof(copy->path), "%s/%zu.%u.%" PRIx64 ".", v->code.s, m.layer, m.entry, copy->slots_off);
	return n > 0 && (size_t)n < sizeof(copy->path);
}

/* c->f is as guests know the file now. False: there will be none. */
static bool make(struct kp_engine *e, struct copy *c, const char *file, struct kp_sites_file *to)
{
	uint32_t before = c->f.prepared, count = c->f.count;
	kp_autofree char *path = NULL, *old = NULL;

	c->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (c->fd < 0 || fstat(c->fd, &c->st) < 0 || !S_ISREG(c->st.st_mode) || c->st.st_ino != c->f.ino || !find_text(c) ||
	    !name_copy(e->vfs, file, &c->f.copy) || !put_jumps(c))
		return false;
	path = kp_asprintf("%s%u", c->f.copy.path, count);
	old = kp_asprintf("%s%u", c->f.copy.path, before);
	if (!write_copy(c, path))
		return false;
	pthread_mutex_lock(&e->sites.lock);
	if (!*to->copy.path) /* the same ever after */
		to->copy = c->f.copy;
	pthread_mutex_unlock(&e->sites.lock);
	if (!kp_fast_put_prepared(e->vfs, &c->st, to, count)) {
		(void)unlink(path);
		return false;
	}
	KP_DEBUG(TRAP, "%s: %u call sites are jumps in %s", file, count, path);
	if (before)
		(void)unlink(old); /* who has it mapped keeps it; who is about to open it patches for himself */
	return true;
}

/* Has that file got places that its copy has not, and none since the last look? One thread at a time works on a file: to the others it is refused. */
static bool take(struct kp_sites *s, uint32_t i)
{
	const struct kp_sites_file *f = &s->mem->sites[i];
	bool due;

	pthread_mutex_lock(&s->lock);
	due = !s->own[i].refused && f->count && f->count != f->prepared && f->count == s->own[i].seen;
	s->own[i].seen = f->count;
	s->own[i].refused |= due;
	pthread_mutex_unlock(&s->lock);
	return due;
}

static void give_back(struct kp_sites *s, uint32_t i, bool good)
{
	pthread_mutex_lock(&s->lock);
	s->own[i].refused = !good;
	pthread_mutex_unlock(&s->lock);
}

static bool prepare(struct kp_engine *e, uint32_t i)
{
	struct kp_sites *s = &e->sites;
	struct copy *c = kp_calloc(1, sizeof(*c));
	bool good;

	c->fd = -1;
	pthread_mutex_lock(&s->lock);
	c->f = s->mem->sites[i];
	pthread_mutex_unlock(&s->lock);
	good = make(e, c, s->own[i].path, &s->mem->sites[i]);
	(void)kp_close(c->fd);
	free(c->bytes);
	free(c);
	return good;
}

void kp_prepare(struct kp_engine *e)
{
	struct kp_sites *s = &e->sites;
	uint32_t count;

	if (!e->fast || atomic_fetch_add(&e->starts, 1) % LOOK_EVERY != LOOK_EVERY - 1)
		return;
	count = __atomic_load_n(&s->mem->site_files, __ATOMIC_ACQUIRE);
	for (uint32_t i = 0; i < count; i++)
		if (take(s, i)) {
			kp_going_slow();
			give_back(s, i, prepare(e, i));
		}
}
