/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing and opening the store's directory, and an image's place in it. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/internal.h"

#define FORMAT "1\n"

static int open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A directory of the store: made if missing, never a link. */
static int make_dir(int dirfd, const char *name)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -1;
	return open_dir(dirfd, name);
}

static int check_owner(int fd, const char *path, struct kp_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return kp_fail_errno(err, errno, "%s", path);
	if (st.st_uid != geteuid())
		return kp_fail(err, EPERM, "%s: refused as a store: it belongs to another user",
			       path);
	if (st.st_mode & 022)
		return kp_fail(err, EPERM, "%s: refused as a store: others may write to it", path);
	return 0;
}

static int check_format(struct kp_store *s, struct kp_err *err)
{
	kp_autofree char *text = NULL;
	int rc = kp_read_file(s->root_fd, "format", 64, &text, NULL);

	if (rc == -ENOENT) {
		rc = kp_write_file_atomic(s->root_fd, "format", FORMAT, strlen(FORMAT), 0600);
		return rc ? kp_fail_errno(err, -rc, "%s: cannot be written", s->root) : 0;
	}
	if (rc)
		return kp_fail_errno(err, -rc, "%s/format", s->root);
	if (strcmp(text, FORMAT) == 0)
		return 0;
	(void)kp_fail(err, EINVAL, "%s: store format not known to this kapsel", s->root);
	return kp_hint(
	    err, "a newer kapsel made it: use that, or set KAPSEL_STORE to another directory");
}

static int resolve_root(struct kp_store *s, const char *path, struct kp_err *err)
{
	kp_autofree char *link = kp_asprintf("/proc/self/fd/%d", s->root_fd);
	char real[PATH_MAX];
	ssize_t n = readlink(link, real, sizeof(real) - 1);

	if (n <= 0)
		return kp_fail_errno(err, errno, "%s: cannot be resolved", path);
	s->root = kp_strndup(real, (size_t)n);
	return 0;
}

/* shared: in a directory that others may write to, so not through a link. */
static int open_at(const char *path, bool shared, struct kp_store **ret_store, struct kp_err *err)
{
	struct kp_store *s = kp_calloc(1, sizeof(*s));
	struct statvfs vfs;
	int rc = kp_mkdir_all(AT_FDCWD, path, 0700);

	s->uid = geteuid();
	s->root_fd = s->objects_fd = s->images_fd = s->tmp_fd = -1;
	if (rc) {
		rc = kp_fail_errno(err, -rc, "%s", path);
		goto fail;
	}
	s->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (shared ? O_NOFOLLOW : 0));
	rc = s->root_fd < 0 ? kp_fail_errno(err, errno, "%s", path)
			    : check_owner(s->root_fd, path, err);
	if (!rc)
		rc = resolve_root(s, path, err);
	if (!rc)
		rc = check_format(s, err);
	if (rc)
		goto fail;
	s->objects_fd = make_dir(s->root_fd, "objects");
	s->images_fd = s->objects_fd < 0 ? -1 : make_dir(s->root_fd, "images");
	s->tmp_fd = s->images_fd < 0 ? -1 : make_dir(s->root_fd, "tmp");
	if (s->tmp_fd < 0 || faccessat(s->tmp_fd, ".", W_OK, AT_EACCESS) < 0 ||
	    fstatvfs(s->root_fd, &vfs) < 0) {
		rc = kp_fail_errno(err, errno, "%s: cannot be written", path);
		goto fail;
	}
	s->noexec = vfs.f_flag & ST_NOEXEC;
	*ret_store = s;
	return 0;
fail:
	kp_store_free(s);
	return rc;
}

static char *candidate(int i, bool *ret_shared)
{
	const char *dir;

	*ret_shared = false;
	switch (i) {
	case 0:
		if ((dir = secure_getenv("XDG_CACHE_HOME")) && dir[0] == '/')
			return kp_asprintf("%s/kapsel", dir);
		dir = secure_getenv("HOME");
		return dir && dir[0] == '/' ? kp_asprintf("%s/.cache/kapsel", dir) : NULL;
	case 1:
		*ret_shared = true;
		return kp_asprintf("/var/tmp/kapsel-%u", geteuid());
	case 2:
		dir = secure_getenv("XDG_RUNTIME_DIR");
		return dir && dir[0] == '/' ? kp_asprintf("%s/kapsel-store", dir) : NULL;
	default:
		*ret_shared = true;
		return kp_asprintf("/dev/shm/kapsel-%u", geteuid());
	}
}

/* The first candidate that allows exec, else the first that can be written. */
static int open_first(struct kp_store **ret_store, struct kp_err *err)
{
	struct kp_store *found = NULL;
	struct kp_err first = {0};

	for (int i = 0; i < 4; i++) {
		bool shared;
		kp_autofree char *path = candidate(i, &shared);
		struct kp_store *s = NULL;
		struct kp_err e = {0};

		if (!path)
			continue;
		if (open_at(path, shared, &s, &e) < 0) {
			KP_DEBUG(STORE, "not used: %s", e.text);
			if (!first.code)
				first = e;
			continue;
		}
		if (found && s->noexec) {
			kp_store_free(s);
			continue;
		}
		kp_store_free(found);
		found = s;
		if (!s->noexec)
			break;
	}
	if (found) {
		*ret_store = found;
		return 0;
	}
	if (err)
		*err = first;
	if (err && !err->hint[0])
		(void)kp_hint(err, "KAPSEL_STORE=DIR names another directory for unpacked files");
	return -first.code;
}

int kp_store_open(struct kp_store **ret_store, struct kp_err *err)
{
	const char *chosen = secure_getenv("KAPSEL_STORE");
	int rc;

	if (sodium_init() < 0)
		return kp_fail(err, EIO, "libsodium does not start");
	rc =
	    chosen && *chosen ? open_at(chosen, false, ret_store, err) : open_first(ret_store, err);
	if (!rc)
		kp_store_sweep(*ret_store);
	return rc;
}

struct kp_store *kp_store_free(struct kp_store *store)
{
	if (store) {
		kp_close(store->tmp_fd);
		kp_close(store->images_fd);
		kp_close(store->objects_fd);
		kp_close(store->root_fd);
		free(store->root);
		free(store);
	}
	return NULL;
}

const char *kp_store_root(const struct kp_store *store)
{
	return store->root;
}

bool kp_store_noexec(const struct kp_store *store)
{
	return store->noexec;
}

/* The image's directory, held; -EAGAIN when trim removed it meanwhile. */
static int hold_dir(struct kp_store *store, const char *name, int *ret_fd)
{
	kp_autoclose int fd = make_dir(store->images_fd, name);
	struct stat mine, now;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_SH) < 0)
		if (errno != EINTR)
			return -errno;
	if (fstat(fd, &mine) < 0)
		return -errno;
	if (fstatat(store->images_fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0 ||
	    now.st_ino != mine.st_ino)
		return -EAGAIN;
	if (mine.st_uid != geteuid() || mine.st_mode & 022)
		return -EPERM;
	(void)futimens(fd, NULL); /* used now: what trim goes by */
	*ret_fd = kp_take_fd(&fd);
	return 0;
}

int kp_store_attach(struct kp_store *store, const struct kp_image *image,
		    struct kp_store_image **ret_si, struct kp_err *err)
{
	struct kp_store_image *si;
	char name[2 * KP_DIGEST_LEN + 1];
	int fd = -1, rc;

	kp_hex(name, kp_image_digest(image), KP_DIGEST_LEN);
	do
		rc = hold_dir(store, name, &fd);
	while (rc == -EAGAIN);
	if (rc)
		return kp_fail_errno(err, -rc, "%s/images/%s", store->root, name);
	si = kp_calloc(1, sizeof(*si));
	si->store = store;
	si->image = image;
	si->dir_fd = fd;
	si->dir = kp_asprintf("%s/images/%s", store->root, name);
	pthread_mutex_init(&si->mem_lock, NULL);
	*ret_si = si;
	return 0;
}

struct kp_store_image *kp_store_detach(struct kp_store_image *si)
{
	if (!si)
		return NULL;
	while (si->mem) {
		struct kp_memfile *m = si->mem;

		si->mem = m->next;
		kp_close(m->fd);
		free(m);
	}
	pthread_mutex_destroy(&si->mem_lock);
	kp_close(si->dir_fd);
	free(si->dir);
	free(si);
	return NULL;
}

const char *kp_store_image_dir(const struct kp_store_image *si)
{
	return si->dir;
}

int kp_tmpfile_new(struct kp_store *store, struct kp_tmpfile *ret_tmp)
{
	static _Atomic unsigned serial;

	for (;;) {
		struct kp_tmpfile t = {.fd = -1, .lock_fd = -1};
		struct stat st;
		int rc = 0;

		(void)snprintf(t.name, sizeof(t.name), "%d.%u.%08x", getpid(),
			       atomic_fetch_add(&serial, 1), randombytes_random());
		t.fd = openat(store->tmp_fd, t.name,
			      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (t.fd < 0 && errno == EEXIST)
			continue;
		if (t.fd < 0)
			return -errno;
		t.lock_fd = openat(store->tmp_fd, t.name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (t.lock_fd < 0)
			rc = errno == ENOENT ? -EAGAIN : -errno; /* swept before it was locked */
		else if (flock(t.lock_fd, LOCK_EX | LOCK_NB) < 0)
			rc = errno == EWOULDBLOCK ? -EAGAIN : -errno;
		else if (fstat(t.lock_fd, &st) < 0 || st.st_nlink == 0)
			rc = -EAGAIN;
		if (!rc) {
			*ret_tmp = t;
			return 0;
		}
		kp_tmpfile_drop(store, &t);
		if (rc != -EAGAIN)
			return rc;
	}
}

void kp_tmpfile_drop(struct kp_store *store, struct kp_tmpfile *tmp)
{
	(void)unlinkat(store->tmp_fd, tmp->name, 0);
	tmp->fd = kp_close(tmp->fd);
	tmp->lock_fd = kp_close(tmp->lock_fd);
}

void kp_store_sweep(struct kp_store *store)
{
	kp_autoclose int fd = open_dir(store->tmp_fd, ".");
	struct dirent *e;
	DIR *d;

	if (fd < 0 || !(d = fdopendir(fd)))
		return;
	(void)kp_take_fd(&fd);
	while ((e = readdir(d))) {
		kp_autoclose int leftover = -1;

		if (e->d_name[0] == '.')
			continue;
		leftover = openat(store->tmp_fd, e->d_name,
				  O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (leftover >= 0 && flock(leftover, LOCK_EX | LOCK_NB) == 0)
			(void)unlinkat(store->tmp_fd, e->d_name, 0);
	}
	(void)closedir(d);
}
