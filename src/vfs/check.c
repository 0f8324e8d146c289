/* SPDX-License-Identifier: Apache-2.0 */
/* What the upper layer must be: records that are understood and belong to something, numbers that are one file's, nothing that its
 * owner cannot reach. */
#include <fts.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#include "vfs/check.h"
#include "vfs/internal.h"

#define ALL_FLAGS (KP_REC_OPAQUE | KP_REC_MODE | KP_REC_INO | KP_REC_NUMBERED | KP_REC_OWNER | KP_REC_MOVED | KP_REC_HOLDS)

struct number { /* a guest number and the file that has it */
	uint64_t guest;
	ino_t ino;
	UT_hash_handle hh;
};

struct check {
	size_t prefix; /* of the upper's own path */
	void (*said)(const char *path, const char *what, void *ctx);
	void *ctx;
	struct kp_upper_counts *counts;
	struct number *numbers;
};

static void wrong(struct check *c, const FTSENT *e, const char *what)
{
	c->counts->wrong++;
	c->said(e->fts_path[c->prefix] ? e->fts_path + c->prefix : "/", what, c->ctx);
}

static void check_number(struct check *c, const FTSENT *e, uint64_t guest)
{
	struct number *n;

	if (S_ISREG(e->fts_statp->st_mode) && !(e->fts_parent->fts_number & KP_REC_NUMBERED))
		wrong(c, e, "its directory does not know that it has a number");
	HASH_FIND(hh, c->numbers, &guest, sizeof(guest), n);
	if (n && n->ino != e->fts_statp->st_ino)
		wrong(c, e, "has the number of another file");
	if (n)
		return;
	n = kp_calloc(1, sizeof(*n));
	n->guest = guest;
	n->ino = e->fts_statp->st_ino;
	HASH_ADD(hh, c->numbers, guest, sizeof(guest), n);
}

static void check_moved(struct check *c, const FTSENT *e, uint8_t flags)
{
	char from[PATH_MAX] = "";
	ssize_t len;

	if (flags & KP_REC_MOVED) {
		len = S_ISDIR(e->fts_statp->st_mode) ? lgetxattr(e->fts_path, KP_MOVED_XATTR, from, sizeof(from) - 1) : -1;
		if (len < 0 || kp_moved_check(from, len))
			wrong(c, e, "was renamed and does not say from where");
		if (!strcmp(from, e->fts_path + c->prefix) && !(flags & KP_REC_HOLDS))
			return; /* it was only about to be */
	}
	if (flags & (KP_REC_MOVED | KP_REC_HOLDS) && e->fts_level > 0 && !(e->fts_parent->fts_number & KP_REC_HOLDS))
		wrong(c, e, "its directory does not know that it holds a renamed one");
}

/* The record's flags, 0 for none. */
static uint8_t check_record(struct check *c, const FTSENT *e)
{
	bool file = S_ISREG(e->fts_statp->st_mode), marked = e->fts_statp->st_mode & KP_RECORD_BIT;
	struct kp_record rec = {0};
	ssize_t len = lgetxattr(e->fts_path, KP_RECORD_XATTR, &rec, sizeof(rec));

	if (len < 0) {
		if (errno != ENODATA)
			wrong(c, e, errno == ERANGE ? "its record is not understood" : "its record cannot be read");
		return 0; /* with KP_RECORD_BIT too: a guest may have set that bit itself */
	}
	if (!kp_record_check(&rec, len) || rec.flags & ~ALL_FLAGS) {
		wrong(c, e, "its record is not understood");
		return 0;
	}
	if (file && !marked)
		wrong(c, e, "has a record that nothing points to");
	if (rec.flags & KP_REC_INO)
		check_number(c, e, rec.ino);
	check_moved(c, e, rec.flags);
	return rec.flags;
}

static void check_entry(struct check *c, FTSENT *e)
{
	const struct stat *st = e->fts_statp;

	switch (e->fts_info) {
	case FTS_DNR:
	case FTS_NS:
	case FTS_ERR:
		wrong(c, e, strerror(e->fts_errno));
		return;
	case FTS_DP:
		return;
	case FTS_D:
		c->counts->directories++;
		break;
	default:
		break;
	}
	if (kp_is_whiteout(st)) {
		c->counts->whiteouts++;
		return;
	}
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		wrong(c, e, "a device");
	if (geteuid() && st->st_uid != geteuid())
		wrong(c, e, "belongs to another user");
	if (S_ISDIR(st->st_mode) && (st->st_mode & 0700) != 0700)
		wrong(c, e, "its owner may not enter it");
	if (S_ISREG(st->st_mode) && (st->st_mode & 0600) != 0600)
		wrong(c, e, "its owner may not read and write it");
	c->counts->files += S_ISREG(st->st_mode);
	c->counts->others += !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode);
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		e->fts_number = check_record(c, e);
}

int kp_upper_check(const char *host_upper, void (*said)(const char *, const char *, void *), void *ctx,
		   struct kp_upper_counts *ret_counts, struct kp_err *err)
{
	struct check c = {.prefix = strlen(host_upper), .said = said, .ctx = ctx, .counts = ret_counts};
	char *const roots[] = {(char *)(uintptr_t)host_upper, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	struct number *n, *next;
	FTSENT *e;

	*ret_counts = (struct kp_upper_counts){0};
	if (!fts)
		return kp_fail_errno(err, errno, "%s: cannot be walked", host_upper);
	while ((e = fts_read(fts)))
		check_entry(&c, e);
	(void)fts_close(fts);
	HASH_ITER (hh, c.numbers, n, next) {
		HASH_DEL(c.numbers, n);
		free(n);
	}
	return 0;
}
