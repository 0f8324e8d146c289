/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an open vfs, shared by the files of this room; those of sys/ that map host paths and numbers back look into it, too. */
#ifndef KAPSEL_VFS_INTERNAL_H
#define KAPSEL_VFS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "vfs/fast.h"
#include "vfs/node.h"
#include "vfs/record.h"

struct kp_dirlists;
struct kp_fast_cache;
struct kp_terminal;
struct kp_regtree;
struct kp_live;
struct kp_moves;
struct kp_number;
struct kp_symlink;

struct kp_config { /* config.c */
	atomic_bool armed; /* none of them has been changed in this run */
	pthread_mutex_t lock;
	const struct kp_strings *tags;
	kp_config_fn *first;
	void *ctx;
};

struct kp_vfs {
	pthread_rwlock_t lock; /* readers resolve and read; writers change names. See kp_vfs_lock */
	atomic_uint generation; /* counts changes of directories: cached look-ups of another are void */
	atomic_uint changes;    /* counts write locks: what was missing from the upper may be there */
	struct kp_layer layers[KP_MAX_LAYERS];
	size_t layer_count;
	struct { /* the images' own files: shown, but not for writing */
		dev_t dev;
		ino_t ino;
	} image_file[KP_MAX_LAYERS];
	struct kp_bind *binds; /* built-in ones (/dev/null, ...) and the user's; later wins */
	size_t bind_count;
	struct kp_rule *rules;
	size_t rule_count;
	struct { /* directories that are hidden wherever a rule would show them */
		char *path;
		dev_t dev; /* as it was found at the beginning, if it was: it may have other paths */
		ino_t ino;
	} *private;
	size_t private_count;
	int upper_fd, work_fd, dirs_fd, times_fd;
	bool upper_noexec; /* its file system does not allow exec */
	struct kp_hpath upper, dirs; /* host paths of the same */
	struct kp_hpath base_dir;    /* what of the generated layer has been opened */
	struct kp_hpath loader;      /* the exec loader, a file */
	struct kp_hpath code;        /* copies of libraries' code: LAYER.ENTRY.SLOTS.N, SLOTS being where in it its page of slots is (kapsel/fast.h) */
	struct kp_base *base;
	struct kp_hpath store_dir[KP_MAX_LAYERS];
	pid_t supervisor; /* guests are its descendants */
	uid_t uid;        /* owns image files in the guest's eyes */
	gid_t gid;
	dev_t dev;        /* guest-visible st_dev of the layered tree */
	bool offline;     /* no network is granted */
	atomic_bool full; /* the instance holds what it may: nothing new is made in the upper */
	atomic_bool guest_makes_names; /* a bind was let go: its name comes into the upper when the guest runs on, without the lock */
	atomic_ulong temp_count;
	struct kp_dirlists *lists;
	kp_net_text_fn *net_text; /* or NULL */
	void *net_text_ctx;
	struct kp_fast_cache *fast; /* what guests read themselves; NULL: none */
	bool declared;              /* the writer has said which names it changes */
	pthread_mutex_t terminal_lock; /* of the next two (pts.c) */
	struct kp_terminal *terminals;
	size_t terminal_count;
	struct kp_live *live; /* projected files; NULL: none */
	struct kp_moves *moves;
	struct kp_number *numbers; /* of the host's files, that copies of them have (numbers.c) */
	struct kp_symlink *symlinks; /* of the upper, that have the number of what they are a copy of */
	struct kp_regtree *registry; /* NULL: none is shown */
	struct kp_config config;
	struct kp_notices *notices;
	const struct kp_live_file *projected; /* look_only */
	size_t projected_count;
};

/* What memfds are called that are copies of a file of the upper; its guest path follows. */
#define KP_MEMFD_UPPER "kapsel-upper:"

/* Guest-visible inode numbers: disjoint ranges per layer kind. */
#define KP_INO_UPPER KP_FAST_INO_UPPER
#define KP_INO_BASE (1ULL << 55)
/* Several file systems may be shown: a number that holds as long as the device keeps its own. */
static inline uint64_t kp_ino_host(dev_t dev, ino_t ino)
{
	uint64_t fs = (uint64_t)dev * 0x9e3779b97f4a7c15ULL >> 50;

	return 1ULL << 62 | fs << 48 | (((uint64_t)ino ^ (uint64_t)ino >> 48) & 0xffffffffffffULL);
}
static inline uint64_t kp_ino_image(size_t layer, uint32_t ino)
{
	return ((uint64_t)(layer + 1) << 33) + ino + 1;
}

/* rel is below the upper's root. A missing record reads as all zeros. */
int kp_record_read(const struct kp_vfs *v, const char *rel, struct kp_record *ret);
int kp_record_write(const struct kp_vfs *v, const char *rel, const struct kp_record *r);

/* --- lookup.c --- */
/* Looks up one name (not "." or "..") in the directory at guest. child->guest must already hold the child's path. */
int kp_lookup_child(struct kp_vfs *v, const struct kp_dir *dir, const char *name, size_t len, pid_t tid,
		    struct kp_node *child);
/* The layers' roots. */
void kp_lookup_root(struct kp_vfs *v, struct kp_node *node);

/* --- shown.c: the host's part --- */
/* The rule for a path: its own, or the one that it inherits. */
const struct kp_rule *kp_rule_at(const struct kp_vfs *v, const char *guest, const struct kp_rule *inherited);
/* Is that one of the dot entries that the rule is for? */
bool kp_rule_dots(const struct kp_rule *r, const char *guest);
/* Where the host has what a rule shows at guest. */
int kp_shown_path(const struct kp_rule *r, const char *guest, struct kp_hpath *ret);
/* The same for what was renamed in the instance: in merged it is there under its new name, else under its old one. */
int kp_shown_of(const struct kp_dir *d, const char *guest, struct kp_hpath *ret);
/* After the images, before the generated layer; child->self.rule is set. hidden: the upper hides what lies below. */
int kp_shown_lookup(struct kp_vfs *v, const struct kp_dir *dir, bool hidden, struct kp_node *child);
bool kp_shown_is_private(const struct kp_vfs *v, const char *host_dir, int dirfd, const char *name);
/* Below that directory is something that must not move with it: where another mode begins, or a directory that none shows. */
bool kp_shown_is_held(const struct kp_vfs *v, const struct kp_node *n);
/* Before something is made on the host: the directories above it, which only an image may have had. */
int kp_shown_parents(struct kp_vfs *v, const struct kp_node *n);

/* --- cache.c: per-thread cache of directory look-ups --- */
const struct kp_dir *kp_dircache_get(struct kp_vfs *v, const char *guest, uint64_t *ret_ino);
void kp_dircache_put(struct kp_vfs *v, const char *guest, const struct kp_dir *dir, uint64_t ino);
static inline void kp_dircache_renew(struct kp_vfs *v)
{
	atomic_fetch_add(&v->generation, 1);
}
static inline void kp_dircache_void(struct kp_vfs *v)
{
	kp_dircache_renew(v);
	kp_fast_void(v);
}
/* When one went that was empty. */
static inline void kp_dircache_forget(struct kp_vfs *v)
{
	kp_dircache_renew(v);
	kp_fast_dir_goes(v);
}

/* Names that the upper was asked for and does not have. Only known to who holds the read lock: a writer's own changes count for it. */
bool kp_upper_lacks(const struct kp_vfs *v, const char *guest);
void kp_upper_note_lack(const struct kp_vfs *v, const char *guest);
/* Does this thread hold the read lock? */
bool kp_vfs_is_reading(const struct kp_vfs *v);

/* --- moved.c: renamed directories --- */
struct kp_moves *kp_moves_new(void);
struct kp_moves *kp_moves_free(struct kp_moves *t);
void kp_moves_load(struct kp_vfs *v);
/* A directory has another name now; to NULL: it is gone. */
void kp_moves_rename(struct kp_vfs *v, const char *from, const char *to);
/* A path in the terms of the lower layers becomes the guest's. */
void kp_moves_find(const struct kp_vfs *v, struct kp_gpath *path);
/* Any layer below the upper has a part of the directory. */
bool kp_has_lower(const struct kp_dir *d);
/* Path in the layers below of what is in (or is) d and has this guest path: guest itself, or in buf. */
const char *kp_lower_path(const struct kp_dir *d, const char *guest, struct kp_gpath *buf);
/* child is a renamed directory of the upper: it gets its images' parts. The rest of what lies below (allocated, or NULL) is for
 * kp_moved_take, when its own name has been looked up. */
struct kp_node *kp_moved_lower(struct kp_vfs *v, struct kp_node *child, pid_t tid);
void kp_moved_take(struct kp_node *child, const struct kp_node *low);
/* The upper's directory n says from now on where its lower parts are, so that it can be renamed. */
int kp_moved_set(struct kp_vfs *v, const struct kp_node *n);
/* The directories above guest know that they hold a moved one: before they do. */
int kp_moved_mark(struct kp_vfs *v, const struct kp_gpath *guest);

/* --- base.c --- */
void kp_base_make(struct kp_vfs *v, const struct kp_vfs_options *o);
struct kp_base *kp_base_free(struct kp_base *b);
/* 0 or -ENOENT. st_ino is the file's number in the layer. */
int kp_base_stat(const struct kp_vfs *v, const char *guest, struct stat *ret);
/* Where a symlink leads to, or NULL. */
const char *kp_base_link(const struct kp_vfs *v, const char *guest);
void kp_base_each(const struct kp_vfs *v, const char *guest_dir, void (*fn)(const char *name, mode_t mode, ino_t ino, void *ctx), void *ctx);
/* Makes it a file, if it is none yet: its host path. */
int kp_base_place(struct kp_vfs *v, const char *guest, struct kp_hpath *ret);

/* --- numbers.c --- */
void kp_numbers_load(struct kp_vfs *v);
void kp_numbers_free(struct kp_vfs *v);
/* A file of the host comes into the upper and keeps its number: before it does. 0 or -errno. */
int kp_number_take(struct kp_vfs *v, uint64_t number);
/* A copy in work/ of a symlink keeps that number. 0 or -errno. */
int kp_number_keep_link(struct kp_vfs *v, const char *work_name, uint64_t number);
/* The number that a symlink of the upper has kept; 0: none. */
uint64_t kp_number_of_link(const struct kp_vfs *v, const char *rel, ino_t ino);
/* The number that something of the host is shown with. */
uint64_t kp_number_of_host(const struct kp_vfs *v, dev_t dev, ino_t ino);

/* --- times.c: where it notes what has to be put back. 0 or -errno. --- */
int kp_times_open(struct kp_vfs *v);

struct kp_dirlists *kp_dirlists_new(void);
struct kp_dirlists *kp_dirlists_free(struct kp_dirlists *l);

#endif
