/* SPDX-License-Identifier: Apache-2.0 */
/* Instances on disk: directory, lock, configuration; the private directory of a run; what crashes left behind. */
#ifndef KAPSEL_INSTANCE_INSTANCE_H
#define KAPSEL_INSTANCE_INSTANCE_H

#include "base/base.h"
#include "image/image.h"

#define KP_INSTANCE_NAME_MAX 128U
#define KP_INSTANCE_UNBORN ".new-" /* how directories of instances begin that are being made: no instance name */

struct kp_instance {
	char *name;
	char *dir;       /* absolute host path, symlinks resolved, 0700, ours */
	int lock_fd;     /* instances/NAME/lock; held while the instance runs, -1: not held */
	bool throw_away; /* --rm */
	char *image;     /* from config.yaml: host path of the image */
	char *digest;    /* of each image, in hex, top down: "DIGEST, DIGEST" */
	long long created;
	struct kp_strings modes, layers; /* --mode and --layer of the last run */
};

/* [A-Za-z0-9][A-Za-z0-9._-]*, at most KP_INSTANCE_NAME_MAX bytes. */
bool kp_instance_name_ok(const char *name);
/* Directory that holds all instances ($XDG_DATA_HOME/kapsel/instances), made when missing. Caller frees. */
int kp_instance_base(char **ret_path, struct kp_err *err);
/* dir must be a directory, ours, not writable by others. 0 or -errno with err. */
int kp_dir_private(const char *host_dir, struct kp_err *err);

/* -ENOENT with err and a hint: name is none; where it is a file, which instances are of that image. */
int kp_instance_no_such(const char *name, struct kp_err *err);

/* Opens an instance that exists (-ENOENT otherwise) and reads its configuration; takes no lock. */
int kp_instance_open(const char *name, struct kp_instance **ret_instance, struct kp_err *err);
/* The same, made when missing for these images (digests as in struct kp_instance). Others: -EEXIST with a hint. */
int kp_instance_create(const char *name, const char *host_image, const char *digests,
		       struct kp_instance **ret_instance, struct kp_err *err);
/* A new instance under a unique name that starts with prefix, locked from birth; see kp_instance_sweep. */
int kp_instance_create_throw_away(const char *prefix, const char *host_image, const char *digests,
				  struct kp_instance **ret_instance, struct kp_err *err);
struct kp_instance *kp_instance_free(struct kp_instance *instance); /* NULL is fine; drops the lock */

/* Lock held: a run begins with this image and these --mode and --layer values; what comes later, beside the run, works with them. */
int kp_instance_note_run(struct kp_instance *instance, const char *host_image, const struct kp_strings *modes, const struct kp_strings *layers,
			 struct kp_err *err);

/* A directory for an instance to be filled in, locked, that is none yet; i starts as zeros but lock_fd -1; sets dir. */
int kp_instance_unborn(struct kp_instance *i, struct kp_err *err);
/* It becomes the instance name, in one step; -EEXIST with err where there is one. */
int kp_instance_born(struct kp_instance *i, const char *name, struct kp_err *err);

/* Takes the lock: 0, -EWOULDBLOCK when the instance runs, -ESTALE when it was removed meanwhile, other -errno. */
int kp_instance_lock(struct kp_instance *instance);
/* Lock held: kills and removes what a crashed run of this instance left. */
void kp_instance_clean(const struct kp_instance *instance);
/* Lock held: removes the whole instance. 0 or -errno with err. */
int kp_instance_remove(struct kp_instance *instance, struct kp_err *err);
/* Removes throw-away instances whose run was killed, and those that were being made by a command that was. */
void kp_instance_sweep(void);
/* Calls fn for each instance name, sorted, until it returns nonzero. */
int kp_instance_each(int (*fn)(const char *name, void *ctx), void *ctx, struct kp_err *err);

/* Lock held: makes the run directory (tmpfs and exec where possible, 0700) and notes it in instances/NAME/lock. */
int kp_run_dir_create(const struct kp_instance *instance, char **ret_dir, struct kp_err *err);
/* Where the running instance has its run directory: -ENOENT when it has none. */
int kp_run_dir_find(const struct kp_instance *instance, char **ret_dir);
void kp_run_dir_remove(const struct kp_instance *instance, const char *host_dir);

#endif
