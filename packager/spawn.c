/* SPDX-License-Identifier: Apache-2.0 */
/* A helper program of the host, run to its end with its output caught; it is stopped when we are. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "packager/spawn.h"

#define OUTPUT_MAX ((size_t)64 << 20)

static void child(char *const argv[], int in, int out, int err)
{
	/* An interactive helper would read from the user's terminal. */
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
		_exit(127);
	(void)setenv("LC_ALL", "C", 1);
	(void)setenv("DEBIAN_FRONTEND", "noninteractive", 1);
	(void)unsetenv("APT_CONFIG");
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)execvp(argv[0], argv);
	_exit(127);
}

/* Reads what is there; false at the end. */
static bool drain(int fd, struct kp_buf *b)
{
	char chunk[8192];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n > 0 && b->len < OUTPUT_MAX)
		kp_buf_add(b, chunk, (size_t)n);
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static void collect(pid_t pid, int out, int err, struct kp_buf *ret_out, struct kp_buf *ret_err)
{
	struct pollfd fds[] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
	bool told = false;

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (pack_cancel && !told) {
			(void)kill(pid, SIGTERM);
			told = true;
		}
		if (poll(fds, 2, 200) <= 0)
			continue;
		if (fds[0].revents && !drain(out, ret_out))
			fds[0].fd = -1;
		if (fds[1].revents && !drain(err, ret_err))
			fds[1].fd = -1;
	}
}

int spawn_run(char *const argv[], struct kp_buf *ret_out, struct kp_buf *ret_err, struct kp_err *err)
{
	kp_autoclose int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out[2] = {-1, -1}, errors[2] = {-1, -1}, status = 0;
	pid_t pid;

	if (null < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0) {
		(void)kp_fail_errno(err, errno, "%s: start", argv[0]);
		(void)kp_close(out[0]);
		(void)kp_close(out[1]);
		return -err->code;
	}
	pid = fork();
	if (pid == 0)
		child(argv, null, out[1], errors[1]);
	(void)kp_close(out[1]);
	(void)kp_close(errors[1]);
	if (pid > 0)
		collect(pid, out[0], errors[0], ret_out, ret_err);
	(void)kp_close(out[0]);
	(void)kp_close(errors[0]);
	if (pid < 0)
		return kp_fail_errno(err, errno, "%s: start", argv[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pack_canceled(err))
		return -ECANCELED;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && !ret_err->len)
		return kp_fail(err, ENOENT, "%s: not found on this host", argv[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
