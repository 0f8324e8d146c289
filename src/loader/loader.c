/* SPDX-License-Identifier: Apache-2.0 */
/* The exec loader: maps a program and its ELF interpreter as binfmt_elf would, and jumps. No libc. */
#include <linux/auxvec.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "kapsel/fast.h"
#include "loader/call.h"
#include "loader/elf.h"
#include "loader/patch.h"

#define PIE_BASE 0x555555554000ULL
#define PIE_RANDOM_PAGES (1ULL << 28)
#define BRK_RANDOM_PAGES (1ULL << 13)
#define STACK_TOP_FIXED KP_ELF_TASK_SIZE
#define MAX_AUX 64
#define PLATFORM_MAX 32
#define NEAR_BELOW 0x10000

struct aux {
	uint64_t type, value;
};

struct image {
	struct kp_elf_info info;
	struct kp_elf_span span;
	uint64_t bias;
};

/* What is saved of the kernel's stack before it is overwritten, and what the new one holds. */
struct stack {
	uint64_t argc, envc;
	char *first; /* the strings that stay begin here: arguments, then environment */
	struct aux aux[MAX_AUX];
	size_t naux;
	char random[16];
	char platform[PLATFORM_MAX];
	uint64_t top;
	uint64_t sp, arg_start, arg_end, env_start, env_end;
	uint64_t new_aux;
};

void kp_loader_main(uint64_t *sp) __attribute__((noreturn));
void kp_jump(uint64_t sp, uint64_t entry) __attribute__((noreturn));

static struct kp_start start;
static struct stack stack;
static char phdrs[KP_ELF_MAX_PHDRS];

/* Like a failure of the kernel after its point of no return: SIGSEGV that nothing can hold back. */
static __attribute__((noreturn)) void die(void)
{
	for (;;)
		__asm__ volatile("hlt");
}

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static uint64_t page_down(uint64_t v)
{
	return v & ~(KP_ELF_PAGE - 1);
}

static uint64_t page_up(uint64_t v)
{
	return page_down(v + KP_ELF_PAGE - 1);
}

/* Maps at exactly addr, over what is there only with MAP_FIXED in flags. */
static void map_at(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t off)
{
	if ((uint64_t)kp_call6(SYS_mmap, addr, len, prot, MAP_PRIVATE | flags, (uint64_t)fd, off) != addr)
		die();
}

static const char *string_at(uint32_t off)
{
	if (off >= start.strings_len)
		die();
	return start.strings + off;
}

/* A whole string table: within bounds and NUL-terminated. */
static void ask_supervisor(void)
{
	if (kp_call4(KP_NR_START, &start, sizeof(start), 0, 0) < 0)
		die();
	if (!start.strings_len || start.strings_len > KP_START_STRINGS || start.strings[start.strings_len - 1])
		die();
	if (start.program_fd < 0)
		die();
}

static void read_full(int fd, void *buf, size_t len, uint64_t off)
{
	for (char *p = buf; len;) {
		long r = kp_call4(SYS_pread64, fd, p, len, off);

		if (r == -EINTR)
			continue;
		if (r <= 0)
			die();
		p += r;
		off += (uint64_t)r;
		len -= (size_t)r;
	}
}

/* Reserves the whole span of an image and sets its bias; hint 0: anywhere. */
static void reserve(struct image *im, uint64_t hint)
{
	const struct kp_elf_span *s = &im->span;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t len = s->hi - s->lo, slack = s->align - KP_ELF_PAGE, got, at;

	if (im->info.type == ET_EXEC) {
		map_at(s->lo, len, PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		im->bias = 0;
		return;
	}
	if (hint) {
		at = (hint & ~(s->align - 1)) + (s->lo & (s->align - 1));
		got = (uint64_t)kp_call6(SYS_mmap, at, len, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1ULL, 0);
		if (got == at) {
			im->bias = at - s->lo;
			return;
		}
		if (got < KP_ELF_TASK_SIZE)
			kp_call4(SYS_munmap, got, len, 0, 0);
	}
	got = (uint64_t)kp_call6(SYS_mmap, 0, len + slack, PROT_NONE, flags, -1ULL, 0);
	if (got >= KP_ELF_TASK_SIZE)
		die();
	at = got + ((s->lo - got) & (s->align - 1));
	if (at > got)
		kp_call4(SYS_munmap, got, at - got, 0, 0);
	if (got + slack > at)
		kp_call4(SYS_munmap, at + len, got + slack - at, 0, 0);
	im->bias = at - s->lo;
}

static void map_segment(const Elf64_Phdr *ph, uint64_t bias, int fd)
{
	uint64_t addr = ph->p_vaddr + bias, lo = page_down(addr), hi = page_up(addr + ph->p_memsz);
	uint64_t file_end = addr + ph->p_filesz, anon = lo;
	int prot = (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) |
		   (ph->p_flags & PF_X ? PROT_EXEC : 0);

	if (ph->p_filesz) {
		anon = page_up(file_end);
		map_at(lo, anon - lo, prot, MAP_FIXED, fd, ph->p_offset - (addr - lo));
		if (ph->p_memsz > ph->p_filesz && (ph->p_flags & PF_W))
			kp_zero((void *)file_end, anon - file_end);
	}
	if (hi > anon)
		map_at(anon, hi - anon, prot, MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

/* What the reservation covers and no segment uses is given back, as after a native exec. */
static void release_holes(const struct image *im)
{
	uint64_t at = im->span.lo;

	while (at < im->span.hi) {
		uint64_t next = im->span.hi, covered = at;

		for (size_t i = 0; i < im->info.phnum; i++) {
			const Elf64_Phdr *ph = (const Elf64_Phdr *)phdrs + i;
			uint64_t lo = page_down(ph->p_vaddr), hi = page_up(ph->p_vaddr + ph->p_memsz);

			if (ph->p_type != PT_LOAD || !ph->p_memsz)
				continue;
			if (lo <= at && hi > covered)
				covered = hi;
			if (lo > at && lo < next)
				next = lo;
		}
		if (covered == at) {
			kp_call4(SYS_munmap, at + im->bias, next - at, 0, 0);
			covered = next;
		}
		at = covered;
	}
}

static void load(struct image *im, int fd, uint64_t hint)
{
	Elf64_Ehdr eh;

	read_full(fd, &eh, sizeof(eh), 0);
	if (kp_elf_check_header(&eh, sizeof(eh), &im->info) < 0)
		die();
	read_full(fd, phdrs, im->info.phnum * sizeof(Elf64_Phdr), im->info.phoff);
	if (kp_elf_check_phdrs(phdrs, &im->info) < 0 || kp_elf_span(phdrs, &im->info, &im->span) < 0)
		die();
	reserve(im, hint);
	for (size_t i = 0; i < im->info.phnum; i++) {
		const Elf64_Phdr *ph = (const Elf64_Phdr *)phdrs + i;

		if (ph->p_type == PT_LOAD && ph->p_memsz)
			map_segment(ph, im->bias, fd);
	}
	release_holes(im);
}

static void save_stack(uint64_t *sp)
{
	uint64_t argc = sp[0], drop = start.argv_drop < argc ? start.argv_drop : argc;
	char **argv = (char **)(sp + 1), **env = argv + argc + 1;
	const char *execfn = NULL;
	struct aux *a;

	while (env[stack.envc])
		stack.envc++;
	for (a = (struct aux *)(env + stack.envc + 1); a->type != AT_NULL; a++) {
		if (stack.naux == MAX_AUX - 1)
			die();
		stack.aux[stack.naux++] = *a;
		if (a->type == AT_RANDOM)
			kp_copy(stack.random, (void *)a->value, sizeof(stack.random));
		if (a->type == AT_PLATFORM && length((char *)a->value) < PLATFORM_MAX)
			kp_copy(stack.platform, (void *)a->value, length((char *)a->value) + 1);
		if (a->type == AT_EXECFN)
			execfn = (char *)a->value;
	}
	stack.naux++; /* AT_NULL, zero already */
	if (!execfn)
		die();
	stack.top = (uint64_t)execfn + length(execfn) + 1 + sizeof(uint64_t);
	stack.argc = argc - drop + start.argv_count;
	stack.first = drop < argc ? argv[drop] : stack.envc ? env[0] : (char *)execfn;
}

static void set_aux(uint64_t type, uint64_t value)
{
	for (size_t i = 0; i < stack.naux; i++)
		if (stack.aux[i].type == type)
			stack.aux[i].value = value;
}

/* Puts bytes below *at. */
static uint64_t push(uint64_t *at, const void *data, size_t len)
{
	*at -= len;
	kp_copy((void *)*at, data, len);
	return *at;
}

/* New arguments directly below those that stay, then the small strings, then the vectors. All the
 * strings are one run, so the pointers are found by walking it. */
static void build_stack(const struct image *prog, const struct image *interp, uint64_t entry)
{
	const char *execfn = string_at(start.execfn_off);
	uint64_t at = (uint64_t)stack.first, words = stack.argc + stack.envc + 3 + 2 * stack.naux, *v;
	size_t len = 0;
	char *p;

	for (uint32_t i = 0; i < start.argv_count; i++)
		len += length(string_at(start.argv_off + (uint32_t)len)) + 1;
	if (len)
		push(&at, string_at(start.argv_off), len);
	stack.arg_start = at;
	set_aux(AT_EXECFN, push(&at, execfn, length(execfn) + 1));
	set_aux(AT_PLATFORM, push(&at, stack.platform, length(stack.platform) + 1));
	set_aux(AT_RANDOM, push(&at, stack.random, sizeof(stack.random)));
	set_aux(AT_PHDR, prog->span.phdr + prog->bias);
	set_aux(AT_PHENT, sizeof(Elf64_Phdr));
	set_aux(AT_PHNUM, prog->info.phnum);
	set_aux(AT_BASE, interp ? interp->bias : 0);
	set_aux(AT_FLAGS, 0);
	set_aux(AT_ENTRY, entry);
	set_aux(AT_SECURE, 0);

	stack.sp = (at - words * sizeof(uint64_t)) & ~15ULL;
	v = (uint64_t *)stack.sp;
	*v++ = stack.argc;
	p = (char *)stack.arg_start;
	for (uint64_t i = 0; i < stack.argc; i++, p += length(p) + 1)
		*v++ = (uint64_t)p;
	*v++ = 0;
	stack.arg_end = stack.env_start = (uint64_t)p;
	for (uint64_t i = 0; i < stack.envc; i++, p += length(p) + 1)
		*v++ = (uint64_t)p;
	*v++ = 0;
	stack.env_end = (uint64_t)p;
	stack.new_aux = (uint64_t)v;
	kp_copy(v, stack.aux, stack.naux * sizeof(struct aux));
}

/* What /proc shows and where brk() begins. A kernel without PR_SET_MM_MAP keeps the loader's. */
static void set_mm(const struct image *prog, uint64_t brk)
{
	struct prctl_mm_map mm = {
		.start_code = prog->span.start_code + prog->bias,
		.end_code = prog->span.end_code + prog->bias,
		.start_data = prog->span.start_data + prog->bias,
		.end_data = prog->span.end_data + prog->bias,
		.start_brk = brk,
		.brk = brk,
		.start_stack = stack.sp,
		.arg_start = stack.arg_start,
		.arg_end = stack.arg_end,
		.env_start = stack.env_start,
		.env_end = stack.env_end,
		.auxv = (void *)stack.new_aux,
		.auxv_size = (uint32_t)(stack.naux * sizeof(struct aux)),
		.exe_fd = (uint32_t)-1,
	};

	if (kp_call6(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, (uint64_t)&mm, sizeof(mm), 0, 0) == 0)
		return;
	mm.auxv = NULL;
	mm.auxv_size = 0;
	kp_call6(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, (uint64_t)&mm, sizeof(mm), 0, 0);
}

static void make_ident(void)
{
	struct kp_ident *ident = (struct kp_ident *)KP_IDENT_BASE;
	const char *exe = string_at(start.exe_off);
	size_t len = length(exe) + 1;

	_Static_assert(sizeof(*ident) <= KP_SCRATCH_BASE - KP_IDENT_BASE, "ident pages end where the scratch begins");
	if (len > sizeof(ident->exe))
		die();
	map_at(KP_IDENT_BASE, KP_SCRATCH_BASE - KP_IDENT_BASE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	ident->magic = KP_IDENT_MAGIC;
	ident->pid = start.pid;
	ident->dumpable = start.dumpable;
	kp_copy(ident->exe, exe, len);
}

/* From now on the program cannot put other memory in its place; kernels before mseal are told apart by what they then let it do. */
static void map_scratch(void)
{
	if ((uint64_t)kp_call6(SYS_mmap, KP_SCRATCH_BASE, KP_SCRATCH_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, (uint64_t)start.scratch_fd, 0) !=
	    KP_SCRATCH_BASE)
		die();
	kp_call4(KP_NR_MSEAL, KP_SCRATCH_BASE, KP_SCRATCH_SIZE, 0, 0);
}

/* The cache, and a page that call sites reach: of an interpreter and its libraries, which come right below it, or of a static program.
 * Without either there is no fast path here. */
static void map_fast(const struct image *prog)
{
	struct kp_ident *ident = (struct kp_ident *)KP_IDENT_BASE;
	uint64_t near, below = start.interp_fd >= 0 ? 0 : prog->span.lo + prog->bias - NEAR_BELOW;

	if (!start.fast)
		return;
	near = (uint64_t)kp_call6(SYS_mmap, KP_FAST_BASE, sizeof(struct kp_fast), PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE,
			      (uint64_t)start.scratch_fd, KP_SCRATCH_SIZE);
	if (near != KP_FAST_BASE)
		return;
	near = (uint64_t)kp_call6(SYS_mmap, below, KP_NEAR_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ULL, 0);
	if (near < KP_ELF_TASK_SIZE)
		ident->near = near;
}

/* The call sites that other processes have proven: an interpreter makes a handful of calls, in each process anew. */
static void patch_sites(const struct image *im, int fd, const struct kp_start_file *file)
{
	for (size_t i = 0; i < im->info.phnum; i++) {
		const Elf64_Phdr *ph = (const Elf64_Phdr *)phdrs + i;
		uint64_t addr = ph->p_vaddr + im->bias, skip = addr - page_down(addr);

		if (ph->p_type == PT_LOAD && ph->p_flags == (PF_R | PF_X))
			kp_patch(&(struct kp_mapping){.addr = addr - skip,
						      .len = ph->p_filesz + skip,
						      .off = ph->p_offset - skip,
						      .prot = PROT_READ | PROT_EXEC,
						      .fd = fd,
						      .ino = file->ino,
						      .size = file->size});
	}
}

void kp_loader_main(uint64_t *sp)
{
	struct image prog = {0}, interp = {0};
	uint64_t rnd[2] = {0}, entry, jump;

	ask_supervisor();
	save_stack(sp);
	make_ident();
	map_scratch();
	/* A stack that ends at the very top was not randomised: setarch -R, randomize_va_space=0. */
	if (stack.top != STACK_TOP_FIXED)
		kp_call4(SYS_getrandom, rnd, sizeof(rnd), GRND_NONBLOCK, 0);
	load(&prog, start.program_fd, PIE_BASE + (rnd[0] % PIE_RANDOM_PAGES) * KP_ELF_PAGE);
	map_fast(&prog);
	kp_call4(SYS_close, start.scratch_fd, 0, 0, 0);
	patch_sites(&prog, start.program_fd, &start.program);
	kp_call4(SYS_close, start.program_fd, 0, 0, 0);
	entry = jump = prog.info.entry + prog.bias;
	if (start.interp_fd >= 0) {
		load(&interp, start.interp_fd, 0);
		patch_sites(&interp, start.interp_fd, &start.interp);
		kp_call4(SYS_close, start.interp_fd, 0, 0, 0);
		jump = interp.info.entry + interp.bias;
	} else if (prog.info.has_interp) {
		die();
	}
	build_stack(&prog, start.interp_fd >= 0 ? &interp : NULL, entry);
	if (prog.info.exec_stack)
		kp_call4(SYS_mprotect, page_down(stack.sp), page_up(stack.top) - page_down(stack.sp),
		    PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN, 0);
	set_mm(&prog, page_up(prog.span.brk + prog.bias) + (rnd[1] % BRK_RANDOM_PAGES) * KP_ELF_PAGE);
	kp_call4(SYS_prctl, PR_SET_NAME, string_at(start.comm_off), 0, 0);
	kp_jump(stack.sp, jump);
}
