/* SPDX-License-Identifier: Apache-2.0 */
/* One entry's file: found in the image's directory, or linked from the object, or unpacked first.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"

#define TRIES 8 /* trim or a repair may take things away while we work */

static bool wants_exec(const struct kp_entry *e)
{
	return e->mode & 0111;
}

/* What can be told without reading it: ours, complete, not writable. */
static bool intact(const struct kp_store *s, const struct stat *st, const struct kp_entry *e)
{
	if (S_ISLNK(e->mode))
		return S_ISLNK(st->st_mode) && (uint64_t)st->st_size == e->size;
	return S_ISREG(st->st_mode) && (uint64_t)st->st_size == e->size && !(st->st_mode & 07222) &&
	       st->st_uid == s->uid;
}

static void object_dir(const struct kp_entry *e, char dir[3], char name[KP_OBJECT_NAME])
{
	kp_hex(dir, e->digest, 1);
	kp_hex(name, e->digest + 1, KP_DIGEST_LEN - 1);
}

static int open_object_dir(struct kp_store *s, const char *dir)
{
	int fd = openat(s->objects_fd, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT &&
	    (mkdirat(s->objects_fd, dir, 0700) == 0 || errno == EEXIST))
		fd = openat(s->objects_fd, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Content of the entry in tmp/, verified, with its final mode, closed for writing. */
static int unpack(struct kp_store_image *si, const struct kp_entry *e, struct kp_tmpfile *ret_tmp)
{
	struct kp_err err = {0};
	int rc = kp_tmpfile_new(si->store, ret_tmp);

	if (rc)
		return rc;
	kp_going_slow();
	rc = kp_image_extract(si->image, e->id, ret_tmp->fd, &err);
	if (rc)
		KP_DEBUG(STORE, "%s", err.text);
	if (!rc && fchmod(ret_tmp->fd, wants_exec(e) ? 0555 : 0444) < 0)
		rc = -errno;
	ret_tmp->fd = kp_close(ret_tmp->fd);
	if (rc)
		kp_tmpfile_drop(si->store, ret_tmp);
	return rc;
}

/* Hard link, or the name's own file where the object can take no more names. */
static int link_entry(struct kp_store_image *si, const struct kp_entry *e, int from_fd,
		      const char *from, const char *to)
{
	struct kp_tmpfile tmp;
	int rc;

	if (linkat(from_fd, from, si->dir_fd, to, 0) == 0 || errno == EEXIST)
		return 0;
	if (errno != EMLINK && errno != EXDEV && errno != EPERM && errno != EOPNOTSUPP)
		return -errno;
	rc = unpack(si, e, &tmp);
	if (rc)
		return rc;
	if (renameat(si->store->tmp_fd, tmp.name, si->dir_fd, to) < 0)
		rc = -errno;
	kp_tmpfile_drop(si->store, &tmp);
	return rc;
}

/* Links a sound object into the image's directory. -ENOENT: there is none (a bad one has been
 * removed). */
static int link_object(struct kp_store_image *si, const struct kp_entry *e, int dir,
		       const char *object, const char *name)
{
	struct stat st;

	if (fstatat(dir, object, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!intact(si->store, &st, e)) {
		KP_DEBUG(STORE, "object of entry %u is damaged: made anew", e->id);
		return unlinkat(dir, object, 0) < 0 && errno != ENOENT ? -errno : -ENOENT;
	}
	if (wants_exec(e) && !(st.st_mode & 0111) && fchmodat(dir, object, 0555, 0) < 0)
		return -errno;
	return link_entry(si, e, dir, object, name);
}

static int make_object(struct kp_store_image *si, const struct kp_entry *e, int dir,
		       const char *object, const char *name)
{
	struct kp_tmpfile tmp;
	int rc = unpack(si, e, &tmp);

	if (rc)
		return rc;
	/* The name in tmp/ stays until the entry is linked: trim takes objects with one name only.
	 */
	if (linkat(si->store->tmp_fd, tmp.name, dir, object, 0) < 0 && errno != EEXIST) {
		/* No hard links here: the object itself becomes the entry's file. */
		rc =
		    errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK
			? (renameat(si->store->tmp_fd, tmp.name, si->dir_fd, name) < 0 ? -errno : 0)
			: -errno;
	} else {
		rc = link_object(si, e, dir, object, name);
	}
	kp_tmpfile_drop(si->store, &tmp);
	return rc;
}

/* Puts the entry's file in its place. -ENOENT: taken away meanwhile, try again. */
static int provide(struct kp_store_image *si, const struct kp_entry *e, const char *name)
{
	char dir[3], object[KP_OBJECT_NAME];
	kp_autoclose int fd = -1;
	int rc;

	if (S_ISLNK(e->mode))
		return symlinkat(e->target, si->dir_fd, name) < 0 && errno != EEXIST ? -errno : 0;
	object_dir(e, dir, object);
	fd = open_object_dir(si->store, dir);
	if (fd < 0)
		return fd;
	rc = link_object(si, e, fd, object, name);
	return rc == -ENOENT ? make_object(si, e, fd, object, name) : rc;
}

static bool link_intact(int fd, const struct kp_entry *e)
{
	char target[4096];

	return readlinkat(fd, "", target, sizeof(target)) == (ssize_t)e->size &&
	       !memcmp(target, e->target, e->size);
}

/* The entry's file if it is there and sound; a file that is not is removed. -ENOENT: none. */
static int open_sound(struct kp_store_image *si, const struct kp_entry *e, const char *name,
		      int flags)
{
	kp_autoclose int fd = S_ISLNK(e->mode) ? openat(si->dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC)
						 : kp_open_exact(si->dir_fd, name, flags, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (intact(si->store, &st, e) && (!S_ISLNK(e->mode) || link_intact(fd, e)))
		return kp_take_fd(&fd);
	KP_DEBUG(STORE, "file of entry %u is damaged: made anew", e->id);
	return unlinkat(si->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : -ENOENT;
}

/* Of an ELF file, for stores whose file system does not allow exec. */
static int seal(struct kp_store_image *si, uint32_t id, int from)
{
	char name[64], hex[17];

	kp_hex(hex, kp_image_digest(si->image), 8);
	(void)snprintf(name, sizeof(name), "kapsel:%s:%u", hex, id);
	return kp_sealed_copy(name, from);
}

static int reopen(int fd, int flags)
{
	kp_autofree char *path = kp_asprintf("/proc/self/fd/%d", fd);
	int copy = open(path, (flags & ~O_NOFOLLOW) | O_CLOEXEC);

	return copy < 0 ? -errno : copy;
}

static int open_sealed(struct kp_store_image *si, uint32_t id, int from, int flags)
{
	struct kp_memfile *m;
	int rc;

	pthread_mutex_lock(&si->mem_lock);
	for (m = si->mem; m && m->id != id; m = m->next)
		;
	rc = m ? 0 : seal(si, id, from);
	if (!m && rc >= 0) {
		m = kp_calloc(1, sizeof(*m));
		m->id = id;
		m->fd = rc;
		m->next = si->mem;
		si->mem = m;
	}
	pthread_mutex_unlock(&si->mem_lock);
	return m ? reopen(m->fd, flags) : rc;
}

static int open_or_make(struct kp_store_image *si, const struct kp_entry *e, int flags)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "%u", e->id);
	for (int i = 0; i < TRIES; i++) {
		int fd = open_sound(si, e, name, flags), rc;

		if (fd != -ENOENT && !(fd == -ELOOP && S_ISREG(e->mode)))
			return fd;
		if (fd == -ELOOP) /* a link where a file should be */
			(void)unlinkat(si->dir_fd, name, 0);
		rc = provide(si, e, name);
		if (rc && rc != -ENOENT)
			return rc;
	}
	return -EIO;
}

int kp_store_open_entry(struct kp_store_image *si, uint32_t id, int flags)
{
	kp_autoclose int fd = -1;
	uint8_t magic[4];
	struct kp_entry e;

	if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC) ||
	    (flags & O_TMPFILE) == O_TMPFILE)
		return -EINVAL;
	if (kp_image_entry(si->image, id, &e) < 0)
		return -EIO;
	if (S_ISDIR(e.mode))
		return -EISDIR;
	if (S_ISLNK(e.mode))
		return (flags & (O_PATH | O_NOFOLLOW)) == (O_PATH | O_NOFOLLOW)
			   ? open_or_make(si, &e, flags)
			   : -ELOOP;
	if (!si->store->noexec)
		return open_or_make(si, &e, flags);
	fd = open_or_make(si, &e, O_RDONLY);
	if (fd < 0)
		return kp_take_fd(&fd);
	if (pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	    !memcmp(magic, "\177ELF", sizeof(magic)))
		return open_sealed(si, id, fd, flags);
	return reopen(fd, flags);
}
