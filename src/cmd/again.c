/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel stop; and an instance that runs is ended, to be started once more as it was started. */
#include <limits.h>
#include <poll.h>
#include <fcntl.h>
#include <unistd.h>

#include "cmd/again.h"
#include "cmd/cmd.h"

#define DEFAULT_TIME 10
#define TEXT_MAX (4U << 20) /* of arguments and environment, each */

int kp_stop_running(const struct kp_instance *i, long seconds, struct kp_err *err)
{
	struct kp_buf kp_autobuf payload = {0};
	struct kp_ctl_conn conn;
	int fd = kp_front_connect(i), r;

	if (fd == -ENOTCONN)
		return kp_fail(err, ESRCH, "%s: does not run", i->name);
	if (fd < 0)
		return kp_fail_errno(err, -fd, "%s: cannot be reached", i->name);
	kp_ctl_put_u32(&payload, (uint32_t)seconds);
	r = kp_ctl_send(fd, KP_CTL_STOP, &payload, NULL, 0, 0);
	kp_ctl_conn_init(&conn, fd);
	while (!r) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, (int)(seconds + 30) * 1000) == 0) {
			kp_ctl_conn_close(&conn);
			return kp_fail(err, ETIMEDOUT, "%s: does not end", i->name);
		}
		r = kp_ctl_fill(&conn);
		if (r == -EAGAIN)
			r = 0;
	}
	kp_ctl_conn_close(&conn); /* the end of the connection is the end of the supervisor */
	return 0;
}

int kp_cmd_stop(const struct kp_args *args, struct kp_err *err)
{
	const char *text = kp_args_get(args, "time");
	struct kp_instance *i = NULL;
	long seconds = DEFAULT_TIME;
	int r = 0;

	if (text)
		r = kp_args_number("time", text, 0, 86400, &seconds, err);
	if (!r)
		r = kp_instance_open(args->operands[0], &i, err);
	if (!r)
		r = kp_stop_running(i, seconds, err);
	(void)kp_instance_free(i);
	return r;
}

/* NUL-terminated strings of a file below /proc, as one block. */
static char **read_strings(pid_t pid, const char *what)
{
	kp_autofree char *path = kp_asprintf("/proc/%d/%s", (int)pid, what), *text = NULL;
	size_t len, count = 1, n = 0;
	char **list, *copy;

	if (kp_read_file(AT_FDCWD, path, TEXT_MAX, &text, &len) || !len)
		return NULL;
	for (size_t i = 0; i < len; i++)
		count += !text[i];
	list = kp_calloc(1, (count + 1) * sizeof(*list) + len + 1);
	copy = (char *)(list + count + 1);
	memcpy(copy, text, len);
	for (size_t at = 0; at < len; at += strlen(copy + at) + 1)
		list[n++] = copy + at;
	return list;
}

int kp_again_take(const struct kp_instance *i, struct kp_again *ret, struct kp_err *err)
{
	struct kp_again a = {0};
	struct kp_about about;
	char link[PATH_MAX], path[64];
	int r = kp_about_running(i, &about);
	ssize_t n;

	if (r < 0)
		return kp_fail_errno(err, -r, "%s: how it was started cannot be asked", i->name);
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)about.supervisor);
	n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	a.cwd = kp_strdup(about.cwd);
	a.argv = read_strings(about.supervisor, "cmdline");
	a.envp = read_strings(about.supervisor, "environ");
	kp_about_free(&about);
	if (!a.argv || !a.envp || !a.cwd || access(link, X_OK) < 0) {
		kp_again_free(&a);
		return kp_fail(err, ENOENT, "%s: cannot be started again: the program that started it is gone, or cannot be told", i->name);
	}
	a.program = kp_strdup(link);
	*ret = a;
	return 0;
}

void kp_again_free(struct kp_again *a)
{
	free(a->program);
	free(a->cwd);
	free(a->argv);
	free(a->envp);
	*a = (struct kp_again){0};
}

int kp_again_exec(const struct kp_again *a, struct kp_err *err)
{
	(void)fflush(NULL);
	if (chdir(a->cwd) < 0)
		return kp_fail_errno(err, errno, "%s", a->cwd);
	(void)execve(a->program, a->argv, a->envp);
	return kp_fail_errno(err, errno, "%s", a->program);
}
