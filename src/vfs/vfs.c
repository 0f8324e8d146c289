/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the virtual file system of a run. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/pts.h"
#include "vfs/regtree.h"
#include "vfs/tell.h"

static int open_dir(const char *parent, const char *name, mode_t mode, struct kp_hpath *ret_path, int *ret_fd,
		    struct kp_err *err)
{
	if (kp_path_join(ret_path->s, sizeof(ret_path->s), parent, name))
		return kp_fail_errno(err, ENAMETOOLONG, "%s/%s", parent, name);
	if (mkdir(ret_path->s, mode) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot make directory", ret_path->s);
	*ret_fd = open(ret_path->s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd < 0)
		return kp_fail_errno(err, errno, "%s: cannot open", ret_path->s);
	return 0;
}

/* Records are extended attributes: a file system without them cannot hold an upper. A work directory with one has passed before. */
static int check_upper(struct kp_vfs *v, struct kp_err *err)
{
	struct kp_record rec = {.version = 1};

	if (fgetxattr(v->work_fd, KP_RECORD_XATTR, &rec, sizeof(rec)) == sizeof(rec))
		return 0;
	if (mknodat(v->work_fd, "probe", S_IFCHR, makedev(0, 0)) < 0)
		return kp_fail_errno(err, errno, "%s: whiteouts cannot be made here", v->upper.s);
	(void)unlinkat(v->work_fd, "probe", 0);
	rec = (struct kp_record){.version = 1};
	if (fsetxattr(v->work_fd, KP_RECORD_XATTR, &rec, sizeof(rec), 0) < 0) {
		(void)kp_fail_errno(err, errno, "%s: the file system keeps no user.* extended attributes", v->upper.s);
		return kp_hint(err, "set XDG_DATA_HOME to a directory on ext4, xfs, btrfs, or tmpfs of Linux 6.6 or newer");
	}
	return 0;
}

static int open_run_dirs(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	const struct {
		const char *name;
		struct kp_hpath *path;
	} later[] = {{"base", &v->base_dir}, {"code", &v->code}, {"loader", &v->loader}}; /* made by others */
	int rc = open_dir(o->run_dir, "dirs", 0700, &v->dirs, &v->dirs_fd, err);

	for (size_t i = 0; i < KP_ARRAY_LEN(later) && !rc; i++)
		if (kp_path_join(later[i].path->s, sizeof(later[i].path->s), o->run_dir, later[i].name))
			rc = kp_fail_errno(err, ENAMETOOLONG, "%s/%s", o->run_dir, later[i].name);
	return rc;
}

static int open_to_look(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	struct kp_hpath upper;
	bool has = o->instance_dir && !kp_path_join(upper.s, sizeof(upper.s), o->instance_dir, "upper") && access(upper.s, F_OK) == 0;
	int rc = open_dir(has ? o->instance_dir : o->run_dir, "upper", 0755, &v->upper, &v->upper_fd, err);

	return rc ? rc : open_run_dirs(v, o, err);
}

static int open_dirs(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	struct kp_hpath work;
	struct statvfs fs;
	int rc;

	if (o->look_only)
		return open_to_look(v, o, err);
	rc = open_dir(o->instance_dir, "upper", 0755, &v->upper, &v->upper_fd, err);
	if (rc)
		return rc;
	kp_vfs_settle(o->instance_dir);
	rc = open_dir(o->instance_dir, "work", 0700, &work, &v->work_fd, err);
	/* What a killed run left unfinished was never visible. */
	if (!rc)
		(void)kp_empty_tree(v->work_fd, ".");
	if (!rc)
		rc = check_upper(v, err);
	if (!rc && kp_times_open(v))
		rc = kp_fail_errno(err, errno, "%s/times: cannot be opened", o->instance_dir);
	v->upper_noexec = fstatvfs(v->upper_fd, &fs) == 0 && fs.f_flag & ST_NOEXEC;
	return rc ? rc : open_run_dirs(v, o, err);
}

static void add_bind(struct kp_vfs *v, const char *host, const char *guest, bool read_only)
{
	v->binds = kp_realloc(v->binds, (v->bind_count + 1) * sizeof(*v->binds));
	v->binds[v->bind_count++] = (struct kp_bind){kp_strdup(host), kp_strdup(guest), read_only};
}

/* Devices and kernel views come from the host where it has them. */
static void add_builtin_binds(struct kp_vfs *v, const struct kp_vfs_options *o)
{
	static const struct {
		const char *path;
		bool read_only;
		enum { ALWAYS, WIDE, NARROW } when;
	} builtin[] = {
		{"/dev/null", false, ALWAYS}, {"/dev/zero", false, ALWAYS}, {"/dev/full", false, ALWAYS}, {"/dev/random", false, ALWAYS},
		{"/dev/urandom", false, ALWAYS}, {"/dev/tty", false, ALWAYS}, {"/dev/ptmx", false, ALWAYS}, {"/dev/pts", false, ALWAYS},
		{"/sys", true, WIDE}, {"/sys/devices/system/cpu", true, NARROW}, {"/sys/devices/system/node", true, NARROW},
		{"/sys/kernel/mm/transparent_hugepage", true, NARROW},
	};
	struct kp_hpath shm;

	for (size_t i = 0; i < KP_ARRAY_LEN(builtin); i++) {
		kp_autofree char *real = kp_real_path(builtin[i].path); /* /dev/ptmx is a link on some hosts */

		if (real && builtin[i].when != (o->narrow ? WIDE : NARROW))
			add_bind(v, real, builtin[i].path, builtin[i].read_only);
	}
	if (!kp_path_join(shm.s, sizeof(shm.s), o->run_dir, "shm") && (mkdir(shm.s, 01777) == 0 || errno == EEXIST)) {
		(void)chmod(shm.s, 01777);
		add_bind(v, shm.s, "/dev/shm", false);
	}
}

static void take_rules(struct kp_vfs *v, const struct kp_vfs_options *o)
{
	struct stat st;

	v->rules = kp_calloc(o->rule_count + 1, sizeof(*v->rules));
	for (size_t i = 0; i < o->rule_count; i++)
		v->rules[v->rule_count++] = (struct kp_rule){kp_strdup(o->rules[i].guest), kp_strdup(o->rules[i].host),
							     o->rules[i].mode, o->rules[i].dots};
	v->private = kp_calloc(o->private_count + 1, sizeof(*v->private));
	for (size_t i = 0; i < o->private_count; i++) {
		v->private[v->private_count].path = kp_strdup(o->private_dirs[i]);
		if (stat(o->private_dirs[i], &st) == 0) {
			v->private[v->private_count].dev = st.st_dev;
			v->private[v->private_count].ino = st.st_ino;
		}
		v->private_count++;
	}
}

int kp_vfs_open(const struct kp_vfs_options *o, struct kp_vfs **ret_vfs, struct kp_err *err)
{
	struct kp_vfs *v;
	int rc;

	if (o->layer_count > KP_MAX_LAYERS)
		return kp_fail(err, E2BIG, "layers: more than %d", KP_MAX_LAYERS);
	v = kp_pages(sizeof(*v));
	v->upper_fd = v->work_fd = v->dirs_fd = v->times_fd = -1;
	v->uid = geteuid();
	v->gid = getegid();
	v->supervisor = getpid();
	v->offline = o->offline;
	v->dev = makedev(0, 0x6b70);
	v->notices = kp_notices_new(o->look_only ? NULL : o->instance_dir);
	v->projected = o->projected;
	v->projected_count = o->projected_count;
	pthread_rwlock_init(&v->lock, NULL);
	pthread_mutex_init(&v->terminal_lock, NULL);
	pthread_mutex_init(&v->config.lock, NULL);
	v->lists = kp_dirlists_new();
	v->moves = kp_moves_new();
	v->layer_count = o->layer_count;
	for (size_t i = 0; i < o->layer_count; i++) {
		struct stat st;

		v->layers[i] = o->layers[i];
		if (kp_image_stat(o->layers[i].image, &st) == 0) {
			v->image_file[i].dev = st.st_dev;
			v->image_file[i].ino = st.st_ino;
		}
		(void)snprintf(v->store_dir[i].s, PATH_MAX, "%s", o->look_only ? "-" : kp_store_image_dir(o->layers[i].store));
	}
	rc = open_dirs(v, o, err);
	if (!rc) {
		add_builtin_binds(v, o);
		take_rules(v, o);
		for (size_t i = 0; i < o->bind_count; i++)
			add_bind(v, o->binds[i].host, o->binds[i].guest, o->binds[i].read_only);
		kp_base_make(v, o);
		kp_moves_load(v);
		if (!o->look_only)
			kp_numbers_load(v); /* who only looks compares with what they were */
		if (!rc && o->registry)
			v->registry = kp_regtree_new(v, o->registry, o->instance_dir);
	}
	if (rc) {
		kp_vfs_free(v);
		return rc;
	}
	*ret_vfs = v;
	return 0;
}

int kp_vfs_registry_fd(const struct kp_vfs *v)
{
	return v->registry ? kp_regtree_fd(v->registry) : -1;
}

void kp_vfs_registry_drain(struct kp_vfs *v)
{
	kp_regtree_drain(v->registry);
}

struct kp_vfs *kp_vfs_free(struct kp_vfs *v)
{
	if (!v)
		return NULL;
	v->registry = kp_regtree_free(v->registry);
	v->notices = kp_notices_free(v->notices);
	for (size_t i = 0; i < v->bind_count; i++) {
		free((char *)v->binds[i].host);
		free((char *)v->binds[i].guest);
	}
	free(v->binds);
	for (size_t i = 0; i < v->rule_count; i++) {
		free((char *)v->rules[i].guest);
		free((char *)v->rules[i].host);
	}
	free(v->rules);
	for (size_t i = 0; i < v->private_count; i++)
		free(v->private[i].path);
	free(v->private);
	kp_close(v->upper_fd);
	kp_close(v->work_fd);
	kp_close(v->times_fd);
	v->base = kp_base_free(v->base);
	kp_close(v->dirs_fd);
	kp_pts_free(v);
	kp_dirlists_free(v->lists);
	kp_fast_free(v->fast);
	kp_numbers_free(v);
	kp_moves_free(v->moves);
	pthread_rwlock_destroy(&v->lock);
	return kp_pages_free(v, sizeof(*v));
}

void kp_vfs_set_net_text(struct kp_vfs *v, kp_net_text_fn *make, void *ctx)
{
	v->net_text = make;
	v->net_text_ctx = ctx;
}
