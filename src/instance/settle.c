/* SPDX-License-Identifier: Apache-2.0 */
/* Finishing or taking away what a killed command left. */
#include <fcntl.h>
#include <unistd.h>

#include "instance/settle.h"

#define NOTE_MAX (1U << 26)

/* NUL-terminated strings: the temporary name, then the directories. */
int kp_settle_note_commit(const char *instance_dir, const struct kp_settle_commit *s, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir);
	struct kp_buf kp_autobuf b = {0};
	int r;

	kp_buf_add(&b, s->temp, strlen(s->temp) + 1);
	for (size_t i = 0; i < s->dirs.count; i++)
		kp_buf_add(&b, s->dirs.items[i], strlen(s->dirs.items[i]) + 1);
	r = kp_write_file_atomic(AT_FDCWD, path, b.data, b.len, 0600);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be written", path) : 0;
}

void kp_settle_commit_done(const char *instance_dir)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir);

	(void)unlink(path);
}

static void settle_commit(const char *instance_dir)
{
	kp_autofree char *path = kp_asprintf("%s/committing", instance_dir), *note = NULL;
	kp_autoclose int root = -1;
	size_t len, at;

	if (kp_read_file(AT_FDCWD, path, NOTE_MAX, &note, &len))
		return;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	at = len ? strlen(note) + 1 : 0;
	while (at < len && !strncmp(note, KP_SETTLE_COMMIT, sizeof(KP_SETTLE_COMMIT) - 1) && !strchr(note, '/')) {
		const char *dir = note + at + strspn(note + at, "/");
		kp_autoclose int fd = kp_open_beneath(root, dir, O_RDONLY | O_DIRECTORY, 0);

		if (fd >= 0)
			(void)kp_remove_tree(fd, note);
		at += strlen(note + at) + 1;
	}
	kp_settle_commit_done(instance_dir);
}

int kp_settle(const char *instance_dir)
{
	settle_commit(instance_dir);
	return 0;
}
