/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's file that has several names stays one: a copy-up gives all of them to the copy. One after the other, so a note beside the
 * upper says which those are, and the next start gives those that a killed run did not.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/resolve.h"
#include "vfs/upper.h"

#define NOTE "linking" /* the copy's inode number, then NUL-terminated names below the upper's root */
#define NOTE_MAX (1U << 26)

/* Not to be seen yet: directories are only made. */
static int prepare(struct kp_vfs *v, const struct kp_node *other, struct kp_strings *others)
{
	int rc = kp_upper_parents(v, &other->guest);

	if (!rc)
		rc = kp_upper_note_number(v, &other->guest);
	if (!rc)
		kp_strings_add(others, other->guest.s);
	return rc;
}

int kp_linked_find(struct kp_vfs *v, const struct kp_node *n, struct kp_strings *others)
{
	const struct kp_image *image;
	struct kp_node *other;
	struct kp_entry e;
	uint32_t ino;
	int rc = 0;

	if (n->origin != KP_IMAGE || !S_ISREG(n->mode) || kp_image_entry(v->layers[n->layer].image, n->entry, &e) || e.nlink < 2)
		return 0;
	image = v->layers[n->layer].image;
	ino = e.ino;
	other = kp_calloc(1, sizeof(*other));
	kp_fast_void(v);
	for (uint32_t id = 0, count = kp_image_count(image); !rc && id < count; id++) {
		struct kp_gpath now;

		if (id == n->entry || kp_image_entry(image, id, &e) || e.ino != ino || !S_ISREG(e.mode) ||
		    kp_image_path(image, id, now.s, sizeof(now.s)))
			continue;
		kp_moves_find(v, &now);
		if (!kp_resolve_exact(v, now.s, 0, other) && other->origin == KP_IMAGE && other->layer == n->layer && other->entry == id)
			rc = prepare(v, other, others);
	}
	free(other);
	return rc;
}

int kp_linked_note(struct kp_vfs *v, int fd, const struct kp_node *n, const struct kp_strings *others)
{
	struct kp_buf kp_autobuf b = {0};
	struct stat st;
	uint64_t ino;

	if (fstat(fd, &st) < 0)
		return -errno;
	ino = st.st_ino;
	kp_buf_add(&b, &ino, sizeof(ino));
	kp_buf_add(&b, n->guest.s + 1, strlen(n->guest.s));
	for (size_t i = 0; i < others->count; i++)
		kp_buf_add(&b, others->items[i] + 1, strlen(others->items[i]));
	return kp_write_file_atomic(v->upper_fd, "../" NOTE, b.data, b.len, 0600);
}

int kp_linked_publish(struct kp_vfs *v, const struct kp_node *n, const struct kp_strings *others)
{
	struct kp_node *other = kp_calloc(1, sizeof(*other));
	int rc = 0;

	for (size_t i = 0; !rc && i < others->count; i++) {
		struct kp_temp t = kp_temp_name(v);

		rc = kp_resolve_exact(v, others->items[i], 0, other);
		if (!rc && linkat(v->upper_fd, n->guest.s + 1, v->work_fd, t.name, 0) < 0)
			rc = -errno;
		if (!rc)
			rc = kp_upper_publish_quietly(v, &t, other);
	}
	free(other);
	(void)unlinkat(v->upper_fd, "../" NOTE, 0);
	return rc;
}

static ino_t number_at(int upper_fd, const char *rel)
{
	struct stat st;

	return fstatat(upper_fd, rel, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_ino;
}

/* The upper has nothing there: of an image's file that is no other's, only the copy comes. */
static void give_name(int upper_fd, const char *from, const char *to)
{
	kp_autofree char *dir = kp_strdup(to);
	char *slash = strrchr(dir, '/');
	kp_autoclose int fd = -1;
	struct stat st;

	if (slash)
		*slash = '\0';
	fd = kp_open_beneath(upper_fd, slash ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || linkat(upper_fd, from, fd, slash ? slash + 1 : to, 0) < 0)
		return;
	(void)futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim});
}

void kp_linked_settle(const char *instance_dir, int upper_fd)
{
	kp_autofree char *path = kp_asprintf("%s/" NOTE, instance_dir), *data = NULL;
	const char *from = NULL;
	uint64_t ino;
	size_t len;

	if (kp_read_file(AT_FDCWD, path, NOTE_MAX, &data, &len))
		return;
	if (len > sizeof(ino) && !data[len - 1]) {
		memcpy(&ino, data, sizeof(ino));
		for (size_t at = sizeof(ino); at < len; at += strlen(data + at) + 1)
			if (number_at(upper_fd, data + at) == ino)
				from = data + at;
		for (size_t at = sizeof(ino); from && at < len; at += strlen(data + at) + 1)
			if (!number_at(upper_fd, data + at))
				give_name(upper_fd, from, data + at);
	}
	(void)unlink(path);
}
