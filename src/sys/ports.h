/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and UDP ports of the instance. A guest's port is the host's of the same number where that is free, the published one where one is, else another
 * one of the host that is the instance's from then on; and guests see their own numbers.
 */
#ifndef KAPSEL_SYS_PORTS_H
#define KAPSEL_SYS_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct kp_buf;
struct kp_engine;
struct kp_ports;

struct kp_ports *kp_ports_new(void);
struct kp_ports *kp_ports_free(struct kp_ports *p); /* NULL is fine; returns NULL */
/* Ports are marked as the instance's in this directory, which all instances of the user share. */
void kp_ports_share(struct kp_ports *p, const char *dir);
/* Guests that bind `guest` are at `host`, or fail. */
void kp_ports_publish(struct kp_ports *p, bool udp, uint16_t host, uint16_t guest);

/* A guest binds itself: the user is told, once, that ports are not its own here. */
void kp_ports_untranslated(struct kp_engine *e, const struct sockaddr *sa);
/* Those that the instance has bound or published: "5432,35211->80,53/udp", the host's first where it is another. */
void kp_ports_text(struct kp_ports *p, struct kp_buf *out);
/* Something that the user should be told: a port that became another one. */
bool kp_ports_notice(struct kp_ports *p, char *buf, size_t size);

uint16_t kp_ports_of(const struct sockaddr *sa);
/* Binds fd to an inet address (not NULL, long enough for its port). 0 or -errno. */
int kp_ports_bind(struct kp_engine *e, int fd, struct sockaddr *sa, socklen_t len);
/*
 * Where a guest means one of the instance's own ports, by any address of this machine, sa becomes where that is. 0; -ECONNREFUSED: the port is
 * another instance's, which has not published it.
 */
int kp_ports_reach(struct kp_engine *e, int fd, struct sockaddr *sa, socklen_t len);
/* What the kernel tells of fd, in the guest's numbers; own: its own name, else the peer's. */
void kp_ports_tell(struct kp_engine *e, int fd, bool own, struct sockaddr *sa, socklen_t len);
/* The guest's number of a port of the host that is the instance's; else port. */
uint16_t kp_ports_guest(struct kp_engine *e, bool udp, uint16_t port);

#endif
