/* SPDX-License-Identifier: Apache-2.0 */
/* Guest names to nodes: the walk over components, links and layers, as the kernel's path walk does it. */
#ifndef KAPSEL_VFS_RESOLVE_H
#define KAPSEL_VFS_RESOLVE_H

#include "vfs/node.h"

/* Hold a read lock around resolution and what is done with the node; a write lock when names or attributes in
 * the layered tree change. Nothing that can block on another guest happens under either. */
void kp_vfs_read_lock(struct kp_vfs *v);
void kp_vfs_write_lock(struct kp_vfs *v);
void kp_vfs_unlock(struct kp_vfs *v);

struct kp_walk {
	const struct kp_cred *cred;
	pid_t tid;           /* the caller: /proc/self */
	const char *start;   /* canonical guest path of the directory that relative paths start from */
	const char *path;    /* as the caller wrote it; "" is -ENOENT */
	bool follow;         /* a symlink in the last component */
	bool name_only;      /* the last name is to be made or removed: slashes behind it do not make it a directory */
	bool create;         /* open with O_CREAT: a slash behind the last name is -EISDIR */
	uint64_t resolve;    /* RESOLVE_* of openat2 */
};

/* 0 with *ret_node (origin KP_ABSENT when only the last name is missing), or -errno. */
int kp_resolve(struct kp_vfs *v, const struct kp_walk *w, struct kp_node *ret_node);
/* The node at a canonical path; links are not followed. */
int kp_resolve_exact(struct kp_vfs *v, const char *guest, pid_t tid, struct kp_node *ret_node);

/* May cred do want (R_OK | W_OK | X_OK) on something of this mode and owner? 0 or -EACCES. */
int kp_permit(const struct kp_cred *cred, mode_t mode, uid_t uid, gid_t gid, int want);
int kp_node_permit(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, int want);
/* May cred add or remove names in the node's parent? Sticky directories count when victim exists. */
int kp_node_permit_parent(const struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred, bool remove);
void kp_node_owner(const struct kp_vfs *v, const struct kp_node *n, uid_t *ret_uid, gid_t *ret_gid);

/* Target of a symlink node as the guest sees it. 0, -EINVAL (no link), -errno. */
int kp_node_readlink(struct kp_vfs *v, const struct kp_node *n, char *buf, size_t size);

/* What a host path (a /proc/PID/{fd/N,cwd} link) is in guest terms. */
enum kp_map_kind {
	KP_MAP_FOREIGN, /* nothing of ours, or no path ("pipe:[1]") */
	KP_MAP_GUEST,   /* ret_guest is its path */
	KP_MAP_IMAGE,   /* an image file: layer, entry; ret_guest is its path in that image */
	KP_MAP_UPPER,   /* a file of the upper; ret_guest is its path */
};
struct kp_mapped {
	enum kp_map_kind kind;
	size_t layer;
	uint32_t entry;
	bool deleted; /* the link said so */
	bool copy;    /* a copy of the file, which has the name still */
	bool loader;  /* our own exec loader, which whoever jumps to the gate opens for reading */
	bool read_only; /* a bind of that kind shows it */
	bool kept;    /* a bind or merged shows it here, and writecopy elsewhere: nobody knows by which name it was opened */
	const struct kp_rule *rule; /* KP_MAP_GUEST: a file of the host that this rule shows; else NULL */
	struct kp_gpath guest;
};
void kp_map_host(const struct kp_vfs *v, const char *host, struct kp_mapped *ret);
/* Is that file a copy of a library's code? Then where in it its page of slots is, which is part of no guest's file. */
bool kp_map_slots(const struct kp_vfs *v, const char *host, uint64_t *ret_offset);
/* Is the node that a link's text leads to still the object that the link holds? held: its stat, not looked at for KP_MAP_IMAGE. */
bool kp_same_object(const struct kp_vfs *v, const struct kp_node *n, const struct kp_mapped *m, const struct stat *held);
/* What of the host a descriptor for reading leads to under its other name cannot be changed, where it may be that of writecopy. */
void kp_node_keep(struct kp_node *n, const struct kp_mapped *m, const struct kp_hpath *link);
/* Was that descriptor opened by who started the guest? */
bool kp_link_is_given(const struct kp_hpath *link, const struct kp_mapped *m, const struct stat *st);
/* The object that a /proc/PID/{fd/N,cwd} link holds, whatever its names are now; m: what the link's text maps to. */
int kp_node_from_link(struct kp_vfs *v, const struct kp_hpath *link, const struct kp_mapped *m, struct kp_node *ret_node);

#endif
