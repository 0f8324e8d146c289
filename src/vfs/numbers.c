/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of the host that is copied up keeps its number, which the host gives to another file when its own goes, and which the other names
 * of that one go on having. So what the host has of such a number is shown with another: the list of them lies beside the upper.
 * A symlink cannot carry a record: the numbers of those that were copied up lie there, too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <uthash.h>

#include "vfs/upper.h"

#define FILE_NAME "../numbers" /* 8 bytes each */
#define LINKS_NAME "../symlinks" /* struct kept */
#define FILE_MAX (1U << 28)

struct kp_number {
	uint64_t number;
	UT_hash_handle hh;
};

/* A symlink of the upper: its inode, and which of all that have that number one after the other. */
struct kept {
	uint64_t ino;
	int64_t made;
	uint32_t made_ns, reserved;
	uint64_t number; /* that the guest sees */
};
struct kp_symlink {
	struct kept kept;
	UT_hash_handle hh;
};

static bool is_taken(const struct kp_vfs *v, uint64_t number)
{
	struct kp_number *n;

	HASH_FIND(hh, v->numbers, &number, sizeof(number), n);
	return n != NULL;
}

static void note(struct kp_vfs *v, uint64_t number)
{
	struct kp_number *n;

	if (is_taken(v, number))
		return;
	n = kp_calloc(1, sizeof(*n));
	n->number = number;
	HASH_ADD(hh, v->numbers, number, sizeof(n->number), n);
}

static void note_link(struct kp_vfs *v, const struct kept *k)
{
	struct kp_symlink *l;

	HASH_FIND(hh, v->symlinks, &k->ino, sizeof(k->ino), l);
	if (!l) {
		l = kp_calloc(1, sizeof(*l));
		l->kept = *k;
		HASH_ADD(hh, v->symlinks, kept.ino, sizeof(l->kept.ino), l);
	}
	l->kept = *k;
}

/* false: the file system does not say when a file was made. */
static bool identify(int dirfd, const char *name, struct kept *ret)
{
	struct statx x;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &x) < 0 || !(x.stx_mask & STATX_BTIME))
		return false;
	*ret = (struct kept){.ino = x.stx_ino, .made = x.stx_btime.tv_sec, .made_ns = x.stx_btime.tv_nsec};
	return true;
}

static int append(const struct kp_vfs *v, const char *name, const void *data, size_t len)
{
	kp_autoclose int fd = openat(v->upper_fd, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : kp_write_full(fd, data, len);
}

static void load_links(struct kp_vfs *v)
{
	kp_autofree char *data = NULL;
	struct kept k;
	size_t len;

	if (kp_read_file(v->upper_fd, LINKS_NAME, FILE_MAX, &data, &len))
		return;
	for (size_t at = 0; at + sizeof(k) <= len; at += sizeof(k)) {
		memcpy(&k, data + at, sizeof(k));
		note_link(v, &k);
	}
}

void kp_numbers_load(struct kp_vfs *v)
{
	kp_autofree char *data = NULL;
	uint64_t number;
	size_t len;

	load_links(v);

	if (kp_read_file(v->upper_fd, FILE_NAME, FILE_MAX, &data, &len))
		return;
	for (size_t at = 0; at + sizeof(number) <= len; at += sizeof(number)) {
		memcpy(&number, data + at, sizeof(number));
		note(v, number);
	}
}

void kp_numbers_free(struct kp_vfs *v)
{
	struct kp_number *n, *next;
	struct kp_symlink *l, *next_link;

	HASH_ITER (hh, v->numbers, n, next) {
		HASH_DEL(v->numbers, n);
		free(n);
	}
	HASH_ITER (hh, v->symlinks, l, next_link) {
		HASH_DEL(v->symlinks, l);
		free(l);
	}
}

int kp_number_take(struct kp_vfs *v, uint64_t number)
{
	if (is_taken(v, number))
		return 0;
	note(v, number);
	return append(v, FILE_NAME, &number, sizeof(number));
}

int kp_number_keep_link(struct kp_vfs *v, const char *work_name, uint64_t number)
{
	struct kept k;

	if (!number || !identify(v->work_fd, work_name, &k))
		return 0;
	k.number = number;
	note_link(v, &k);
	return append(v, LINKS_NAME, &k, sizeof(k));
}

uint64_t kp_number_of_link(const struct kp_vfs *v, const char *rel, ino_t ino)
{
	const uint64_t wanted = ino;
	struct kp_symlink *l;
	struct kept now;

	HASH_FIND(hh, v->symlinks, &wanted, sizeof(wanted), l);
	return l && identify(v->upper_fd, rel, &now) && now.ino == wanted && now.made == l->kept.made && now.made_ns == l->kept.made_ns
		? l->kept.number : 0;
}

uint64_t kp_number_of_host(const struct kp_vfs *v, dev_t dev, ino_t ino)
{
	uint64_t number = kp_ino_host(dev, ino);

	return is_taken(v, number) ? number ^ 0x2aaaULL << 48 /* as if of another file system */ : number;
}
