/* SPDX-License-Identifier: Apache-2.0 */
/* Making and ending the virtual file system of an instance. Resolution and changes: vfs/resolve.h and others. */
#ifndef KAPSEL_VFS_VFS_H
#define KAPSEL_VFS_VFS_H

#include <stdbool.h>

#include "image/image.h"
#include "manifest/manifest.h"
#include "store/store.h"

struct kp_vfs;

struct kp_layer { /* an image and its directory in the store; both outlive the vfs */
	const struct kp_image *image;
	struct kp_store_image *store;
};

struct kp_bind {
	const char *host;  /* absolute host path of a directory or file, symlinks resolved */
	const char *guest; /* absolute guest path, normalised */
	bool read_only;
};

/* An isolation mode of a directory and all below it, up to deeper rules. */
struct kp_rule {
	const char *guest; /* absolute guest path, normalised */
	const char *host;  /* absolute host path that is shown there, symlinks resolved as far as it exists */
	enum kp_mode mode;
	bool dots; /* for the entries of that directory whose names begin with a dot, instead of for itself */
};

struct kp_reg;

struct kp_vfs_options {
	struct kp_reg *registry;  /* shown as /proc/registry; it outlives the vfs; NULL: none is */
	const char *instance_dir; /* host: holds upper/ and work/ (made here when missing); absolute, resolved */
	bool look_only;           /* for explaining: nothing is changed but in run_dir; instance_dir may be NULL; stores are not needed */
	const char *run_dir;      /* host: private to this run, on tmpfs where possible, 0700, empty; stand-in
	                           * directories (run_dir/dirs) and generated files (run_dir/base) live below it */
	const struct kp_layer *layers; /* top down */
	size_t layer_count;
	const struct kp_bind *binds;
	size_t bind_count;
	const struct kp_rule *rules; /* at most one a path, and one with dots */
	size_t rule_count;
	const char *const *private_dirs; /* host directories that no rule shows, whether they exist yet or not; symlinks
					  * resolved as far as they do */
	size_t private_count;
	const char *hostname; /* for the generated /etc/hostname and /etc/hosts */
	bool offline;         /* no network is granted: /etc/resolv.conf names no server, /proc/net nothing */
	bool narrow;          /* of /sys, processors and memory alone */
	const char *home;     /* guest path of the home directory (made in the generated layer) */
	const char *user;     /* login name for the generated passwd and group */
};

/* Is called once, without any lock, by the thread whose call is about to change the first of them in this run: tag says which. */
typedef void kp_config_fn(void *ctx, const char *tag);

int kp_vfs_open(const struct kp_vfs_options *o, struct kp_vfs **ret_vfs, struct kp_err *err);
/* Registry values that guests have written: readable where there are some, and taking them. -1: no registry is shown. */
int kp_vfs_registry_fd(const struct kp_vfs *vfs);
void kp_vfs_registry_drain(struct kp_vfs *vfs);
/* Finishes, or takes away, what a killed run was about to do. The instance is locked. */
void kp_vfs_settle(const char *instance_dir);
struct kp_vfs *kp_vfs_free(struct kp_vfs *vfs);
/* Makes the texts of /proc/PID/net, of the host's file: 0; -ENOSYS: as the host has it; -errno. Set before guests run. */
typedef int kp_net_text_fn(void *ctx, const char *host_path, struct kp_buf *out);
void kp_vfs_set_net_text(struct kp_vfs *vfs, kp_net_text_fn *make, void *ctx);

/* tags: absolute guest paths and keys that the image calls configuration; what is in them counts, and what a mode leaves to the host does
 * not. They outlive the vfs. Set before guests run. */
void kp_vfs_watch_config(struct kp_vfs *vfs, const struct kp_strings *tags, kp_config_fn *first, void *ctx);

#endif
