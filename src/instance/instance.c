/* SPDX-License-Identifier: Apache-2.0 */
/* Instance directories: making, opening, locking, removing. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "instance/config.h"
#include "instance/instance.h"
#include "instance/settle.h"

#define THROW_AWAY ".rm-" /* in the names of throw-away instances */
#define GONE ".gone-"     /* how directories begin that are being removed */

bool kp_instance_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > KP_INSTANCE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!alnum && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return true;
}

int kp_dir_private(const char *host_dir, struct kp_err *err)
{
	struct stat st;

	if (lstat(host_dir, &st) < 0)
		return kp_fail_errno(err, errno, "%s", host_dir);
	if (!S_ISDIR(st.st_mode))
		return kp_fail(err, ENOTDIR, "%s: not usable: not a directory", host_dir);
	if (st.st_uid != geteuid())
		return kp_fail(err, EPERM, "%s: refused: it belongs to uid %u", host_dir, (unsigned)st.st_uid);
	if (st.st_mode & 022) {
		(void)kp_fail(err, EPERM, "%s: refused: others may write to it", host_dir);
		return kp_hint(err, "chmod 700 %s", host_dir);
	}
	return 0;
}

int kp_instance_base(char **ret_path, struct kp_err *err)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	kp_autofree char *path = NULL, *kapsel = NULL;
	char *real;
	int r;

	if (data && data[0] == '/')
		kapsel = kp_asprintf("%s/kapsel", data);
	else if (home && home[0] == '/')
		kapsel = kp_asprintf("%s/.local/share/kapsel", home);
	else
		return kp_fail(err, ENOENT, "HOME: not set, and /etc/passwd does not name a home: there is no place for instances");
	path = kp_asprintf("%s/instances", kapsel);
	r = kp_mkdir_all(AT_FDCWD, path, 0700);
	if (r < 0) {
		(void)kp_fail_errno(err, -r, "%s: cannot be made", path);
		return kp_hint(err, "XDG_DATA_HOME=DIR puts instances elsewhere");
	}
	r = kp_dir_private(kapsel, err);
	if (!r)
		r = kp_dir_private(path, err);
	if (r < 0)
		return r;
	real = kp_real_path(path);
	if (!real)
		return kp_fail_errno(err, errno, "%s", path);
	*ret_path = real;
	return 0;
}

struct made_from {
	const char *image;
	struct kp_buf names;
	size_t count;
};

static int take_made_from(const char *name, void *ctx)
{
	struct made_from *m = ctx;
	struct kp_instance *i = NULL;

	if (kp_instance_open(name, &i, NULL) < 0)
		return 0;
	if (!strcmp(i->image, m->image) && m->count++ < 3)
		kp_buf_printf(&m->names, "%s%s", m->names.len ? ", " : "", name);
	(void)kp_instance_free(i);
	return 0;
}

int kp_instance_no_such(const char *name, struct kp_err *err)
{
	kp_autofree char *image = access(name, F_OK) == 0 ? realpath(name, NULL) : NULL;
	struct made_from m = {.image = image};
	int r;

	if (!image) {
		(void)kp_fail(err, ENOENT, "%s: no such instance", name);
		return kp_hint(err, "kapsel ps --all lists the instances");
	}
	(void)kp_fail(err, ENOENT, "%s: a file, not an instance", name);
	(void)kp_instance_each(take_made_from, &m, NULL);
	r = m.count ? kp_hint(err, "instances of that image: %s%s", m.names.data, m.count > 3 ? ", ..." : "")
		    : kp_hint(err, "kapsel ps --all lists the instances; kapsel run makes one of an image");
	kp_buf_free(&m.names);
	return r;
}

static int open_dir(const char *name, bool make, char **ret_dir, struct kp_err *err)
{
	kp_autofree char *base = NULL, *dir = NULL;
	int r;

	if (!kp_instance_name_ok(name) && !make && access(name, F_OK) == 0)
		return kp_instance_no_such(name, err);
	if (!kp_instance_name_ok(name))
		return kp_fail(err, EINVAL, "%s: not an instance name: letters, digits and . _ - are", name);
	r = kp_instance_base(&base, err);
	if (r < 0)
		return r;
	dir = kp_asprintf("%s/%s", base, name);
	if (make && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", dir);
	if (access(dir, F_OK) < 0 && errno == ENOENT)
		return kp_instance_no_such(name, err);
	r = kp_dir_private(dir, err);
	if (r < 0)
		return r;
	*ret_dir = kp_take_ptr(dir);
	return 0;
}

static struct kp_instance *new_instance(const char *name, char *dir)
{
	struct kp_instance *i = kp_calloc(1, sizeof(*i));

	i->name = kp_strdup(name);
	i->dir = dir;
	i->lock_fd = -1;
	return i;
}

struct kp_instance *kp_instance_free(struct kp_instance *i)
{
	if (!i)
		return NULL;
	(void)kp_close(i->lock_fd);
	free(i->name);
	free(i->dir);
	free(i->image);
	free(i->digest);
	kp_strings_free(&i->modes);
	kp_strings_free(&i->layers);
	free(i);
	return NULL;
}

int kp_instance_open(const char *name, struct kp_instance **ret_instance, struct kp_err *err)
{
	struct kp_instance *i;
	char *dir;
	int r = open_dir(name, false, &dir, err);

	if (r < 0)
		return r;
	i = new_instance(name, dir);
	r = kp_instance_config_read(i, err);
	if (r < 0) {
		(void)kp_instance_free(i);
		return r;
	}
	*ret_instance = i;
	return 0;
}

static void set_config(struct kp_instance *i, const char *host_image, const char *digest)
{
	i->image = kp_strdup(host_image);
	i->digest = kp_strdup(digest);
	i->created = (long long)time(NULL);
}

static int check_digests(const struct kp_instance *i, const char *digests, struct kp_err *err)
{
	size_t one = 2 * KP_DIGEST_LEN;

	if (!strcmp(i->digest, digests))
		return 0;
	if (!strncmp(i->digest, digests, one))
		(void)kp_fail(err, EEXIST, "%s: made with other layers below the image", i->name);
	else
		(void)kp_fail(err, EEXIST, "%s: made from another image: digest %.16s, this image has %.16s", i->name, i->digest, digests);
	return kp_hint(err, "--instance NAME runs this image in an instance of its own; kapsel upgrade %s IMAGE moves %s to it", i->name, i->name);
}

int kp_instance_create(const char *name, const char *host_image, const char *digests,
		       struct kp_instance **ret_instance, struct kp_err *err)
{
	struct kp_instance *i;
	char *dir;
	int r = open_dir(name, true, &dir, err);

	if (r < 0)
		return r;
	i = new_instance(name, dir);
	r = kp_instance_config_read(i, err);
	if (r == -ENOENT) {
		set_config(i, host_image, digests);
		r = kp_instance_config_write(i, err);
		/* Two may make it at once: what is on disk counts. */
		if (!r)
			r = kp_instance_config_read(i, err);
	}
	if (!r)
		r = check_digests(i, digests, err);
	if (r < 0) {
		(void)kp_instance_free(i);
		return r;
	}
	*ret_instance = i;
	return 0;
}

int kp_instance_create_throw_away(const char *prefix, const char *host_image, const char *digests,
				  struct kp_instance **ret_instance, struct kp_err *err)
{
	kp_autofree char *base = NULL;
	struct kp_instance *i;
	char *dir;
	int r = kp_instance_base(&base, err), marker;

	if (r < 0)
		return r;
	dir = kp_asprintf("%s/%.100s" THROW_AWAY "XXXXXX", base, prefix);
	if (!mkdtemp(dir)) {
		r = kp_fail_errno(err, errno, "%s: cannot be made", dir);
		free(dir);
		return r;
	}
	i = new_instance(strrchr(dir, '/') + 1, dir);
	i->throw_away = true;
	set_config(i, host_image, digests);
	/* Locked before it is marked, so that nobody sweeps it while it is being made. */
	r = kp_instance_lock(i);
	if (!r) {
		kp_autofree char *path = kp_asprintf("%s/throw-away", i->dir);

		marker = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		r = marker < 0 ? -errno : 0;
		(void)kp_close(marker);
	}
	r = r < 0 ? kp_fail_errno(err, -r, "%s: cannot be set up", i->dir) : kp_instance_config_write(i, err);
	if (r < 0) {
		(void)kp_remove_tree(AT_FDCWD, i->dir);
		(void)kp_instance_free(i);
		return r;
	}
	*ret_instance = i;
	return 0;
}

int kp_instance_unborn(struct kp_instance *i, struct kp_err *err)
{
	kp_autofree char *base = NULL, *dir = NULL;
	int r = kp_instance_base(&base, err);

	if (r < 0)
		return r;
	dir = kp_asprintf("%s/" KP_INSTANCE_UNBORN "XXXXXX", base);
	if (!mkdtemp(dir))
		return kp_fail_errno(err, errno, "%s: cannot be made", dir);
	i->dir = kp_take_ptr(dir);
	r = kp_instance_lock(i);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be locked", i->dir) : 0;
}

int kp_instance_born(struct kp_instance *i, const char *name, struct kp_err *err)
{
	kp_autofree char *final = NULL;

	if (!kp_instance_name_ok(name))
		return kp_fail(err, EINVAL, "%s: not an instance name: letters, digits and . _ - are", name);
	final = kp_asprintf("%.*s/%s", (int)(strrchr(i->dir, '/') - i->dir), i->dir, name);
	if (renameat2(AT_FDCWD, i->dir, AT_FDCWD, final, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", final);
	(void)kp_fail(err, EEXIST, "%s: there is an instance of that name", name);
	return kp_hint(err, "kapsel rm %s removes it", name);
}

int kp_instance_lock(struct kp_instance *i)
{
	kp_autofree char *path = kp_asprintf("%s/lock", i->dir);
	kp_autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat held, named;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	/* Removed between open and flock: the caller looks again. */
	if (fstat(fd, &held) < 0 || stat(path, &named) < 0 || held.st_ino != named.st_ino)
		return -ESTALE;
	i->lock_fd = kp_take_fd(&fd);
	return kp_settle(i->dir);
}

int kp_instance_remove(struct kp_instance *i, struct kp_err *err)
{
	int r;

	kp_instance_clean(i);
	r = kp_remove_tree(AT_FDCWD, i->dir);
	if (r < 0)
		return kp_fail_errno(err, -r, "%s: cannot be removed", i->dir);
	i->lock_fd = kp_close(i->lock_fd);
	return 0;
}

static void sweep_one(const char *base, const char *name)
{
	struct kp_instance *i;
	kp_autofree char *dir = kp_asprintf("%s/%s", base, name);
	kp_autofree char *marker = kp_asprintf("%s/throw-away", dir);

	if (access(marker, F_OK) < 0)
		return;
	i = new_instance(name, kp_take_ptr(dir));
	if (!kp_instance_lock(i))
		(void)kp_instance_remove(i, NULL);
	(void)kp_instance_free(i);
}

/* Who makes one locks it at once; without a lock file it is younger than that, or has been left alone for long. */
static void sweep_unborn(const char *base, const char *name)
{
	struct kp_instance i = {.dir = kp_asprintf("%s/%s", base, name), .lock_fd = -1};
	kp_autofree char *lock = kp_asprintf("%s/lock", i.dir);
	struct stat st;
	bool young = access(lock, F_OK) < 0 && (lstat(i.dir, &st) < 0 || time(NULL) - st.st_mtime < 60);

	/* Under another name first: half removed, and without its lock, it would look young again. */
	if (!young && !kp_instance_lock(&i)) {
		kp_autofree char *gone = kp_asprintf("%s/" GONE "%s", base, name + sizeof(KP_INSTANCE_UNBORN) - 1);

		if (rename(i.dir, gone) == 0)
			(void)kp_remove_tree(AT_FDCWD, gone);
	}
	(void)kp_close(i.lock_fd);
	free(i.dir);
}

static void sweep_gone(const char *base, const char *name)
{
	kp_autofree char *dir = kp_asprintf("%s/%s", base, name);

	(void)kp_remove_tree(AT_FDCWD, dir);
}

void kp_instance_sweep(void)
{
	kp_autofree char *base = NULL;
	struct dirent **names = NULL;
	int count;

	if (kp_instance_base(&base, NULL))
		return;
	count = scandir(base, &names, NULL, NULL);
	for (int i = 0; i < count; i++) {
		if (!strncmp(names[i]->d_name, KP_INSTANCE_UNBORN, sizeof(KP_INSTANCE_UNBORN) - 1))
			sweep_unborn(base, names[i]->d_name);
		else if (!strncmp(names[i]->d_name, GONE, sizeof(GONE) - 1))
			sweep_gone(base, names[i]->d_name);
		else if (strstr(names[i]->d_name, THROW_AWAY) && kp_instance_name_ok(names[i]->d_name))
			sweep_one(base, names[i]->d_name);
		free(names[i]);
	}
	free(names);
}

int kp_instance_each(int (*fn)(const char *name, void *ctx), void *ctx, struct kp_err *err)
{
	kp_autofree char *base = NULL;
	struct dirent **names = NULL;
	int r = kp_instance_base(&base, err), count;

	if (r < 0)
		return r;
	count = scandir(base, &names, NULL, alphasort);
	if (count < 0)
		return kp_fail_errno(err, errno, "%s", base);
	for (int i = 0; i < count; i++) {
		if (!r && kp_instance_name_ok(names[i]->d_name))
			r = fn(names[i]->d_name, ctx);
		free(names[i]);
	}
	free(names);
	return r;
}
