/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of the host that is copied up keeps its number, which the host gives to another file when its own goes, and which the other names
 * of that one go on having. So what the host has of such a number is shown with another: the list of them lies beside the upper.
 */
#include <fcntl.h>
#include <unistd.h>
#include <uthash.h>

#include "vfs/upper.h"

#define FILE_NAME "../numbers" /* 8 bytes each */
#define FILE_MAX (1U << 28)

struct kp_number {
	uint64_t number;
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

void kp_numbers_load(struct kp_vfs *v)
{
	kp_autofree char *data = NULL;
	uint64_t number;
	size_t len;

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

	HASH_ITER (hh, v->numbers, n, next) {
		HASH_DEL(v->numbers, n);
		free(n);
	}
}

int kp_number_take(struct kp_vfs *v, uint64_t number)
{
	kp_autoclose int fd = -1;

	if (is_taken(v, number))
		return 0;
	fd = openat(v->upper_fd, FILE_NAME, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	note(v, number);
	return kp_write_full(fd, &number, sizeof(number));
}

uint64_t kp_number_of_host(const struct kp_vfs *v, dev_t dev, ino_t ino)
{
	uint64_t number = kp_ino_host(dev, ino);

	return is_taken(v, number) ? number ^ 0x2aaaULL << 48 /* as if of another file system */ : number;
}
