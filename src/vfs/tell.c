/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for the user about what could not be told by a call's error: given out once, and kept in the instance's log. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/tell.h"

#define WAITING 16U /* that wait to be told */

struct kp_notices {
	pthread_mutex_t lock;
	int instance_fd; /* -1: there is no log */
	struct kp_strings waiting;
	size_t untold;
};

struct kp_notices *kp_notices_new(const char *instance_dir)
{
	struct kp_notices *l = kp_calloc(1, sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	l->instance_fd = instance_dir ? open(instance_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return l;
}

struct kp_notices *kp_notices_free(struct kp_notices *l)
{
	if (l) {
		(void)kp_close(l->instance_fd);
		kp_strings_free(&l->waiting);
		pthread_mutex_destroy(&l->lock);
		free(l);
	}
	return NULL;
}

static void write_log(const struct kp_notices *l, const char *text)
{
	kp_autoclose int fd = openat(l->instance_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	kp_autofree char *line = NULL;
	char at[32];
	time_t now = time(NULL);
	struct tm tm;

	if (fd < 0 || !gmtime_r(&now, &tm) || !strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return;
	line = kp_asprintf("%s %s\n", at, text);
	(void)kp_write_full(fd, line, strlen(line));
}

void kp_vfs_tell(struct kp_vfs *v, const char *fmt, ...)
{
	struct kp_notices *l = v->notices;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kp_printable(text);
	if (l->instance_fd >= 0)
		write_log(l, text);
	pthread_mutex_lock(&l->lock);
	if (l->waiting.count < WAITING)
		kp_strings_add(&l->waiting, text);
	else
		l->untold++;
	pthread_mutex_unlock(&l->lock);
}

bool kp_vfs_notice(struct kp_vfs *v, char *buf, size_t size)
{
	struct kp_notices *l = v->notices;
	bool any;

	pthread_mutex_lock(&l->lock);
	any = l->waiting.count || l->untold;
	if (l->waiting.count) {
		(void)snprintf(buf, size, "%s", l->waiting.items[0]);
		free(l->waiting.items[0]);
		memmove(l->waiting.items, l->waiting.items + 1, l->waiting.count * sizeof(char *));
		l->waiting.count--;
	} else if (any) {
		(void)snprintf(buf, size, "%zu messages more: they are in the instance's log", l->untold);
		l->untold = 0;
	}
	pthread_mutex_unlock(&l->lock);
	return any;
}
