/* SPDX-License-Identifier: Apache-2.0 */
/* /proc in guest terms: only the guest's processes, links and texts with guest paths. */
#ifndef KAPSEL_VFS_PROC_H
#define KAPSEL_VFS_PROC_H

#include "vfs/node.h"

/* One name below /proc; part of kp_lookup_child. Magic links come with origin KP_MAGIC and mode S_IFLNK. */
int kp_proc_lookup(struct kp_vfs *v, const char *name, size_t len, pid_t tid, struct kp_node *child);
int kp_proc_readlink(struct kp_vfs *v, const struct kp_node *n, char *buf, size_t size);
/* exe and root: the link's text decides, not the object that the host's link holds. */
bool kp_proc_link_by_name(const struct kp_hpath *link);
/* /proc/.../TID/fd/N? */
bool kp_proc_fd_of(const char *link, pid_t *ret_tid, int *ret_fd);
/* A name right below /proc that guests see, other than by a process's being one of them. */
bool kp_proc_shows(const char *name);
/* Below a process's directory? All else of /proc is the whole kernel's: root without powers could still write to it. */
bool kp_proc_is_of_process(const struct kp_node *n);
/* Is pid (or thread id) one of this vfs's guests? */
bool kp_proc_is_guest(const struct kp_vfs *v, pid_t pid);
pid_t kp_proc_tgid(pid_t tid); /* or -1 */
/* Guest path of the program that pid runs, as its own memory says. 0 or -errno. */
int kp_proc_exe(pid_t pid, char *buf, size_t size);

/* Files whose text is made by us (maps, mounts, mountinfo, ...): a descriptor of a snapshot. -ENOSYS: not such a
 * file, open the host's. */
int kp_proc_open_text(struct kp_vfs *v, const struct kp_node *n);

#endif
