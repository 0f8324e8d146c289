/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projected files of a running instance: each is an ordinary file of the upper, which is made anew from its registry key when the
 * registry has changed and somebody looks, and taken back into the registry when a program has written it (docs/PROJECTIONS.md).
 *
 * There is no queue: a file that is not as it was left has been written, by whatever call, and is taken back before the next call that
 * names it and before the next call to the registry; while somebody has it open for writing it is left alone. What was rendered last is
 * kept beside the upper (instance/projections/), so that a start after a crash finds what was written.
 */
#ifndef KAPSEL_VFS_LIVE_H
#define KAPSEL_VFS_LIVE_H

#include "kapsel/registry.h"
#include "projection/projection.h"
#include "vfs/node.h"

struct kp_live_file {
	const char *guest; /* absolute guest path, normalised */
	const struct kp_format *format;
	const char *key;   /* "HKCU\Software\App" */
};

#define KP_LIVE_RECORDS "projections" /* directory of the instance: what was rendered last, a file each */
#define KP_LIVE_RECORD 20
void kp_live_record_name(const char *guest, char out[KP_LIVE_RECORD]);

/* The registry and the vfs outlive it. Ends with the vfs. 0 or -errno with err. */
int kp_live_open(struct kp_vfs *v, struct kp_reg *reg, const char *instance_dir, const struct kp_live_file *files, size_t count,
		 struct kp_err *err);
/* Takes back what is left, also what was deleted; then there are no projections any more. */
void kp_live_close(struct kp_vfs *v);

/* With either lock: is that the name of a projected file that must be looked after before it is used? n NULL: a directory was missing, which
 * may be that of projected files that wait for something to show. */
bool kp_live_stale(const struct kp_vfs *v, const struct kp_node *n);
/* Is that the name of a projected file? */
bool kp_live_is(const struct kp_vfs *v, const char *guest);
/* Or of a directory that is made with one? */
bool kp_live_below(const struct kp_vfs *v, const char *guest);
/* Without the lock. guest "": those without a directory; below KP_REGTREE: as kp_live_drain. */
void kp_live_refresh(struct kp_vfs *v, const char *guest);
/* Without the lock, before anything is read from the registry or changed in it, by whomever: takes back what programs have written. */
void kp_live_drain(struct kp_vfs *v);

/* With the write lock, before from is renamed to that name: 0, or -EACCES: it is a projected file, and from has another value where policy sets one. */
int kp_live_accepts(struct kp_vfs *v, const char *guest, const struct kp_node *from);

/* With either lock: has something been written that is not taken back yet? */
bool kp_live_pending(const struct kp_vfs *v);

/* Readable when a file may have been written (then drain); -1: there are no projections. */
int kp_live_fd(const struct kp_vfs *v);
/* --- of an instance that is only looked at (live_rendered.c; kp_vfs_options.projected) --- */
/* NULL: that is no projected file. */
const struct kp_live_file *kp_live_projected(const struct kp_vfs *v, const char *guest);
/* Has the upper's file with that text nothing but what rendering made of the text that the layers below have? */
bool kp_live_is_rendered(const struct kp_live_file *f, int upper_fd, const char *text, size_t len, const char *below, size_t below_len);

#endif
