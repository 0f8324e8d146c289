/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel rm: removes instances that do not run. */
#include <fcntl.h>
#include <sys/stat.h>

#include "cmd/cmd.h"

static int remove_one(const char *name, struct kp_err *err)
{
	struct kp_instance i = {.name = (char *)(uintptr_t)name, .lock_fd = -1};
	kp_autofree char *base = NULL, *dir = NULL;
	int r;

	/* Its configuration may be damaged or of a newer format: it is not read. */
	if (!kp_instance_name_ok(name))
		return kp_fail(err, EINVAL, "%s: not an instance name", name);
	r = kp_instance_base(&base, err);
	if (r < 0)
		return r;
	dir = kp_asprintf("%s/%s", base, name);
	i.dir = dir;
	if (kp_dir_private(dir, err) < 0)
		return err->code == ENOENT ? kp_instance_no_such(name, err) : -err->code;
	r = kp_instance_lock(&i);
	if (r == -EWOULDBLOCK) {
		(void)kp_fail(err, EBUSY, "%s: runs", name);
		return kp_hint(err, "kapsel stop %s", name);
	}
	if (r < 0)
		return kp_fail_errno(err, -r, "%s: cannot be locked", name);
	return kp_instance_remove(&i, err);
}

int kp_cmd_rm(const struct kp_args *args, struct kp_err *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < args->operand_count; i++)
		r = remove_one(args->operands[i], err);
	return r;
}
