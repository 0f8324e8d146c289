/* SPDX-License-Identifier: Apache-2.0 */
/* The store's parts, shared by its files. */
#ifndef KAPSEL_STORE_INTERNAL_H
#define KAPSEL_STORE_INTERNAL_H

#include <pthread.h>

#include "base/base.h"
#include "store/store.h"

#define KP_OBJECT_NAME (2 * KP_DIGEST_LEN + 1) /* hex digits, and room for '/' or NUL */

struct kp_store {
	int root_fd, objects_fd, images_fd, tmp_fd;
	char *root;
	bool noexec;
	uid_t uid; /* ours */
};

struct kp_memfile {
	struct kp_memfile *next;
	uint32_t id;
	int fd;
};

struct kp_store_image {
	struct kp_store *store;
	const struct kp_image *image;
	int dir_fd; /* a shared flock marks the image as in use */
	char *dir;
	pthread_mutex_t mem_lock;
	struct kp_memfile *mem; /* noexec stores: sealed copies of ELF files, made once */
};

/* A file being made in tmp/. The lock is held through a read-only descriptor, so that the writable
 * one can be closed before anybody may execute the result. */
struct kp_tmpfile {
	char name[64];
	int fd, lock_fd;
};
int kp_tmpfile_new(struct kp_store *store, struct kp_tmpfile *ret_tmp);
void kp_tmpfile_drop(struct kp_store *store, struct kp_tmpfile *tmp);
/* Removes what dead writers left behind. */
void kp_store_sweep(struct kp_store *store);

#endif
