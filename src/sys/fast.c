/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path's call sites. A guest whose thread asks the same thing from the same `mov $nr,%eax; syscall` again and again gets the mov
 * turned into a jump (docs/FAST.md): the notification proves that the syscall is one, and it stays as it is, so whoever jumps to it,
 * restarts it or is interrupted there finds what he expects. Text pages become the process's own (private) where they are written.
 * What was proven in one process holds for all that map the file (sites.c): there the first call from any of the places has all patched.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kapsel/fast.h"
#include "loader/site.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/internal.h"
#include "vfs/makes.h"

#define OFTEN 3 /* calls before a site is worth it: about what patching costs */
#define KNOWN 512
#define PAGE 4096U

struct counted {
	uint64_t ip;
	pid_t tid;
	unsigned calls;
};

/* Calls of a thread from a place; calls of a number from a place in a page, by whomever. Each has a table of its own: in one, the two of the same call
 * could meet, and neither would ever count beyond one. */
enum counts { OF_THREAD, OF_PLACE };
static _Thread_local struct counted *counts;

static unsigned count(enum counts which, uint64_t ip, pid_t tid)
{
	struct counted *s;

	if (!counts)
		counts = kp_calloc((OF_PLACE + 1) * KNOWN, sizeof(*counts));
	s = &counts[which * KNOWN + (ip * 0x9e3779b97f4a7c15ULL >> 32 ^ (uint64_t)tid) % KNOWN];
	if (s->ip != ip || s->tid != tid)
		*s = (struct counted){.ip = ip, .tid = tid};
	return ++s->calls;
}

/* The number in that field of a text of /proc; -1: it is not there. */
static int field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? atoi(at + strlen(name)) : -1;
}

#define FILTERS "\nSeccomp_filters:\t" /* since 5.9 */
#define TRACER "\nTracerPid:\t"

static char *status_of(pid_t tid)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/status", tid);
	char *text = NULL;

	return kp_read_file(AT_FDCWD, path, 65536, &text, NULL) ? NULL : text;
}

/* A child that runs in its parent's memory (vfork) has it for itself while the parent waits and has no other threads. Memory that an exec is
 * about to leave is worth nothing, unless it is the parent's. */
static bool has_memory(const struct kp_call *c, pid_t parent)
{
	long other = syscall(SYS_kcmp, c->tid, parent, KCMP_VM, 0, 0); /* -1: not told here (Docker) */
	bool exec = c->n.data.nr == SYS_execve, waits;
	kp_autofree char *status = NULL;

	if (other > 0)
		return !exec;
	status = status_of(parent);
	waits = status && strstr(status, "\nState:\tD");
	return status && field(status, "\nThreads:\t") == 1 && (waits || (other < 0 && !exec));
}

/* By a tracer, or a filter of its own. */
static bool is_looked_at(const struct kp_engine *e, const char *status)
{
	return field(status, TRACER) != 0 || field(status, FILTERS) != e->filters;
}

/* The only thread in its memory, nobody's tracee, and with no filter of its own: who looks at system calls would miss these. own: it has
 * run a program itself since its memory was made. */
static bool is_alone(const struct kp_call *c, bool own)
{
	kp_autofree char *status = status_of(c->tid);

	if (!status || field(status, "\nThreads:\t") != 1 || is_looked_at(c->engine, status))
		return false;
	return own || has_memory(c, field(status, "\nPPid:\t"));
}

struct batch {
	size_t count;
	uint32_t nr[KP_SITES_EACH];
	struct kp_site_code site[KP_SITES_EACH];
};

/* Of these places, those where the code is still what was proven. */
static void gather(struct kp_call *c, const struct kp_sites_file *f, uint64_t base, struct batch *b)
{
	uint8_t bytes[KP_SITES_EACH][KP_SITE_CODE];
	uint64_t from[KP_SITES_EACH];

	for (uint32_t i = 0; i < f->count; i++)
		from[i] = base + f->place[i].offset - KP_SITE_CODE;
	b->count = 0;
	if (kp_mem_gather(c->tid, from, f->count, KP_SITE_CODE, bytes))
		return;
	for (uint32_t i = 0; i < f->count; i++) {
		struct kp_site_code *s = &b->site[b->count];

		memcpy(s->bytes, bytes[i], KP_SITE_CODE);
		s->ip = from[i] + KP_SITE_CODE;
		if (kp_site_check(s, f->place[i].nr))
			b->nr[b->count++] = f->place[i].nr;
	}
}

struct near {
	uint64_t at;
	uint32_t used;
	int32_t pid;
};

static bool poke(int mem, uint64_t at, const void *data, size_t len)
{
	return pwrite(mem, data, len, (off_t)at) == (ssize_t)len;
}

/* The sites last: until then nothing leads to what was written. */
static void write_sites(struct kp_call *c, const struct batch *b, const struct near *near)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/mem", c->tid);
	kp_autoclose int mem = open(path, O_RDWR | O_CLOEXEC);
	size_t count = KP_MIN(b->count, KP_NEAR_SLOTS - near->used);
	uint8_t slots[KP_SITES_EACH][KP_NEAR_SLOT], jump[KP_SITE_MOV];
	uint32_t used = near->used + (uint32_t)count;
	uint64_t entry = KP_STUB_ENTRY;

	if (mem < 0 || !kp_trap_valid(c->trap, c->n.id))
		return;
	for (size_t i = 0; i < count; i++)
		kp_site_make_slot(slots[i], &b->site[i], kp_site_slot_at(near->at, near->used + (uint32_t)i), near->at);
	if ((!near->used && !poke(mem, near->at, &entry, sizeof(entry))) ||
	    !poke(mem, kp_site_slot_at(near->at, near->used), slots, count * KP_NEAR_SLOT) ||
	    kp_mem_write(c->tid, KP_IDENT_BASE + offsetof(struct kp_ident, near_used), &used, sizeof(used)))
		return;
	for (size_t i = 0; i < count; i++) {
		kp_site_make_jump(jump, &b->site[i], kp_site_slot_at(near->at, near->used + (uint32_t)i));
		if (poke(mem, kp_site_mov(&b->site[i]), jump, sizeof(jump)))
			KP_DEBUG(TRAP, "%d: call site %#" PRIx64 " of %s is patched", c->tid, kp_site_mov(&b->site[i]),
				 b->nr[i] == KP_SITE_ANY ? "any call" : kp_row_of((int)b->nr[i])->name);
	}
}

static void patch(struct kp_call *c, const struct kp_sites_file *f, uint64_t base)
{
	struct near near;
	struct batch b;

	_Static_assert(offsetof(struct kp_ident, pid) == offsetof(struct kp_ident, near) + offsetof(struct near, pid), "read as one");
	gather(c, f, base, &b);
	if (!b.count || kp_mem_read(c->tid, KP_IDENT_BASE + offsetof(struct kp_ident, near), &near, sizeof(near)) || !near.at ||
	    near.at % KP_NEAR_SIZE || near.used >= KP_NEAR_SLOTS || !is_alone(c, near.pid == c->tid))
		return;
	for (size_t i = 0; i < b.count; i++)
		if (!kp_site_is_near(near.at, b.site[i].ip))
			return;
	write_sites(c, &b, &near);
}

void kp_fast_patch(struct kp_call *c)
{
	struct kp_sites *sites = &c->engine->sites;
	uint64_t ip = c->n.data.instruction_pointer, base;
	unsigned often = c->engine->fast_often, calls;
	uint32_t nr = (uint32_t)c->n.data.nr;
	bool exec = nr == SYS_execve, known;
	struct kp_sites_file f;

	/* A process makes one execve; its parent has many children do so. */
	calls = count(OF_THREAD, ip, exec ? 0 : c->tid);
	known = kp_sites_find(sites, ip, nr, &f, &base);
	if (!known && count(OF_PLACE, ip % PAGE, -1 - (pid_t)nr) == often) {
		struct kp_site_code code = {.ip = ip};

		if (!kp_mem_read(c->tid, ip - KP_SITE_CODE, code.bytes, KP_SITE_CODE)) {
			if (kp_site_check(&code, nr))
				kp_sites_learn(sites, c->tid, ip, nr);
			else if (kp_site_check(&code, KP_SITE_ANY))
				kp_sites_learn(sites, c->tid, ip, KP_SITE_ANY);
		}
		known = kp_sites_find(sites, ip, nr, &f, &base);
		calls = 1;
	}
	if (known && calls <= (exec ? OFTEN : 1)) {
		patch(c, &f, base);
	} else if (!known && calls == often) {
		f = (struct kp_sites_file){.count = 1, .place = {{.offset = ip, .nr = nr}}};
		patch(c, &f, 0);
	}
}

static bool note(struct kp_call *c, bool follow, const struct kp_node *n, struct kp_fast_program program)
{
	bool relative = c->path[0][0] != '/';

	return c->vfs->fast && (!relative || c->from_standin) &&
	       kp_fast_put(c->vfs, c->path[0], relative ? c->start.s : NULL, follow, kp_call_cred(c), n, program).at;
}

/* Which directory was written down last, and by which counters that holds. */
struct noted {
	uint64_t hash;
	uint32_t state[2];
};

static struct noted noted_as(struct kp_call *c, const char *slash, const struct kp_node *n)
{
	struct noted to = {.hash = kp_hash_string(c->start.s)};
	struct kp_gpath up;

	for (const char *p = c->path[0]; slash && p < slash; p++)
		to.hash = kp_fast_mix(to.hash, (uint8_t)*p);
	kp_gpath_parent(&n->guest, &up);
	kp_fast_state(c->vfs, up.s, to.state);
	return to;
}

static bool put_dir(struct kp_call *c, char *slash)
{
	struct kp_walk w = {.cred = kp_call_cred(c), .tid = c->tid, .start = c->start.s, .path = slash ? c->path[0] : ".", .follow = true};
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	bool put = false;

	if (slash)
		*slash = '\0';
	if (!kp_resolve(c->vfs, &w, n) && kp_makes_bits(c->vfs, n, w.cred))
		put = slash ? note(c, true, n, (struct kp_fast_program){0}) : kp_fast_put_fd(c->vfs, w.cred, n);
	if (slash)
		*slash = '/';
	free(n);
	return put;
}

/* With the read lock held: the directory that path 0, which led to n, has its last name in, as the path has it or by number. The caller asks the
 * kernel for more names in it himself, where he may. */
static bool note_dir(struct kp_call *c, const struct kp_node *n)
{
	static _Thread_local struct noted last;
	char *slash = strrchr(c->path[0], '/');
	struct noted now;

	if (!slash ? !c->from_standin : slash == c->path[0] || slash[-1] == '/' || !slash[1])
		return false;
	now = noted_as(c, slash, n);
	if (!memcmp(&now, &last, sizeof(now)))
		return true;
	if (!put_dir(c, slash))
		return false;
	last = now;
	return true;
}

static void note_where(struct kp_call *c)
{
	if (c->noted && c->path[0][0] != '/' && c->dirfd[0] == AT_FDCWD)
		kp_where_noted(c);
}

void kp_fast_note(struct kp_call *c, bool follow, int rc, const struct kp_node *n)
{
	if (rc && !n->cut_short)
		return;
	c->noted = note(c, follow, n, (struct kp_fast_program){0});
	if (!rc && c->vfs->fast && n->parent.upper && kp_makes_alone_above(c->vfs, n))
		c->noted |= note_dir(c, n);
	note_where(c);
}

void kp_fast_note_made(struct kp_call *c, const struct kp_node *n)
{
	if (!kp_makes_are_open(c->vfs) || !kp_makes_alone_above(c->vfs, n))
		return;
	kp_vfs_read_lock(c->vfs);
	c->noted = note_dir(c, n);
	kp_vfs_unlock(c->vfs);
	note_where(c);
}

void kp_fast_note_program(struct kp_call *c, const struct kp_node *n, const char *interp, const struct kp_node *interp_n, const struct kp_start *start)
{
	struct kp_fast_program p = {0};

	if (interp && interp[0] == '/')
		p.interp = kp_fast_put(c->vfs, interp, NULL, true, kp_call_cred(c), interp_n, p);
	if (interp && !p.interp.at)
		return;
	p.number = kp_programs_number(&c->engine->programs, start);
	if (p.number && kp_trap_name_loader(c->trap, p.number))
		(void)note(c, true, n, p);
}

void kp_fast_note_fd(struct kp_call *c, const struct kp_node *n)
{
	c->noted = kp_fast_put_fd(c->vfs, kp_call_cred(c), n) || (n->origin == KP_IMAGE && S_ISREG(n->mode) && c->vfs->fast);
}

void kp_fast_filter_comes(struct kp_call *c)
{
	const uint64_t none = 0;

	atomic_store(&c->engine->own_filters, true);
	if (c->engine->fast)
		(void)kp_call_put(c, KP_IDENT_BASE + offsetof(struct kp_ident, near), &none, sizeof(none));
}

bool kp_fast_is_watched(struct kp_call *c)
{
	bool may_be = atomic_load(&c->engine->own_filters) || atomic_load(&c->engine->tracers);
	kp_autofree char *status = may_be ? status_of(c->tid) : NULL;

	return may_be && (!status || c->engine->filters < 0 || is_looked_at(c->engine, status));
}

/* KAPSEL_FAST=off; eager: at the first call, for tests. */
void kp_fast_init(struct kp_engine *e)
{
	const char *how = secure_getenv("KAPSEL_FAST");

	kp_sites_init(&e->sites);
	e->fast_often = how && !strcmp(how, "eager") ? 1 : OFTEN;
	e->fast = e->level == KP_LEVEL_PORTABLE && (!how || strcmp(how, "off") != 0);
}

int kp_fast_start(struct kp_engine *e)
{
	kp_autofree char *text = NULL;

	if (!e->fast)
		return 0;
	if (!(text = status_of(getpid())))
		return -EIO;
	e->tracers = field(text, TRACER) != 0; /* of us, and then of all that are begun here */
	e->filters = field(text, FILTERS);
	e->filters += e->filters >= 0; /* the guests' own */
	e->sites.mem = kp_trap_more(e->trap);
	kp_fast_make(e->vfs, e->sites.mem);
	/* With a trace, or a limit, the supervisor is to see what is made. */
	if (!e->trace && e->limit.limits.max[KP_LIMIT_DISK] == KP_UNLIMITED)
		kp_makes_open(e->vfs);
	if (e->tracers || e->trace)
		kp_fast_settle_all(e->vfs);
	return 0;
}
