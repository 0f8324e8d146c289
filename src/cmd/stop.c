/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel stop: ends all processes of an instance. */
#include <poll.h>
#include <unistd.h>

#include "cmd/cmd.h"

#define DEFAULT_TIME 10

int kp_cmd_stop(const struct kp_args *args, struct kp_err *err)
{
	const char *text = kp_args_get(args, "time");
	struct kp_buf kp_autobuf payload = {0};
	struct kp_instance *i;
	struct kp_ctl_conn conn;
	long seconds = DEFAULT_TIME;
	int fd, r = 0;

	if (text)
		r = kp_args_number("time", text, 0, 86400, &seconds, err);
	if (!r)
		r = kp_instance_open(args->operands[0], &i, err);
	if (r < 0)
		return r;
	fd = kp_front_connect(i);
	(void)kp_instance_free(i);
	if (fd == -ENOTCONN)
		return kp_fail(err, ESRCH, "%s: does not run", args->operands[0]);
	if (fd < 0)
		return kp_fail_errno(err, -fd, "%s: cannot be reached", args->operands[0]);
	kp_ctl_put_u32(&payload, (uint32_t)seconds);
	r = kp_ctl_send(fd, KP_CTL_STOP, &payload, NULL, 0, 0);
	kp_ctl_conn_init(&conn, fd);
	while (!r) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, (int)(seconds + 30) * 1000) == 0) {
			kp_ctl_conn_close(&conn);
			return kp_fail(err, ETIMEDOUT, "%s: does not end", args->operands[0]);
		}
		r = kp_ctl_fill(&conn);
		if (r == -EAGAIN)
			r = 0;
	}
	kp_ctl_conn_close(&conn); /* the end of the connection is the end of the supervisor */
	return 0;
}
