/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/net/{tcp,udp,unix} and their like: ports and names in the guest's terms. Of a host whose network the program does not share, and at
 * level strict, only the guests' own sockets.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/internal.h"
#include "sys/nettext.h"
#include "sys/ports.h"
#include "vfs/resolve.h"

struct inodes {
	uint64_t *of;
	size_t count;
};

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The sockets that guests hold. */
static struct inodes collect(struct kp_engine *e)
{
	kp_autofree pid_t *pids = kp_calloc(4096, sizeof(*pids));
	size_t count = KP_MIN(kp_engine_pids(e, pids, 4096), (size_t)4096);
	struct inodes all = {0};
	char path[64], link[64];

	for (size_t i = 0; i < count; i++) {
		struct dirent *entry;
		DIR *d;

		(void)snprintf(path, sizeof(path), "/proc/%d/fd", pids[i]);
		d = opendir(path);
		while (d && (entry = readdir(d))) {
			ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

			link[KP_MAX(n, 0)] = '\0';
			if (strncmp(link, "socket:[", 8) != 0)
				continue;
			if (!(all.count & (all.count + 1)))
				all.of = kp_realloc(all.of, (2 * all.count + 2) * sizeof(*all.of));
			all.of[all.count++] = strtoull(link + 8, NULL, 10);
		}
		if (d)
			(void)closedir(d);
	}
	if (all.count)
		qsort(all.of, all.count, sizeof(*all.of), by_number);
	return all;
}

static bool has(const struct inodes *own, uint64_t inode)
{
	return own->count && bsearch(&inode, own->of, own->count, sizeof(inode), by_number);
}

/* "  0: 0100007F:1F90 0100007F:D2A4 01 ...": ports in hexadecimal; a foreign one is ours where it is at an address of ours. */
static void inet_line(struct kp_engine *e, char *line, bool udp, const struct inodes *own, bool all, struct kp_buf *out)
{
	char local[40], remote[40], inode[24];
	unsigned port, peer;
	int at = 0, rest = 0;

	if (sscanf(line, " %*[^:]:%n %39[0-9A-F]:%x %39[0-9A-F]:%x%n %*s %*s %*s %*s %*s %*s %23s", &at, local, &port, remote, &peer, &rest,
		   inode) != 5) {
		kp_buf_printf(out, "%s\n", line); /* the heading */
		return;
	}
	if (!all && !has(own, strtoull(inode, NULL, 10)))
		return;
	if (has(own, strtoull(inode, NULL, 10))) {
		port = kp_ports_guest(e, udp, (uint16_t)port);
		/* As the kernel prints them, in the order of its memory: 127.0.0.1, mapped too, and ::1; or the same address at both ends. */
		if (!strcmp(local, remote) || !strcmp(remote + KP_MAX(strlen(remote), (size_t)6) - 6, "00007F") || !strcmp(remote, "00000000000000000000000001000000"))
			peer = kp_ports_guest(e, udp, (uint16_t)peer);
	}
	kp_buf_printf(out, "%.*s %s:%04X %s:%04X%s\n", at, line, local, port, remote, peer, line + rest);
}

static void unix_line(struct kp_engine *e, char *line, const struct inodes *own, bool all, struct kp_buf *out)
{
	char inode[24], guest[128];
	struct kp_mapped m;
	int at = 0;

	if (sscanf(line, "%*s %*s %*s %*s %*s %*s %23[0-9]%n", inode, &at) != 1) {
		kp_buf_printf(out, "%s\n", line);
		return;
	}
	if (!all && !has(own, strtoull(inode, NULL, 10)))
		return;
	if (line[at] != ' ' || line[at + 1] != '/' || !has(own, strtoull(inode, NULL, 10))) {
		kp_buf_printf(out, "%s\n", line);
		return;
	}
	if (kp_names_get_address(e, line + at + 1, guest, sizeof(guest))) {
		kp_buf_printf(out, "%.*s %s\n", at, line, guest);
		return;
	}
	kp_map_host(e->vfs, line + at + 1, &m);
	kp_buf_printf(out, "%.*s %s\n", at, line, m.kind == KP_MAP_FOREIGN ? line + at + 1 : m.guest.s);
}

int kp_sockets_text(void *engine, const char *host_path, struct kp_buf *out)
{
	struct kp_engine *e = engine;
	const char *name = strrchr(host_path, '/') + 1;
	bool all = e->policy->net.mode == KP_NETWORK_HOST && e->level != KP_LEVEL_STRICT;
	bool udp = !strncmp(name, "udp", 3), is_unix = !strcmp(name, "unix");
	kp_autofree char *text = NULL;
	struct inodes own;
	char *next;
	int rc;

	if (!is_unix && strcmp(name, "tcp") != 0 && strcmp(name, "tcp6") != 0 && strcmp(name, "udp") != 0 && strcmp(name, "udp6") != 0)
		return -ENOSYS;
	rc = kp_read_file(AT_FDCWD, host_path, 64U << 20, &text, NULL);
	if (rc)
		return rc;
	own = collect(e);
	for (char *line = text; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		if (is_unix)
			unix_line(e, line, &own, all, out);
		else
			inet_line(e, line, udp, &own, all, out);
	}
	free(own.of);
	return 0;
}
