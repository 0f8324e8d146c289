/* SPDX-License-Identifier: Apache-2.0 */
/* An image or an instance, looked at without running anything. */
#ifndef KAPSEL_CMD_VIEW_H
#define KAPSEL_CMD_VIEW_H

#include "changes/changes.h"
#include "cmd/cmd.h"

struct kp_view {
	struct kp_plan plan; /* image, layers, rules; instance, if it is one */
	struct kp_vfs *vfs;
	int upper_fd;  /* lower views: the instance's upper; -1: it has none yet */
	char *scratch; /* temporary directory */
	int scratch_fd; /* locked while it is in use */
	bool no_modes; /* asked for: nothing of the host is shown */
};

enum kp_view_what {
	KP_VIEW_WHOLE, /* as a guest would see it */
	KP_VIEW_LOWER, /* an instance's layers without the instance */
};

/* what: image or instance. --mode and --layer of args count, else those of the instance's last run. *view starts as zeros. */
int kp_view_open(struct kp_view *view, const struct kp_args *args, const char *what, enum kp_view_what how, struct kp_err *err);
struct kp_reg;
/* The registry of its layers without the instance. */
int kp_view_registry(const struct kp_view *view, struct kp_reg **ret, struct kp_err *err);
void kp_view_close(struct kp_view *view);
#define kp_autoview __attribute__((cleanup(kp_view_close)))
/* Opens the view and finds the changes at the guest paths given (count 0: all). A running instance may be looked at; lock: it is
 * locked (-EBUSY with a hint when it runs). */
int kp_view_changes(struct kp_view *view, const struct kp_args *args, bool lock, struct kp_changes *ret, struct kp_err *err);
/* Locks; says who is in the way. */
int kp_lock_stopped(struct kp_instance *i, struct kp_err *err);

/* What the snapshot before a commit is noted as: undo tells by it that the host keeps what it got. */
#define KP_NOTE_COMMIT "before commit"

#endif
