/* SPDX-License-Identifier: Apache-2.0 */
/* instances/NAME/config.yaml: which image an instance was made from. */
#ifndef KAPSEL_INSTANCE_CONFIG_H
#define KAPSEL_INSTANCE_CONFIG_H

#include "instance/instance.h"

#define KP_INSTANCE_FORMAT 1

/* Fills image, digest, created. -ENOENT (err unset) when there is no configuration yet. */
int kp_instance_config_read(struct kp_instance *instance, struct kp_err *err);
int kp_instance_config_write(const struct kp_instance *instance, struct kp_err *err);
/* text as a double-quoted scalar of YAML and JSON; bytes that are not UTF-8 become U+FFFD. */
void kp_buf_quoted(struct kp_buf *out, const char *text);

#endif
