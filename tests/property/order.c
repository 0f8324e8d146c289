/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order [-l] ROOT SECONDS SEED: eight processes change the same few names in ROOT/d0..d2 at random; each logs what it did, when, and how it
 * ended. Then an order of all of it is searched in which every result, and the tree that is left, come out of one file system that does
 * one thing after another, and no operation comes before one that had ended when it began (Wing and Gong's check of linearizability).
 * Rounds go on, each from the tree that the last one left, until the time is over. Exit 0, or 1 and the place where no order goes on.
 *
 * Directories d0..d2 stay, so that only the last component of a path is raced for: the kernel's own walk is not atomic. Nor is its link(2),
 * which looks the old name up before it locks the new one's directory: -l takes that in, where it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCS 8
#define OPS 400 /* of each process in a round */
#define DIRS 3
#define NAMES 4
#define PLACES (DIRS * NAMES)
#define TRIES 200000000ULL /* a busy machine, where calls overlap for longer, takes a million now and then */

enum kind { MAKE, DIRECTORY, SYMLINK, UNLINK, RMDIR, RENAME, NOREPLACE, EXCHANGE, LOOK, LINK, KINDS };
static const char *const kind_names[KINDS] = {"make", "mkdir", "symlink", "unlink", "rmdir", "rename", "rename noreplace", "exchange", "look", "link"};

enum type { NOTHING, FILE_, DIR_, LINK_ };

struct op {
	uint64_t start, end;
	uint8_t kind, a, b;
	int16_t result; /* 0 or errno; LOOK: what is there */
};

/* What a name leads to: 0, or its type and who made it. Equal ids are one object. */
typedef uint32_t object;
#define OBJECT(type, number) ((object)(type) << 28 | (object)(number))
#define TYPE(o) ((enum type)((o) >> 28))

struct tree {
	object at[PLACES];
};

static struct op (*logs)[OPS];
static uint64_t seed_state;
static bool links;
static unsigned round_number;

static unsigned any(unsigned below)
{
	seed_state ^= seed_state << 13;
	seed_state ^= seed_state >> 7;
	seed_state ^= seed_state << 17;
	return (unsigned)(seed_state >> 24) % below;
}

static uint64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static const char *path_of(unsigned place, char *buf)
{
	(void)sprintf(buf, "d%u/n%u", place / NAMES, place % NAMES);
	return buf;
}

static void word(unsigned proc, unsigned i, char *buf)
{
	(void)sprintf(buf, "made %u %u %u", round_number, proc, i);
}

/* --- what is done --- */

static int look(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? NOTHING : -errno;
	return S_ISDIR(st.st_mode) ? DIR_ : S_ISLNK(st.st_mode) ? LINK_ : FILE_;
}

static int make(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) < 0)
		perror("write");
	return close(fd);
}

static int carry_out(const struct op *op, const char *text)
{
	char a[16], b[16];

	(void)path_of(op->a, a);
	(void)path_of(op->b, b);
	switch ((enum kind)op->kind) {
	case MAKE:
		return make(a, text);
	case DIRECTORY:
		return mkdir(a, 0755);
	case SYMLINK:
		return symlink(text, a);
	case UNLINK:
		return unlink(a);
	case RMDIR:
		return rmdir(a);
	case RENAME:
		return rename(a, b);
	case NOREPLACE:
		return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE);
	case EXCHANGE:
		return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	case LINK:
		return linkat(AT_FDCWD, a, AT_FDCWD, b, 0);
	case LOOK:
	case KINDS:
		break;
	}
	return -1;
}

static void work(unsigned proc)
{
	for (unsigned i = 0; i < OPS; i++) {
		struct op op = {.kind = (uint8_t)any(links ? KINDS : LINK), .a = (uint8_t)any(PLACES), .b = (uint8_t)any(PLACES)};
		char text[64], path[16];

		word(proc, i, text);
		op.start = now();
		op.result = (int16_t)(op.kind == LOOK ? look(path_of(op.a, path)) : carry_out(&op, text) < 0 ? errno : 0);
		op.end = now();
		logs[proc][i] = op;
	}
}

/* --- what should come of it --- */

static int remove_from(struct tree *t, unsigned a, bool dir)
{
	if (!t->at[a])
		return ENOENT;
	if (dir != (TYPE(t->at[a]) == DIR_))
		return dir ? ENOTDIR : EISDIR;
	t->at[a] = 0;
	return 0;
}

static int move(struct tree *t, const struct op *op)
{
	object *from = &t->at[op->a], *to = &t->at[op->b], other = *to;

	if (!*from)
		return ENOENT;
	if (op->kind == NOREPLACE && *to)
		return EEXIST;
	if (op->kind == EXCHANGE && !*to)
		return ENOENT;
	if (*from == *to)
		return 0;
	if (op->kind != EXCHANGE && *to && (TYPE(*from) == DIR_) != (TYPE(*to) == DIR_))
		return TYPE(*from) == DIR_ ? ENOTDIR : EISDIR;
	*to = *from;
	*from = op->kind == EXCHANGE ? other : 0;
	return 0;
}

static int expect(struct tree *t, const struct op *op, unsigned proc, unsigned i)
{
	static const enum type made[] = {[MAKE] = FILE_, [DIRECTORY] = DIR_, [SYMLINK] = LINK_};

	switch ((enum kind)op->kind) {
	case MAKE:
	case DIRECTORY:
	case SYMLINK:
		if (t->at[op->a])
			return EEXIST;
		t->at[op->a] = OBJECT(made[op->kind], PLACES + proc * OPS + i);
		return 0;
	case UNLINK:
	case RMDIR:
		return remove_from(t, op->a, op->kind == RMDIR);
	case RENAME:
	case NOREPLACE:
	case EXCHANGE:
		return move(t, op);
	case LINK:
		if (!t->at[op->a])
			return ENOENT;
		if (t->at[op->b])
			return EEXIST;
		if (TYPE(t->at[op->a]) == DIR_)
			return EPERM;
		t->at[op->b] = t->at[op->a];
		return 0;
	case LOOK:
		return TYPE(t->at[op->a]);
	case KINDS:
		break;
	}
	return -1;
}

/* --- the tree that is there --- */

static void read_text(const char *path, enum type type, char *buf, size_t size)
{
	ssize_t n = 0;

	if (type == LINK_) {
		n = readlink(path, buf, size - 1);
	} else if (type == FILE_) {
		int fd = open(path, O_RDONLY);

		n = fd < 0 ? -1 : read(fd, buf, size - 1);
		(void)close(fd);
	}
	if (n < 0)
		perror(path);
	buf[n < 0 ? 0 : n] = '\0';
}

struct found {
	struct tree tree; /* ids: the first place that has the object */
	char text[PLACES][64];
};

static void scan(struct found *f)
{
	ino_t numbers[PLACES];
	char path[16];

	for (unsigned p = 0; p < PLACES; p++) {
		struct stat st;
		unsigned first = p;

		f->tree.at[p] = 0;
		f->text[p][0] = '\0';
		numbers[p] = 0;
		if (lstat(path_of(p, path), &st) < 0)
			continue;
		numbers[p] = st.st_ino;
		for (unsigned q = p; q-- > 0;)
			if (numbers[q] == st.st_ino)
				first = q;
		f->tree.at[p] = OBJECT(S_ISDIR(st.st_mode) ? DIR_ : S_ISLNK(st.st_mode) ? LINK_ : FILE_, first);
		read_text(path, TYPE(f->tree.at[p]), f->text[p], sizeof(f->text[p]));
	}
}

/* Is what the model has in the end what was found? */
static bool agrees(const struct tree *t, const struct found *before, const struct found *after)
{
	for (unsigned p = 0; p < PLACES; p++) {
		uint32_t number = t->at[p] & 0xfffffff;
		char text[64];

		if (TYPE(t->at[p]) != TYPE(after->tree.at[p]))
			return false;
		for (unsigned q = 0; q < p; q++)
			if ((t->at[p] == t->at[q]) != (after->tree.at[p] == after->tree.at[q]))
				return false;
		if (TYPE(t->at[p]) != FILE_ && TYPE(t->at[p]) != LINK_)
			continue;
		if (number < PLACES)
			(void)strcpy(text, before->text[number]);
		else
			word((number - PLACES) / OPS, (number - PLACES) % OPS, text);
		if (strcmp(text, after->text[p]) != 0)
			return false;
	}
	return true;
}

/* --- the search --- */

struct step {
	struct tree before;
	uint8_t proc, tried; /* which was taken; which were tried here (bits) */
};

#define SEEN (1U << 22)
static uint64_t *seen; /* hashes of positions that lead nowhere */

static uint64_t hash(const struct tree *t, const unsigned pos[PROCS])
{
	uint64_t h = 14695981039346656037U;

	for (unsigned p = 0; p < PLACES; p++)
		h = (h ^ t->at[p]) * 1099511628211U;
	for (unsigned p = 0; p < PROCS; p++)
		h = (h ^ pos[p]) * 1099511628211U;
	return (h ^ h >> 29) | 1;
}

static void tell(const struct tree *t, const unsigned pos[PROCS])
{
	for (unsigned p = 0; p < PROCS; p++) {
		const struct op *op = &logs[p][pos[p]];

		if (pos[p] < OPS)
			printf("next of %u: %s d%u/n%u d%u/n%u = %d, %llu..%llu\n", p, kind_names[op->kind], op->a / NAMES, op->a % NAMES,
			       op->b / NAMES, op->b % NAMES, op->result, (unsigned long long)op->start, (unsigned long long)op->end);
	}
	for (unsigned p = 0; p < PLACES; p++)
		printf("%x%c", t->at[p], p + 1 < PLACES ? ' ' : '\n');
}

/* Takes the first operation that may come next, was not tried, and ends as it did. */
static bool go_on(struct tree *t, unsigned pos[PROCS], struct step *s)
{
	uint64_t first_end = UINT64_MAX;

	for (unsigned p = 0; p < PROCS; p++)
		if (pos[p] < OPS && logs[p][pos[p]].end < first_end)
			first_end = logs[p][pos[p]].end;
	for (unsigned p = 0; p < PROCS; p++) {
		const struct op *op = &logs[p][pos[p]];
		struct tree next = *t;

		if (pos[p] >= OPS || s->tried & 1U << p || op->start > first_end)
			continue;
		s->tried |= (uint8_t)(1U << p);
		if (expect(&next, op, p, pos[p]) != op->result)
			continue;
		s->before = *t;
		s->proc = (uint8_t)p;
		*t = next;
		pos[p]++;
		return true;
	}
	return false;
}

static bool find_order(const struct found *before, const struct found *after)
{
	static struct step steps[PROCS * OPS + 1];
	unsigned pos[PROCS] = {0}, deepest[PROCS] = {0};
	struct tree t = before->tree, deep = t;
	size_t depth = 0, most = 0;

	memset(seen, 0, SEEN * sizeof(*seen));
	steps[0].tried = 0;
	for (uint64_t tries = 0; tries < TRIES; tries++) {
		uint64_t h;

		if (depth == PROCS * OPS && agrees(&t, before, after))
			return true;
		if (depth < PROCS * OPS && go_on(&t, pos, &steps[depth])) {
			steps[++depth].tried = 0;
			h = hash(&t, pos);
			if (seen[h % SEEN] == h)
				steps[depth].tried = 0xff;
			if (depth > most) {
				most = depth;
				memcpy(deepest, pos, sizeof(pos));
				deep = t;
			}
			continue;
		}
		h = hash(&t, pos);
		seen[h % SEEN] = h;
		if (!depth)
			break;
		depth--;
		t = steps[depth].before;
		pos[steps[depth].proc]--;
	}
	printf("round %u: no order explains it; the longest stops after %zu of %d operations\n", round_number, most, PROCS * OPS);
	tell(&deep, deepest);
	if (most == PROCS * OPS)
		tell(&after->tree, deepest);
	return false;
}

static bool one_round(void)
{
	struct found before, after;
	bool ended = true;

	scan(&before);
	(void)fflush(stdout);
	for (unsigned p = 0; p < PROCS; p++) {
		uint64_t own = seed_state ^ (p + 1) * 0x9e3779b97f4a7c15U;

		if (fork() == 0) {
			seed_state = own;
			work(p);
			_exit(0);
		}
	}
	for (int status; wait(&status) > 0;)
		ended &= status == 0;
	scan(&after);
	(void)any(2);
	if (!ended)
		printf("round %u: a process died\n", round_number);
	return ended && find_order(&before, &after);
}

int main(int argc, char **argv)
{
	uint64_t begun = now();

	if (argc > 1 && !strcmp(argv[1], "-l")) {
		links = true;
		argv++, argc--;
	}
	if (argc != 4 || chdir(argv[1]) < 0) {
		(void)fprintf(stderr, "usage: order [-l] ROOT SECONDS SEED\n");
		return 1;
	}
	seed_state = (strtoull(argv[3], NULL, 10) + 1) * 0x2545f4914f6cdd1dU;
	logs = mmap(NULL, sizeof(*logs) * PROCS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	seen = calloc(SEEN, sizeof(*seen));
	for (unsigned d = 0; d < DIRS; d++) {
		char path[16];

		(void)sprintf(path, "d%u", d);
		(void)mkdir(path, 0755);
	}
	do {
		round_number++;
		if (!one_round())
			return 1;
	} while (now() - begun < strtoull(argv[2], NULL, 10) * 1000000000U);
	printf("%u rounds, %u operations, each in some order\n", round_number, round_number * PROCS * OPS);
	return 0;
}
