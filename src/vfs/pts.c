/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose terminals there are. /dev/pts holds those of all the user's programs, with one owner: the guest's are those that it has made and those
 * that it was handed. Each is held by a descriptor that is only a path, so that hanging up stays the guest's; when the terminal is gone its
 * file has no name any more, whoever has got the number since.
 */
#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/pts.h"

#define SLAVE_MAJOR 136

bool kp_pts_is_slave(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && major(st->st_rdev) == SLAVE_MAJOR;
}

static bool is_there(const struct kp_terminal *t)
{
	struct stat st;

	return fstat(t->fd, &st) == 0 && st.st_nlink > 0;
}

/* The lock is held. */
static void forget_gone(struct kp_vfs *v)
{
	size_t left = 0;

	for (size_t i = 0; i < v->terminal_count; i++) {
		if (is_there(&v->terminals[i]))
			v->terminals[left++] = v->terminals[i];
		else
			(void)kp_close(v->terminals[i].fd);
	}
	v->terminal_count = left;
}

void kp_pts_put(struct kp_vfs *v, unsigned number)
{
	struct kp_terminal t = {.number = number};
	char path[32];

	(void)snprintf(path, sizeof(path), "/dev/pts/%u", number);
	t.fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (t.fd < 0)
		return;
	pthread_mutex_lock(&v->terminal_lock);
	forget_gone(v);
	v->terminals = kp_realloc(v->terminals, (v->terminal_count + 1) * sizeof(*v->terminals));
	v->terminals[v->terminal_count++] = t;
	pthread_mutex_unlock(&v->terminal_lock);
}

void kp_pts_put_fd(struct kp_vfs *v, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && kp_pts_is_slave(&st) && st.st_nlink > 0 && !kp_pts_has(v, minor(st.st_rdev)))
		kp_pts_put(v, minor(st.st_rdev));
}

bool kp_pts_has(struct kp_vfs *v, unsigned number)
{
	bool has = false;

	pthread_mutex_lock(&v->terminal_lock);
	for (size_t i = 0; i < v->terminal_count && !has; i++)
		has = v->terminals[i].number == number && is_there(&v->terminals[i]);
	pthread_mutex_unlock(&v->terminal_lock);
	return has;
}

bool kp_pts_has_name(struct kp_vfs *v, const char *name, size_t len)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)name[0]))
		return false;
	number = strtoul(name, &end, 10);
	return end == name + len && number <= UINT32_MAX && kp_pts_has(v, (unsigned)number);
}

void kp_pts_free(struct kp_vfs *v)
{
	for (size_t i = 0; i < v->terminal_count; i++)
		(void)kp_close(v->terminals[i].fd);
	free(v->terminals);
	pthread_mutex_destroy(&v->terminal_lock);
}
