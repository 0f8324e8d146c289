/* SPDX-License-Identifier: Apache-2.0 */
/* The words of profiles and requests: what every program and room means by them. The parsed profile: src/profile/profile.h. */
#ifndef KAPSEL_PROFILE_H
#define KAPSEL_PROFILE_H

#include <stddef.h>
#include <stdint.h>

enum kp_level { KP_LEVEL_PORTABLE, KP_LEVEL_STRICT };

/* In the order of what they allow; of two the smaller is the stricter. */
enum kp_network {
	KP_NETWORK_NONE,     /* no sockets but AF_UNIX ones */
	KP_NETWORK_LOOPBACK, /* 127.0.0.0/8 and ::1 */
	KP_NETWORK_CONNECT,  /* the loopback, and these ports elsewhere; nothing listens but on the loopback */
	KP_NETWORK_HOST,
	KP_NETWORK_COUNT
};

#define KP_NET_PORTS 64
struct kp_net {
	enum kp_network mode;
	uint16_t ports[KP_NET_PORTS]; /* KP_NETWORK_CONNECT only */
	size_t port_count;
};

enum kp_desktop {
	KP_DESKTOP_X11 = 1 << 0,
	KP_DESKTOP_WAYLAND = 1 << 1,
	KP_DESKTOP_DBUS = 1 << 2,
	KP_DESKTOP_AUDIO = 1 << 3,
};
#define KP_DESKTOP_KINDS 4

enum kp_limit {
	KP_LIMIT_MEMORY,     /* bytes */
	KP_LIMIT_PROCESSES,  /* and threads */
	KP_LIMIT_OPEN_FILES, /* of each process */
	KP_LIMIT_FILE_SIZE,  /* bytes */
	KP_LIMIT_CPU_TIME,   /* seconds, of each process */
	KP_LIMIT_DISK,       /* bytes that the instance holds */
	KP_LIMIT_COUNT
};

#define KP_UNLIMITED UINT64_MAX
struct kp_limits {
	uint64_t max[KP_LIMIT_COUNT]; /* KP_UNLIMITED: none */
};

#endif
