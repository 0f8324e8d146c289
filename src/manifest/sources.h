/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of `contents`, for the manifest's own schema only. */
#ifndef KAPSEL_MANIFEST_SOURCES_H
#define KAPSEL_MANIFEST_SOURCES_H

#include "manifest/yaml.h"

/* Reads one element of `contents` into a struct kp_manifest. */
int kp_read_source(struct kp_yaml *y, const struct kp_at *at, void *ctx);
/* Reads an absolute path, normalised. */
int kp_read_path(struct kp_yaml *y, const struct kp_at *at, char **ret_path);

#endif
