/* SPDX-License-Identifier: Apache-2.0 */
/* What an image asks for beyond its files, in the words that profiles grant it with. */
#ifndef KAPSEL_MANIFEST_REQUESTS_H
#define KAPSEL_MANIFEST_REQUESTS_H

#include "kapsel/profile.h"
#include "manifest/yaml.h"

extern const char *const kp_network_names[KP_NETWORK_COUNT];
extern const char *const kp_desktop_names[KP_DESKTOP_KINDS]; /* by bit */

/* "none", "loopback", "host", "connect=PORT,...". 0 or -EINVAL. */
int kp_net_parse(const char *text, struct kp_net *ret_net);
/* The same, as such a text. Caller frees. */
char *kp_net_text(const struct kp_net *net);
/* What both allow. */
struct kp_net kp_net_both(const struct kp_net *a, const struct kp_net *b);
/* 0: no such thing. */
unsigned kp_desktop_by_name(const char *name);

/* Readers of YAML values, shared with profiles. */
int kp_read_net(struct kp_yaml *y, const struct kp_at *at, struct kp_net *net);
int kp_read_desktop(struct kp_yaml *y, const struct kp_at *at, unsigned *desktop);
int kp_read_devices(struct kp_yaml *y, const struct kp_at *at, struct kp_strings *devices);
/* The manifest's `requests`. */
int kp_read_requests(struct kp_yaml *y, const struct kp_at *at, void *ctx);

#endif
