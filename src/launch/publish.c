/* SPDX-License-Identifier: Apache-2.0 */
/* --publish: ports of the program that are to be certain ports of the host. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/launch.h"

static bool port_of(const char **p, uint16_t *ret_port)
{
	size_t digits = strspn(*p, "0123456789");
	unsigned long port = digits && digits <= 5 ? strtoul(*p, NULL, 10) : 0;

	*p += digits;
	*ret_port = (uint16_t)port;
	return port && port <= UINT16_MAX;
}

int kp_publish_parse(const char *text, struct kp_publish *ret_publish, struct kp_err *err)
{
	struct kp_publish publish = {0};
	const char *p = text;

	if (port_of(&p, &publish.host) && *p++ == ':' && port_of(&p, &publish.guest)) {
		publish.udp = !strcmp(p, "/udp");
		if (!*p || publish.udp || !strcmp(p, "/tcp")) {
			*ret_publish = publish;
			return 0;
		}
	}
	(void)kp_fail(err, EINVAL, "--publish: '%s': not HOST:GUEST, two ports", text);
	return kp_hint(err, "--publish 8080:80, or 5353:53/udp");
}

/* What is taken already is better said now than by the program. Given back at once: the program binds it itself. */
static int check_free(const struct kp_publish *p, struct kp_err *err)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(p->host)};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(p->host)};
	kp_autoclose int fd = -1;
	int type = p->udp ? SOCK_DGRAM : SOCK_STREAM, on = 1;
	bool v6;

	fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	v6 = fd >= 0;
	if (!v6)
		fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (!p->udp) /* connections of who was there before are no obstacle to servers */
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, v6 ? (struct sockaddr *)&any6 : (struct sockaddr *)&any, v6 ? sizeof(any6) : sizeof(any)) == 0)
		return 0;
	(void)kp_fail_errno(err, errno, "--publish: port %u%s", p->host, p->udp ? "/udp" : "");
	return err->code == EACCES && p->host < 1024 ? kp_hint(err, "the user may not bind it: --publish %u:%u", 8000U + p->host, p->guest) : -err->code;
}

int kp_plan_publish(struct kp_plan *plan, const char *const *texts, size_t count, struct kp_err *err)
{
	struct kp_policy *policy = &plan->policy;

	if (count && plan->net.mode == KP_NETWORK_NONE) {
		(void)kp_fail(err, EINVAL, "--publish: the program has no network");
		return kp_hint(err, "--net loopback lets it listen for programs of this host, --net host for all");
	}
	if (count > KP_ARRAY_LEN(policy->publish))
		return kp_fail(err, EINVAL, "--publish: more than %zu ports", KP_ARRAY_LEN(policy->publish));
	for (size_t i = 0; i < count; i++) {
		struct kp_publish p;
		int r = kp_publish_parse(texts[i], &p, err);

		for (size_t k = 0; k < policy->publish_count && !r; k++)
			if (policy->publish[k].udp == p.udp && (policy->publish[k].host == p.host || policy->publish[k].guest == p.guest))
				r = kp_fail(err, EINVAL, "--publish: '%s': one of these ports was published already", texts[i]);
		if (!r)
			r = check_free(&p, err);
		if (r)
			return r;
		policy->publish[policy->publish_count++] = p;
	}
	return 0;
}
