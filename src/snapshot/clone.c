/* SPDX-License-Identifier: Apache-2.0 */
/* New instances that begin as copies of others. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "instance/config.h"
#include "instance/settle.h"
#include "snapshot/internal.h"

#define REGISTRY "registry"
#define REGISTRY_TRIES 200 /* of 10 ms: for `kapsel reg`, which may be at work on an instance that is held still */

/* The registry and what SQLite keeps beside it are of one instant, or there is a journal that tells how to make them so. */
static bool registry_rests(int dirfd, struct stat *ret)
{
	*ret = (struct stat){0};
	return fstatat(dirfd, REGISTRY "-journal", ret, AT_SYMLINK_NOFOLLOW) < 0 &&
	       (fstatat(dirfd, REGISTRY, ret, AT_SYMLINK_NOFOLLOW) == 0 || errno == ENOENT);
}

static bool is_registry(const char *name)
{
	return !strncmp(name, REGISTRY, sizeof(REGISTRY) - 1);
}

static bool is_carried_at_once(const char *name)
{
	return !is_registry(name) && !kp_settle_is_local(name);
}

static int copy_all(const struct kp_carry *how, bool registry, struct kp_err *err)
{
	struct dirent **names = NULL;
	int count = scandirat(how->from_fd, ".", &names, NULL, NULL), r = 0;

	if (count < 0)
		return kp_fail_errno(err, errno, "instance: its directory cannot be read");
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;

		if (!r && registry && is_registry(name))
			r = kp_remove_tree(how->to_fd, name); /* of the try before */
		if (!r && is_registry(name) == registry && !kp_settle_is_local(name))
			r = kp_tree_copy(how, name, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int kp_carry(const struct kp_carry *how, struct kp_err *err)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct stat before, after;
	bool finish = how->kind == KP_TREE_FREEZE && how->prepared;
	int r = finish ? kp_prepared_finish(how, is_carried_at_once, err) : copy_all(how, false, err);

	for (int tries = 0; !r && how->kind != KP_TREE_PREPARE; tries++) {
		bool rested = registry_rests(how->from_fd, &before) || tries >= REGISTRY_TRIES;

		if (rested)
			r = copy_all(how, true, err);
		if (r < 0 || tries >= REGISTRY_TRIES)
			break;
		if (rested && registry_rests(how->from_fd, &after) && before.st_ino == after.st_ino && before.st_ctim.tv_sec == after.st_ctim.tv_sec &&
		    before.st_ctim.tv_nsec == after.st_ctim.tv_nsec)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return r;
}

void kp_let_time_pass(void)
{
	const struct timespec tick = {.tv_nsec = 20000000}; /* the file system's clock goes in steps of up to 10 ms */

	(void)nanosleep(&tick, NULL);
}

static int fill(const struct kp_instance *from, int from_fd, struct kp_instance *to, struct kp_err *err)
{
	kp_autoclose int to_fd = open(to->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct kp_carry how = {.from_fd = from_fd, .to_fd = to_fd, .before_fd = -1, .kind = KP_TREE_CLONE};
	int r;

	if (to_fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot be opened", to->dir);
	r = kp_carry(&how, err);
	if (!r)
		r = kp_instance_config_read(to, err);
	if (r)
		return r == -ENOENT && !err->code ? kp_fail(err, ENOENT, "%s: not set up yet", from->name) : r;
	to->created = (long long)time(NULL);
	return kp_instance_config_write(to, err);
}

int kp_clone_create(const struct kp_instance *i, const char *snapshot, const char *name, struct kp_err *err)
{
	kp_autoclose int from_fd = snapshot ? kp_snapshot_open(i, snapshot, err) : open(i->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	kp_autofree char *final = kp_asprintf("%.*s/%s", (int)(strrchr(i->dir, '/') - i->dir), i->dir, name);
	struct kp_instance to = {.lock_fd = -1};
	int r;

	if (from_fd < 0)
		return snapshot ? from_fd : kp_fail_errno(err, errno, "%s: cannot be opened", i->dir);
	/* Asked before the copy is made; kp_instance_born() decides. */
	if (!kp_instance_name_ok(name))
		return kp_fail(err, EINVAL, "%s: not an instance name: letters, digits and . _ - are", name);
	if (access(final, F_OK) == 0) {
		(void)kp_fail(err, EEXIST, "%s: there is an instance of that name", name);
		return kp_hint(err, "kapsel rm %s removes it", name);
	}
	to.name = (char *)(uintptr_t)name;
	r = kp_instance_unborn(&to, err);
	if (!r)
		r = fill(i, from_fd, &to, err);
	if (!r)
		r = kp_instance_born(&to, name, err);
	if (r < 0 && to.dir)
		(void)kp_remove_tree(AT_FDCWD, to.dir);
	(void)kp_close(to.lock_fd);
	free(to.dir);
	free(to.image);
	free(to.digest);
	kp_strings_free(&to.modes);
	kp_strings_free(&to.layers);
	return r;
}
