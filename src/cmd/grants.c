/* SPDX-License-Identifier: Apache-2.0 */
/* The second half of kapsel inspect: what an image asks for, and what a profile grants it here, in words. */
#include "cmd/cmd.h"
#include "instance/cgroup.h"
#include "instance/config.h"
#include "launch/internal.h"
#include "manifest/requests.h"

static void line(const char *label, const char *text)
{
	kp_autofree char *shown = kp_shown(text);

	printf("%-9s %s\n", label, shown);
}

static char *desktop_text(unsigned desktop)
{
	struct kp_buf b = {0};

	for (unsigned i = 0; i < KP_DESKTOP_KINDS; i++)
		if (desktop & 1U << i)
			kp_buf_printf(&b, "%s%s", b.len ? ", " : "", kp_desktop_names[i]);
	return b.len ? b.data : kp_strdup("nothing");
}

static char *joined(const struct kp_strings *s)
{
	struct kp_buf b = {0};

	for (size_t i = 0; i < s->count; i++)
		kp_buf_printf(&b, "%s%s", i ? ", " : "", s->items[i]);
	return b.len ? b.data : kp_strdup("none");
}

void kp_print_requests(const struct kp_manifest *m)
{
	const struct kp_requests *r = &m->requests;
	kp_autofree char *net = kp_net_text(&r->net), *desktop = desktop_text(r->desktop), *devices = joined(&r->devices);
	kp_autofree char *net_line = kp_asprintf("network: %s", net), *desktop_line = kp_asprintf("desktop: %s", desktop),
			 *device_line = kp_asprintf("devices: %s", devices);
	const char *label = "asks for";

	if (r->asks_network) {
		line(label, net_line);
		label = "";
	}
	if (r->asks_desktop) {
		line(label, desktop_line);
		label = "";
	}
	if (r->asks_devices)
		line(label, device_line);
}

static const char *mode_words(enum kp_mode mode)
{
	switch (mode) {
	case KP_MODE_MERGED:
		return "seen and changed: what the program does there reaches the host";
	case KP_MODE_WRITECOPY:
		return "seen; changes stay in the instance";
	case KP_MODE_FULL:
	case KP_MODE_COUNT:
	default:
		return "not seen";
	}
}

static void print_files(const struct kp_plan *plan)
{
	const char *label = "  files";
	bool root = false;

	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct kp_rule *r = &plan->rules[i];
		kp_autofree char *text = kp_asprintf("%s%s: %s", r->guest[1] || !r->dots ? r->guest : "", r->dots ? "/.*" : "",
						     mode_words(r->mode));

		root |= !r->guest[1] && !r->dots;
		line(label, text);
		label = "";
	}
	if (!root)
		line(label, plan->rule_count ? "all else of the host: not seen" : "none of the host's are seen");
}

static void print_limits(const struct kp_limits *limits)
{
	const char *why;
	unsigned kept = kp_cgroup_would_keep(limits, &why);
	struct kp_buf kp_autobuf b = {0};

	for (int i = 0; i < KP_LIMIT_COUNT; i++) {
		char value[32];

		if (limits->max[i] == KP_UNLIMITED)
			continue;
		kp_limit_text((enum kp_limit)i, limits->max[i], value, sizeof(value));
		kp_buf_printf(&b, "%s%s %s (%s)", b.len ? ", " : "", kp_limit_names[i], value,
			      kp_limit_how((enum kp_limit)i, kept >> i & 1));
	}
	line("  limits", b.len ? b.data : "none");
}

static const char *network_words(enum kp_network mode)
{
	switch (mode) {
	case KP_NETWORK_NONE:
		return "none: no sockets but those between its own processes";
	case KP_NETWORK_LOOPBACK:
		return "loopback: programs of this host, in both directions";
	case KP_NETWORK_CONNECT:
		return "programs of this host, and outward connections to the ports ";
	case KP_NETWORK_HOST:
	case KP_NETWORK_COUNT:
	default:
		return "host: as for any program of this host";
	}
}

int kp_print_grants(const struct kp_look *look, const char *profile, struct kp_err *err)
{
	struct kp_plan plan = {.manifest = look->manifest};
	struct kp_buf kp_autobuf net = {0};
	struct kp_err why = {0};
	int r = kp_plan_profile(&plan, profile, NULL, NULL, 0, err);

	if (!r) {
		const struct kp_profile *p = plan.profile;
		kp_autofree char *title = kp_asprintf("%s%s%s", p->name, p->summary ? ": " : "", p->summary ? p->summary : ""),
				 *desktop = desktop_text(plan.desktop), *devices = joined(&p->devices), *env = joined(&p->env),
				 *denied = joined(&p->syscalls);

		line("profile", title);
		line("  level", p->level == KP_LEVEL_STRICT ? "strict" : "portable");
		if (kp_plan_modes(&plan, NULL, 0, &why) < 0)
			line("  files", why.text);
		else
			print_files(&plan);
		kp_buf_puts(&net, network_words(plan.net.mode));
		for (size_t i = 0; i < plan.net.port_count; i++)
			kp_buf_printf(&net, "%s%u", i ? ", " : "", plan.net.ports[i]);
		line("  network", net.data);
		line("  desktop", desktop);
		line("  devices", p->devices.count ? devices : "those that every program needs");
		if (p->env.count)
			line("  env", env);
		print_limits(&plan.limits);
		if (p->syscalls.count)
			line("  denied", denied);
		line("  daemons", p->daemons ? "may outlive the program" : "end with the program");
	}
	plan.manifest = NULL; /* it is look's */
	kp_plan_free(&plan);
	return r;
}

static void json_list(struct kp_buf *b, const char *key, const struct kp_strings *s)
{
	kp_buf_printf(b, "\"%s\": [", key);
	for (size_t i = 0; i < s->count; i++) {
		kp_buf_puts(b, i ? ", " : "");
		kp_buf_quoted(b, s->items[i]);
	}
	kp_buf_puts(b, "]");
}

static void json_desktop(struct kp_buf *b, unsigned desktop)
{
	const char *comma = "";

	kp_buf_puts(b, "\"desktop\": [");
	for (unsigned i = 0; i < KP_DESKTOP_KINDS; i++)
		if (desktop & 1U << i) {
			kp_buf_printf(b, "%s\"%s\"", comma, kp_desktop_names[i]);
			comma = ", ";
		}
	kp_buf_puts(b, "]");
}

void kp_json_requests(struct kp_buf *b, const struct kp_requests *r)
{
	const char *comma = "";

	kp_buf_puts(b, " \"requests\": {");
	if (r->asks_network) {
		kp_autofree char *net = kp_net_text(&r->net);

		kp_buf_printf(b, "\"network\": \"%s\"", net);
		comma = ", ";
	}
	if (r->asks_desktop) {
		kp_buf_puts(b, comma);
		json_desktop(b, r->desktop);
		comma = ", ";
	}
	if (r->asks_devices) {
		kp_buf_puts(b, comma);
		json_list(b, "devices", &r->devices);
	}
	kp_buf_puts(b, "},\n");
}

int kp_json_grants(struct kp_buf *b, const struct kp_look *look, const char *profile, struct kp_err *err)
{
	struct kp_plan plan = {.manifest = look->manifest};
	struct kp_err why = {0};
	int r = kp_plan_profile(&plan, profile, NULL, NULL, 0, err);

	if (!r) {
		kp_autofree char *net = kp_net_text(&plan.net);
		const char *comma = "";

		kp_buf_puts(b, " \"profile\": {\"name\": ");
		kp_buf_quoted(b, plan.profile->name);
		kp_buf_printf(b, ", \"level\": \"%s\", \"modes\": {", plan.profile->level == KP_LEVEL_STRICT ? "strict" : "portable");
		(void)kp_plan_modes(&plan, NULL, 0, &why);
		for (size_t i = 0; i < plan.rule_count; i++) {
			kp_autofree char *path = kp_asprintf("%s%s", plan.rules[i].guest, plan.rules[i].dots ? "/.*" : "");

			kp_buf_puts(b, i ? ", " : "");
			kp_buf_quoted(b, path);
			kp_buf_printf(b, ": \"%s\"", kp_mode_names[plan.rules[i].mode]);
		}
		kp_buf_printf(b, "}, \"network\": \"%s\", ", net);
		json_desktop(b, plan.desktop);
		kp_buf_puts(b, ", ");
		json_list(b, "devices", &plan.profile->devices);
		kp_buf_puts(b, ", \"limits\": {");
		for (int i = 0; i < KP_LIMIT_COUNT; i++)
			if (plan.limits.max[i] != KP_UNLIMITED) {
				kp_buf_printf(b, "%s\"%s\": %llu", comma, kp_limit_names[i], (unsigned long long)plan.limits.max[i]);
				comma = ", ";
			}
		kp_buf_puts(b, "}},\n");
	}
	plan.manifest = NULL;
	kp_plan_free(&plan);
	return r;
}
