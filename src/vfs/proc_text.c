/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of /proc that name what is of the host: maps, smaps, mounts, mountinfo, those of net. A snapshot when opened, in guest terms. */
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/proc.h"
#include "vfs/resolve.h"

#define MAX_TEXT (64U << 20)

static int text_fd(const struct kp_buf *text)
{
	kp_autoclose int fd = memfd_create("proc", MFD_CLOEXEC);
	kp_autofree char *path = NULL;
	int rc;

	if (fd < 0)
		return -errno;
	rc = text->len ? kp_write_full(fd, text->data, text->len) : 0;
	if (rc)
		return rc;
	/* Another description, read-only and at the start. */
	path = kp_asprintf("/proc/self/fd/%d", fd);
	rc = open(path, O_RDONLY | O_CLOEXEC);
	return rc < 0 ? -errno : rc;
}

/* "START-END perms offset dev inode   PATH": the path begins at the first '/' after the inode. In numa_maps: "START policy file=PATH
 * NAME=VALUE...", with blanks in it escaped. */
static void maps_line(const struct kp_vfs *v, const char *line, size_t len, bool numa, struct kp_buf *out)
{
	const char *path = memchr(line, '/', len);
	char host[PATH_MAX];
	struct kp_mapped m;
	uint64_t offset, slots;
	size_t path_len;

	if (!path || (size_t)(line + len - path) >= sizeof(host) || !isxdigit((unsigned char)line[0])) {
		kp_buf_add(out, line, len);
		return;
	}
	path_len = (size_t)(line + len - path);
	(void)snprintf(host, sizeof(host), "%.*s", (int)path_len, path);
	if (numa) {
		path_len = strcspn(host, " ");
		host[path_len] = '\0';
	}
	kp_map_host(v, host, &m);
	kp_buf_add(out, line, (size_t)(path - line));
	if (!numa && kp_map_slots(v, host, &slots) && sscanf(line, "%*s %*s %" SCNx64, &offset) == 1 && offset == slots)
		kp_buf_puts(out, "[kapsel]");
	else if (m.kind == KP_MAP_FOREIGN)
		kp_buf_puts(out, strstr(host, "/loader") || strstr(host, "/memfd:kapsel-scratch") ? "[kapsel]" : host);
	else
		kp_buf_printf(out, "%s%s", m.guest.s, m.deleted ? " (deleted)" : "");
	kp_buf_add(out, path + path_len, (size_t)(line + len - path) - path_len);
}

static int open_maps(const struct kp_vfs *v, const struct kp_node *n, bool numa)
{
	kp_autofree char *text = NULL;
	kp_autobuf struct kp_buf out = {0};
	size_t len;
	int rc = kp_read_file(AT_FDCWD, n->host.s, MAX_TEXT, &text, &len);

	if (rc)
		return rc;
	for (const char *p = text; *p;) {
		size_t n_line = strcspn(p, "\n");

		maps_line(v, p, n_line, numa, &out);
		p += n_line;
		if (*p == '\n') {
			kp_buf_add(&out, "\n", 1);
			p++;
		}
	}
	return text_fd(&out);
}

static const struct {
	const char *guest, *type, *options;
} kernel_mounts[] = {
	{"/proc", "proc", "rw,nosuid,nodev,noexec,relatime"},
	{"/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime"},
	{"/dev/pts", "devpts", "rw,nosuid,noexec,relatime"},
	{"/dev/shm", "tmpfs", "rw,nosuid,nodev"},
};

static int open_mountstats(void)
{
	kp_autobuf struct kp_buf out = {0};

	kp_buf_puts(&out, "device kapsel mounted on / with fstype kapsel\n");
	for (size_t i = 0; i < KP_ARRAY_LEN(kernel_mounts); i++)
		kp_buf_printf(&out, "device %s mounted on %s with fstype %s\n", kernel_mounts[i].type, kernel_mounts[i].guest,
			      kernel_mounts[i].type);
	return text_fd(&out);
}

/* Tables of /proc/net: sockets that have names, and, where no network is granted, all of the host's network. The first line alone is no secret. */
static int open_headline(const struct kp_node *n)
{
	kp_autobuf struct kp_buf out = {0};
	kp_autofree char *text = NULL;
	int rc = kp_read_file(AT_FDCWD, n->host.s, MAX_TEXT, &text, NULL);

	if (rc)
		return rc;
	kp_buf_add(&out, text, strcspn(text, "\n") + (text[strcspn(text, "\n")] == '\n'));
	return text_fd(&out);
}

static int open_mounts(const struct kp_vfs *v, bool info)
{
	kp_autobuf struct kp_buf out = {0};
	int id = 21;

	if (info)
		kp_buf_printf(&out, "20 1 0:27504 / / rw,relatime - kapsel kapsel rw\n");
	else
		kp_buf_puts(&out, "kapsel / kapsel rw,relatime 0 0\n");
	for (size_t i = 0; i < KP_ARRAY_LEN(kernel_mounts); i++, id++) {
		if (info)
			kp_buf_printf(&out, "%d 20 0:%d / %s %s - %s %s rw\n", id, id, kernel_mounts[i].guest,
				      kernel_mounts[i].options, kernel_mounts[i].type, kernel_mounts[i].type);
		else
			kp_buf_printf(&out, "%s %s %s %s 0 0\n", kernel_mounts[i].type, kernel_mounts[i].guest,
				      kernel_mounts[i].type, kernel_mounts[i].options);
	}
	for (size_t i = 0; i < v->bind_count; i++) {
		const char *guest = v->binds[i].guest;

		if (kp_path_below(guest, "/dev") || kp_path_below(guest, "/sys"))
			continue;
		if (info)
			kp_buf_printf(&out, "%d 20 0:%d / %s %s,relatime - kapsel bind rw\n", id, id, guest,
				      v->binds[i].read_only ? "ro" : "rw");
		else
			kp_buf_printf(&out, "bind %s kapsel %s,relatime 0 0\n", guest, v->binds[i].read_only ? "ro" : "rw");
		id++;
	}
	return text_fd(&out);
}

static int open_net(const struct kp_vfs *v, const struct kp_node *n)
{
	kp_autobuf struct kp_buf out = {0};
	int rc = v->net_text(v->net_text_ctx, n->host.s, &out);

	return rc ? rc : text_fd(&out);
}

int kp_proc_open_text(struct kp_vfs *v, const struct kp_node *n)
{
	const char *name = strrchr(n->host.s, '/') + 1;

	if (!S_ISREG(n->mode))
		return -ENOSYS;
	if (kp_proc_is_of_process(n) && strstr(n->host.s, "/net/") && (v->offline || !strcmp(name, "unix")))
		return open_headline(n);
	if (!strcmp(name, "maps") || !strcmp(name, "smaps") || !strcmp(name, "numa_maps"))
		return open_maps(v, n, !strcmp(name, "numa_maps"));
	if (!strcmp(name, "mountstats"))
		return open_mountstats();
	if (!strcmp(name, "mounts"))
		return open_mounts(v, false);
	if (!strcmp(name, "mountinfo"))
		return open_mounts(v, true);
	if (v->net_text && name - n->host.s > 5 && !strncmp(name - 5, "/net/", 5))
		return open_net(v, n);
	return -ENOSYS;
}
