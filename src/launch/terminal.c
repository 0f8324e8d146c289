/* SPDX-License-Identifier: Apache-2.0 */
/* Relays the user's terminal to a pseudo terminal of a guest that joined. */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launch/internal.h"

void kp_relay_init(struct kp_relay *t)
{
	*t = (struct kp_relay){.master = -1, .slave = -1, .in = -1, .out = -1};
}

int kp_relay_open(struct kp_relay *t, struct kp_err *err)
{
	kp_autoclose int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
	struct termios mode;

	if (master < 0)
		return kp_fail_errno(err, errno, "/dev/ptmx: no pseudo terminal");
	if (grantpt(master) < 0 || unlockpt(master) < 0)
		return kp_fail_errno(err, errno, "/dev/ptmx: pseudo terminal unusable");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return kp_fail_errno(err, errno, "/dev/ptmx: pseudo terminal unusable");
	t->in = STDIN_FILENO;
	t->out = isatty(STDOUT_FILENO) ? STDOUT_FILENO : isatty(STDERR_FILENO) ? STDERR_FILENO : STDIN_FILENO;
	if (!tcgetattr(t->in, &mode))
		(void)tcsetattr(slave, TCSANOW, &mode);
	t->master = kp_take_fd(&master);
	t->slave = kp_take_fd(&slave);
	kp_relay_resize(t);
	return 0;
}

void kp_relay_resize(const struct kp_relay *t)
{
	struct winsize size;

	if (t->master >= 0 && !ioctl(t->in, TIOCGWINSZ, &size))
		(void)ioctl(t->master, TIOCSWINSZ, &size);
}

void kp_relay_start(struct kp_relay *t)
{
	struct termios mode;

	t->slave = kp_close(t->slave);
	if (tcgetattr(t->in, &t->saved) < 0)
		return;
	mode = t->saved;
	cfmakeraw(&mode);
	t->raw = !tcsetattr(t->in, TCSADRAIN, &mode);
}

static bool move(int from, int to)
{
	char data[8192];
	ssize_t n = read(from, data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	return n > 0 && !kp_write_full(to, data, (size_t)n);
}

bool kp_relay_to_guest(struct kp_relay *t)
{
	return move(t->in, t->master);
}

bool kp_relay_from_guest(struct kp_relay *t)
{
	return move(t->master, t->out);
}

void kp_relay_close(struct kp_relay *t)
{
	struct pollfd p = {.fd = t->master, .events = POLLIN};

	/* What the guest wrote last; a process that keeps the terminal open does not hold us. */
	for (int i = 0; i < 256 && t->master >= 0 && poll(&p, 1, 0) > 0 && p.revents & POLLIN; i++)
		if (!kp_relay_from_guest(t))
			break;
	if (t->raw)
		(void)tcsetattr(t->in, TCSADRAIN, &t->saved);
	t->raw = false;
	t->master = kp_close(t->master);
	t->slave = kp_close(t->slave);
}
