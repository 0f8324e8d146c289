/* SPDX-License-Identifier: Apache-2.0 */
/* Network, desktop and devices: read from manifests (which ask) and profiles (which grant). */
#include "manifest/requests.h"

const char *const kp_network_names[KP_NETWORK_COUNT] = {"none", "loopback", "connect", "host"};
const char *const kp_desktop_names[KP_DESKTOP_KINDS] = {"x11", "wayland", "dbus", "audio"};

static int add_port(struct kp_net *net, const char *text, size_t len)
{
	unsigned port = 0;

	if (!len || len > 5 || net->port_count == KP_NET_PORTS)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	if (!port || port > UINT16_MAX)
		return -EINVAL;
	net->ports[net->port_count++] = (uint16_t)port;
	return 0;
}

int kp_net_parse(const char *text, struct kp_net *ret_net)
{
	struct kp_net net = {.mode = KP_NETWORK_CONNECT};
	int rc = 0;

	for (int i = 0; i < KP_NETWORK_COUNT; i++)
		if (i != KP_NETWORK_CONNECT && !strcmp(text, kp_network_names[i])) {
			*ret_net = (struct kp_net){.mode = (enum kp_network)i};
			return 0;
		}
	if (strncmp(text, "connect=", 8) != 0)
		return -EINVAL;
	text += 8;
	while (!rc) {
		size_t len = strcspn(text, ",");

		rc = add_port(&net, text, len);
		if (!text[len])
			break;
		text += len + 1;
	}
	if (!rc)
		*ret_net = net;
	return rc;
}

char *kp_net_text(const struct kp_net *net)
{
	struct kp_buf b = {0};

	kp_buf_puts(&b, kp_network_names[net->mode]);
	for (size_t i = 0; i < net->port_count; i++)
		kp_buf_printf(&b, "%c%u", i ? ',' : '=', net->ports[i]);
	return b.data;
}

struct kp_net kp_net_both(const struct kp_net *a, const struct kp_net *b)
{
	const struct kp_net *less = a->mode <= b->mode ? a : b, *more = less == a ? b : a;
	struct kp_net both = {.mode = less->mode};

	if (less->mode != KP_NETWORK_CONNECT || more->mode != KP_NETWORK_CONNECT)
		return *less;
	for (size_t i = 0; i < less->port_count; i++)
		for (size_t j = 0; j < more->port_count; j++)
			if (less->ports[i] == more->ports[j]) {
				both.ports[both.port_count++] = less->ports[i];
				break;
			}
	if (!both.port_count)
		both.mode = KP_NETWORK_LOOPBACK;
	return both;
}

unsigned kp_desktop_by_name(const char *name)
{
	for (unsigned i = 0; i < KP_DESKTOP_KINDS; i++)
		if (!strcmp(name, kp_desktop_names[i]))
			return 1U << i;
	return 0;
}

static int read_port(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);

	if (!rc && add_port(ctx, text, strlen(text)) < 0)
		rc = kp_yaml_fail(y, at, "'%s' is no port, or one of more than %d", text, KP_NET_PORTS);
	return rc;
}

static int read_ports(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_net *net = ctx;
	int rc;

	*net = (struct kp_net){.mode = KP_NETWORK_CONNECT};
	rc = kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_port, net);
	return !rc && !net->port_count ? kp_yaml_fail(y, at, "no port is named") : rc;
}

int kp_read_net(struct kp_yaml *y, const struct kp_at *at, struct kp_net *net)
{
	static const struct kp_yaml_key keys[] = {{"connect", read_ports, true}, {NULL, NULL, false}};
	kp_autofree char *text = NULL;
	int rc;

	if (at->node->type == YAML_MAPPING_NODE)
		return kp_yaml_table(y, at, keys, net);
	rc = kp_yaml_text(y, at, &text, NULL);
	if (!rc && kp_net_parse(text, net) < 0)
		rc = kp_yaml_fail(y, at, "'%s' is not none, loopback, host, connect=PORT,... or {connect: [PORT, ...]}", text);
	return rc;
}

static int read_one_desktop(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	kp_autofree char *text = NULL;
	int rc = kp_yaml_text(y, at, &text, NULL);
	unsigned bit = rc ? 0 : kp_desktop_by_name(text);

	if (!rc && !bit)
		rc = kp_yaml_fail(y, at, "'%s' is not x11, wayland, dbus or audio", text);
	*(unsigned *)ctx |= bit;
	return rc;
}

int kp_read_desktop(struct kp_yaml *y, const struct kp_at *at, unsigned *desktop)
{
	return kp_yaml_each(y, at, YAML_SEQUENCE_NODE, read_one_desktop, desktop);
}

int kp_read_devices(struct kp_yaml *y, const struct kp_at *at, struct kp_strings *devices)
{
	size_t before = devices->count;
	int rc = kp_yaml_texts(y, at, devices, NULL);

	for (size_t i = before; !rc && i < devices->count; i++) {
		char *path = NULL;

		if (kp_path_normalise(devices->items[i], &path) < 0 || strncmp(path, "/dev/", 5) != 0)
			rc = kp_yaml_fail(y, at, "'%s' is no path below /dev", devices->items[i]);
		if (path && !rc) {
			free(devices->items[i]);
			devices->items[i] = path;
		} else {
			free(path);
		}
	}
	return rc;
}

/* --- the manifest's requests --- */

static int read_network(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_requests *r = ctx;

	r->asks_network = true;
	return kp_read_net(y, at, &r->net);
}

static int read_desktop(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_requests *r = ctx;

	r->asks_desktop = true;
	return kp_read_desktop(y, at, &r->desktop);
}

static int read_devices(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	struct kp_requests *r = ctx;

	r->asks_devices = true;
	return kp_read_devices(y, at, &r->devices);
}

int kp_read_requests(struct kp_yaml *y, const struct kp_at *at, void *ctx)
{
	static const struct kp_yaml_key keys[] = {
		{"network", read_network, false},
		{"desktop", read_desktop, false},
		{"devices", read_devices, false},
		{NULL, NULL, false},
	};

	return kp_yaml_table(y, at, keys, &((struct kp_manifest *)ctx)->requests);
}
