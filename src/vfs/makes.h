/* SPDX-License-Identifier: Apache-2.0 */
/* Directories in which guests make files themselves. */
#ifndef KAPSEL_VFS_MAKES_H
#define KAPSEL_VFS_MAKES_H

#include "vfs/internal.h"

/* Open from the start of a run, or never, by the thread that is there to its end; closed for good. Without the fast path nothing is open. */
void kp_makes_open(struct kp_vfs *v);
/* By the same thread, before the memory goes. */
void kp_makes_end(struct kp_fast *mem);
bool kp_makes_are_open(const struct kp_vfs *v);
/* Who has such a umask makes files that their owner cannot read and write; these have records, which guests do not write. */
void kp_makes_for_umask(struct kp_vfs *v, mode_t mask);
/* Before n, of the upper, gets another mode: is it such a file, which a guest made without a record? Then it can be opened by us from now on, and is the
 * last one. 0 or -errno. */
int kp_makes_adopt(struct kp_vfs *v, const struct kp_node *n);
/* No layer below has a name in directory d, whose path is guest: what is there is what the upper has, if it has d. */
bool kp_makes_alone(const struct kp_vfs *v, const struct kp_dir *d, const char *guest);
/* The same of the directory that node's name is in. */
bool kp_makes_alone_above(const struct kp_vfs *v, const struct kp_node *n);
/* With a lock held: what guests may do in n, a directory, themselves: KP_FAST_ALONE, KP_FAST_MAKE. */
uint8_t kp_makes_bits(struct kp_vfs *v, const struct kp_node *n, const struct kp_cred *cred);
/* With the write lock held: a guest has made n there, in a directory that may be another by now. What was known of the name is void; -EAGAIN: a layer below
 * has a file of that name, which it hid, and it is removed. */
int kp_makes_settle(struct kp_vfs *v, const struct kp_node *n, const char *host);
/* Renames what is there in the upper, or work/, to node's name. flags: RENAME_NOREPLACE counts where a guest may just have made a file of that name, and
 * RENAME_WHITEOUT. 0 or -errno. */
int kp_makes_rename(struct kp_vfs *v, int from_fd, const char *from, const struct kp_node *to, unsigned flags);
/* Is something in that directory, which was empty for guests a moment ago, that is no whiteout? */
bool kp_makes_hold(const struct kp_vfs *v, int dirfd, const char *dir);
/* With the write lock held: what is in work/ takes the place of n, a directory of the upper that was empty for guests, and that goes. -ENOTEMPTY: one of
 * them was quicker, and all is as it was. On failure what is in work/ stays there. */
int kp_makes_replace(struct kp_vfs *v, const char *work, const struct kp_node *n);

#endif
