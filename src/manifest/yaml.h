/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a YAML tree by schema: typed getters whose errors name the file, the place and the key. */
#ifndef KAPSEL_MANIFEST_YAML_H
#define KAPSEL_MANIFEST_YAML_H

#include <yaml.h>

#include "base/base.h"
#include "manifest/manifest.h"

struct kp_yaml {
	yaml_document_t doc;
	const char *file;
	struct kp_err *err;
};

/* Where a value stands: a chain of keys and list positions on the callers' stacks. */
struct kp_at {
	const struct kp_at *up; /* NULL at the top */
	const char *key;        /* NULL: list position */
	int index;
	const yaml_node_t *node;
};

/* One key that a mapping may have; read is called with the value. */
struct kp_yaml_key {
	const char *name;
	int (*read)(struct kp_yaml *y, const struct kp_at *at, void *ctx);
	bool required;
};

/* "FILE:LINE:COLUMN: key.path: what". Returns -EINVAL. */
int kp_yaml_fail(struct kp_yaml *y, const struct kp_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
struct kp_mark kp_yaml_mark(const struct kp_at *at);

int kp_yaml_load(struct kp_yaml *y, const char *text, size_t len);
/* Reads a mapping by a table (ended by a NULL name): unknown, duplicate and missing keys are errors. */
int kp_yaml_table(struct kp_yaml *y, const struct kp_at *at, const struct kp_yaml_key *keys, void *ctx);
/* Calls read for each element of a list, or each value of a mapping with free keys. */
int kp_yaml_each(struct kp_yaml *y, const struct kp_at *at, yaml_node_type_t type,
		 int (*read)(struct kp_yaml *y, const struct kp_at *at, void *ctx), void *ctx);
/* A scalar as text; *ret_len NULL: NUL bytes are refused. */
int kp_yaml_text(struct kp_yaml *y, const struct kp_at *at, char **ret_text, size_t *ret_len);
/* A list of texts, marks too when ret_marks. */
int kp_yaml_texts(struct kp_yaml *y, const struct kp_at *at, struct kp_strings *ret, struct kp_mark **ret_marks);

#endif
