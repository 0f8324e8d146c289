/* SPDX-License-Identifier: Apache-2.0 */
/* The exec loader: maps a program and its ELF interpreter as binfmt_elf would, and jumps. No libc. */
#include <fcntl.h>
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
#define HEAD 800 /* most programs have their headers there: 13 of them */

struct aux {
	uint64_t type, value;
};

struct image {
	struct kp_elf_info info;
	struct kp_elf_span span;
	uint64_t bias;
	const struct kp_sites_file *sites; /* known of its file; NULL: none */
	bool first_mapped;
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

/* Every page that is touched here is a page more for each execve: these lie beside the loader's own stack (start.S), what is rarely used behind. */
#define HOT __attribute__((section(".bss.hot"), aligned(8)))
static HOT struct stack stack;
static HOT char head[HEAD];
static HOT int scratch; /* descriptor */
static HOT const char *phdrs;
static HOT struct kp_start start;
static char phdrs_elsewhere[KP_ELF_MAX_PHDRS];

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

static const char *execfn_of(const struct aux *a)
{
	for (; a->type != AT_NULL; a++)
		if (a->type == AT_EXECFN)
			return (const char *)a->value;
	die();
}

/* Which program the loader was executed for, as its name is spelled (kapsel/start.h). */
static uint32_t number_in(const char *name)
{
	size_t at = length(name);
	uint32_t number = 0;

	while (at && name[at - 1] != '/')
		at--;
	for (; at > 2 && name[at - 2] == '.' && name[at - 3] == '/'; at -= 2)
		number++;
	return number;
}

/* A whole string table: within bounds and NUL-terminated. */
static void ask_supervisor(uint32_t number)
{
	scratch = (int)kp_call4(KP_NR_START, &start, sizeof(start), number, 0);
	if (scratch < 0)
		die();
	if (!start.strings_len || start.strings_len > KP_START_STRINGS || start.strings[start.strings_len - 1])
		die();
	if ((start.program_fd < 0 && !start.program_off) || (start.has_interp && start.interp_fd < 0 && !start.interp_off))
		die();
}

/* The descriptor that the supervisor has given, or what it has named. */
static int open_file(int fd, uint32_t off)
{
	long r = fd;

	while (off && (r = kp_gate(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)string_at(off), O_RDONLY | O_CLOEXEC, 0)) == -EINTR)
		;
	if (r < 0)
		die();
	return (int)r;
}

/* At least min bytes, len at most. Returns how many. */
static size_t read_at(int fd, char *buf, size_t min, size_t len, uint64_t off)
{
	size_t got = 0;

	while (got < min) {
		long r = kp_call4(SYS_pread64, fd, buf + got, len - got, off + got);

		if (r == -EINTR)
			continue;
		if (r <= 0)
			die();
		got += (size_t)r;
	}
	return got;
}

static const Elf64_Phdr *segment(const struct image *im, size_t i)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)phdrs + i;

	return i < im->info.phnum && ph->p_type == PT_LOAD && ph->p_memsz ? ph : NULL;
}

static const Elf64_Phdr *first_segment(const struct image *im)
{
	for (size_t i = 0; i < im->info.phnum; i++)
		if (segment(im, i))
			return segment(im, i);
	die();
}

/* Where the whole span of an image goes: its first segment's mapping, longer than that, over which the others are put. A file that
 * begins otherwise, or wants a larger alignment than pages: nothing, for the time being. Sets the bias; hint 0: anywhere. */
static void reserve(struct image *im, int fd, uint64_t hint)
{
	const struct kp_elf_span *s = &im->span;
	const Elf64_Phdr *first = first_segment(im);
	uint64_t len = s->hi - s->lo, slack = s->align - KP_ELF_PAGE, got, at, off = 0;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, prot = PROT_NONE;

	im->first_mapped = !slack && first->p_filesz == first->p_memsz && first->p_flags == PF_R && kp_elf_page_down(first->p_vaddr) == s->lo;
	if (im->first_mapped) {
		flags = MAP_PRIVATE;
		prot = PROT_READ;
		off = kp_elf_page_down(first->p_offset);
	}
	if (im->info.type == ET_EXEC) {
		map_at(s->lo, len, prot, flags | MAP_FIXED_NOREPLACE, fd, off);
		im->bias = 0;
		return;
	}
	if (hint) {
		at = (hint & ~(s->align - 1)) + (s->lo & (s->align - 1));
		got = (uint64_t)kp_call6(SYS_mmap, at, len, (uint64_t)prot, (uint64_t)flags | MAP_FIXED_NOREPLACE, (uint64_t)fd, off);
		if (got == at) {
			im->bias = at - s->lo;
			return;
		}
		if (got < KP_ELF_TASK_SIZE)
			kp_call4(SYS_munmap, got, len, 0, 0);
	}
	got = (uint64_t)kp_call6(SYS_mmap, 0, len + slack, (uint64_t)prot, (uint64_t)flags, (uint64_t)fd, off);
	if (got >= KP_ELF_TASK_SIZE)
		die();
	at = got + ((s->lo - got) & (s->align - 1));
	if (at > got)
		kp_call4(SYS_munmap, got, at - got, 0, 0);
	if (got + slack > at)
		kp_call4(SYS_munmap, at + len, got + slack - at, 0, 0);
	im->bias = at - s->lo;
}

/* Text that sites are known of can be written until kp_patch has been there. False: not here. */
static bool map_text(const struct kp_mapping *m)
{
	return (uint64_t)kp_call6(SYS_mmap, m->addr, m->len, (uint64_t)m->prot | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, (uint64_t)m->fd, m->off) == m->addr;
}

/* The pages of a segment that the file fills; fd -1: it is closed. */
static struct kp_mapping mapping_of(const struct image *im, const Elf64_Phdr *ph, int fd, const struct kp_start_file *file)
{
	uint64_t addr = ph->p_vaddr + im->bias, lo = kp_elf_page_down(addr);

	return (struct kp_mapping){
		.addr = lo,
		.len = ph->p_filesz ? kp_elf_page_up(addr + ph->p_filesz) - lo : 0,
		.off = ph->p_offset - (addr - lo),
		.prot = (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) | (ph->p_flags & PF_X ? PROT_EXEC : 0),
		.fd = fd,
		.size = file->size,
		.dev = file->dev,
	};
}

static void map_segment(const struct image *im, const Elf64_Phdr *ph, int fd, const struct kp_start_file *file)
{
	struct kp_mapping m = mapping_of(im, ph, fd, file);
	uint64_t addr = ph->p_vaddr + im->bias, file_end = addr + ph->p_filesz, anon = m.addr + m.len, hi = kp_elf_page_up(addr + ph->p_memsz);

	if (m.len) {
		if (!im->sites || !kp_patch_prepared(&m, im->sites)) {
			m.writable = m.prot == (PROT_READ | PROT_EXEC) && im->sites && map_text(&m);
			if (!m.writable)
				map_at(m.addr, m.len, m.prot, MAP_FIXED, fd, m.off);
			if (im->sites)
				kp_patch(&m, im->sites);
		}
		if (ph->p_memsz > ph->p_filesz && (ph->p_flags & PF_W))
			kp_zero((void *)file_end, anon - file_end);
	}
	if (hi > anon)
		map_at(anon, hi - anon, m.prot, MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

/* What the reservation covers and no segment uses is given back, as after a native exec. */
static void release_holes(const struct image *im)
{
	uint64_t at = im->span.lo;

	while (at < im->span.hi) {
		uint64_t next = im->span.hi, covered = at;

		for (size_t i = 0; i < im->info.phnum; i++) {
			const Elf64_Phdr *ph = (const Elf64_Phdr *)phdrs + i;
			uint64_t lo = kp_elf_page_down(ph->p_vaddr), hi = kp_elf_page_up(ph->p_vaddr + ph->p_memsz);

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

static void read_headers(struct image *im, int fd)
{
	size_t got = read_at(fd, head, sizeof(Elf64_Ehdr), sizeof(head), 0), size;

	if (kp_elf_check_header(head, got, &im->info) < 0)
		die();
	size = im->info.phnum * sizeof(Elf64_Phdr);
	phdrs = head + im->info.phoff;
	if (im->info.phoff > got || size > got - im->info.phoff || im->info.phoff % sizeof(uint64_t)) {
		phdrs = phdrs_elsewhere;
		(void)read_at(fd, phdrs_elsewhere, size, size, im->info.phoff);
	}
	if (kp_elf_check_phdrs(phdrs, &im->info) < 0 || kp_elf_span(phdrs, &im->info, &im->span) < 0)
		die();
}

/* im->sites is set. Closes the descriptor. */
static void load(struct image *im, int fd, const struct kp_start_file *file, uint64_t hint)
{
	read_headers(im, fd);
	reserve(im, fd, hint);
	for (size_t i = 0; i < im->info.phnum; i++)
		if (segment(im, i) && !(im->first_mapped && segment(im, i) == first_segment(im)))
			map_segment(im, segment(im, i), fd, file);
	release_holes(im);
	kp_call4(SYS_close, fd, 0, 0, 0);
}

static void begin(uint64_t *sp)
{
	uint64_t argc = sp[0], drop;
	char **argv = (char **)(sp + 1), **env = argv + argc + 1;
	const char *execfn;
	struct aux *a;

	while (env[stack.envc])
		stack.envc++;
	a = (struct aux *)(env + stack.envc + 1);
	execfn = execfn_of(a);
	ask_supervisor(number_in(execfn));
	drop = start.argv_drop < argc ? start.argv_drop : argc;
	for (; a->type != AT_NULL; a++) {
		if (stack.naux == MAX_AUX - 1)
			die();
		stack.aux[stack.naux++] = *a;
		if (a->type == AT_RANDOM)
			kp_copy(stack.random, (void *)a->value, sizeof(stack.random));
		if (a->type == AT_PLATFORM && length((char *)a->value) < PLATFORM_MAX)
			kp_copy(stack.platform, (void *)a->value, length((char *)a->value) + 1);
	}
	stack.naux++; /* AT_NULL, zero already */
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

static bool map_shared(uint64_t len)
{
	return (uint64_t)kp_call6(SYS_mmap, KP_SCRATCH_BASE, len, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, (uint64_t)scratch, 0) == KP_SCRATCH_BASE;
}

/* And the fast path's cache, where there is room for that (RLIMIT_AS). From now on the program cannot put other memory in its place; kernels before
 * mseal are told apart by what they then let it do. */
static void map_scratch(void)
{
	uint64_t len = KP_SCRATCH_SIZE + kp_elf_page_up(sizeof(struct kp_fast));

	start.fast = start.fast && map_shared(len);
	if (!start.fast) {
		len = KP_SCRATCH_SIZE;
		if (!map_shared(len))
			die();
	}
	kp_call4(KP_NR_MSEAL, KP_SCRATCH_BASE, len, 0, 0);
	kp_call4(SYS_close, scratch, 0, 0, 0);
}

/* A page that call sites reach: of an interpreter and its libraries, which come right below it, or of a static program. Without it there is
 * no fast path here. */
static void map_near(const struct image *prog)
{
	struct kp_ident *ident = (struct kp_ident *)KP_IDENT_BASE;
	uint64_t near, below = start.has_interp ? 0 : prog->span.lo + prog->bias - NEAR_BELOW;

	if (!start.fast)
		return;
	near = (uint64_t)kp_call6(SYS_mmap, below, KP_NEAR_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ULL, 0);
	if (near < KP_ELF_TASK_SIZE)
		ident->near = near;
}

/* A static program's own sites: what reaches it is mapped only when its place is known. */
static void patch_static(const struct image *im)
{
	const struct kp_sites_file *sites = kp_patch_known(start.program.ino);

	for (size_t i = 0; sites && i < im->info.phnum; i++) {
		const Elf64_Phdr *ph = segment(im, i);

		if (ph) {
			struct kp_mapping m = mapping_of(im, ph, -1, &start.program);

			kp_patch(&m, sites);
		}
	}
}

void kp_loader_main(uint64_t *sp)
{
	struct image prog = {0}, interp = {0};
	uint64_t rnd[2] = {0}, entry, jump;

	begin(sp);
	make_ident();
	map_scratch();
	/* A stack that ends at the very top was not randomised: setarch -R, randomize_va_space=0. */
	if (stack.top != STACK_TOP_FIXED)
		kp_call4(SYS_getrandom, rnd, sizeof(rnd), GRND_NONBLOCK, 0);
	load(&prog, open_file(start.program_fd, start.program_off), &start.program, PIE_BASE + (rnd[0] % PIE_RANDOM_PAGES) * KP_ELF_PAGE);
	entry = jump = prog.info.entry + prog.bias;
	map_near(&prog);
	if (start.has_interp) {
		interp.sites = kp_patch_known(start.interp.ino);
		load(&interp, open_file(start.interp_fd, start.interp_off), &start.interp, 0);
		jump = interp.info.entry + interp.bias;
	} else if (prog.info.has_interp) {
		die();
	} else {
		patch_static(&prog);
	}
	build_stack(&prog, start.has_interp ? &interp : NULL, entry);
	if (prog.info.exec_stack)
		kp_call4(SYS_mprotect, kp_elf_page_down(stack.sp), kp_elf_page_up(stack.top) - kp_elf_page_down(stack.sp),
		    PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN, 0);
	set_mm(&prog, kp_elf_page_up(prog.span.brk + prog.bias) + (rnd[1] % BRK_RANDOM_PAGES) * KP_ELF_PAGE);
	kp_call4(SYS_prctl, PR_SET_NAME, string_at(start.comm_off), 0, 0);
	kp_jump(stack.sp, jump);
}
