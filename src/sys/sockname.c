/* SPDX-License-Identifier: Apache-2.0 */
/* Names of sockets, back in guest terms. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"
#include "sys/net.h"
#include "sys/ports.h"
#include "vfs/internal.h"

#define PATH_AT offsetof(struct sockaddr_un, sun_path)

static void to_guest(struct kp_call *c, struct sockaddr_un *sa, socklen_t *len)
{
	char guest[PATH_MAX], key[32];
	size_t n;

	if (sa->sun_family == AF_UNIX && *len > PATH_AT && *len < PATH_AT + sizeof(key) && !sa->sun_path[0]) { /* net.c, bind_abstract() */
		(void)snprintf(key, sizeof(key), "@%.*s", (int)(*len - PATH_AT - 1), sa->sun_path + 1);
		n = kp_names_get_address(c->engine, key, sa->sun_path, sizeof(sa->sun_path));
		*len = n ? (socklen_t)(PATH_AT + n) : *len;
		return;
	}
	if (sa->sun_family != AF_UNIX || *len <= PATH_AT || !sa->sun_path[0])
		return;
	n = kp_names_get_address(c->engine, sa->sun_path, guest, sizeof(guest));
	if (!n) {
		struct kp_mapped m;

		kp_map_host(c->vfs, sa->sun_path, &m);
		if (m.kind == KP_MAP_FOREIGN)
			return;
		n = (size_t)snprintf(guest, sizeof(guest), "%s", m.guest.s) + 1;
	}
	if (n > sizeof(sa->sun_path) + 1) /* 108 bytes without a NUL are told with one */
		n = sizeof(sa->sun_path) + 1;
	memset(sa->sun_path, 0, sizeof(sa->sun_path));
	memcpy((char *)sa + PATH_AT, guest, n);
	*len = (socklen_t)(PATH_AT + n);
}

/* The name of the AF_UNIX socket with that inode, as the list of all of them in the caller's network namespace has it ("": none). -ENOENT:
 * it is not in the list. */
static int listed_name(struct kp_call *c, const char *inode, char *name, size_t size)
{
	char path[48];
	kp_autofree char *text = NULL;
	char *next;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/unix", c->tid);
	if (kp_read_file(AT_FDCWD, path, 64U << 20, &text, NULL))
		return -ENOENT;
	for (char *line = text; line && *line; line = next) {
		char number[24];
		int at = 0;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %23s%n", number, &at) != 1 || strcmp(number, inode) != 0)
			continue;
		return (size_t)snprintf(name, size, "%s", line[at] == ' ' ? line + at + 1 : "") >= size ? -ENAMETOOLONG : 0;
	}
	return -ENOENT;
}

/* The same of the caller's descriptor. */
static int name_of(struct kp_call *c, int fd, char *name, size_t size)
{
	char text[64], *end;
	int rc = kp_task_fd(c->tid, fd, text, sizeof(text));

	if (rc || strncmp(text, "socket:[", 8) != 0 || !(end = strchr(text, ']')))
		return -ENOENT;
	*end = '\0';
	return listed_name(c, text + 8, name, size);
}

int kp_sockname_is_bound(struct kp_call *c, int fd)
{
	char name[256];
	int rc = name_of(c, fd, name, sizeof(name));

	return rc == -ENAMETOOLONG ? 1 : rc ? rc : name[0] != '\0';
}

/* Where descriptors cannot be copied: our own bound paths by inode. The peer's inode nobody tells. */
static int name_without_copy(struct kp_call *c, struct sockaddr_un *sa, socklen_t *len)
{
	char name[sizeof(sa->sun_path)];

	if (name_of(c, (int)c->raw[0], name, sizeof(name)) || name[0] != '/')
		return -ENOENT;
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, name, strlen(name));
	*len = (socklen_t)(PATH_AT + strlen(sa->sun_path) + 1);
	return 0;
}

static int get_name(struct kp_call *c, bool own, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	kp_autoclose int fd = kp_dup_from(c->tid, (int)c->raw[0]);
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
		char bytes[256];
	} u = {0};
	socklen_t len = sizeof(u.bytes) - 1, room;
	int rc;

	if (fd == -EBADF)
		return fd;
	if (fd < 0 && (!own || name_without_copy(c, &u.un, &len))) {
		c->reply = KP_REPLY_KERNEL;
		return 0;
	}
	rc = kp_call_get(c, c->raw[2], &room, sizeof(room));
	if (rc)
		return rc;
	if ((int)room < 0)
		return -EINVAL;
	if (fd >= 0 && get(fd, &u.sa, &len) < 0)
		return -errno;
	if (fd >= 0)
		kp_ports_tell(c->engine, fd, own, &u.sa, len);
	to_guest(c, &u.un, &len);
	rc = kp_call_put(c, c->raw[1], u.bytes, KP_MIN(room, len));
	return rc ? rc : kp_call_put(c, c->raw[2], &len, sizeof(len));
}

static int own_name(int fd, struct sockaddr *restrict sa, socklen_t *restrict len)
{
	return getsockname(fd, sa, len);
}

static int peer_name(int fd, struct sockaddr *restrict sa, socklen_t *restrict len)
{
	return getpeername(fd, sa, len);
}

int kp_sys_getsockname(struct kp_call *c)
{
	return get_name(c, true, own_name);
}

int kp_sys_getpeername(struct kp_call *c)
{
	return get_name(c, false, peer_name);
}
