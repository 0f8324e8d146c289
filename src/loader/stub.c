/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path in a guest's process: what a patched call site runs in place of its system call. No libc, no locks, no state but a
 * count that answers nothing (wants_telling), little stack: it may be interrupted, left by longjmp and entered again anywhere. It
 * answers from the cache only what the supervisor has written there and nothing has moved since; for all else the call is made as it
 * was. Bad pointers are the kernel's to find: nothing of the guest's is touched that no system call has touched before.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kapsel/fast.h"
#include "loader/attributes.h"
#include "loader/answer.h"
#include "loader/call.h"
#include "loader/patch.h"

#define PAGE 4096ULL
#define TASK_SIZE 0x7ffffffff000ULL
#define STACK_NEAR 16384ULL
#define WANTS_TELLING 32
#define NOT_A_HOW 77 /* rt_sigprocmask reads the set, then finds that it cannot be told what to do with it */

long kp_stub(const struct regs *r);

/* The eight bytes there, which lie in one page. */
static bool is_readable(uint64_t addr)
{
	return kp_call4(SYS_rt_sigprocmask, NOT_A_HOW, addr & ~7ULL, 0, 8) == -EINVAL;
}

/* Writable is what the kernel can write: it is given the bytes that will be overwritten anyway, eight or more. */
static bool is_writable(const struct query *q, uint64_t size)
{
	uint64_t frame = (uint64_t)q->regs->red_zone, last = q->buf + size - 8;

	if (q->buf >= frame && q->buf < frame + STACK_NEAR)
		return true; /* the caller's own */
	if (size < 8 || q->buf >= TASK_SIZE - size)
		return false;
	return !kp_call4(SYS_rt_sigprocmask, 0, 0, q->buf, 8) && !kp_call4(SYS_rt_sigprocmask, 0, 0, last, 8);
}

/* Hashes the path, page by page after the kernel has read it. Its length, 0 where the cache cannot have it or nothing is there. */
static size_t hash_path(uint64_t path, uint64_t *ret_hash)
{
	const uint8_t *p = (const uint8_t *)path;
	uint64_t h = KP_FAST_SEED;
	size_t len = 0;

	if (path < PAGE || path > TASK_SIZE - KP_FAST_TEXT || !is_readable(path))
		return 0;
	for (; p[len]; len++) {
		h = kp_fast_mix(h, p[len]);
		if (len >= KP_FAST_TEXT - 2 || (!((path + len + 1) % PAGE) && !is_readable(path + len + 1)))
			return 0;
	}
	*ret_hash = h;
	return len;
}

static bool same(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

const struct kp_fast_entry *kp_find(const struct query *q, uint64_t hash, size_t len, uint64_t dev, uint64_t ino, uint32_t *ret_seq)
{
	uint64_t key = kp_fast_key(hash, dev, ino);
	const uint32_t *set = fast->index[key % KP_FAST_SETS];

	for (size_t i = 0; i < KP_FAST_WAYS; i++) {
		const struct kp_fast_entry *e = &fast->entries[kp_load32(&set[i]) % KP_FAST_ENTRIES];
		uint32_t seq = kp_load32(&e->seq);

		if (e->hash == (uint32_t)(key >> 16) && !(seq & 1) && e->path_len == len && e->calls & q->links && e->ino == ino &&
		    e->dev == dev && same(e->text, (const char *)q->path, len + 1) && holds(e, seq)) {
			*ret_seq = seq;
			return e;
		}
	}
	return NULL;
}

static long access_of(const struct query *q, const struct kp_fast_entry *e, uint32_t seq)
{
	bool granted = S_ISLNK(e->mode) || !(q->mode & ~e->perm);

	return holds(e, seq) ? (granted ? 0 : -EACCES) : MISS;
}

static long link_of(const struct query *q, const struct kp_fast_entry *e, uint32_t seq)
{
	size_t at = e->second, len = 0;

	if (!S_ISLNK(e->mode))
		return holds(e, seq) ? -EINVAL : MISS;
	if (!e->has_target || at >= KP_FAST_TEXT)
		return MISS;
	while (at + len < KP_FAST_TEXT && e->text[at + len])
		len++;
	if (len > (size_t)(int)q->size)
		len = (size_t)(int)q->size;
	if (!is_writable(q, len) || !holds(e, seq))
		return MISS;
	kp_copy((void *)q->buf, e->text + at, len);
	return holds(e, seq) ? (long)len : MISS;
}

/* The kernel fills the caller's own buffer, where it can. */
static long ask_kernel(const struct kp_fast_entry *e, void *buf)
{
	if (e->second >= KP_FAST_TEXT)
		return MISS;
	return kp_gate(SYS_newfstatat, (uint64_t)AT_FDCWD, (uint64_t)(e->text + e->second), (uint64_t)buf, AT_SYMLINK_NOFOLLOW);
}

/* Where a guest may have made it meanwhile the kernel says whether one has. */
static long absent_of(const struct kp_fast_entry *e, uint32_t seq)
{
	struct stat st;

	if (e->second && ask_kernel(e, &st) != -ENOENT)
		return MISS;
	return holds(e, seq) ? -ENOENT : MISS;
}

static long stat_of(const struct query *q, const struct kp_fast_entry *e, uint32_t seq)
{
	struct stat *st = (struct stat *)q->buf;

	if (e->kind == KP_FAST_RECORD ? !is_writable(q, sizeof(*st)) : ask_kernel(e, st) != 0)
		return MISS;
	return holds(e, seq) && kp_complete(e, st) && holds(e, seq) ? 0 : MISS;
}

static long statx_of(const struct query *q, const struct kp_fast_entry *e, uint32_t seq)
{
	struct stat st;

	if (e->kind != KP_FAST_RECORD && ask_kernel(e, &st) != 0)
		return MISS;
	if (!holds(e, seq) || !kp_complete(e, &st) || !holds(e, seq) || !is_writable(q, sizeof(struct statx)))
		return MISS;
	kp_to_statx(&st, (struct statx *)q->buf);
	return 0;
}

long kp_give(const struct query *q, const struct stat *st)
{
	if (!is_writable(q, q->what == STAT ? sizeof(*st) : sizeof(struct statx)))
		return MISS;
	if (q->what == STAT)
		kp_copy((void *)q->buf, st, sizeof(*st));
	else
		kp_to_statx(st, (struct statx *)q->buf);
	return 0;
}

/* A socket, or a pipe without a name: guests see of it what the kernel says. */
static bool is_nobodys(const struct stat *st)
{
	return S_ISSOCK(st->st_mode) || (S_ISFIFO(st->st_mode) && st->st_dev == fast->pipe_dev);
}

/* A descriptor: known by what it is of. */
static long answer_fd(const struct query *given)
{
	const struct kp_fast_entry *e;
	struct query q = *given;
	struct stat st;
	uint32_t seq;

	/* The kernel reads the caller's own empty string, so that it may be looked at. */
	if (q.dirfd < 0 || q.path < PAGE || kp_gate(SYS_newfstatat, (uint64_t)q.dirfd, q.path, (uint64_t)&st, AT_EMPTY_PATH) || *(const char *)q.path)
		return MISS;
	q.path = (uint64_t)"";
	q.links = KP_FAST_FOLLOW;
	e = kp_find(&q, KP_FAST_SEED, 0, st.st_dev, st.st_ino, &seq);
	if (!e && kp_is_known(&st))
		return kp_complete(&kp_plain, &st) ? kp_give(&q, &st) : MISS;
	if (!e)
		return q.what == STAT && is_nobodys(&st) ? kp_give(&q, &st) : MISS;
	if (e->kind == KP_FAST_DIR)
		return q.what == STAT ? stat_of(&q, e, seq) : statx_of(&q, e, seq);
	return st.st_nlink && kp_complete(e, &st) && holds(e, seq) ? kp_give(&q, &st) : MISS;
}

/* By number: what a child that was forked or vforked has in memory is its parent's. */
static bool is_placed(uint64_t *ret_dev, uint64_t *ret_ino)
{
	const struct kp_fast_place *p;
	uint32_t moved = kp_load32(&fast->moved), tid, seq;

	if (kp_load32(&fast->placed) != moved)
		return false;
	tid = (uint32_t)kp_call4(SYS_gettid, 0, 0, 0, 0);
	p = &fast->places[tid % KP_FAST_PLACES];
	seq = kp_load32(&p->seq);
	if (seq & 1 || p->tid != tid || p->moved != moved)
		return false;
	*ret_dev = p->dev;
	*ret_ino = p->ino;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return kp_load32(&p->seq) == seq && kp_load32(&fast->moved) == moved;
}

/* Who asks the kernel often goes to the supervisor, which tells him: a program whose every name is known never would. At ever longer intervals: not
 * everybody can be told. The count may be another process's copy, or torn between threads. */
static bool wants_telling(void)
{
	static uint32_t asked, moved;
	uint32_t now = kp_load32(&fast->moved);

	if (moved != now) {
		moved = now;
		asked = 0;
	}
	asked++;
	return asked >= WANTS_TELLING && !(asked & (asked - 1));
}

/* The real directory that the call starts from. */
bool kp_start_of(const struct query *q, uint64_t *ret_dev, uint64_t *ret_ino)
{
	struct stat st;

	if (q->dirfd == AT_FDCWD && is_placed(ret_dev, ret_ino))
		return true;
	if (q->dirfd == AT_FDCWD && wants_telling())
		return false;
	if (kp_gate(SYS_newfstatat, (uint64_t)(int64_t)q->dirfd, (uint64_t)"", (uint64_t)&st, AT_EMPTY_PATH))
		return false;
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
	return true;
}

static long answer_cwd(struct query *q)
{
	const struct kp_fast_entry *e;
	uint64_t dev, ino;
	uint32_t seq;
	size_t len = 1;

	q->path = (uint64_t)"";
	q->links = KP_FAST_GETCWD;
	if (!kp_start_of(q, &dev, &ino) || !(e = kp_find(q, KP_FAST_SEED, 0, dev, ino, &seq)))
		return MISS;
	while (e->second + len < KP_FAST_TEXT && e->text[e->second + len - 1])
		len++;
	if (e->second + len >= KP_FAST_TEXT || len > q->size || !is_writable(q, len) || !holds(e, seq))
		return MISS;
	kp_copy((void *)q->buf, e->text + e->second, len);
	return holds(e, seq) ? (long)len : MISS;
}

static const struct kp_fast_entry *entry_of(struct query *q, uint32_t *ret_seq)
{
	uint64_t hash, dev = 0, ino = 0;

	q->len = hash_path(q->path, &hash);
	if (!q->len || (*(const char *)q->path != '/' && !kp_start_of(q, &dev, &ino)))
		return NULL;
	return kp_find(q, hash, q->len, dev, ino, ret_seq);
}

/* Which program of those that are known by that name; 0: none. */
static uint32_t program_of(struct query *q)
{
	struct kp_fast_program p;
	uint32_t seq;
	const struct kp_fast_entry *e = kp_load32(&fast->settles) ? NULL : entry_of(q, &seq);

	if (!e || !(e->perm & 1))
		return 0;
	p = e->program;
	if (!holds(e, seq) || (p.interp.at && !holds(&fast->entries[p.interp.at % KP_FAST_ENTRIES], p.interp.seq)))
		return 0;
	return p.number < KP_LOADER_NAMES ? p.number : 0;
}

/* What is executed is the exec loader, by the name of a program that is known, or after the supervisor has settled which it will be: the gate is
 * open for that alone. */
static long execute(struct query *q)
{
	const struct regs *r = q->regs;
	uint32_t program;
	long ret;

	if (!*(const char *)KP_SCRATCH_LOADER)
		return MISS;
	program = program_of(q);
	ret = program ? KP_EXEC_READY : kp_ask(SYS_execve, r->rdi, r->rsi, r->rdx, 0);
	return ret == KP_EXEC_READY ? kp_gate(SYS_execve, KP_SCRATCH_LOADER + program * KP_LOADER_NAME, r->rsi, r->rdx, 0) : ret;
}

static long answer(struct query *q)
{
	const struct kp_fast_entry *e;
	uint32_t seq;

	if (q->what == READLINK && (int)q->size <= 0)
		return MISS;
	e = entry_of(q, &seq);
	if (!e)
		return q->len ? kp_alone(q) : MISS;
	if (e->kind == KP_FAST_ABSENT)
		return absent_of(e, seq);
	switch (q->what) {
	case STAT:
		return stat_of(q, e, seq);
	case STATX:
		return statx_of(q, e, seq);
	case ACCESS:
		return access_of(q, e, seq);
	case OPEN:
		return kp_open(q, e, seq);
	case READLINK:
		return link_of(q, e, seq);
	case STATFS:
	default:
		return MISS;
	}
}

static bool succeeds(long ret)
{
	return (unsigned long)ret < -4095UL;
}

/* A library that is mapped, whose sites are known. */
static long map(const struct regs *r)
{
	struct kp_mapping m = {.len = (r->rsi + PAGE - 1) & ~(PAGE - 1), .off = r->r9, .prot = (int)r->rdx, .fd = (int)r->r8};
	const struct kp_sites_file *f;
	uint64_t signals;
	struct stat st;
	long ret;

	if (r->rdx != (PROT_READ | PROT_EXEC) || (r->r10 & (MAP_TYPE | MAP_ANONYMOUS)) != MAP_PRIVATE ||
	    kp_gate(SYS_newfstatat, r->r8, (uint64_t)"", (uint64_t)&st, AT_EMPTY_PATH) || !(f = kp_patch_known(st.st_ino)))
		return MISS;
	m.size = (uint64_t)st.st_size;
	m.dev = st.st_dev;
	if (r->r10 & MAP_FIXED && !(r->r10 & ~(uint64_t)(MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE))) {
		m.addr = r->rdi;
		if (kp_patch_prepared(&m, f))
			return (long)m.addr;
	}
	signals = kp_block(~0ULL);
	ret = kp_call6(SYS_mmap, r->rdi, r->rsi, r->rdx | PROT_WRITE, r->r10, r->r8, r->r9);
	m.addr = (uint64_t)ret;
	m.writable = succeeds(ret);
	if (m.writable)
		kp_patch(&m, f);
	kp_block(signals);
	return m.writable ? ret : MISS;
}

#define LINKS(nofollow) ((nofollow) ? KP_FAST_NOFOLLOW : KP_FAST_FOLLOW)
#define ACCESS_MODES 7ULL

static long answer_open(struct query *q)
{
	uint64_t hash;

	q->what = OPEN;
	if (q->mode & O_CREAT)
		return (q->len = hash_path(q->path, &hash)) ? kp_make(q) : MISS;
	if (q->mode & (O_TMPFILE & ~O_DIRECTORY))
		return MISS;
	q->links = LINKS(q->mode & O_NOFOLLOW);
	return answer(q);
}

/* The calls that start from a directory. */
static long answer_at(const struct regs *r)
{
	struct query q = {.what = STAT, .dirfd = (int)r->rdi, .path = r->rsi, .buf = r->rdx, .regs = r};
	int flags = 0;

	switch (r->rax) {
	case SYS_openat:
		q.mode = (int)r->rdx;
		q.make = (uint32_t)r->r10;
		return answer_open(&q);
	case SYS_newfstatat:
		flags = (int)r->r10;
		break;
	case SYS_statx:
		q.what = STATX;
		flags = (int)r->rdx;
		q.buf = r->r8;
		if (r->r10 & 0x80000000U)
			return MISS;
		break;
	case SYS_faccessat2:
		flags = (int)r->r10;
		if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW))
			return MISS;
		flags &= AT_SYMLINK_NOFOLLOW;
		/* fallthrough */
	case SYS_faccessat:
		q.what = ACCESS;
		q.mode = (int)r->rdx;
		if (r->rdx & ~ACCESS_MODES)
			return MISS;
		break;
	case SYS_readlinkat:
		q.what = READLINK;
		flags = AT_SYMLINK_NOFOLLOW;
		q.size = r->r10;
		break;
	default:
		return MISS;
	}
	if (flags == AT_EMPTY_PATH && (q.what == STAT || q.what == STATX))
		return answer_fd(&q);
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return MISS;
	q.links = LINKS(flags & AT_SYMLINK_NOFOLLOW);
	return answer(&q);
}

/* The same checks of flags as the supervisor makes; what it would refuse goes to it. */
static long answer_call(const struct regs *r)
{
	const struct kp_ident *ident = (const struct kp_ident *)KP_IDENT_BASE;
	struct query q = {.what = STAT, .dirfd = AT_FDCWD, .path = r->rdi, .buf = r->rsi, .links = KP_FAST_FOLLOW, .regs = r};

	if (!ident->near || !kp_load32(&fast->on))
		return MISS;
	switch (r->rax) {
	case SYS_stat:
		return answer(&q);
	case SYS_lstat:
		q.links = KP_FAST_NOFOLLOW;
		return answer(&q);
	case SYS_access:
		q.what = ACCESS;
		q.mode = (int)r->rsi;
		return r->rsi & ~ACCESS_MODES ? MISS : answer(&q);
	case SYS_readlink:
		q.what = READLINK;
		q.links = KP_FAST_NOFOLLOW;
		q.size = r->rdx;
		return answer(&q);
	case SYS_statfs:
		q.what = STATFS;
		return answer(&q);
	case SYS_open:
		q.mode = (int)r->rsi;
		q.make = (uint32_t)r->rdx;
		return answer_open(&q);
	case SYS_fstat:
		q.dirfd = (int)r->rdi;
		q.path = (uint64_t)"";
		return answer_fd(&q);
	case SYS_getcwd:
		q.buf = r->rdi;
		q.size = r->rsi;
		return answer_cwd(&q);
	case SYS_execve:
		return execute(&q);
	case SYS_mmap:
		return map(r);
	default:
		return answer_at(r);
	}
}

/* What is not answered is made at its site, where threads may be cancelled, a child may have a stack of its own, and the supervisor may have a call
 * restarted. Not these: a call that still waits for the supervisor can be interrupted, and handlers without SA_RESTART make that EINTR, which
 * none of these calls ever returns: here it is made again. */
static bool is_made_here(uint64_t nr)
{
	switch (nr) {
	case SYS_stat:
	case SYS_lstat:
	case SYS_fstat:
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_statfs:
	case SYS_access:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_readlink:
	case SYS_readlinkat:
	case SYS_getcwd:
	case SYS_execve:
		return true;
	default:
		return false;
	}
}

long kp_stub(const struct regs *r)
{
	long ret = answer_call(r);

	while ((ret == MISS || ret == -EINTR) && is_made_here(r->rax))
		ret = kp_call6((long)r->rax, r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
	return ret;
}
