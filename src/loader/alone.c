/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in directories in which nothing lies but what the instance has: the kernel is asked for them, whether the supervisor has heard of them or
 * not, and files that are not there are made. What has a record, and what is no file, is the supervisor's to tell of.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "loader/answer.h"
#include "loader/patch.h"

#define NAME_ROOM 256U
#define MADE 64U

struct place {
	const struct kp_fast_entry *dir;
	uint32_t seq;
	char host[KP_FAST_TEXT + NAME_ROOM];
};

/* Files without a record that this process made or opened so, by number, with the counters that it holds by: while one of them is open, no other has it. */
static struct known {
	uint32_t seq; /* odd while it is written */
	uint32_t all, counter;
	uint64_t dev, ino;
} known[MADE];

static const uint32_t *counter_of(const struct stat *st)
{
	return &fast->names[kp_fast_inode_slot(st->st_dev, st->st_ino)];
}

/* counter: from before it was seen to have a name. */
static void remember(const struct stat *st, uint32_t all, uint32_t counter)
{
	struct known *k = &known[st->st_ino % MADE];
	uint32_t before = kp_load32(&k->seq);

	/* Another thread, or who was interrupted by this one, is at it. */
	if (before & 1 || !__atomic_compare_exchange_n(&k->seq, &before, before + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	k->all = all;
	k->counter = counter;
	k->dev = st->st_dev;
	k->ino = st->st_ino;
	__atomic_store_n(&k->seq, before + 2, __ATOMIC_SEQ_CST);
}

bool kp_is_known(const struct stat *st)
{
	const struct known *k = &known[st->st_ino % MADE];
	uint32_t before = kp_load32(&k->seq), all = k->all, counter = k->counter;
	bool same = k->dev == st->st_dev && k->ino == st->st_ino;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return same && before && !(before & 1) && kp_load32(&k->seq) == before && all == kp_load32(&fast->all) && counter == kp_load32(counter_of(st));
}

/* A file of the instance that has no record, as guests see it. */
static bool is_plain(struct stat *st)
{
	return S_ISREG(st->st_mode) && kp_complete(&kp_plain, st);
}

/* What the descriptor is of, written down. expected: what it was a moment ago; false: it is another, or has got a record. */
static bool look_at(int fd, const struct stat *expected)
{
	uint32_t all = kp_load32(&fast->all), counter;
	struct stat st;

	if (!expected && kp_gate(SYS_newfstatat, (uint64_t)fd, (uint64_t)"", (uint64_t)&st, AT_EMPTY_PATH))
		return false;
	/* Read before it is seen to have a name still: who takes that moves it. */
	counter = kp_load32(counter_of(expected ? expected : &st));
	if (kp_gate(SYS_newfstatat, (uint64_t)fd, (uint64_t)"", (uint64_t)&st, AT_EMPTY_PATH) || !S_ISREG(st.st_mode) || st.st_mode & S_ISVTX ||
	    (st.st_mode & KP_GATE_MAKE_OWNER) != KP_GATE_MAKE_OWNER ||
	    (expected && (st.st_ino != expected->st_ino || st.st_dev != expected->st_dev)))
		return false;
	if (st.st_nlink)
		remember(&st, all, counter);
	return true;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The directory's entry: by its name as the path has it, or by number where that has none. */
static const struct kp_fast_entry *dir_of(const struct query *q, size_t name, uint32_t *ret_seq)
{
	const char *path = (const char *)q->path;
	uint64_t hash = KP_FAST_SEED, dev = 0, ino = 0;
	char text[KP_FAST_TEXT];
	struct query dir = *q;
	size_t len = name ? name - 1 : 0;

	if ((!name || path[0] != '/') && !kp_start_of(q, &dev, &ino))
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[i] = path[i];
		hash = kp_fast_mix(hash, (uint8_t)path[i]);
	}
	text[len] = '\0';
	dir.path = (uint64_t)text;
	dir.links = KP_FAST_FOLLOW;
	return kp_find(&dir, hash, len, dev, ino, ret_seq);
}

/* The path of q, of which the kernel has read q->len bytes, is that of a name in such a directory: its place on the host. */
static bool is_alone(const struct query *q, uint8_t bit, struct place *p)
{
	const char *path = (const char *)q->path;
	size_t name = q->len, at = 0;

	while (name && path[name - 1] != '/')
		name--;
	if (name == q->len || q->len - name >= NAME_ROOM || is_dots(path + name) || (name && (name < 2 || path[name - 2] == '/')))
		return false;
	p->dir = dir_of(q, name, &p->seq);
	if (!p->dir || p->dir->kind != KP_FAST_DIR || !(p->dir->perm & bit))
		return false;
	while (p->dir->second + at < KP_FAST_TEXT && p->dir->text[p->dir->second + at]) {
		p->host[at] = p->dir->text[p->dir->second + at];
		at++;
	}
	p->host[at++] = '/';
	kp_copy(p->host + at, path + name, q->len - name + 1);
	return holds(p->dir, p->seq);
}

static long open_plain(const struct query *q, const struct place *p, const struct stat *st)
{
	long fd;

	if (q->mode & (~KP_GATE_OPEN_FLAGS | O_DIRECTORY))
		return MISS;
	fd = kp_gate(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, (uint64_t)p->host, (uint64_t)q->mode, 0);
	if (fd < 0)
		return fd == -EMFILE ? fd : MISS;
	if (look_at((int)fd, st) && holds(p->dir, p->seq))
		return fd;
	kp_call4(SYS_close, (uint64_t)fd, 0, 0, 0);
	return MISS;
}

long kp_alone(const struct query *q)
{
	struct stat st, host;
	struct place p;
	long ret;

	if (!is_alone(q, KP_FAST_ALONE, &p))
		return MISS;
	ret = kp_gate(SYS_newfstatat, (uint64_t)(int64_t)AT_FDCWD, (uint64_t)p.host, (uint64_t)&st, AT_SYMLINK_NOFOLLOW);
	if (ret == -ENOENT && holds(p.dir, p.seq))
		return -ENOENT;
	host = st;
	if (ret || !is_plain(&st) || !holds(p.dir, p.seq))
		return MISS;
	switch (q->what) {
	case STAT:
	case STATX:
		return kp_give(q, &st);
	case ACCESS:
		return q->mode ? MISS : 0;
	case READLINK:
		return -EINVAL;
	case OPEN:
		return open_plain(q, &p, &host);
	case STATFS:
	default:
		return MISS;
	}
}

/* What a umask has made of it is not known before. One that its owner cannot read and write is to have a record: the supervisor gives it that, and from
 * then on makes all files itself. */
static void made(int fd)
{
	struct stat st;

	if (look_at(fd, NULL) || kp_gate(SYS_newfstatat, (uint64_t)fd, (uint64_t)"", (uint64_t)&st, AT_EMPTY_PATH))
		return;
	while (kp_call4(SYS_fchmod, (uint64_t)fd, st.st_mode & KP_GATE_MAKE_MODE, 0, 0) == -EINTR)
		continue;
}

/* Made where it belongs, if it still is not there. */
long kp_make(const struct query *q)
{
	struct place p;
	long fd;

	if (!kp_load32(&fast->makes) || kp_load32(&fast->alive[0]) & KP_FAST_DEAD || q->mode & ~(KP_GATE_MAKE_FLAGS | O_TRUNC) ||
	    q->make & ~KP_GATE_MAKE_MODE || (q->make & KP_GATE_MAKE_OWNER) != KP_GATE_MAKE_OWNER || (q->mode & O_ACCMODE) == O_ACCMODE ||
	    !is_alone(q, KP_FAST_MAKE, &p))
		return MISS;
	fd = kp_gate(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, (uint64_t)p.host, (uint64_t)((q->mode & ~O_TRUNC) | KP_GATE_MAKES), q->make);
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE ? fd : MISS;
	/* Another directory may have taken the name on the way, with more in it: whether the file is to be there is the supervisor's to say. */
	if (!holds(p.dir, p.seq) && kp_ask(SYS_openat, (uint64_t)fd, (uint64_t)p.host, 0, 0) == -EAGAIN) {
		kp_call4(SYS_close, (uint64_t)fd, 0, 0, 0);
		return MISS;
	}
	made((int)fd);
	return fd;
}
