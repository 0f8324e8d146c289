/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path's call sites. A guest whose thread asks the same thing from the same `mov $nr,%eax; syscall` again and again gets the mov
 * turned into a jump (docs/FAST.md): the notification proves that the syscall is one, and it stays as it is, so whoever jumps to it,
 * restarts it or is interrupted there finds what he expects. Text pages become the process's own (private) where they are written.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "kapsel/fast.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/internal.h"

#define OFTEN 3 /* calls before a site is worth it: about what patching costs */
#define KNOWN 512
#define MOVES 4   /* mov %REG,%REG between the two, three bytes each: musl has them */
#define CODE (1 + 5 + 3 * MOVES + 2)

struct site {
	uint64_t ip;
	pid_t tid;
	unsigned calls;
};

static _Thread_local struct site *sites;

static bool is_often(const struct kp_call *c)
{
	uint64_t ip = c->n.data.instruction_pointer;
	struct site *s;

	if (!sites)
		sites = kp_calloc(KNOWN, sizeof(*sites));
	s = &sites[(ip * 0x9e3779b97f4a7c15ULL >> 32 ^ (uint64_t)c->tid) % KNOWN];
	if (s->ip != ip || s->tid != c->tid)
		*s = (struct site){.ip = ip, .tid = c->tid};
	return ++s->calls == c->engine->fast_often;
}

/* Of the thread that says so in this text; -1: a kernel that does not (before 5.9). */
static int filters_in(const char *status)
{
	static const char field[] = "\nSeccomp_filters:\t";
	const char *at = strstr(status, field);

	return at ? atoi(at + sizeof(field) - 1) : -1;
}

/* The only thread, nobody's tracee, and with no filter of its own: who looks at system calls would miss these. */
static bool is_plain(const struct kp_call *c)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/status", c->tid), *text = NULL;

	if (kp_read_file(AT_FDCWD, path, 65536, &text, NULL))
		return false;
	return strstr(text, "\nThreads:\t1\n") && strstr(text, "\nTracerPid:\t0\n") && filters_in(text) == c->engine->filters;
}

/* mov %REG,%REG of 64 bits, not into rax. */
static bool is_move(const uint8_t *p)
{
	return (p[0] & 0xfa) == 0x48 && p[1] == 0x89 && p[2] >= 0xc0 && (p[2] & 7 || p[0] & 1);
}

/* The bytes that end with the syscall: mov $nr,%eax, at most some moves, syscall. REX and size prefixes would make another instruction
 * of the mov. False, or the number of moves. */
static bool is_site(const uint8_t code[CODE], uint32_t nr, size_t *ret_moves)
{
	const uint8_t *at = code + CODE - 2;
	uint32_t imm;

	if (at[0] != 0x0f || at[1] != 0x05)
		return false;
	for (size_t moves = 0; moves <= MOVES; moves++) {
		const uint8_t *mov = at - 3 * moves - 5;
		uint8_t before = mov[-1];

		memcpy(&imm, mov + 1, sizeof(imm));
		if (mov[0] == 0xb8 && imm == nr) {
			*ret_moves = moves;
			return (before & 0xf0) != 0x40 && before != 0x66 && before != 0x67;
		}
		if (moves == MOVES || !is_move(at - 3 * (moves + 1)))
			return false;
	}
	return false;
}

static void put32(uint8_t *at, uint64_t value)
{
	uint32_t v = (uint32_t)value;

	memcpy(at, &v, sizeof(v));
}

struct site_code {
	uint8_t bytes[CODE];
	size_t moves;
	uint64_t ip, mov; /* behind the syscall; of the mov */
};

/* mov $nr,%eax; the moves; lea -128(%rsp),%rsp; call *near(%rip); lea 128(%rsp),%rsp; jc SYSCALL; jmp BEHIND */
static void make_slot(uint8_t slot[KP_NEAR_SLOT], const struct site_code *code, uint64_t at, uint64_t near)
{
	static const uint8_t call[30] = {0x48, 0x8d, 0x64, 0x24, 0x80, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x8d, 0xa4, 0x24,
					 0x80, 0, 0, 0, 0x0f, 0x82, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0};
	size_t len = code->ip - 2 - code->mov;
	uint8_t *s = slot + len;

	memset(slot, 0xcc, KP_NEAR_SLOT);
	memcpy(slot, code->bytes + CODE - 2 - len, len);
	memcpy(s, call, sizeof(call));
	at += len;
	put32(s + 7, near - (at + 11));
	put32(s + 21, code->ip - 2 - (at + 25));
	put32(s + 26, code->ip - (at + 30));
}

static bool is_near(uint64_t a, uint64_t b)
{
	int64_t d = (int64_t)(a - b);

	return d > INT32_MIN + 65536LL && d < INT32_MAX - 65536LL;
}

static bool poke(int mem, uint64_t at, const void *data, size_t len)
{
	return pwrite(mem, data, len, (off_t)at) == (ssize_t)len;
}

/* The site last: until then nothing leads to what was written. */
static bool write_site(struct kp_call *c, const struct site_code *code, uint32_t used, uint64_t near)
{
	uint64_t at = near + KP_NEAR_FIRST + used * KP_NEAR_SLOT, entry = KP_STUB_ENTRY;
	kp_autofree char *path = kp_asprintf("/proc/%d/mem", c->tid);
	kp_autoclose int mem = open(path, O_RDWR | O_CLOEXEC);
	uint8_t slot[KP_NEAR_SLOT], jump[5] = {0xe9};

	if (mem < 0 || !kp_trap_valid(c->trap, c->n.id))
		return false;
	make_slot(slot, code, at, near);
	put32(jump + 1, at - (code->mov + sizeof(jump)));
	if ((!used && !poke(mem, near, &entry, sizeof(entry))) || !poke(mem, at, slot, sizeof(slot)))
		return false;
	used++;
	return !kp_mem_write(c->tid, KP_IDENT_BASE + offsetof(struct kp_ident, near_used), &used, sizeof(used)) &&
	       poke(mem, code->mov, jump, sizeof(jump));
}

void kp_fast_patch(struct kp_call *c)
{
	struct site_code code = {.ip = c->n.data.instruction_pointer};
	struct {
		uint64_t near;
		uint32_t used, reserved;
	} ident;

	if (!is_often(c) || kp_mem_read(c->tid, code.ip - CODE, code.bytes, CODE) ||
	    !is_site(code.bytes, (uint32_t)c->n.data.nr, &code.moves))
		return;
	code.mov = code.ip - 2 - 3 * code.moves - 5;
	if (kp_mem_read(c->tid, KP_IDENT_BASE + offsetof(struct kp_ident, near), &ident, sizeof(ident)) || !ident.near || ident.near % KP_NEAR_SIZE ||
	    ident.used >= KP_NEAR_SLOTS || !is_near(ident.near, code.ip) || !is_plain(c))
		return;
	if (write_site(c, &code, ident.used, ident.near))
		KP_DEBUG(TRAP, "%d: call site %#" PRIx64 " of %s is patched", c->tid, code.mov, c->row->name);
}

void kp_fast_note(struct kp_call *c, bool follow, const struct kp_node *n)
{
	bool relative = c->path[0][0] != '/';

	if (c->vfs->fast && (!relative || c->from_standin))
		c->noted = kp_fast_put(c->vfs, c->path[0], relative ? c->start.s : NULL, follow, kp_call_cred(c), n);
}

void kp_fast_note_fd(struct kp_call *c, const struct kp_node *n)
{
	c->noted = (n->origin == KP_IMAGE && S_ISREG(n->mode) && c->vfs->fast) || kp_fast_put_fd(c->vfs, n);
}

/* KAPSEL_FAST=off; eager: at the first call, for tests. */
int kp_fast_start(struct kp_engine *e)
{
	const char *how = secure_getenv("KAPSEL_FAST");
	kp_autofree char *text = NULL;

	e->fast_often = how && !strcmp(how, "eager") ? 1 : OFTEN;
	if (e->level != KP_LEVEL_PORTABLE || (how && !strcmp(how, "off")))
		return 0;
	if (kp_read_file(AT_FDCWD, "/proc/self/status", 65536, &text, NULL))
		return -EIO;
	e->filters = filters_in(text);
	e->filters += e->filters >= 0; /* the guests' own */
	return kp_fast_make(e->vfs);
}
