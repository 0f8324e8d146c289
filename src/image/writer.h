/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing an image. Used by the packager only. The caller adds a tree node by node, in any order,
 * then writes it; the result depends on the tree, the manifest, the launcher and mtime clamp alone:
 * the same input gives the same bytes.
 */
#ifndef KAPSEL_IMAGE_WRITER_H
#define KAPSEL_IMAGE_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "kapsel/error.h"

struct kp_tree; /* an in-memory tree of what will be packed */

struct kp_tree *kp_tree_new(void);
struct kp_tree *kp_tree_free(struct kp_tree *tree);

/* All paths are absolute, normalised ("/a/b", no "." or ".."). Missing parents are made (0755, mtime 0).
 * A later add replaces an earlier one (a directory over a directory only updates its mode and mtime; a file
 * over a directory, or the reverse, replaces the subtree). Symlinks in parents are followed inside the tree
 * (so a file added at /lib/x goes to /usr/lib/x where /lib -> usr/lib); a directory added over a symlink that
 * leads to a directory leaves both as they are. Set-id bits are dropped, as is the sticky bit of files. A path is at
 * most 4095 bytes with all its links followed, a name 255. A tree is used by one thread at a time. 0 or -errno with err. */
int kp_tree_add_dir(struct kp_tree *t, const char *path, mode_t mode, int64_t mtime, struct kp_err *err);
int kp_tree_add_symlink(struct kp_tree *t, const char *path, const char *target, int64_t mtime,
			struct kp_err *err);
/* Content comes from a host file, opened when the image is written; that its size has changed by then is
 * an error (EBUSY). */
int kp_tree_add_host_file(struct kp_tree *t, const char *path, const char *host_path, mode_t mode,
			  int64_t mtime, struct kp_err *err);
/* Content is copied from memory. */
int kp_tree_add_bytes(struct kp_tree *t, const char *path, const void *data, size_t len, mode_t mode,
		      int64_t mtime, struct kp_err *err);
/* A second name of a regular file already in the tree. */
int kp_tree_add_link(struct kp_tree *t, const char *path, const char *existing, struct kp_err *err);
/* Removes a path with everything below it; true if it was there. */
bool kp_tree_remove(struct kp_tree *t, const char *path);
/* Calls fn for each path, parents first, in name order; a non-zero return stops and is returned. */
struct kp_tree_info {
	mode_t mode;           /* with type */
	const char *target;    /* symlinks */
	const char *host_path; /* files from the host, else NULL */
	const void *data;      /* files from memory, else NULL */
	uint64_t size;
};
int kp_tree_walk(const struct kp_tree *t, int (*fn)(const char *path, const struct kp_tree_info *, void *),
		 void *ctx);
/* Looks a path up, following symlinks inside the tree. 0, -ENOENT, -ELOOP, -ENOTDIR. */
int kp_tree_stat(const struct kp_tree *t, const char *path, struct kp_tree_info *ret_info);

struct kp_write_options {
	const char *launcher;     /* host path of the static launcher put in front; NULL: none */
	const char *manifest;     /* text embedded */
	size_t manifest_len;
	const void *hive;         /* the registry, as kp_hive_build() makes it; NULL: none */
	size_t hive_len;
	int level;                /* zstd level 1..22; 0 = default (15, as mksquashfs) */
	unsigned jobs;            /* compressor threads; 0 = one a processor */
	int64_t mtime_clamp;      /* times later than this are set to it; INT64_MAX: none */
	void (*progress)(uint64_t done, uint64_t total, void *ctx); /* bytes of content; may be NULL */
	void *progress_ctx;
	const volatile int *cancel; /* when it becomes non-zero, stop with -ECANCELED; may be NULL */
};

/* Writes the image to out_fd (empty, seekable, read-write), mode left to the caller. On failure the
 * content of out_fd is undefined; the caller removes it. */
int kp_tree_write(const struct kp_tree *t, int out_fd, const struct kp_write_options *o, struct kp_err *err);

#endif
