/* SPDX-License-Identifier: Apache-2.0 */
/* Registries in a directory of their own, for the tests of registry/. */
#ifndef KAPSEL_TESTS_UNIT_REGISTRY_FIXTURE_H
#define KAPSEL_TESTS_UNIT_REGISTRY_FIXTURE_H

#include "registry/registry.h"

void regdir_make(void);
void regdir_remove(void);
const char *regdir_path(const char *name); /* one of eight that are valid at a time */

/* An image whose hive holds what the .reg text says; closed with kp_image_free. */
struct kp_image *reg_image(const char *reg_text);
struct kp_hive_tree *reg_tree(const char *reg_text);
struct kp_reg *reg_open(const struct kp_reg_options *o);
/* All of it as .reg text, UTF-8; the caller frees. */
char *reg_dump(struct kp_reg *r);
/* One change in a transaction of its own: what it says. */
int reg_set(struct kp_reg *r, const char *key, const char *name, const char *text);
int reg_delete_value(struct kp_reg *r, const char *key, const char *name);
int reg_delete_key(struct kp_reg *r, const char *key);
int reg_import(struct kp_reg *r, const char *reg_text);
/* A text as it is seen, or "(none)". Valid up to the next call. */
const char *reg_text(struct kp_reg *r, const char *key, const char *name);

#define REG5 "Windows Registry Editor Version 5.00\n"

#endif
