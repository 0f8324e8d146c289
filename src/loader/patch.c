/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The call sites that other processes have proven, patched as soon as their file is mapped here: by the loader (interpreters, static
 * programs), and for libraries by the stub, which the interpreter's own mmap leads to. So nobody's first call has to be answered by
 * the supervisor for it, and a process has its jumps before it has threads.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kapsel/fast.h"
#include "loader/call.h"
#include "loader/patch.h"
#include "loader/site.h"

#define PAGE 4096ULL
#define WRITABLE (PROT_READ | PROT_WRITE | PROT_EXEC) /* other threads may be in there */

static const struct kp_fast *const fast = (const struct kp_fast *)KP_FAST_BASE;

const struct kp_sites_file *kp_patch_known(uint64_t ino)
{
	const struct kp_ident *ident = (const struct kp_ident *)KP_IDENT_BASE;
	uint32_t count;

	if (!ident->near || ident->near_used >= KP_NEAR_SLOTS)
		return NULL;
	count = kp_load32(&fast->site_files);
	for (uint32_t i = 0; i < count && i < KP_SITES_FILES; i++)
		if (fast->sites[i].ino == ino)
			return &fast->sites[i];
	return NULL;
}

static uint32_t gather(const struct kp_mapping *m, const struct kp_sites_file *f, uint64_t near, uint32_t room, struct kp_site_code s[KP_SITES_EACH])
{
	uint32_t known = kp_load32(&f->count), count = 0;

	for (uint32_t i = 0; i < known && i < KP_SITES_EACH && count < room; i++) {
		const struct kp_site *p = &f->place[i];
		struct kp_site_code *to = &s[count];

		if (p->offset < m->off + KP_SITE_CODE || p->offset > m->off + m->len || p->offset > m->size)
			continue;
		to->ip = p->offset - m->off + m->addr;
		kp_copy(to->bytes, (const void *)(to->ip - KP_SITE_CODE), KP_SITE_CODE);
		count += kp_site_is_near(near, to->ip) && kp_site_check(to, p->nr);
	}
	return count;
}

static bool protect(uint64_t addr, uint64_t len, int prot)
{
	return kp_call4(SYS_mprotect, addr, len, prot, 0) == 0;
}

/* Slots first: until then nothing leads to them. False: they cannot be written. */
static bool write_slots(struct kp_ident *ident, const struct kp_site_code *s, uint32_t count)
{
	uint64_t near = ident->near;
	uint32_t used = ident->near_used;

	if (!protect(near, KP_NEAR_SIZE, WRITABLE))
		return false;
	*(uint64_t *)near = KP_STUB_ENTRY;
	for (uint32_t i = 0; i < count; i++)
		kp_site_make_slot((uint8_t *)kp_site_slot_at(near, used + i), &s[i], kp_site_slot_at(near, used + i), near);
	ident->near_used = used + count;
	(void)protect(near, KP_NEAR_SIZE, PROT_READ | PROT_EXEC);
	return true;
}

static int open_prepared(const struct kp_sites_file *f, uint32_t number)
{
	char path[KP_PREPARED_PATH + 12], digits[12];
	size_t len = 0, count = 0;

	for (; len < KP_PREPARED_PATH && f->copy.path[len]; len++)
		path[len] = f->copy.path[len];
	for (; number; number /= 10)
		digits[count++] = (char)('0' + number % 10);
	while (count)
		path[len++] = digits[--count];
	path[len] = '\0';
	return (int)kp_gate(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)path, O_RDONLY | O_CLOEXEC, 0);
}

static bool map_of(int fd, uint64_t addr, uint64_t len, uint64_t flags, uint64_t off)
{
	return (uint64_t)kp_call6(SYS_mmap, addr, len, PROT_READ | PROT_EXEC, MAP_PRIVATE | flags, (uint64_t)fd, off) == addr;
}

bool kp_patch_prepared(const struct kp_mapping *m, const struct kp_sites_file *f)
{
	uint32_t prepared = kp_load32(&f->prepared);
	const struct kp_prepared *copy = &f->copy;
	uint64_t slots, signals;
	bool good;
	int fd;

	if (!prepared || m->dev != copy->dev || m->prot != (PROT_READ | PROT_EXEC) || m->off != copy->text_off || m->len != copy->text_len || m->addr < copy->below)
		return false;
	fd = open_prepared(f, prepared);
	if (fd < 0)
		return false;
	slots = m->addr - copy->below;
	good = map_of(fd, slots, KP_NEAR_SIZE, MAP_FIXED_NOREPLACE, copy->slots_off);
	if (good && !map_of(fd, m->addr, m->len, MAP_FIXED, m->off)) {
		good = false;
		kp_call4(SYS_munmap, slots, KP_NEAR_SIZE, 0, 0);
	}
	kp_call4(SYS_close, fd, 0, 0, 0);
	if (good && prepared < kp_load32(&f->count)) {
		signals = kp_block(~0ULL);
		kp_patch(m, f);
		kp_block(signals);
	}
	return good;
}

void kp_patch(const struct kp_mapping *m, const struct kp_sites_file *f)
{
	struct kp_ident *ident = (struct kp_ident *)KP_IDENT_BASE;
	struct kp_site_code s[KP_SITES_EACH];
	uint32_t used = ident->near_used, count = m->prot == (PROT_READ | PROT_EXEC) ? gather(m, f, ident->near, KP_NEAR_SLOTS - used, s) : 0;
	bool writable = m->writable;

	if (count && write_slots(ident, s, count) && (writable || protect(m->addr, m->len, WRITABLE))) {
		writable = true;
		for (uint32_t i = 0; i < count; i++)
			kp_site_make_jump((uint8_t *)kp_site_mov(&s[i]), &s[i], kp_site_slot_at(ident->near, used + i));
	}
	/* What was written may not be executed any more (SELinux, execmod): it is mapped anew, as it was. */
	if (writable && !protect(m->addr, m->len, m->prot) && m->fd >= 0)
		kp_call6(SYS_mmap, m->addr, m->len, (uint64_t)m->prot, MAP_PRIVATE | MAP_FIXED, (uint64_t)m->fd, m->off);
}
