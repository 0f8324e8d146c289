/* SPDX-License-Identifier: Apache-2.0 */
/* A part of a descriptor as libsquashfs's file, and libsquashfs's errors in words. */
#include <sqfs/error.h>
#include <unistd.h>

#include "image/internal.h"

struct sq_file {
	sqfs_file_t base;
	int fd;
	bool writable;
	atomic_int error;
	uint64_t offset;
	_Atomic uint64_t size;
};

static int fail_io(struct sq_file *f, int code)
{
	atomic_store(&f->error, code);
	return SQFS_ERROR_IO;
}

static int read_at(sqfs_file_t *file, sqfs_u64 offset, void *buffer, size_t size)
{
	struct sq_file *f = (struct sq_file *)file;
	uint64_t limit = atomic_load(&f->size);
	int rc;

	if (offset > limit || size > limit - offset)
		return SQFS_ERROR_OUT_OF_BOUNDS;
	rc = kp_pread_full(f->fd, buffer, size, f->offset + offset);
	return rc ? fail_io(f, -rc) : 0;
}

static int write_at(sqfs_file_t *file, sqfs_u64 offset, const void *buffer, size_t size)
{
	struct sq_file *f = (struct sq_file *)file;
	const char *p = buffer;

	if (!f->writable)
		return fail_io(f, EBADF);
	while (size) {
		ssize_t n = pwrite(f->fd, p, size, (off_t)(f->offset + offset));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail_io(f, n ? errno : ENOSPC);
		p += n;
		offset += (uint64_t)n;
		size -= (size_t)n;
	}
	if (offset > atomic_load(&f->size))
		atomic_store(&f->size, offset);
	return 0;
}

static sqfs_u64 get_size(const sqfs_file_t *file)
{
	return atomic_load(&((const struct sq_file *)file)->size);
}

static int truncate_to(sqfs_file_t *file, sqfs_u64 size)
{
	struct sq_file *f = (struct sq_file *)file;

	if (!f->writable || ftruncate(f->fd, (off_t)(f->offset + size)) < 0)
		return fail_io(f, f->writable ? errno : EBADF);
	atomic_store(&f->size, size);
	return 0;
}

static void destroy(sqfs_object_t *obj)
{
	free(obj);
}

sqfs_file_t *kp_sq_file_new(int fd, uint64_t offset, uint64_t size, bool writable)
{
	struct sq_file *f = kp_calloc(1, sizeof(*f));

	f->base.base.destroy = destroy;
	f->base.read_at = read_at;
	f->base.write_at = write_at;
	f->base.get_size = get_size;
	f->base.truncate = truncate_to;
	f->fd = fd;
	f->offset = offset;
	f->writable = writable;
	atomic_init(&f->size, size);
	return &f->base;
}

int kp_sq_file_errno(const sqfs_file_t *file)
{
	return atomic_load(&((const struct sq_file *)(uintptr_t)file)->error);
}

const char *kp_sq_reason(int sqfs_error)
{
	switch (sqfs_error) {
	case SQFS_ERROR_ALLOC:
		return "out of memory";
	case SQFS_ERROR_IO:
		return "reading or writing failed";
	case SQFS_ERROR_COMPRESSOR:
		return "a compressed block is damaged";
	case SQFS_ERROR_CORRUPTED:
		return "the squashfs is damaged";
	case SQFS_ERROR_UNSUPPORTED:
		return "the squashfs uses a feature that is not supported";
	case SQFS_ERROR_OVERFLOW:
		return "a number in the squashfs is too large";
	case SQFS_ERROR_OUT_OF_BOUNDS:
		return "the squashfs points outside itself";
	default:
		return "the squashfs does not hold together";
	}
}
