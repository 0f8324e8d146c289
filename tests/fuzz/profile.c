/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a profile: an error that names the place, or a profile whose every part can be looked at. */
#include "manifest/requests.h"
#include "profile/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kp_profile *p)
{
	char *net = kp_net_text(&p->net), text[32];
	struct kp_net again;

	if (kp_net_parse(net, &again) < 0 || again.mode != p->net.mode || again.port_count != p->net.port_count)
		abort();
	free(net);
	for (size_t i = 0; i < p->rule_count; i++)
		if ((p->rules[i].path[0] != '/' && p->rules[i].path[0] != '$') || strstr(p->rules[i].path, "/../"))
			abort();
	for (size_t i = 0; i < p->devices.count; i++)
		if (strncmp(p->devices.items[i], "/dev/", 5) != 0)
			abort();
	for (int i = 0; i < KP_LIMIT_COUNT; i++) {
		struct kp_limits limits;

		kp_limit_text((enum kp_limit)i, p->limits.max[i], text, sizeof(text));
		if (kp_limit_parse(kp_limit_names[i], text, &limits, NULL) < 0 || limits.max[i] != p->limits.max[i])
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct kp_profile_places nowhere = {0};
	struct kp_profile *p = NULL;
	struct kp_err err = {0};

	if (kp_profile_parse((const char *)data, size, "p", &nowhere, &p, &err) < 0) {
		if (!err.text[0] || p)
			abort();
		return 0;
	}
	check(p);
	kp_profile_free(p);
	return 0;
}
