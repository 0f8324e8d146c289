/* SPDX-License-Identifier: Apache-2.0 */
/* What a run is granted: the profile, less what the manifest and the command line do without; devices and desktop as binds. */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/internal.h"
#include "manifest/requests.h"
#include "sys/table.h"

static int plan_limits(struct kp_plan *plan, const char *const *limits, size_t count, struct kp_err *err)
{
	plan->limits = plan->profile->limits;
	for (size_t i = 0; i < count; i++) {
		const char *eq = strchr(limits[i], '=');
		kp_autofree char *key = eq ? kp_strndup(limits[i], (size_t)(eq - limits[i])) : NULL;
		struct kp_err why = {0};

		if (!eq) {
			(void)kp_fail(err, EINVAL, "--limit: '%s': not KEY=VALUE", limits[i]);
			return kp_hint(err, "--limit memory=512M; the keys are memory, processes, open-files, file-size, cpu-time and disk");
		}
		if (kp_limit_parse(key, eq + 1, &plan->limits, &why) < 0)
			return kp_fail(err, EINVAL, "--limit: %s", why.text);
	}
	return 0;
}

/* --net is the user's own word; what an image asks for is granted as far as the profile does. */
static int plan_net(struct kp_plan *plan, const char *net, struct kp_err *err)
{
	const struct kp_requests *asks = &plan->manifest->requests;

	plan->net = asks->asks_network ? kp_net_both(&asks->net, &plan->profile->net) : plan->profile->net;
	if (net && kp_net_parse(net, &plan->net) < 0) {
		(void)kp_fail(err, EINVAL, "--net: '%s': no such access", net);
		return kp_hint(err, "--net none, loopback, host or connect=PORT,...");
	}
	return 0;
}

int kp_plan_profile(struct kp_plan *plan, const char *name, const char *net, const char *const *limits, size_t limit_count,
		    struct kp_err *err)
{
	const struct kp_profile_places places = {.config_home = getenv("XDG_CONFIG_HOME"), .home = getenv("HOME")};
	int r = kp_profile_load(name ? name : KP_PROFILE_DEFAULT, &places, &plan->profile, err);

	if (r < 0)
		return r;
	plan->level = plan->profile->level;
	plan->desktop = plan->profile->desktop;
	if (plan->manifest->requests.asks_desktop)
		plan->desktop &= plan->manifest->requests.desktop;
	r = plan_net(plan, net, err);
	return r < 0 ? r : plan_limits(plan, limits, limit_count, err);
}

/* Where the host has it, and nothing else is bound there. */
static void bind_if_there(struct kp_plan *plan, const char *path, bool read_only)
{
	kp_autofree char *real = kp_real_path(path), *guest = NULL;

	if (!real || kp_path_normalise(path, &guest) < 0)
		return;
	for (size_t i = 0; i < plan->bind_count; i++)
		if (!strcmp(plan->binds[i].guest, guest))
			return;
	plan->binds = kp_realloc(plan->binds, (plan->bind_count + 1) * sizeof(*plan->binds));
	plan->binds[plan->bind_count++] = (struct kp_bind){kp_take_ptr(real), kp_take_ptr(guest), read_only};
}

static bool asked_for(const struct kp_requests *asks, const char *device)
{
	for (size_t i = 0; i < asks->devices.count; i++)
		if (kp_path_below(asks->devices.items[i], device) || kp_path_below(device, asks->devices.items[i]))
			return true;
	return !asks->asks_devices;
}

/* A socket in the user's runtime directory. */
static void bind_runtime(struct kp_plan *plan, const char *name)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	kp_autofree char *path = dir && dir[0] == '/' ? kp_asprintf("%s/%s", dir, name) : NULL;

	if (path && !strstr(name, ".."))
		bind_if_there(plan, path, false);
}

static void bind_x11(struct kp_plan *plan)
{
	const char *display = getenv("DISPLAY"), *cookie = getenv("XAUTHORITY"), *home = getenv("HOME");
	kp_autofree char *socket = NULL, *file = NULL;

	if (!display || display[0] != ':')
		return;
	socket = kp_asprintf("/tmp/.X11-unix/X%.*s", (int)strspn(display + 1, "0123456789"), display + 1);
	bind_if_there(plan, socket, false);
	if (cookie && cookie[0] == '/')
		file = kp_strdup(cookie);
	else if (home && home[0] == '/')
		file = kp_asprintf("%s/.Xauthority", home);
	if (file)
		bind_if_there(plan, file, true);
}

static void bind_dbus(struct kp_plan *plan)
{
	const char *address = getenv("DBUS_SESSION_BUS_ADDRESS");
	kp_autofree char *path = NULL;

	if (address && !strncmp(address, "unix:path=/", 11)) {
		path = kp_strndup(address + 10, strcspn(address + 10, ",;"));
		bind_if_there(plan, path, false);
	} else if (!address) {
		bind_runtime(plan, "bus");
	}
}

void kp_plan_desktop(struct kp_plan *plan)
{
	const char *wayland = getenv("WAYLAND_DISPLAY");

	for (size_t i = 0; i < plan->profile->devices.count; i++)
		if (asked_for(&plan->manifest->requests, plan->profile->devices.items[i]))
			bind_if_there(plan, plan->profile->devices.items[i], false);
	if (plan->desktop & KP_DESKTOP_X11)
		bind_x11(plan);
	if (plan->desktop & KP_DESKTOP_WAYLAND && wayland && wayland[0] == '/')
		bind_if_there(plan, wayland, false);
	else if (plan->desktop & KP_DESKTOP_WAYLAND)
		bind_runtime(plan, wayland && *wayland ? wayland : "wayland-0");
	if (plan->desktop & KP_DESKTOP_DBUS)
		bind_dbus(plan);
	if (plan->desktop & KP_DESKTOP_AUDIO) {
		bind_runtime(plan, "pulse/native");
		bind_runtime(plan, "pipewire-0");
	}
}

/* --- policy: what the engine refuses --- */

/* Numbers of the system calls that the profile names. */
static int plan_denied(struct kp_plan *plan, struct kp_err *err)
{
	const struct kp_strings *names = &plan->profile->syscalls;
	struct kp_policy *p = &plan->policy;

	p->deny = kp_calloc(names->count + 1, sizeof(*p->deny));
	for (size_t i = 0; i < names->count; i++) {
		size_t row = 0;

		while (row < kp_row_count && strcmp(kp_rows[row].name, names->items[i]) != 0)
			row++;
		if (row == kp_row_count)
			return kp_fail(err, EINVAL, "profile %s: syscalls: '%s': there is no such call", plan->profile->name, names->items[i]);
		if (kp_rows[row].nr_x86_64 >= 0)
			p->deny[p->deny_count++] = kp_rows[row].nr_x86_64;
	}
	return 0;
}

/* The granted servers' names that are no files. */
static void plan_abstract(struct kp_plan *plan)
{
	const char *display = getenv("DISPLAY"), *bus = getenv("DBUS_SESSION_BUS_ADDRESS");

	if (plan->desktop & KP_DESKTOP_X11 && display && display[0] == ':')
		plan->policy.abstract[0] =
			kp_asprintf("/tmp/.X11-unix/X%.*s", (int)strspn(display + 1, "0123456789"), display + 1);
	if (plan->desktop & KP_DESKTOP_DBUS && bus && !strncmp(bus, "unix:abstract=", 14))
		plan->policy.abstract[1] = kp_strndup(bus + 14, strcspn(bus + 14, ",;"));
}

/* Connecting in the guest's place takes its socket. */
static int check_sockets(const struct kp_plan *plan, struct kp_err *err)
{
	kp_autoclose int self = (int)syscall(SYS_pidfd_open, getpid(), 0), copy = -1;

	if (plan->net.mode != KP_NETWORK_CONNECT && !plan->policy.publish_count)
		return 0;
	copy = self < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, self, self, 0);
	if (copy >= 0)
		return 0;
	(void)kp_fail_errno(err, errno, "%s needs pidfd_getfd, which is refused here", plan->policy.publish_count ? "--publish" : "network: connect=PORT");
	return kp_hint(err, "--net none, loopback and host work without it");
}

int kp_plan_policy(struct kp_plan *plan, struct kp_err *err)
{
	kp_autofree char *resolv = NULL;
	int r = plan_denied(plan, err);

	if (!r)
		r = check_sockets(plan, err);
	plan->policy.net = plan->net;
	plan->policy.count_tasks = plan->limits.max[KP_LIMIT_PROCESSES] != KP_UNLIMITED;
	plan->policy.keep_file_size = plan->limits.max[KP_LIMIT_DISK] != KP_UNLIMITED;
	plan_abstract(plan);
	if (plan->net.mode == KP_NETWORK_CONNECT && !kp_read_file(AT_FDCWD, "/etc/resolv.conf", 1 << 20, &resolv, NULL))
		kp_policy_read_resolvers(&plan->policy, resolv);
	return r;
}

/* --- joining --- */

char *kp_plan_grants(const struct kp_plan *plan)
{
	kp_autofree char *net = kp_net_text(&plan->net);
	struct kp_buf b = {0};

	kp_buf_printf(&b, "profile %s, network %s", plan->profile->name, net);
	for (int i = 0; i < KP_LIMIT_COUNT; i++) {
		char value[32];

		kp_limit_text((enum kp_limit)i, plan->limits.max[i], value, sizeof(value));
		if (plan->limits.max[i] != KP_UNLIMITED)
			kp_buf_printf(&b, ", %s %s", kp_limit_names[i], value);
	}
	return b.data;
}

int kp_plan_write_grants(const struct kp_plan *plan, const char *run_dir)
{
	kp_autofree char *path = kp_asprintf("%s/grants", run_dir), *text = kp_plan_grants(plan);
	kp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : kp_write_full(fd, text, strlen(text));
}

int kp_plan_check_grants(const struct kp_plan *plan, const char *run_dir, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/grants", run_dir), *own = kp_plan_grants(plan), *running = NULL;
	int r = kp_read_file(AT_FDCWD, path, 65536, &running, NULL);

	if (r == -ENOENT)
		return -ENOTCONN; /* it is going */
	if (r < 0)
		return kp_fail_errno(err, -r, "%s: cannot be read", path);
	if (!strcmp(running, own))
		return 0;
	(void)kp_fail(err, EEXIST, "%s: runs with other grants: %s", plan->instance->name, running);
	return kp_hint(err, "kapsel stop %s first, or join it without --profile, --net and --limit", plan->instance->name);
}
