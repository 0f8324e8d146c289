/* SPDX-License-Identifier: Apache-2.0 */
/* ELF checks shared by the loader and the supervisor: pure arithmetic on bytes, no libc. */
#ifndef KAPSEL_LOADER_ELF_H
#define KAPSEL_LOADER_ELF_H

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KP_ELF_PAGE 4096ULL
static inline uint64_t kp_elf_page_down(uint64_t v)
{
	return v & ~(KP_ELF_PAGE - 1);
}

static inline uint64_t kp_elf_page_up(uint64_t v)
{
	return kp_elf_page_down(v + KP_ELF_PAGE - 1);
}

#define KP_ELF_TASK_SIZE 0x7ffffffff000ULL
#define KP_ELF_MAX_PHDRS 65536U /* bytes, the kernel's own limit */

struct kp_elf_info {
	uint16_t type; /* ET_EXEC or ET_DYN */
	uint16_t machine;
	uint16_t phnum;
	bool has_interp;
	bool exec_stack;
	uint64_t entry;
	uint64_t phoff;
	uint64_t interp_off; /* with its NUL, 2..4096 bytes; the bytes are the caller's to read */
	uint64_t interp_len;
};

/* Where the loadable segments lie, before a load bias. */
struct kp_elf_span {
	uint64_t lo, hi; /* page-aligned */
	uint64_t align;
	uint64_t start_code, end_code, start_data, end_data, brk;
	uint64_t phdr; /* 0 where no segment holds the program headers */
};

/* The header alone: 0 or -ENOEXEC. Fills type, machine, entry, phoff and phnum. */
static inline int kp_elf_check_header(const void *buf, size_t len, struct kp_elf_info *ret)
{
	Elf64_Ehdr eh;
	struct kp_elf_info info = {0};

	if (len < sizeof(eh))
		return -ENOEXEC;
	__builtin_memcpy(&eh, buf, sizeof(eh));
	if (eh.e_ident[0] != ELFMAG0 || eh.e_ident[1] != ELFMAG1 || eh.e_ident[2] != ELFMAG2 ||
	    eh.e_ident[3] != ELFMAG3 || eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64)
		return -ENOEXEC;
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return -ENOEXEC;
	if (eh.e_phentsize != sizeof(Elf64_Phdr) || !eh.e_phnum ||
	    eh.e_phnum * sizeof(Elf64_Phdr) > KP_ELF_MAX_PHDRS || eh.e_phoff > INT64_MAX - KP_ELF_MAX_PHDRS)
		return -ENOEXEC;
	info.type = eh.e_type;
	info.machine = eh.e_machine;
	info.phnum = eh.e_phnum;
	info.entry = eh.e_entry;
	info.phoff = eh.e_phoff;
	*ret = info;
	return 0;
}

/* The program headers of a checked header (phnum of them, any alignment): 0 or -ENOEXEC, as the
 * kernel refuses them while execve can still fail. Fills the rest of *info. */
static inline int kp_elf_check_phdrs(const void *phdrs, struct kp_elf_info *info)
{
	for (size_t i = 0; i < info->phnum; i++) {
		Elf64_Phdr ph;

		__builtin_memcpy(&ph, (const char *)phdrs + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_GNU_STACK)
			info->exec_stack = ph.p_flags & PF_X;
		if (ph.p_type != PT_INTERP || info->has_interp)
			continue;
		if (ph.p_filesz < 2 || ph.p_filesz > 4096 || ph.p_offset > INT64_MAX - 4096)
			return -ENOEXEC;
		info->has_interp = true;
		info->interp_off = ph.p_offset;
		info->interp_len = ph.p_filesz;
	}
	return 0;
}

/* The first len bytes of a file of file_size bytes: 0; -ENOEXEC; -ENODATA when the headers are fine
 * but the program headers lie beyond len: read phnum of them at ret->phoff, then kp_elf_check_phdrs(). */
static inline int kp_elf_check(const void *buf, size_t len, uint64_t file_size, struct kp_elf_info *ret)
{
	struct kp_elf_info info;
	uint64_t end;
	int r = kp_elf_check_header(buf, len, &info);

	if (r < 0)
		return r;
	end = info.phoff + info.phnum * sizeof(Elf64_Phdr);
	if (end > file_size)
		return -ENOEXEC;
	if (end > len) {
		*ret = info;
		return -ENODATA;
	}
	r = kp_elf_check_phdrs((const char *)buf + info.phoff, &info);
	if (r < 0)
		return r;
	if (info.has_interp && info.interp_off + info.interp_len > file_size)
		return -ENOEXEC;
	*ret = info;
	return 0;
}

/* One segment into the span: 0, or -EINVAL where mapping it cannot work. */
static inline int kp_elf_span_add(struct kp_elf_span *s, const Elf64_Phdr *ph, uint64_t phoff)
{
	const uint64_t mask = KP_ELF_PAGE - 1;
	uint64_t end;

	if (ph->p_filesz > ph->p_memsz || ph->p_memsz > KP_ELF_TASK_SIZE || ph->p_vaddr > KP_ELF_TASK_SIZE ||
	    ph->p_vaddr + ph->p_memsz > KP_ELF_TASK_SIZE)
		return -EINVAL;
	if (ph->p_filesz && (((ph->p_vaddr ^ ph->p_offset) & mask) || ph->p_offset > INT64_MAX - ph->p_filesz - mask))
		return -EINVAL;
	end = (ph->p_vaddr + ph->p_memsz + mask) & ~mask;
	if ((ph->p_vaddr & ~mask) < s->lo)
		s->lo = ph->p_vaddr & ~mask;
	if (end > s->hi)
		s->hi = end;
	if (ph->p_align > s->align && !(ph->p_align & (ph->p_align - 1)))
		s->align = ph->p_align;
	if ((ph->p_flags & PF_X) && ph->p_vaddr < s->start_code)
		s->start_code = ph->p_vaddr;
	if ((ph->p_flags & PF_X) && ph->p_vaddr + ph->p_filesz > s->end_code)
		s->end_code = ph->p_vaddr + ph->p_filesz;
	if (ph->p_vaddr > s->start_data)
		s->start_data = ph->p_vaddr;
	if (ph->p_vaddr + ph->p_filesz > s->end_data)
		s->end_data = ph->p_vaddr + ph->p_filesz;
	if (ph->p_vaddr + ph->p_memsz > s->brk)
		s->brk = ph->p_vaddr + ph->p_memsz;
	if (!s->phdr && phoff >= ph->p_offset && phoff - ph->p_offset < ph->p_filesz)
		s->phdr = ph->p_vaddr + (phoff - ph->p_offset);
	return 0;
}

/* 0, or -EINVAL: no segment, or one that cannot be mapped. The kernel kills the program here. */
static inline int kp_elf_span(const void *phdrs, const struct kp_elf_info *info, struct kp_elf_span *ret)
{
	struct kp_elf_span s = {.lo = UINT64_MAX, .align = KP_ELF_PAGE, .start_code = UINT64_MAX};

	for (size_t i = 0; i < info->phnum; i++) {
		Elf64_Phdr ph;

		__builtin_memcpy(&ph, (const char *)phdrs + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_LOAD && ph.p_memsz && kp_elf_span_add(&s, &ph, info->phoff) < 0)
			return -EINVAL;
	}
	if (s.lo >= s.hi || s.align > KP_ELF_TASK_SIZE / 4)
		return -EINVAL;
	*ret = s;
	return 0;
}

#endif
