/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry as files: /proc/registry/HKEY_CURRENT_USER/Software/App/Theme (docs/REGISTRY.md). A value opened for reading is a snapshot. One
 * opened for writing is a real file, staged among the stand-in directories under its guest path: when its last writer closes it, an event
 * comes, and its content becomes the value. The events are taken before any look at the registry, so writers read what they wrote.
 */
#ifndef KAPSEL_VFS_REGTREE_H
#define KAPSEL_VFS_REGTREE_H

#include "kapsel/registry.h"
#include "vfs/node.h"

#define KP_REGTREE "/proc/registry"

struct kp_regtree;

/* reg is borrowed; instance_dir: where its file is, watched for changes that others make. */
struct kp_regtree *kp_regtree_new(struct kp_vfs *v, struct kp_reg *reg, const char *instance_dir);
/* No guest is left: what is staged still becomes values. NULL is fine. */
struct kp_regtree *kp_regtree_free(struct kp_regtree *t);
/* Readable when there is something to do; and doing it (NULL is fine). */
int kp_regtree_fd(const struct kp_regtree *t);
void kp_regtree_drain(struct kp_regtree *t);
/* What a run that was killed had staged becomes values. dirs: its directory of stand-ins; failed: lines about what could not. */
void kp_regtree_recover(const char *dirs, struct kp_reg *reg, struct kp_strings *failed);

/* One name in a directory of the tree, for kp_lookup_child; in /proc: is it the tree's root? child->guest gets the name as it was made. */
int kp_regtree_lookup(struct kp_vfs *v, const char *name, size_t len, struct kp_node *child);
/* Calls fn for each name in directory n. */
int kp_regtree_list(struct kp_vfs *v, const struct kp_node *n, void (*fn)(const char *name, bool dir, void *ctx), void *ctx);
uint64_t kp_regtree_ino(const char *guest);

/* flags of open; the file exists. */
int kp_regtree_open(struct kp_vfs *v, const struct kp_node *n, int flags, int *ret_fd);
int kp_regtree_create(struct kp_vfs *v, struct kp_node *n, int flags, int *ret_fd); /* a REG_SZ */
int kp_regtree_mkdir(struct kp_vfs *v, struct kp_node *n);
int kp_regtree_remove(struct kp_vfs *v, struct kp_node *n); /* a value, or a key with nothing in it */
int kp_regtree_rename(struct kp_vfs *v, struct kp_node *from, struct kp_node *to, unsigned flags);
/* Its real file, for what watches or writes it by path. */
int kp_regtree_real(struct kp_vfs *v, const struct kp_node *n, struct kp_hpath *ret);
/* The directory is watched from now on: all that is in it gets real files, so that changes by whomever are seen. */
int kp_regtree_watch(struct kp_vfs *v, const struct kp_node *n);
/* The type, and another one; -EINVAL where the content does not fit. */
int kp_regtree_type(struct kp_vfs *v, const struct kp_node *n, char buf[KP_REG_TYPE_NAME]);
int kp_regtree_set_type(struct kp_vfs *v, const struct kp_node *n, const char *type);

/* --- requests (regask.c; registry/request.h) --- */
/* The number of the caller's descriptor that holds it; -1: that is no request's name. */
int kp_regtree_request(const char *guest);
/* Without the lock. path_fd: that descriptor's file, opened as a path. 0 or -errno; the file with the answer. */
int kp_regtree_ask(struct kp_vfs *v, const struct kp_node *n, int path_fd, int *ret_fd);

#endif
