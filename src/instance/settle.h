/* SPDX-License-Identifier: Apache-2.0 */
/* What a killed command left of an instance, or on the host, is finished or taken away by whoever locks the instance next. */
#ifndef KAPSEL_INSTANCE_SETTLE_H
#define KAPSEL_INSTANCE_SETTLE_H

#include "instance/instance.h"

#define KP_SETTLE_COMMIT ".kapsel-commit-" /* how temporary names of a commit begin, on the host */

/* A commit in the directories dirs (host paths, no symlinks in them) makes things under this name there. */
struct kp_settle_commit {
	const char *temp;
	struct kp_strings dirs;
};
/* Before the first of them is made. 0 or -errno with err. */
int kp_settle_note_commit(const char *instance_dir, const struct kp_settle_commit *s, struct kp_err *err);
/* When none is left. */
void kp_settle_commit_done(const char *instance_dir);

/* Names in an instance's directory that are not carried by copies of it. */
bool kp_settle_is_local(const char *name);
/* A snapshot that is being restored: made whole as DIR/restore.new (files/ with what the instance is to have), then renamed to DIR/restoring,
 * from when on it is the instance's new state: kp_settle() puts it in place, now or after a crash. */
#define KP_SETTLE_NEW "restore.new"
#define KP_SETTLE_RESTORING "restoring"
#define KP_SETTLE_STATE "state-from" /* name of the snapshot that was made, or gone back to, last */

/* Lock held. 0 or -errno. */
int kp_settle(const char *instance_dir);

#endif
