/* SPDX-License-Identifier: Apache-2.0 */
/* Looking after the store: what it takes, what nobody uses, what is damaged. */
#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/internal.h"

typedef int (*visit_fn)(void *ctx, int dir_fd, const char *dir, const char *name);

/* Calls fn for each name in parent/sub but "." and "..". Stops at the first failure. */
static int each(int parent, const char *sub, visit_fn fn, void *ctx)
{
	int fd = openat(parent, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
	d = fdopendir(fd);
	if (!d) {
		rc = -errno;
		kp_close(fd);
		return rc;
	}
	while (!rc && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = fn(ctx, dirfd(d), sub, e->d_name);
	(void)closedir(d);
	return rc;
}

struct objects {
	visit_fn fn;
	void *ctx;
};

static int visit_bucket(void *ctx, int dir_fd, const char *dir, const char *name)
{
	struct objects *o = ctx;

	(void)dir;
	return each(dir_fd, name, o->fn, o->ctx);
}

static int each_object(struct kp_store *s, visit_fn fn, void *ctx)
{
	struct objects o = {.fn = fn, .ctx = ctx};

	return each(s->objects_fd, ".", visit_bucket, &o);
}

static uint64_t disk_bytes(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

static int count_object(void *ctx, int dir_fd, const char *dir, const char *name)
{
	struct kp_store_usage *u = ctx;
	struct stat st;

	(void)dir;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	u->objects++;
	u->bytes += disk_bytes(&st);
	if (st.st_nlink == 1) {
		u->unused_objects++;
		u->unused_bytes += disk_bytes(&st);
	}
	return 0;
}

static int count_image(void *ctx, int dir_fd, const char *dir, const char *name)
{
	struct kp_store_usage *u = ctx;

	(void)dir_fd;
	(void)dir;
	(void)name;
	u->images++;
	return 0;
}

int kp_store_usage(struct kp_store *store, struct kp_store_usage *ret_usage, struct kp_err *err)
{
	struct kp_store_usage u = {0};
	int rc = each_object(store, count_object, &u);

	if (!rc)
		rc = each(store->images_fd, ".", count_image, &u);
	if (rc)
		return kp_fail_errno(err, -rc, "%s", store->root);
	*ret_usage = u;
	return 0;
}

struct trim {
	uint64_t max_age, freed;
};

/* Counts what a file's last name gives back. */
static int remove_file(struct trim *t, int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(dir_fd, name, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_nlink == 1)
		t->freed += disk_bytes(&st);
	return 0;
}

static int trim_entry(void *ctx, int dir_fd, const char *dir, const char *name)
{
	(void)dir;
	return remove_file(ctx, dir_fd, name);
}

static int trim_image(void *ctx, int dir_fd, const char *dir, const char *name)
{
	kp_autoclose int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct trim *t = ctx;
	struct stat st;
	int rc;

	(void)dir;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* A launcher that uses the image holds it shared. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (t->max_age &&
	    time(NULL) - st.st_mtime <= (time_t)KP_MIN(t->max_age, (uint64_t)INT64_MAX))
		return 0;
	rc = each(fd, ".", trim_entry, t);
	if (!rc && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int trim_object(void *ctx, int dir_fd, const char *dir, const char *name)
{
	struct stat st;

	(void)dir;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Someone may link it right now: then that name keeps the content, and only sharing is
	 * lost. */
	return st.st_nlink == 1 ? remove_file(ctx, dir_fd, name) : 0;
}

int kp_store_trim(struct kp_store *store, uint64_t max_age, uint64_t *ret_freed, struct kp_err *err)
{
	struct trim t = {.max_age = max_age};
	int rc;

	kp_store_sweep(store);
	rc = each(store->images_fd, ".", trim_image, &t);
	if (!rc)
		rc = each_object(store, trim_object, &t);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: trimming", store->root);
	*ret_freed = t.freed;
	return 0;
}

struct verify {
	bool repair;
	uint64_t checked, bad;
	ino_t *bad_inodes;
	size_t bad_count;
};

static int digest_matches(int fd, const char *dir, const char *name, bool *ret_matches)
{
	kp_autofree uint8_t *buf = kp_calloc(1, 1 << 18);
	char dir_hex[3], hex[KP_OBJECT_NAME];
	uint8_t digest[KP_DIGEST_LEN];
	crypto_generichash_state hash;
	ssize_t n;

	crypto_generichash_init(&hash, NULL, 0, sizeof(digest));
	while ((n = read(fd, buf, 1 << 18)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		crypto_generichash_update(&hash, buf, (size_t)n);
	}
	crypto_generichash_final(&hash, digest, sizeof(digest));
	kp_hex(dir_hex, digest, 1);
	kp_hex(hex, digest + 1, sizeof(digest) - 1);
	*ret_matches = !strcmp(dir, dir_hex) && !strcmp(name, hex);
	return 0;
}

static int verify_object(void *ctx, int dir_fd, const char *dir, const char *name)
{
	kp_autoclose int fd =
	    openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct verify *v = ctx;
	bool good = false;
	struct stat st;
	int rc;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	v->checked++;
	if (fd >= 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 07222) &&
	    (rc = digest_matches(fd, dir, name, &good)) < 0 && rc != -EIO)
		return rc;
	if (good)
		return 0;
	v->bad++;
	v->bad_inodes = kp_realloc(v->bad_inodes, (v->bad_count + 1) * sizeof(ino_t));
	v->bad_inodes[v->bad_count++] = st.st_ino;
	return v->repair ? kp_remove_tree(dir_fd, name) : 0;
}

static int repair_entry(void *ctx, int dir_fd, const char *dir, const char *name)
{
	const struct verify *v = ctx;
	struct stat st;

	(void)dir;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	for (size_t i = 0; i < v->bad_count; i++)
		if (v->bad_inodes[i] == st.st_ino)
			return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	return 0;
}

static int repair_image(void *ctx, int dir_fd, const char *dir, const char *name)
{
	(void)dir;
	return each(dir_fd, name, repair_entry, ctx);
}

int kp_store_verify(struct kp_store *store, bool repair, uint64_t *ret_checked, uint64_t *ret_bad,
		    struct kp_err *err)
{
	struct verify v = {.repair = repair};
	int rc = each_object(store, verify_object, &v);

	/* The images' names of a bad object are the same file. */
	if (!rc && repair && v.bad_count)
		rc = each(store->images_fd, ".", repair_image, &v);
	free(v.bad_inodes);
	if (rc)
		return kp_fail_errno(err, -rc, "%s: verifying", store->root);
	*ret_checked = v.checked;
	*ret_bad = v.bad;
	return 0;
}
