/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object store: file contents, unpacked when first opened, kept by digest, shared by all images,
 * instances and launchers of one user. Layout under its root (mode 0700):
 *
 *   format                   "1\n"
 *   objects/ab/cdef...       content by digest; written under tmp/, verified, linked into place whole; 0444
 *                            (0555 for content that is executable in some image)
 *   images/DIGEST/N          hard link to the object of entry N of that image (a copy where a link
 *                            cannot be made: EMLINK, EXDEV). The name is what makes two equal files of an image
 *                            two files to the guest, and what maps a descriptor back to its entry.
 *                            Symlinks are kept here too (for O_PATH|O_NOFOLLOW), with the entry's target.
 *   tmp/                     unfinished work, each entry locked by its writer; leftovers are swept at open
 *
 * Any number of processes and threads may use it at once; kill -9 at any instant leaves only whole
 * objects and leftovers in tmp/.
 */
#ifndef KAPSEL_STORE_STORE_H
#define KAPSEL_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "image/image.h"

struct kp_store;
struct kp_store_image; /* one image's directory in the store */

/* Opens (making it where needed) the first usable of $XDG_CACHE_HOME/kapsel (or ~/.cache/kapsel),
 * /var/tmp/kapsel-UID, $XDG_RUNTIME_DIR/kapsel-store, /dev/shm/kapsel-UID: ours, not group-writable, a file system that
 * allows exec, writable. If none allows exec, the first writable one is used and *kp_store_noexec is true.
 * KAPSEL_STORE=DIR overrides the list. A foreign-owned or group-writable directory is refused. */
int kp_store_open(struct kp_store **ret_store, struct kp_err *err);
struct kp_store *kp_store_free(struct kp_store *store);
const char *kp_store_root(const struct kp_store *store); /* absolute host path, symlinks resolved */
bool kp_store_noexec(const struct kp_store *store);

int kp_store_attach(struct kp_store *store, const struct kp_image *image, struct kp_store_image **ret_si,
		    struct kp_err *err);
struct kp_store_image *kp_store_detach(struct kp_store_image *si);
/* Absolute host path of the image's directory; "<dir>/<id in decimal>" is the file of an entry. */
const char *kp_store_image_dir(const struct kp_store_image *si);

/* Opens entry id with host open flags (O_RDONLY or O_PATH, O_NOFOLLOW, ...; never for writing),
 * unpacking it first if needed. Returns a descriptor or -errno. O_CLOEXEC is always set. Hot path: one openat when
 * the entry is there. On a noexec store an ELF file comes as a sealed memfd named
 * "kapsel:<first 16 hex digits of the image digest>:<id>". */
int kp_store_open_entry(struct kp_store_image *si, uint32_t id, int flags);

struct kp_store_usage {
	uint64_t objects, bytes;         /* distinct contents */
	uint64_t images;                 /* image directories */
	uint64_t unused_objects, unused_bytes; /* objects no image directory links to */
};
int kp_store_usage(struct kp_store *store, struct kp_store_usage *ret_usage, struct kp_err *err);
/* Removes image directories not used within max_age seconds (0: all that no launcher holds), then objects
 * that nothing links to. Held images (kp_store_attach takes a shared lock) are kept. ret_freed: bytes. */
int kp_store_trim(struct kp_store *store, uint64_t max_age, uint64_t *ret_freed, struct kp_err *err);
/* Recomputes every object's digest; bad objects are counted and, with repair, removed. */
int kp_store_verify(struct kp_store *store, bool repair, uint64_t *ret_checked, uint64_t *ret_bad,
		    struct kp_err *err);

#endif
