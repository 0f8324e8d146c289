/* SPDX-License-Identifier: Apache-2.0 */
/* The upper layer on disk: copy-up, whiteouts, parents, stand-ins. For the vfs room, and for sys/socket.c: a guest makes its socket itself. */
#ifndef KAPSEL_VFS_UPPER_H
#define KAPSEL_VFS_UPPER_H

#include "vfs/internal.h"

struct kp_temp {
	char name[32]; /* below work_fd */
};
struct kp_temp kp_temp_name(struct kp_vfs *v);
/* Every directory above (and with) guest exists in the upper, with the attributes that the guest sees. */
int kp_upper_parents(struct kp_vfs *v, const struct kp_gpath *guest);
/* A file of the host comes into the upper under another name. */
int kp_copy_up_as(struct kp_vfs *v, const struct kp_node *from, const struct kp_node *to);
/* Moves a finished work/temp to its name, over a whiteout or an old file. */
int kp_upper_publish(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n);
/* The same to a name that is not there, or hidden: -EEXIST when a guest has just made it. */
int kp_upper_publish_new(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n);
/* As the first; the directory's times stay. */
int kp_upper_publish_quietly(struct kp_vfs *v, const struct kp_temp *t, const struct kp_node *n);
/* The name is gone for the guest: whiteout where something lies below, else nothing. A directory of the upper goes
 * with all that is in it. */
int kp_upper_remove(struct kp_vfs *v, const struct kp_node *n);
/* What the upper has of it goes, and nothing takes its place. */
int kp_upper_drop(struct kp_vfs *v, const struct kp_node *n);
/* --- linked.c: an image's file that has several names comes up under all of them, or under none --- */
/* The guest paths of the others that are that file still; the directories above them are in the upper then. */
int kp_linked_find(struct kp_vfs *v, const struct kp_node *n, struct kp_strings *ret_others);
/* Before fd, its copy in work/, is published as n; and after. */
int kp_linked_note(struct kp_vfs *v, int fd, const struct kp_node *n, const struct kp_strings *others);
int kp_linked_publish(struct kp_vfs *v, const struct kp_node *n, const struct kp_strings *others);
/* Names that a killed run did not give. */
void kp_linked_settle(const char *instance_dir, int upper_fd);
/* --- times.c: something comes into the upper's directory above guest, which the guest does not see --- */
struct kp_times_kept {
	char rel[PATH_MAX];
	struct timespec ts[2];
	bool valid;
};
/* With the write lock held, one after the other. */
void kp_times_keep(struct kp_vfs *v, const struct kp_gpath *guest, struct kp_times_kept *k);
void kp_times_restore(struct kp_vfs *v, const struct kp_times_kept *k);
/* What a killed run did not put back. */
void kp_times_settle(const char *instance_dir, int upper_fd);
int kp_upper_set_mode(struct kp_vfs *v, const struct kp_node *n, mode_t mode);
int kp_upper_add_flags(struct kp_vfs *v, const char *rel, uint8_t flags);
/* A file that carries its number comes into this directory: before it does. */
int kp_upper_note_number(struct kp_vfs *v, const struct kp_gpath *file);
/* Owner of something just made for cred (only root has others than itself). */
int kp_upper_give(const struct kp_vfs *v, int dirfd, const char *name, const struct kp_node *n, const struct kp_cred *cred);
/* A file of an image that has more names: they go on counting right when all are in the upper. */
int kp_keep_other_names(struct kp_vfs *v, const struct kp_node *n);
void kp_standin_remove(struct kp_vfs *v, const struct kp_node *n);
void kp_standin_rename(struct kp_vfs *v, const struct kp_gpath *from, const struct kp_gpath *to);
/* A name that is the beginning of something (a bind, a mode, /proc) cannot be moved or removed. */
bool kp_is_mount_point(const struct kp_node *n);
/* One is changed on the host and one in the instance, and a name of the one cannot become one of the other (rename.c). */
bool kp_crosses_zones(const struct kp_node *from, const struct kp_node *to);
/* ahead.c: the content of a big file is needed now. 1: it is in work/, and the caller's to publish; 0: get it in place; -KP_EDEFER. */
int kp_ahead_take(struct kp_vfs *v, const struct kp_node *n, bool copy, struct kp_temp *ret);
/* Will this thread's call be tried again when it ends with -KP_EDEFER? */
bool kp_ahead_may(void);
/* --- config.c --- */
/* Before a change of n, or, whole, of all that is in it: 0; -KP_EDEFER: the instance is to be copied first. */
int kp_config_touch(struct kp_vfs *v, const struct kp_node *n, bool whole);
/* Without the lock, after a call: was it put off for that? Then the copy has been made. */
bool kp_config_settle(struct kp_vfs *v);
/* Without a lock: something is about to be changed at or below a key (NULL: anywhere in the registry). */
void kp_config_before(struct kp_vfs *v, const char *key);
/* --- halves.c: in mode merged, one half here and one on the host --- */
/* A directory of which the host has a part, to a name that is free on the host or an empty directory of the host's alone. */
int kp_rename_halves(struct kp_vfs *v, struct kp_node *from, struct kp_node *to);
/* A file of the instance, or of an image, over one of the host's: it becomes the host's. */
int kp_rename_into_host(struct kp_vfs *v, struct kp_node *from, struct kp_node *to);
int kp_copy_up_tree(struct kp_vfs *v, struct kp_node *n);
/* The node may have changed: looks it up again by its path. */
int kp_refresh(struct kp_vfs *v, struct kp_node *n);

/* Has anybody the file open, or mapped, for writing? fd: for reading. */
bool kp_has_writer(int fd);

#endif
