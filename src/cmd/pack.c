/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of the packager: exec kapsel-pack. */
#include <limits.h>
#include <unistd.h>

#include "cmd/cmd.h"

int kp_pack_path(char **ret_path, struct kp_err *err)
{
	char self[PATH_MAX], *slash;
	kp_autofree char *path = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return kp_fail_errno(err, errno, "/proc/self/exe: own place not known");
	self[n] = '\0';
	slash = strrchr(self, '/');
	path = kp_asprintf("%.*s/kapsel-pack", slash ? (int)(slash - self) : 0, self);
	if (access(path, X_OK) < 0 && errno == ENOENT) {
		(void)kp_fail(err, ENOENT, "kapsel-pack: not found: %s does not exist", path);
		return kp_hint(err, "the packager is a program of its own, installed beside kapsel");
	}
	*ret_path = kp_take_ptr(path);
	return 0;
}

int kp_cmd_pack(char **argv, struct kp_err *err)
{
	kp_autofree char *path = NULL;
	int r = kp_pack_path(&path, err);

	if (r < 0)
		return r;
	argv[0] = path;
	(void)execv(path, argv);
	return kp_fail_errno(err, errno, "%s: cannot be started", path);
}
