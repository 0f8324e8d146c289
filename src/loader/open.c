/* SPDX-License-Identifier: Apache-2.0 */
/* Opens that the stub makes at the gate: of what has an entry. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "loader/answer.h"
#include "loader/patch.h"

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
