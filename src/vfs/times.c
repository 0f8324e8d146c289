/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of the upper gets a name only to carry a copy: for the guest nothing has changed, so its times stay. Between that and their
 * coming back somebody may kill us: a note beside the upper says what they were, and the next start puts them back.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "vfs/upper.h"

#define NOTE "times"

struct note {
	uint64_t ino; /* of the directory; 0: there is nothing to do */
	struct timespec ts[2];
	char rel[PATH_MAX]; /* below the upper's root; the file ends behind it, or has the rest of an older note */
};

int kp_times_open(struct kp_vfs *v)
{
	v->times_fd = openat(v->upper_fd, "../" NOTE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return v->times_fd < 0 ? -errno : 0;
}

void kp_times_settle(const char *instance_dir, int upper_fd)
{
	kp_autofree char *path = kp_asprintf("%s/" NOTE, instance_dir), *data = NULL;
	struct note n = {0};
	struct stat st;
	size_t len;

	if (kp_read_file(AT_FDCWD, path, sizeof(n), &data, &len))
		return;
	memcpy(&n, data, KP_MIN(len, sizeof(n)));
	if (n.ino && memchr(n.rel, 0, sizeof(n.rel))) {
		kp_autoclose int fd = kp_open_beneath(upper_fd, n.rel, O_RDONLY | O_DIRECTORY, 0);

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == n.ino)
			(void)futimens(fd, n.ts);
	}
	(void)unlink(path);
}

void kp_times_keep(struct kp_vfs *v, const struct kp_gpath *guest, struct kp_times_kept *k)
{
	struct kp_gpath up;
	struct note n;
	struct stat st;

	kp_gpath_parent(guest, &up);
	(void)snprintf(n.rel, sizeof(n.rel), "%s", kp_gpath_rel(&up));
	k->valid = fstatat(v->upper_fd, n.rel, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!k->valid)
		return;
	n.ino = st.st_ino;
	n.ts[0] = k->ts[0] = st.st_atim;
	n.ts[1] = k->ts[1] = st.st_mtim;
	(void)snprintf(k->rel, sizeof(k->rel), "%s", n.rel);
	/* One that is half there, over half an older one, does not find a directory of that number. */
	(void)!pwrite(v->times_fd, &n, offsetof(struct note, rel) + strlen(n.rel) + 1, 0);
}

void kp_times_restore(struct kp_vfs *v, const struct kp_times_kept *k)
{
	const uint64_t nothing = 0;

	if (!k->valid)
		return;
	(void)utimensat(v->upper_fd, k->rel, k->ts, AT_SYMLINK_NOFOLLOW);
	(void)!pwrite(v->times_fd, &nothing, sizeof(nothing), offsetof(struct note, ino));
}
