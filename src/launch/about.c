/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor says of its run. */
#include <poll.h>
#include <sys/socket.h>

#include "launch/internal.h"

int kp_client_info(struct kp_supervisor *s, struct kp_client *c)
{
	struct kp_buf kp_autobuf payload = {0}, ports = {0};
	pid_t pids[1024];
	size_t count = KP_MIN(kp_engine_pids(s->engine, pids, KP_ARRAY_LEN(pids)), KP_ARRAY_LEN(pids));

	kp_ctl_put_u32(&payload, (uint32_t)s->started);
	kp_ctl_put_u32(&payload, (uint32_t)getpid());
	kp_ctl_put_u32(&payload, (uint32_t)count);
	for (size_t i = 0; i < count; i++)
		kp_ctl_put_u32(&payload, (uint32_t)pids[i]);
	kp_ctl_put_string(&payload, s->cwd);
	kp_engine_ports(s->engine, &ports);
	kp_ctl_put_string(&payload, ports.data ? ports.data : "");
	return kp_ctl_send(c->conn.fd, KP_CTL_ABOUT, &payload, NULL, 0, MSG_DONTWAIT);
}

static int take(struct kp_ctl_reader *in, struct kp_about *ret)
{
	struct kp_about a = {.started = kp_ctl_get_u32(in), .supervisor = (pid_t)kp_ctl_get_u32(in), .count = kp_ctl_get_u32(in)};
	const char *cwd, *ports;

	if (in->bad || a.count > in->left / sizeof(uint32_t))
		return -EPROTO;
	a.pids = kp_calloc(a.count + 1, sizeof(*a.pids));
	for (uint32_t i = 0; i < a.count; i++)
		a.pids[i] = (pid_t)kp_ctl_get_u32(in);
	cwd = kp_ctl_get_string(in);
	if (!cwd) {
		free(a.pids);
		return -EPROTO;
	}
	a.cwd = kp_strdup(cwd);
	ports = in->left ? kp_ctl_get_string(in) : NULL;
	a.ports = kp_strdup(ports ? ports : "");
	*ret = a;
	return 0;
}

int kp_about_running(const struct kp_instance *i, struct kp_about *ret)
{
	struct kp_ctl_reader in = {0};
	struct kp_ctl_conn conn;
	unsigned type = 0;
	int fd = kp_front_connect(i), r;

	if (fd < 0)
		return fd;
	kp_ctl_conn_init(&conn, fd);
	r = kp_ctl_send(fd, KP_CTL_INFO, NULL, NULL, 0, 0);
	while (!r) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		r = poll(&p, 1, 1000) > 0 ? kp_ctl_fill(&conn) : -ETIMEDOUT;
		if (!r)
			r = kp_ctl_next(&conn, &type, &in.at, &in.left);
	}
	if (r > 0)
		r = type == KP_CTL_ABOUT ? take(&in, ret) : -EPROTO;
	kp_ctl_conn_close(&conn);
	return r;
}

void kp_about_free(struct kp_about *a)
{
	free(a->pids);
	free(a->cwd);
	free(a->ports);
	*a = (struct kp_about){0};
}
