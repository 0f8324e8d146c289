/* SPDX-License-Identifier: Apache-2.0 */
/* Opens that the stub makes at the gate: files and directories that are there, and files that come into being. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "loader/answer.h"
#include "loader/patch.h"

#define NAME_ROOM 256U

/* Opens a directory's stand-in: from one that stands for the start of the path the same names lead to it. */
static long open_dir(const struct query *q, const struct kp_fast_entry *e)
{
	char path[KP_FAST_DIRS + KP_FAST_TEXT];
	size_t at = 0;

	if (e->text[0] != '/')
		return kp_gate(SYS_openat, (uint64_t)(int64_t)q->dirfd, q->path, (uint64_t)q->mode, 0);
	while (at < KP_FAST_DIRS - 1 && fast->dirs_path[at])
		at++;
	if (!at || e->path_len >= KP_FAST_TEXT)
		return MISS;
	kp_copy(path, fast->dirs_path, at);
	kp_copy(path + at, e->text, e->path_len + 1U);
	return kp_gate(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)path, (uint64_t)q->mode, 0);
}

static long open_file(const struct query *q, const struct kp_fast_entry *e)
{
	if (q->mode & O_DIRECTORY || !S_ISREG(e->mode) || !(e->perm & KP_FAST_OPEN) || e->second >= KP_FAST_TEXT)
		return MISS;
	return kp_gate(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)(e->text + e->second), (uint64_t)q->mode, 0);
}

/* What the descriptor is of was decided when the entry still held after it, or it is not given. */
long kp_open(const struct query *q, const struct kp_fast_entry *e, uint32_t seq)
{
	long fd;

	if (q->mode & ~KP_GATE_OPEN_FLAGS || !(e->perm & 4) || !holds(e, seq))
		return MISS;
	fd = S_ISDIR(e->mode) ? (e->dirs ? MISS : open_dir(q, e)) : open_file(q, e);
	if (fd < 0)
		return fd == -EMFILE ? fd : MISS;
	if (holds(e, seq))
		return fd;
	kp_call4(SYS_close, (uint64_t)fd, 0, 0, 0);
	return MISS;
}

/* The directory that the last name of the path is in: as the path has it, or where it starts from. *ret_name: where in the path that name begins. */
static const struct kp_fast_entry *dir_of(const struct query *q, size_t len, size_t *ret_name, uint32_t *ret_seq)
{
	const char *path = (const char *)q->path;
	uint64_t hash = KP_FAST_SEED, dev = 0, ino = 0;
	char text[KP_FAST_TEXT];
	struct query dir = *q;
	size_t name = len;

	while (name && path[name - 1] != '/')
		name--;
	*ret_name = name;
	if (len - name >= NAME_ROOM || (name && (name < 2 || path[name - 2] == '/')))
		return NULL;
	if ((!name || path[0] != '/') && !kp_start_of(q, &dev, &ino))
		return NULL;
	for (size_t i = 0; i + 1 < name; i++) {
		text[i] = path[i];
		hash = kp_fast_mix(hash, (uint8_t)path[i]);
	}
	text[name ? name - 1 : 0] = '\0';
	dir.path = (uint64_t)text;
	dir.links = KP_FAST_FOLLOW;
	return kp_find(&dir, hash, name ? name - 1 : 0, dev, ino, ret_seq);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Where nothing but the instance's has a name, what is not there is made where it belongs, if it still is not. */
long kp_make(const struct query *q, size_t len)
{
	char host[KP_FAST_TEXT + NAME_ROOM];
	const struct kp_fast_entry *e;
	uint32_t seq;
	size_t name, at = 0;
	long fd;

	if (!kp_load32(&fast->makes) || kp_load32(&fast->alive[0]) & KP_FAST_DEAD || q->mode & ~(KP_GATE_MAKE_FLAGS | O_TRUNC) || q->make & ~KP_GATE_MAKE_MODE ||
	    (q->make & KP_GATE_MAKE_OWNER) != KP_GATE_MAKE_OWNER || (q->mode & O_ACCMODE) == O_ACCMODE)
		return MISS;
	e = dir_of(q, len, &name, &seq);
	if (!e || e->kind != KP_FAST_DIR || !(e->perm & KP_FAST_MAKE) || name == len || is_dots((const char *)q->path + name))
		return MISS;
	while (e->second + at < KP_FAST_TEXT && e->text[e->second + at]) {
		host[at] = e->text[e->second + at];
		at++;
	}
	host[at++] = '/';
	kp_copy(host + at, (const char *)q->path + name, len - name + 1);
	if (!holds(e, seq))
		return MISS;
	fd = kp_gate(SYS_openat, (uint64_t)(int64_t)AT_FDCWD, (uint64_t)host, (uint64_t)((q->mode & ~O_TRUNC) | KP_GATE_MAKES), q->make);
	return fd >= 0 || fd == -EMFILE || fd == -ENFILE ? fd : MISS;
}
